//! Row 14: nothing tells a secret, and nothing is unpacked beyond what is allowed.
//!
//! Every secret that a run is given is a canary: keys that sign, that chain the audit log, that seal
//! proofs, that open a bucket, tokens and signed URLs, also wrong ones and those in wrong places. They
//! are looked for in everything that the service prints or answers or leaves on a disk, and what is
//! stored sealed in everything but its own answer. The log is at `trace`, that of libraries too but for the AWS
//! SDK's. Then a gzip bomb is stored.
//!
//! Controls: canaries of the same kind where they have to be seen (in the log, the answers, the audit log,
//! a data directory, a bucket, a core dump) must all be found; and a store that holds what it is sent in
//! memory must cost more than the goal.

mod bomb;
mod canary;
mod mistakes;
mod visit;

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use fake_s3::{Effect, FakeS3, Fault, Personality};
use fastrand::Rng;
use rustix::process::Signal;

use self::canary::{Hunt, Kind};
use self::visit::Visitor;
use super::{Context, Outcome};
use crate::Result;
use crate::server::{Launch, Server, run as run_program};

const START_LIMIT: Duration = Duration::from_secs(30);
/// Lures, and where each has to be found.
const LURED: [(&str, &str); 6] = [
    (KEY, "answers"),
    (KEY, "audit log"),
    (BODY, "data directory"),
    (BODY, "bucket"),
    (FOLDER, "log"),
    (BODY, CORE),
];
const KEY: &str = "a key";
const BODY: &str = "a proof that is not sealed";
const FOLDER: &str = "a folder's name";
const CORE: &str = "core dump";

