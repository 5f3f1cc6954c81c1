//! The first thing that a replica does: it learns what others left to it.
//!
//! Before it has read what at least one member keeps, it gives no version and answers no call: its
//! clock may have been set back, and what it would serve may be deleted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Mutex;

use super::parts::Parts;
use crate::model::{StoreError, Version};

/// Longest wait for members' records before the first call is served with what was read.
const PATIENCE: Duration = Duration::from_secs(3);

/// A member whose newest mark is older than the newest of all by more than this was away, or is in
/// an earlier state.
const LAG: Duration = Duration::from_secs(40);

/// Whether this replica has begun.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    is_done: AtomicBool,
    turn: Mutex<()>,
}

impl Parts {
    /// Reads members' records once; cheap afterwards.
    ///
    /// # Errors
    /// No member could be read.
    pub(super) async fn begin(&self) -> Result<(), StoreError> {
        if self.beginning.is_done.load(Ordering::Acquire) {
            return Ok(());
        }
        let _turn = self.beginning.turn.lock().await;
        if self.beginning.is_done.load(Ordering::Acquire) {
            return Ok(());
        }
        let reading = async {
            let is_read = self.read_clock_marks().await;
            // Who does not answer is read later on, and is not believed to have nothing.
            let _ = self.refresh().await;
            is_read
        };
        let is_read = tokio::time::timeout(PATIENCE, reading).await;
        let any = (0..self.members.len()).any(|place| self.view.is_loaded(place));
        if is_read == Ok(true) || any {
            self.beginning.is_done.store(true, Ordering::Release);
            return Ok(());
        }
        Err(self.no_member("can be read"))
    }

    /// Reads the marks of all clocks: a version must not fall below one that was given before a
    /// restart, even where this machine's clock was set back. Answers whether any member was read.
    pub(super) async fn read_clock_marks(&self) -> bool {
        let prefix = self.records.clocks();
        let mut newest = vec![None; self.members.len()];
        let listings = (0..self.members.len()).map(|m| self.list_records(m, prefix.clone()));
        for (place, listing) in join_all(listings).await.into_iter().enumerate() {
            let Ok(items) = listing else { continue };
            let marks = items.iter().filter_map(|item| {
                item.key.as_str().strip_prefix(&prefix)?.parse::<Version>().ok()
            });
            let marks: Vec<Version> = marks.collect();
            newest[place] = Some(marks.iter().copied().max());
            marks.iter().for_each(|mark| self.clock.observe(*mark));
            // Of processes that are gone; the newest says as much.
            let now = self.clock.wall_millis();
            for old in marks
                .iter()
                .filter(|mark| mark.millis < now && newest[place].flatten() > Some(**mark))
            {
                let _ = self.delete_at(place, &self.records.clock(*old), None).await;
            }
        }
        let latest = newest.iter().flatten().max().copied().flatten();
        for (place, newest) in newest.iter().enumerate() {
            let Some(newest) = newest else { continue };
            self.load_completeness(place).await;
            let behind = |mark: Version| {
                let lag = latest.map_or(0, |latest| latest.millis.saturating_sub(mark.millis));
                u128::from(lag) > LAG.as_millis()
            };
            // It was away, or was set back to an earlier state: which, cannot be told from here.
            if latest.is_some() && newest.is_none_or(behind) && self.members[place].is_complete() {
                self.was_set_back(place);
            }
        }
        newest.iter().any(Option::is_some)
    }
}
