//! The command line: what a person types, and the commands that are not the service itself.
//!
//! `main` parses a [`Cli`] and starts the service for [`Command::Serve`]; the other commands run
//! here. They alone write to the terminal; the service writes only its log.

mod audit;
mod check;
mod doctor;
mod healthcheck;
mod reconcile;
mod reference;
mod rekey;
mod token;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Sources;

pub use audit::{AuditCommand, AuditFiles, run_audit};
pub use check::{report_problems, run_check_config};
pub use doctor::run_doctor;
pub use healthcheck::run_healthcheck;
pub use reconcile::run_reconcile;
pub use reference::{backend_keys_table, run_reference, settings_table};
pub use rekey::run_rekey;
pub use token::{NewToken, TokenCommand, run_token};

/// Exit code for a mistake in the configuration, as clap's for one on the command line.
pub const EXIT_MISTAKE: u8 = 2;

/// Keeps content-provenance proofs (C2PA manifests) over HTTP.
///
/// Without a command it serves. Every setting has a default, so `proof-storage` alone listens on
/// 127.0.0.1:8080 and keeps proofs in ./data. A setting comes from its environment variable, else
/// from the TOML file, else from its default.
#[derive(Debug, Parser)]
#[command(name = "proof-storage", version, after_long_help = reference::help())]
#[command(after_help = "Use --help to list all settings.")]
pub struct Cli {
    /// TOML file with settings (also STORAGE_CONFIG).
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Serve proofs until SIGTERM or SIGINT (the default).
    Serve,
    /// Print the settings as they take effect, or every mistake in them.
    ///
    /// Shows each setting with the place it came from, never a secret. Exits with 0 where the
    /// configuration is sound and with 2 where it is not; starts nothing and touches no data.
    CheckConfig {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Try what each configured S3 or R2 backend can do, and print it.
    ///
    /// Writes, reads and removes throw-away objects below .proof-storage/doctor/ in each bucket.
    /// Exits with 0 where the service finds what it needs in all of them, with 1 where one cannot be
    /// reached or written, or something is missing.
    Doctor {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Compare the members of the pool, name by name, and bring them in order.
    ///
    /// Lists all members, compares what they hold, copies what is missing and removes what is
    /// deleted. A service may run meanwhile, unless a member is the embedded store. Exits with 0
    /// where all is in order, or is now; with 1 where a member could not be compared, or a dry run
    /// found a difference.
    Reconcile {
        /// Report, and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Read every copy and check its digest; wrong bytes are put aside.
        #[arg(long)]
        verify: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Bring what is sealed under retired keys under the active one.
    ///
    /// Reads each such proof as it is at rest and writes it back with a new header; its bytes stay the
    /// same. A service may run meanwhile, unless it has an embedded store open: then set
    /// STORAGE_REKEY_AT_START and it does the same. Whoever stops it just starts it again. Exits with
    /// 0 where all that is sealed is under the active key, with 1 where something is not.
    Rekey {
        /// Report, and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Begin behind this key, as a run that was stopped says.
        #[arg(long, value_name = "KEY")]
        after: Option<String>,
        /// No service runs: needed where the backend does not compare versions itself.
        #[arg(long)]
        alone: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Ask a running service whether it is ready.
    ///
    /// Exits with 0 where /health/ready answers 200 within 3 seconds, else with 1: for
    /// containers, which have no curl.
    Healthcheck {
        /// URL to ask (http only); else /health/ready at the configured listening address.
        #[arg(long, value_name = "URL")]
        url: Option<String>,
    },
    /// Verify an audit log, or print how far it goes.
    Audit {
        /// What to do with it.
        #[command(subcommand)]
        command: AuditCommand,
    },
    /// Make API tokens.
    Token {
        /// What to do with them.
        #[command(subcommand)]
        command: TokenCommand,
    },
    /// Print the Markdown tables of settings that README.md shows.
    #[command(hide = true)]
    Reference,
}

impl Cli {
    /// What to do.
    pub fn chosen_command(&self) -> Command {
        self.command.clone().unwrap_or(Command::Serve)
    }

    /// What the configuration is read from.
    pub fn sources(&self) -> Sources {
        Sources::of_process(self.config.clone())
    }
}

/// What a command has to say, and how it ends.
#[derive(Debug, PartialEq, Eq)]
struct Report {
    /// For standard output, whole lines.
    out: String,
    /// For standard error, whole lines.
    err: String,
    code: u8,
}

impl Report {
    /// Writes it out. A reader that went away (`| head`) is no failure.
    fn print(self) -> ExitCode {
        drop(std::io::stdout().lock().write_all(self.out.as_bytes()));
        drop(std::io::stderr().lock().write_all(self.err.as_bytes()));
        ExitCode::from(self.code)
    }
}

/// Runs a command that needs a runtime.
///
/// # Errors
/// There is none: what to print.
fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map(|runtime| runtime.block_on(work)).map_err(|error| {
        let err = format!("the runtime does not start: {error}\n");
        Report { out: String::new(), err, code: 1 }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::config::SETTINGS;

    #[test]
    fn command_line_is_consistent_and_serves_by_default() {
        Cli::command().debug_assert();
        assert_eq!(
            Cli::try_parse_from(["proof-storage"]).unwrap().chosen_command(),
            Command::Serve
        );
        let cli = Cli::try_parse_from(["proof-storage", "check-config", "--config", "x"]).unwrap();
        assert_eq!(cli.config, Some(PathBuf::from("x")));
        assert_eq!(cli.chosen_command(), Command::CheckConfig { json: false });
        assert!(Cli::try_parse_from(["proof-storage", "chek-config"]).is_err());
    }

    #[test]
    fn help_names_every_setting_with_its_default() {
        let help = Cli::command().render_long_help().to_string();
        for setting in SETTINGS {
            let (_, rest) = help.split_once(&format!("  {} ", setting.variable)).unwrap();
            let entry = rest.split("\n  STORAGE_").next().unwrap();
            assert!(entry.contains(setting.default.unwrap_or("unset")), "{entry}");
        }
        assert!(!help.contains("reference"), "a command for the project itself stays hidden");
    }
}
