//! Random histories of a pool against what was promised to its callers.
//!
//! The reference is a map from each key to what a read may give: one value after an acknowledged
//! write or delete; several after a call whose outcome nobody knows, until one of them is seen.
//! Faults come in between: members that are dark, that lose answers, that do writes long after they
//! were given up, that have wrong bytes; restarts, deaths in the middle of a call, and wall clocks that
//! jump, each replica's for itself. In the end everything is healed and repaired, and all must be as the
//! map says, on every member and through every replica.
//!
//! What the pool does not promise is not asked for: an error while a member is dark or wrong is no
//! violation, and neither is a conflict of two creates of which one could not know of the other. Callers
//! go from one replica to another one when that has read the lines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use proof_storage::backend::Backend as _;
use proof_storage::backend::faulty::{Fault, Operation};
use proof_storage::model::{Class, ErrorKind, PoolMode, PutMode, StoreError};
use proof_storage::pool::{Planted, Pool, Reconcile};

use super::process::Process;
use super::ring::{NAMESPACE, Ring, key, list, put, read, settle_within};

/// Names that are written: few, so that histories meet.
const KEYS: u64 = 6;
/// Longest time that a member takes for a call.
const LATENCY: Duration = Duration::from_millis(8);
/// A call that takes longer is one of a process that is dead.
const DEAD: Duration = Duration::from_secs(60);
/// Rounds of a repair with everybody well, and with somebody away: so many that a lease runs out.
const LONG: usize = 50;
const SHORT: usize = 12;
/// Longer than the pool waits for what may land late.
const GRACE: Duration = Duration::from_secs(16 * 60);

/// What kind of history to play.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    pub mode: PoolMode,
    pub members: usize,
    pub replicas: usize,
    pub operations: usize,
    pub planted: Option<Planted>,
}

/// A broken promise, and the calls on its key that led there.
#[derive(Debug)]
pub struct Violation {
    what: String,
    history: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        self.history.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// What was counted, to show that something was tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub acknowledged: u64,
    pub maybes: u64,
    pub reads: u64,
    pub refused: u64,
    pub outages: u64,
    pub restarts: u64,
    pub deaths: u64,
    pub switches: u64,
    pub late: u64,
    pub conflicts: u64,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.maybes += other.maybes;
        self.reads += other.reads;
        self.refused += other.refused;
        self.outages += other.outages;
        self.restarts += other.restarts;
        self.deaths += other.deaths;
        self.switches += other.switches;
        self.late += other.late;
        self.conflicts += other.conflicts;
    }
}

/// What a read of a key may give; `None` is "not found".
#[derive(Clone, Debug)]
struct Expected {
    values: BTreeSet<Option<String>>,
    /// Of calls that failed and may yet be done: until a repair with everybody well, what is seen is
    /// not the last word.
    landing: BTreeSet<Option<String>>,
    /// Of calls whose process died: they may yet come to pass, until they are seen to have.
    broken_off: BTreeSet<Option<String>>,
    /// Two creates were acknowledged: either may be served until the key is deleted.
    conflict: bool,
}

impl Default for Expected {
    fn default() -> Self {
        Self::only(None)
    }
}

impl Expected {
    fn only(value: Option<String>) -> Self {
        Self {
            values: [value].into(),
            landing: BTreeSet::new(),
            broken_off: BTreeSet::new(),
            conflict: false,
        }
    }

    /// A call failed that may have happened, or may yet where writes are held back.
    fn doubt(&mut self, value: Option<String>, may_land: bool) {
        self.values.insert(value.clone());
        self.landing.extend(may_land.then_some(value));
    }

    /// A call whose process died: nobody was told anything.
    fn break_off(&mut self, value: Option<String>) {
        self.values.insert(value.clone());
        self.broken_off.insert(value);
    }

