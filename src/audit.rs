//! The audit log: who changed what, and who was refused, one line each, in a chain of hashes.
//!
//! ```text
//! http::gate ─▶ Audit::submit ─▶ writer (a thread) ─▶ chain ─▶ segment files, or the log stream
//!                    ▲ Receipt: written, and synced where that is asked for, before the answer
//! ```
//! Knows neither HTTP nor a store: whoever makes a change says what it was ([`Entry`]). One thread
//! writes; what arrives while it syncs shares the next sync. What a line looks like and what the
//! chain shows and does not: docs/AUDIT.md. [`verify`] reads it back, and needs nothing of the rest.

mod ascii;
mod chain;
mod entry;
mod log;
mod recover;
mod segment;
mod sink;
pub mod verify;
mod writer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use tokio::sync::oneshot;

use self::writer::{Message, Writer};
use crate::telemetry::Metrics;

pub use self::chain::{ChainKey, MIN_KEY_BYTES};
pub use self::entry::{Action, Actor, Entry, Outcome};
pub use self::log::Stream;

/// When a line counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// When the disk has it: before the caller is answered.
    BeforeAnswer,
    /// When the operating system has it; the disk gets it within a second. A power cut may cost the
    /// lines of that second, a kill of the process none.
    EverySecond,
}

/// What happens to changes while lines cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// They are refused: nothing changes without a line.
    Refuse,
    /// They go on, and the log says afterwards how many lines it lacks.
    Serve,
}

/// Where lines go.
#[derive(Debug)]
pub enum Place {
    /// To segment files.
    Folder(Folder),
    /// Between the lines of the log, on standard output or where a test looks.
    Log(Stream),
}

/// A folder of segments.
#[derive(Clone, Debug)]
pub struct Folder {
    /// Made where it is missing. One process at a time.
    pub path: PathBuf,
    /// Bytes from which the next segment begins.
    pub segment_bytes: u64,
    /// Whether each day (UTC) begins a segment.
    pub daily: bool,
    /// Segments that stay; `None` is all.
    pub keep: Option<usize>,
    /// When a line counts as written.
    pub sync: Sync,
}

/// How the log is kept.
#[derive(Debug)]
pub struct Options {
    /// Where.
    pub place: Place,
    /// Makes the chain one that nobody without the key can make.
    pub key: Option<ChainKey>,
    /// What happens to changes while it cannot be.
    pub on_failure: OnFailure,
    /// Between two notes of the chain's head in the service's own log.
    pub head_interval: Duration,
}

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {cause}")]
pub struct OpenError {
    /// What was tried.
    pub path: String,
    /// What is wrong with it.
    pub cause: std::io::Error,
}

/// The line was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written")]
pub struct Unwritten;

/// The audit log, or none. Cheap to clone.
#[derive(Clone)]
pub struct Audit(Option<Arc<Handle>>);

struct Handle {
    /// Not bounded by itself: each request waits for its own lines, so there are no more messages
    /// than requests.
    messages: mpsc::Sender<Message>,
    state: Arc<State>,
    on_failure: OnFailure,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// How writing goes, for whoever asks.
#[derive(Debug)]
struct State {
    broken: AtomicBool,
    lost: AtomicU64,
    metrics: Metrics,
}

impl State {
    fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::Release);
        self.metrics.audit_writable(!broken);
    }
}

/// Tells when lines are written.
pub struct Receipt(Option<oneshot::Receiver<Result<(), Unwritten>>>);

impl Receipt {
    /// Waits until they are.
    ///
    /// # Errors
    /// They are not, and will not be.
    pub async fn written(self) -> Result<(), Unwritten> {
        match self.0 {
            None => Ok(()),
            Some(receipt) => receipt.await.unwrap_or(Err(Unwritten)),
        }
    }
}

impl Audit {
    /// No log.
    pub fn off() -> Self {
        Self(None)
    }

    /// Opens the log, goes on where it ended, and starts its writer.
    ///
    /// # Errors
    /// The folder cannot be used, or another process does.
    pub fn open(options: Options, metrics: Metrics) -> Result<Self, OpenError> {
        let state =
            Arc::new(State { broken: AtomicBool::new(false), lost: AtomicU64::new(0), metrics });
        state.set_broken(false);
        let on_failure = options.on_failure;
        let writer = Writer::open(options, Arc::clone(&state))?;
        let (messages, inbox) = mpsc::channel();
        let thread = std::thread::Builder::new().name("audit".to_owned());
        let thread = thread
            .spawn(move || writer.run(&inbox))
            .map_err(|cause| OpenError { path: "a thread for the audit log".to_owned(), cause })?;
        let thread = Mutex::new(Some(thread));
        Ok(Self(Some(Arc::new(Handle { messages, state, on_failure, thread }))))
    }

    /// Whether there is one.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// To be asked before a change.
    ///
    /// # Errors
    /// Its line could not be written, and nothing may change without.
    pub fn ready(&self) -> Result<(), Unwritten> {
        match &self.0 {
            Some(handle) if handle.on_failure == OnFailure::Refuse && self.is_broken() => {
                Err(Unwritten)
            }
            _ => Ok(()),
        }
    }

    /// Whether a change without its line counts as not done.
    pub fn must_be_written(&self) -> bool {
        self.0.as_ref().is_some_and(|handle| handle.on_failure == OnFailure::Refuse)
    }

    /// What calls for a person, in words.
    pub fn trouble(&self) -> Option<String> {
        let handle = self.0.as_ref()?;
        let lost = handle.state.lost.load(Ordering::Acquire);
        let effect = match handle.on_failure {
            OnFailure::Refuse => "changes are refused".to_owned(),
            OnFailure::Serve => format!("changes go on, and {lost} lines were lost"),
        };
        self.is_broken().then(|| format!("the audit log cannot be written: {effect}"))
    }

    /// Hands lines over, which are written together and in this order, whether or not anybody waits.
    pub fn submit(&self, entries: Vec<Entry>) -> Receipt {
        let Some(handle) = &self.0 else { return Receipt(None) };
        let (done, receipt) = oneshot::channel();
        let sent = handle.messages.send(Message::Lines { entries, done });
        // Without a writer the sender of the receipt is gone, and says so.
        drop(sent);
        Receipt(Some(receipt))
    }

    /// Writes what was handed over, and ends the writer. Nothing is written afterwards.
    pub async fn close(&self) {
        let Some(handle) = &self.0 else { return };
        let thread = handle.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        drop(handle.messages.send(Message::Close));
        drop(tokio::task::spawn_blocking(move || thread.join()).await);
    }

    fn is_broken(&self) -> bool {
        self.0.as_ref().is_some_and(|handle| handle.state.broken.load(Ordering::Acquire))
    }
}
