//! How much waits, for whoever watches: counted where it is, as it is asked for all the time.

use std::collections::{BTreeMap, BTreeSet};

use super::View;
use crate::model::Version;
use crate::pool::line::Line;

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
    /// How much waits. Copies nothing of what it counts, as it is asked for all the time.
    pub(in crate::pool) fn waiting(&self) -> Waiting {
        let mut waiting = Waiting::default();
        if self.is_clear() {
            return waiting;
        }
        let inside = self.lock();
        for ids in inside.keys.values() {
            let open = ids.iter().filter_map(|id| inside.entry(id)).filter(|entry| !entry.settled);
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
