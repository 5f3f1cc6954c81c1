//! The service as a process: logging, runtime, signals and exit code.

use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::App;
use crate::config::{AuthMode, BackendKind, Config, Loaded, Problems, Sources};
use crate::serve::Drained;
use crate::telemetry::{self, LogGuard};

/// Small reads from the embedded store run on the worker threads themselves. With more threads than
/// cores, one that waits for the disk does not keep requests from being served. Over remote stores no
/// thread waits, and more of them would only take turns.
const WORKERS_PER_CORE: usize = 2;

/// Serves until SIGTERM or SIGINT, then drains and stops.
///
/// # Errors
/// The mistakes of the configuration, before anything was started.
pub fn serve(sources: Sources) -> Result<ExitCode, Problems> {
    // Before there is a secret in memory.
    let kept_out = keep_out();
    let Loaded { config, warnings, .. } = Config::load(sources)?;
    let log = telemetry::init_logging(&config.log);
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    if let Err(error) = kept_out {
        tracing::warn!(%error, "a crash may leave a core dump, and secrets would be in it");
    }
    // What is kept is nobody else's business, whatever the engine asks for when it makes a file.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let waits = config.backends.iter().any(|b| matches!(b.kind, BackendKind::Local(_)));
    let workers = if waits { cores * WORKERS_PER_CORE } else { cores };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build();
    let code = match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(run(config, &log));
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
    Ok(code)
}

/// No core dump of this process, and no look into its memory and environment by others of its user.
fn keep_out() -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

async fn run(config: Config, log: &LogGuard) -> ExitCode {
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
    app.metrics().watch_log(log);
    let address =
        app.local_addr().map_or_else(|_| config.server.listen.to_string(), |a| a.to_string());
    let version = env!("CARGO_PKG_VERSION");
    let data_dir = config.storage.data_dir.display();
    let backends: Vec<_> = config.backends.iter().map(|backend| &*backend.name).collect();
    tracing::info!(%address, version, %data_dir, ?backends, "listening");
    if let Ok(Some(address)) = app.admin_addr() {
        tracing::info!(%address, "listening for those who watch, and asking none of them");
    }
    if config.auth.mode == AuthMode::Anyone && !config.server.listen.ip().is_loopback() {
        tracing::warn!(
            "anyone who reaches {address} may read, write and delete, as STORAGE_AUTH says; keep \
             it behind something that decides who may"
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
