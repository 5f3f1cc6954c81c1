//! Row 5: random histories of pools of two and three members against a reference, on paused time.
//!
//! The trial itself stands with the tests of the pool, which play a few histories each time; here it
//! is played by the thousand. Its members are stores in memory that fail on purpose: a simulation.

// One file, compiled by both: what only the tests use is unused here.
#[allow(dead_code)]
#[path = "../../../tests/it/pool/late.rs"]
mod late;
#[path = "../../../tests/it/pool/process.rs"]
mod process;
#[allow(dead_code)]
#[path = "../../../tests/it/pool/ring.rs"]
mod ring;
#[path = "../../../tests/it/pool/trial.rs"]
mod trial;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use proof_storage::model::PoolMode;
use proof_storage::pool::Planted;

use self::trial::{Course, Tally, run as play};
use super::{Context, Outcome};
use crate::{Result, interrupt};

/// Longest time for all histories.
const LIMIT: Duration = Duration::from_secs(60);
/// Histories within which each planted mistake must be found.
const PATIENCE: u64 = 50;

const PLANTED: [(Planted, &str); 3] = [
    (Planted::DropTombstone, "drop the tombstone"),
    (Planted::DropRepairRecord, "drop the repair record"),
    (Planted::OrderByWallClock, "order by wall clock"),
];

/// Runs the row and its control.
pub(super) fn run(context: &Context) -> Result<Outcome> {
    let histories: u64 = context.count(1_000, 200);
    let (next, tally) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    let violations = Mutex::new(Vec::new());
    let start = Instant::now();
    let lanes = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= histories || interrupt::check().is_err() {
                        return;
                    }
                    match play(context.seed() + number, course(number, None)) {
                        Ok(found) => lock(&tally).add(found),
                        Err(violation) => lock(&violations).push((number, violation.to_string())),
                    }
                }
            });
        }
    });
    interrupt::check()?;
    let took = start.elapsed();
    let (tally, violations) = (*lock(&tally), std::mem::take(&mut *lock(&violations)));
    let mut amiss = Vec::new();
    for (number, violation) in violations.iter().take(3) {
        eprintln!("history {number}: {violation}");
    }
    if let Some((number, violation)) = violations.first() {
        let first = violation.lines().next().unwrap_or_default();
        amiss.push(format!(
            "{} violations, the first in history {number}: {first}",
            violations.len()
        ));
    }
    if took > LIMIT {
        amiss.push(format!("{} s instead of {}", took.as_secs(), LIMIT.as_secs()));
    }
    let (control, is_caught) = control(context.seed());
    let counts = format!(
        "{histories} histories of 500 operations: {} acknowledged, {} maybes, {} reads, {} refused; {} \
         outages, {} restarts, {} deaths in the middle of a call, {} changes of the replica, {} writes that landed late, {} conflicts put aside; {} violations",
        tally.acknowledged,
        tally.maybes,
        tally.reads,
        tally.refused,
        tally.outages,
        tally.restarts,
        tally.deaths,
        tally.switches,
        tally.late,
        tally.conflicts,
        violations.len()
    );
    Ok(Outcome::judged(&amiss, counts, is_caught, control))
}

/// Both modes, two and three members, one and two replicas.
fn course(number: u64, planted: Option<Planted>) -> Course {
    let mode = if number.is_multiple_of(2) { PoolMode::Fallback } else { PoolMode::Mirror };
    let members = if number % 4 < 2 { 2 } else { 3 };
    let replicas = if number % 8 < 4 { 1 } else { 2 };
    Course { mode, members, replicas, operations: 500, planted }
}

/// Pools with a planted mistake: each must be found.
fn control(seed: u64) -> (String, bool) {
    let mut text = String::new();
    let mut all = true;
    for (planted, name) in PLANTED {
        let found = (0..PATIENCE).find(|&n| play(seed + n, course(n, Some(planted))).is_err());
        all &= found.is_some();
        let separator = if text.is_empty() { "" } else { "; " };
        let _ = match found {
            Some(number) => write!(text, "{separator}\"{name}\" found in history {}", number + 1),
            None => write!(text, "{separator}\"{name}\" NOT found in {PATIENCE}"),
        };
    }
    (text, all)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
