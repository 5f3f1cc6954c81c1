//! What waits to be settled, for the repairer and for those who watch.

use std::collections::{BTreeMap, BTreeSet};

use super::super::line::Line;
use super::View;
use super::segment::Entry;
use crate::model::{ObjectKey, Version};

/// A key with unsettled lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pool) struct Pending {
    pub(in crate::pool) key: ObjectKey,
    /// Of its oldest unsettled line.
    pub(in crate::pool) since: Version,
    /// Members, by name, that its lines wait for.
    pub(in crate::pool) missing: BTreeSet<String>,
    /// Processes that wrote its lines.
    pub(in crate::pool) writers: BTreeSet<u32>,
}

/// Keys with unsettled lines, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::pool) struct Waiting {
    pub(in crate::pool) keys: u64,
    /// Of the oldest unsettled line.
    pub(in crate::pool) since: Option<Version>,
    /// Those that wait for a member, by its name.
    pub(in crate::pool) by_member: BTreeMap<String, u64>,
}

impl View {
    /// Keys to settle, the longest-waiting first.
    pub(in crate::pool) fn pending(&self) -> Vec<Pending> {
        if self.is_clear() {
            return Vec::new();
        }
        let inside = self.lock();
        let mut keys: BTreeMap<&ObjectKey, Pending> = BTreeMap::new();
        for (version, segment) in &inside.segments {
            for Entry { line, .. } in segment.lines.iter().filter(|entry| entry.is_open()) {
                let pending = keys.entry(&line.key).or_insert_with(|| Pending {
                    key: line.key.clone(),
                    since: line.version,
                    missing: BTreeSet::new(),
                    writers: BTreeSet::new(),
                });
                pending.since = pending.since.min(line.version);
                pending.missing.extend(line.missing.iter().cloned());
                pending.writers.insert(version.writer);
            }
        }
        let mut pending: Vec<_> = keys.into_values().collect();
        pending.sort_by_key(|pending| pending.since);
        pending
    }

    /// How much waits. Copies nothing of what it counts, as it is asked for all the time.
    pub(in crate::pool) fn waiting(&self) -> Waiting {
        let mut waiting = Waiting::default();
        if self.is_clear() {
            return waiting;
        }
        let inside = self.lock();
        for ids in inside.keys.values() {
            let open = ids.iter().filter_map(|id| inside.entry(id)).filter(|entry| entry.is_open());
            let lines: Vec<&Line> = open.map(|entry| &*entry.line).collect();
            let Some(since) = lines.iter().map(|line| line.version).min() else { continue };
            waiting.keys += 1;
            waiting.since = Some(waiting.since.map_or(since, |earliest| earliest.min(since)));
            let missing: BTreeSet<&str> =
                lines.iter().flat_map(|line| &line.missing).map(String::as_str).collect();
            for name in missing {
                match waiting.by_member.get_mut(name) {
                    Some(count) => *count += 1,
                    None => drop(waiting.by_member.insert(name.to_owned(), 1)),
                }
            }
        }
        waiting
    }
}
