//! What this replica knows to be unfinished: all lines of all members' segments, by key.
//!
//! Its own lines are here before anybody is answered, others' when `refresh` has read them. A line
//! is *settled* when this replica has seen every member to be as it should; it stays known until
//! its segment is removed, since a delete has to know that a copy may still be under way.

mod segment;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use self::segment::{Entry, Segment, State};
pub(super) use self::waiting::Pending;
use super::doubts::Doubts;
use super::line::{Line, What};
use crate::model::{ObjectKey, Version};

/// Segment and place in it.
pub(super) type LineId = (Version, usize);

#[derive(Debug)]
pub(super) struct View {
    inside: Mutex<Inside>,
    /// Lines that are not settled: with none, a key needs no look-up.
    open: AtomicUsize,
    /// Segments, likewise.
    known: AtomicUsize,
    /// Of this process.
    pub(super) doubts: Doubts,
}

/// A call with lines ahead of it: what of them is not over when it ends, or breaks off, is to be seen to.
#[derive(Debug)]
pub(super) struct UnderWay<'a> {
    pub(super) view: &'a View,
    pub(super) keys: &'a [ObjectKey],
    /// Of the lines.
    pub(super) version: Version,
}

impl UnderWay<'_> {
    /// It is known what every member has.
    pub(super) fn over(&self) {
        self.keys.iter().for_each(|key| self.view.end(key, self.version, true));
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.keys.iter().for_each(|key| self.view.end(key, self.version, false));
    }
}

#[derive(Debug, Default)]
struct Inside {
    segments: BTreeMap<Version, Segment>,
    /// In order, so that those below a prefix are found together.
    keys: BTreeMap<ObjectKey, Vec<LineId>>,
    /// Of each member, whether its segments are known.
    loaded: Vec<bool>,
    /// Segments and holders that became known so far.
    added: u64,
}

/// A line and whether it is settled.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: LineId,
    pub(super) line: Arc<Line>,
    pub(super) settled: bool,
}

impl View {
    pub(super) fn new(members: usize) -> Self {
        let inside = Inside { loaded: vec![false; members], ..Inside::default() };
        Self {
            inside: Mutex::new(inside),
            open: AtomicUsize::new(0),
            known: AtomicUsize::new(0),
            doubts: Doubts::default(),
        }
    }

    /// Adds a segment that this process wrote.
    pub(super) fn add(
        &self,
        version: Version,
        lines: Vec<Line>,
        holders: impl IntoIterator<Item = usize>,
    ) {
        self.insert(version, lines, holders, true);
    }

    /// Adds a segment that was read, or a further member that keeps it.
    pub(super) fn found(&self, version: Version, lines: Vec<Line>, holder: usize) {
        self.insert(version, lines, [holder], false);
    }

    fn insert(
        &self,
        version: Version,
        lines: Vec<Line>,
        holders: impl IntoIterator<Item = usize>,
        is_own: bool,
    ) {
        let mut inside = self.lock();
        inside.added += 1;
        let added = inside.added;
        if let Some(known) = inside.segments.get_mut(&version) {
            known.holders.extend(holders);
            known.added = added;
            if is_own {
                let open = known.open();
                known.claim(lines.iter().map(|line| line.ahead));
                self.open.fetch_sub(open - known.open(), Ordering::Release);
            }
            return;
        }
        for (place, line) in lines.iter().enumerate() {
            inside.keys.entry(line.key.clone()).or_default().push((version, place));
        }
        let segment = Segment::new(lines, holders.into_iter().collect(), is_own, added);
        self.open.fetch_add(segment.open(), Ordering::Release);
        inside.segments.insert(version, segment);
        self.known.store(inside.segments.len(), Ordering::Release);
    }

    /// Forgets a segment.
    pub(super) fn remove(&self, version: Version) {
        self.take(version);
    }

    fn take(&self, version: Version) -> Option<Segment> {
        let mut inside = self.lock();
        let segment = inside.segments.remove(&version)?;
        self.known.store(inside.segments.len(), Ordering::Release);
        self.open.fetch_sub(segment.open(), Ordering::Release);
        for entry in &segment.lines {
            inside.forget(&entry.line.key, |(of, _)| of == version);
        }
        Some(segment)
    }

