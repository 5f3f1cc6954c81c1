//! The pool's background: reads records, repairs, removes what is done, compares members.
//!
//! Reading goes on while repairs and comparisons run, however long they take: what other replicas
//! deleted must be known. Any replica finishes what any other wrote down; a lease saves them from
//! doing it all at once, and decides nothing, as every step is idempotent.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use futures_util::future::join3;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::lease::Lease;
use super::line::What;
use super::marks;
use super::parts::Parts;
use super::reconcile::Reconcile;
use super::settle::Settled;
use super::view::{Known, Pending};
use crate::model::{ErrorKind, ObjectKey};

/// Between two rounds while there is work.
const ROUND: Duration = Duration::from_millis(500);
/// Between two comparisons of members with their quotas.
const MEASURE: Duration = Duration::from_secs(15);
/// Between two counts of what lies aside.
const COUNT: Duration = Duration::from_secs(60);
/// Between two tries to compare members that are not known to be complete.
const COMPARE: Duration = Duration::from_secs(15);
/// The same where the last one left something that will not mend itself.
const COMPARE_AGAIN: Duration = Duration::from_secs(600);
/// Until a key is tried again that a member refuses; doubles up to the second.
const STUCK: Duration = Duration::from_secs(1);
const STUCK_LONG: Duration = Duration::from_secs(60);
/// Times that a key is looked at again in one round.
const AGAIN: usize = 5;

/// What reading remembers between rounds.
#[derive(Debug, Default)]
struct Reader {
    refreshed: Option<Instant>,
    marked: Option<Instant>,
    measured: Option<Instant>,
    counted: Option<Instant>,
}

/// What repairing remembers between rounds.
#[derive(Debug, Default)]
struct Repairer {
    lease: Lease,
    /// Keys that a member refused: until when they rest, and how long.
    stuck: HashMap<ObjectKey, (Instant, Duration)>,
}

/// What comparing remembers between rounds.
#[derive(Debug, Default)]
struct Comparer {
    lease: Lease,
    not_before: Option<Instant>,
}

/// What rounds by hand remember.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    repairer: Repairer,
    comparer: Comparer,
}

impl Parts {
    /// Keeps the pool for as long as it is polled.
    pub(super) async fn keep(&self) {
        let reading = async {
            let mut reader = Reader::default();
            loop {
                self.read(&mut reader).await;
                tokio::time::sleep(jittered(ROUND)).await;
            }
        };
        let repairing = async {
            let mut repairer = Repairer::default();
            loop {
                let is_busy = self.repair(&mut repairer).await;
                let wait = jittered(if is_busy { ROUND } else { 4 * ROUND });
                let _ = tokio::time::timeout(wait, self.work.notified()).await;
            }
        };
        let comparing = async {
            let mut comparer = Comparer::default();
            loop {
                self.compare_members(&mut comparer).await;
                tokio::time::sleep(jittered(2 * ROUND)).await;
            }
        };
        join3(reading, repairing, comparing).await;
    }

    /// One round of each, at once; answers whether something is left to do.
    pub(super) async fn round(&self, rounds: &mut Rounds) -> bool {
        self.read(&mut Reader::default()).await;
        let is_left = self.repair(&mut rounds.repairer).await;
        rounds.comparer.not_before = None;
        self.compare_members(&mut rounds.comparer).await;
        is_left
    }

    async fn read(&self, reader: &mut Reader) {
        if self.begin().await.is_err() {
            return;
        }
        if due(&mut reader.marked, marks::EVERY) {
            self.put_marks(0..self.members.len()).await;
        }
        if due(&mut reader.measured, MEASURE) {
            for member in &self.members {
                member.measure().await;
            }
        }
        if due(&mut reader.counted, COUNT) {
            self.count_asides().await;
        }
        let is_unread = (0..self.members.len()).any(|place| !self.view.is_loaded(place));
        let is_busy = !self.view.is_clear() || self.errands.len() > 0 || is_unread;
        let every = if is_busy { self.policy.refresh_busy } else { self.policy.refresh_idle };
        if due(&mut reader.refreshed, every)
            && let Err(error) = self.refresh().await
        {
            tracing::debug!(?error, "a member's repair records cannot be read");
        }
    }

    /// Settles what waits, at members that answer: what this replica wrote down or saw itself, and
    /// with the lease what others did. Answers whether something is left.
    async fn repair(&self, repairer: &mut Repairer) -> bool {
        let seen = self.errands.list().into_iter().map(|key| (key, BTreeSet::new()));
        let mut keys: BTreeMap<ObjectKey, BTreeSet<String>> = seen.collect();
        let mut order: Vec<ObjectKey> = keys.keys().cloned().collect();
        for key in self.landed().await {
            if keys.insert(key.clone(), BTreeSet::new()).is_none() {
                order.push(key);
            }
        }
        let pending = self.view.pending();
        let is_ours = |pending: &Pending| pending.writers.contains(&self.clock.writer());
        let may_all = pending.iter().all(is_ours) || self.holds(&mut repairer.lease).await;
        for pending in pending.into_iter().filter(|pending| may_all || is_ours(pending)) {
            if keys.insert(pending.key.clone(), pending.missing).is_none() {
                order.push(pending.key);
            }
        }
        repairer.stuck.retain(|key, _| keys.contains_key(key));
        let now = Instant::now();
        let rests =
            |key: &ObjectKey| repairer.stuck.get(key).is_some_and(|(until, _)| *until > now);
        order.retain(|key| !rests(key));
        if !order.is_empty() {
            for key in self.settle_all(order, &keys).await {
                let before = repairer.stuck.get(&key).map(|(_, rested)| *rested);
                let rest = before.map_or(STUCK, |rested| (rested * 2).min(STUCK_LONG));
                repairer.stuck.insert(key, (Instant::now() + rest, rest));
            }
        }
        self.prune().await;
        !self.view.is_clear() || self.errands.len() > 0
    }

