//! A process dies between the homes of a mirror, at each of its calls once; and what one that lives does
//! meanwhile. The members are stores in memory: a simulation.

use std::sync::Arc;
use std::time::Duration;

use proof_storage::backend::Backend as _;
use proof_storage::model::{ErrorKind, PoolMode, PutMode};
use proof_storage::pool::Planted;

use super::process::Process;
use super::ring::{Ring, create, key, put, read, settle};

/// Calls of members that a write of a mirror of two makes at most.
const CALLS: u32 = 8;
/// A call that takes longer is one of a process that is dead.
const DEAD: Duration = Duration::from_secs(60);

/// Replaces a proof in a mirror by a process that dies after so many calls of members.
async fn replaced_by_a_process_that_dies_after(calls: u32, planted: Option<Planted>) -> Ring {
    let mut ring = Ring::new(PoolMode::Mirror, 2);
    ring.planted = planted;
    let process = Arc::new(Process::slow(u64::from(calls), Duration::from_millis(5)));
    let pool = ring.replica_of(&process);
    settle(&pool).await;
    create(&*pool, "a", "old").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let etag = pool.head(&key("a")).await.expect("it is there").etag;
    process.dies_after(calls);
    let replacing = put(&*pool, "a", "new", PutMode::Replace(etag));
    let _ = tokio::time::timeout(DEAD, replacing).await;
    process.dies_after(0);
    ring
}

/// Whether members differ.
async fn differ(ring: &Ring) -> bool {
    ring.kept(0, "a").await != ring.kept(1, "a").await
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_of_a_replace_that_was_cut_off_is_seen_again() {
    let mut halves = 0;
    for calls in 0..CALLS {
        let ring = replaced_by_a_process_that_dies_after(calls, None).await;
        halves += u32::from(differ(&ring).await);
        let next = ring.replica();
        let seen = read(&*next, "a").await.expect("one of the two");
        for member in 0..2 {
            ring.darken(member);
            match read(&*next, "a").await {
                Ok(again) => assert_eq!(again, seen, "dead after {calls} calls"),
                Err(kind) => assert_eq!(kind, ErrorKind::Unavailable),
            }
            ring.heal(member);
        }
        settle(&next).await;
        assert_eq!(read(&*next, "a").await, Ok(seen));
        assert!(!differ(&ring).await, "dead after {calls} calls");
    }
    assert!(halves > 0, "no death came between the two homes");
}

/// How many deaths leave members that differ, when all who knew of the process are gone too.
async fn forgotten(planted: Option<Planted>) -> u32 {
    let mut left = 0;
    for calls in 0..CALLS {
        let ring = replaced_by_a_process_that_dies_after(calls, planted).await;
        // It sees that the process is gone, and tidies up after it.
        let another = ring.replica();
        another.round().await;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(10)).await;
            another.round().await;
        }
        drop(another);
        let next = ring.replica();
        settle(&next).await;
        left += u32::from(differ(&ring).await);
    }
    left
}

#[tokio::test(start_paused = true)]
async fn an_announced_replace_comes_to_its_end_though_nobody_knows_of_its_process() {
    assert_eq!(forgotten(None).await, 0);
    let without = forgotten(Some(Planted::DropAnnouncement)).await;
    assert!(without > 0, "the control: it is the announcement that does it");
}

#[tokio::test(start_paused = true)]
async fn an_announcement_goes_with_its_write() {
    let ring = Ring::new(PoolMode::Mirror, 2);
    let pool = ring.replica();
    settle(&pool).await;
    create(&*pool, "a", "old").await;
    let etag = pool.head(&key("a")).await.expect("it is there").etag;
    put(&*pool, "a", "new", PutMode::Replace(etag)).await.expect("replaced");
    assert_eq!(pool.status().repairs_pending, 0);
    settle(&pool).await;
    let records = ring.names(0, ".proof-storage/pool/").await;
    assert!(!records.iter().any(|name| name.contains("/repair/")), "{records:?}");
}

#[tokio::test(start_paused = true)]
async fn a_create_that_is_sent_again_after_a_death_is_on_every_home() {
    let mut halves = 0;
    for calls in 0..CALLS {
        let ring = Ring::new(PoolMode::Mirror, 2);
        let process = Arc::new(Process::slow(u64::from(calls), Duration::from_millis(5)));
        let pool = ring.replica_of(&process);
        settle(&pool).await;
        process.dies_after(calls);
        let creating = put(&*pool, "a", "text", PutMode::Create);
        let is_told = tokio::time::timeout(DEAD, creating).await.is_ok();
        process.dies_after(0);
        let is_half = differ(&ring).await;
        halves += u32::from(is_half);
        let next = ring.replica();
        // The vault confirms what is there already with the same bytes.
        if let Err(error) = put(&*next, "a", "text", PutMode::Create).await {
            assert_eq!(error.kind(), ErrorKind::AlreadyExists, "told before: {is_told}");
        }
        for member in 0..2 {
            ring.darken(member);
            let answer = read(&*next, "a").await;
            let is_right = answer == Ok("text".to_owned()) || answer == Err(ErrorKind::Unavailable);
            assert!(is_right, "dead after {calls} calls, m{member} dark: {answer:?}");
            ring.heal(member);
        }
        settle(&next).await;
        assert!(!differ(&ring).await);
    }
    assert!(halves > 0, "no death came between the two homes");
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_process_left_beside_a_silent_home_is_not_served() {
    let mut leftovers = 0;
    for seed in 0..u64::from(CALLS) * 8 {
        let calls = seed as u32 % CALLS;
        let ring = Ring::new(PoolMode::Fallback, 2);
        let process = Arc::new(Process::slow(seed, Duration::from_millis(5)));
        let pool = ring.replica_of(&process);
        settle(&pool).await;
        ring.darken(0);
        process.dies_after(calls);
        let creating = put(&*pool, "a", "unheard", PutMode::Create);
        let is_told = tokio::time::timeout(DEAD, creating).await.is_ok();
        process.dies_after(0);
        ring.heal(0);
        let records = ring.names(1, ".proof-storage/pool/").await;
        let has_line = records.iter().any(|name| name.contains("/repair/"));
        let next = ring.replica();
        let created = put(&*next, "a", "heard", PutMode::Create).await;
        assert!(!is_told || created.is_err());
        ring.darken(0);
        let answer = read(&*next, "a").await;
        if created.is_ok() && !has_line {
            leftovers += u32::from(ring.kept(1, "a").await.is_some());
            assert_eq!(answer, Err(ErrorKind::Unavailable), "seed {seed}");
        }
        ring.heal(0);
        settle(&next).await;
        if created.is_ok() {
            assert_eq!(read(&*next, "a").await, Ok("heard".to_owned()));
        }
    }
    assert!(leftovers > 0, "no death came between the copy and its line");
}
