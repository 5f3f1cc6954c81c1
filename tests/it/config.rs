//! Configuration as a person gives it: variables, files, mistakes, and the files we ship.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::time::Duration;

use proof_storage::config::{Config, CorsOrigins, Loaded, LogFormat, Problems, SETTINGS, Sources};

use proof_storage::model::WriteMode;

const CANARY: &str = "canary-of-thirty-two-bytes-and-more";

/// A folder with a configuration file in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn with(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("proofs.toml"), text).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("proofs.toml")
    }
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn load(pairs: &[(&str, &str)]) -> Result<Loaded, Problems> {
    Config::load(Sources { environment: variables(pairs), file: None })
}

fn load_file(text: &str, pairs: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let folder = Folder::with(text);
    Config::load(Sources { environment: variables(pairs), file: Some(folder.file()) })
}

/// The mistakes, each as `place: text` with the folder's name taken out.
fn mistakes(result: Result<Loaded, Problems>) -> Vec<String> {
    let problems = result.expect_err("a mistake was expected");
    problems
        .iter()
        .map(|problem| {
            let place = match problem.place.rsplit_once('/') {
                Some((before, name)) => {
                    let key = before.split_once('(').map_or("", |(key, _)| key);
                    if key.is_empty() { name.to_owned() } else { format!("{key}({name}") }
                }
                None => problem.place.clone(),
            };
            format!("{place}: {}", problem.text)
        })
        .collect()
}