    /// Keys with attempts that have landed if they ever do, once everybody can tell.
    async fn landed(&self) -> Vec<ObjectKey> {
        let landed = self.view.doubts.past(Instant::now());
        if landed.is_empty() || !self.silent_members().await.is_empty() {
            return Vec::new();
        }
        landed
    }

    /// Settles keys, several at once; gives back those that a member refuses.
    async fn settle_all(
        &self,
        order: Vec<ObjectKey>,
        missing: &BTreeMap<ObjectKey, BTreeSet<String>>,
    ) -> Vec<ObjectKey> {
        let mut silent = self.silent_members().await;
        let mut running = JoinSet::new();
        let mut waiting = order.into_iter();
        let mut stuck = Vec::new();
        loop {
            while running.len() < self.policy.repair_lanes
                && let Some(key) = waiting.next()
            {
                let is_silent =
                    |name: &String| silent.iter().any(|&place| *self.members[place].name == **name);
                let missing = &missing[&key];
                if missing.is_empty() || !missing.iter().all(is_silent) {
                    self.pace.turn().await;
                    let parts = self.clone();
                    running.spawn(async move { (parts.settle_soon(&key).await, key) });
                }
            }
            match running.join_next().await {
                Some(Ok((Settled::Waiting(members), _))) => silent.extend(members),
                Some(Ok((Settled::Stuck, key))) => stuck.push(key),
                Some(Ok((Settled::Done | Settled::Again, _)) | Err(_)) => {}
                None => return stuck,
            }
        }
    }

    /// Settles a key, also where others are at it.
    pub(super) async fn settle_soon(&self, key: &ObjectKey) -> Settled {
        for _ in 0..AGAIN {
            match self.settle(key).await {
                Settled::Again => tokio::task::yield_now().await,
                settled => return settled,
            }
        }
        Settled::Again
    }

    /// Compares members that are not known to have all that belongs to them, once they answer.
    async fn compare_members(&self, comparer: &mut Comparer) {
        let is_incomplete = self.homes().iter().any(|&home| !self.members[home].is_complete());
        let rests = comparer.not_before.is_some_and(|at| at > Instant::now());
        if !is_incomplete || rests || self.begin().await.is_err() {
            return;
        }
        let all_read = (0..self.members.len()).all(|place| self.view.is_loaded(place));
        if !all_read || !self.silent_members().await.is_empty() {
            return;
        }
        comparer.not_before = Some(Instant::now() + COMPARE);
        if !self.holds(&mut comparer.lease).await {
            return;
        }
        match self.reconcile(Reconcile::default(), Some(&self.pace)).await {
            Ok(report) => {
                if report.failed > 0 {
                    comparer.not_before = Some(Instant::now() + COMPARE_AGAIN);
                }
                tracing::info!(?report, "members were compared");
            }
            Err(error) => tracing::warn!(?error, "members cannot be compared yet"),
        }
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

    /// Removes segments that have been done with for so long that nothing of theirs is under way.
    async fn prune(&self) {
        for (version, holders, lines) in self.view.finished(self.policy.grace) {
            if lines.iter().any(|known| self.is_above_a_tombstone(known)) {
                continue;
            }
            let mut is_done = true;
            for known in &lines {
                // Whatever was under way has landed by now.
                if !matches!(known.line.what, What::Copy { .. })
                    && self.settle_soon(&known.line.key).await != Settled::Done
                {
                    self.view.mark(&[known.id], false);
                    is_done = false;
                }
            }
            if !is_done {
                continue;
            }
            let name = self.records.segment(version);
            let mut is_gone = true;
            for place in holders {
                is_gone &= self.delete_at(place, &name, None).await.is_ok();
            }
            if is_gone {
                self.view.remove(version);
            }
        }
    }

    /// Whether a line tells of a write that another line, still there, would hide.
    fn is_above_a_tombstone(&self, known: &Known) -> bool {
        let version = known.line.version;
        let hides = |other: &Known| match &other.line.what {
            What::Delete | What::Kill { .. } if known.line.what.spares(other.line.version) => true,
            What::Delete => other.line.version < version,
            // A later one does not count against it.
            What::Kill { versions } => other.id.0 < known.id.0 && versions.contains(&version),
            What::Copy { .. } | What::Announce | What::Spare { .. } => false,
        };
        !matches!(known.line.what, What::Delete)
            && self
                .view
                .lines(&known.line.key)
                .iter()
                .any(|other| other.id.0 != known.id.0 && hides(other))
    }
}

/// Replicas that were started together shall not ask together.
fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.8 + 0.4 * fastrand::f64())
}

/// Whether something is due that is done about so often; notes that it is done now.
fn due(last: &mut Option<Instant>, every: Duration) -> bool {
    let is_due = last.is_none_or(|at| at.elapsed() >= every);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}
