//! Pools: the contract of a backend, and their own promises in the scenarios that break others.

mod contract;
mod copies;
mod hedging;
mod late;
mod many_lines;
mod mixed;
mod pace;
mod process;
mod quota;
pub mod ring;
mod roles;
mod scenarios;
mod scenarios_cut_deletes;
mod scenarios_deaths;
mod scenarios_doubts;
mod scenarios_restored;
mod trial;

use proof_storage::model::PoolMode;
use proof_storage::pool::Planted;

use self::trial::{Course, Tally, run};

/// A few of the random histories that `just prove` runs by the thousand.
#[test]
fn random_histories_keep_the_promise() {
    for mode in [PoolMode::Fallback, PoolMode::Mirror] {
        let mut tally = Tally::default();
        for seed in 0..40 {
            let (members, replicas) = (2 + seed as usize % 2, 1 + seed as usize / 2 % 2);
            let course = Course { mode, members, replicas, operations: 200, planted: None };
            let found = run(seed, course);
            tally.add(
                found.unwrap_or_else(|violation| panic!("{mode:?}, seed {seed}: {violation}")),
            );
        }
        // Something was tried.
        assert!(tally.acknowledged > 1000 && tally.reads > 500, "{tally:?}");
        assert!(tally.outages > 100 && tally.restarts > 20 && tally.late > 20, "{tally:?}");
        assert!(tally.deaths > 20 && tally.switches > 5, "{tally:?}");
    }
}

/// Negative control: each planted mistake is found.
#[test]
fn random_histories_find_planted_mistakes() {
    for planted in [Planted::DropTombstone, Planted::DropRepairRecord, Planted::OrderByWallClock] {
        let course = |seed: u64| Course {
            mode: if seed.is_multiple_of(2) { PoolMode::Fallback } else { PoolMode::Mirror },
            members: 2,
            replicas: 1,
            operations: 500,
            planted: Some(planted),
        };
        let found = (0..50).find(|&seed| run(seed, course(seed)).is_err());
        assert!(found.is_some(), "{planted:?} is not found within 50 seeds");
    }
}