/// Runs the row.
///
/// # Errors
/// The harness could not come to an end.
pub(crate) fn run(context: &Context) -> Result<Outcome> {
    let mut hunt = Hunt::default();
    let secrets = Secrets::new(context, &mut hunt)?;
    embedded(context, &secrets, &mut hunt)?;
    remote(context, &secrets, &mut hunt)?;
    mistakes::check(context, &mut hunt)?;
    let cores = core_of_the_control(context, &secrets, &mut hunt)?;
    let bomb = bomb::run(context)?;

    let mut amiss = hunt.found().to_vec();
    amiss.extend(bomb.amiss);
    let expected: Vec<_> = LURED.into_iter().filter(|(_, place)| cores || *place != CORE).collect();
    let is_missed = |(name, place): &&(&'static str, &str)| !hunt.lured(name, place);
    let missed: Vec<_> = expected.iter().filter(is_missed).map(|(_, place)| *place).collect();
    let counts = format!(
        "{} canaries looked for in {} places and {} KiB: {} found{}; {}",
        hunt.canaries(),
        hunt.places(),
        hunt.bytes() >> 10,
        hunt.found().len(),
        if cores { "" } else { "; core dumps not tried, as this machine writes none" },
        bomb.counts
    );
    let told = match missed.is_empty() {
        true => format!("lures found in all of {} places; {}", expected.len(), bomb.control),
        false => format!("lures NOT found: {}; {}", missed.join(", "), bomb.control),
    };
    Ok(Outcome::judged(&amiss, counts, missed.is_empty() && bomb.control_caught, told))
}

/// What the services of this row are given.
#[derive(Debug)]
struct Secrets {
    signing: String,
    signing_previous: String,
    audit: String,
    keyring: String,
    keyring_retired: String,
    jwks: String,
    token: String,
    tokens_file: PathBuf,
    /// What is stored sealed.
    sealed: String,
    /// What is stored so that it must be found, and under which name.
    lure: String,
    lure_key: String,
    lure_folder: String,
}

impl Secrets {
    fn new(context: &Context, hunt: &mut Hunt) -> Result<Self> {
        let mut rng = Rng::with_seed(context.seed() ^ 14);
        let signing = hunt.canary("the key that signs URLs", Kind::Secret, &mut rng);
        let signing_previous = hunt.canary("the previous such key", Kind::Secret, &mut rng);
        let audit = hunt.canary("the key of the audit log", Kind::Secret, &mut rng);
        let mut key = [0; 32];
        rng.fill(&mut key);
        hunt.add("a key of the keyring, raw", Kind::Secret, &key);
        let keyring = BASE64_STANDARD.encode(key);
        hunt.add("a key of the keyring", Kind::Secret, keyring.as_bytes());
        rng.fill(&mut key);
        hunt.add("a retired key, raw", Kind::Secret, &key);
        let keyring_retired = BASE64_STANDARD.encode(key);
        hunt.add("a retired key", Kind::Secret, keyring_retired.as_bytes());
        hunt.add("the bucket's secret key", Kind::Secret, FakeS3::SECRET_KEY.as_bytes());
        let jwks = hunt.canary("the key in the URL of a JWKS", Kind::Secret, &mut rng);
        let sealed = hunt.canary("a sealed proof", Kind::Sealed, &mut rng);
        let lure = hunt.lure(BODY, &mut rng);
        let lure_key = format!("open/{}.c2pa", hunt.lure(KEY, &mut rng));
        let lure_folder = hunt.lure(FOLDER, &mut rng);

        let (folder, tokens_file) = (context.work().join("x"), context.work().join("tokens.toml"));
        let words = ["token", "create", "--name", "prove", "--json", "--scope"];
        let scopes = ["read,write,delete,list,sign,admin"];
        let launch = context.service(&folder, "token");
        let (created, printed) = launch.run(&[&words[..], &scopes].concat())?;
        let printed: serde_json::Value = serde_json::from_slice(&printed)?;
        let text = |name: &str| printed[name].as_str().map(str::to_owned);
        let (Some(token), Some(digest), true) = (text("token"), text("sha256"), created) else {
            return Err(format!("`token create` printed {printed}").into());
        };
        let entry = format!(
            "[[token]]\nname = \"prove\"\nsha256 = \"{digest}\"\nscopes = [\"read\", \
             \"write\", \"delete\", \"list\", \"sign\", \"admin\"]\n"
        );
        std::fs::write(&tokens_file, entry)?;
        hunt.add("an API token", Kind::Secret, token.as_bytes());
        Ok(Self {
            signing,
            signing_previous,
            audit,
            keyring,
            keyring_retired,
            jwks,
            token,
            tokens_file,
            sealed,
            lure,
            lure_key,
            lure_folder,
        })
    }

    /// A service that has them, with room for a core dump in a folder of its own.
    fn launch(&self, context: &Context, data: &Path, name: &str, cores: &Path) -> Launch {
        context
            .service(data, name)
            // Of the AWS SDK all that is not a whole request: at `debug` it tells those, signatures and all, to
            // whoever names it in the filter.
            .with("STORAGE_LOG", "trace,fjall=trace,lsm_tree=trace")
            .with("STORAGE_SIGNING_KEY", &self.signing)
            .with("STORAGE_SIGNING_KEY_PREVIOUS", &self.signing_previous)
            .with("STORAGE_AUDIT", "file")
            .with("STORAGE_AUDIT_KEY", &self.audit)
            .with(
                "STORAGE_KEYRING",
                format!("canary:active:{},old:retired:{}", self.keyring, self.keyring_retired),
            )
            .with("STORAGE_TOKENS_FILE", &self.tokens_file)
            // Where nobody answers.
            .with("STORAGE_JWT_JWKS", format!("http://127.0.0.1:9/keys?key={}", self.jwks))
            .with("STORAGE_JWT_ISSUER", "https://idp.example")
            .with("STORAGE_JWT_AUDIENCE", "proofs")
            .through(with_cores(cores))
    }

    fn visitor(&self, server: &Server) -> Visitor<'_> {
        Visitor::new(server.address(), &self.token, &self.sealed, (&self.lure_key, &self.lure))
    }
}

/// Words before a command that let it leave a core dump in a folder.
fn with_cores(folder: &Path) -> [String; 4] {
    let script = format!("ulimit -c unlimited; cd '{}' && exec \"$@\"", folder.display());
    ["sh".into(), "-c".into(), script, "sh".into()]
}

