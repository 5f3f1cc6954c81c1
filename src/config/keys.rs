//! The one table of the keys of a `[[backend]]`: name, default and meaning of each, and the
//! providers that it means something to.
//!
//! Reading, guesses at slips, `--help` and the README's second table are made from it. A test
//! holds `config/pool.toml` against it. To add a key: one entry here, one line in the `read` of
//! `backend`, one block in `config/pool.toml`.

use super::settings::Form;
use crate::model::Provider;

/// One thing that can be said of a backend.
#[derive(Debug)]
pub struct BackendKey {
    /// As it is written in the file.
    pub name: &'static str,
    /// Value where nobody says anything, in the form a person would write; `None` = unset, or
    /// what `[storage]` says.
    pub default: Option<&'static str>,
    /// Meaning and unit, on one line.
    pub help: &'static str,
    /// How it is written and shown.
    pub form: Form,
    of: Of,
}

/// The providers that a key means something to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    All,
    Local,
    Remote,
    R2,
}

impl BackendKey {
    /// The table entry of a name.
    pub(super) fn by_name(name: &str) -> Option<&'static Self> {
        BACKEND_KEYS.iter().copied().find(|key| key.name == name)
    }

    /// Whether the key means something to a provider.
    pub(super) fn is_of(&self, provider: Provider) -> bool {
        match self.of {
            Of::All => true,
            Of::Local => provider == Provider::Local,
            Of::Remote => provider != Provider::Local,
            Of::R2 => provider == Provider::R2,
        }
    }
}

macro_rules! keys {
    ($($id:ident = $name:literal, $default:expr, $form:ident, $of:ident, $help:literal;)*) => {
        $(pub(super) static $id: BackendKey = BackendKey {
            name: $name,
            default: $default,
            help: $help,
            form: $form,
            of: Of::$of,
        };)*

        /// Every key of a `[[backend]]`, in the order in which a person reads them.
        pub static BACKEND_KEYS: &[&BackendKey] = &[$(&$id),*];
    };
}

use Form::{Secret, Text};

keys! {
    NAME = "name", None, Text, All,
        "1 to 32 of `a`-`z`, `0`-`9` and `-`; stands in repair records: a backend keeps its name";
    PROVIDER = "provider", None, Text, All, "`local`, `s3` or `r2`";
    ROLE = "role", Some("read-write"), Text, All,
        "`read-write`, `read-only`, `write-only`, or `drain`: to be emptied into the others";
    QUOTA_BYTES = "quota_bytes", None, Text, All,
        "most bytes at rest; with more it is passed over for writes (10GiB is a form too)";
    KEY_PREFIX = "key_prefix", None, Text, All,
        "may repeat STORAGE_KEY_PREFIX: the same proof has the same name in every backend";
    CDN_URL = "cdn_url", None, Text, All,
        "URL of the bucket's own domain, used for `url` in results where the backend is the first";
    TIMEOUT = "timeout", None, Text, All, "milliseconds for one call; else STORAGE_TIMEOUT";
    PROBE_INTERVAL = "probe_interval", None, Text, All,
        "milliseconds between health probes; else STORAGE_PROBE_INTERVAL";
    DATA_DIR = "data_dir", None, Text, Local, "folder; else STORAGE_DATA_DIR";
    CACHE_BYTES = "cache_bytes", None, Text, Local,
        "bytes of its block cache; else STORAGE_CACHE_BYTES";
    DISK_RESERVE = "disk_reserve", None, Text, Local,
        "bytes of disk that stay free; else STORAGE_DISK_RESERVE";
    BUCKET = "bucket", None, Text, Remote, "bucket, which must exist";
    ACCOUNT_ID = "account_id", None, Text, R2,
        "account; makes the endpoint https://<account>.r2.cloudflarestorage.com";
    ENDPOINT = "endpoint", None, Text, Remote,
        "URL of the cluster; else Amazon's own for the region, or the account's of R2";
    PRESIGN_ENDPOINT = "presign_endpoint", None, Text, Remote,
        "URL under which callers reach the bucket, for presigned URLs; else the endpoint";
    REGION = "region", None, Text, Remote,
        "region; else what AWS_REGION or a profile says, else us-east-1";
    PATH_STYLE = "path_style", None, Text, Remote,
        "`true`: bucket in the path, `false`: in the host name; else `true` with an endpoint";
    ACCESS_KEY_ID = "access_key_id", None, Secret, Remote,
        "key id; else AWS_ACCESS_KEY_ID, a profile, web identity or instance metadata";
    SECRET_ACCESS_KEY = "secret_access_key", None, Secret, Remote, "its secret";
    ENCRYPTION = "encryption", Some("none"), Text, All,
        "of proofs that ask for none: `none`, `envelope`, or of a bucket `AES256` or `aws:kms`";
    KMS_KEY_ID = "kms_key_id", None, Text, Remote, "key for `aws:kms`; else the account's own";
    OBJECT_LOCK = "object_lock", None, Text, Remote,
        "lock of what is held: `governance`, `compliance` or `off`; else STORAGE_OBJECT_LOCK";
    MAX_RETRIES = "max_retries", None, Text, Remote,
        "tries after the first; else STORAGE_MAX_RETRIES";
    MAX_IN_FLIGHT = "max_in_flight", None, Text, Remote,
        "calls under way at once; else STORAGE_MAX_IN_FLIGHT";
    DARK_AFTER = "dark_after", None, Text, Remote,
        "milliseconds without any answer after which it is not waited for; else STORAGE_DARK_AFTER";
    INVENTORY_INTERVAL = "inventory_interval", None, Text, Remote,
        "milliseconds between two countings; else STORAGE_INVENTORY_INTERVAL";
}
