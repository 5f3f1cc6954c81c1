//! Several backends: by two variables, or by any number of `[[backend]]`.

use std::time::Duration;

use proof_storage::config::{BACKEND_KEYS, Config, Loaded, Problems};
use proof_storage::model::{LockMode, PoolMode, Provider, Role};

use super::{CANARY, load, load_file, mistakes};

/// A file with these tables, each of which has a name, and what each needs beside it.
fn tables(tables: &[&str]) -> String {
    let texts = tables.iter().enumerate().map(|(index, table)| {
        let name = if table.contains("name =") { "" } else { &format!("name = 'b{index}'\n") };
        format!("[[backend]]\n{name}{table}\n")
    });
    texts.collect()
}

fn names(config: &Config) -> Vec<(&str, Provider)> {
    config.backends.iter().map(|backend| (&*backend.name, backend.provider())).collect()
}

fn one_mistake(result: Result<Loaded, Problems>, text: &str) {
    let found = mistakes(result);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains(text), "{text:?} is not in {found:?}");
}

const S3: &str = "provider = 's3'\nbucket = 'bucket-a'";
const OTHER: &str = "provider = 's3'\nbucket = 'bucket-b'";
const LOCAL: &str = "provider = 'local'";

#[test]
fn a_fallback_provider_makes_a_pool_of_two() {
    let base = [("STORAGE_FALLBACK_PROVIDER", "local"), ("STORAGE_BUCKET", "some-bucket")];
    let config = load(&[&base[..], &[("STORAGE_PROVIDER", "s3")]].concat()).unwrap().config;
    assert_eq!(names(&config), [("s3", Provider::S3), ("local", Provider::Local)]);
    assert_eq!(config.pool.mode, PoolMode::Fallback);
    let probes: Vec<_> = config.backends.iter().map(|backend| backend.probe_interval).collect();
    assert_eq!(probes, [Duration::from_secs(10), Duration::from_secs(1)]);
    let file = "[storage]\nprovider = 's3'\nfallback_provider = 'local'\nbucket = 'some-bucket'\n";
    assert_eq!(load_file(file, &[]).unwrap().config, config);
}

