//! Marks of all replicas' clocks, kept on every member.
//!
//! A mark says how far its replica's clock was, and above which version it gives none before the
//! next one. So no replica falls behind what another one gave, nor behind itself after a restart,
//! even where a machine's clock was set back; who is alone is known; and a member on which a mark is
//! missing that was put there has been emptied, or set back to an earlier state.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::line::Mark;
use super::parts::Parts;
use super::scribe::put_record;
use super::state::Sight;
use crate::model::{ListItem, Version};

/// Between two marks.
pub(super) const EVERY: Duration = Duration::from_secs(10);

/// How far a mark reaches: the next one may be late.
const REACH: Duration = Duration::from_secs(20);

/// A member whose newest mark is older than the newest of all by more than this was away, or is in
/// an earlier state.
const LAG_MS: u64 = 40_000;

/// Clocks of replicas that differ by more than this are an alarm.
const ALARM_MS: u64 = 5_000;

/// What is known of marks.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Until when another replica is known to be at work, by the wall in milliseconds.
    others_until: AtomicU64,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    /// Of each member, the newest mark when this replica read it first.
    found: BTreeMap<usize, Option<Mark>>,
    /// Of each member, the last one that this replica put there.
    put: BTreeMap<usize, Mark>,
}

impl Marks {
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parts {
    /// Whether no other replica is known to be at work.
    pub(super) fn is_alone(&self) -> bool {
        self.marks.others_until.load(Ordering::Relaxed) < self.clock.wall_millis()
    }

    /// Takes note of a member's marks; those of processes that are gone are removed once a newer one
    /// says as much.
    pub(super) async fn take_marks(&self, place: usize, marks: &[Mark]) {
        let wall = self.clock.wall_millis();
        let newest = marks.iter().copied().max();
        let is_first = !self.marks.lock().found.contains_key(&place);
        for mark in marks {
            let writer = mark.bound.writer;
            if is_first {
                // It may be of this machine before a restart.
                self.clock.observe(mark.bound);
            }
            if writer == self.clock.writer() {
                continue;
            }
            self.clock.observe(Version { millis: mark.now, counter: 0, writer });
            if mark.bound.millis >= wall {
                self.marks.others_until.fetch_max(mark.bound.millis, Ordering::Relaxed);
                let ahead_ms = mark.now.saturating_sub(wall);
                if ahead_ms > ALARM_MS {
                    tracing::warn!(ahead_ms, "another replica's clock is ahead of this one's");
                }
            } else if newest > Some(*mark) {
                // Another replica may have done so already.
                let _ = self.delete_at(place, &self.records.clock(*mark), None).await;
            }
        }
        if is_first {
            self.load_completeness(place).await;
            self.marks.lock().found.insert(place, newest);
            self.judge_marks().await;
        }
    }

    /// Compares what was found on members when they were first read.
    pub(super) async fn judge_marks(&self) {
        let found = self.marks.lock().found.clone();
        let Some(latest) = found.values().flatten().max().copied() else { return };
        for (place, newest) in found {
            let lag = newest.map_or(u64::MAX, |newest| latest.now.saturating_sub(newest.now));
            if lag > LAG_MS {
                // It was away, or was set back: which, cannot be told from here.
                self.was_set_back(place, None).await;
            }
        }
    }

    /// The last mark that this replica put on a member.
    pub(super) fn mark_put(&self, place: usize) -> Option<Mark> {
        self.marks.lock().put.get(&place).copied()
    }

    /// Looks for the last mark in a listing that was begun when it was there: before anything of what is
    /// listed is believed.
    pub(super) async fn look_for_mark(&self, place: usize, put: Option<Mark>, items: &[ListItem]) {
        let Some(put) = put else { return };
        let name = self.records.clock(put);
        let is_last = || self.mark_put(place) == Some(put);
        if !items.iter().any(|item| item.key == name) && is_last() {
            self.find_mark(place, put).await;
        }
    }

    /// Looks for this replica's last mark, and takes note where it is gone. Answers whether the member
    /// answered.
    async fn find_mark(&self, place: usize, mark: Mark) -> bool {
        match self.look_at(place, &self.records.clock(mark)).await {
            Sight::Copy(_) | Sight::Damaged => true,
            Sight::Dark(_) => false,
            Sight::Absent => {
                let Ok(items) = self.list_records(place, self.records.current()).await else {
                    return false;
                };
                let newest =
                    items.iter().filter_map(|item| self.records.clock_mark(&item.key)).max();
                // This replica puts the next one before it removes this one, and others remove what is
                // out of date beside a newer one only.
                if self.mark_put(place) == Some(mark) {
                    let is_certain = newest < Some(mark);
                    self.was_set_back(place, is_certain.then_some(mark)).await;
                }
                true
            }
        }
    }

    /// Puts a new mark on every member, and looks for the one before.
    pub(super) async fn put_marks(&self) {
        let now = self.clock.now_millis();
        let bound = Version { millis: self.clock.bound(REACH), ..self.clock.next() };
        let mark = Mark { bound, now };
        let name = self.records.clock(mark);
        let nothing = bytes::Bytes::new();
        for (place, member) in self.members.iter().enumerate() {
            if !member.role.takes_writes() {
                continue;
            }
            let before = self.mark_put(place);
            if let Some(before) = before
                && !self.find_mark(place, before).await
            {
                continue;
            }
            if put_record(&self.core, place, &name, &nothing).await.is_ok() {
                self.marks.lock().put.insert(place, mark);
                if let Some(before) = before {
                    let _ = self.delete_at(place, &self.records.clock(before), None).await;
                }
            }
        }
    }
}
