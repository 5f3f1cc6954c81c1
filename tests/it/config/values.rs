//! What a value means, and which of two wins.

use proof_storage::config::{
    AuditFailure, AuditMode, AuditSync, AuthMode, Config, CorsOrigins, SETTINGS,
};
use proof_storage::model::{PoolMode, Provider, Role, WriteMode};

use crate::certificates::{Authority, write_key};

use super::{CANARY, Folder, KEY, load, load_file, ms};

#[test]
fn nothing_said_is_the_default() {
    let loaded = load(&[]).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.warnings, Vec::<String>::new());
    // The documented defaults, spelled out once apart from the table.
    let Config { server, auth, audit, limits, storage, backends, pool, log } = loaded.config;
    assert_eq!((audit.mode, audit.on_failure), (AuditMode::Off, AuditFailure::Refuse));
    assert_eq!((audit.key, audit.keep, audit.sync), (None, None, AuditSync::BeforeAnswer));
    assert_eq!(server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(auth.mode, AuthMode::Anyone);
    assert_eq!((auth.tokens, auth.tokens_file, auth.jwt), (vec![], None, None));
    assert_eq!((auth.public_read, server.admin_listen), (vec![], None));
    assert_eq!((server.tls, server.proxies.trusted), (None, vec![]));
    assert_eq!(server.cors_origins, CorsOrigins::Any);
    assert_eq!((server.drain_delay, server.drain_timeout), (ms(0), ms(30_000)));
    assert_eq!((limits.header_timeout, limits.idle_timeout), (ms(10_000), ms(75_000)));
    assert_eq!((limits.max_connections, limits.body_idle_timeout), (10_000, ms(30_000)));
    assert_eq!((limits.memory_budget_bytes, limits.max_object_bytes), (64 << 20, 100 << 20));
    assert_eq!(storage.namespace.prefix(), "proofs/");
    assert_eq!((storage.data_dir, storage.write_mode), ("./data".into(), WriteMode::WriteOnce));
    assert_eq!((storage.retention, storage.holds), (vec![], false));
    let [backend] = &backends[..] else { panic!("one backend") };
    assert_eq!((&*backend.name, backend.provider()), ("local", Provider::Local));
    assert_eq!((backend.role, backend.quota_bytes), (Role::ReadWrite, None));
    assert_eq!((backend.timeout, backend.probe_interval), (ms(30_000), ms(1000)));
    let local = backend.local().unwrap();
    assert_eq!((local.cache_bytes, local.disk_reserve_bytes), (32 << 20, 256 << 20));
    assert_eq!(local.data_dir.to_str(), Some("./data"));
    assert_eq!((pool.mode, pool.min_copies), (PoolMode::Fallback, 1));
    assert_eq!((log.filter.as_str(), log.slow_request), ("info", ms(1000)));
}

#[test]
fn a_variable_wins_over_the_file_and_an_empty_one_is_unset() {
    let file = "[server]\nlisten = '127.0.0.1:1'\ndrain_timeout = 9\n[storage]\ntimeout = 7\n\
                [limits]\nmemory_budget = '16MiB'\n";
    let given = [("STORAGE_LISTEN", "127.0.0.1:2"), ("STORAGE_TIMEOUT", ""), ("PATH", "/bin")];
    let loaded = load_file(file, &given).unwrap();
    assert_eq!(loaded.config.server.listen.port(), 2);
    assert_eq!(loaded.config.backends[0].timeout, ms(7));
    assert_eq!(loaded.config.server.drain_timeout, ms(9));
    assert_eq!(loaded.config.limits.memory_budget_bytes, 16 << 20);
    let source = |name: &str| {
        let shown = loaded.effective.iter().find(|shown| shown.variable == name).unwrap();
        shown.source.to_string()
    };
    assert_eq!(source("STORAGE_LISTEN"), "variable");
    assert!(source("STORAGE_TIMEOUT").ends_with("proofs.toml:5)"), "{}", source("STORAGE_TIMEOUT"));
    assert_eq!(source("STORAGE_CONFIG"), "command line");
    assert_eq!(source("STORAGE_LOG"), "default");
}

