//! Second questions: to another member when the first takes longer than it uses to, and to the same
//! one when it failed and nobody else has the object.
//!
//! Dean and Barroso, "The Tail at Scale" (2013): asked after about the 95th percentile, and for a small
//! share of all reads only, it costs little and cuts the tail.

use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::time::Instant;

use super::core::count;
use super::parts::Parts;
use crate::model::StoreError;

/// Before a member that failed is asked again: as it says, but at most the second.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
const AGAIN_LATEST: Duration = Duration::from_secs(1);
/// Shortest wait before a second question.
const HEDGE_AFTER: Duration = Duration::from_millis(2);
/// Longest, in medians: of a member that is slow one time in twenty, chance decides whether its 95th
/// percentile is that of its slow answers.
const HEDGE_LATEST: u32 = 4;

impl Parts {
    /// Asks a member once more that failed when it was asked, not one that is not even asked at the
    /// moment.
    pub(super) async fn once_more<T, F>(
        &self,
        dark: &[(usize, StoreError)],
        ask: &impl Fn(usize) -> F,
    ) -> Option<(usize, Result<T, StoreError>)>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let (place, error) = dark.iter().find(|(_, error)| !error.is_unasked())?;
        if !self.second_asks.spend() {
            return None;
        }
        let wait = error.retry_after().unwrap_or(AGAIN_AFTER).min(AGAIN_LATEST);
        tokio::time::sleep(wait).await;
        Some((*place, ask(*place).await))
    }

    /// Asks the fastest member, and a second one when that takes longer than it uses to.
    pub(super) async fn hedged<T, F>(
        &self,
        order: &[usize],
        ask: &impl Fn(usize) -> F,
    ) -> (usize, Result<T, StoreError>)
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let (one, other) = (order[0], order[1]);
        self.hedges.earn();
        let started = Instant::now();
        let first = Box::pin(ask(one));
        let Some((median, high)) = self.members[one].read_latency() else {
            return (one, first.await);
        };
        let usual = high.min(median * HEDGE_LATEST).max(HEDGE_AFTER);
        let wait = Box::pin(tokio::time::sleep(usual));
        let first = match select(first, wait).await {
            Either::Left((result, _)) => return (one, result),
            Either::Right(((), first)) => first,
        };
        if self.members[other].is_avoided() || !self.hedges.spend() {
            return (one, first.await);
        }
        count(&self.counters.hedges_sent);
        match select(first, Box::pin(ask(other))).await {
            Either::Left((Ok(found), _)) => (one, Ok(found)),
            // It failed: the second question is already under way.
            Either::Left((Err(error), second)) => match second.await {
                Ok(found) => (other, Ok(found)),
                Err(_) => (one, Err(error)),
            },
            Either::Right((Ok(found), _)) => {
                count(&self.counters.hedges_won);
                // It took at least so long, and must not pass for fast because it was left.
                self.members[one].took(started.elapsed());
                (other, Ok(found))
            }
            Either::Right((Err(_), first)) => (one, first.await),
        }
    }
}