    fn keep(&mut self, is_right: impl Fn(&Option<String>) -> bool) {
        if !self.conflict {
            let may_come =
                |value: &_| self.landing.contains(value) || self.broken_off.contains(value);
            self.values.retain(|value| is_right(value) || may_come(value));
            let right: Vec<_> = self.values.iter().filter(|value| is_right(value)).collect();
            if let [seen] = right[..] {
                self.broken_off.remove(seen);
            }
        }
    }
}

/// Plays a history.
///
/// # Errors
/// The first promise that was broken.
pub fn run(seed: u64, course: Course) -> Result<Tally, Violation> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let mut trial = Trial::new(seed, course);
        match trial.play().await {
            Ok(()) => Ok(trial.tally),
            Err(what) => Err(Violation { what, history: trial.history }),
        }
    })
}

struct Replica {
    process: Arc<Process>,
    pool: Arc<Pool>,
}

struct Trial {
    random: fastrand::Rng,
    ring: Ring,
    replicas: Vec<Replica>,
    /// The one that is asked.
    at: usize,
    course: Course,
    expected: BTreeMap<String, Expected>,
    dark: BTreeSet<usize>,
    holding: BTreeSet<usize>,
    /// Members that will lose an answer, as far as anybody can tell.
    losing: BTreeSet<usize>,
    /// Members with wrong bytes, by key.
    corrupt: BTreeSet<(usize, String)>,
    written: u64,
    history: Vec<String>,
    tally: Tally,
}

impl Trial {
    fn new(seed: u64, course: Course) -> Self {
        let mut ring = Ring::new(course.mode, course.members);
        ring.planted = course.planted;
        let mut random = fastrand::Rng::with_seed(seed);
        let replicas = (0..course.replicas).map(|_| Replica::start(&mut random, &ring)).collect();
        Self {
            random,
            replicas,
            at: 0,
            ring,
            course,
            expected: BTreeMap::new(),
            dark: BTreeSet::new(),
            holding: BTreeSet::new(),
            losing: BTreeSet::new(),
            corrupt: BTreeSet::new(),
            written: 0,
            history: Vec::new(),
            tally: Tally::default(),
        }
    }

    async fn play(&mut self) -> Result<(), String> {
        for _ in 0..self.course.operations {
            tokio::time::sleep(Duration::from_millis(self.random.u64(1..50))).await;
            let name = format!("k{}", self.random.u64(0..KEYS));
            match self.random.u32(0..100) {
                0..22 => self.create(&name).await?,
                22..28 => self.replace(&name).await?,
                28..42 => self.delete(&name).await?,
                42..45 => self.delete_some().await?,
                45..65 => self.get(&name).await?,
                65..70 => self.list().await?,
                70..76 => self.darken().await,
                76..82 => self.heal(),
                82..84 => self.hold(),
                84..86 => self.land().await,
                86..88 => self.lose_an_answer(),
                88..90 => self.corrupt(&name).await,
                90 => self.restart().await,
                91..94 => self.die(&name).await?,
                94..97 => self.repair().await,
                97 => self.switch().await,
                98 if self.random.bool() => self.jump().await,
                98 => tokio::time::sleep(Duration::from_secs(self.random.u64(1..60))).await,
                _ => {
                    // Long enough for tombstones to come to their end, where nothing hinders them;
                    // and so for what may land late.
                    self.land().await;
                    tokio::time::sleep(GRACE).await;
                    self.repair().await;
                }
            }
        }
        self.conclude().await
    }

    fn note(&mut self, line: String) {
        self.history.push(line);
    }

    fn new_value(&mut self) -> String {
        self.written += 1;
        format!("value {}", self.written)
    }

    fn expected(&mut self, name: &str) -> &mut Expected {
        self.expected.entry(name.to_owned()).or_default()
    }

    /// Whether an error may be: somebody is dark, holds writes back or has wrong bytes.
    fn is_troubled(&self) -> bool {
        !self.dark.is_empty() || !self.holding.is_empty() || !self.corrupt.is_empty()
    }

