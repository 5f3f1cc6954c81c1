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
    /// Count of the lines lost.
    pub(super) fn dropped(&self) -> ErrorCounter {
        self.dropped.clone()
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

/// The embedded engine tells at `info` what only its authors want to know, and the AWS SDK at
/// `debug` whole requests with the key id and signature in them. Whoever names their targets in the
/// filter hears them all the same: the later directive wins.
fn quiet_others(filter: &str) -> String {
    match filter {
        "off" | "error" | "warn" => filter.to_owned(),
        _ => format!("fjall=warn,lsm_tree=warn,aws_=warn,{filter}"),
    }
}

fn subscriber(config: &LogConfig, writer: NonBlocking) -> Dispatch {
    // The configuration was checked; in a hand-made one a wrong directive is skipped.
    let filter = EnvFilter::new(quiet_others(&config.filter));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match config.format {
        LogFormat::Text => lines.with_ansi(false).into(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::config::Config;

    /// Takes three bytes at a time, as a pipe may.
    #[derive(Clone, Default)]
    struct Pipe(Arc<Mutex<Vec<u8>>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(3);
            self.0.lock().unwrap().extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(config: &LogConfig, work: impl Fn() + Sync) -> String {
        let pipe = Pipe::default();
        let (writer, guard) = lines_to(pipe.clone());
        let dispatch = subscriber(config, writer);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| tracing::dispatcher::with_default(&dispatch, &work));
            }
        });
        drop(guard);
        let bytes = pipe.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_stay_whole_and_are_all_there_after_the_guard() {
        let config = LogConfig { format: LogFormat::Json, ..Config::default().log };
        let text = logged(&config, || {
            for number in 0..250 {
                tracing::info!(number, "line\nwith a break");
            }
            tracing::debug!("below the level");
        });
        assert_eq!(text.lines().count(), 1000);
        let mut sum = 0;
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["message"], "line\nwith a break");
            assert_eq!(line["level"], "INFO");
            sum += line["number"].as_u64().unwrap();
        }
        assert_eq!(sum, 4 * (0..250).sum::<u64>());
    }

    #[test]
    fn text_has_no_colour_and_obeys_the_filter() {
        let filter = "warn,proof_storage::telemetry=debug".to_owned();
        let config = LogConfig { filter, ..Config::default().log };
        let text = logged(&config, || {
            tracing::debug!(answer = 42, "seen");
            tracing::info!(target: "elsewhere", "hidden");
        });
        assert_eq!(text.lines().count(), 4);
        assert!(text.contains("seen answer=42") && !text.contains("hidden"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn what_others_tell_too_freely_is_heard_only_by_name() {
        let told = |filter: &str| {
            let config = LogConfig { filter: filter.to_owned(), ..Config::default().log };
            logged(&config, || {
                tracing::debug!(target: "aws_smithy_runtime::client::orchestrator", "a request");
                tracing::info!(target: "fjall::journal", "a rotation");
                tracing::debug!("ours");
            })
        };
        let text = told("debug");
        assert!(text.contains("ours") && !text.contains("request") && !text.contains("rotation"));
        assert!(told("info,aws_smithy_runtime=debug").contains("a request"));
    }
}
