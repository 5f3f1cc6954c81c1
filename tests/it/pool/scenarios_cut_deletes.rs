//! A process dies between the homes of a mirror while it deletes, at each of its calls once; and homes refuse a
//! delete that was written down ahead. The members are stores in memory: a simulation.

use std::sync::Arc;
use std::time::Duration;

use proof_storage::backend::Backend as _;
use proof_storage::backend::faulty::{Chance, Fault, Operation};
use proof_storage::model::{Class, ETag, ErrorKind, PoolMode, PutMode};
use proof_storage::pool::{Planted, Pool};

use super::process::Process;
use super::ring::{Ring, create, key, put, read, settle};

/// Calls of members that a delete in a mirror of two makes at most.
const CALLS: u32 = 10;
/// A call that takes longer is one of a process that is dead.
const DEAD: Duration = Duration::from_secs(60);
const RECORDS: &str = ".proof-storage/pool/";

/// How a proof is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Plain,
    AmongOthers,
    /// With the version that it has.
    Exactly,
}

/// Who is silent first.
const ORDERS: [[usize; 2]; 2] = [[0, 1], [1, 0]];
const WAYS: [How; 3] = [How::Plain, How::AmongOthers, How::Exactly];

async fn version(pool: &Pool, name: &str) -> ETag {
    pool.head(&key(name)).await.expect("it is there").etag
}

async fn delete(pool: &Pool, how: How) -> Result<(), (ErrorKind, Class)> {
    let told = match how {
        How::Plain => pool.delete(&key("a"), None).await.map(drop),
        How::AmongOthers => {
            let mut results = pool.delete_many(&[key("b"), key("a")]).await;
            results.pop().expect("one of two").map(drop)
        }
        How::Exactly => {
            let etag = version(pool, "a").await;
            pool.delete(&key("a"), Some(&etag)).await.map(drop)
        }
    };
    told.map_err(|error| (error.kind(), error.class()))
}

/// Deletes a proof of a mirror by a process that dies after so many calls of members, further than the
/// look at the version. Whether the delete was acknowledged.
async fn cut_off(how: How, calls: u32, planted: Option<Planted>) -> (Ring, bool) {
    let mut ring = Ring::new(PoolMode::Mirror, 2);
    ring.planted = planted;
    let before = ring.replica();
    settle(&before).await;
    create(&*before, "a", "text").await;
    create(&*before, "b", "other").await;
    drop(before);
    // What a process wrote that died lately is looked at more closely by itself.
    tokio::time::sleep(Duration::from_secs(300)).await;
    let process = Arc::new(Process::slow(u64::from(calls), Duration::from_millis(5)));
    let pool = ring.replica_of(&process);
    settle(&pool).await;
    process.dies_after(calls);
    let deleting = tokio::time::timeout(DEAD, delete(&pool, how)).await;
    process.dies_after(0);
    (ring, deleting.is_ok_and(|told| told.is_ok()))
}

/// Whether what was once not found is found afterwards; one member after the other is silent.
async fn comes_back(ring: &Ring, was_told: bool, silent: [usize; 2]) -> bool {
    let next = ring.replica();
    // It has read what is written down, and finds all homes complete.
    next.round().await;
    let mut is_gone = was_told;
    let mut has_come_back = false;
    for round in 0..3 {
        for member in silent {
            ring.darken(member);
            match read(&*next, "a").await {
                Ok(_) => has_come_back |= is_gone,
                Err(ErrorKind::NotFound) => is_gone = true,
                Err(kind) => assert_eq!(kind, ErrorKind::Unavailable),
            }
            ring.heal(member);
        }
        if round == 1 {
            settle(&next).await;
            assert_eq!(ring.kept(0, "a").await, ring.kept(1, "a").await, "all have one state");
        }
    }
    has_come_back
}