    fn check_error(&mut self, call: &str, error: &StoreError) -> Result<(), String> {
        self.tally.refused += 1;
        if self.is_troubled() || error.class() == Class::Unknown {
            return Ok(());
        }
        // Where all lose the answer to what is written down first, nothing else is tried.
        if self.losing.len() == self.course.members && error.kind() == ErrorKind::Unavailable {
            self.losing.clear();
            return Ok(());
        }
        Err(format!("{call} fails though every member is well: {error:?}"))
    }

    async fn create(&mut self, name: &str) -> Result<(), String> {
        let value = self.new_value();
        let pool = self.pool();
        let call = put(&*pool, name, &value, PutMode::Create);
        // Its writes are not answered, or nothing is.
        let is_home_away = self.course.mode == PoolMode::Fallback
            && (self.dark.contains(&0) || self.holding.contains(&0));
        let Some(result) = self.unless_dead(call).await else {
            self.note(format!("create {name} = {value}: dead"));
            let expected = self.expected(name);
            // As where it failed: nobody could know what the home has, and its line may stand.
            expected.conflict |= is_home_away && !expected.values.contains(&None);
            expected.break_off(Some(value));
            return Ok(());
        };
        self.note(format!("create {name} = {value}: {:?}", outcome(&result)));
        let is_dark = !self.dark.is_empty() || !self.holding.is_empty();
        let may_land = !self.holding.is_empty();
        let expected = self.expected(name);
        match result {
            Ok(_) => {
                let was_free = expected.values.contains(&None);
                // What became of an earlier attempt at a home that is away, nobody can know any more.
                let is_unknown = is_home_away && expected.values.len() > 1;
                if !was_free && !is_dark {
                    return Err(format!("{name} was created over {:?}", expected.values));
                }
                if was_free && !is_unknown {
                    *expected = Expected::only(Some(value));
                } else {
                    expected.values.remove(&None);
                    expected.values.insert(Some(value));
                    expected.conflict = true;
                    self.tally.conflicts += 1;
                }
                self.tally.acknowledged += 1;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                if expected.values == BTreeSet::from([None]) {
                    return Err(format!("{name} is taken though nothing is there"));
                }
                expected.keep(Option::is_some);
            }
            Err(error) => {
                if error.class() == Class::Unknown {
                    // Where the home is dark, nobody could know what it has.
                    expected.conflict |= is_dark && !expected.values.contains(&None);
                    expected.doubt(Some(value), may_land);
                    self.tally.maybes += 1;
                }
                self.check_error("a create", &error)?;
            }
        }
        Ok(())
    }

    async fn replace(&mut self, name: &str) -> Result<(), String> {
        let pool = self.pool();
        let looked = self.unless_dead(pool.head(&key(name))).await;
        let Some(Ok(meta)) = looked else { return Ok(()) };
        let value = self.new_value();
        let call = put(&*pool, name, &value, PutMode::Replace(meta.etag));
        let Some(result) = self.unless_dead(call).await else {
            self.note(format!("replace {name} = {value}: dead"));
            self.expected(name).break_off(Some(value));
            return Ok(());
        };
        self.note(format!("replace {name} = {value}: {:?}", outcome(&result)));
        let may_land = !self.holding.is_empty();
        let expected = self.expected(name);
        match result {
            Ok(_) => {
                *expected = Expected::only(Some(value));
                self.tally.acknowledged += 1;
            }
            Err(error) if error.class() == Class::Answer => {}
            Err(error) => {
                if error.class() == Class::Unknown {
                    expected.doubt(Some(value), may_land);
                    self.tally.maybes += 1;
                }
                self.check_error("a replacement", &error)?;
            }
        }
        Ok(())
    }

    async fn delete(&mut self, name: &str) -> Result<(), String> {
        let pool = self.pool();
        let key = key(name);
        let Some(result) = self.unless_dead(pool.delete(&key, None)).await else {
            self.note(format!("delete {name}: dead"));
            self.expected(name).break_off(None);
            return Ok(());
        };
        self.note(format!("delete {name}: {:?}", outcome(&result)));
        self.deleted(name, result.map(drop))
    }

