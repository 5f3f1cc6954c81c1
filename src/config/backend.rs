//! One place where proofs are kept, and a `[[backend]]` of the file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::keys as key;
use super::keys::{BACKEND_KEYS, BackendKey};
use super::parse;
use super::reader::TableReader;
use super::remote::{Flaw, Manners, RemoteConfig, Said};
use super::secret::Secret;
use super::url::BaseUrl;
use super::{DAY_MS, HOUR_MS, TIB};
use crate::model::{Encryption, Namespace, Provider, Role};

/// The embedded store's probe reads two flags and the free space: often costs nothing.
const LOCAL_PROBE: Duration = Duration::from_secs(1);
/// A remote one's is a request that somebody counts.
const REMOTE_PROBE: Duration = Duration::from_secs(10);

/// One place where proofs are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendConfig {
    /// `name`: of `a`-`z`, `0`-`9` and `-`, told apart from all others. Default: the provider's.
    pub name: Arc<str>,
    /// `role`: what it is used for. Default everything.
    pub role: Role,
    /// `quota_bytes`: most bytes at rest. Default: no limit.
    pub quota_bytes: Option<u64>,
    /// `cdn_url`, `R2_CDN_URL`: of the bucket's own domain. Default: none.
    pub cdn_url: Option<BaseUrl>,
    /// `STORAGE_TIMEOUT` (ms): for one call. Default 30 000.
    pub timeout: Duration,
    /// `STORAGE_PROBE_INTERVAL` (ms): between health probes. Default 1000 of the embedded store,
    /// 10 000 of a remote one.
    pub probe_interval: Duration,
    /// What it is.
    pub kind: BackendKind,
}

/// What a backend is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendKind {
    /// The embedded store.
    Local(LocalConfig),
    /// S3, R2 or a compatible cluster.
    Remote(RemoteConfig),
}

/// The embedded store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalConfig {
    /// `STORAGE_DATA_DIR`: its folder. Default `./data`.
    pub data_dir: PathBuf,
    /// `STORAGE_CACHE_BYTES` (bytes): block cache. Default 32 MiB.
    pub cache_bytes: u64,
    /// `STORAGE_DISK_RESERVE` (bytes): of disk that stay free; writes get 507 before the disk is
    /// full. Default 256 MiB.
    pub disk_reserve_bytes: u64,
}

impl BackendConfig {
    /// Where it keeps its objects: what tells it from any other store, whatever it is called.
    pub fn location(&self) -> String {
        match &self.kind {
            BackendKind::Local(local) => format!("local {}", local.data_dir.display()),
            BackendKind::Remote(remote) => {
                let RemoteConfig { provider, bucket, .. } = remote;
                let endpoint = remote.endpoint.as_ref().map_or("amazon", BaseUrl::as_str);
                format!("{provider} {endpoint} {bucket}")
            }
        }
    }

    /// What kind of store it is.
    pub fn provider(&self) -> Provider {
        match &self.kind {
            BackendKind::Local(_) => Provider::Local,
            BackendKind::Remote(remote) => remote.provider,
        }
    }

    /// Its bucket, where it is in one.
    pub fn remote(&self) -> Option<&RemoteConfig> {
        match &self.kind {
            BackendKind::Local(_) => None,
            BackendKind::Remote(remote) => Some(remote),
        }
    }

    /// Its folder, where it is in one.
    pub fn local(&self) -> Option<&LocalConfig> {
        match &self.kind {
            BackendKind::Local(local) => Some(local),
            BackendKind::Remote(_) => None,
        }
    }
}

/// What `[storage]` says for every backend that says nothing else.
#[derive(Clone, Debug)]
pub(super) struct Common {
    pub(super) namespace: Namespace,
    /// Whether there are keys of envelope encryption.
    pub(super) can_seal: bool,
    pub(super) local: LocalConfig,
    pub(super) manners: Manners,
    pub(super) timeout: Duration,
    pub(super) probe_interval: Option<Duration>,
}

