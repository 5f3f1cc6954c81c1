//! Random histories of a pool against what was promised to its callers.
//!
//! The reference says of each key what a read may give ([`expected`]). One or two replicas of the
//! service are called, one call after another. Faults come in between: members
//! that are dark, that lose answers, that do writes long after they were given up, that have wrong
//! bytes; restarts, and wall clocks that are apart and jump. In the end everything is healed and
//! repaired, and all must be as the reference says, on every member.
//!
//! What the pool does not promise is not asked for: an error while a member is dark or wrong is no
//! violation, and neither is a conflict of two creates of which one could not know of the other.

#[path = "trial/calls.rs"]
mod calls;
#[path = "trial/end.rs"]
mod end;
#[path = "trial/expected.rs"]
mod expected;
#[path = "trial/faults.rs"]
mod faults;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use proof_storage::model::PoolMode;
use proof_storage::pool::{Planted, Pool};
use tokio::time::Instant;

use self::expected::{Expected, Weather};
use super::ring::Ring;

/// Names that are written: few, so that histories meet.
const KEYS: u64 = 6;
/// Longer than the pool waits for what may land late.
const GRACE: Duration = Duration::from_secs(16 * 60);
/// Within which each replica reads the lines and puts its mark, as its background would.
const BEAT: Duration = Duration::from_secs(8);

/// What kind of history to play.
#[derive(Clone, Copy, Debug)]
pub struct Course {
    pub mode: PoolMode,
    pub members: usize,
    pub replicas: usize,
    pub operations: usize,
    pub planted: Option<Planted>,
}

impl Course {
    /// Both modes, two and three members, one and two replicas.
    pub fn of(number: u64, operations: usize) -> Self {
        let mode = if number.is_multiple_of(2) { PoolMode::Fallback } else { PoolMode::Mirror };
        let members = if number % 4 < 2 { 2 } else { 3 };
        let replicas = if number % 8 < 4 { 2 } else { 1 };
        Self { mode, members, replicas, operations, planted: None }
    }

    /// The same with a mistake.
    pub fn with(self, planted: Planted) -> Self {
        Self { planted: Some(planted), ..self }
    }
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
    pub late: u64,
    pub conflicts: u64,
    /// Calls whose version was below that of another replica's call that was over.
    pub overtaken: u64,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.maybes += other.maybes;
        self.reads += other.reads;
        self.refused += other.refused;
        self.outages += other.outages;
        self.restarts += other.restarts;
        self.late += other.late;
        self.conflicts += other.conflicts;
        self.overtaken += other.overtaken;
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

/// A replica of the service that is at work.
struct Replica {
    pool: Arc<Pool>,
    /// Number of its process: a restart makes a new one.
    process: u32,
    /// When its background was last let work.
    beaten: Instant,
}

struct Trial {
    random: fastrand::Rng,
    ring: Ring,
    replicas: Vec<Replica>,
    /// Of each process that was started, its machine; there is none of number 0.
    machines: Vec<usize>,
    course: Course,
    expected: BTreeMap<String, Expected>,
    dark: BTreeSet<usize>,
    holding: BTreeSet<usize>,
    /// Answers that members will have lost by the end of their scripts.
    losing: BTreeMap<usize, usize>,
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
        // Up to five seconds apart: more is an alarm.
        ring.jump_on(1, random.i64(-5_000..5_000) * i64::from(random.bool()));
        let mut trial = Self {
            random,
            ring,
            replicas: Vec::new(),
            machines: vec![0],
            course,
            expected: BTreeMap::new(),
            dark: BTreeSet::new(),
            holding: BTreeSet::new(),
            losing: BTreeMap::new(),
            corrupt: BTreeSet::new(),
            written: 0,
            history: Vec::new(),
            tally: Tally::default(),
        };
        for machine in 0..course.replicas {
            let replica = trial.start(machine);
            trial.replicas.push(replica);
        }
        trial
    }