    async fn delete_some(&mut self) -> Result<(), String> {
        let count = self.random.u64(1..4);
        let names: BTreeSet<String> =
            (0..count).map(|_| format!("k{}", self.random.u64(0..KEYS))).collect();
        let keys: Vec<_> = names.iter().map(|name| key(name)).collect();
        let results = self.pool().delete_many(&keys).await;
        for (name, result) in names.iter().zip(results) {
            self.note(format!("delete {name} among others: {:?}", outcome(&result)));
            self.deleted(name, result.map(drop))?;
        }
        Ok(())
    }

    fn deleted(&mut self, name: &str, result: Result<(), StoreError>) -> Result<(), String> {
        match result {
            Ok(()) => {
                *self.expected(name) = Expected::default();
                self.tally.acknowledged += 1;
                Ok(())
            }
            Err(error) => {
                if error.class() == Class::Unknown {
                    let may_land = !self.holding.is_empty();
                    self.expected(name).doubt(None, may_land);
                    self.tally.maybes += 1;
                }
                self.check_error("a delete", &error)
            }
        }
    }

    async fn get(&mut self, name: &str) -> Result<(), String> {
        self.tally.reads += 1;
        let result = read(&*self.pool(), name).await;
        let mut kept = Vec::new();
        for member in 0..self.course.members {
            kept.push(self.ring.kept(member, name).await);
        }
        self.note(format!("get {name}: {result:?}; the members have {kept:?}"));
        let seen = match result {
            Ok(value) => Some(value),
            Err(ErrorKind::NotFound) => None,
            Err(_) if self.is_troubled() => return Ok(()),
            Err(kind) => return Err(format!("a read fails though every member is well: {kind:?}")),
        };
        self.seen(name, seen)
    }

    fn seen(&mut self, name: &str, seen: Option<String>) -> Result<(), String> {
        let expected = self.expected(name);
        if !expected.values.contains(&seen) {
            return Err(format!("{name} is {seen:?}, and not one of {:?}", expected.values));
        }
        expected.keep(|value| *value == seen);
        Ok(())
    }

    async fn list(&mut self) -> Result<(), String> {
        let names = match list(&*self.pool()).await {
            Ok(names) => names,
            Err(_) if self.is_troubled() => return Ok(()),
            Err(kind) => return Err(format!("a list fails though every member is well: {kind:?}")),
        };
        self.note(format!("list: {names:?}"));
        if !names.is_sorted() || names.iter().collect::<BTreeSet<_>>().len() != names.len() {
            return Err(format!("a list is out of order or has doubles: {names:?}"));
        }
        for name in (0..KEYS).map(|number| format!("k{number}")) {
            let is_listed = names.contains(&name);
            let expected = self.expected(&name);
            let may_be = expected.values.iter().any(|value| value.is_some() == is_listed);
            if !may_be {
                let values = expected.values.clone();
                return Err(format!("{name} is listed: {is_listed}, and should be {values:?}"));
            }
            expected.keep(|value| value.is_some() == is_listed);
        }
        Ok(())
    }

    fn any_member(&mut self) -> usize {
        self.random.usize(0..self.course.members)
    }

    /// Of the other replicas each has just read what is there: in a service they do so all the time, and
    /// know of each other.
    async fn darken(&mut self) {
        let member = self.any_member();
        if self.dark.insert(member) {
            for (at, other) in self.replicas.iter().enumerate() {
                if at != self.at {
                    other.pool.round().await;
                }
            }
            self.tally.outages += 1;
            self.ring.darken(member);
            self.note(format!("m{member} goes dark"));
        }
    }

    fn heal(&mut self) {
        let member = self.any_member();
        if self.dark.remove(&member) {
            self.ring.heal(member);
            self.note(format!("m{member} is back"));
        }
    }

    fn hold(&mut self) {
        let member = self.any_member();
        self.holding.insert(member);
        self.ring.members[member].hold(true);
        self.note(format!("m{member} holds writes back"));
    }

