//! The one table of settings: name, TOML place, default and meaning of each.
//!
//! Everything that names a setting is made from it: reading, slip detection, `--help`,
//! `check-config` and the README's table. A test holds `config/default.toml` and README.md
//! against it. To add a setting: one entry here, one line in the `read` of its section, one block
//! in `config/default.toml`.

/// One thing a person can set.
#[derive(Debug)]
pub struct Setting {
    /// Environment variable.
    pub variable: &'static str,
    /// Place in the TOML file, `section.key`; `None` where a file cannot say it.
    pub key: Option<&'static str>,
    /// Value where nobody says anything, in the form a person would write; `None` = unset.
    pub default: Option<&'static str>,
    /// Meaning and unit, on one line.
    pub help: &'static str,
    /// How it is written and shown.
    pub form: Form,
}

/// How a setting is written and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A text or a whole number.
    Text,
    /// A text with commas; in TOML a list of texts too.
    List,
    /// A text that must never be shown; in TOML a reference to a file or a variable too.
    Secret,
}

impl Setting {
    /// The table entry of a TOML place.
    pub(super) fn by_key(key: &str) -> Option<&'static Self> {
        SETTINGS.iter().copied().find(|setting| setting.key == Some(key))
    }
}

macro_rules! settings {
    ($($name:ident = $variable:literal, $key:expr, $default:expr, $form:ident, $help:literal;)*) => {
        $(pub(super) static $name: Setting = Setting {
            variable: $variable,
            key: $key,
            default: $default,
            help: $help,
            form: $form,
        };)*

        /// Every setting, in the order in which a person reads them.
        pub static SETTINGS: &[&Setting] = &[$(&$name),*];
    };
}

use Form::{List, Secret, Text};

