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
use crate::model::Version;

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
                self.was_set_back(place).await;
            }
        }
    }

    /// A member may be without what it had, or with what was deleted since: it is not believed before
    /// it was compared, by no replica.
    async fn was_set_back(&self, place: usize) {
        let member = &self.members[place];
        if !member.is_complete() {
            return;
        }
        member.set_complete(false);
        tracing::error!(
            member = &*member.name,
            "a member was away or set back to an earlier state: it will be compared"
        );
        self.forget_completeness(place).await;
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
            let before = self.marks.lock().put.get(&place).copied();
            if let Some(before) = before {
                match self.look_at(place, &self.records.clock(before)).await {
                    Sight::Absent => self.was_set_back(place).await,
                    Sight::Dark(_) => continue,
                    Sight::Copy(_) | Sight::Damaged => {}
                }
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
