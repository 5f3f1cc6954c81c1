//! What is measured. Each scenario answers a [`Section`]; what they share is here.

mod bulk;
pub(crate) mod get;
mod gzip;
mod pool;
pub(crate) mod put;
pub(crate) mod rounds;
pub(crate) mod s3;
mod scale;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::contestant::Contestant;
use crate::contestant::sdk::Call;
use crate::load::Pressure;
use crate::report::{Report, Section};
use crate::{Result, machine};

/// Alternated runs of every contestant.
const RUNS: usize = 3;
/// The same where they are short.
const MANY_RUNS: usize = 7;
/// Of a short run.
const SHORT: Duration = Duration::from_secs(2);

/// A scenario by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Get,
    Put,
    Gzip,
    List,
    Startup,
    Bulk,
    S3Get,
    S3Put,
    S3Calls,
    S3Garage,
    Pool,
}

/// In the order of the report.
pub(crate) const ALL: [Name; 11] = [
    Name::Get,
    Name::Put,
    Name::Gzip,
    Name::List,
    Name::Startup,
    Name::Bulk,
    Name::S3Get,
    Name::S3Put,
    Name::S3Calls,
    Name::S3Garage,
    Name::Pool,
];

/// What every scenario needs to know.
pub(crate) struct Context {
    quick: bool,
    warm_up: Duration,
    run_time: Duration,
    /// Builds of the service: the first is *the* service, others are compared with it.
    services: Vec<PathBuf>,
    scratch: TempDir,
}

impl Context {
    /// Builds the service unless binaries are given, and makes a folder to work in.
    pub(crate) fn new(
        quick: bool,
        binaries: Vec<PathBuf>,
        scratch: Option<PathBuf>,
    ) -> Result<Self> {
        let services = if binaries.is_empty() { vec![build()?] } else { binaries };
        // not the system's temporary folder, which may be memory: durability costs nothing there
        let parent = scratch.unwrap_or_else(|| target_folder().join("bench"));
        fs::create_dir_all(&parent)?;
        let scratch = tempfile::Builder::new().prefix("run-").tempdir_in(parent)?;
        let (warm_up, run_time) = if quick { (1, 3) } else { (3, 10) };
        Ok(Self {
            quick,
            warm_up: Duration::from_secs(warm_up),
            run_time: Duration::from_secs(run_time),
            services,
            scratch,
        })
    }

    /// Without the service, and as short as can be.
    pub(crate) fn without_service() -> Result<Self> {
        let second = Duration::from_secs(1);
        let scratch = tempfile::tempdir()?;
        Ok(Self { quick: true, warm_up: second, run_time: second, services: Vec::new(), scratch })
    }

    /// The service itself.
    fn service(&self) -> Contestant {
        Contestant::service("proof-storage", &self.services[0])
    }

    /// The service itself, and the other builds of it that are compared.
    fn services(&self) -> Vec<Contestant> {
        let others = self.services.iter().skip(1);
        let other = |file: &PathBuf| Contestant::service(file.display().to_string(), file);
        std::iter::once(self.service()).chain(others.map(other)).collect()
    }

    /// A folder below the scratch folder.
    pub(crate) fn folder(&self, name: impl AsRef<Path>) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// A measured run at so many connections.
    pub(crate) fn pressure(&self, connections: u32) -> Pressure {
        Pressure { connections, duration: self.run_time, runs: RUNS, headers: Vec::new() }
    }

    /// The same in more and shorter runs, where nothing waits for a disk: the speed of a machine that is
    /// shared changes within seconds, and runs that follow each other meet the same one.
    pub(crate) fn short_pressure(&self, connections: u32) -> Pressure {
        let duration = self.run_time.min(SHORT);
        let runs = if self.quick { RUNS } else { MANY_RUNS };
        Pressure { connections, duration, runs, headers: Vec::new() }
    }

    /// A section with the line of the machine.
    fn section(&self, name: &'static str, title: &str, how: &str, body: String) -> Result<Section> {
        let quick =
            if self.quick { " **Quick run: for a glance, not for comparison.**" } else { "" };
        let conditions = format!("{how}{quick}\n\n*{}*", machine::line(self.scratch.path())?);
        Ok(Section { name, title: title.into(), conditions, body })
    }
}

/// Runs scenarios one after the other.
pub(crate) fn run(context: &Context, names: &[Name]) -> Result<Report> {
    let mut report = Report::default();
    let wants = |name| names.contains(&name);
    if wants(Name::Get) {
        report.sections.push(get::run(context)?);
    }
    if wants(Name::Put) {
        report.sections.push(put::run(context)?);
    }
    if wants(Name::Gzip) {
        report.sections.push(gzip::run(context)?);
    }
    if wants(Name::List) || wants(Name::Startup) {
        report.sections.extend(scale::run(context, wants(Name::List), wants(Name::Startup))?);
    }
    if wants(Name::Bulk) {
        report.sections.push(bulk::run(context)?);
    }
    for (name, call) in [(Name::S3Get, Call::Get), (Name::S3Put, Call::Put)] {
        if wants(name) {
            report.sections.push(s3::run(context, call)?);
        }
    }
    if wants(Name::S3Calls) {
        report.sections.push(s3::run_calls(context)?);
    }
    if wants(Name::S3Garage) {
        report.sections.extend(s3::run_garage(context)?);
    }
    if wants(Name::Pool) {
        report.sections.push(pool::run(context)?);
    }
    Ok(report)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn progress(text: &str) {
    eprintln!("bench: {text}");
}

/// Builds the service as it is released, so that a stale one is never measured.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--package", "proof-storage", "--bin", "proof-storage"])
        .current_dir(crate::project())
        .status()?;
    if !status.success() {
        return Err("the service does not build".into());
    }
    Ok(target_folder().join("release/proof-storage"))
}

/// Cargo's target folder: two above this binary.
fn target_folder() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    own.ancestors().nth(2).map_or_else(std::env::temp_dir, Path::to_owned)
}
