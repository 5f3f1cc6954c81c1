//! A bucket: what must be said of it, and what must not, whoever says it.

use std::time::Duration;

use super::secret::Secret;
use super::url::BaseUrl;
use crate::model::{Encryption, LockMode, Provider, Reach};

/// Behind an account's id, and where there is one, a jurisdiction.
const R2_DOMAIN: &str = ".r2.cloudflarestorage.com";

/// A bucket and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteConfig {
    /// `s3` or `r2`.
    pub provider: Provider,
    /// `STORAGE_ENDPOINT`, or of R2 `R2_ENDPOINT` or what `R2_ACCOUNT_ID` gives. Default: Amazon's
    /// own for the region.
    pub endpoint: Option<BaseUrl>,
    /// `STORAGE_PRESIGN_ENDPOINT`: where callers reach the bucket. Default: the endpoint.
    pub presign_endpoint: Option<BaseUrl>,
    /// `STORAGE_REGION`; of R2 always `auto`. Default: what the SDK finds.
    pub region: Option<String>,
    /// `STORAGE_BUCKET` or `R2_BUCKET`.
    pub bucket: String,
    /// Key id and secret. Default: the SDK's own chain.
    pub credentials: Option<Credentials>,
    /// `STORAGE_PATH_STYLE`: bucket in the path. Default: with an endpoint of one's own.
    pub path_style: bool,
    /// `STORAGE_ENCRYPTION`: of objects that ask for none. Default none.
    pub encryption: Encryption,
    /// `STORAGE_KMS_KEY_ID`: for `aws:kms`. Default: the account's key.
    pub kms_key_id: Option<String>,
    /// `STORAGE_OBJECT_LOCK`: of what is held, where the bucket has locks. Default governance.
    pub object_lock: LockMode,
    /// `STORAGE_MAX_RETRIES`: tries after the first. Default 3.
    pub max_retries: u32,
    /// `STORAGE_MAX_IN_FLIGHT`: calls under way at once. Default 256.
    pub max_in_flight: usize,
    /// `STORAGE_DARK_AFTER` (ms): without any answer, after which the backend is not waited for.
    /// Default 1800.
    pub dark_after: Duration,
    /// `STORAGE_INVENTORY_INTERVAL` (ms): between two countings for stats. Default an hour.
    pub inventory_interval: Duration,
    /// `STORAGE_ALLOW_LINK_LOCAL`: where the bucket may be. Default: not at link-local addresses.
    pub reach: Reach,
}

/// A key id and its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Public part.
    pub access_key_id: Secret,
    /// Secret part.
    pub secret_access_key: Secret,
}

/// How a bucket is called, apart from where it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manners {
    pub(super) max_retries: u32,
    pub(super) max_in_flight: usize,
    pub(super) dark_after: Duration,
    pub(super) inventory_interval: Duration,
    pub(super) reach: Reach,
    pub(super) object_lock: LockMode,
}

/// Everything that may be said of a bucket.
#[derive(Clone, Default)]
pub(super) struct Said {
    pub(super) account_id: Option<String>,
    pub(super) endpoint: Option<BaseUrl>,
    pub(super) presign_endpoint: Option<BaseUrl>,
    pub(super) region: Option<String>,
    pub(super) bucket: Option<String>,
    pub(super) key_id: Option<Secret>,
    pub(super) secret: Option<Secret>,
    pub(super) path_style: Option<bool>,
    pub(super) encryption: Option<Encryption>,
    pub(super) kms_key_id: Option<String>,
}

/// What is wrong with what was said. Whoever read it knows how the thing is called there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    NoBucket,
    NoAccount,
    NoKeyId,
    NoSecret,
    NoCredentials,
    NeedlessEncryption,
    NeedlessRegion,
    IdleKmsKey,
    ForeignSigning,
}