impl Common {
    /// A backend of which nothing else was said.
    pub(super) fn backend(&self, kind: BackendKind) -> BackendConfig {
        let (provider, probe_interval) = match &kind {
            BackendKind::Local(_) => (Provider::Local, LOCAL_PROBE),
            BackendKind::Remote(remote) => (remote.provider, REMOTE_PROBE),
        };
        BackendConfig {
            name: provider.as_str().into(),
            role: Role::ReadWrite,
            quota_bytes: None,
            cdn_url: None,
            timeout: self.timeout,
            probe_interval: self.probe_interval.unwrap_or(probe_interval),
            kind,
        }
    }
}

impl BackendConfig {
    /// Reads all that a table says, so that each mistake is reported; nothing where one of them
    /// leaves too little. With whether it is to be given sealed proofs only, of those that ask for
    /// nothing.
    pub(super) fn read(table: &mut TableReader<'_, '_>, common: &Common) -> Option<(Self, bool)> {
        let name = table.option(&key::NAME, parse::backend_name);
        if name.is_none() {
            table.missing(&key::NAME, "each backend has a name of its own");
        }
        let provider = table.option(&key::PROVIDER, parse::provider);
        if provider.is_none() {
            table.missing(&key::PROVIDER, "write `local`, `s3` or `r2`");
        }
        refuse_other_prefix(table, &common.namespace);
        let role = table.option(&key::ROLE, parse::word(ROLES)).unwrap_or_default();
        let quota_bytes = table.option(&key::QUOTA_BYTES, parse::bytes(1..=u64::MAX));
        let cdn_url = table.option(&key::CDN_URL, BaseUrl::parse);
        let timeout = table.option(&key::TIMEOUT, parse::milliseconds(1..=DAY_MS));
        let probe_interval = table.option(&key::PROBE_INTERVAL, parse::milliseconds(100..=HOUR_MS));
        let local = read_local(table, &common.local);
        let encryption = table.option(&key::ENCRYPTION, parse::encryption);
        let encryption = encryption.unwrap_or(Encryption::None);
        let (said, manners) = read_bucket(table, common.manners, encryption);
        let provider = provider?;
        refuse_foreign(table, provider);
        let seals = seals(table, provider, encryption);
        let kind = match provider {
            Provider::Local => BackendKind::Local(local),
            _ => {
                let (remote, flaws) = said.bucket(provider, manners);
                flaws.into_iter().for_each(|flaw| report(table, flaw, provider));
                BackendKind::Remote(remote?)
            }
        };
        let usual = common.backend(kind);
        let config = Self {
            name: name?,
            role,
            quota_bytes,
            cdn_url,
            timeout: timeout.unwrap_or(usual.timeout),
            probe_interval: probe_interval.unwrap_or(usual.probe_interval),
            kind: usual.kind,
        };
        Some((config, seals))
    }
}

/// Whether this service is to encrypt, where the backend is not. The embedded store does not do it by
/// itself.
fn seals(table: &mut TableReader<'_, '_>, provider: Provider, encryption: Encryption) -> bool {
    match (provider, encryption) {
        (_, Encryption::Envelope) | (Provider::Local, Encryption::Aes256) => true,
        (Provider::Local, Encryption::Kms) => {
            let text = "the embedded store does not encrypt, and has no such keys: let it be \
                        `envelope`, and the service does, or remove it";
            table.mistake(&key::ENCRYPTION, text);
            false
        }
        (_, _) => false,
    }
}

const ROLES: &[(&str, Role)] = &[
    ("read-write", Role::ReadWrite),
    ("read-only", Role::ReadOnly),
    ("write-only", Role::WriteOnly),
    ("drain", Role::Drain),
];

fn read_local(table: &mut TableReader<'_, '_>, common: &LocalConfig) -> LocalConfig {
    let bytes = || parse::bytes(0..=TIB);
    LocalConfig {
        data_dir: table
            .option(&key::DATA_DIR, parse::path)
            .unwrap_or_else(|| common.data_dir.clone()),
        cache_bytes: table.option(&key::CACHE_BYTES, bytes()).unwrap_or(common.cache_bytes),
        disk_reserve_bytes: table
            .option(&key::DISK_RESERVE, bytes())
            .unwrap_or(common.disk_reserve_bytes),
    }
}

