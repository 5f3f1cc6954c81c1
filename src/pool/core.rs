//! What all parts of a pool share: members, clock, view and counters.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Mutex, MutexGuard, Notify, Semaphore};

use super::aside::Asides;
use super::begin::Beginning;
use super::clock::Clock;
use super::errands::{Errands, Racing};
use super::latency::HedgeBudget;
use super::line::{Records, What};
use super::marks::Marks;
use super::member::{Asked, Member, is_silence};
use super::pace::Pace;
use super::policy::{Planted, PoolPolicy};
use super::refresh::Readings;
use super::state::{Resolved, Sight, Verdicts, resolve, version_of};
use super::view::{Known, View};
use crate::model::{Class, ErrorKind, ObjectKey, ObjectMeta, PoolMode, Provider, StoreError};

/// Locks that keys share; two keys seldom meet in one.
const STRIPES: usize = 256;

/// Reads that are asked a second time of a member that failed, as a share of all.
const SECOND_ASKS: f64 = 0.1;

/// Until a caller is asked to come again where no member can serve.
const COME_AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Core {
    pub(super) members: Vec<Member>,
    pub(super) policy: PoolPolicy,
    pub(super) clock: Clock,
    pub(super) records: Records,
    pub(super) view: View,
    pub(super) hedges: HedgeBudget,
    /// For members that failed and alone may have the object.
    pub(super) second_asks: HedgeBudget,
    pub(super) counters: Counters,
    pub(super) asides: Asides,
    pub(super) errands: Errands,
    pub(super) racing: Racing,
    pub(super) readings: Readings,
    pub(super) beginning: Beginning,
    pub(super) marks: Marks,
    /// Of what the background looks at, whether to repair or to compare.
    pub(super) pace: Pace,
    /// Room for what repairs move, in MiB.
    pub(super) moving: Semaphore,
    /// Wakes the repairer.
    pub(super) work: Notify,
    homes: Vec<usize>,
    stripes: Vec<Mutex<()>>,
}

/// A key's state as seen just now.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) sights: Vec<Sight>,
    pub(super) lines: Vec<Known>,
    pub(super) verdicts: Verdicts,
    pub(super) resolved: Resolved,
    /// Members whose bytes were read and found wrong, with what they say of them.
    pub(super) wrong: BTreeMap<usize, ObjectMeta>,
    /// Copies that were put aside by who acted on it.
    pub(super) aside: AtomicU64,
}

impl Picture {
    /// A copy was put aside.
    pub(super) fn put_aside(&self) {
        count(&self.aside);
    }

    /// The object, where there is one.
    pub(super) fn winner(&self) -> Option<&ObjectMeta> {
        self.resolved.holders.first().and_then(|&place| self.sights[place].copy())
    }

    /// Whether what a member has and cannot read, or has wrong, is deleted: one that says its version
    /// is judged by that, another one by whether anything was written down since the delete.
    pub(super) fn is_deleted_at(&self, place: usize) -> bool {
        match self.wrong.get(&place) {
            Some(meta) => self.verdicts.kills(version_of(meta)),
            None => self.verdicts.tombstone > self.verdicts.written,
        }
    }

    /// Whether something newer was acknowledged that a member may have which did not say.
    pub(super) fn is_behind(&self) -> bool {
        let seen = self.winner().and_then(version_of).max(self.verdicts.tombstone);
        self.verdicts.written > seen
            && self.resolved.dark.iter().any(|place| self.verdicts.on.contains(place))
    }
}

impl Core {
    pub(super) fn new(members: Vec<Member>, policy: PoolPolicy) -> Self {
        let mut homes: Vec<usize> =
            (0..members.len()).filter(|&place| members[place].role.takes_writes()).collect();
        if policy.mode == PoolMode::Fallback {
            homes.truncate(1);
        }
        Self {
            homes,
            clock: Clock::new(
                policy.wall.clone(),
                policy.writer,
                policy.planted == Some(Planted::OrderByWallClock),
            ),
            records: Records::new(&policy.namespace),
            view: View::new(members.len()),
            hedges: HedgeBudget::new(policy.hedge_share),
            second_asks: HedgeBudget::new(SECOND_ASKS),
            counters: Counters::default(),
            asides: Asides::new(members.len()),
            errands: Errands::default(),
            racing: Racing::default(),
            readings: Readings::default(),
            beginning: Beginning::default(),
            marks: Marks::default(),
            pace: Pace::new(policy.repair_rate),
            moving: Semaphore::new(policy.repair_mib.max(1) as usize),
            work: Notify::new(),
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            members,
            policy,
        }
    }