#[test]
fn each_provider_of_a_pair_has_variables_of_its_own() {
    let both = [
        ("STORAGE_PROVIDER", "s3"),
        ("STORAGE_FALLBACK_PROVIDER", "r2"),
        ("STORAGE_BUCKET", "of-amazon"),
        ("STORAGE_ENDPOINT", "https://s3.example"),
        ("STORAGE_ENCRYPTION", "AES256"),
        ("STORAGE_REGION", "eu-central-1"),
        ("STORAGE_ACCESS_KEY_ID", "amazon-id"),
        ("STORAGE_SECRET_ACCESS_KEY", CANARY),
        ("R2_BUCKET", "of-cloudflare"),
        ("R2_ACCOUNT_ID", "abc"),
        ("R2_ACCESS_KEY_ID", "cloudflare-id"),
        ("R2_SECRET_ACCESS_KEY", CANARY),
    ];
    let loaded = load(&both).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let [s3, r2] = &loaded.config.backends[..] else { panic!("two backends") };
    let (s3, r2) = (s3.remote().unwrap(), r2.remote().unwrap());
    assert_eq!((s3.bucket.as_str(), r2.bucket.as_str()), ("of-amazon", "of-cloudflare"));
    assert_eq!(s3.endpoint.as_ref().unwrap().as_str(), "https://s3.example");
    assert_eq!(r2.endpoint.as_ref().unwrap().as_str(), "https://abc.r2.cloudflarestorage.com");
    let key_id = |remote: &proof_storage::config::RemoteConfig| {
        remote.credentials.as_ref().unwrap().access_key_id.expose().to_owned()
    };
    assert_eq!((key_id(s3).as_str(), key_id(r2).as_str()), ("amazon-id", "cloudflare-id"));
    // What Amazon was given is no one else's: neither bucket nor credentials are borrowed.
    let found = mistakes(load(&both[..8]));
    insta::assert_snapshot!(found.join("\n"), @r"
    R2_BUCKET: is not set: the provider `r2` needs a bucket
    R2_ACCOUNT_ID: is not set: the provider `r2` needs the account's id, or an endpoint
    R2_ACCESS_KEY_ID: is not set: the provider `r2` needs an API token's key id and secret
    ");
}

#[test]
fn two_of_one_provider_are_for_the_file() {
    let twice = [
        ("STORAGE_PROVIDER", "s3"),
        ("STORAGE_FALLBACK_PROVIDER", "s3"),
        ("STORAGE_BUCKET", "some-bucket"),
    ];
    one_mistake(load(&twice), "[[backend]]");
    one_mistake(load(&[("STORAGE_FALLBACK_PROVIDER", "local")]), "STORAGE_FALLBACK_PROVIDER: ");
}

#[test]
fn one_table_is_a_single_backend_and_several_are_a_fallback() {
    let single = load_file(&tables(&[S3]), &[]).unwrap().config;
    assert_eq!(names(&single), [("b0", Provider::S3)]);
    let several = load_file(&tables(&[OTHER, LOCAL, S3]), &[]).unwrap();
    let expected = [("b0", Provider::S3), ("b1", Provider::Local), ("b2", Provider::S3)];
    assert_eq!(names(&several.config), expected);
    assert_eq!(several.config.pool.mode, PoolMode::Fallback);
    // The variable of the one backend does not seem to be in effect.
    let shown = several.effective.iter().find(|s| s.variable == "STORAGE_PROVIDER").unwrap();
    assert_eq!(shown.value, None);
}

#[test]
fn a_mirror_acknowledges_at_one_copy_less_than_it_has_homes() {
    let min_copies = |members: &[&str], pool: &str| {
        let file = format!("[pool]\nmode = 'mirror'\n{pool}{}", tables(members));
        load_file(&file, &[]).map(|loaded| loaded.config.pool.min_copies)
    };
    let archive = "provider = 'r2'\nbucket = 'bucket'\naccount_id = 'a'\nrole = 'read-only'\n\
                   access_key_id = 'i'\nsecret_access_key = 's'";
    assert_eq!(min_copies(&[S3, OTHER], ""), Ok(1));
    assert_eq!(min_copies(&[S3, OTHER, LOCAL], ""), Ok(2));
    assert_eq!(min_copies(&[S3, OTHER, archive], ""), Ok(1), "nothing is written to an archive");
    assert_eq!(min_copies(&[S3, OTHER, LOCAL], "min_copies = 3\n"), Ok(3));
    let too_many = min_copies(&[S3, OTHER, archive], "min_copies = 3\n").unwrap_err();
    assert!(too_many.to_string().contains("3 are more than the 2"), "{too_many}");
    assert!(min_copies(&[S3, OTHER], "min_copies = 0\n").is_err());
}

#[test]
fn what_only_a_pool_can_do_is_not_promised_by_one_backend() {
    one_mistake(load(&[("STORAGE_POOL_MODE", "mirror")]), "STORAGE_POOL_MODE: needs several");
    one_mistake(load(&[("STORAGE_POOL_MIN_COPIES", "1")]), "needs several backends");
    one_mistake(load_file("[pool]\nmode = 'fallback'\n", &[]), "pool.mode (proofs.toml:2)");
    assert!(load_file("[pool]\n", &[]).is_ok());
    let role = format!("{S3}\nrole = 'read-only'");
    one_mistake(load_file(&tables(&[&role]), &[]), "it cannot be `read-only`");
    let quota = format!("{S3}\nquota_bytes = '10GiB'");
    one_mistake(load_file(&tables(&[&quota]), &[]), "quota_bytes needs another");
    let pool = [
        ("STORAGE_FALLBACK_PROVIDER", "s3"),
        ("STORAGE_BUCKET", "some-bucket"),
        ("STORAGE_POOL_MIN_COPIES", "2"),
    ];
    one_mistake(load(&pool), "of the mode `mirror` only");
}

#[test]
fn roles_and_quotas_are_read() {
    let drained = format!("{S3}\nrole = 'drain'");
    let taking = format!("{OTHER}\nrole = 'write-only'\nquota_bytes = '10GiB'");
    let config = load_file(&tables(&[&drained, &taking]), &[]).unwrap().config;
    let roles: Vec<_> = config.backends.iter().map(|backend| backend.role).collect();
    assert_eq!(roles, [Role::Drain, Role::WriteOnly]);
    assert_eq!(config.backends[1].quota_bytes, Some(10 << 30));
    for role in ["read-only", "drain"] {
        let [one, other] = [S3, OTHER].map(|table| format!("{table}\nrole = '{role}'"));
        one_mistake(load_file(&tables(&[&one, &other]), &[]), "take no writes");
    }
    let [one, other] = [S3, OTHER].map(|table| format!("{table}\nrole = 'write-only'"));
    one_mistake(load_file(&tables(&[&one, &other]), &[]), "serve no reads");
    let wrong = format!("{S3}\nrole = 'readonly'");
    one_mistake(load_file(&tables(&[&wrong]), &[]), "backend.role (proofs.toml:5)");
}

/// A second name for one store would be a second copy that is none.
#[test]
fn two_backends_are_never_one_store() {
    let again = "provider = 's3'\nbucket = 'bucket-a'\nregion = 'eu-west-1'";
    one_mistake(load_file(&tables(&[S3, again]), &[]), "endpoint and bucket of backend `b0`");
    let cluster = |host: &str| format!("{S3}\nendpoint = 'https://{host}'");
    let same = tables(&[&cluster("s3.example"), &cluster("S3.example/")]);
    one_mistake(load_file(&same, &[]), "endpoint and bucket");
    let two = tables(&[&cluster("one.example"), &cluster("two.example"), S3]);
    assert_eq!(load_file(&two, &[]).unwrap().config.backends.len(), 3);

    let folder = |path: &str| format!("{LOCAL}\ndata_dir = '{path}'");
    for (one, other) in [
        ("./data", "data"),
        ("./data", "other/../data"),
        ("/no/such/a", "/no/such/a/b"),
        ("/no/such/a/b", "/no/such/a"),
    ] {
        let file = tables(&[&folder(one), &folder(other)]);
        one_mistake(load_file(&file, &[]), "folder, or one inside of it, of backend `b0`");
    }
    one_mistake(load_file(&tables(&[LOCAL, LOCAL]), &[]), "folder");
    assert!(load_file(&tables(&[&folder("/no/such/a"), &folder("/no/such/ab")]), &[]).is_ok());
}

#[test]
fn all_mistakes_of_all_tables_come_at_once() {
    let file = "\
[[backend]]
name = 'Frankfurt'
provider = 's3'
bucket = 'bucket-a'
[[backend]]
provider = 'r2'
bucket = 'bucket'
region = 'eu'
data_dir = '/x'
encryption = 'AES256'
acces_key_id = 'x'
[[backend]]
name = 'third'
provider = 'memory'
[[backend]]
name = 'fourth'
provider = 'local'
key_prefix = 'other/'
quota_bytes = 'much'
[[backend]]
name = 'fourth'
provider = 's3'
bucket = 'bucket-b'
secret_access_key = 'x'
timeout = 'soon'
";
    insta::assert_snapshot!(mistakes(load_file(file, &[])).join("\n"), @r"
    backend.acces_key_id (proofs.toml:11): is no key: did you mean access_key_id?
    backend.name (proofs.toml:2): `Frankfurt` is no name of a backend: write 1 to 32 of a-z, 0-9 and -
    backend 2 (proofs.toml:5): name is not set: each backend has a name of its own
    backend.data_dir (proofs.toml:9): means nothing to the provider `r2`: remove it
    backend 2 (proofs.toml:5): account_id is not set: the provider `r2` needs the account's id, or an endpoint
    backend.encryption (proofs.toml:10): R2 encrypts everything by itself and takes no such request: remove it
    backend 2 (proofs.toml:5): access_key_id is not set: the provider `r2` needs an API token's key id and secret
    backend.provider (proofs.toml:14): `memory` is no provider: write `local`, `s3` or `r2`
    backend.key_prefix (proofs.toml:18): is `other/` where the service's is `proofs/`: a proof has the same name in every backend, so remove it here and set STORAGE_KEY_PREFIX for all
    backend.quota_bytes (proofs.toml:19): `much` is not a size: write bytes as a number, or a form such as 64MiB
    backend.timeout (proofs.toml:25): `soon` is not a number of milliseconds: write for example 30000
    backend 5 (proofs.toml:20): access_key_id is not set: a secret is given without its key id
    backend 5 (proofs.toml:20): has the name of an earlier backend: give it its own
    ");
    for file in ["backend = 5\n", "[backend]\nname = 'a'\n", "backend = [1]\n"] {
        one_mistake(load_file(file, &[]), "is a list of tables: write [[backend]]");
    }
}

#[test]
fn tables_and_variables_of_one_backend_do_not_mix() {
    let file = tables(&[S3]);
    for (name, value) in [
        ("STORAGE_PROVIDER", "s3"),
        ("STORAGE_FALLBACK_PROVIDER", "local"),
        ("STORAGE_BUCKET", "some-bucket"),
        ("STORAGE_SECRET_ACCESS_KEY", CANARY),
        ("STORAGE_ENCRYPTION", "AES256"),
        ("R2_BUCKET", "some-bucket"),
    ] {
        let found = mistakes(load_file(&file, &[(name, value)]));
        assert_eq!(found, [format!("{name}: does not go with [[backend]]: say it there instead")]);
    }
    let mixed = format!("[storage]\nbucket = 'some-bucket'\n{file}");
    one_mistake(load_file(&mixed, &[]), "storage.bucket (proofs.toml:2): does not go");
    // A variable that the table refers to is said there.
    let referring = format!(
        "{file}access_key_id = {{ env = 'STORAGE_ACCESS_KEY_ID' }}\n\
         secret_access_key = {{ env = 'STORAGE_SECRET_ACCESS_KEY' }}\n"
    );
    let given = [("STORAGE_ACCESS_KEY_ID", "id"), ("STORAGE_SECRET_ACCESS_KEY", CANARY)];
    let loaded = load_file(&referring, &given).unwrap();
    let remote = loaded.config.backends[0].remote().unwrap();
    assert_eq!(remote.credentials.as_ref().unwrap().secret_access_key.expose(), CANARY);
    assert!(!format!("{loaded:?}").contains(CANARY));
}

#[test]
fn a_table_says_more_than_what_is_said_of_all() {
    let own = format!(
        "{S3}\ntimeout = 7\nmax_retries = 8\nprobe_interval = 900\npath_style = true\nobject_lock = 'compliance'"
    );
    let file = format!(
        "[storage]\ntimeout = 100\nmax_retries = 1\nmax_in_flight = 5\nprobe_interval = 500\n\
         object_lock = 'off'\n{}",
        tables(&[&own, OTHER, &format!("{LOCAL}\ndisk_reserve = '1MiB'")])
    );
    let config = load_file(&file, &[]).unwrap().config;
    let [own, other, local] = &config.backends[..] else { panic!("three backends") };
    let figures = |index: usize| {
        let backend = &config.backends[index];
        let remote = backend.remote().unwrap();
        let [timeout, probe] = [backend.timeout, backend.probe_interval].map(|d| d.as_millis());
        (timeout, probe, remote.max_retries, remote.max_in_flight)
    };
    assert_eq!((figures(0), figures(1)), ((7, 900, 8, 5), (100, 500, 1, 5)));
    assert!(own.remote().unwrap().path_style && !other.remote().unwrap().path_style);
    let locks = [own, other].map(|backend| backend.remote().unwrap().object_lock);
    assert_eq!(locks, [LockMode::Compliance, LockMode::Off]);
    let local = local.local().unwrap();
    assert_eq!((local.disk_reserve_bytes, local.cache_bytes), (1 << 20, 32 << 20));
    assert_eq!(local.data_dir, config.storage.data_dir);
}

#[test]
fn urls_in_results_are_of_the_first_that_takes_writes() {
    let url = |file: &str| {
        let loaded = load_file(file, &[("STORAGE_CDN_URL", "https://front.example")]).unwrap();
        let home = loaded.config.home().unwrap();
        let url = home.cdn_url.as_ref().or(loaded.config.storage.cdn_url.as_ref());
        (url.unwrap().as_str().to_owned(), loaded.warnings)
    };
    let one = format!("{S3}\ncdn_url = 'https://bucket-a.example'");
    let other = format!("{OTHER}\ncdn_url = 'https://bucket-b.example'");
    assert_eq!(url(&tables(&[S3, LOCAL])), ("https://front.example".into(), vec![]));
    assert_eq!(url(&tables(&[&one, LOCAL])), ("https://bucket-a.example".into(), vec![]));
    let archive = format!("{one}\nrole = 'read-only'");
    let (first, warnings) = url(&tables(&[&archive, &other]));
    assert_eq!(first, "https://bucket-b.example");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("cdn_url has no effect"), "{warnings:?}");
}

/// The shipped example, whose secrets are in variables.
#[test]
fn pool_toml_is_sound_and_shows_every_key() {
    let text = std::fs::read_to_string(crate::project_file("config/pool.toml")).unwrap();
    let variables: Vec<_> = text
        .split("{ env = \"")
        .skip(1)
        .map(|rest| (rest.split('"').next().unwrap(), "some-secret"))
        .collect();
    let loaded = load_file(&text, &variables).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(loaded.config.backends.len(), 4);
    assert_eq!((loaded.config.pool.mode, loaded.config.pool.min_copies), (PoolMode::Mirror, 2));
    let shown = |text: &str| {
        let shows = |key: &str| text.lines().any(|line| line.starts_with(&format!("{key} = ")));
        BACKEND_KEYS.iter().filter(|key| !shows(key.name)).map(|key| key.name).collect::<Vec<_>>()
    };
    assert_eq!(shown(&text), Vec::<&str>::new());
    assert_eq!(shown(&text.replace("\nkms_key_id = ", "\n# kms = ")), ["kms_key_id"]);
}

#[test]
fn readme_shows_every_key_of_a_backend() {
    let readme = std::fs::read_to_string(crate::project_file("README.md")).unwrap();
    let table = proof_storage::cli::backend_keys_table();
    assert_eq!(table.lines().count(), BACKEND_KEYS.len() + 2);
    for row in table.lines() {
        assert!(readme.lines().any(|line| line == row), "README.md lacks this row:\n{row}");
    }
}
