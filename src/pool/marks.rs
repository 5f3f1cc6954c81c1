//! Marks of all replicas' clocks, kept on every member.
//!
//! A mark says how far its replica's clock was, and above which version it gives none before the
//! next one. So no replica falls behind what another one gave, nor behind itself after a restart,
//! even where a machine's clock was set back; who is alone is known; and a member on which a mark is
//! missing that was put there has been emptied, or set back to an earlier state.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::line::Mark;
use super::parts::Parts;
use super::scribe::put_record;
use super::state::Sight;
use crate::model::Version;

/// Between two marks.
pub(super) const EVERY: Duration = Duration::from_secs(10);

/// How far a mark reaches: the next one may be late.
const REACH: Duration = Duration::from_secs(20);

/// A replica whose mark stood unchanged for so long, on a member that could be read all the while,
/// is gone: it would have put three others. Nobody's wall clock decides.
const GONE: Duration = Duration::from_secs(40);

/// A member whose newest mark is older than the newest of all by more than this was away, or is in
/// an earlier state.
const LAG_MS: u64 = 40_000;

/// Clocks of replicas that differ by more than this are an alarm.
const ALARM_MS: u64 = 5_000;

/// What is known of marks.
#[derive(Debug, Default)]
pub(super) struct Marks {
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    /// Of each member, the newest mark when this replica read it first.
    found: BTreeMap<usize, Option<Mark>>,
    /// Of each member, the last one that this replica put there.
    put: BTreeMap<usize, Mark>,
    /// Of other replicas, by member, the newest there.
    others: BTreeMap<u32, BTreeMap<usize, Standing>>,
}

/// A mark of another replica on a member.
#[derive(Clone, Copy, Debug)]
struct Standing {
    mark: Mark,
    /// Since when it was found there again and again; absent where that was broken off.
    since: Option<Instant>,
}

impl Inside {
    /// Whether a replica is no longer at work: it may reach one member only.
    fn is_gone(&self, writer: u32) -> bool {
        let stands = |standing: &Standing| standing.since.is_some_and(|at| at.elapsed() >= GONE);
        self.others.get(&writer).is_none_or(|members| members.values().all(stands))
    }

    /// A mark was read. Answers whether it is news.
    fn found(&mut self, place: usize, mark: Mark) -> bool {
        // A bound may fall where a wall clock is set back, the time of a mark does not.
        let age = |mark: Mark| (mark.now, mark.bound);
        let members = self.others.entry(mark.bound.writer).or_default();
        match members.get_mut(&place) {
            Some(known) if age(known.mark) >= age(mark) => {
                known.since.get_or_insert_with(Instant::now);
                false
            }
            _ => {
                members.insert(place, Standing { mark, since: Some(Instant::now()) });
                true
            }
        }
    }
}

impl Marks {
    /// Whether no other replica is known to be at work. Who cannot read a member cannot tell that
    /// somebody has left, however long that takes.
    pub(super) fn is_alone(&self) -> bool {
        let inside = self.lock();
        inside.others.keys().all(|writer| inside.is_gone(*writer))
    }

    /// A member's marks could not be read.
    pub(super) fn missed(&self, place: usize) {
        let mut inside = self.lock();
        let standing = inside.others.values_mut().filter_map(|members| members.get_mut(&place));
        standing.for_each(|standing| standing.since = None);
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parts {
    /// Takes note of a member's marks; those of processes that are gone are removed once a newer one
    /// says as much.
    pub(super) async fn take_marks(&self, place: usize, marks: &[Mark]) {
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
            let (is_news, is_gone) = {
                let mut inside = self.marks.lock();
                (inside.found(place, *mark), inside.is_gone(writer))
            };
            let ahead_ms = mark.now.saturating_sub(self.clock.wall_millis());
            if is_news && !is_first && ahead_ms > ALARM_MS {
                tracing::warn!(ahead_ms, "another replica's clock is ahead of this one's");
            }
            if is_gone && newest > Some(*mark) {
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
