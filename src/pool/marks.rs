//! Marks of all replicas' clocks, kept on every member.
//!
//! A mark says how far its replica's clock was, and above which version it gives none before the
//! next one. So no replica falls behind what another one gave, nor behind itself after a restart,
//! even where a machine's clock was set back; who is alone is known; and a member on which a mark is
//! missing that was put there has been emptied, or set back to an earlier state.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::line::Mark;
use super::parts::Parts;
use super::scribe::put_record;
use super::state::Sight;
use crate::model::{ListItem, Version};

/// Between two marks.
pub(super) const EVERY: Duration = Duration::from_secs(10);

/// How far a mark reaches: the next one may be late.
const REACH: Duration = Duration::from_secs(20);

/// A replica whose last mark has been seen for so long is gone: by the clock of who sees it, whatever the
/// two walls say. Marks are put every 10 s and read every 36 s at the latest.
const GONE: Duration = Duration::from_secs(90);

/// A member whose newest mark is older than the newest of all by more than this was away, or is in
/// an earlier state.
const LAG_MS: u64 = 40_000;

/// For how long a call may have been under way when its process was last heard of.
const CALL_MS: u64 = 60_000;

/// Processes that are gone and remembered, the latest of them.
const REMEMBERED: usize = 256;

/// Clocks of replicas that differ by more than this are an alarm.
const ALARM_MS: u64 = 5_000;

/// What is known of marks.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Whether any process is known to be gone: with none, a read needs no look-up.
    any_gone: AtomicBool,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    /// When another replica was last seen to be at work.
    others: Option<Instant>,
    /// Others' marks on each member, and when they were first seen.
    seen: BTreeMap<(usize, Mark), Instant>,
    /// Last marks of processes that are gone, or may be, by their names.
    gone: BTreeMap<u32, Mark>,
    /// Of each member, when a reading of it that came to its end was begun last.
    read: BTreeMap<usize, Instant>,
    /// Of each member, the newest mark when this replica read it first.
    found: BTreeMap<usize, Option<Mark>>,
    /// Of each member, the last one that this replica put there.
    put: BTreeMap<usize, Mark>,
}

impl Marks {
    /// When another replica may still have been at work, for all that is known.
    fn others_until(&self) -> Option<Instant> {
        self.lock().others.map(|seen| seen + GONE)
    }

    /// Another replica shows that it is at work.
    fn is_another(&self) {
        self.lock().others = Some(Instant::now());
    }

    /// A process left this mark, and may have died in the middle of a call since.
    fn may_be_gone(&self, mark: Mark) {
        let mut inside = self.lock();
        let last = inside.gone.entry(mark.bound.writer).or_insert(mark);
        *last = mark.max(*last);
        if inside.gone.len() > REMEMBERED
            && let Some(oldest) = inside.gone.values().min().map(|mark| mark.bound.writer)
        {
            inside.gone.remove(&oldest);
        }
        self.any_gone.store(true, Ordering::Release);
    }

    /// Notes which marks of others are on a member now. Answers those that are new, and those that have
    /// been there for as long as a replica at work leaves none.
    fn see(&self, place: usize, others: &[Mark]) -> (Vec<Mark>, Vec<Mark>) {
        let mut inside = self.lock();
        inside.seen.retain(|(at, mark), _| *at != place || others.contains(mark));
        let (mut new, mut old) = (Vec::new(), Vec::new());
        for mark in others {
            match inside.seen.get(&(place, *mark)) {
                None => new.push(*mark),
                Some(since) if since.elapsed() > GONE => old.push(*mark),
                Some(_) => {}
            }
            inside.seen.entry((place, *mark)).or_insert_with(Instant::now);
        }
        (new, old)
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parts {
    /// Whether no other replica is known to be at work.
    pub(super) fn is_alone(&self) -> bool {
        self.marks.others_until().is_none_or(|until| until < Instant::now())
    }

    /// Whether a write of this version may have been cut off between the homes of a mirror: by a process
    /// that is gone, and shortly before it was.
    pub(super) fn may_be_cut_off(&self, version: Version) -> bool {
        self.marks.any_gone.load(Ordering::Acquire)
            && self.marks.lock().gone.get(&version.writer).is_some_and(|last| {
                (last.now.saturating_sub(CALL_MS)..=last.bound.millis).contains(&version.millis)
            })
    }

    /// Whether another replica may have written lines at a member since this one read them: none that was
    /// at work then, or has been since. That it cannot be seen, where nobody answers, shows nothing.
    pub(super) fn may_have_missed(&self, place: usize) -> bool {
        let read = self.marks.lock().read.get(&place).copied();
        self.marks.others_until().is_some_and(|until| read.is_none_or(|read| read < until))
    }

    /// All of a member's lines were read, in a reading that began then.
    pub(super) fn has_read(&self, place: usize, begun: Instant) {
        self.marks.lock().read.insert(place, begun);
    }

    /// Takes note of a member's marks; those of processes that are gone are removed once a newer one
    /// says as much.
    pub(super) async fn take_marks(&self, place: usize, marks: &[Mark]) {
        let newest = marks.iter().copied().max();
        let is_first = !self.marks.lock().found.contains_key(&place);
        if is_first {
            // They may be of this machine before a restart.
            marks.iter().for_each(|mark| self.clock.observe(mark.bound));
        }
        let is_other = |mark: &Mark| mark.bound.writer != self.clock.writer();
        let others: Vec<Mark> = marks.iter().copied().filter(is_other).collect();
        let wall = self.clock.wall_millis();
        let (new, old) = self.marks.see(place, &others);
        let gone = old.iter().chain(new.iter().filter(|_| is_first));
        gone.for_each(|mark| self.marks.may_be_gone(*mark));
        for mark in new {
            // What was there when this one began may be of one that is gone: then its own time has to say.
            if !is_first || mark.bound.millis >= wall {
                self.marks.is_another();
                self.clock.hear(mark.now);
                let ahead_ms = mark.now.saturating_sub(wall);
                if ahead_ms > ALARM_MS {
                    tracing::warn!(ahead_ms, "another replica's clock is ahead of this one's");
                }
            }
            let Mark { now: millis, bound } = mark;
            self.clock.observe(Version { millis, counter: 0, writer: bound.writer });
        }
        for mark in old.into_iter().filter(|mark| newest > Some(*mark)) {
            // Another replica may have done so already.
            let _ = self.delete_at(place, &self.records.clock(mark), None).await;
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

    /// Puts a new mark on these members at once, and looks for the one before.
    pub(super) async fn put_marks(&self, places: impl IntoIterator<Item = usize>) {
        let now = self.clock.now_millis();
        let bound = Version { millis: self.clock.bound(REACH), ..self.clock.next() };
        let mark = Mark { bound, now };
        let name = self.records.clock(mark);
        let nothing = bytes::Bytes::new();
        let takes_writes = |place: &usize| self.members[*place].role.takes_writes();
        let puts = places.into_iter().filter(takes_writes).map(|place| {
            let (name, nothing) = (&name, &nothing);
            async move {
                let before = self.mark_put(place);
                if let Some(before) = before
                    && !self.find_mark(place, before).await
                {
                    return;
                }
                if put_record(&self.core, place, name, nothing).await.is_ok() {
                    self.marks.lock().put.insert(place, mark);
                    if let Some(before) = before {
                        let _ = self.delete_at(place, &self.records.clock(before), None).await;
                    }
                }
            }
        });
        join_all(puts).await;
    }
}
