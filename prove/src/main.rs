//! Shows that the service loses nothing: breaks it on purpose and counts.
//!
//! Each row of the table is one kind of break (`rows`), run against the release build of the
//! service as it is deployed. Clients write down outside the service what it promised
//! (`journal`), and every row has a negative control: the same machinery on something known to
//! be broken, which must be caught, or the row fails.
//!
//! ```text
//! rows/* → workload, caller → client → wire      what is asked, and what was promised (journal)
//!        → verify                                what is still there
//!        → server, disk, strace, cgroup, remote  the service, and the ways to hurt it
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

mod caller;
mod cgroup;
mod client;
mod corpus;
mod disk;
mod interrupt;
mod journal;
mod machine;
mod remote;
mod report;
mod rows;
mod server;
mod stand_in;
mod strace;
mod tunnel;
mod verify;
mod wire;
mod workload;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};
use tikv_jemallocator::Jemalloc;

use crate::report::Report;
use crate::rows::{Context, Row};

/// That of the service: the histories of pools are small allocations by the million.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Anything that stops the harness itself, as opposed to a finding of it.
type Failure = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Failure>;

/// Breaks the service on purpose and counts what it lost
#[derive(Debug, Parser)]
#[command(name = "prove", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Internal>,
    /// Rows to run: `all`, or numbers of the table such as `1 4 13`
    #[arg(default_value = "all")]
    rows: Vec<String>,
    /// Reduced counts: the whole table in at most 9 minutes
    #[arg(long)]
    cut: bool,
    /// Seed of every random choice
    #[arg(long, default_value_t = 2_026_1124)]
    seed: u64,
    /// Write the table into this project's docs/RELIABILITY.md
    #[arg(long)]
    write: bool,
    /// The service to test, instead of building and using this workspace's release build
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Folder for data, images and logs; needs 50 GB for the full row 11
    #[arg(long, value_name = "FOLDER")]
    work_dir: Option<PathBuf>,
}

/// What the harness starts of itself.
#[derive(Debug, Subcommand)]
enum Internal {
    /// A tiny store that is broken on purpose: the negative control of some rows
    #[command(hide = true)]
    StandIn(stand_in::Arguments),
    /// One share of row 3, in a process of its own so that a crash is seen
    #[command(hide = true)]
    Sweep(rows::corruption::SweepArguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Some(Internal::StandIn(stand_in)) => stand_in::serve(&stand_in).map(|()| true),
        Some(Internal::Sweep(sweep)) => rows::corruption::sweep(&sweep).map(|()| true),
        None => {
            disk::hide_mounts();
            prove(&arguments)
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("prove: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Runs the rows; `true` where none failed. Skipped rows do not fail, and say so in the table.
fn prove(arguments: &Arguments) -> Result<bool> {
    interrupt::install()?;
    let rows = Row::select(&arguments.rows)?;
    let binary = match &arguments.binary {
        Some(path) => path.canonicalize()?,
        None => build_service()?,
    };
    let parent = arguments.work_dir.clone().unwrap_or_else(std::env::temp_dir);
    let work = tempfile::Builder::new().prefix("prove-").tempdir_in(parent)?;
    let context = Context::new(binary, work.path(), arguments.seed, arguments.cut);

    let mut report = Report::new(&context);
    for row in rows {
        eprintln!("row {}: {}", row.number(), row.goal());
        let result = row.run(&context);
        if interrupt::requested() {
            return Err("interrupted; nothing is left behind".into());
        }
        report.add(row, result);
        eprintln!("{}", report.last_line());
    }
    println!("{report}");
    if arguments.write {
        report.write(&project().join("docs/RELIABILITY.md"))?;
    }
    if !report.passed() {
        // The logs and journals of a failure are evidence.
        eprintln!("evidence is kept in {}", work.keep().display());
        return Ok(false);
    }
    Ok(true)
}

/// The checkout that `cargo run` was typed in; checkouts that share a target folder share this
/// binary, so the path it was compiled with may be another's.
fn project() -> PathBuf {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR");
    folder.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from).join("..")
}

/// Builds the service, so that the table is never about yesterday's binary.
fn build_service() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--bin", "proof-storage"])
        .current_dir(project())
        .status()?;
    if !built.success() {
        return Err("building the service failed".into());
    }
    let own = std::env::current_exe()?;
    // target/<profile>/prove → target/release/proof-storage
    let target = own.ancestors().nth(2).ok_or("cannot find the build folder")?;
    Ok(target.join("release/proof-storage").canonicalize()?)
}
