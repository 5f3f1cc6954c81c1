//! The pool's background: reads records, repairs, removes what is done, keeps the clock's mark.
//!
//! Any replica finishes what any other wrote down. A lease saves them from doing it all at once; it
//! decides nothing, as every step is idempotent.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::line::What;
use super::parts::Parts;
use super::reconcile::Reconcile;
use super::scribe::put_record;
use super::settle::Settled;
use super::state::Sight;
use super::view::{Known, Pending};
use crate::model::{Attributes, Class, ErrorKind, ObjectKey, Payload, PutMode, Version};

/// Between two rounds while there is work.
const ROUND: Duration = Duration::from_millis(500);
/// Between two marks of the clock. A process that starts knows no version above the last mark by
/// more than this.
const CLOCK_MARK: Duration = Duration::from_secs(10);
/// Between two comparisons of members with their quotas.
const MEASURE: Duration = Duration::from_secs(15);
/// For how long a lease is good, from when it was taken or renewed.
const LEASE: Duration = Duration::from_secs(8);
/// Between two tries to compare members that are not known to be complete.
const COMPARE: Duration = Duration::from_secs(15);
/// Times that a key is looked at again in one round.
const AGAIN: usize = 5;

/// What the background remembers between rounds.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    refreshed: Option<Instant>,
    marked: Option<Instant>,
    mark: Option<Version>,
    /// Those on which it was put.
    marked_members: BTreeSet<usize>,
    measured: Option<Instant>,
    leased: Option<Instant>,
    /// Segments whose deletes were looked at once more at the end of their time.
    checked: HashSet<Version>,
    compared: Option<Instant>,
}

impl Parts {
    /// Keeps the pool for as long as it is polled.
    pub(super) async fn keep(&self) {
        let mut keeper = Keeper::default();
        loop {
            let is_busy = self.round(&mut keeper).await;
            let jitter = 0.8 + 0.4 * fastrand::f64();
            let wait = if is_busy { ROUND } else { 2 * ROUND };
            let woken = tokio::time::timeout(wait.mul_f64(jitter), self.work.notified());
            let _ = woken.await;
        }
    }

    /// One round; answers whether something is left to do.
    pub(super) async fn round(&self, keeper: &mut Keeper) -> bool {
        let is_begun = self.begin().await.is_ok();
        if is_begun {
            self.mark_clock(keeper).await;
        }
        if due(&mut keeper.measured, MEASURE) {
            for member in &self.members {
                member.measure().await;
            }
        }
        let is_unread = (0..self.members.len()).any(|place| !self.view.is_loaded(place));
        let is_busy = !self.view.is_clear() || self.errands.len() > 0 || is_unread;
        let every = if is_busy { self.policy.refresh_busy } else { self.policy.refresh_idle };
        if due(&mut keeper.refreshed, every)
            && let Err(error) = self.refresh().await
        {
            tracing::debug!(?error, "a member's repair records cannot be read");
        }
        self.repair(keeper).await;
        self.prune(keeper).await;
        self.complete(keeper).await;
        self.view.forget_doubts(self.clock.now_millis());
        !self.view.is_clear() || self.errands.len() > 0
    }

