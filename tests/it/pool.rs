//! Pools: the contract of a backend, and their own promises in the scenarios that break others.

mod contract;
mod late;
mod mixed;
mod ring;
mod scenarios;
mod scenarios_replicas;
mod trial;

use proof_storage::model::PoolMode;
use proof_storage::pool::Planted;

use self::trial::{Course, Tally, run};

/// A few of the random histories that `just prove` runs by the thousand.
#[test]
fn random_histories_keep_the_promise() {
    for mode in [PoolMode::Fallback, PoolMode::Mirror] {
        let mut tally = Tally::default();
        for seed in 0..30 {
            let course = Course { mode, ..Course::of(2 * seed, 200) };
            let found = run(seed, course);
            tally.add(
                found.unwrap_or_else(|violation| panic!("{mode:?}, seed {seed}: {violation}")),
            );
        }
        // Something was tried.
        assert!(tally.acknowledged > 1000 && tally.reads > 500, "{tally:?}");
        assert!(tally.outages > 100 && tally.restarts > 20 && tally.late > 20, "{tally:?}");
    }
}

/// Negative control: each planted mistake is found.
#[test]
fn random_histories_find_planted_mistakes() {
    let mistakes = [
        Planted::DropTombstone,
        Planted::DropRepairRecord,
        Planted::OrderByWallClock,
        Planted::NeverRefresh,
    ];
    for planted in mistakes {
        let is_found = |&seed: &u64| run(seed, Course::of(seed, 500).with(planted)).is_err();
        let found = (0..50).find(is_found);
        assert!(found.is_some(), "{planted:?} is not found within 50 seeds");
    }
}