fn read_bucket(
    table: &mut TableReader<'_, '_>,
    common: Manners,
    encryption: Encryption,
) -> (Said, Manners) {
    let secret = |text: &str| Ok(Secret::new(text));
    let said = Said {
        account_id: table.option(&key::ACCOUNT_ID, parse::name),
        endpoint: table.option(&key::ENDPOINT, |text| BaseUrl::parse_called(text, common.reach)),
        presign_endpoint: table.option(&key::PRESIGN_ENDPOINT, BaseUrl::parse),
        region: table.option(&key::REGION, parse::name),
        bucket: table.option(&key::BUCKET, parse::bucket),
        key_id: table.option(&key::ACCESS_KEY_ID, secret),
        secret: table.option(&key::SECRET_ACCESS_KEY, secret),
        path_style: table.option(&key::PATH_STYLE, parse::yes_or_no),
        // What is sealed is encrypted before the bucket sees it.
        encryption: Some(encryption).filter(|asked| *asked != Encryption::Envelope),
        kms_key_id: table.option(&key::KMS_KEY_ID, parse::name),
    };
    let manners = Manners {
        max_retries: table
            .option(&key::MAX_RETRIES, parse::max_retries)
            .unwrap_or(common.max_retries),
        max_in_flight: table
            .option(&key::MAX_IN_FLIGHT, parse::max_in_flight)
            .unwrap_or(common.max_in_flight),
        dark_after: table.option(&key::DARK_AFTER, parse::dark_after).unwrap_or(common.dark_after),
        inventory_interval: table
            .option(&key::INVENTORY_INTERVAL, parse::inventory_interval)
            .unwrap_or(common.inventory_interval),
        reach: common.reach,
        object_lock: table
            .option(&key::OBJECT_LOCK, parse::object_lock)
            .unwrap_or(common.object_lock),
    };
    (said, manners)
}

/// A proof has one name in all backends: a copy under another one would be another proof.
fn refuse_other_prefix(table: &mut TableReader<'_, '_>, namespace: &Namespace) {
    let Some(own) = table.option(&key::KEY_PREFIX, parse::namespace) else { return };
    if own != *namespace {
        let text = format!(
            "is `{}` where the service's is `{}`: a proof has the same name in every backend, so \
             remove it here and set STORAGE_KEY_PREFIX for all",
            own.prefix(),
            namespace.prefix()
        );
        table.mistake(&key::KEY_PREFIX, &text);
    }
}

fn refuse_foreign(table: &mut TableReader<'_, '_>, provider: Provider) {
    let foreign = |key: &&&BackendKey| !key.is_of(provider);
    for key in BACKEND_KEYS.iter().filter(foreign) {
        if table.says(key) {
            table.mistake(key, &format!("means nothing to the provider `{provider}`: remove it"));
        }
    }
}

fn report(table: &mut TableReader<'_, '_>, flaw: Flaw, provider: Provider) {
    let text = flaw.text(provider);
    match flaw {
        Flaw::NoBucket => table.missing(&key::BUCKET, &text),
        Flaw::NoAccount => table.missing(&key::ACCOUNT_ID, &text),
        Flaw::NoKeyId | Flaw::NoCredentials => table.missing(&key::ACCESS_KEY_ID, &text),
        Flaw::NoSecret => table.missing(&key::SECRET_ACCESS_KEY, &text),
        Flaw::NeedlessEncryption => table.mistake(&key::ENCRYPTION, &text),
        Flaw::NeedlessRegion => table.warn(&key::REGION, &text),
        Flaw::IdleKmsKey => table.warn(&key::KMS_KEY_ID, &text),
        Flaw::ForeignSigning => table.mistake(&key::PRESIGN_ENDPOINT, &text),
    }
}