settings! {
    CONFIG = "STORAGE_CONFIG", None, None, Text,
        "TOML file to read; `--config` wins over it";

    LISTEN = "STORAGE_LISTEN", Some("server.listen"), Some("127.0.0.1:8080"), Text,
        "address and port to listen on";
    ADMIN_LISTEN = "STORAGE_ADMIN_LISTEN", Some("server.admin_listen"), None, Text,
        "second address, for metrics, stats, backends and health";
    ADMIN_AUTH = "STORAGE_ADMIN_AUTH", Some("server.admin_auth"), None, Text,
        "`required`: metrics, stats and backends take a token with `admin` there too; or `anyone-may-watch`";
    PUBLIC_URL = "STORAGE_PUBLIC_URL", Some("server.public_url"), None, Text,
        "URL under which callers reach the service; else made from the listening address";
    TLS_CERT = "STORAGE_TLS_CERT", Some("server.tls_cert"), None, Text,
        "PEM file of the certificate and those up to the authority: https, read again when it changes";
    TLS_KEY = "STORAGE_TLS_KEY", Some("server.tls_key"), None, Text,
        "PEM file of its private key (PKCS#8, PKCS#1 or SEC1), which only owner and group may read";
    TLS_CLIENT_CA = "STORAGE_TLS_CLIENT_CA", Some("server.tls_client_ca"), None, Text,
        "PEM file of authorities, of one of which every client then has to show a certificate";
    ADMIN_TLS = "STORAGE_ADMIN_TLS", Some("server.admin_tls"), Some("true"), Text,
        "`false`: plain HTTP on the second address, also where there is a certificate";
    TRUSTED_PROXIES = "STORAGE_TRUSTED_PROXIES", Some("server.trusted_proxies"), None, List,
        "addresses and networks (CIDR) of proxies that say truly for whom they ask";
    PROXY_HEADER = "STORAGE_PROXY_HEADER", Some("server.proxy_header"), Some("x-forwarded-for"),
        Text, "header in which they say it: `x-forwarded-for` or `forwarded`; the other is ignored";
    CORS_ORIGINS = "STORAGE_CORS_ORIGINS", Some("server.cors_origins"), Some("*"), List,
        "origins whose pages may read: `*`, `none`, or a comma-separated list";
    SIGNING_KEY = "STORAGE_SIGNING_KEY", Some("server.signing_key"), None, Secret,
        "secret of at least 32 bytes that signs URLs; else made once in the data directory";
    SIGNING_KEY_PREVIOUS = "STORAGE_SIGNING_KEY_PREVIOUS", Some("server.signing_key_previous"),
        None, Secret,
        "older secret, still accepted and never used to sign: for changing the key";
    BACKEND_URLS = "STORAGE_BACKEND_URLS", Some("server.backend_urls"), None, Text,
        "`on`: URLs signed by the backend itself may be asked for; else only where anyone may do anything";
    DRAIN_DELAY = "STORAGE_DRAIN_DELAY", Some("server.drain_delay"), Some("0"), Text,
        "milliseconds for which readiness is already 503 before the listener closes";
    DRAIN_TIMEOUT = "STORAGE_DRAIN_TIMEOUT", Some("server.drain_timeout"), Some("30000"), Text,
        "milliseconds that running requests get to finish at shutdown";
    LOG = "STORAGE_LOG", Some("server.log"), Some("info"), Text,
        "what to log: a level, or directives such as `info,proof_storage::http=debug`";
    LOG_FORMAT = "STORAGE_LOG_FORMAT", Some("server.log_format"), Some("text"), Text,
        "form of the log: `text` or `json`";
    SLOW_REQUEST = "STORAGE_SLOW_REQUEST", Some("server.slow_request"), Some("1000"), Text,
        "milliseconds from which a request is logged as slow";

    AUTH = "STORAGE_AUTH", Some("auth.mode"), None, Text,
        "`required` or `anyone-may-do-anything`; else required where there are tokens or JWTs";
    TOKENS_FILE = "STORAGE_TOKENS_FILE", Some("auth.tokens_file"), None, Text,
        "TOML file of API tokens (`proof-storage token create`), read again when it changes";
    PUBLIC_READ = "STORAGE_PUBLIC_READ", Some("auth.public_read"), None, List,
        "prefixes of keys that anybody may GET, with commas between; `*` is every key";
    JWT_JWKS = "STORAGE_JWT_JWKS", Some("auth.jwt_jwks"), None, Text,
        "file or URL with the keys (JWKS) of an identity provider whose JWTs are taken";
    JWT_ISSUER = "STORAGE_JWT_ISSUER", Some("auth.jwt_issuer"), None, Text,
        "what `iss` of a JWT must be";
    JWT_AUDIENCE = "STORAGE_JWT_AUDIENCE", Some("auth.jwt_audience"), None, List,
        "values with commas between, one of which must be in `aud` of a JWT";
    JWT_LEEWAY = "STORAGE_JWT_LEEWAY", Some("auth.jwt_leeway"), Some("60000"), Text,
        "milliseconds by which clocks may differ for `exp` and `nbf` of a JWT";
    JWT_SCOPE_CLAIM = "STORAGE_JWT_SCOPE_CLAIM", Some("auth.jwt_scope_claim"), Some("scope"), Text,
        "claim with the scopes of a JWT: a text with spaces between, or a list";
    JWT_PREFIX_CLAIM = "STORAGE_JWT_PREFIX_CLAIM", Some("auth.jwt_prefix_claim"), None, Text,
        "claim with the key prefixes of a JWT, without which it allows none; else every key";
    JWT_REFRESH = "STORAGE_JWT_REFRESH", Some("auth.jwt_refresh"), Some("300000"), Text,
        "milliseconds between two readings of the identity provider's keys";

    AUDIT = "STORAGE_AUDIT", Some("audit.mode"), Some("off"), Text,
        "who changed what, or was refused, in a chain of hashes: `off`, `file`, or `log` (stdout)";
    AUDIT_DIR = "STORAGE_AUDIT_DIR", Some("audit.dir"), None, Text,
        "folder of the audit log's files, of one process; else `audit` in the data directory";
    AUDIT_SEGMENT_BYTES = "STORAGE_AUDIT_SEGMENT_BYTES", Some("audit.segment_bytes"),
        Some("67108864"), Text, "bytes from which the next file of the audit log begins";
    AUDIT_DAILY = "STORAGE_AUDIT_DAILY", Some("audit.daily"), Some("false"), Text,
        "`true`: each day (UTC) begins a file of the audit log";
    AUDIT_KEEP = "STORAGE_AUDIT_KEEP", Some("audit.keep"), None, Text,
        "files of the audit log that stay, the one that is written included; else all";
    AUDIT_SYNC = "STORAGE_AUDIT_SYNC", Some("audit.sync"), Some("before-answer"), Text,
        "when lines are brought to disk: `before-answer`, or `every-second`";
    AUDIT_FAILURE = "STORAGE_AUDIT_FAILURE", Some("audit.failure"), Some("refuse"), Text,
        "changes while no line can be written: `refuse` (503), or `serve` (lines are lost)";
    AUDIT_KEY = "STORAGE_AUDIT_KEY", Some("audit.key"), None, Secret,
        "secret of at least 32 bytes, without which nobody can make the chain anew (HMAC)";
    AUDIT_KEY_FILE = "STORAGE_AUDIT_KEY_FILE", Some("audit.key_file"), None, Text,
        "file with that secret";
    AUDIT_HEAD_INTERVAL = "STORAGE_AUDIT_HEAD_INTERVAL", Some("audit.head_interval"),
        Some("300000"), Text, "milliseconds between two notes in the log of how far the chain goes";

    MAX_CONNECTIONS = "STORAGE_MAX_CONNECTIONS", Some("limits.max_connections"), Some("10000"),
        Text, "connections open at once; further ones wait to be accepted";
    MAX_CONNECTIONS_PER_ADDRESS = "STORAGE_MAX_CONNECTIONS_PER_ADDRESS",
        Some("limits.max_connections_per_address"), None, Text,
        "connections open at once from one address (IPv6: one /64) that is no trusted proxy; further ones are closed";
    MAX_REQUESTS = "STORAGE_MAX_REQUESTS", Some("limits.max_requests"), Some("4096"), Text,
        "requests worked on at once; further ones wait for a moment, and then get 503";
    RATE_PER_ADDRESS = "STORAGE_RATE_PER_ADDRESS", Some("limits.rate_per_address"), None, Text,
        "requests from one address (IPv6: one /64), such as `100/s` or `100/s burst 200`";
    RATE_PER_TOKEN = "STORAGE_RATE_PER_TOKEN", Some("limits.rate_per_token"), None, Text,
        "requests with one token, such as `100/s` or `100/s burst 200`";
    WRITE_RATE_PER_ADDRESS = "STORAGE_WRITE_RATE_PER_ADDRESS",
        Some("limits.write_rate_per_address"), None, Text,
        "the same, of requests that are not GET, HEAD or OPTIONS; they count to both";
    WRITE_RATE_PER_TOKEN = "STORAGE_WRITE_RATE_PER_TOKEN", Some("limits.write_rate_per_token"),
        None, Text, "the same, of requests that are not GET, HEAD or OPTIONS; they count to both";
    HEADER_TIMEOUT = "STORAGE_HEADER_TIMEOUT", Some("limits.header_timeout"), Some("10000"), Text,
        "milliseconds in which a request's headers must arrive";
    IDLE_TIMEOUT = "STORAGE_IDLE_TIMEOUT", Some("limits.idle_timeout"), Some("75000"), Text,
        "milliseconds that a kept-alive connection may stay without a request";
    BODY_TIMEOUT = "STORAGE_BODY_TIMEOUT", Some("limits.body_timeout"), Some("30000"), Text,
        "milliseconds that a request's body may pause";
    MIN_UPLOAD_RATE = "STORAGE_MIN_UPLOAD_RATE", Some("limits.min_upload_rate"), Some("1024"),
        Text, "bytes a second that a request's body must bring, over 10 s or a longest pause; 0: any";
    MIN_DOWNLOAD_RATE = "STORAGE_MIN_DOWNLOAD_RATE", Some("limits.min_download_rate"),
        Some("1024"), Text,
        "bytes a second that a client must take, over 10 s or a longest pause; 0: any";
    MEMORY_BUDGET = "STORAGE_MEMORY_BUDGET", Some("limits.memory_budget"), Some("67108864"), Text,
        "bytes of bodies held in memory at once, three quarters of them for one address; above it requests get 503 (64MiB is a form too)";
    ALLOW_LINK_LOCAL = "STORAGE_ALLOW_LINK_LOCAL", Some("limits.allow_link_local"),
        Some("false"), Text,
        "`true`: endpoints and JWKS may be at link-local addresses and metadata services";

    PROVIDER = "STORAGE_PROVIDER", Some("storage.provider"), Some("local"), Text,
        "where proofs are kept: `local` (the embedded store), `s3` or `r2`";
    FALLBACK_PROVIDER = "STORAGE_FALLBACK_PROVIDER", Some("storage.fallback_provider"), None, Text,
        "second backend, of another kind, for what the first cannot take: `local`, `s3` or `r2`";
    POOL_MODE = "STORAGE_POOL_MODE", Some("pool.mode"), None, Text,
        "how several backends work together: `fallback` or `mirror`; else `fallback`";
    POOL_MIN_COPIES = "STORAGE_POOL_MIN_COPIES", Some("pool.min_copies"), None, Text,
        "copies before a `mirror` acknowledges a write; else one less than its backends, but 1";
    POOL_HEDGE = "STORAGE_POOL_HEDGE_PERCENT", Some("pool.hedge_percent"), None, Text,
        "reads of a `mirror`, in percent, that may ask a second backend when one is slow; else 5";
    DATA_DIR = "STORAGE_DATA_DIR", Some("storage.data_dir"), Some("./data"), Text,
        "folder of the embedded store and of temporary files, made where it is missing";
    KEY_PREFIX = "STORAGE_KEY_PREFIX", Some("storage.key_prefix"), Some("proofs/"), Text,
        "put before every key in the backend; services with different prefixes may share one";
    WRITE_MODE = "STORAGE_WRITE_MODE", Some("storage.write_mode"), Some("write-once"), Text,
        "`write-once`: a stored proof is replaced only with If-Match; `overwrite`: by any PUT";
    MAX_OBJECT_BYTES = "STORAGE_MAX_OBJECT_BYTES", Some("storage.max_object_bytes"),
        Some("104857600"), Text, "largest proof in bytes, up to 5GiB";
    DEFAULT_CACHE_CONTROL = "STORAGE_DEFAULT_CACHE_CONTROL", Some("storage.default_cache_control"),
        None, Text, "Cache-Control of proofs stored without one; else none is sent";
    CDN_URL = "STORAGE_CDN_URL", Some("storage.cdn_url"), None, Text,
        "URL of a CDN in front, used for `url` in the result of a store";
    REDIRECT_DOWNLOADS = "STORAGE_REDIRECT_DOWNLOADS", Some("storage.redirect_downloads"), None, List,
        "keys whose downloads are sent on to the backend: prefixes with commas between, or `*`";
    HOLDS = "STORAGE_HOLDS", Some("storage.holds"), Some("off"), Text,
        "`on`: proofs can be held, and every delete looks first; also on where a prefix is held";
    RETENTION = "STORAGE_RETENTION", Some("storage.retention"), None, List,
        "prefixes and for how long after it was stored a proof stays there: `legal/=10y, audit=90d`";
    LEGAL_HOLD = "STORAGE_LEGAL_HOLD", Some("storage.legal_hold"), None, List,
        "prefixes whose proofs stay for as long as this says so, with commas between";
    MAX_RETRIES = "STORAGE_MAX_RETRIES", Some("storage.max_retries"), Some("3"), Text,
        "tries after the first against a remote backend; no effect on the embedded store";
    TIMEOUT = "STORAGE_TIMEOUT", Some("storage.timeout"), Some("30000"), Text,
        "milliseconds for one call to a backend";
    PROBE_INTERVAL = "STORAGE_PROBE_INTERVAL", Some("storage.probe_interval"), None, Text,
        "milliseconds between health probes of the backend; else 1000 of `local`, 10000 of others";
    KEYRING_FILE = "STORAGE_KEYRING_FILE", Some("storage.keyring_file"), None, Text,
        "file with the keys of envelope encryption, `id:active:<base64 of 32 bytes>` a line";
    KEYRING = "STORAGE_KEYRING", Some("storage.keyring"), None, Secret,
        "the same keys as a text, with commas between; exactly one is active, others are `retired`";
    REKEY_AT_START = "STORAGE_REKEY_AT_START", Some("storage.rekey_at_start"), Some("false"), Text,
        "`true`: what retired keys wrapped is brought under the active one in the background";
    CACHE_BYTES = "STORAGE_CACHE_BYTES", Some("storage.cache_bytes"), Some("33554432"), Text,
        "bytes of the embedded store's block cache";
    DISK_RESERVE = "STORAGE_DISK_RESERVE", Some("storage.disk_reserve"), Some("268435456"), Text,
        "bytes of disk that stay free: writes get 507 before the disk is full";

    BUCKET = "STORAGE_BUCKET", Some("storage.bucket"), None, Text, "bucket of `s3`";
    REGION = "STORAGE_REGION", Some("storage.region"), None, Text,
        "region of `s3`; else what AWS_REGION or a profile says, else us-east-1";
    ENDPOINT = "STORAGE_ENDPOINT", Some("storage.endpoint"), None, Text,
        "URL of an S3-compatible cluster; else Amazon's own for the region";
    PRESIGN_ENDPOINT = "STORAGE_PRESIGN_ENDPOINT", Some("storage.presign_endpoint"), None, Text,
        "URL under which callers reach the bucket, for presigned URLs; else the endpoint";
    PATH_STYLE = "STORAGE_PATH_STYLE", Some("storage.path_style"), None, Text,
        "`true`: bucket in the path, `false`: in the host name; else `true` with an endpoint";
    ACCESS_KEY_ID = "STORAGE_ACCESS_KEY_ID", Some("storage.access_key_id"), None, Secret,
        "key id for `s3`; else AWS_ACCESS_KEY_ID, a profile, web identity or instance metadata";
    SECRET_ACCESS_KEY = "STORAGE_SECRET_ACCESS_KEY", Some("storage.secret_access_key"), None,
        Secret, "its secret";
    ENCRYPTION = "STORAGE_ENCRYPTION", Some("storage.encryption"), Some("none"), Text,
        "of proofs that ask for none: `none`, `envelope`, `AES256` or `aws:kms` (`local`: envelope)";
    KMS_KEY_ID = "STORAGE_KMS_KEY_ID", Some("storage.kms_key_id"), None, Text,
        "key for `aws:kms`; else the account's own";
    OBJECT_LOCK = "STORAGE_OBJECT_LOCK", Some("storage.object_lock"), Some("governance"), Text,
        "how a bucket with object lock is to lock what is held: `governance`, `compliance` (nobody can undo it) or `off`";
    MAX_IN_FLIGHT = "STORAGE_MAX_IN_FLIGHT", Some("storage.max_in_flight"), Some("256"), Text,
        "calls to a remote backend under way at once";
    DARK_AFTER = "STORAGE_DARK_AFTER", Some("storage.dark_after"), Some("1800"), Text,
        "milliseconds without any answer after which a remote backend is not waited for";
    INVENTORY_INTERVAL = "STORAGE_INVENTORY_INTERVAL", Some("storage.inventory_interval"),
        Some("3600000"), Text, "milliseconds between two countings of a remote backend or a pool, for stats";
    R2_ACCOUNT_ID = "R2_ACCOUNT_ID", None, None, Text,
        "account of `r2`; makes the endpoint https://<account>.r2.cloudflarestorage.com";
    R2_ACCESS_KEY_ID = "R2_ACCESS_KEY_ID", None, None, Secret,
        "key id of an R2 token; else STORAGE_ACCESS_KEY_ID";
    R2_SECRET_ACCESS_KEY = "R2_SECRET_ACCESS_KEY", None, None, Secret,
        "its secret; else STORAGE_SECRET_ACCESS_KEY";
    R2_BUCKET = "R2_BUCKET", None, None, Text, "bucket of `r2`; else STORAGE_BUCKET";
    R2_ENDPOINT = "R2_ENDPOINT", None, None, Text,
        "URL of `r2` in place of the account's, for its jurisdictions and for tests";
    R2_CDN_URL = "R2_CDN_URL", None, None, Text,
        "URL of the bucket's own domain, used for `url` in results; else STORAGE_CDN_URL";
}