#[test]
fn nothing_said_is_the_default() {
    let loaded = load(&[]).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.warnings, Vec::<String>::new());
    // The documented defaults, spelled out once apart from the table.
    let Config { server, limits, storage, log } = loaded.config;
    assert_eq!(server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(server.cors_origins, CorsOrigins::Any);
    assert_eq!((server.drain_delay, server.drain_timeout), (ms(0), ms(30_000)));
    assert_eq!((limits.header_timeout, limits.idle_timeout), (ms(10_000), ms(75_000)));
    assert_eq!((limits.max_connections, limits.body_idle_timeout), (10_000, ms(30_000)));
    assert_eq!((limits.memory_budget_bytes, limits.max_object_bytes), (64 << 20, 100 << 20));
    assert_eq!((storage.max_retries, storage.timeout), (3, ms(30_000)));
    assert_eq!((storage.cache_bytes, storage.disk_reserve_bytes), (32 << 20, 256 << 20));
    assert_eq!(storage.namespace.prefix(), "proofs/");
    assert_eq!((storage.data_dir, storage.write_mode), ("./data".into(), WriteMode::WriteOnce));
    assert_eq!((log.filter.as_str(), log.slow_request), ("info", ms(1000)));
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn a_variable_wins_over_the_file_and_an_empty_one_is_unset() {
    let file = "[server]\nlisten = '127.0.0.1:1'\n[storage]\ntimeout = 7\nmax_retries = 9\n\
                [limits]\nmemory_budget = '16MiB'\n";
    let given = [("STORAGE_LISTEN", "127.0.0.1:2"), ("STORAGE_TIMEOUT", ""), ("PATH", "/bin")];
    let loaded = load_file(file, &given).unwrap();
    assert_eq!(loaded.config.server.listen.port(), 2);
    assert_eq!(loaded.config.storage.timeout, ms(7));
    assert_eq!(loaded.config.storage.max_retries, 9);
    assert_eq!(loaded.config.limits.memory_budget_bytes, 16 << 20);
    let source = |name: &str| {
        let shown = loaded.effective.iter().find(|shown| shown.variable == name).unwrap();
        shown.source.to_string()
    };
    assert_eq!(source("STORAGE_LISTEN"), "variable");
    assert!(source("STORAGE_TIMEOUT").ends_with("proofs.toml:4)"), "{}", source("STORAGE_TIMEOUT"));
    assert_eq!(source("STORAGE_CONFIG"), "command line");
    assert_eq!(source("STORAGE_LOG"), "default");
}

#[test]
fn every_variable_and_every_key_takes_effect() {
    // One legal value for each setting that is not its default.
    let other = |variable: &str| match variable {
        "STORAGE_LISTEN" => "[::1]:9000",
        "STORAGE_PUBLIC_URL" | "STORAGE_CDN_URL" => "https://a.example/b",
        "STORAGE_CORS_ORIGINS" => "none",
        "STORAGE_SIGNING_KEY" => CANARY,
        "STORAGE_SIGNING_KEY_PREVIOUS" => "another-secret-of-thirty-two-bytes-and-more",
        "STORAGE_LOG" => "warn",
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
    for setting in SETTINGS {
        let base: &[_] = match setting.variable {
            "STORAGE_PROVIDER" | "STORAGE_CONFIG" => continue, // shown by what comes with them
            name if name.starts_with("R2_") => &r2,
            _ => &s3,
        };
        let others: Vec<_> =
            base.iter().copied().filter(|(name, _)| *name != setting.variable).collect();
        let value = other(setting.variable);
        let with = [&others[..], &[(setting.variable, value)]].concat();
        let by_variable = load(&with).unwrap().config;
        assert_ne!(by_variable, load(base).unwrap().config, "{} is dropped", setting.variable);
        let Some((section, name)) = setting.key.and_then(|key| key.split_once('.')) else {
            continue;
        };
        let file = format!("[{section}]\n{name} = '{value}'\n");
        let by_file = load_file(&file, &others).unwrap().config;
        assert_eq!(by_file, by_variable, "{section}.{name} differs from {}", setting.variable);
    }
}

#[test]
fn a_bucket_needs_all_that_reaches_it() {
    let found = mistakes(load(&[("STORAGE_PROVIDER", "s3")]));
    assert_eq!(found, ["STORAGE_BUCKET: is not set: the provider `s3` needs a bucket"]);
    let half = [
        ("STORAGE_PROVIDER", "s3"),
        ("STORAGE_BUCKET", "some-bucket"),
        ("STORAGE_ACCESS_KEY_ID", CANARY),
    ];
    let wanted = "STORAGE_SECRET_ACCESS_KEY: is not set: a key id is given without its secret";
    assert_eq!(mistakes(load(&half)), [wanted]);
    let r2 = [("STORAGE_PROVIDER", "r2"), ("STORAGE_ENCRYPTION", "AES256")];
    insta::assert_snapshot!(mistakes(load(&r2)).join("\n"), @r"
    R2_BUCKET: is not set: the provider `r2` needs a bucket
    R2_ACCOUNT_ID: is not set: the provider `r2` needs the account's id, or R2_ENDPOINT
    STORAGE_ENCRYPTION: R2 encrypts everything by itself and takes no such request: remove it
    R2_ACCESS_KEY_ID: is not set: the provider `r2` needs an API token's key id and secret
    ");
    let wrong = [("STORAGE_PROVIDER", "s3"), ("STORAGE_BUCKET", "s3://some-bucket/x")];
    assert_eq!(mistakes(load(&wrong)).len(), 1);
}

#[test]
fn the_account_of_r2_makes_its_endpoint() {
    let base = [
        ("STORAGE_PROVIDER", "r2"),
        ("R2_BUCKET", "some-bucket"),
        ("R2_ACCOUNT_ID", "abc"),
        ("R2_ACCESS_KEY_ID", "some-id"),
        ("R2_SECRET_ACCESS_KEY", CANARY),
    ];
    let endpoint = |settings: &[(&str, &str)]| {
        let remote = load(settings).unwrap().config.storage.remote.unwrap();
        assert_eq!(remote.region.as_deref(), Some("auto"));
        assert!(!format!("{remote:?}").contains(CANARY));
        remote.endpoint.unwrap().as_str().to_owned()
    };
    assert_eq!(endpoint(&base), "https://abc.r2.cloudflarestorage.com");
    let eu = ("R2_ENDPOINT", "https://abc.eu.r2.cloudflarestorage.com");
    assert_eq!(endpoint(&[&base[..], &[eu]].concat()), eu.1);

    // A domain of one's own serves public reads, and honours no signature.
    let seen = |url| [&base[..], &[("STORAGE_PRESIGN_ENDPOINT", url)]].concat();
    let wrong = mistakes(load(&seen("https://files.example.org")));
    assert!(wrong.len() == 1 && wrong[0].starts_with("STORAGE_PRESIGN_ENDPOINT: R2"), "{wrong:?}");
    endpoint(&seen("https://abc.eu.r2.cloudflarestorage.com"));
    // Something in between that passes requests on is not known to be wrong.
    let local = [("R2_ENDPOINT", "http://127.0.0.1:9000")];
    endpoint(&[&seen("http://localhost:9000")[..], &local].concat());
}

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
fn what_is_not_built_is_refused_or_said_to_have_no_effect() {
    let found = mistakes(load(&[("STORAGE_FALLBACK_PROVIDER", "s3")]));
    assert!(found[0].contains("not in this version"), "{found:?}");
    for file in [
        "[pool]\nmode = 'mirror'\n",
        "[[backend]]\nname = 'a'\n",
        "[auth]\n",
        "[storage]\nfallback_provider = 's3'\n",
    ] {
        let found = mistakes(load_file(file, &[]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("not in this version"), "{found:?}");
    }
    let unused = ["STORAGE_BUCKET", "STORAGE_SECRET_ACCESS_KEY", "R2_BUCKET", "R2_ACCOUNT_ID"];
    for name in unused {
        let warnings = load(&[(name, CANARY)]).unwrap().warnings;
        assert_eq!(warnings, [format!("{name} has no effect while the provider is `local`")]);
    }
    let warnings = load_file("[storage]\nbucket = 'bucket'\n", &[]).unwrap().warnings;
    assert!(warnings[0].starts_with("storage.bucket "), "{warnings:?}");
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
fn secrets_come_from_text_file_or_variable() {
    let folder = Folder::with("");
    let path = folder.0.path().join("key");
    std::fs::write(&path, format!("{CANARY}\n")).unwrap();
    let reference = |value: &str| format!("[server]\nsigning_key = {value}\n");
    let in_file = reference(&format!("{{ file = '{}' }}", path.display()));
    for file in [reference(&format!("'{CANARY}'")), in_file, reference("{ env = 'KEY' }")] {
        let config = load_file(&file, &[("KEY", CANARY)]).unwrap().config;
        assert_eq!(config.server.signing_key.unwrap().expose(), CANARY.as_bytes(), "{file}");
    }
    for wrong in ["{ env = 'NONE' }", "{ file = '/no/such' }", "{ fil = 'x' }", "{}", "5", "''"] {
        let found = mistakes(load_file(&reference(wrong), &[]));
        assert_eq!(found.len(), 1, "{wrong}: {found:?}");
        assert!(found[0].starts_with("server.signing_key (proofs.toml:2): "), "{found:?}");
    }
}

#[test]
fn no_secret_is_ever_shown() {
    let short = "canary-short";
    let shown = |result: Result<Loaded, Problems>| format!("{result:?}");
    let file = format!("[server]\nsigning_key = '{CANARY}'\nsigning_key_previous = '{CANARY}'\n");
    let sources =
        Sources { environment: variables(&[("STORAGE_SIGNING_KEY", CANARY)]), file: None };
    let texts = [
        format!("{sources:?}"),
        shown(load(&[("STORAGE_SIGNING_KEY", CANARY), ("STORAGE_SECRET_ACCESS_KEY", CANARY)])),
        shown(load(&[("STORAGE_SIGNING_KEY", short)])),
        shown(load(&[("STORAGE_SIGNING_KYE", CANARY)])),
        shown(load_file(&file, &[])),
        // The line that is broken is the one with the secret.
        shown(load_file(&format!("[server]\nsigning_key = '{CANARY}\n"), &[])),
        shown(load_file(&format!("[server]\nsigning_key = \"{CANARY}\" x\n"), &[])),
        shown(load_file(&format!("[server]\nsigning_kye = '{CANARY}'\n"), &[])),
        shown(load_file(&format!("[server]\nsigning_key = {{ {CANARY} = 'a' }}\n"), &[])),
        shown(load_file(&format!("[[backend]]\nsecret_access_key = '{CANARY}'\n"), &[])),
        shown(load(&[("STORAGE_PUBLIC_URL", "https://user:canary@a.example")])),
        shown(load(&[("STORAGE_CDN_URL", "canary@@::")])),
    ];
    for text in &texts {
        assert!(!text.contains("canary"), "{text}");
    }
    // The control: what is no secret is shown, so the search can find something.
    assert!(shown(load(&[("STORAGE_LISTEN", "canary")])).contains("canary"));
}

#[test]
fn default_toml_is_the_default_and_shows_every_setting() {
    let path = crate::project_file("config/default.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let loaded = Config::load(Sources { environment: vec![], file: Some(path) }).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(undocumented(&text), Vec::<String>::new());

    // The examples that are commented out are legal too.
    let examples: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if assignment(rest).is_some() => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let examples = examples.replace("/run/secrets/", "/no/such/folder/");
    let found = mistakes(load_file(&examples, &[]));
    assert_eq!(found.len(), 4, "only the four secret files are missing: {found:?}");
    assert!(found.iter().all(|text| text.contains("cannot read /no/such/folder/")), "{found:?}");
}

#[test]
fn a_setting_missing_from_default_toml_is_noticed() {
    let text = std::fs::read_to_string(crate::project_file("config/default.toml")).unwrap();
    for (from, to) in [
        ("\ndrain_delay = 0\n", "\n"),
        ("drain_timeout = 30000", "drain_timeout = 30001"),
        ("STORAGE_TIMEOUT", "STORAGE_TIMEOU"),
        ("# cdn_url =", "# cdn ="),
        ("key_prefix = \"proofs/\"", "# key_prefix = \"x/\""),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        assert_eq!(undocumented(&changed).len(), 1, "{from}");
    }
}

/// Settings that a file like `config/default.toml` fails to show with variable, comment and
/// default.
fn undocumented(text: &str) -> Vec<String> {
    let mut shown = Vec::new();
    let (mut section, mut comment) = ("", String::new());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        }
        let hidden = line.strip_prefix("# ").and_then(assignment);
        if let Some((name, value)) = assignment(line).or(hidden) {
            let words: Vec<String> = comment.split_whitespace().map(str::to_owned).collect();
            shown.push((format!("{section}.{name}"), value, hidden.is_some(), words));
        }
        match line.strip_prefix('#') {
            Some(rest) if hidden.is_none() => comment.push_str(rest),
            _ => comment.clear(),
        }
    }
    let documented = |key: &str, variable: &str, default: Option<&str>| {
        shown.iter().any(|(at, value, hidden, words)| {
            let is_default = match default {
                Some(default) => value.trim_matches('"') == default,
                None => *hidden,
            };
            // A comment says more than the variable's name.
            at == key && is_default && words.len() > 3 && words.iter().any(|w| w == variable)
        })
    };
    SETTINGS
        .iter()
        .filter_map(|setting| Some((setting.key?, setting)))
        .filter(|(key, setting)| !documented(key, setting.variable, setting.default))
        .map(|(key, _)| key.to_owned())
        .collect()
}

/// `name = value`, where the line is one.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(" = ")?;
    let bare = |c: char| c.is_ascii_lowercase() || c == '_';
    (!name.is_empty() && name.chars().all(bare)).then_some((name, value))
}

#[test]
fn docker_toml_is_sound() {
    let file = Some(crate::project_file("config/docker.toml"));
    let loaded = Config::load(Sources { environment: vec![], file }).unwrap();
    assert!(loaded.config.server.listen.ip().is_unspecified());
    assert_eq!(loaded.config.log.format, LogFormat::Json);
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn readme_shows_every_setting() {
    let readme = std::fs::read_to_string(crate::project_file("README.md")).unwrap();
    let table = proof_storage::cli::settings_table();
    assert_eq!(table.lines().count(), SETTINGS.len() + 2);
    for row in table.lines() {
        assert!(
            readme.lines().any(|line| line == row),
            "README.md lacks this row (`proof-storage reference` prints the table):\n{row}"
        );
    }
}
