//! The background takes no more than its share of what members can do; a person who asks for a comparison
//! gets it as fast as they can. Members are stores in memory, on paused time: a simulation.

use proof_storage::model::PoolMode;
use proof_storage::pool::{Pool, Reconcile};
use tokio::time::{Duration, Instant};

use super::ring::{Ring, create};

const NAMES: u32 = 60;

/// A mirror one of whose members is new, and a replica that looks at 20 names a second.
async fn with_a_new_member() -> (Ring, std::sync::Arc<Pool>) {
    let mut ring = Ring::new(PoolMode::Mirror, 2);
    ring.repair_rate = 20;
    for number in 0..NAMES {
        create(ring.store(0), &format!("k{number}"), "text").await;
    }
    let pool = ring.replica();
    (ring, pool)
}

async fn is_whole(ring: &Ring) -> bool {
    ring.names(1, super::ring::NAMESPACE).await.len() == NAMES as usize
}

#[tokio::test(start_paused = true)]
async fn a_comparison_in_the_background_goes_at_the_pace_of_repairs() {
    let (ring, pool) = with_a_new_member().await;
    let began = Instant::now();
    pool.round().await;
    assert!(is_whole(&ring).await);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(50) * (NAMES - 1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_was_asked_for_goes_as_fast_as_it_can() {
    let (ring, pool) = with_a_new_member().await;
    let began = Instant::now();
    let report = pool.reconcile(Reconcile::default()).await.expect("members answer");
    assert_eq!((report.compared, report.repaired), (NAMES.into(), NAMES.into()));
    assert!(is_whole(&ring).await);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
}
