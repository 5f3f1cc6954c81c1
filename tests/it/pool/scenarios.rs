//! The scenarios in which fallback stores lose, hide or bring back: each once, by name.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use proof_storage::backend::Backend as _;
use proof_storage::backend::faulty::{Fault, Operation};
use proof_storage::model::{ErrorKind, PoolMode, PutMode, Role};
use proof_storage::pool::{Planted, Reconcile};

use super::process::Process;
use super::ring::{Ring, create, key, list, put, read, settle};

const NOT_FOUND: Result<String, ErrorKind> = Err(ErrorKind::NotFound);
const RECORDS: &str = ".proof-storage/pool/";
const GRACE: Duration = Duration::from_secs(15 * 60);

fn fallback() -> Ring {
    Ring::new(PoolMode::Fallback, 2)
}

fn mirror() -> Ring {
    Ring::new(PoolMode::Mirror, 2)
}

fn found(text: &str) -> Result<String, ErrorKind> {
    Ok(text.to_owned())
}

#[tokio::test(start_paused = true)]
async fn what_was_put_while_the_primary_was_dark_is_there_when_it_returns() {
    let ring = fallback();
    let pool = ring.replica();
    ring.darken(0);
    create(&*pool, "a", "outage").await;
    assert_eq!(read(&*pool, "a").await, found("outage"));
    ring.heal(0);
    assert_eq!(read(&*pool, "a").await, found("outage"), "before any repair");
    settle(&pool).await;
    assert_eq!(ring.kept(0, "a").await.as_deref(), Some("outage"), "it moved home");
    assert_eq!(ring.kept(1, "a").await, None, "and is at home only");
    assert_eq!(read(&*pool, "a").await, found("outage"));
    assert_eq!(pool.status().repairs_pending, 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_deleted_while_the_primary_was_dark_stays_deleted() {
    for restart in [false, true] {
        let ring = fallback();
        let mut pool = ring.replica();
        create(&*pool, "a", "old").await;
        ring.darken(0);
        pool.delete(&key("a"), None).await.expect("a delete is acknowledged");
        assert_eq!(read(&*pool, "a").await, NOT_FOUND);
        if restart {
            pool = ring.replica();
            settle(&pool).await;
        }
        ring.heal(0);
        assert_eq!(ring.kept(0, "a").await.as_deref(), Some("old"), "it is back with it");
        assert_eq!(read(&*pool, "a").await, NOT_FOUND);
        assert_eq!(list(&*pool).await, Ok(vec![]));
        settle(&pool).await;
        assert_eq!(ring.kept(0, "a").await, None);
        tokio::time::sleep(2 * GRACE).await;
        settle(&pool).await;
        assert_eq!(read(&*pool, "a").await, NOT_FOUND);
        assert_eq!(
            ring.names(1, RECORDS).await.iter().filter(|n| n.contains("/repair/")).count(),
            0
        );
    }
}

#[tokio::test(start_paused = true)]
async fn put_delete_put_across_an_outage() {
    for mode in [PoolMode::Fallback, PoolMode::Mirror] {
        let ring = Ring::new(mode, 2);
        let pool = ring.replica();
        create(&*pool, "a", "first").await;
        ring.darken(0);
        pool.delete(&key("a"), None).await.expect("a delete is acknowledged");
        create(&*pool, "a", "second").await;
        assert_eq!(read(&*pool, "a").await, found("second"));
        ring.heal(0);
        assert_eq!(read(&*pool, "a").await, found("second"));
        settle(&pool).await;
        assert_eq!(ring.kept(0, "a").await.as_deref(), Some("second"));
        tokio::time::sleep(2 * GRACE).await;
        settle(&pool).await;
        assert_eq!(
            read(&*pool, "a").await,
            found("second"),
            "the tombstone kills older copies only"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_between_the_copy_and_its_record_acknowledges_nothing_and_loses_nothing() {
    let ring = fallback();
    let pool = ring.replica();
    ring.darken(0);
    // The process' mark and the proof get through, its record does not, and then the process is gone.
    ring.members[1].inner().script(Operation::Put, [None, None, Some(Fault::Hang)]);
    let unanswered = put(&*pool, "a", "maybe", PutMode::Create);
    let answer = tokio::time::timeout(Duration::from_secs(60), unanswered).await;
    assert!(answer.is_err(), "without a record there is no answer");
    drop(pool);
    ring.heal(0);
    let pool = ring.replica();
    settle(&pool).await;
    assert_eq!(read(&*pool, "a").await, found("maybe"), "a maybe that happened");
    settle(&pool).await;
    assert_eq!(ring.kept(0, "a").await.as_deref(), Some("maybe"), "reading it sent it home");
}

#[tokio::test(start_paused = true)]
async fn one_of_two_copies_and_then_a_crash() {
    let ring = mirror();
    let pool = ring.replica();
    ring.darken(1);
    create(&*pool, "a", "one copy").await;
    drop(pool);
    ring.heal(1);
    let other = ring.replica();
    settle(&other).await;
    assert_eq!(ring.kept(1, "a").await.as_deref(), Some("one copy"));
    ring.darken(0);
    assert_eq!(read(&*other, "a").await, found("one copy"));
}

#[tokio::test(start_paused = true)]
async fn wrong_bytes_are_passed_over_put_aside_and_mended() {
    for damaged in [0, 1] {
        let ring = mirror();
        let pool = ring.replica();
        create(&*pool, "a", "right").await;
        ring.corrupt(damaged, "a").await;
        for _ in 0..4 {
            assert_eq!(read(&*pool, "a").await, found("right"));
        }
        pool.reconcile(Reconcile { verify_bytes: true, dry_run: false }).await.unwrap();
        assert_eq!(ring.kept(damaged, "a").await.as_deref(), Some("right"));
        assert_eq!(pool.status().quarantined, 1, "an alarm is raised");
        let aside = ring.names(damaged, RECORDS).await;
        assert!(aside.iter().any(|name| name.contains("/quarantine/")), "{aside:?}");
    }
}

/// The only copy is wrong: an error, again and again, and never the bytes.
#[tokio::test(start_paused = true)]
async fn wrong_bytes_without_another_copy_are_never_served() {
    let ring = fallback();
    let pool = ring.replica();
    create(&*pool, "a", "right").await;
    ring.corrupt(0, "a").await;
    for _ in 0..3 {
        assert_eq!(read(&*pool, "a").await, Err(ErrorKind::Corrupt));
        settle(&pool).await;
    }
    assert_eq!(
        ring.kept(0, "a").await.as_deref(),
        Some("wrong"),
        "what is there stays for a person"
    );
}

#[tokio::test(start_paused = true)]
async fn another_replica_sees_what_was_written_in_an_outage() {
    let ring = fallback();
    let (one, two) = (ring.replica(), ring.replica());
    settle(&two).await;
    ring.darken(0);
    create(&*one, "a", "outage").await;
    assert_eq!(read(&*two, "a").await, found("outage"), "with the primary dark");
    ring.heal(0);
    assert_eq!(read(&*two, "a").await, found("outage"), "and with it back");
    settle(&two).await;
    assert_eq!(ring.kept(0, "a").await.as_deref(), Some("outage"), "any replica finishes");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_starts_in_the_outage_goes_on_with_it() {
    let ring = fallback();
    let one = ring.replica();
    create(&*one, "home", "at home").await;
    ring.darken(0);
    create(&*one, "a", "outage").await;
    one.delete(&key("home"), None).await.expect("a delete is acknowledged");
    drop(one);
    let two = ring.replica();
    settle(&two).await;
    assert_eq!(read(&*two, "a").await, found("outage"));
    assert_eq!(read(&*two, "home").await, NOT_FOUND);
    assert_eq!(read(&*two, "never").await, Err(ErrorKind::Unavailable), "it cannot be told");
    assert_eq!(list(&*two).await, Err(ErrorKind::Unavailable));
    ring.heal(0);
    settle(&two).await;
    assert_eq!(list(&*two).await, Ok(vec!["a".to_owned()]));
    assert_eq!((ring.kept(0, "a").await.is_some(), ring.kept(0, "home").await), (true, None));
}

#[tokio::test(start_paused = true)]
async fn two_proofs_under_one_key_are_both_kept() {
    let ring = fallback();
    let pool = ring.replica();
    create(&*pool, "a", "first").await;
    ring.darken(0);
    // Nobody can know: the home is dark, and a fallback goes on taking proofs.
    create(&*pool, "a", "second").await;
    assert_eq!(read(&*pool, "a").await, found("second"));
    ring.heal(0);
    assert_eq!(read(&*pool, "a").await, found("first"), "the earlier one is served");
    settle(&pool).await;
    assert_eq!(read(&*pool, "a").await, found("first"));
    assert_eq!(pool.status().conflicts, 1, "an alarm is raised");
    let aside = ring.names(1, RECORDS).await;
    assert!(aside.iter().any(|name| name.contains("/conflict/")), "{aside:?}");
}

#[tokio::test(start_paused = true)]
async fn a_replacement_made_in_an_outage_wins_over_the_old_version() {
    for mode in [PoolMode::Fallback, PoolMode::Mirror] {
        let ring = Ring::new(mode, 2);
        let pool = ring.replica();
        ring.darken(0);
        create(&*pool, "a", "one").await;
        let etag = pool.head(&key("a")).await.unwrap().etag;
        put(&*pool, "a", "two", PutMode::Replace(etag.clone())).await.expect("replaced");
        let again = put(&*pool, "a", "three", PutMode::Replace(etag)).await;
        assert_eq!(again.unwrap_err().kind(), ErrorKind::PreconditionFailed);
        ring.heal(0);
        settle(&pool).await;
        assert_eq!(read(&*pool, "a").await, found("two"));
        assert_eq!(ring.kept(0, "a").await.as_deref(), Some("two"));
        // And the other way round: the one that stayed away must not be believed.
        ring.darken(1);
        let etag = pool.head(&key("a")).await.unwrap().etag;
        put(&*pool, "a", "three", PutMode::Replace(etag)).await.expect("replaced");
        ring.darken(0);
        ring.heal(1);
        let seen = read(&*pool, "a").await;
        assert_eq!(seen, Err(ErrorKind::Unavailable), "an older version is no answer");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_given_up_and_lands_late_does_not_bring_a_proof_back() {
    for mode in [PoolMode::Fallback, PoolMode::Mirror] {
        let ring = Ring::new(mode, 2);
        let pool = ring.replica();
        settle(&pool).await;
        ring.members[0].hold(true);
        create(&*pool, "a", "late").await;
        ring.members[0].hold(false);
        pool.delete(&key("a"), None).await.expect("a delete is acknowledged");
        assert_eq!(ring.members[0].land().await, 1, "it lands after the delete");
        assert_eq!(read(&*pool, "a").await, NOT_FOUND);
        settle(&pool).await;
        assert_eq!(read(&*pool, "a").await, NOT_FOUND);
        assert_eq!(ring.kept(0, "a").await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_changes_no_order() {
    for mode in [PoolMode::Fallback, PoolMode::Mirror] {
        let ring = Ring::new(mode, 2);
        let one = ring.replica();
        settle(&one).await;
        create(&*one, "a", "before").await;
        drop(one);
        let behind = Process::prompt();
        behind.skew.store(-3_600_000, Ordering::Relaxed);
        let two = ring.replica_of(&Arc::new(behind));
        settle(&two).await;
        ring.darken(0);
        two.delete(&key("a"), None).await.expect("a delete is acknowledged");
        ring.heal(0);
        settle(&two).await;
        assert_eq!(read(&*two, "a").await, NOT_FOUND);
        assert_eq!(ring.kept(0, "a").await, None, "the delete is newer, whatever the wall says");
    }
}

#[tokio::test(start_paused = true)]
async fn dead_members_at_the_start_stop_nobody_and_recovery_is_by_itself() {
    for mode in [PoolMode::Fallback, PoolMode::Mirror] {
        let ring = Ring::new(mode, 2);
        ring.darken(0);
        ring.darken(1);
        let pool = ring.replica();
        settle(&pool).await;
        let error = put(&*pool, "a", "x", PutMode::Create).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.retry_after().is_some(), "it says when to come again");
        assert_eq!(read(&*pool, "a").await, Err(ErrorKind::Unavailable));
        assert!(pool.probe().await.is_err());
        ring.heal(1);
        create(&*pool, "a", "x").await;
        assert_eq!(read(&*pool, "a").await, found("x"));
        assert!(pool.probe().await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn an_emptied_member_of_a_mirror_is_filled_again() {
    let ring = mirror();
    let pool = ring.replica();
    settle(&pool).await;
    for number in 0..20 {
        create(&*pool, &number.to_string(), "proof").await;
    }
    drop(pool);
    for name in ring.names(0, "").await {
        let name = proof_storage::model::ObjectKey::new(name);
        ring.store(0).delete(&name, None).await.unwrap();
    }
    let pool = ring.replica();
    settle(&pool).await;
    assert_eq!(ring.names(0, "proofs/").await.len(), 20);
    assert!(pool.status().members.iter().all(|member| member.complete));
}

#[tokio::test(start_paused = true)]
async fn roles_are_kept() {
    let ring =
        Ring::new(PoolMode::Fallback, 3).with_role(0, Role::Drain).with_role(2, Role::ReadOnly);
    put(ring.store(0), "old", "moves", PutMode::Create).await.unwrap();
    put(ring.store(2), "archive", "stays", PutMode::Create).await.unwrap();
    let pool = ring.replica();
    assert_eq!(read(&*pool, "old").await, found("moves"));
    assert_eq!(read(&*pool, "archive").await, found("stays"));
    create(&*pool, "new", "x").await;
    assert_eq!(ring.kept(1, "new").await.as_deref(), Some("x"));
    let report = pool.reconcile(Reconcile::default()).await.unwrap();
    assert_eq!((ring.kept(0, "old").await, report.failed), (None, 0));
    assert_eq!(ring.kept(1, "old").await.as_deref(), Some("moves"));
    assert_eq!(ring.kept(2, "archive").await.as_deref(), Some("stays"));
    pool.delete(&key("archive"), None).await.expect("a delete is acknowledged");
    settle(&pool).await;
    tokio::time::sleep(2 * GRACE).await;
    settle(&pool).await;
    assert_eq!(read(&*pool, "archive").await, NOT_FOUND, "for as long as it stands there");
}

/// Negative controls: a promise that is broken on purpose is seen to be.
#[tokio::test(start_paused = true)]
async fn planted_mistakes_are_found() {
    let mut ring = fallback();
    ring.planted = Some(Planted::DropTombstone);
    let pool = ring.replica();
    create(&*pool, "a", "old").await;
    ring.darken(0);
    pool.delete(&key("a"), None).await.expect("acknowledged, and forgotten");
    ring.heal(0);
    assert_eq!(read(&*pool, "a").await, found("old"), "it is back from the dead");
}

/// A read that takes as long as twenty writes of the same proof ends all the same.
#[tokio::test(start_paused = true)]
async fn who_reads_is_answered_while_another_writes_without_end() {
    let ring = mirror();
    let pool = ring.replica();
    create(&*pool, "a", "0").await;
    // Without the other home the proof has unfinished business, and a read looks before it asks.
    ring.darken(1);
    let writer = Arc::clone(&pool);
    let writing = tokio::spawn(async move {
        for number in 1.. {
            put(&*writer, "a", &number.to_string(), PutMode::Overwrite)
                .await
                .expect("it is written");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    for _ in 0..8 {
        ring.slow_next(0, 20);
    }
    let text = read(&*pool, "a").await.expect("it is there all the time");
    assert!(text.parse::<u32>().expect("a number") > 40, "{text}: no write came in between");
    assert!(ring.asked(0) > 2, "it was in vain until the writer waited");
    writing.abort();
}