    /// Members to which new proofs belong, in order.
    pub(super) fn homes(&self) -> &[usize] {
        &self.homes
    }

    /// Homes in the order in which they decide between writes that race: those first that compare and
    /// write in one step, for all replicas.
    pub(super) fn deciding(&self) -> Vec<usize> {
        let mut homes = self.homes().to_vec();
        homes.sort_by_key(|&home| !self.members[home].compares_and_writes());
        homes
    }

    /// All members in the order in which their copies count, where two exclude each other.
    fn counting(&self) -> Vec<usize> {
        let homes = self.deciding();
        let others = (0..self.members.len()).filter(|place| !homes.contains(place));
        homes.iter().copied().chain(others).collect()
    }

    /// Place of a member that a line names; one that was removed from the pool has none.
    fn place_of(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|member| &*member.name == name)
    }

    /// Names of members, for a line.
    pub(super) fn names(&self, places: impl IntoIterator<Item = usize>) -> Vec<String> {
        places.into_iter().map(|place| self.members[place].name.to_string()).collect()
    }

    /// One settles or rewrites a key at a time, in this process.
    pub(super) async fn lock(&self, key: &ObjectKey) -> MutexGuard<'_, ()> {
        use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
        self.stripes[hash as usize % STRIPES].lock().await
    }

    /// What one member says of a key.
    pub(super) async fn look_at(&self, place: usize, key: &ObjectKey) -> Sight {
        let member = &self.members[place];
        match member.timed(Asked::Read, member.backend.head(key)).await {
            Ok(meta) => {
                version_of(&meta).into_iter().for_each(|version| self.clock.observe(version));
                Sight::Copy(Box::new(meta))
            }
            Err(error) => match error.kind() {
                ErrorKind::NotFound => Sight::Absent,
                ErrorKind::Corrupt => Sight::Damaged,
                _ => Sight::Dark(error),
            },
        }
    }

    /// What all members say of a key, together with what is written down of it. A line that comes
    /// while they are asked may be about something that they had not yet: they are asked again.
    pub(super) async fn look(&self, key: &ObjectKey) -> Picture {
        let mut known = self.view.lines(key);
        loop {
            let all = 0..self.members.len();
            let sights = join_all(all.map(|place| self.look_at(place, key))).await;
            let picture = self.picture(key, sights);
            if !has_news(&picture.lines, &known) {
                return picture;
            }
            known = picture.lines;
        }
    }

    pub(super) fn picture(&self, key: &ObjectKey, sights: Vec<Sight>) -> Picture {
        let lines = self.view.lines(key);
        let mut verdicts = Verdicts::of(&lines, |name| self.place_of(name));
        verdicts.prefers_vouched = self.policy.mode == PoolMode::Mirror;
        let resolved = resolve(&sights, &verdicts, &self.counting());
        let (wrong, aside) = (BTreeMap::new(), AtomicU64::new(0));
        Picture { sights, lines, verdicts, resolved, wrong, aside }
    }

    /// Whether nothing is there, where `absent` members have nothing and `dark` ones do not say.
    ///
    /// A home that is complete has all that was acknowledged, but for what is written down; and of
    /// the dark members all that was written down must have been read.
    pub(super) fn proves_absence(
        &self,
        key: &ObjectKey,
        absent: &[usize],
        mut dark: impl Iterator<Item = usize>,
    ) -> bool {
        let homes = self.homes();
        let is_complete =
            |place: &usize| homes.contains(place) && self.members[*place].is_complete();
        let all_read = dark.all(|place| self.view.is_loaded(place));
        all_read
            // An attempt that failed may have landed at a member that is dark now.
            && !self.view.doubts.contains(key)
            && absent.iter().any(is_complete)
            && !self.is_elsewhere(key, absent)
    }

    /// Whether a key was written to members none of which is among these.
    fn is_elsewhere(&self, key: &ObjectKey, answering: &[usize]) -> bool {
        if self.view.is_clear() {
            return false;
        }
        let lines = self.view.lines(key);
        lines.iter().filter(|known| !known.settled).any(|known| match &known.line.what {
            What::Copy { on, .. } => {
                let places = on.iter().filter_map(|name| self.place_of(name));
                !places.into_iter().any(|place| answering.contains(&place))
            }
            What::Announce | What::Delete | What::Kill { .. } | What::Spare { .. } => false,
        })
    }

    /// Kind of the first member: what the pool shows as its own.
    pub(super) fn provider(&self) -> Provider {
        self.members.first().map_or(Provider::Memory, |member| member.backend.provider())
    }

    /// Answer where nobody did what was asked; the worst that may have happened decides.
    pub(super) fn failure(&self, errors: &[StoreError]) -> StoreError {
        let retry_after = errors.iter().filter_map(StoreError::retry_after).min();
        let one = |class| errors.iter().find(|error| error.class() == class);
        if let Some(doubtful) = one(Class::Unknown) {
            return doubtful.clone();
        }
        if !errors.is_empty() && errors.iter().all(|e| e.kind() == ErrorKind::QuotaExceeded) {
            return errors[0].clone();
        }
        if let [only] = errors
            && only.kind() != ErrorKind::Unavailable
        {
            return only.clone();
        }
        let error = self.no_member("can do this at the moment");
        let error = match errors.first() {
            Some(cause) => error.with_source(cause.clone()),
            None => error,
        };
        error.with_retry_after(retry_after.unwrap_or(COME_AGAIN))
    }

    /// Certainly without effect, and says when to come again.
    pub(super) fn no_member(&self, what: &str) -> StoreError {
        let detail = format!("no backend of the pool {what}");
        let error = StoreError::new(ErrorKind::Unavailable, self.provider(), detail);
        error.with_retry_after(COME_AGAIN)
    }

    /// A member that may hold the proof does not answer: "not found" would be a claim.
    pub(super) fn cannot_tell(&self, cause: Option<&StoreError>) -> StoreError {
        let detail = "a backend that may hold this proof does not answer: try again later";
        let error = StoreError::new(ErrorKind::Unavailable, self.provider(), detail);
        let after = cause.and_then(StoreError::retry_after).unwrap_or(COME_AGAIN);
        let error = error.with_retry_after(after);
        match cause {
            Some(cause) => error.with_source(cause.clone()),
            None => error,
        }
    }

    pub(super) fn not_found(&self) -> StoreError {
        StoreError::new(ErrorKind::NotFound, self.provider(), "no such object")
    }

    pub(super) fn already_exists(&self) -> StoreError {
        let detail = "an object with this key exists";
        StoreError::new(ErrorKind::AlreadyExists, self.provider(), detail)
    }

    pub(super) fn other_version(&self) -> StoreError {
        let detail = "another version is there, or none";
        StoreError::new(ErrorKind::PreconditionFailed, self.provider(), detail)
    }
}

