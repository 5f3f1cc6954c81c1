//! How a pool fares, for those who watch it.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::future::join_all;

use super::aside::Why;
use super::parts::Parts;
use crate::model::{ErrorKind, PoolMode, Provider, Role, StoreError};

/// A pool's state and what it did since it was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    /// What the members are to each other.
    pub mode: PoolMode,
    /// Copies before a write to a mirror is acknowledged.
    pub min_copies: usize,
    /// Keys that some member does not have as it should.
    pub repairs_pending: u64,
    /// Age of the longest-waiting of them.
    pub oldest_repair: Option<Duration>,
    /// Of these, keys that a read or a comparison found amiss and nothing written down explains.
    pub divergent: u64,
    /// Copies put aside because two proofs were stored under one key.
    pub conflicts: u64,
    /// Copies put aside because of wrong bytes.
    pub quarantined: u64,
    /// Second questions to a slow member that were sent.
    pub hedges_sent: u64,
    /// Those that were answered first.
    pub hedges_won: u64,
    /// Times that another member was asked, by what the first one said.
    pub failovers: Vec<(ErrorKind, u64)>,
    /// Copies that were brought to a member.
    pub repaired_copies: u64,
    /// Copies that were removed because they are deleted.
    pub repaired_deletes: u64,
    /// In order.
    pub members: Vec<PoolMemberStatus>,
}

/// One member of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolMemberStatus {
    /// As configured.
    pub name: String,
    /// Kind of store.
    pub provider: Provider,
    /// What it is used for.
    pub role: Role,
    /// Keys that wait for it.
    pub pending_repairs: u64,
    /// Whether it takes no more for want of room.
    pub full: bool,
    /// Whether it is known to have all that belongs to it, but for what is pending.
    pub complete: bool,
}

impl Parts {
    pub(super) fn status(&self) -> PoolStatus {
        let waiting = self.view.waiting();
        let now = self.clock.now_millis();
        let oldest = waiting.since.map(|since| now.saturating_sub(since.millis));
        let counters = &self.counters;
        let members = self.members.iter().map(|member| PoolMemberStatus {
            name: member.name.to_string(),
            provider: member.backend.provider(),
            role: member.role,
            pending_repairs: waiting.by_member.get(&*member.name).copied().unwrap_or_default(),
            full: member.is_full(),
            complete: member.is_complete(),
        });
        PoolStatus {
            mode: self.policy.mode,
            min_copies: self.policy.min_copies,
            repairs_pending: waiting.keys + self.errands.len() as u64,
            oldest_repair: oldest.map(Duration::from_millis).max(self.errands.oldest()),
            divergent: self.errands.len() as u64,
            conflicts: self.asides.count(Why::Conflict),
            quarantined: self.asides.count(Why::WrongBytes),
            hedges_sent: counters.hedges_sent.load(Relaxed),
            hedges_won: counters.hedges_won.load(Relaxed),
            failovers: counters.failovers(),
            repaired_copies: counters.repaired_copies.load(Relaxed),
            repaired_deletes: counters.repaired_deletes.load(Relaxed),
            members: members.collect(),
        }
    }

    /// Whether some member serves.
    pub(super) async fn probe(&self) -> Result<(), StoreError> {
        let probes = self.members.iter().map(|member| member.backend.probe());
        let results = join_all(probes).await;
        if results.iter().any(Result::is_ok) {
            return Ok(());
        }
        let errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        Err(self.failure(&errors))
    }
}
