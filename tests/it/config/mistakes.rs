//! What a person can get wrong, and what is said about it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use proof_storage::config::{Config, CorsOrigins, Sources};

use super::{CANARY, Folder, KEY, load, load_file, mistakes};

#[test]
fn all_mistakes_come_at_once_with_name_and_remedy() {
    let file = "[server]\nlisten = 5\nlog_fromat = 'json'\n[limits]\nheader_timeout = 'soon'\n\
                [storage]\nwrite_mode = 'append'\n";
    let given = [("STORAGE_MAX_OBJECT_BYTES", "6GiB"), ("STORAGE_LOG", "inof")];
    insta::assert_snapshot!(mistakes(load_file(file, &given)).join("\n"), @r"
    server.log_fromat (proofs.toml:3): is no key: did you mean server.log_format?
    server.listen (proofs.toml:2): `5` is not an IP address with a port: write for example 127.0.0.1:8080
    limits.header_timeout (proofs.toml:5): `soon` is not a number of milliseconds: write for example 30000
    STORAGE_MAX_OBJECT_BYTES: 6442450944 is out of range: give 1 to 5368709120
    storage.write_mode (proofs.toml:7): `append` is no choice: write `write-once` or `overwrite`
    STORAGE_LOG: `inof` is no level: did you mean `info`?
    ");
}

#[test]
fn each_kind_of_value_is_checked() {
    let wrong = [
        ("STORAGE_LISTEN", "8080"),
        ("STORAGE_LISTEN", "localhost:8080"),
        ("STORAGE_PUBLIC_URL", "example.org"),
        ("STORAGE_PUBLIC_URL", "https://example.org/?a=b"),
        ("STORAGE_CDN_URL", "s3://bucket"),
        ("STORAGE_CORS_ORIGINS", "https://a.example/path"),
        ("STORAGE_SIGNING_KEY", "short"),
        ("STORAGE_DRAIN_TIMEOUT", "30s"),
        ("STORAGE_HEADER_TIMEOUT", "0"),
        ("STORAGE_IDLE_TIMEOUT", "-1"),
        ("STORAGE_MAX_CONNECTIONS", "0"),
        ("STORAGE_MAX_CONNECTIONS_PER_ADDRESS", "0"),
        ("STORAGE_MAX_REQUESTS", "0"),
        ("STORAGE_RATE_PER_ADDRESS", "100"),
        ("STORAGE_RATE_PER_TOKEN", "0/s"),
        ("STORAGE_WRITE_RATE_PER_ADDRESS", "1/day"),
        ("STORAGE_WRITE_RATE_PER_TOKEN", "1/s bursts 3"),
        ("STORAGE_MIN_UPLOAD_RATE", "fast"),
        ("STORAGE_MIN_DOWNLOAD_RATE", "2GiB"),
        ("STORAGE_ALLOW_LINK_LOCAL", "yes"),
        ("STORAGE_ENDPOINT", "http://169.254.169.254"),
        ("STORAGE_ENDPOINT", "http://[fd00:ec2::254]/latest"),
        ("R2_ENDPOINT", "https://[::ffff:100.100.100.200]:443"),
        ("STORAGE_JWT_JWKS", "http://169.254.169.254/latest/meta-data"),
        ("STORAGE_MEMORY_BUDGET", "1MiB"),
        ("STORAGE_MEMORY_BUDGET", "lots"),
        ("STORAGE_MAX_OBJECT_BYTES", "0"),
        ("STORAGE_MAX_OBJECT_BYTES", "5368709121"),
        ("STORAGE_KEY_PREFIX", "/proofs/"),
        ("STORAGE_KEY_PREFIX", ".proof-storage/"),
        ("STORAGE_WRITE_MODE", "WRITE-ONCE"),
        ("STORAGE_DEFAULT_CACHE_CONTROL", "a\nb"),
        ("STORAGE_MAX_RETRIES", "many"),
        ("STORAGE_CACHE_BYTES", "-5"),
        ("STORAGE_LOG", "info,=="),
        ("STORAGE_LOG_FORMAT", "xml"),
        ("STORAGE_PROVIDER", "memory"),
        ("STORAGE_AUTH", "none"),
        ("STORAGE_ADMIN_LISTEN", "9090"),
        ("STORAGE_ADMIN_LISTEN", "127.0.0.1:8080"),
        ("STORAGE_TOKENS_FILE", "/no/such/file"),
        ("STORAGE_PUBLIC_READ", "a,/b"),
        ("STORAGE_JWT_JWKS", "ftp://a.example/jwks"),
        ("STORAGE_JWT_ISSUER", "https://a.example"),
        ("STORAGE_JWT_LEEWAY", "1h"),
    ];
    for (name, value) in wrong {
        let found = mistakes(load(&[(name, value)]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("{name}: ")), "{found:?}");
    }
    assert!(load(&[("STORAGE_MAX_OBJECT_BYTES", "5GiB")]).is_ok());
    assert!(load(&[("STORAGE_LOG", "warn,proof_storage::http=debug")]).is_ok());
}

#[test]
fn slips_are_mistakes_and_strangers_only_warn() {
    for (slip, meant) in [
        ("STORAGE_LISTNE", "STORAGE_LISTEN"),
        ("STORAGE_DATADIR", "STORAGE_DATA_DIR"),
        ("STORAGE_MAX_OBJECT_BYTE", "STORAGE_MAX_OBJECT_BYTES"),
        ("storage_listen", "STORAGE_LISTEN"),
        ("STORAGE_BUKET", "STORAGE_BUCKET"),
    ] {
        let found = mistakes(load(&[(slip, "x")]));
        assert_eq!(found, [format!("{slip}: is no setting: did you mean {meant}?")]);
    }
    // What Kubernetes sets for a Service called `storage`, and one called `storage-log`.
    let strangers = [
        ("STORAGE_SERVICE_HOST", "10.0.0.1"),
        ("STORAGE_SERVICE_PORT", "8080"),
        ("STORAGE_SERVICE_PORT_HTTP", "8080"),
        ("STORAGE_PORT", "tcp://10.0.0.1:8080"),
        ("STORAGE_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("STORAGE_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("STORAGE_PORT_8080_TCP_PORT", "8080"),
        ("STORAGE_PORT_8080_TCP_PROTO", "tcp"),
        ("STORAGE_LOG_PORT", "tcp://10.0.0.2:80"),
        ("STORAGE_COLOUR", "blue"),
    ];
    let loaded = load(&strangers).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.warnings.len(), strangers.len(), "{:?}", loaded.warnings);
    for (name, _) in strangers {
        assert!(loaded.warnings.iter().any(|text| text.starts_with(&format!("{name} "))), "{name}");
    }
}

#[test]
fn what_means_nothing_is_said_to_have_no_effect() {
    let unused = ["STORAGE_BUCKET", "STORAGE_SECRET_ACCESS_KEY", "R2_BUCKET", "R2_ACCOUNT_ID"];
    for name in unused {
        let warnings = load(&[(name, CANARY)]).unwrap().warnings;
        assert_eq!(warnings, [format!("{name} has no effect while the provider is `local`")]);
    }
    let s3 = [("STORAGE_PROVIDER", "s3"), ("STORAGE_BUCKET", "some-bucket")];
    for (name, when) in
        [("R2_BUCKET", "no provider is `r2`"), ("STORAGE_CACHE_BYTES", "no provider is `local`")]
    {
        let warnings = load(&[&s3[..], &[(name, "12345")]].concat()).unwrap().warnings;
        assert_eq!(warnings, [format!("{name} has no effect while {when}")]);
    }
    let warnings = load_file("[storage]\nbucket = 'bucket'\n", &[]).unwrap().warnings;
    assert!(warnings[0].starts_with("storage.bucket "), "{warnings:?}");
}

/// What is asked of all is not dropped by the one that cannot.
#[test]
fn encryption_is_not_asked_of_who_cannot() {
    let asked = |providers: [&str; 2], encryption: &str| {
        let [first, fallback] = providers;
        let fallback = Some(("STORAGE_FALLBACK_PROVIDER", fallback)).filter(|(_, p)| !p.is_empty());
        let settings = [
            ("STORAGE_PROVIDER", first),
            ("STORAGE_ENCRYPTION", encryption),
            ("STORAGE_BUCKET", "some-bucket"),
            ("R2_BUCKET", "some-bucket"),
            ("R2_ACCOUNT_ID", "abc"),
            ("R2_ACCESS_KEY_ID", "some-id"),
            ("R2_SECRET_ACCESS_KEY", CANARY),
        ];
        load(&settings.into_iter().chain(fallback).collect::<Vec<_>>())
    };
    for (providers, encryption, wanted) in [
        (["local", ""], "AES256", "the embedded store does not encrypt: remove it"),
        (["local", ""], "aws:kms", "the embedded store does not encrypt: remove it"),
        (["s3", "local"], "AES256", "the embedded store does not encrypt, and takes writes too"),
        (["local", "s3"], "aws:kms", "the embedded store does not encrypt, and takes writes too"),
        (["s3", "r2"], "aws:kms", "R2 encrypts under a key of its own only"),
        (["r2", "local"], "AES256", "R2 encrypts everything by itself"),
    ] {
        let found = mistakes(asked(providers, encryption));
        assert_eq!(found.len(), 1, "{providers:?} {encryption}: {found:?}");
        assert!(found[0].starts_with(&format!("STORAGE_ENCRYPTION: {wanted}")), "{found:?}");
    }
    for (providers, encryption) in
        [(["s3", ""], "aws:kms"), (["s3", "r2"], "AES256"), (["s3", "local"], "none")]
    {
        assert!(asked(providers, encryption).is_ok(), "{providers:?} {encryption}");
    }
    // Said of the one that can, it is of that one.
    let each = "[[backend]]\nname = 'a'\nprovider = 's3'\nbucket = 'bucket'\nencryption = 'AES256'\n\
                [[backend]]\nname = 'b'\nprovider = 'local'\n";
    assert!(load_file(each, &[]).is_ok());
}

/// Keys make the service do it, whatever the backend.
#[test]
fn envelopes_need_keys_and_no_particular_backend() {
    let keyring = format!("2026:active:{KEY}");
    let keys = ("STORAGE_KEYRING", &*keyring);
    let s3 = [("STORAGE_PROVIDER", "s3"), ("STORAGE_BUCKET", "some-bucket")];
    let both = [("STORAGE_FALLBACK_PROVIDER", "s3"), ("STORAGE_BUCKET", "some-bucket")];
    for (base, encryption, seals) in [
        (&[][..], "envelope", true),
        (&[], "AES256", true),
        (&[], "none", false),
        (&s3, "envelope", true),
        (&s3, "AES256", false),
        (&both, "AES256", true),
    ] {
        let given = [base, &[keys, ("STORAGE_ENCRYPTION", encryption)]].concat();
        let config = load(&given).unwrap().config;
        assert_eq!(config.storage.seals, seals, "{base:?} {encryption}");
    }
    let found = mistakes(load(&[("STORAGE_ENCRYPTION", "envelope")]));
    assert!(
        found[0].starts_with("STORAGE_ENCRYPTION: is `envelope`, which needs keys"),
        "{found:?}"
    );
    let found = mistakes(load(&[keys, ("STORAGE_ENCRYPTION", "aws:kms")]));
    assert!(found[0].contains("does not encrypt"), "{found:?}");

    // Of several backends it is said for all, or of each that takes writes.
    let table = "[[backend]]\nname = 'b'\nprovider = 's3'\nbucket = 'bucket'\n";
    let of_all = format!("[storage]\nencryption = 'envelope'\n{table}");
    assert!(load_file(&of_all, &[keys]).unwrap().config.storage.seals);
    let of_one = format!("{table}encryption = 'envelope'\n");
    assert!(load_file(&of_one, &[keys]).unwrap().config.storage.seals);
    assert!(
        mistakes(load_file(&of_one, &[]))[0].contains("encryption is `envelope`, which needs keys")
    );
    let local = "[[backend]]\nname = 'c'\nprovider = 'local'\n";
    for (second, expected) in [
        ("encryption = 'envelope'", Ok(true)),
        // What the embedded store is asked for by this name, the service does.
        ("encryption = 'AES256'", Ok(true)),
        ("role = 'read-only'", Ok(true)),
        ("", Err("backend `b` takes sealed ones only")),
        ("encryption = 'none'", Err("backend `b` takes sealed ones only")),
        ("encryption = 'aws:kms'", Err("does not encrypt")),
    ] {
        let file = format!("{of_one}{local}{second}\n");
        match (load_file(&file, &[keys]), expected) {
            (Ok(loaded), Ok(seals)) => assert_eq!(loaded.config.storage.seals, seals, "{second}"),
            (found, Err(text)) => assert!(mistakes(found)[0].contains(text), "{second}"),
            (Err(found), Ok(_)) => panic!("{second}: {found:?}"),
        }
    }
    let other = format!("[storage]\nencryption = 'AES256'\n{table}");
    assert!(mistakes(load_file(&other, &[keys]))[0].contains("does not go with [[backend]]"));
}

#[test]
fn a_keyring_is_a_file_or_a_text_and_others_shall_not_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let keyring = format!("2026:active:{KEY}");
    let folder = Folder::with(&keyring);
    let path = folder.file();
    let given = [("STORAGE_KEYRING_FILE", path.to_str().unwrap())];
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode));
    for (bits, warnings) in [(0o600, 0), (0o400, 0), (0o640, 1), (0o604, 1)] {
        mode(bits).unwrap();
        let loaded = load(&given).unwrap();
        assert!(loaded.config.storage.keyring.is_some());
        assert_eq!(loaded.warnings.len(), warnings, "{bits:o}: {:?}", loaded.warnings);
    }
    let found = mistakes(load(&[given[0], ("STORAGE_KEYRING", &keyring)]));
    assert!(found[0].contains("is said by STORAGE_KEYRING_FILE too"), "{found:?}");
    let found = mistakes(load(&[("STORAGE_KEYRING_FILE", "/no/such")]));
    assert!(found[0].starts_with("STORAGE_KEYRING_FILE: cannot read /no/such"), "{found:?}");
    let found = mistakes(load(&[("STORAGE_KEYRING", "2026:retired:x")]));
    assert!(found[0].starts_with("STORAGE_KEYRING: entry 1: the key is not 32 bytes"), "{found:?}");
}

