//! The command: does what was typed.

use std::process::ExitCode;

use clap::Parser as _;
use proof_storage::app;
use proof_storage::cli::{self, Cli, Command};
use tikv_jemallocator::Jemalloc;

/// A call of the AWS SDK is hundreds of allocations, made on one thread and often freed on another one,
/// which is where the C library's allocator has threads wait for each other. Others that
/// are as fast keep more than twice the memory of many uploads at once.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.chosen_command() {
        Command::Serve => {
            app::serve(cli.sources()).unwrap_or_else(|problems| cli::report_problems(&problems))
        }
        Command::CheckConfig { json } => cli::run_check_config(cli.sources(), json),
        Command::Doctor { json } => cli::run_doctor(cli.sources(), json),
        Command::Reconcile { dry_run, verify, json } => {
            cli::run_reconcile(cli.sources(), dry_run, verify, json)
        }
        Command::Rekey { dry_run, after, alone, json } => {
            cli::run_rekey(cli.sources(), app::Rekey { dry_run, after, alone }, json)
        }
        Command::Healthcheck { url } => cli::run_healthcheck(cli.sources(), url),
        Command::Audit { command } => cli::run_audit(&command),
        Command::Token { command } => cli::run_token(command),
        Command::Reference => cli::run_reference(),
    }
}