    /// Settles what waits, at members that answer: what this replica wrote down or saw itself, and
    /// with the lease what others did.
    async fn repair(&self, keeper: &mut Keeper) {
        let seen = self.errands.list().into_iter().map(|(key, _)| (key, BTreeSet::new()));
        let mut keys: BTreeMap<ObjectKey, BTreeSet<String>> = seen.collect();
        let mut order: Vec<ObjectKey> = keys.keys().cloned().collect();
        let pending = self.view.pending();
        let is_ours = |pending: &Pending| pending.writers.contains(&self.clock.writer());
        let may_all = pending.iter().all(is_ours) || self.holds_lease(keeper).await;
        for pending in pending.into_iter().filter(|pending| may_all || is_ours(pending)) {
            if keys.insert(pending.key.clone(), pending.missing).is_none() {
                order.push(pending.key);
            }
        }
        if order.is_empty() {
            return;
        }
        let mut silent = self.silent_members().await;
        let mut running = JoinSet::new();
        let mut waiting = order.into_iter();
        let mut pace =
            tokio::time::interval(Duration::from_secs(1) / self.policy.repair_rate.max(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while running.len() < self.policy.repair_lanes
                && let Some(key) = waiting.next()
            {
                let blocked = keys[&key]
                    .iter()
                    .any(|name| silent.iter().any(|&place| *self.members[place].name == **name));
                if !blocked {
                    pace.tick().await;
                    let parts = self.clone();
                    running.spawn(async move { parts.settle_soon(key).await });
                }
            }
            match running.join_next().await {
                Some(Ok(Settled::Waiting(members))) => silent.extend(members),
                Some(Ok(Settled::Done | Settled::Again) | Err(_)) => {}
                None => return,
            }
        }
    }

    /// Compares members that are not known to have all that belongs to them, once they answer.
    async fn complete(&self, keeper: &mut Keeper) {
        let homes = self.homes();
        let is_incomplete = homes.iter().any(|&home| !self.members[home].is_complete());
        if !is_incomplete || !due(&mut keeper.compared, COMPARE) {
            return;
        }
        let all_read = (0..self.members.len()).all(|place| self.view.is_loaded(place));
        if !all_read || !self.silent_members().await.is_empty() || !self.holds_lease(keeper).await {
            return;
        }
        match self.reconcile(Reconcile::default()).await {
            Ok(report) => tracing::info!(?report, "members were compared"),
            Err(error) => tracing::warn!(?error, "members cannot be compared yet"),
        }
    }

    async fn settle_soon(&self, key: ObjectKey) -> Settled {
        for _ in 0..AGAIN {
            match self.settle(&key).await {
                Settled::Again => tokio::task::yield_now().await,
                settled => return settled,
            }
        }
        Settled::Again
    }

    /// Members that do not serve at the moment.
    async fn silent_members(&self) -> BTreeSet<usize> {
        let mut silent = BTreeSet::new();
        for (place, member) in self.members.iter().enumerate() {
            if let Err(error) = member.backend.probe().await
                && error.kind() != ErrorKind::QuotaExceeded
            {
                silent.insert(place);
            }
        }
        silent
    }

    /// Removes segments that are done with and old enough that nothing of theirs is under way.
    async fn prune(&self, keeper: &mut Keeper) {
        let now = self.clock.now_millis();
        let until = now.saturating_sub(self.grace_millis());
        for (version, holders, lines) in self.view.finished(until) {
            if lines.iter().any(|known| self.is_above_a_tombstone(known)) {
                continue;
            }
            let deletes = lines
                .iter()
                .filter(|known| matches!(known.line.what, What::Delete | What::Kill { .. }));
            let mut is_done = true;
            if !keeper.checked.contains(&version) {
                // Whatever was under way at the delete has landed by now.
                for known in deletes {
                    if self.settle_soon(known.line.key.clone()).await != Settled::Done {
                        self.view.mark(&[known.id], false);
                        is_done = false;
                    }
                }
            }
            if !is_done {
                continue;
            }
            keeper.checked.insert(version);
            let name = self.records.segment(version);
            let mut is_gone = true;
            for place in holders {
                is_gone &= self.delete_at(place, &name, None).await.is_ok();
            }
            if is_gone {
                self.view.remove(version);
                keeper.checked.remove(&version);
            }
        }
    }

    /// Whether a line tells of a write that a tombstone, still there, would hide.
    fn is_above_a_tombstone(&self, known: &Known) -> bool {
        let is_delete = |known: &Known| matches!(known.line.what, What::Delete);
        !is_delete(known)
            && self.view.lines(&known.line.key).iter().any(|other| {
                is_delete(other)
                    && other.id.0 != known.id.0
                    && other.line.version < known.line.version
            })
    }

    /// Takes or renews the lease. Who cannot ask for it works without.
    async fn holds_lease(&self, keeper: &mut Keeper) -> bool {
        if keeper.leased.is_some_and(|at| at.elapsed() < LEASE / 3) {
            return true;
        }
        let name = self.records.lease();
        let now = self.clock.now_millis();
        let until = now + u64::try_from(LEASE.as_millis()).unwrap_or(0);
        let body = bytes::Bytes::from(format!("{:08x} {until}", self.clock.writer()));
        for member in self.members.iter().filter(|member| member.role.takes_writes()) {
            let mode = match member.backend.get(&name, Default::default()).await {
                Ok(found) => {
                    let etag = found.meta.etag.clone();
                    let Ok(text) = found.body.collect().await else { continue };
                    let text = String::from_utf8_lossy(&text).into_owned();
                    let (owner, end) = text.split_once(' ').unwrap_or_default();
                    let is_ours = owner == format!("{:08x}", self.clock.writer());
                    if !is_ours && end.parse::<u64>().is_ok_and(|end| end > now) {
                        keeper.leased = None;
                        return false;
                    }
                    PutMode::Replace(etag)
                }
                Err(error) if error.kind() == ErrorKind::NotFound => PutMode::Create,
                Err(_) => continue,
            };
            let attributes = Attributes::new("text/plain");
            let put = member.backend.put(&name, Payload::Bytes(body.clone()), attributes, mode);
            match put.await {
                Ok(_) => {
                    keeper.leased = Some(Instant::now());
                    return true;
                }
                Err(error) if error.class() == Class::Answer => return false,
                Err(_) => {}
            }
        }
        true
    }

    /// A member may be without what it had: it is not believed before it was compared.
    pub(super) fn was_set_back(&self, place: usize) {
        let member = &self.members[place];
        if member.is_complete() {
            tracing::error!(
                member = &*member.name,
                "a member may have been set back to an earlier state: it will be compared"
            );
            member.set_complete(false);
        }
    }

    /// Puts down on every member how far the clock may go until the next time.
    async fn mark_clock(&self, keeper: &mut Keeper) {
        if !due(&mut keeper.marked, CLOCK_MARK) {
            return;
        }
        let bound = Version { millis: self.clock.bound(2 * CLOCK_MARK), ..self.clock.next() };
        let name = self.records.clock(bound);
        let nothing = bytes::Bytes::new();
        for (place, member) in self.members.iter().enumerate() {
            if !member.role.takes_writes() {
                continue;
            }
            if let Some(old) = keeper.mark {
                let old = self.records.clock(old);
                let is_gone = matches!(self.look_at(place, &old).await, Sight::Absent);
                if is_gone && keeper.marked_members.contains(&place) {
                    self.was_set_back(place);
                }
                let _ = self.delete_at(place, &old, None).await;
            }
            if put_record(&self.core, place, &name, &nothing).await.is_ok() {
                keeper.marked_members.insert(place);
            } else {
                keeper.marked_members.remove(&place);
            }
        }
        keeper.mark = Some(bound);
    }
}

/// Whether something is due that is done about so often; notes that it is done now.
fn due(last: &mut Option<Instant>, every: Duration) -> bool {
    let is_due = last.is_none_or(|at| at.elapsed() >= every);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}
