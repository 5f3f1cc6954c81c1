//! What this process stored and deleted, by the second, to be added to the last walk's sums.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, SystemTime};

use crate::model::ObjectKey;

/// Entries that are kept; older ones are added together.
const MOMENTS: usize = 8192;

/// Objects whose size is remembered, in case they are deleted.
const REMEMBERED: usize = 100_000;

/// Changes of one moment, or of several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) objects: i64,
    pub(super) stored_bytes: i64,
}

#[derive(Debug, Default)]
pub(super) struct Since {
    moments: VecDeque<(SystemTime, Change)>,
    /// The next change begins a new moment.
    marked: bool,
    /// Sizes of what was stored here, by a hash of its key: a delete does not say what it deleted. Two keys
    /// with one hash would make an estimate wrong by one object.
    sizes: HashMap<u64, u64>,
    hasher: RandomState,
}

impl Since {
    /// A walk begins: what follows is not to be mixed with what was before.
    pub(super) fn mark(&mut self, now: SystemTime) {
        self.marked = true;
        self.add(now, Change::default());
    }

    pub(super) fn stored(&mut self, now: SystemTime, key: &ObjectKey, bytes: u64, created: bool) {
        let key = self.hash(key);
        let has_room = self.sizes.len() < REMEMBERED;
        let before = match self.sizes.entry(key) {
            Entry::Occupied(mut known) => Some(known.insert(bytes)),
            Entry::Vacant(unknown) => {
                if has_room {
                    unknown.insert(bytes);
                }
                None
            }
        };
        let bytes = signed(bytes);
        match (created, before) {
            (true, _) => self.add(now, Change { objects: 1, stored_bytes: bytes }),
            (false, Some(before)) => {
                self.add(now, Change { objects: 0, stored_bytes: bytes - signed(before) });
            }
            // Written over something of unknown size, or over nothing: the next walk will tell.
            (false, None) => {}
        }
    }

    pub(super) fn deleted(&mut self, now: SystemTime, key: &ObjectKey, existed: Option<bool>) {
        let bytes = self.sizes.remove(&self.hash(key)).map(signed);
        match (existed, bytes) {
            (Some(false), _) | (None, None) => {}
            (_, bytes) => {
                self.add(now, Change { objects: -1, stored_bytes: -bytes.unwrap_or_default() });
            }
        }
    }

    pub(super) fn moved_away(&mut self, now: SystemTime, key: &ObjectKey, bytes: u64) {
        self.sizes.remove(&self.hash(key));
        self.add(now, Change { objects: -1, stored_bytes: -signed(bytes) });
    }

    /// All that happened from then on.
    pub(super) fn after(&self, then: SystemTime) -> Change {
        let later = self.moments.iter().rev().take_while(|(when, _)| *when >= then);
        later.fold(Change::default(), |sum, (_, change)| sum.plus(*change))
    }

    pub(super) fn forget_before(&mut self, then: SystemTime) {
        while self.moments.front().is_some_and(|(when, _)| *when < then) {
            self.moments.pop_front();
        }
    }

    fn hash(&self, key: &ObjectKey) -> u64 {
        self.hasher.hash_one(key)
    }

    fn add(&mut self, now: SystemTime, change: Change) {
        let second = Duration::from_secs(1);
        match self.moments.back_mut() {
            Some((when, sum))
                if !self.marked && now.duration_since(*when).is_ok_and(|age| age < second) =>
            {
                *sum = sum.plus(change);
            }
            _ => self.moments.push_back((now, change)),
        }
        self.marked = false;
        if self.moments.len() > MOMENTS
            && let Some((_, oldest)) = self.moments.pop_front()
            && let Some((_, next)) = self.moments.front_mut()
        {
            *next = next.plus(oldest);
        }
    }
}

impl Change {
    fn plus(self, other: Self) -> Self {
        Self {
            objects: self.objects + other.objects,
            stored_bytes: self.stored_bytes + other.stored_bytes,
        }
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
