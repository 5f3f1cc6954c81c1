//! Turns of keys: whoever makes a key held has it alone, those who destroy share it.
//!
//! So that of a hold and a delete that race exactly one comes first, and the other sees it. Keys
//! share a fixed number of locks; two keys on one lock only wait. Holds within one process.

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::model::ObjectKey;

const LOCKS: usize = 1024;

/// The locks.
#[derive(Debug)]
pub(super) struct Turns {
    /// None where a test leaves them out.
    locks: Vec<RwLock<()>>,
    hasher: RandomState,
}

/// How a key is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Want {
    /// To destroy or replace what is there.
    Shared,
    /// To make it held, whatever else.
    Alone,
}

/// The turn for one key or several, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    _shared: Vec<RwLockReadGuard<'a, ()>>,
    _alone: Vec<RwLockWriteGuard<'a, ()>>,
}

impl Turns {
    pub(super) fn new(left_out: bool) -> Self {
        let count = if left_out { 0 } else { LOCKS };
        let locks = (0..count).map(|_| RwLock::new(())).collect();
        Self { locks, hasher: RandomState::new() }
    }

    /// Waits for the turn for all, in one order whoever asks, so that nobody waits in a ring.
    pub(super) async fn of(&self, keys: impl IntoIterator<Item = (&ObjectKey, Want)>) -> Turn<'_> {
        let mut wanted = BTreeMap::new();
        for (key, want) in keys {
            let place = (self.hasher.hash_one(key.as_str()) % LOCKS as u64) as usize;
            let stronger = wanted.entry(place).or_insert(want);
            *stronger = want.max(*stronger);
        }
        let mut turn = Turn { _shared: Vec::new(), _alone: Vec::new() };
        for (place, want) in wanted {
            let Some(lock) = self.locks.get(place) else { continue };
            match want {
                Want::Shared => turn._shared.push(lock.read().await),
                Want::Alone => turn._alone.push(lock.write().await),
            }
        }
        turn
    }

    /// Waits for the turn for one key.
    pub(super) async fn one(&self, key: &ObjectKey, want: Want) -> Turn<'_> {
        self.of([(key, want)]).await
    }
}
