//! What the callers' side and the committer's side of the store have in common.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use fjall::Snapshot;

use super::batch::Counters;
use super::directory::Directory;
use super::engine::Engine;
use super::errors::error;
use super::health::Health;
use super::shadow::Shadow;
use super::space;
use super::witness::{Witness, WitnessFile};
use crate::model::{ErrorKind, StoreError};

/// Number of low bits of a body id that count within one opening; the rest is the opening's
/// epoch, so an id is never used twice, whatever a crash forgot.
const ID_BITS: u32 = 40;

/// Engine, health and the published figures.
pub(super) struct Shared {
    pub(super) engine: Engine,
    pub(super) health: Health,
    ids: AtomicU64,
    /// The store as of the last commit, see [`Self::snapshot`].
    seen: RwLock<Snapshot>,
    counters: Mutex<Counters>,
    synced: AtomicU64,
    /// Locked for as long as the engine is open.
    pub(super) directory: Directory,
    witness: WitnessFile,
    shadow: Mutex<Shadow>,
    reserve_bytes: u64,
}

impl Shared {
    pub(super) fn new(
        engine: Engine,
        counters: Counters,
        directory: Directory,
        witness: WitnessFile,
        reserve_bytes: u64,
    ) -> Self {
        let shadow = Mutex::new(Shadow::new(directory.engine(), directory.shadow()));
        Self {
            seen: RwLock::new(engine.db.snapshot()),
            engine,
            shadow,
            health: Health::default(),
            ids: AtomicU64::new(counters.epoch << ID_BITS),
            counters: Mutex::new(counters),
            synced: AtomicU64::new(counters.sequence),
            directory,
            witness,
            reserve_bytes,
        }
    }

    /// A number that this store has never given out: a body's id, or a version.
    pub(super) fn fresh_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    /// The epoch that gave out an id.
    pub(super) fn epoch_of(id: u64) -> u64 {
        id >> ID_BITS
    }

    /// The counters as of the last commit.
    pub(super) fn counters(&self) -> Counters {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store as of the last commit, whole.
    ///
    /// One that the engine is asked for at any other time may be of the middle of a commit: its worker, when it
    /// registers what it flushed or merged, makes all numbers visible that were given out by then, that of a
    /// batch which is still being synced and is not in the write buffers among them. The record that such a
    /// snapshot gives may be the old one, and its body gone a moment later, as if it were damaged.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a commit visible, before anybody is answered; `durable` where it was synced. Only the committer
    /// calls this: no batch is under way then.
    pub(super) fn publish(&self, counters: Counters, durable: bool) {
        let seen = self.engine.db.snapshot();
        let before = {
            let mut latest = self.seen.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *latest, seen)
        };
        // Which tells the engine that it is not needed: not while readers wait.
        drop(before);
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner) = counters;
        if durable {
            self.synced.store(counters.sequence, Ordering::Release);
        }
    }

    /// Sequence of the last commit that is certainly on the disk.
    pub(super) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Writes down how far the store has come. A failure costs only the notice of a loss.
    pub(super) fn witness(&self, sequence: u64, clean: bool) {
        let witness = Witness { sequence, epoch: self.counters().epoch, clean };
        if let Err(cause) = self.witness.write(witness) {
            tracing::warn!(%cause, "the witness file cannot be written");
        }
    }

    /// Brings the second copies up to date. A failure costs only redundancy.
    pub(super) fn refresh_shadow(&self) {
        let mut shadow = self.shadow.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(cause) = shadow.refresh() {
            tracing::warn!(%cause, "the second copies of the store's vital parts are out of date");
        }
    }

    /// Syncs what is left, at the end.
    pub(super) fn finish(&self) {
        if self.health.refusal().is_some() {
            return;
        }
        self.refresh_shadow();
        match self.engine.db.persist(fjall::PersistMode::SyncAll) {
            Ok(()) => self.witness(self.counters().sequence, true),
            Err(cause) => self.health.fail(&cause),
        }
    }

    /// Why there is no room for a group of about so many bytes; `None` where there is.
    ///
    /// The engine stops for good at its first failed write, so the disk must never get there:
    /// room is needed for the group in the journal, for every write buffer when it is flushed,
    /// and for the reserve on top, which compaction and deletes live on.
    pub(super) fn space_refusal(&self, group_bytes: u64) -> Option<StoreError> {
        let volume = match space::volume(self.directory.root()) {
            Ok(volume) => volume,
            Err(cause) => {
                return Some(super::errors::unavailable("the free space is unknown", cause));
            }
        };
        let reserve = self.reserve_bytes.min(volume.total / 8);
        let buffered = self.engine.db.write_buffer_size();
        let needed = reserve + buffered + 2 * group_bytes;
        (volume.free < needed).then(|| error(ErrorKind::QuotaExceeded, "the disk is full"))
    }
}