/// Whether there are lines that were not known before. Others may have gone meanwhile.
pub(super) fn has_news(lines: &[Known], known: &[Known]) -> bool {
    lines.iter().any(|line| known.iter().all(|before| before.id != line.id))
}

/// Whether a write may be tried at the next member.
pub(super) fn passes_on(error: &StoreError) -> bool {
    is_silence(error) || error.kind() == ErrorKind::QuotaExceeded
}

/// What happened since the start.
#[derive(Debug, Default)]
pub(super) struct Counters {
    failovers: std::sync::Mutex<Vec<(ErrorKind, u64)>>,
    pub(super) hedges_sent: AtomicU64,
    pub(super) hedges_won: AtomicU64,
    pub(super) repaired_copies: AtomicU64,
    pub(super) repaired_deletes: AtomicU64,
}

impl Counters {
    /// Another member was asked because of this error.
    pub(super) fn failed_over(&self, cause: ErrorKind) {
        let mut failovers = self.failovers.lock().unwrap_or_else(PoisonError::into_inner);
        match failovers.iter_mut().find(|(kind, _)| *kind == cause) {
            Some((_, count)) => *count += 1,
            None => failovers.push((cause, 1)),
        }
    }

    pub(super) fn failovers(&self) -> Vec<(ErrorKind, u64)> {
        self.failovers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