    fn start(&mut self, machine: usize) -> Replica {
        let (pool, process) = (self.ring.replica_on(machine), self.machines.len() as u32);
        self.machines.push(machine);
        Replica { pool, process, beaten: Instant::now() }
    }

    async fn play(&mut self) -> Result<(), String> {
        for replica in 0..self.replicas.len() {
            self.beat(replica).await;
        }
        for _ in 0..self.course.operations {
            let pause = Duration::from_millis(self.random.u64(1..50));
            self.pass(pause).await;
            let name = format!("k{}", self.random.u64(0..KEYS));
            match self.random.u32(0..100) {
                0..22 => self.create(&name).await?,
                22..28 => self.replace(&name).await?,
                28..42 => self.delete(&name).await?,
                42..45 => self.delete_some().await?,
                45..65 => self.get(&name).await?,
                65..70 => self.list().await?,
                70..76 => self.darken(),
                76..82 => self.heal(),
                82..84 => self.hold(),
                84..86 => self.land().await,
                86..89 => self.lose_an_answer(),
                89..91 => self.corrupt(&name).await,
                91..93 => self.restart().await,
                93..97 => self.repair().await,
                97 => self.jump().await,
                98 => {
                    let time = Duration::from_secs(self.random.u64(1..60));
                    self.pass(time).await;
                }
                _ => {
                    // Long enough for tombstones to come to their end, where nothing hinders them;
                    // and so for what may land late.
                    self.land().await;
                    self.rest().await;
                    self.repair().await;
                }
            }
        }
        self.conclude().await
    }

    fn note(&mut self, line: String) {
        self.history.push(line);
    }

    fn any_replica(&mut self) -> usize {
        self.random.usize(0..self.replicas.len())
    }

    fn any_member(&mut self) -> usize {
        self.random.usize(0..self.course.members)
    }

    fn expected(&mut self, name: &str) -> &mut Expected {
        self.expected.entry(name.to_owned()).or_default()
    }

    /// Time passes while the replicas' backgrounds are at work.
    async fn pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            let due = self.replicas.iter().map(|replica| replica.beaten + BEAT).min();
            let next = due.map_or(until, |due| due.min(until));
            tokio::time::sleep_until(next).await;
            for replica in 0..self.replicas.len() {
                if self.replicas[replica].beaten + BEAT <= Instant::now() {
                    self.beat(replica).await;
                }
            }
            if next >= until {
                return;
            }
        }
    }

    /// Much time passes, in one step; then all replicas are known to each other again.
    async fn rest(&mut self) {
        tokio::time::sleep(GRACE).await;
        for replica in (0..self.replicas.len()).chain(0..self.replicas.len()) {
            self.beat(replica).await;
        }
    }

    /// A replica's background reads, puts its mark, and repairs what it can.
    async fn beat(&mut self, replica: usize) {
        self.replicas[replica].pool.round().await;
        self.has_read(replica);
    }

    fn has_read(&mut self, replica: usize) {
        self.replicas[replica].beaten = Instant::now();
        let dark = &self.dark;
        self.expected.values_mut().for_each(|expected| expected.read_by(replica, dark));
    }

    fn weather(&mut self) -> Weather {
        let mut away: BTreeSet<usize> = self.dark.union(&self.holding).copied().collect();
        self.forget_lost_answers();
        away.extend(self.losing.keys());
        let gone = |member: &usize| self.dark.contains(member) || self.holding.contains(member);
        Weather {
            mode: self.course.mode,
            replicas: self.replicas.len(),
            well: (0..self.course.members).filter(|member| !gone(member)).collect(),
            away,
            is_holding: !self.holding.is_empty(),
        }
    }

    /// Whether an error may be: somebody is dark, holds writes back or has wrong bytes.
    fn is_troubled(&self) -> bool {
        !self.dark.is_empty() || !self.holding.is_empty() || !self.corrupt.is_empty()
    }
}