    /// A call of this process that had written a line ahead came to its end: every member has it, or
    /// certainly none, or another line tells of it. Or it is not known what became of it, and the key is to
    /// be looked at.
    pub(super) fn end(&self, key: &ObjectKey, version: Version, is_over: bool) {
        let mut inside = self.lock();
        let ids = inside.keys.get(key).cloned().unwrap_or_default();
        for id in ids {
            let Some(segment) = inside.segments.get_mut(&id.0) else { continue };
            let Some(entry) = segment.lines.get_mut(id.1) else { continue };
            if entry.state != State::UnderWay || entry.line.version != version {
                continue;
            }
            if is_over {
                entry.state = State::Over;
                inside.forget(key, |other| other == id);
            } else {
                entry.state = State::Open;
                self.open.fetch_add(1, Ordering::Release);
            }
        }
    }

    /// How much is known now, for [`Self::loaded`].
    pub(super) fn sequence(&self) -> u64 {
        self.lock().added
    }

    /// A member's segments were read, and these are all: those that it alone kept are gone, by
    /// another replica's hand. What became known after `as_of` may have come too late for the list.
    ///
    /// Where the member was set back, they went with its later state: answers the lines of those that
    /// this process wrote, to be written down anew.
    pub(super) fn loaded(
        &self,
        member: usize,
        found: &BTreeSet<Version>,
        as_of: u64,
        was_set_back: bool,
    ) -> Vec<Line> {
        self.lock().loaded[member] = true;
        let is_gone = |version: Version, segment: &Segment| {
            segment.added <= as_of && !found.contains(&version)
        };
        let gone = self.take_from(member, is_gone);
        let lost = gone.into_iter().filter(|segment| was_set_back && segment.is_own);
        let lines = lost.flat_map(|segment| segment.lines);
        let lines = lines.filter(|entry| entry.state != State::Over);
        let again = lines.map(|entry| Line { ahead: false, ..(*entry.line).clone() });
        // What is announced goes on, and its own call sees to it.
        again.filter(|line| line.what != What::Announce).collect()
    }

    /// A member no longer keeps the segments for which this holds; gives back those that it alone kept,
    /// which are forgotten.
    fn take_from(
        &self,
        member: usize,
        is_gone: impl Fn(Version, &Segment) -> bool,
    ) -> Vec<Segment> {
        let mut gone = Vec::new();
        for (version, segment) in &mut self.lock().segments {
            if is_gone(*version, segment)
                && segment.holders.remove(&member)
                && segment.holders.is_empty()
            {
                gone.push(*version);
            }
        }
        gone.into_iter().filter_map(|version| self.take(version)).collect()
    }

    /// Segments for which this holds are no longer kept by a member: those that it alone kept are
    /// forgotten, but for what this process wrote.
    pub(super) fn disown(&self, member: usize, has_returned: impl Fn(Version) -> bool) {
        self.take_from(member, |version, segment| !segment.is_own && has_returned(version));
    }

    /// Whether a segment is known, as kept by this member.
    pub(super) fn has(&self, version: Version, member: usize) -> bool {
        self.lock().segments.get(&version).is_some_and(|known| known.holders.contains(&member))
    }

    /// A member's segments could not be read, and others may have written there.
    pub(super) fn unload(&self, member: usize) {
        self.lock().loaded[member] = false;
    }

    /// Whether a member's segments are known.
    pub(super) fn is_loaded(&self, member: usize) -> bool {
        self.lock().loaded[member]
    }

    /// Whether all members' segments are.
    pub(super) fn is_all_loaded(&self) -> bool {
        self.lock().loaded.iter().all(|is_loaded| *is_loaded)
    }