#[test]
fn every_variable_and_every_key_takes_effect() {
    let folder = Folder::with(&format!("2026:active:{KEY}"));
    let (keys, keyring) = (folder.file(), format!("2025:active:{KEY}"));
    let pair = Authority::new("some").server();
    let (cert, key) = pair.write(folder.0.path());
    let (other_cert, other_key) =
        (folder.0.path().join("other.crt"), folder.0.path().join("other.key"));
    std::fs::write(&other_cert, &pair.cert).unwrap();
    write_key(&other_key, &pair.key);
    let tls = [
        ("STORAGE_TLS_CERT", cert.to_str().unwrap()),
        ("STORAGE_TLS_KEY", key.to_str().unwrap()),
        ("STORAGE_ADMIN_LISTEN", "127.0.0.1:9090"),
    ];
    let sha256 = "ba".repeat(32);
    let token = format!("[[token]]\nname = 'a'\nsha256 = '{sha256}'\nscopes = ['read']\n");
    let listed = Folder::with(&token);
    let tokens = listed.file().display().to_string();
    let watched =
        [("STORAGE_ADMIN_LISTEN", "127.0.0.1:9090"), ("STORAGE_TOKENS_FILE", tokens.as_str())];
    // One legal value for each setting that is not its default.
    let other = |variable: &str| match variable {
        "STORAGE_LISTEN" => "[::1]:9000",
        "STORAGE_ADMIN_LISTEN" => "127.0.0.1:9090",
        "STORAGE_TOKENS_FILE" => "config/tokens.toml",
        "STORAGE_PUBLIC_URL" | "STORAGE_CDN_URL" => "https://a.example/b",
        "STORAGE_TLS_CERT" | "STORAGE_TLS_CLIENT_CA" => other_cert.to_str().unwrap(),
        "STORAGE_TLS_KEY" => other_key.to_str().unwrap(),
        "STORAGE_ADMIN_TLS" => "false",
        "STORAGE_ADMIN_AUTH" => "required",
        "STORAGE_BACKEND_URLS" => "off",
        "STORAGE_TRUSTED_PROXIES" => "10.0.0.0/8, 2001:db8::1",
        "STORAGE_PROXY_HEADER" => "forwarded",
        "STORAGE_CORS_ORIGINS" => "none",
        "STORAGE_SIGNING_KEY" => CANARY,
        "STORAGE_SIGNING_KEY_PREVIOUS" => "another-secret-of-thirty-two-bytes-and-more",
        "STORAGE_LOG" => "warn",
        "STORAGE_RATE_PER_ADDRESS" | "STORAGE_RATE_PER_TOKEN" => "7/s burst 9",
        "STORAGE_WRITE_RATE_PER_ADDRESS" | "STORAGE_WRITE_RATE_PER_TOKEN" => "7/min",
        "STORAGE_ALLOW_LINK_LOCAL" => "true",
        "STORAGE_LOG_FORMAT" => "json",
        "STORAGE_DATA_DIR" => "/elsewhere",
        "STORAGE_KEY_PREFIX" => "other/",
        "STORAGE_WRITE_MODE" => "overwrite",
        "STORAGE_DEFAULT_CACHE_CONTROL" => "no-cache",
        "STORAGE_MAX_RETRIES" => "4",
        "STORAGE_MEMORY_BUDGET" => "10MiB",
        "STORAGE_ENDPOINT" | "STORAGE_PRESIGN_ENDPOINT" => "https://s3.example",
        "R2_ENDPOINT" | "R2_CDN_URL" => "https://r2.example",
        "STORAGE_PATH_STYLE" => "true",
        "STORAGE_ENCRYPTION" => "aws:kms",
        "STORAGE_OBJECT_LOCK" => "compliance",
        "STORAGE_FALLBACK_PROVIDER" => "s3",
        "STORAGE_KEYRING_FILE" => keys.to_str().unwrap(),
        "STORAGE_KEYRING" => &keyring,
        "STORAGE_REKEY_AT_START" => "true",
        "STORAGE_AUDIT" => "log",
        "STORAGE_AUDIT_DAILY" => "true",
        "STORAGE_AUDIT_SYNC" => "every-second",
        "STORAGE_AUDIT_FAILURE" => "serve",
        "STORAGE_AUDIT_KEY" => CANARY,
        "STORAGE_AUDIT_KEY_FILE" => keys.to_str().unwrap(),
        "STORAGE_HOLDS" => "on",
        "STORAGE_RETENTION" => "legal/=10y,audit=90d",
        "STORAGE_POOL_MODE" => "mirror",
        "STORAGE_POOL_MIN_COPIES" => "2",
        "STORAGE_POOL_HEDGE_PERCENT" => "7",
        _ => "12345",
    };
    // What a bucket needs, so that its settings mean something.
    let s3 = [
        ("STORAGE_PROVIDER", "s3"),
        ("STORAGE_BUCKET", "some-bucket"),
        ("STORAGE_ACCESS_KEY_ID", "some-id"),
        ("STORAGE_SECRET_ACCESS_KEY", "some-secret"),
    ];
    let r2 = [
        ("STORAGE_PROVIDER", "r2"),
        ("R2_ACCOUNT_ID", "account"),
        ("R2_BUCKET", "some-bucket"),
        ("R2_ACCESS_KEY_ID", "some-id"),
        ("R2_SECRET_ACCESS_KEY", "some-secret"),
    ];
    let local = [("STORAGE_BUCKET", "some-bucket")];
    let pool = [
        ("STORAGE_FALLBACK_PROVIDER", "s3"),
        ("STORAGE_BUCKET", "some-bucket"),
        ("STORAGE_POOL_MODE", "mirror"),
    ];
    let jwt = [
        ("STORAGE_JWT_JWKS", "/elsewhere/jwks.json"),
        ("STORAGE_JWT_ISSUER", "https://login.example"),
        ("STORAGE_JWT_AUDIENCE", "proofs"),
    ];
    for setting in SETTINGS {
        let base: &[_] = match setting.variable {
            "STORAGE_CACHE_BYTES" | "STORAGE_DISK_RESERVE" | "STORAGE_FALLBACK_PROVIDER" => &local,
            "STORAGE_ADMIN_AUTH" => &watched,
            name if name.starts_with("STORAGE_POOL_") => &pool,
            // Shown by what comes with them, and in `auth`.
            "STORAGE_PROVIDER" | "STORAGE_CONFIG" | "STORAGE_AUTH" => continue,
            name if name.starts_with("STORAGE_JWT_") => &jwt,
            name if name.contains("_TLS") => &tls,
            name if name.starts_with("R2_") => &r2,
            _ => &s3,
        };
        let others: Vec<_> =
            base.iter().copied().filter(|(name, _)| *name != setting.variable).collect();
        let value = other(setting.variable);
        let with = [&others[..], &[(setting.variable, value)]].concat();
        let by_variable = load(&with).unwrap().config;
        let without = load(if base == pool { &others } else { base }).unwrap().config;
        assert_ne!(by_variable, without, "{} is dropped", setting.variable);
        let Some((section, name)) = setting.key.and_then(|key| key.split_once('.')) else {
            continue;
        };
        let file = format!("[{section}]\n{name} = '{value}'\n");
        let by_file = load_file(&file, &others).unwrap().config;
        assert_eq!(by_file, by_variable, "{section}.{name} differs from {}", setting.variable);
    }
}
