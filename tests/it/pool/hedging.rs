//! Second questions in a mirror: when one is sent, that it wins, and that there are not too many of them.
//!
//! Members are stores in memory that take as long as the test says, on paused time: a simulation. A usual read
//! takes `m0` 10 ms, one in ten 30 ms, which is its 95th percentile; `m1` takes 20 ms.

use std::sync::Arc;

use proof_storage::model::PoolMode;
use proof_storage::pool::Pool;
use tokio::time::{Duration, sleep};

use super::ring::{Ring, create, read, settle};

/// A mirror whose members' times are known to it, and of which `m0` is the one that is asked first.
async fn warmed(share: f64) -> (Ring, Arc<Pool>) {
    let mut ring = Ring::new(PoolMode::Mirror, 2);
    ring.hedge_share = share;
    let pool = ring.replica();
    create(&*pool, "a", "text").await;
    settle(&pool).await;
    // Of what was written just now a read asks more than one.
    sleep(Duration::from_secs(5)).await;
    ring.slow(0, 10);
    ring.slow(1, 20);
    for number in 0..400 {
        if number % 10 == 9 {
            ring.slow_next(0, 30);
        }
        usual(&pool).await;
    }
    (ring, pool)
}

async fn usual(pool: &Pool) {
    assert_eq!(read(pool, "a").await.as_deref(), Ok("text"));
}

/// Second questions that were sent, and those that were answered first.
fn hedges(pool: &Pool) -> (u64, u64) {
    let status = pool.status();
    (status.hedges_sent, status.hedges_won)
}

#[tokio::test(start_paused = true)]
async fn a_second_question_is_sent_after_the_members_own_95th_percentile() {
    // (how long m0 takes for a read, second questions, those that win)
    for (millis, sent, won) in [
        // More than its median, and no more than what it takes one time in ten.
        (25, 0, 0),
        // It is asked after 30 ms, and answers after 50: too late for this one,
        (40, 1, 0),
        // and in time for these.
        (60, 1, 1),
        (60_000, 1, 1),
    ] {
        let (ring, pool) = warmed(0.05).await;
        let (before, asked) = (hedges(&pool), ring.asked(1));
        ring.slow_next(0, millis);
        usual(&pool).await;
        let now = hedges(&pool);
        assert_eq!((now.0 - before.0, now.1 - before.1), (sent, won), "{millis} ms");
        assert_eq!(ring.asked(1) - asked, sent as usize, "{millis} ms: the other one is asked");
    }
}

/// Reads of which two in five are slow, so that the median stays what it is: second questions sent.
async fn under_load(share: f64, reads: u64) -> (u64, u64) {
    let (ring, pool) = warmed(share).await;
    let before = hedges(&pool);
    let mut slow = 0;
    for number in 0..reads {
        if number % 5 < 2 {
            ring.slow_next(0, 1000);
            slow += 1;
        }
        usual(&pool).await;
    }
    let now = hedges(&pool);
    assert_eq!(now.0 - before.0, now.1 - before.1, "each that is sent wins");
    (now.0 - before.0, slow)
}

#[tokio::test(start_paused = true)]
async fn second_questions_stay_within_their_share_of_all_reads() {
    const READS: u64 = 1000;
    /// That may come at once after a quiet time.
    const BURST: u64 = 10;
    let (sent, slow) = under_load(0.05, READS).await;
    assert!(sent > BURST && sent <= READS / 20 + BURST, "{sent} of {slow} slow reads");
    // The controls: with no share there are none, and with all of it each slow read has one.
    assert_eq!(under_load(0.0, READS).await.0, 0);
    let (sent, slow) = under_load(1.0, READS).await;
    assert!(sent > slow * 9 / 10, "{sent} of {slow} slow reads");
}