    async fn land(&mut self) {
        for member in std::mem::take(&mut self.holding) {
            self.ring.members[member].hold(false);
            let landed = self.ring.members[member].land().await;
            self.tally.late += landed as u64;
            self.note(format!("m{member} did {landed} writes late"));
        }
    }

    fn lose_an_answer(&mut self) {
        let member = self.any_member();
        if !self.dark.contains(&member) {
            let operation = *self
                .random
                .choice([Operation::Put, Operation::Delete].iter())
                .unwrap_or(&Operation::Put);
            let fault = Fault::Lose(ErrorKind::Indeterminate);
            self.ring.members[member].inner().script(operation, [fault]);
            self.losing.insert(member);
            self.note(format!("m{member} will lose the answer to a {operation:?}"));
        }
    }

    /// Only what another member has too: else the trial itself would lose the proof.
    async fn corrupt(&mut self, name: &str) {
        let member = self.any_member();
        let Some(right) = self.ring.kept(member, name).await else { return };
        for other in (0..self.course.members).filter(|other| *other != member) {
            let is_right = !self.corrupt.contains(&(other, name.to_owned()));
            if is_right && self.ring.kept(other, name).await.as_ref() == Some(&right) {
                self.ring.corrupt(member, name).await;
                self.corrupt.insert((member, name.to_owned()));
                self.note(format!("m{member} has wrong bytes under {name}"));
                return;
            }
        }
    }

    /// What a call gives; nothing where its process died meanwhile, as nobody hears of it then.
    async fn unless_dead<T>(&self, call: impl Future<Output = T>) -> Option<T> {
        let process = &self.replicas[self.at].process;
        let result = tokio::time::timeout(DEAD, call).await.ok();
        result.filter(|_| !process.is_dead())
    }

    fn pool(&self) -> Arc<Pool> {
        Arc::clone(&self.replicas[self.at].pool)
    }

    /// Not while a dark member alone keeps what a new replica would have to know.
    async fn may_start(&self) -> bool {
        for &member in &self.dark {
            let records = self.ring.names(member, ".proof-storage/pool/").await;
            if records.iter().any(|name| name.contains("/repair/")) {
                return false;
            }
        }
        true
    }

    async fn restart(&mut self) {
        if !self.may_start().await {
            return;
        }
        // What was in doubt was known to the old process only.
        self.land().await;
        self.start().await;
        self.tally.restarts += 1;
        self.note("restart".to_owned());
    }

    /// A process takes the place of the one that was asked. It reads what others left to it when it
    /// starts, and not at its first call.
    async fn start(&mut self) {
        self.replicas[self.at] = Replica::start(&mut self.random, &self.ring);
        let _ = self.pool().head(&key("nothing")).await;
    }

    /// The process dies in the middle of a call, or shortly after it.
    async fn die(&mut self, name: &str) -> Result<(), String> {
        if !self.may_start().await {
            return Ok(());
        }
        let process = Arc::clone(&self.replicas[self.at].process);
        process.dies_after(self.random.u32(0..8));
        match self.random.u32(0..4) {
            0 => self.create(name).await?,
            1 | 2 => self.replace(name).await?,
            _ => self.delete(name).await?,
        }
        self.tally.deaths += u64::from(process.is_dead());
        process.dies_after(0);
        self.land().await;
        self.start().await;
        // What is seen once is seen again, whichever member is silent.
        self.get(name).await?;
        for member in 0..self.course.members {
            if self.dark.insert(member) {
                self.ring.darken(member);
                self.note(format!("m{member} does not answer"));
                self.get(name).await?;
                self.dark.remove(&member);
                self.ring.heal(member);
            }
        }
        Ok(())
    }

    /// Callers go on to the next replica, which has read of what the one before did.
    async fn switch(&mut self) {
        if self.course.replicas > 1 {
            self.pool().round().await;
            let next = (self.at + 1) % self.course.replicas;
            self.replicas[next].pool.round().await;
            if self.replicas[next].pool.has_read_all() {
                self.at = next;
                self.tally.switches += 1;
                self.note(format!("replica {next} is asked"));
            }
        }
    }

