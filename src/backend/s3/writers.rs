//! Turns among this process's own writers of a key, for backends that cannot compare by
//! themselves: who has the turn may look first and then write.
//!
//! Holds within one process only, which is what [`Support::Gateway`] says. Keys share a fixed
//! number of locks, so that memory does not grow with keys; two keys on one lock only wait.
//!
//! [`Support::Gateway`]: crate::model::Support::Gateway

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};

use tokio::sync::{Mutex, MutexGuard};

use crate::model::ObjectKey;

const LOCKS: usize = 1024;

/// The locks.
#[derive(Debug)]
pub(super) struct Writers {
    locks: Vec<Mutex<()>>,
    hasher: RandomState,
}

/// The turn for one key or two.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    _first: MutexGuard<'a, ()>,
    _second: Option<MutexGuard<'a, ()>>,
}

impl Writers {
    pub(super) fn new() -> Self {
        let locks = (0..LOCKS).map(|_| Mutex::new(())).collect();
        Self { locks, hasher: RandomState::new() }
    }

    /// Waits for the turn.
    pub(super) async fn turn(&self, key: &ObjectKey) -> Turn<'_> {
        Turn { _first: self.locks[self.lock_of(key)].lock().await, _second: None }
    }

    /// Waits for the turn for both, in one order whoever asks, so that nobody waits in a ring.
    pub(super) async fn turn_of_both(&self, a: &ObjectKey, b: &ObjectKey) -> Turn<'_> {
        let (a, b) = (self.lock_of(a), self.lock_of(b));
        let first = self.locks[a.min(b)].lock().await;
        let second = if a == b { None } else { Some(self.locks[a.max(b)].lock().await) };
        Turn { _first: first, _second: second }
    }

    /// The locks of many keys, each once, in the order in which to take them.
    pub(super) fn locks_of(&self, keys: &[ObjectKey]) -> BTreeSet<usize> {
        keys.iter().map(|key| self.lock_of(key)).collect()
    }

    /// Waits for one of those locks.
    pub(super) async fn turn_of(&self, lock: usize) -> Turn<'_> {
        Turn { _first: self.locks[lock].lock().await, _second: None }
    }

    fn lock_of(&self, key: &ObjectKey) -> usize {
        (self.hasher.hash_one(key) % LOCKS as u64) as usize
    }
}