#[test]
fn unknown_keys_are_mistakes_with_a_guess() {
    let file = "listen = 'x'\n[sevrer]\n[limits]\ntimeout = 5\nmax_conections = 5\n\
                [storage]\ncolour = 1\n";
    insta::assert_snapshot!(mistakes(load_file(file, &[])).join("\n"), @r"
    listen (proofs.toml:1): is no section: did you mean server.listen?
    sevrer (proofs.toml:2): is no section: did you mean server?
    limits.timeout (proofs.toml:4): is no key: did you mean storage.timeout?
    limits.max_conections (proofs.toml:5): is no key: did you mean limits.max_connections?
    storage.colour (proofs.toml:7): is no key: remove it
    ");
    assert_eq!(
        mistakes(load_file("server = 5\n", &[])),
        ["server (proofs.toml:1): is a section: write [server]"]
    );
}

#[test]
fn values_of_the_wrong_kind_are_mistakes() {
    for value in ["true", "1.5", "[1, 2]", "{ file = 'x' }", "1979-05-27"] {
        let found = mistakes(load_file(&format!("[limits]\nheader_timeout = {value}\n"), &[]));
        assert_eq!(found.len(), 1, "{value}: {found:?}");
    }
    // A list is for the one setting that is one.
    let found = mistakes(load_file("[storage]\ndata_dir = ['a', 'b']\n", &[]));
    assert_eq!(found.len(), 1, "{found:?}");
    let file = "[server]\ncors_origins = ['https://a.example', 'https://b.example']\n";
    let expected = ["https://a.example".to_owned(), "https://b.example".to_owned()];
    let loaded = load_file(file, &[]).unwrap().config;
    assert_eq!(loaded.server.cors_origins, CorsOrigins::List(expected.to_vec()));
    let number = load_file("[limits]\nmax_connections = 1_0_00\n", &[]).unwrap().config;
    assert_eq!(number.limits.max_connections, 1000);
    let hexadecimal = load_file("[limits]\nmax_connections = 0x10\n", &[]).unwrap().config;
    assert_eq!(hexadecimal.limits.max_connections, 16);
}

#[test]
fn a_missing_or_broken_file_is_a_mistake() {
    let missing = Config::load(Sources { environment: vec![], file: Some("/no/such/file".into()) });
    assert!(missing.unwrap_err().to_string().contains("/no/such/file: cannot be read"));
    assert!(load(&[("STORAGE_CONFIG", "/no/such/file")]).is_err());
    let found = mistakes(load_file("[server]\nlisten = \n", &[]));
    assert!(found[0].starts_with("proofs.toml:2: not TOML"), "{found:?}");
    let folder = Folder::with("[server]\nlisten = '127.0.0.1:7'\n");
    let by_variable = load(&[("STORAGE_CONFIG", folder.file().to_str().unwrap())]).unwrap();
    assert_eq!(by_variable.config.server.listen.port(), 7);
}

#[test]
fn variables_that_are_not_text_are_mistakes_only_where_they_are_ours() {
    let broken = || OsString::from_vec(vec![0xff]);
    let environment = vec![("STORAGE_LISTEN".into(), broken()), ("OTHER".into(), broken())];
    let found = mistakes(Config::load(Sources { environment, file: None }));
    assert_eq!(found, ["STORAGE_LISTEN: is not UTF-8"]);
}

#[test]
fn what_is_at_a_link_local_address_is_taken_where_that_is_said() {
    let bucket = [
        ("STORAGE_PROVIDER", "s3"),
        ("STORAGE_BUCKET", "proofs"),
        ("STORAGE_ENDPOINT", "http://169.254.7.7:9000"),
    ];
    let told = mistakes(load(&bucket)).join("\n");
    assert!(told.contains("STORAGE_ALLOW_LINK_LOCAL=true"), "{told}");
    let allowed = [&bucket[..], &[("STORAGE_ALLOW_LINK_LOCAL", "true")]].concat();
    assert!(load(&allowed).is_ok());
}