#[tokio::test(start_paused = true)]
async fn what_a_cut_off_delete_took_away_does_not_come_back() {
    for how in WAYS {
        let mut halves = 0;
        for calls in 0..CALLS {
            for silent in ORDERS {
                let (ring, was_told) = cut_off(how, calls, None).await;
                let (one, other) = (ring.kept(0, "a").await, ring.kept(1, "a").await);
                halves += u32::from(one != other);
                let has = comes_back(&ring, was_told, silent).await;
                assert!(!has, "{how:?}, dead after {calls} calls");
            }
        }
        assert!(halves > 0, "{how:?}: no death came between the two homes");
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_line_ahead_it_does() {
    let mut found = 0;
    for calls in 0..CALLS {
        for silent in ORDERS {
            let planted = Some(Planted::DropTombstone);
            let (ring, was_told) = cut_off(How::Plain, calls, planted).await;
            found += u32::from(comes_back(&ring, was_told, silent).await);
        }
    }
    assert!(found > 0, "the control: it is the line that does it");
}

#[tokio::test(start_paused = true)]
async fn the_line_goes_with_the_delete() {
    for how in WAYS {
        let (ring, pool) = with_two_proofs().await;
        assert_eq!(delete(&pool, how).await, Ok(()));
        assert_eq!(pool.status().repairs_pending, 0, "{how:?}");
        create(&*pool, "a", "again").await;
        settle(&pool).await;
        assert!(!has_lines(&ring).await, "{how:?}");
        assert_eq!(read(&*pool, "a").await.as_deref(), Ok("again"));
    }
}

/// From now on all members answer so to every delete, and take records.
fn refuse_deletes(ring: &Ring, kind: ErrorKind) {
    let fault = Fault::Refuse(kind);
    let refuse = |operation| Chance { operation, fault, probability: 1.0 };
    for member in &ring.members {
        member.inner().set_chances([Operation::Delete, Operation::DeleteMany].map(refuse));
    }
}

async fn with_two_proofs() -> (Ring, Arc<Pool>) {
    let ring = Ring::new(PoolMode::Mirror, 2);
    let pool = ring.replica();
    settle(&pool).await;
    create(&*pool, "a", "text").await;
    create(&*pool, "b", "other").await;
    (ring, pool)
}

async fn has_lines(ring: &Ring) -> bool {
    let records = [ring.names(0, RECORDS).await, ring.names(1, RECORDS).await].concat();
    records.iter().any(|name| name.contains("/repair/"))
}

#[tokio::test(start_paused = true)]
async fn what_every_member_refuses_to_delete_stays() {
    for how in WAYS {
        // For a while, or for good: then the lines cannot be removed either.
        for is_healed in [true, false] {
            let (ring, pool) = with_two_proofs().await;
            refuse_deletes(&ring, ErrorKind::AccessDenied);
            let (kind, _) = delete(&pool, how).await.expect_err("nobody deletes");
            assert_ne!(kind, ErrorKind::Indeterminate, "{how:?}: it certainly was not");
            assert_eq!(read(&*pool, "a").await.as_deref(), Ok("text"), "{how:?}");
            if is_healed {
                (0..2).for_each(|member| ring.heal(member));
            }
            // Whoever repairs now, with or without what this process remembers, deletes nothing.
            for _ in 0..4 {
                let another = ring.replica();
                for replica in [&another, &pool] {
                    settle(replica).await;
                    assert_eq!(read(&**replica, "a").await.as_deref(), Ok("text"), "{how:?}");
                    tokio::time::sleep(Duration::from_secs(20 * 60)).await;
                    settle(replica).await;
                }
            }
            (0..2).for_each(|member| ring.heal(member));
            for _ in 0..3 {
                settle(&pool).await;
                tokio::time::sleep(Duration::from_secs(20 * 60)).await;
            }
            assert_eq!(read(&*pool, "a").await.as_deref(), Ok("text"), "{how:?}");
            let both = (ring.kept(0, "a").await, ring.kept(1, "a").await);
            assert_eq!(both, (Some("text".to_owned()), Some("text".to_owned())), "{how:?}");
            assert!(!has_lines(&ring).await, "{how:?}");
        }
    }
}

/// They would have done it a moment later: what is written down is carried to its end.
#[tokio::test(start_paused = true)]
async fn what_no_member_could_delete_just_then_may_be_deleted() {
    for how in WAYS {
        let (ring, pool) = with_two_proofs().await;
        refuse_deletes(&ring, ErrorKind::Unavailable);
        let (_, class) = delete(&pool, how).await.expect_err("nobody could");
        assert_eq!(class, Class::Unknown, "{how:?}");
        (0..2).for_each(|member| ring.heal(member));
        let seen = read(&*pool, "a").await;
        settle(&pool).await;
        let another = ring.replica();
        settle(&another).await;
        for replica in [&pool, &another] {
            assert_eq!(read(&**replica, "a").await, seen, "{how:?}: what was seen stays");
        }
        assert_eq!(ring.kept(0, "a").await, ring.kept(1, "a").await, "{how:?}");
    }
}

/// Its version is older than the delete that began after it and ended before it.
#[tokio::test(start_paused = true)]
async fn a_create_that_ends_after_a_delete_is_there() {
    let (ring, pool) = with_two_proofs().await;
    for member in &ring.members {
        let delay = Fault::Delay(Duration::from_millis(200));
        member.inner().script(Operation::Put, [delay]);
    }
    let (writer, text) = (Arc::clone(&pool), "slow");
    let creating = tokio::spawn(async move { create(&*writer, "c", text).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    for member in &ring.members {
        let delay = Fault::Delay(Duration::from_millis(500));
        member.inner().script(Operation::Delete, [delay]);
    }
    let deleter = Arc::clone(&pool);
    let deleting = tokio::spawn(async move { deleter.delete(&key("c"), None).await });
    creating.await.expect("it is created");
    // Its delete is still under way, and may yet do its work.
    deleting.await.expect("no panic").expect("it is deleted");
    let seen = read(&*pool, "c").await;
    settle(&pool).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(read(&*pool, "c").await, seen);
    assert_eq!(ring.kept(0, "c").await, ring.kept(1, "c").await);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_named_twice_is_deleted_once() {
    let (ring, pool) = with_two_proofs().await;
    // The first answer of a member is of the whole call.
    let results = pool.delete_many(&[key("a"), key("b"), key("a")]).await;
    let existed: Vec<_> = results.into_iter().map(|result| result.expect("deleted")).collect();
    assert_eq!(existed, [Some(true), Some(true), Some(false)]);
    settle(&pool).await;
    assert_eq!((ring.kept(0, "a").await, ring.kept(1, "a").await), (None, None));
    assert!(!has_lines(&ring).await);
}

/// A member that takes no record (it is full) still lets what is there be deleted.
#[tokio::test(start_paused = true)]
async fn that_nothing_can_be_written_down_is_no_reason_not_to_delete() {
    for how in WAYS {
        let ring = Ring::new(PoolMode::Mirror, 2);
        let pool = ring.replica();
        settle(&pool).await;
        create(&*pool, "a", "text").await;
        for member in 0..2 {
            let fault = Fault::Refuse(ErrorKind::QuotaExceeded);
            let full = Chance { operation: Operation::Put, fault, probability: 1.0 };
            ring.members[member].inner().set_chances([full]);
        }
        assert_eq!(delete(&pool, how).await, Ok(()), "{how:?}");
        assert_eq!(read(&*pool, "a").await, Err(ErrorKind::NotFound));
    }
}

/// Another replica's replace came between the look and the delete: that one is not touched.
#[tokio::test(start_paused = true)]
async fn what_was_replaced_meanwhile_is_not_deleted_by_its_old_version() {
    let ring = Ring::new(PoolMode::Mirror, 2);
    let (pool, another) = (ring.replica(), ring.replica());
    settle(&pool).await;
    settle(&another).await;
    create(&*pool, "a", "old").await;
    let etag = version(&pool, "a").await;
    put(&*another, "a", "new", PutMode::Replace(etag.clone())).await.expect("it is replaced");
    let refused = pool.delete(&key("a"), Some(&etag)).await.expect_err("another version is there");
    assert_eq!(refused.kind(), ErrorKind::PreconditionFailed);
    for replica in [&pool, &another] {
        settle(replica).await;
        assert_eq!(read(&**replica, "a").await.as_deref(), Ok("new"));
    }
}