impl Flaw {
    /// Why it is one.
    pub(super) fn text(self, provider: Provider) -> String {
        match self {
            Self::NoBucket => format!("the provider `{provider}` needs a bucket"),
            Self::NoAccount => "the provider `r2` needs the account's id, or an endpoint".into(),
            Self::NoKeyId => "a secret is given without its key id".into(),
            Self::NoSecret => "a key id is given without its secret".into(),
            Self::NoCredentials => {
                "the provider `r2` needs an API token's key id and secret".into()
            }
            Self::NeedlessEncryption => {
                "R2 encrypts everything by itself and takes no such request: remove it".into()
            }
            Self::NeedlessRegion => "has no effect: the region of R2 is always `auto`".into(),
            Self::IdleKmsKey => "is used only where a caller asks for aws:kms".into(),
            Self::ForeignSigning => {
                "R2 honours signed URLs at the account's own domain only, not at a domain of yours: \
                 remove it (R2_CDN_URL is for public reads)"
                    .into()
            }
        }
    }
}

impl Said {
    /// The bucket, where enough was said, and every flaw.
    pub(super) fn bucket(
        self,
        provider: Provider,
        manners: Manners,
    ) -> (Option<RemoteConfig>, Vec<Flaw>) {
        let is_r2 = provider == Provider::R2;
        let mut flaws = Vec::new();
        let mut flaw = |is_one: bool, flaw| flaws.extend(is_one.then_some(flaw));
        let encryption = self.encryption.unwrap_or(Encryption::None);
        let of_account = self
            .account_id
            .as_ref()
            .and_then(|account| BaseUrl::parse(&format!("https://{account}{R2_DOMAIN}")).ok());
        let endpoint = self.endpoint.or(of_account.filter(|_| is_r2));
        flaw(self.bucket.is_none(), Flaw::NoBucket);
        flaw(is_r2 && endpoint.is_none(), Flaw::NoAccount);
        flaw(is_r2 && encryption != Encryption::None, Flaw::NeedlessEncryption);
        let foreign = endpoint.as_ref().is_some_and(is_cloudflares)
            && self.presign_endpoint.as_ref().is_some_and(|url| !is_cloudflares(url));
        flaw(is_r2 && foreign, Flaw::ForeignSigning);
        let other_region = self.region.as_deref().is_some_and(|region| region != "auto");
        flaw(is_r2 && other_region, Flaw::NeedlessRegion);
        let idle_key = self.kms_key_id.is_some() && encryption != Encryption::Kms;
        flaw(idle_key, Flaw::IdleKmsKey);
        // Both, or none: half a pair would silently fall back to other credentials.
        let credentials = match (self.key_id, self.secret) {
            (Some(access_key_id), Some(secret_access_key)) => {
                Some(Credentials { access_key_id, secret_access_key })
            }
            (Some(_), None) => {
                flaw(true, Flaw::NoSecret);
                None
            }
            (None, Some(_)) => {
                flaw(true, Flaw::NoKeyId);
                None
            }
            (None, None) => {
                flaw(is_r2, Flaw::NoCredentials);
                None
            }
        };
        let Some(bucket) = self.bucket else { return (None, flaws) };
        let remote = RemoteConfig {
            provider,
            // A bucket in the host name needs a name service and certificates for it.
            path_style: self.path_style.unwrap_or(endpoint.is_some()),
            endpoint,
            presign_endpoint: self.presign_endpoint,
            region: if is_r2 { Some("auto".to_owned()) } else { self.region },
            bucket,
            credentials,
            encryption,
            kms_key_id: self.kms_key_id,
            object_lock: manners.object_lock,
            max_retries: manners.max_retries,
            max_in_flight: manners.max_in_flight,
            dark_after: manners.dark_after,
            inventory_interval: manners.inventory_interval,
            reach: manners.reach,
        };
        (Some(remote), flaws)
    }
}

fn is_cloudflares(url: &BaseUrl) -> bool {
    let host = url.as_str().split("://").nth(1).and_then(|rest| rest.split(['/', ':']).next());
    host.is_some_and(|host| host.ends_with(R2_DOMAIN))
}