    /// Whether there is anything to settle.
    pub(super) fn is_clear(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    /// Whether one member's word on a key is not enough: it has a line that is not settled, was
    /// deleted so lately that an older write may still land, or has an attempt in doubt.
    pub(super) fn is_pending(&self, key: &ObjectKey) -> bool {
        let is_open = |known: &Known| !known.settled || known.line.what.takes_away();
        self.doubts.contains(key) || self.lines(key).iter().any(is_open)
    }

    /// All lines of a key, settled ones too.
    pub(super) fn lines(&self, key: &ObjectKey) -> Vec<Known> {
        if self.known.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        let inside = self.lock();
        let Some(ids) = inside.keys.get(key) else { return Vec::new() };
        let known = |id: &LineId| {
            let entry = inside.entry(id)?;
            Some(Known { id: *id, line: Arc::clone(&entry.line), settled: entry.is_done() })
        };
        ids.iter().filter_map(known).collect()
    }

    /// Members that keep tombstones of a key, or of versions of it.
    pub(super) fn buried_at(&self, key: &ObjectKey) -> BTreeSet<usize> {
        let takes_away = |known: &Known| known.line.what.takes_away();
        let tombstones = self.lines(key).into_iter().filter(takes_away);
        let inside = self.lock();
        let segments = tombstones.filter_map(|known| inside.segments.get(&known.id.0));
        segments.flat_map(|segment| segment.holders.iter().copied()).collect()
    }

    /// Whether a key has any line, or an attempt in doubt.
    pub(super) fn is_touched(&self, key: &ObjectKey) -> bool {
        let has_lines =
            || self.known.load(Ordering::Acquire) > 0 && self.lock().keys.contains_key(key);
        self.doubts.contains(key) || has_lines()
    }

    /// The same, but for lines of this version.
    pub(super) fn is_touched_beside(&self, key: &ObjectKey, version: Version) -> bool {
        let is_other = |known: &Known| known.line.version != version;
        self.doubts.contains(key) || self.lines(key).iter().any(is_other)
    }

    /// Marks lines as settled, or as to be looked at again.
    pub(super) fn mark(&self, ids: &[LineId], settled: bool) {
        let mut inside = self.lock();
        for (version, place) in ids {
            let Some(segment) = inside.segments.get_mut(version) else { continue };
            let Some(entry) = segment.lines.get_mut(*place) else { continue };
            match (entry.state, settled) {
                (State::Open, true) => {
                    entry.state = State::Settled;
                    self.open.fetch_sub(1, Ordering::Release);
                }
                (State::Settled, false) => {
                    entry.state = State::Open;
                    self.open.fetch_add(1, Ordering::Release);
                }
                _ => continue,
            }
            segment.settled = Instant::now();
        }
    }

    /// Whether something was acknowledged that none of the members for whom `reachable` holds has.
    pub(super) fn is_stranded(&self, reachable: impl Fn(&str) -> bool) -> bool {
        if self.is_clear() {
            return false;
        }
        let inside = self.lock();
        let mut open = inside.segments.values().flat_map(|s| &s.lines).filter(|e| e.is_open());
        open.any(|entry| match &entry.line.what {
            What::Copy { on, .. } => !on.iter().any(|name| reachable(name)),
            What::Announce | What::Delete | What::Kill { .. } | What::Spare { .. } => false,
        })
    }

    /// Keys with an unsettled delete that begin so.
    pub(super) fn deletes_below(&self, prefix: &str) -> bool {
        if self.known.load(Ordering::Acquire) == 0 {
            return false;
        }
        let inside = self.lock();
        let from = inside.keys.range(ObjectKey::new(prefix)..);
        let mut below = from.take_while(|(key, _)| key.as_str().starts_with(prefix));
        below.any(|(_, ids)| {
            let mut entries = ids.iter().filter_map(|id| inside.entry(id));
            entries.any(|entry| entry.line.what.takes_away())
        })
    }

    /// Segments whose lines are all settled, the last one so long ago or all of them over; with the lines
    /// that are not.
    pub(super) fn finished(&self, ago: Duration) -> Vec<(Version, BTreeSet<usize>, Vec<Known>)> {
        let inside = self.lock();
        let done = inside.segments.iter().filter(|(_, segment)| segment.is_finished(ago));
        let with_lines = |(version, segment): (&Version, &Segment)| {
            let known = |(place, entry): (usize, &Entry)| Known {
                id: (*version, place),
                line: Arc::clone(&entry.line),
                settled: true,
            };
            let lines = segment.lines.iter().enumerate();
            let lines = lines.filter(|(_, e)| e.state == State::Settled).map(known).collect();
            (*version, segment.holders.clone(), lines)
        };
        done.map(with_lines).collect()
    }

    /// No holder leaves the maps half changed, so a lock poisoned by a panic is usable.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    fn entry(&self, id: &LineId) -> Option<&Entry> {
        self.segments.get(&id.0)?.lines.get(id.1)
    }

