//! Attempts of which nobody knows what became, and copies that nobody can read: each once, by name.

use std::time::Duration;

use proof_storage::backend::Backend as _;
use proof_storage::backend::faulty::{Fault, Operation};
use proof_storage::model::{ErrorKind, PoolMode, PutMode};
use proof_storage::pool::Reconcile;

use super::ring::{Ring, create, key, list, put, read, settle};

const NOT_FOUND: Result<String, ErrorKind> = Err(ErrorKind::NotFound);

fn found(text: &str) -> Result<String, ErrorKind> {
    Ok(text.to_owned())
}

/// The delete took effect where it could be sent, and its tombstone was not known to be durable.
#[tokio::test(start_paused = true)]
async fn a_delete_in_doubt_is_carried_to_its_end_once_somebody_asks() {
    let ring = Ring::new(PoolMode::Mirror, 2);
    let pool = ring.replica();
    create(&*pool, "a", "old").await;
    settle(&pool).await;
    ring.darken(0);
    let refused = Fault::Refuse(ErrorKind::Unavailable);
    ring.members[1].inner().script(Operation::Put, [refused, refused]);
    let error = pool.delete(&key("a"), None).await.expect_err("no tombstone was taken");
    assert_eq!(error.kind(), ErrorKind::Indeterminate);
    ring.members[1].inner().clear_script();
    assert_eq!(ring.kept(1, "a").await, None, "it was done by half");
    assert_eq!(read(&*pool, "a").await, NOT_FOUND);
    ring.heal(0);
    assert_eq!(ring.kept(0, "a").await.as_deref(), Some("old"), "it is back with it");
    assert_eq!(read(&*pool, "a").await, NOT_FOUND, "once seen it stays so");
    let other = ring.replica();
    assert_eq!(read(&*other, "a").await, NOT_FOUND, "for whoever comes later too");
    settle(&other).await;
    assert_eq!((ring.kept(0, "a").await, list(&*other).await), (None, Ok(vec![])));
}

/// The write took effect, and who misses it was not written down.
#[tokio::test(start_paused = true)]
async fn a_write_in_doubt_that_was_seen_stays() {
    let ring = Ring::new(PoolMode::Mirror, 2);
    let pool = ring.replica();
    settle(&pool).await;
    ring.darken(0);
    // The object is taken, the line is not.
    let refused = Fault::Refuse(ErrorKind::Unavailable);
    ring.members[1].inner().script(Operation::Put, [Fault::Delay(Duration::ZERO), refused]);
    let error = put(&*pool, "a", "value", PutMode::Create).await.expect_err("no line was taken");
    assert_eq!(error.kind(), ErrorKind::Indeterminate);
    ring.members[1].inner().clear_script();
    assert_eq!(read(&*pool, "a").await, found("value"));
    ring.heal(0);
    ring.darken(1);
    assert_eq!(read(&*pool, "a").await, Err(ErrorKind::Unavailable), "the other home has nothing");
    let listed = list(&*pool).await;
    assert_eq!(listed, Err(ErrorKind::Unavailable));
    ring.heal(1);
    settle(&pool).await;
    assert_eq!(ring.kept(0, "a").await.as_deref(), Some("value"));
}

/// The line about the later write stands where the tombstone does.
#[tokio::test(start_paused = true)]
async fn who_reads_of_a_delete_reads_of_what_was_written_after_it() {
    let ring = Ring::new(PoolMode::Fallback, 2);
    let pool = ring.replica();
    create(&*pool, "a", "old").await;
    ring.darken(0);
    pool.delete(&key("a"), None).await.expect("a delete is acknowledged");
    ring.heal(0);
    create(&*pool, "a", "new").await;
    drop(pool);
    ring.darken(0);
    let later = ring.replica();
    assert_eq!(read(&*later, "a").await, Err(ErrorKind::Unavailable), "only the home has it");
    ring.heal(0);
    assert_eq!(read(&*later, "a").await, found("new"));
}

/// Nobody has the right bytes any more; what is left is evidence.
#[tokio::test(start_paused = true)]
async fn what_nobody_can_read_goes_only_by_a_delete_of_it() {
    let ring = Ring::new(PoolMode::Fallback, 2);
    let pool = ring.replica();
    create(&*pool, "a", "old").await;
    ring.darken(1);
    pool.delete(&key("a"), None).await.expect("a delete is acknowledged");
    create(&*pool, "a", "new").await;
    ring.heal(1);
    settle(&pool).await;
    ring.corrupt(0, "a").await;
    let how = Reconcile { verify_bytes: true, dry_run: false };
    let report = pool.reconcile(how).await.expect("all members answer");
    assert_eq!(report.corrupt, 1, "{report:?}");
    settle(&pool).await;
    assert_eq!(ring.kept(0, "a").await.as_deref(), Some("wrong"), "an older delete is not of it");
    let error = put(&*pool, "a", "another", PutMode::Create).await.expect_err("it is taken");
    assert!(matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::Corrupt), "{error:?}");
    assert_eq!(ring.kept(0, "a").await.as_deref(), Some("wrong"));
    pool.delete(&key("a"), None).await.expect("a delete is acknowledged");
    settle(&pool).await;
    assert_eq!(ring.kept(0, "a").await, None);
    create(&*pool, "a", "another").await;
}

/// A home lost what a line says it has and the other one lacks: by then it was the other way round.
#[tokio::test(start_paused = true)]
async fn where_a_proof_is_by_now_is_written_down_whatever_an_older_line_says() {
    let ring = Ring::new(PoolMode::Mirror, 2);
    let pool = ring.replica();
    settle(&pool).await;
    create(&*pool, "a", "old").await;
    let etag = pool.head(&key("a")).await.expect("it is there").etag;
    ring.darken(0);
    put(&*pool, "a", "text", PutMode::Replace(etag)).await.expect("it is replaced");
    ring.heal(0);
    settle(&pool).await;
    assert_eq!(ring.kept(0, "a").await.as_deref(), Some("text"));
    // The line stays for a while. A delete that was given up does its work at one home.
    ring.store(1).delete(&key("a"), None).await.expect("it is deleted there");
    let taken = put(&*pool, "a", "another", PutMode::Create).await.expect_err("it is taken");
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
    ring.darken(0);
    let silent = put(&*pool, "a", "another", PutMode::Create).await.expect_err("it was told so");
    assert_eq!(silent.kind(), ErrorKind::Unavailable);
    ring.heal(0);
    settle(&pool).await;
    assert_eq!(read(&*pool, "a").await, found("text"));
    assert_eq!(ring.kept(1, "a").await.as_deref(), Some("text"));
}
