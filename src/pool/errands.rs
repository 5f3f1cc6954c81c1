//! Keys that reads found amiss and nobody wrote down: for the repairer, and for later reads.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::ObjectKey;

/// More are not remembered: `reconcile` finds what is left.
const MOST: usize = 100_000;

/// Keys amiss.
#[derive(Debug, Default)]
pub(super) struct Errands {
    keys: Mutex<HashMap<ObjectKey, Errand>>,
    count: AtomicUsize,
}

#[derive(Debug)]
struct Errand {
    /// Members whose bytes were wrong.
    wrong: BTreeSet<usize>,
    since: Instant,
}

impl Errands {
    /// A read found a key at a member where it does not belong, or not where it does.
    pub(super) fn misplaced(&self, key: &ObjectKey) {
        self.note(key, None);
    }

    /// A member has other bytes than were stored.
    pub(super) fn wrong_bytes(&self, key: &ObjectKey, place: usize) {
        self.note(key, Some(place));
    }

    fn note(&self, key: &ObjectKey, place: Option<usize>) {
        let mut keys = self.lock();
        if keys.len() < MOST || keys.contains_key(key) {
            let new = || Errand { wrong: BTreeSet::new(), since: Instant::now() };
            keys.entry(key.clone()).or_insert_with(new).wrong.extend(place);
        }
        self.count.store(keys.len(), Ordering::Release);
    }

    /// Whether a member is known to have wrong bytes under a key.
    pub(super) fn is_suspect(&self, key: &ObjectKey, place: usize) -> bool {
        self.count.load(Ordering::Acquire) > 0
            && self.lock().get(key).is_some_and(|errand| errand.wrong.contains(&place))
    }

    /// Whether a key is to be seen to.
    pub(super) fn contains(&self, key: &ObjectKey) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.lock().contains_key(key)
    }

    /// Those to see to; they stay until [`Self::done`].
    pub(super) fn list(&self) -> Vec<ObjectKey> {
        if self.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        self.lock().keys().cloned().collect()
    }

    /// Age of the oldest.
    pub(super) fn oldest(&self) -> Option<Duration> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.lock().values().map(|errand| errand.since.elapsed()).max()
    }

    /// A key was seen to.
    pub(super) fn done(&self, key: &ObjectKey) {
        let mut keys = self.lock();
        keys.remove(key);
        self.count.store(keys.len(), Ordering::Release);
    }

    /// Number of keys.
    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// No holder leaves the map half changed, so a lock poisoned by a panic is usable.
    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectKey, Errand>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keys that are being created on several members at once, through this process.
#[derive(Debug, Default)]
pub(super) struct Racing {
    keys: Mutex<HashMap<ObjectKey, usize>>,
    count: AtomicUsize,
}

/// Held while a create is under way.
#[derive(Debug)]
pub(super) struct Racer {
    core: std::sync::Arc<super::core::Core>,
    key: ObjectKey,
}

impl Racer {
    pub(super) fn start(core: &std::sync::Arc<super::core::Core>, key: &ObjectKey) -> Self {
        let mut keys = core.racing.keys.lock().unwrap_or_else(PoisonError::into_inner);
        *keys.entry(key.clone()).or_default() += 1;
        core.racing.count.store(keys.len(), Ordering::Release);
        drop(keys);
        Self { core: std::sync::Arc::clone(core), key: key.clone() }
    }
}

impl Drop for Racer {
    fn drop(&mut self) {
        let racing = &self.core.racing;
        let mut keys = racing.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = keys.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                keys.remove(&self.key);
            }
        }
        racing.count.store(keys.len(), Ordering::Release);
    }
}

impl Racing {
    /// Whether a create of this key is under way.
    pub(super) fn contains(&self, key: &ObjectKey) -> bool {
        self.count.load(Ordering::Acquire) > 0
            && self.keys.lock().unwrap_or_else(PoisonError::into_inner).contains_key(key)
    }
}
