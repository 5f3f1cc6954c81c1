//! Calls that failed and may have taken effect all the same, or may yet.
//!
//! Until it is decided in writing what became of such an attempt (see `decide`), nobody is told that
//! its key holds this or nothing: what a caller has seen once must stay so. Only the process that made
//! the attempt knows of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::model::{ObjectKey, Version};

/// An attempt of which nobody knows what became.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    /// Of the write or the delete.
    pub(super) version: Version,
    pub(super) is_delete: bool,
    /// When it has landed if it ever does, by a clock that nobody sets.
    pub(super) past: Instant,
}

/// Attempts in doubt, by key.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    keys: Mutex<HashMap<ObjectKey, Vec<Doubt>>>,
    /// Keys that have some: with none, nothing needs a look-up.
    count: AtomicUsize,
}

impl Doubts {
    pub(super) fn add(&self, key: &ObjectKey, doubt: Doubt) {
        let mut keys = self.lock();
        keys.entry(key.clone()).or_default().push(doubt);
        self.count.store(keys.len(), Ordering::Release);
    }

    /// Attempts at a key.
    pub(super) fn of(&self, key: &ObjectKey) -> Vec<Doubt> {
        if self.is_empty() { Vec::new() } else { self.lock().get(key).cloned().unwrap_or_default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    pub(super) fn contains(&self, key: &ObjectKey) -> bool {
        !self.is_empty() && self.lock().contains_key(key)
    }

    /// Keys with attempts that begin so.
    pub(super) fn below(&self, prefix: &str) -> Vec<ObjectKey> {
        if self.is_empty() {
            return Vec::new();
        }
        let keys = self.lock();
        keys.keys().filter(|key| key.as_str().starts_with(prefix)).cloned().collect()
    }

    /// Keys with attempts that have landed by now, if they ever do.
    pub(super) fn past(&self, now: Instant) -> Vec<ObjectKey> {
        if self.is_empty() {
            return Vec::new();
        }
        let keys = self.lock();
        let is_past = |doubts: &Vec<Doubt>| doubts.iter().any(|doubt| doubt.past <= now);
        keys.iter().filter(|(_, doubts)| is_past(doubts)).map(|(key, _)| key.clone()).collect()
    }

    /// It is known what became of those for which this holds.
    pub(super) fn forget(&self, key: &ObjectKey, is_known: impl Fn(&Doubt) -> bool) {
        if self.is_empty() {
            return;
        }
        let mut keys = self.lock();
        if let Some(doubts) = keys.get_mut(key) {
            doubts.retain(|doubt| !is_known(doubt));
            if doubts.is_empty() {
                keys.remove(key);
            }
        }
        self.count.store(keys.len(), Ordering::Release);
    }

    /// No holder leaves the map half changed, so a lock poisoned by a panic is usable.
    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectKey, Vec<Doubt>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_attempt_is_in_doubt_until_it_is_known_what_became_of_it() {
        let doubts = Doubts::default();
        let key = ObjectKey::new("folder/k");
        let version = |millis| Version { millis, counter: 0, writer: 1 };
        let (soon, late) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        assert!(doubts.is_empty() && !doubts.contains(&key));
        doubts.add(&key, Doubt { version: version(3), is_delete: false, past: soon });
        doubts.add(&key, Doubt { version: version(4), is_delete: true, past: late });
        assert!(doubts.contains(&key) && doubts.of(&key).len() == 2);
        assert_eq!(doubts.below("folder/"), std::slice::from_ref(&key));
        assert!(doubts.below("other/").is_empty());
        assert_eq!(doubts.past(soon), std::slice::from_ref(&key));
        doubts.forget(&key, |doubt| doubt.version == version(3));
        assert!(doubts.past(soon).is_empty() && doubts.of(&key)[0].is_delete);
        doubts.forget(&key, |_| true);
        assert!(doubts.is_empty() && !doubts.contains(&key));
    }
}
