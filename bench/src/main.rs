//! `just bench`: proof-storage against its peers and its limits, on this machine, in one run.
//!
//! Every contestant answers the same URLs with the same bytes on 127.0.0.1 and shares the same
//! cores with the same load generator (`wrk`). Runs alternate (A B C A B C), every figure is a
//! median with its range, and no figure counts before the answers were compared byte for byte:
//! a contestant that answers wrong bytes, an error, or that forgets what it acknowledged stops
//! the whole run. `bench self-test` shows that these checks can fail.
//!
//! ```text
//! scenario/* ── what is measured      contestant/* ── who is measured
//! load, client ── how it is asked     process ── what it costs     report, figures ── the table
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool")]

mod client;
mod contestant;
mod corpus;
mod figures;
mod load;
mod machine;
mod process;
mod report;
mod scenario;
mod self_test;
mod upstream;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::contestant::{bare, engine, sdk};
use crate::scenario::Context;
use crate::upstream::instant;

/// What went wrong, in words: every failure ends the run.
type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T> = std::result::Result<T, Error>;

/// Measures proof-storage against its peers and its limits.
#[derive(Parser)]
#[command(name = "bench")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Short runs and a smaller store: figures for a glance, not for comparison.
    #[arg(long, global = true)]
    quick: bool,
    /// Replace the sections measured now in bench/RESULTS.md.
    #[arg(long, global = true)]
    write: bool,
    /// Binary to measure instead of building this workspace's; repeat it to compare builds.
    #[arg(long, global = true, value_name = "PATH")]
    binary: Vec<PathBuf>,
    /// Folder on the disk to measure; everything made in it is removed.
    #[arg(long, global = true, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Everything below.
    All,
    /// GET of 4 KiB and 64 KiB at 64 connections.
    Get,
    /// Durable PUT of 4 KiB and 64 KiB at 64 connections.
    Put,
    /// Stored gzip passed through, and inflated for a client without gzip.
    Gzip,
    /// Listing and stats in a small and in a large store.
    List,
    /// Start-up of a large store, after a clean stop and after kill -9.
    Startup,
    /// One large object up and down.
    Bulk,
    /// GET over S3 against the bare AWS SDK.
    S3Get,
    /// PUT over S3 against the bare AWS SDK.
    S3Put,
    /// Batch delete and signed URLs over S3.
    S3Calls,
    /// GET and PUT over a Garage node.
    S3Garage,
    /// A pool of two against one of its members, and hedged reads.
    Pool,
    /// Shows that contestants that cheat are refused.
    SelfTest,
    /// The limit: a bare axum handler (a contestant of its own).
    #[command(hide = true)]
    Bare(bare::Options),
    /// The limit of a durable PUT: the engine's bare group commit (a contestant of its own).
    #[command(hide = true)]
    Engine(engine::Options),
    /// The limit of the S3 path: the bare AWS SDK behind axum (a contestant of its own).
    #[command(hide = true)]
    Sdk(sdk::ServerOptions),
    /// The same without HTTP in front.
    #[command(hide = true)]
    SdkLoop(sdk::LoopOptions),
    /// An S3 that answers at once and verifies nothing.
    #[command(hide = true)]
    InstantS3(instant::Options),
    /// An S3 that checks signatures, in memory.
    #[command(hide = true)]
    FakeS3(upstream::Options),
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of this package in the checkout that `cargo run` was typed in; checkouts that share
/// a target folder share this binary, so the path it was compiled with may be another's.
fn project() -> std::path::PathBuf {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR");
    folder.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), std::path::PathBuf::from)
}

fn run(arguments: Arguments) -> Result<()> {
    let scenarios: &[scenario::Name] = match arguments.command {
        Command::Bare(options) => return bare::serve(&options),
        Command::Engine(options) => return engine::run(&options),
        Command::Sdk(options) => return sdk::serve(&options),
        Command::SdkLoop(options) => return sdk::run_loop(&options),
        Command::InstantS3(options) => return instant::serve(&options),
        Command::FakeS3(options) => return upstream::serve_fake(&options),
        Command::SelfTest => return self_test::run(),
        Command::All => &scenario::ALL,
        Command::Get => &[scenario::Name::Get],
        Command::Put => &[scenario::Name::Put],
        Command::Gzip => &[scenario::Name::Gzip],
        Command::List => &[scenario::Name::List],
        Command::Startup => &[scenario::Name::Startup],
        Command::Bulk => &[scenario::Name::Bulk],
        Command::S3Get => &[scenario::Name::S3Get],
        Command::S3Put => &[scenario::Name::S3Put],
        Command::S3Calls => &[scenario::Name::S3Calls],
        Command::S3Garage => &[scenario::Name::S3Garage],
        Command::Pool => &[scenario::Name::Pool],
    };
    let context = Context::new(arguments.quick, arguments.binary, arguments.scratch)?;
    let report = scenario::run(&context, scenarios)?;
    println!("{}", report.to_markdown());
    if arguments.write {
        report.write()?;
    }
    Ok(())
}