/// Settings that mean something to the embedded store only.
pub(super) static OF_LOCAL: [&Setting; 2] = [&CACHE_BYTES, &DISK_RESERVE];

/// Settings that say which backend there is: none of them goes with a `[[backend]]`.
pub(super) static OF_ONE: [&Setting; 17] = [
    &PROVIDER,
    &FALLBACK_PROVIDER,
    &BUCKET,
    &REGION,
    &ENDPOINT,
    &PRESIGN_ENDPOINT,
    &PATH_STYLE,
    &ACCESS_KEY_ID,
    &SECRET_ACCESS_KEY,
    &ENCRYPTION,
    &KMS_KEY_ID,
    &R2_ACCOUNT_ID,
    &R2_ACCESS_KEY_ID,
    &R2_SECRET_ACCESS_KEY,
    &R2_BUCKET,
    &R2_ENDPOINT,
    &R2_CDN_URL,
];

/// Settings that mean nothing to the embedded store.
pub(super) static OF_REMOTE: [&Setting; 19] = [
    &BUCKET,
    &REGION,
    &ENDPOINT,
    &PRESIGN_ENDPOINT,
    &PATH_STYLE,
    &ACCESS_KEY_ID,
    &SECRET_ACCESS_KEY,
    &KMS_KEY_ID,
    &OBJECT_LOCK,
    &MAX_IN_FLIGHT,
    &DARK_AFTER,
    &INVENTORY_INTERVAL,
    &REDIRECT_DOWNLOADS,
    &R2_ACCOUNT_ID,
    &R2_ACCESS_KEY_ID,
    &R2_SECRET_ACCESS_KEY,
    &R2_BUCKET,
    &R2_ENDPOINT,
    &R2_CDN_URL,
];

/// Settings that mean nothing to any provider but `r2`.
pub(super) static OF_R2: [&Setting; 6] = [
    &R2_ACCOUNT_ID,
    &R2_ACCESS_KEY_ID,
    &R2_SECRET_ACCESS_KEY,
    &R2_BUCKET,
    &R2_ENDPOINT,
    &R2_CDN_URL,
];

/// Sections of the TOML file that have settings.
pub(super) const SECTIONS: &[&str] = &["server", "auth", "audit", "limits", "storage", "pool"];

/// The one section that there may be several of, with keys of its own (`keys`).
pub(super) const BACKEND_SECTION: &str = "backend";
