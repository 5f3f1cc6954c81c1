//! Row 14: nothing tells a secret, and nothing is unpacked beyond what is allowed.
//!
//! Every secret that a run is given is a canary: keys that sign, that chain the audit log, that seal
//! proofs, that open a bucket, that show a certificate; tokens, a JWT and signed URLs, also wrong ones and those in
//! wrong places. Some are given themselves, some by where they are. They
//! are looked for in everything that the service prints or answers or leaves on a disk, and what is
//! stored sealed in everything but its own answer. The log is at `trace`, that of libraries too but for the AWS
//! SDK's. Then a gzip bomb is stored.
//!
//! Controls: lures where they have to be seen (in the log, the answers, the audit log,
//! a data directory, a bucket, a core dump) must all be found, and every canary where it is told (`told`); and a store that holds what it is sent in
//! memory must cost more than the goal.

mod bomb;
mod canary;
mod given;
mod mistakes;
mod told;
mod visit;

use std::path::Path;
use std::time::Duration;

use fake_s3::{Effect, FakeS3, Fault, Personality};
use rustix::process::Signal;

use self::canary::Hunt;
use self::given::Secrets;
use super::{Context, Outcome};
use crate::Result;
use crate::server::{Launch, run as run_program};

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
    let services = [
        embedded(context, &secrets, &mut hunt)?,
        remote(context, &secrets, Credentials::Lasting, &mut hunt)?,
        remote(context, &secrets, Credentials::Temporary, &mut hunt)?,
        mistakes::check(context, &mut hunt)?,
    ];
    let untold = told::missed(context, &secrets, &services, &hunt)?;
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
    let lures = match missed.is_empty() {
        true => format!("lures found in all of {} places", expected.len()),
        false => format!("lures NOT found: {}", missed.join(", ")),
    };
    let canaries = match untold.is_empty() {
        true => format!("all {} canaries found where they are told", hunt.canaries()),
        false => format!("canaries NOT found where they are told: {}", untold.join(", ")),
    };
    let caught = missed.is_empty() && untold.is_empty() && bomb.control_caught;
    let told = format!("{lures}; {canaries}; {}", bomb.control);
    Ok(Outcome::judged(&amiss, counts, caught, told))
}

/// Words before a command that let it leave a core dump in a folder.
fn with_cores(folder: &Path) -> [String; 4] {
    let script = format!("ulimit -c unlimited; cd '{}' && exec \"$@\"", folder.display());
    ["sh".into(), "-c".into(), script, "sh".into()]
}

/// An embedded store behind TLS, asked by who shows a token and by who shows a JWT.
fn embedded(context: &Context, secrets: &Secrets, hunt: &mut Hunt) -> Result<Launch> {
    let (data, cores) = (context.work().join(&secrets.lure_folder), context.work().join("cores"));
    std::fs::create_dir_all(&cores)?;
    let launch = secrets.referring(context, &data, "secrets-embedded", &cores)?;
    let mut server = launch.start()?;
    let tunnel = secrets.tunnel(&server)?;
    server.reach_at(tunnel.address());
    server.wait_ready(START_LIMIT)?;
    secrets.visitor(&server).visit(hunt)?;
    secrets.visitor_by_jwt(&server).visit(hunt)?;
    server.signal(Signal::ABORT)?;
    server.wait(START_LIMIT)?.ok_or("does not end of SIGABRT")?;
    hunt.folder(CORE, &cores)?;
    hunt.file("log", server.log())?;
    hunt.folder("audit log", &data.join("audit"))?;
    hunt.folder("data directory", &data)?;
    printed(&launch, hunt, &["check-config", "--json"])?;
    Ok(launch)
}

/// How a service is let into its bucket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Credentials {
    /// By a key of the configuration.
    Lasting,
    /// By one with a session token, which the SDK finds in its own variables.
    Temporary,
}

fn remote(
    context: &Context,
    secrets: &Secrets,
    credentials: Credentials,
    hunt: &mut Hunt,
) -> Result<Launch> {
    let (name, key_id, secret) = match credentials {
        Credentials::Lasting => {
            ("secrets-remote", "STORAGE_ACCESS_KEY_ID", "STORAGE_SECRET_ACCESS_KEY")
        }
        Credentials::Temporary => {
            ("secrets-temporary", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        }
    };
    let (data, cores) = (context.work().join(name), context.work().join(format!("{name}-cores")));
    std::fs::create_dir_all(&cores)?;
    let store = FakeS3::start(Personality::Aws)?;
    let mut launch = secrets
        .given(context, &data, &format!("{name}-log"), &cores)
        .with("STORAGE_LOG_FORMAT", "json")
        .with("STORAGE_BACKEND_URLS", "on")
        .with("STORAGE_PROVIDER", "s3")
        .with("STORAGE_ENDPOINT", store.endpoint())
        .with("STORAGE_BUCKET", FakeS3::BUCKET)
        .with("STORAGE_REGION", FakeS3::REGION)
        .with(key_id, FakeS3::ACCESS_KEY)
        .with(secret, FakeS3::SECRET_KEY);
    if credentials == Credentials::Temporary {
        launch = launch.with("AWS_SESSION_TOKEN", &secrets.session);
    }
    let (server, _) = launch.start_ready(START_LIMIT)?;
    let visitor = secrets.visitor(&server);
    visitor.visit(hunt)?;
    // A bucket's URL by temporary credentials has their token in it, as S3 demands: that is for who asked.
    if credentials == Credentials::Lasting {
        visitor.signed_by_backend(hunt)?;
    }
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
    Ok(launch)
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
