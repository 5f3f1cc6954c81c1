//! Scenarios of several replicas over the same members: what one of them does not know of another.

use std::time::Duration;

use proof_storage::backend::Backend as _;
use proof_storage::backend::faulty::{Fault, Operation};
use proof_storage::model::{ErrorKind, PoolMode, PutMode};
use proof_storage::pool::Pool;

use super::ring::{Ring, create, key, put, read, settle};

const NOT_FOUND: Result<String, ErrorKind> = Err(ErrorKind::NotFound);
const CANNOT_TELL: Result<String, ErrorKind> = Err(ErrorKind::Unavailable);

fn found(text: &str) -> Result<String, ErrorKind> {
    Ok(text.to_owned())
}

/// Two replicas that know of each other.
async fn two(ring: &Ring) -> [std::sync::Arc<Pool>; 2] {
    let replicas = [ring.replica_on(0), ring.replica_on(1)];
    for replica in replicas.iter().chain(&replicas) {
        settle(replica).await;
    }
    replicas
}

#[tokio::test(start_paused = true)]
async fn what_another_replica_may_have_written_to_a_dark_member_is_not_denied() {
    for mode in [PoolMode::Fallback, PoolMode::Mirror] {
        let ring = Ring::new(mode, 2);
        let [one, two] = two(&ring).await;
        ring.darken(0);
        create(&*one, "a", "outage").await;
        ring.heal(0);
        ring.darken(1);
        assert_eq!(read(&*two, "a").await, CANNOT_TELL, "it read the lines before");
        ring.heal(1);
        assert_eq!(read(&*two, "a").await, found("outage"));
    }
}

#[tokio::test(start_paused = true)]
async fn who_could_read_nothing_for_long_does_not_take_itself_for_alone() {
    let ring = Ring::new(PoolMode::Mirror, 2);
    let [one, two] = two(&ring).await;
    ring.darken(1);
    create(&*one, "a", "outage").await;
    ring.darken(0);
    tokio::time::sleep(Duration::from_secs(60)).await;
    two.round().await;
    ring.heal(1);
    two.round().await;
    assert_eq!(read(&*two, "a").await, CANNOT_TELL);
}

#[tokio::test(start_paused = true)]
async fn what_another_replica_wrote_after_a_delete_is_not_denied() {
    let ring = Ring::new(PoolMode::Fallback, 2);
    let [one, two] = two(&ring).await;
    create(&*one, "a", "old").await;
    ring.darken(0);
    one.delete(&key("a"), None).await.expect("a delete is acknowledged");
    ring.heal(0);
    settle(&one).await;
    create(&*two, "a", "new").await;
    ring.darken(0);
    assert_eq!(read(&*one, "a").await, CANNOT_TELL, "the tombstone is older");
    ring.heal(0);
    assert_eq!(read(&*one, "a").await, found("new"));
}

/// The service answers "it is there already" as a success where the bytes are the same.
#[tokio::test(start_paused = true)]
async fn what_is_confirmed_to_be_there_is_written_down() {
    let ring = Ring::new(PoolMode::Fallback, 2);
    let one = ring.replica();
    settle(&one).await;
    ring.darken(0);
    // The proof gets through, the answer and the record do not.
    let (lost, refused) = (ErrorKind::Indeterminate, ErrorKind::Unavailable);
    let faults = [Fault::Lose(lost), Fault::Refuse(refused)];
    ring.members[1].inner().script(Operation::Put, faults);
    assert!(put(&*one, "a", "proof", PutMode::Create).await.is_err());
    let again = put(&*one, "a", "proof", PutMode::Create).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
    drop(one);
    ring.heal(0);
    let two = ring.replica();
    let other = put(&*two, "a", "another", PutMode::Create).await;
    assert_eq!(other.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(read(&*two, "a").await, found("proof"));
}

#[tokio::test(start_paused = true)]
async fn what_was_replaced_is_not_served_when_its_replacement_is_gone() {
    let ring = Ring::new(PoolMode::Mirror, 2);
    let pool = ring.replica();
    settle(&pool).await;
    create(&*pool, "a", "old").await;
    ring.darken(1);
    let etag = pool.head(&key("a")).await.unwrap().etag;
    put(&*pool, "a", "new", PutMode::Replace(etag)).await.expect("replaced");
    // The copy goes, and no record of it can be written: nobody knows how the delete ended.
    ring.members[0].hold(true);
    assert!(pool.delete(&key("a"), None).await.is_err());
    ring.heal(1);
    assert_eq!(read(&*pool, "a").await, NOT_FOUND);
    ring.members[0].hold(false);
    settle(&pool).await;
    assert_eq!(read(&*pool, "a").await, NOT_FOUND);
    assert_eq!((ring.kept(0, "a").await, ring.kept(1, "a").await), (None, None));
    assert_eq!(pool.status().quarantined, 1, "nothing is dropped");
}

#[tokio::test(start_paused = true)]
async fn a_delete_by_a_clock_that_is_behind_counts_for_what_is_written_down() {
    for mode in [PoolMode::Fallback, PoolMode::Mirror] {
        let ring = Ring::new(mode, 2);
        let [behind, ahead] = two(&ring).await;
        ring.jump_on(1, 5_000);
        ring.members[0].hold(true);
        create(&*ahead, "a", "late").await;
        ring.members[0].hold(false);
        behind.delete(&key("a"), None).await.expect("a delete is acknowledged");
        assert_eq!(ring.members[0].land().await, 1, "it lands after the delete");
        for replica in [&behind, &ahead] {
            settle(replica).await;
            assert_eq!(read(&**replica, "a").await, NOT_FOUND);
        }
    }
}