    async fn repair(&mut self) {
        let is_well = self.holding.is_empty() && self.dark.is_empty();
        self.settle_all(if is_well { LONG } else { SHORT }).await;
        // A tombstone that landed late is known by now, where it can be read.
        if self.holding.is_empty() && self.dark.is_empty() {
            self.expected.values_mut().for_each(|expected| expected.landing.clear());
        }
        if self.dark.is_empty() && self.holding.is_empty() && !self.corrupt.is_empty() {
            let how = Reconcile { verify_bytes: true, dry_run: false };
            if self.pool().reconcile(how).await.is_ok_and(|report| report.failed == 0) {
                self.corrupt.clear();
            }
        }
        self.note("repair".to_owned());
    }

    /// The wall clock of a machine is set, while the pool can tell its members so.
    async fn jump(&mut self) {
        if self.dark.is_empty() && self.holding.is_empty() {
            self.pool().round().await;
            let millis = self.random.i64(-3_600_000..600_000);
            self.replicas[self.at].process.skew.fetch_add(millis, Ordering::Relaxed);
            self.note(format!("the clock jumps by {millis} ms"));
        }
    }

    /// All replicas repair at once.
    async fn settle_all(&self, rounds: usize) {
        let settling = self.replicas.iter().map(|replica| settle_within(&replica.pool, rounds));
        join_all(settling).await;
    }

    /// Heals and repairs everything, and compares all members with what was promised.
    async fn conclude(&mut self) -> Result<(), String> {
        self.land().await;
        for member in std::mem::take(&mut self.dark) {
            self.ring.heal(member);
        }
        // Scripted losses that nobody met must not strike now.
        for member in &self.ring.members {
            member.inner().clear_script();
        }
        self.note("everything is healed".to_owned());
        for _ in 0..3 {
            self.settle_all(LONG).await;
            tokio::time::sleep(GRACE).await;
        }
        let how = Reconcile { verify_bytes: true, dry_run: false };
        let report = self.pool().reconcile(how).await.map_err(|error| format!("{error:?}"))?;
        if report.failed > 0 {
            return Err(format!("reconcile leaves something: {report:?}"));
        }
        self.corrupt.clear();
        self.settle_all(LONG).await;
        self.expected.values_mut().for_each(|expected| expected.landing.clear());
        for at in 0..self.replicas.len() {
            self.at = at;
            self.note(format!("replica {at} is asked"));
            self.check_all().await?;
            let status = self.pool().status();
            if status.repairs_pending > 0 {
                return Err(format!("repairs are left: {status:?}"));
            }
        }
        self.start().await;
        self.note("a new replica".to_owned());
        self.check_all().await?;
        self.check_members().await
    }

    async fn check_all(&mut self) -> Result<(), String> {
        for number in 0..KEYS {
            self.get(&format!("k{number}")).await?;
        }
        self.list().await
    }

    async fn check_members(&mut self) -> Result<(), String> {
        for name in (0..KEYS).map(|number| format!("k{number}")) {
            let served = read(&*self.pool(), &name).await.ok();
            for member in 0..self.course.members {
                let kept = self.ring.kept(member, &name).await;
                let is_home = member == 0 || self.course.mode == PoolMode::Mirror;
                let wanted = served.clone().filter(|_| is_home);
                if kept != wanted {
                    return Err(format!(
                        "{NAMESPACE}{name} on m{member} is {kept:?} and should be {wanted:?}"
                    ));
                }
            }
        }
        Ok(())
    }
}

impl Replica {
    fn start(random: &mut fastrand::Rng, ring: &Ring) -> Self {
        let process = Arc::new(Process::slow(random.u64(..), LATENCY));
        let pool = ring.replica_of(&process);
        Self { process, pool }
    }
}

fn outcome<T>(result: &Result<T, StoreError>) -> Result<(), ErrorKind> {
    result.as_ref().map(drop).map_err(StoreError::kind)
}
