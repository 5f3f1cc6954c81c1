//! Whose turn it is to write a key, and when the next one's comes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

use crate::model::ObjectKey;

/// Keys that are remembered before those whose pause is over are forgotten.
const REMEMBERED: usize = 1024;

/// The turns of all keys that are being written or were a moment ago.
#[derive(Debug)]
pub(super) struct Turns {
    pause: Duration,
    keys: StdMutex<Keys>,
}

#[derive(Debug)]
struct Keys {
    slots: HashMap<ObjectKey, Arc<Slot>>,
    /// As many as there were twice over after the last time, so that forgetting costs each write
    /// the same.
    forget_at: usize,
}

#[derive(Debug, Default)]
struct Slot {
    /// Held from the begin of a wait to the end of the write, in the order of coming.
    queue: Arc<Mutex<()>>,
    /// Held for the write alone; tells when the last one ended.
    writing: Arc<Mutex<Option<Instant>>>,
}

/// The right to write one key, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    ended: OwnedMutexGuard<Option<Instant>>,
    _queue: OwnedMutexGuard<()>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        *self.ended = Some(Instant::now());
    }
}

impl Turns {
    pub(super) fn new(pause: Duration) -> Self {
        let keys = Keys { slots: HashMap::new(), forget_at: REMEMBERED };
        Self { pause, keys: StdMutex::new(keys) }
    }

    /// The turn, where nobody has it or waits for it and the pause is over.
    pub(super) fn at_once(&self, key: &ObjectKey) -> Option<Turn> {
        let slot = self.slot(key);
        let queue = Arc::clone(&slot.queue).try_lock_owned().ok()?;
        let ended = Arc::clone(&slot.writing).try_lock_owned().ok()?;
        let due = ended.is_none_or(|ended| ended.elapsed() >= self.pause);
        // Made only where it is due: dropping one counts as the end of a write.
        due.then(|| Turn { ended, _queue: queue })
    }

    /// Waits until nobody writes the key.
    pub(super) async fn over(&self, key: &ObjectKey) {
        drop(self.slot(key).writing.lock().await);
    }

    /// Waits for the turn.
    pub(super) async fn wait(&self, key: &ObjectKey) -> Turn {
        let slot = self.slot(key);
        let queue = Arc::clone(&slot.queue).lock_owned().await;
        let last = *slot.writing.lock().await;
        if let Some(last) = last {
            tokio::time::sleep_until(last + self.pause).await;
        }
        let ended = Arc::clone(&slot.writing).lock_owned().await;
        Turn { ended, _queue: queue }
    }

    fn slot(&self, key: &ObjectKey) -> Arc<Slot> {
        // Nothing panics while it is held half changed, so a poisoned lock is usable.
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = keys.slots.get(key) {
            return Arc::clone(slot);
        }
        if keys.slots.len() >= keys.forget_at {
            keys.slots.retain(|_, slot| slot.is_needed(self.pause));
            keys.forget_at = (2 * keys.slots.len()).max(REMEMBERED);
        }
        Arc::clone(keys.slots.entry(key.clone()).or_default())
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.keys.lock().unwrap().slots.len()
    }
}

impl Slot {
    /// Whether somebody writes or waits, or the next one would have to.
    fn is_needed(self: &Arc<Self>, pause: Duration) -> bool {
        let is_over = |ended: &Option<Instant>| ended.is_none_or(|at| at.elapsed() >= pause);
        Arc::strong_count(self) > 1
            || self.queue.try_lock().is_err()
            || !self.writing.try_lock().is_ok_and(|ended| is_over(&ended))
    }
}
