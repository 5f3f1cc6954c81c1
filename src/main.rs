//! The command: reads the configuration, starts what was asked for, and turns signals into an
//! orderly stop.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use proof_storage::app::App;
use proof_storage::cli::{self, Cli, Command};
use proof_storage::config::{Config, Loaded, Sources};
use proof_storage::serve::Drained;
use proof_storage::telemetry;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Small reads from the store run on the worker threads themselves. With more threads than cores,
/// one that waits for the disk does not keep requests from being served.
const WORKERS_PER_CORE: usize = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.chosen_command() {
        Command::Serve => serve(cli.sources()),
        Command::CheckConfig { json } => cli::run_check_config(cli.sources(), json),
        Command::Healthcheck { url } => cli::run_healthcheck(cli.sources(), url),
        Command::Reference => cli::run_reference(),
    }
}

fn serve(sources: Sources) -> ExitCode {
    let Loaded { config, warnings, .. } = match Config::load(sources) {
        Ok(loaded) => loaded,
        Err(problems) => return cli::report_problems(&problems),
    };
    let log = telemetry::init_logging(&config.log);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let workers = std::thread::available_parallelism().map_or(2, usize::from) * WORKERS_PER_CORE;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let code = match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(run(config));
            // What still blocks after the drain timeout must not keep the process alive.
            runtime.shutdown_timeout(Duration::from_secs(1));
            code
        }
        Err(error) => {
            tracing::error!(%error, "cannot start the runtime");
            ExitCode::FAILURE
        }
    };
    drop(log);
    code
}

async fn run(config: Config) -> ExitCode {
    let (interrupt, terminate) =
        match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
            (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
            (Err(error), _) | (_, Err(error)) => {
                tracing::error!(%error, "cannot listen for signals");
                return ExitCode::FAILURE;
            }
        };
    let app = match App::start(&config).await {
        Ok(app) => app,
        Err(error) => {
            tracing::error!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let address =
        app.local_addr().map_or_else(|_| config.server.listen.to_string(), |a| a.to_string());
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(%address, version, data_dir = %config.storage.data_dir.display(), "listening");
    if !config.server.listen.ip().is_loopback() {
        tracing::warn!(
            "there is no authentication in this version: whoever reaches {address} may \
                        read, write and delete; keep it behind something that decides who may"
        );
    }
    match app.run(stop(interrupt, terminate)).await {
        Drained::Clean => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Drained::CutOff(connections) => {
            tracing::warn!(connections, "stopped; connections were cut off at the drain timeout");
            ExitCode::SUCCESS
        }
    }
}

async fn stop(mut interrupt: Signal, mut terminate: Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
