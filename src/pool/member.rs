//! One backend of a pool, and what the pool remembers of it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::latency::Latencies;
use crate::backend::Backend;
use crate::model::{Class, ErrorKind, PoolMode, Role, StoreError, Support, Version};

/// A backend and its place in a pool.
#[derive(Clone, Debug)]
pub struct MemberSetup {
    /// Unique in the pool; stands in repair records, so a member must keep it.
    pub name: Arc<str>,
    /// Behind its layers.
    pub backend: Arc<dyn Backend>,
    /// What it is used for.
    pub role: Role,
    /// Most bytes at rest; with more it counts as full. No limit where absent.
    pub quota_bytes: Option<u64>,
}

/// For how long a member that gave no answer is asked last.
const AVOIDED: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: Arc<str>,
    pub(super) backend: Arc<dyn Backend>,
    pub(super) role: Role,
    quota_bytes: Option<u64>,
    full: AtomicBool,
    complete: AtomicBool,
    /// Milliseconds on the scale of versions: the pool's records of an earlier time that are found here
    /// have come back with an earlier state of the member. 0 where none have.
    returned: AtomicU64,
    /// Whether it gave no answer of late. Nearly always not, so that a call that is answered only reads it.
    silent: AtomicBool,
    /// Whether anybody asks how long its calls take.
    is_timed: bool,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    last_failure: Option<Instant>,
    /// Of calls that read an object or its head.
    reads: Latencies,
    /// Of calls that store one.
    writes: Latencies,
}

/// What a call asked for: each kind takes its own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Read,
    Write,
    /// Whose time says nothing of the other two.
    Other,
}

impl Member {
    pub(super) fn new(setup: MemberSetup, mode: PoolMode) -> Self {
        Self {
            name: setup.name,
            backend: setup.backend,
            role: setup.role,
            quota_bytes: setup.quota_bytes,
            full: AtomicBool::new(false),
            complete: AtomicBool::new(false),
            returned: AtomicU64::new(0),
            silent: AtomicBool::new(false),
            is_timed: mode == PoolMode::Mirror,
            inside: Mutex::default(),
        }
    }

    /// Makes a call, and remembers how long it took and whether it was answered.
    pub(super) async fn timed<T>(
        &self,
        asked: Asked,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let started = self.is_timed.then(Instant::now);
        let result = call.await;
        self.note(asked, started, &result);
        result
    }

    /// Notes how a call ended; how long it took where it says when it began.
    pub(super) fn note<T>(
        &self,
        asked: Asked,
        started: Option<Instant>,
        result: &Result<T, StoreError>,
    ) {
        if result.as_ref().is_err_and(is_silence) {
            let mut inside = self.lock();
            inside.last_failure = Some(Instant::now());
            self.silent.store(true, Ordering::Release);
            return;
        }
        if self.silent.load(Ordering::Acquire) {
            let mut inside = self.lock();
            inside.last_failure = None;
            self.silent.store(false, Ordering::Release);
        }
        if let Some(started) = started {
            match asked {
                Asked::Read => self.lock().reads.record(started.elapsed()),
                Asked::Write => self.lock().writes.record(started.elapsed()),
                Asked::Other => {}
            }
        }
    }

    /// Notes that a read took at least so long, and was left.
    pub(super) fn took(&self, at_least: Duration) {
        self.lock().reads.record(at_least);
    }

    /// Whether it is itself that decides between two writes of one key, whoever sends them.
    pub(super) fn compares_and_writes(&self) -> bool {
        let can = self.backend.capabilities();
        can.create_only == Support::Native && can.replace_if_match == Support::Native
    }

    /// Whether it is known what it can do.
    pub(super) fn is_examined(&self) -> bool {
        let can = self.backend.capabilities();
        can.create_only != Support::Unknown && can.replace_if_match != Support::Unknown
    }

    /// Whether it gave no answer a moment ago.
    pub(super) fn is_avoided(&self) -> bool {
        self.silent.load(Ordering::Acquire)
            && self.lock().last_failure.is_some_and(|at| at.elapsed() < AVOIDED)
    }

    /// How long it took to read of late: median and 95th percentile.
    pub(super) fn read_latency(&self) -> Option<(Duration, Duration)> {
        self.lock().reads.summary()
    }

    /// The same of writes.
    pub(super) fn write_latency(&self) -> Option<(Duration, Duration)> {
        self.lock().writes.summary()
    }

    /// Whether it is known to have had all that belongs to it, but for what is written down.
    pub(super) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Relaxed)
    }

    /// Notes whether it is.
    pub(super) fn set_complete(&self, complete: bool) {
        self.complete.store(complete, Ordering::Relaxed);
    }

    /// Whether a record that was written then, and is found here, is one that has come back.
    pub(super) fn has_returned(&self, written: Version) -> bool {
        written.millis < self.returned.load(Ordering::Relaxed)
    }

    /// Whether it is in an earlier state than it was, and has not been compared since.
    pub(super) fn was_set_back(&self) -> bool {
        self.returned.load(Ordering::Relaxed) > 0
    }

    /// Notes that its state is of before this time, in milliseconds on the scale of versions.
    pub(super) fn set_returned(&self, millis: u64) {
        self.returned.fetch_max(millis, Ordering::Relaxed);
    }

    /// Notes that nothing is left of what came back.
    pub(super) fn tidied(&self) {
        self.returned.store(0, Ordering::Relaxed);
    }

    /// Whether it takes no more for want of room.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Compares what it holds with its quota.
    pub(super) async fn measure(&self) {
        let Some(quota) = self.quota_bytes else { return };
        // An estimate of an earlier time has what this process wrote since, see `layer::inventory`.
        let Ok(usage) = self.backend.usage().await else { return };
        self.full.store(usage.stored_bytes >= quota, Ordering::Relaxed);
    }

    /// No holder leaves the figures half changed, so a lock poisoned by a panic is usable.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an error says that another write of the object came first, or is under way.
pub(super) fn is_race(error: &StoreError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::AlreadyExists | ErrorKind::PreconditionFailed | ErrorKind::Contended
    )
}

/// Whether an error says nothing of the object: the member did not answer, or not for us.
pub(super) fn is_silence(error: &StoreError) -> bool {
    match error.class() {
        Class::Unknown => true,
        Class::Failed => error.kind() != ErrorKind::Corrupt,
        Class::Answer => error.kind() == ErrorKind::AccessDenied,
    }
}