    /// A key has these lines no more.
    fn forget(&mut self, key: &ObjectKey, is_gone: impl Fn(LineId) -> bool) {
        if let Some(ids) = self.keys.get_mut(key) {
            ids.retain(|id| !is_gone(*id));
            if ids.is_empty() {
                self.keys.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::waiting::Waiting;
    use super::*;

    fn version(millis: u64) -> Version {
        Version { millis, counter: 0, writer: 1 }
    }

    fn line(key: &str, what: What) -> Line {
        let missing = vec!["a".to_owned()];
        Line::new(what, &ObjectKey::new(key), version(1), missing)
    }

    #[test]
    fn a_settled_line_no_longer_holds_its_key_up_and_is_still_known() {
        let view = View::new(2);
        let key = ObjectKey::new("k");
        let on = vec!["b".to_owned()];
        view.add(
            version(5),
            vec![line("k", What::Copy { on, replaces: false }), line("l", What::Delete)],
            [1],
        );
        assert!(view.is_pending(&key) && view.is_stranded(|name| name == "a"));
        assert!(!view.is_stranded(|name| name == "b"));
        assert_eq!(view.pending().len(), 2);
        let waiting = view.waiting();
        assert_eq!((waiting.keys, waiting.since), (2, Some(version(1))));
        assert_eq!(waiting.by_member, BTreeMap::from([("a".to_owned(), 2)]));
        view.mark(&[(version(5), 0)], true);
        assert_eq!(view.waiting().keys, 1);
        assert!(!view.is_pending(&key) && view.is_touched(&key));
        assert!(view.finished(Duration::ZERO).is_empty());
        view.mark(&[(version(5), 1)], true);
        assert_eq!(view.finished(Duration::ZERO).len(), 1);
        assert!(view.finished(Duration::from_secs(60)).is_empty());
        assert!(view.is_clear() && view.waiting() == Waiting::default());
        view.remove(version(5));
        assert!(!view.is_touched(&key));
    }

    #[test]
    fn an_announced_write_holds_its_key_up_until_it_is_over() {
        let view = View::new(2);
        let key = ObjectKey::new("k");
        view.add(version(5), vec![line("k", What::Announce).ahead()], [0]);
        assert!(view.is_pending(&key) && view.pending().is_empty() && view.is_clear());
        view.end(&key, version(2), true);
        assert!(view.is_pending(&key), "that was another one");
        view.end(&key, version(1), true);
        assert!(!view.is_touched(&key));
        let finished = view.finished(Duration::from_secs(60));
        assert!(finished.len() == 1 && finished[0].2.is_empty());
        view.remove(version(5));
        // One that came to no end, and one of another process, are to be seen to.
        view.add(version(6), vec![line("k", What::Announce).ahead()], [0]);
        view.end(&key, version(1), false);
        view.found(version(7), vec![line("l", What::Announce)], 0);
        assert_eq!(view.pending().len(), 2);
        view.mark(&[(version(6), 0), (version(7), 0)], true);
        assert!(view.is_clear() && !view.is_pending(&key) && view.is_touched(&key));
        assert!(view.finished(Duration::from_secs(60)).is_empty(), "it may land late");
    }

    #[test]
    fn deletes_are_found_below_a_prefix_and_no_other() {
        let view = View::new(1);
        let copy = What::Copy { on: Vec::new(), replaces: false };
        view.add(
            version(5),
            vec![line("a/copy", copy), line("b", What::Delete), line("b/1", What::Delete)],
            [0],
        );
        view.mark(&[(version(5), 2)], true);
        for (prefix, found) in [
            ("", true),
            ("a", false),
            ("a/", false),
            ("b", true),
            ("b/", true),
            ("b/2", false),
            ("c", false),
        ] {
            assert_eq!(view.deletes_below(prefix), found, "{prefix:?}");
        }
        view.remove(version(5));
        assert!(!view.deletes_below(""));
    }

    #[test]
    fn what_came_back_with_an_earlier_state_counts_only_where_this_process_wrote_it() {
        let view = View::new(2);
        view.add(version(1), vec![line("own", What::Delete)], [0]);
        view.found(version(2), vec![line("other", What::Delete)], 0);
        view.found(version(3), vec![line("both", What::Delete)], 0);
        view.found(version(3), Vec::new(), 1);
        view.found(version(9), vec![line("since", What::Delete)], 0);
        view.disown(0, |version| version.millis < 5);
        let is_known = |key: &str| view.is_touched(&ObjectKey::new(key));
        assert!(is_known("own") && is_known("both") && is_known("since") && !is_known("other"));
        assert!(view.has(version(1), 0) && view.has(version(3), 1) && !view.has(version(3), 0));
    }

    #[test]
    fn what_no_member_keeps_any_more_is_forgotten() {
        let view = View::new(2);
        view.add(version(5), vec![line("k", What::Delete)], [0, 1]);
        let (none, now) = (BTreeSet::new(), view.sequence());
        assert_eq!(view.loaded(0, &none, now, false), []);
        assert!(!view.is_clear() && view.is_loaded(0) && !view.is_loaded(1));
        assert_eq!(view.loaded(1, &none, now - 1, false), []);
        assert!(!view.is_clear(), "it became known after the listing began");
        assert_eq!(view.loaded(1, &none, now, false), []);
        assert!(view.is_clear());
        // But where it was set back, who wrote it down does so again.
        view.add(version(6), vec![line("own", What::Delete)], [0]);
        view.found(version(7), vec![line("other", What::Delete)], 0);
        let lost = view.loaded(0, &none, view.sequence(), true);
        assert_eq!(lost, [line("own", What::Delete)]);
        assert!(view.is_clear());
    }
}
