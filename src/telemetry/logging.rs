//! The log: lines on standard output, written by a thread of their own.
//!
//! Each event is one write of one whole line. A reader that is too slow loses lines rather than
//! holding up requests; how many is a metric.

use tracing::Dispatch;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};

/// Keeps the log's thread alive; writes out what is left when dropped, so hold it in `main`.
#[must_use]
pub struct LogGuard {
    _worker: WorkerGuard,
    dropped: ErrorCounter,
}

impl LogGuard {
    /// Lines lost so far.
    pub fn dropped_lines(&self) -> u64 {
        self.dropped.dropped_lines() as u64
    }
}

/// Starts logging to standard output for the whole process. Where a subscriber is installed
/// already (a test's, or an embedding program's), that one stays.
pub fn init_logging(config: &LogConfig) -> LogGuard {
    let (writer, guard) = lines_to(std::io::stdout());
    // `Err` says that somebody else's subscriber is installed.
    subscriber(config, writer).try_init().unwrap_or_default();
    guard
}

fn lines_to(out: impl std::io::Write + Send + 'static) -> (NonBlocking, LogGuard) {
    let (writer, worker) = NonBlocking::new(out);
    let dropped = writer.error_counter();
    (writer, LogGuard { _worker: worker, dropped })
}

fn subscriber(config: &LogConfig, writer: NonBlocking) -> Dispatch {
    // The configuration was checked; in a hand-made one a wrong directive is skipped.
    let filter = EnvFilter::new(&config.filter);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match config.format {
        LogFormat::Text => lines.with_ansi(false).into(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).into(),
    }
}