fn embedded(context: &Context, secrets: &Secrets, hunt: &mut Hunt) -> Result<()> {
    let (data, cores) = (context.work().join(&secrets.lure_folder), context.work().join("cores"));
    std::fs::create_dir_all(&cores)?;
    let launch = secrets.launch(context, &data, "secrets-embedded", &cores);
    let (mut server, _) = launch.start_ready(START_LIMIT)?;
    secrets.visitor(&server).visit(hunt)?;
    server.signal(Signal::ABORT)?;
    server.wait(START_LIMIT)?.ok_or("does not end of SIGABRT")?;
    hunt.folder(CORE, &cores)?;
    hunt.file("log", server.log())?;
    hunt.folder("audit log", &data.join("audit"))?;
    hunt.folder("data directory", &data)?;
    printed(&launch, hunt, &["check-config", "--json"])
}

fn remote(context: &Context, secrets: &Secrets, hunt: &mut Hunt) -> Result<()> {
    let (data, cores) =
        (context.work().join("secrets-remote"), context.work().join("cores-remote"));
    std::fs::create_dir_all(&cores)?;
    let store = FakeS3::start(Personality::Aws)?;
    let launch = secrets
        .launch(context, &data, "secrets-remote-log", &cores)
        .with("STORAGE_LOG_FORMAT", "json")
        .with("STORAGE_AUDIT", "log")
        .with("STORAGE_BACKEND_URLS", "on")
        .with("STORAGE_PROVIDER", "s3")
        .with("STORAGE_ENDPOINT", store.endpoint())
        .with("STORAGE_BUCKET", FakeS3::BUCKET)
        .with("STORAGE_REGION", FakeS3::REGION)
        .with("STORAGE_ACCESS_KEY_ID", FakeS3::ACCESS_KEY)
        .with("STORAGE_SECRET_ACCESS_KEY", FakeS3::SECRET_KEY);
    let (server, _) = launch.start_ready(START_LIMIT)?;
    let visitor = secrets.visitor(&server);
    visitor.visit(hunt)?;
    visitor.signed_by_backend(hunt)?;
    for effect in [Effect::access_denied(), Effect::internal_error(), Effect::slow_down()] {
        store.fault(Fault::new(effect).times(8));
        visitor.look_again(hunt)?;
        store.clear_faults();
    }
    for words in [&["doctor"][..], &["doctor", "--json"], &["check-config"]] {
        printed(&launch, hunt, words)?;
    }
    hunt.file("log", server.log())?;
    drop(server);
    hunt.folder("data directory", &data)?;
    for (key, object) in store.objects() {
        hunt.look("bucket", key.as_bytes(), true);
        hunt.look("bucket", &object.bytes, true);
        hunt.look("bucket", format!("{:?}", object.headers).as_bytes(), true);
    }
    Ok(())
}

/// Looks into what a command prints.
fn printed(launch: &Launch, hunt: &mut Hunt, words: &[&str]) -> Result<()> {
    let (succeeded, text) = launch.run(words)?;
    if !succeeded || text.is_empty() {
        let text = String::from_utf8_lossy(&text).into_owned();
        return Err(format!("`{}` failed: {text}", words.join(" ")).into());
    }
    hunt.look("printed by commands", &text, true);
    Ok(())
}

/// Whether this machine writes core dumps: that of a process that allows it must be there, and tell what
/// it was given.
fn core_of_the_control(context: &Context, secrets: &Secrets, hunt: &mut Hunt) -> Result<bool> {
    let cores = context.work().join("cores-control");
    std::fs::create_dir_all(&cores)?;
    let stand_in = context
        .stand_in("none", &context.work().join("secrets-control"), "secrets-control")?
        .with("LURE", &secrets.lure)
        .through(with_cores(&cores));
    let (mut server, _) = stand_in.start_ready(START_LIMIT)?;
    server.signal(Signal::ABORT)?;
    server.wait(START_LIMIT)?.ok_or("does not end of SIGABRT")?;
    hunt.folder(CORE, &cores)?;
    let pattern = run_program("cat", &["/proc/sys/kernel/core_pattern"])?;
    // Others go to a program, or to a folder that is not ours to look into.
    Ok(!pattern.starts_with(['|', '/']))
}
