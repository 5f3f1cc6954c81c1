//! What the providers `s3` and `r2` need, in `[storage]` or in variables of R2's own.

use std::time::Duration;

use super::parse;
use super::reader::Reader;
use super::secret::Secret;
use super::settings as name;
use super::url::BaseUrl;
use super::{DAY_MS, HOUR_MS};
use crate::model::{Encryption, Provider};

const ENCRYPTIONS: &[(&str, Encryption)] =
    &[("none", Encryption::None), ("AES256", Encryption::Aes256), ("aws:kms", Encryption::Kms)];

const YES_OR_NO: &[(&str, bool)] = &[("true", true), ("false", false)];

/// A bucket and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteConfig {
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
    /// `STORAGE_MAX_IN_FLIGHT`: calls under way at once. Default 256.
    pub max_in_flight: usize,
    /// `STORAGE_DARK_AFTER` (ms): without any answer, after which the backend is not waited for.
    /// Default 1800.
    pub dark_after: Duration,
    /// `STORAGE_INVENTORY_INTERVAL` (ms): between two countings for stats. Default an hour.
    pub inventory_interval: Duration,
}

/// A key id and its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Public part.
    pub access_key_id: Secret,
    /// Secret part.
    pub secret_access_key: Secret,
}

/// Everything that may be said, before it is known which of it is needed.
struct Said {
    endpoint: Option<BaseUrl>,
    region: Option<String>,
    bucket: Option<String>,
    key_id: Option<Secret>,
    secret: Option<Secret>,
    r2_account: Option<String>,
    r2_endpoint: Option<BaseUrl>,
    r2_bucket: Option<String>,
    r2_key_id: Option<Secret>,
    r2_secret: Option<Secret>,
    path_style: Option<bool>,
}

impl RemoteConfig {
    /// Reads all settings whatever the provider, so that each mistake is reported.
    pub(super) fn read(reader: &mut Reader<'_>, provider: Provider) -> Option<Self> {
        let secret = |text: &str| Ok(Secret::new(text));
        let said = Said {
            endpoint: reader.option(&name::ENDPOINT, BaseUrl::parse),
            region: reader.option(&name::REGION, parse::name),
            bucket: reader.option(&name::BUCKET, parse::bucket),
            key_id: reader.option(&name::ACCESS_KEY_ID, secret),
            secret: reader.option(&name::SECRET_ACCESS_KEY, secret),
            r2_account: reader.option(&name::R2_ACCOUNT_ID, parse::name),
            r2_endpoint: reader.option(&name::R2_ENDPOINT, BaseUrl::parse),
            r2_bucket: reader.option(&name::R2_BUCKET, parse::bucket),
            r2_key_id: reader.option(&name::R2_ACCESS_KEY_ID, secret),
            r2_secret: reader.option(&name::R2_SECRET_ACCESS_KEY, secret),
            path_style: reader.option(&name::PATH_STYLE, parse::word(YES_OR_NO)),
        };
        let presign_endpoint = reader.option(&name::PRESIGN_ENDPOINT, BaseUrl::parse);
        let encryption = reader.value(&name::ENCRYPTION, parse::word(ENCRYPTIONS));
        let kms_key_id = reader.option(&name::KMS_KEY_ID, parse::name);
        let max_in_flight = reader.value(&name::MAX_IN_FLIGHT, parse::count(1..=100_000));
        let dark_after = reader.value(&name::DARK_AFTER, parse::milliseconds(100..=HOUR_MS));
        let inventory_interval =
            reader.value(&name::INVENTORY_INTERVAL, parse::milliseconds(1000..=30 * DAY_MS));
        if !matches!(provider, Provider::S3 | Provider::R2) {
            reader.warn_unused(&name::OF_REMOTE, "while the provider is `local`");
            return None;
        }
        if kms_key_id.is_some() && encryption != Encryption::Kms {
            reader.warn("STORAGE_KMS_KEY_ID is used only where a caller asks for aws:kms");
        }
        let (endpoint, region, bucket, credentials) = match provider {
            Provider::R2 => said.of_r2(reader, encryption),
            _ => said.of_s3(reader),
        };
        // A bucket in the host name needs a name service and certificates for it.
        let path_style = said.path_style.unwrap_or(endpoint.is_some());
        Some(Self {
            endpoint,
            presign_endpoint,
            region,
            bucket: bucket?,
            credentials,
            path_style,
            encryption,
            kms_key_id,
            max_in_flight,
            dark_after,
            inventory_interval,
        })
    }
}

type Found = (Option<BaseUrl>, Option<String>, Option<String>, Option<Credentials>);

impl Said {
    fn of_s3(&self, reader: &mut Reader<'_>) -> Found {
        reader.warn_unused(&name::OF_R2, "while the provider is `s3`");
        if self.bucket.is_none() {
            reader.missing(&name::BUCKET, "the provider `s3` needs a bucket");
        }
        let names = [&name::ACCESS_KEY_ID, &name::SECRET_ACCESS_KEY];
        let credentials = pair(reader, names, self.key_id.clone(), self.secret.clone());
        (self.endpoint.clone(), self.region.clone(), self.bucket.clone(), credentials)
    }

    fn of_r2(&self, reader: &mut Reader<'_>, encryption: Encryption) -> Found {
        let bucket = self.r2_bucket.clone().or_else(|| self.bucket.clone());
        if bucket.is_none() {
            reader.missing(&name::R2_BUCKET, "the provider `r2` needs a bucket");
        }
        let of_account = self.r2_account.as_ref().and_then(|account| {
            BaseUrl::parse(&format!("https://{account}.r2.cloudflarestorage.com")).ok()
        });
        let endpoint = self.r2_endpoint.clone().or(of_account).or_else(|| self.endpoint.clone());
        if endpoint.is_none() {
            let text = "the provider `r2` needs the account's id, or R2_ENDPOINT";
            reader.missing(&name::R2_ACCOUNT_ID, text);
        }
        if encryption != Encryption::None {
            let text = "R2 encrypts everything by itself and takes no such request: remove it";
            reader.mistake(&name::ENCRYPTION, text);
        }
        if self.region.as_deref().is_some_and(|region| region != "auto") {
            reader.warn("STORAGE_REGION has no effect: the region of R2 is always `auto`");
        }
        let names = [&name::R2_ACCESS_KEY_ID, &name::R2_SECRET_ACCESS_KEY];
        let key_id = self.r2_key_id.clone().or_else(|| self.key_id.clone());
        let secret = self.r2_secret.clone().or_else(|| self.secret.clone());
        if key_id.is_none() && secret.is_none() {
            reader.missing(names[0], "the provider `r2` needs an API token's key id and secret");
        }
        let credentials = pair(reader, names, key_id, secret);
        (endpoint, Some("auto".to_owned()), bucket, credentials)
    }
}

/// Both, or none: half a pair would silently fall back to other credentials.
fn pair(
    reader: &mut Reader<'_>,
    names: [&'static name::Setting; 2],
    key_id: Option<Secret>,
    secret: Option<Secret>,
) -> Option<Credentials> {
    match (key_id, secret) {
        (Some(access_key_id), Some(secret_access_key)) => {
            Some(Credentials { access_key_id, secret_access_key })
        }
        (None, None) => None,
        (Some(_), None) => {
            reader.missing(names[1], "a key id is given without its secret");
            None
        }
        (None, Some(_)) => {
            reader.missing(names[0], "a secret is given without its key id");
            None
        }
    }
}
