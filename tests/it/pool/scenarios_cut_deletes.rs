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
        let ring = Ring::new(PoolMode::Mirror, 2);
        let pool = ring.replica();
        settle(&pool).await;
        create(&*pool, "a", "text").await;
        create(&*pool, "b", "other").await;
        assert_eq!(delete(&pool, how).await, Ok(()));
        assert_eq!(pool.status().repairs_pending, 0, "{how:?}");
        create(&*pool, "a", "again").await;
        settle(&pool).await;
        let records = ring.names(0, RECORDS).await;
        assert!(!records.iter().any(|name| name.contains("/repair/")), "{how:?}: {records:?}");
        assert_eq!(read(&*pool, "a").await.as_deref(), Ok("again"));
    }
}

/// Members that take records and let nobody delete.
#[tokio::test(start_paused = true)]
async fn what_every_member_refuses_to_delete_stays() {
    for how in WAYS {
        let ring = Ring::new(PoolMode::Mirror, 2);
        let pool = ring.replica();
        settle(&pool).await;
        create(&*pool, "a", "text").await;
        create(&*pool, "b", "other").await;
        for member in 0..2 {
            let refuse = |operation| {
                let fault = Fault::Refuse(ErrorKind::AccessDenied);
                Chance { operation, fault, probability: 1.0 }
            };
            let deletes = [Operation::Delete, Operation::DeleteMany].map(refuse);
            ring.members[member].inner().set_chances(deletes);
        }
        let (_, class) = delete(&pool, how).await.expect_err("nobody deletes");
        assert_ne!(class, Class::Unknown, "{how:?}: it certainly was not");
        assert_eq!(read(&*pool, "a").await.as_deref(), Ok("text"), "{how:?}");
        let another = ring.replica();
        for member in 0..2 {
            ring.heal(member);
        }
        // Whoever repairs now, with or without what this process remembers, deletes nothing.
        for replica in [&another, &pool, &another] {
            settle(replica).await;
            tokio::time::sleep(Duration::from_secs(20 * 60)).await;
            settle(replica).await;
            assert_eq!(read(&**replica, "a").await.as_deref(), Ok("text"), "{how:?}");
        }
        let both = (ring.kept(0, "a").await, ring.kept(1, "a").await);
        assert_eq!(both, (Some("text".to_owned()), Some("text".to_owned())), "{how:?}");
        let records = ring.names(0, RECORDS).await;
        assert!(!records.iter().any(|name| name.contains("/repair/")), "{how:?}: {records:?}");
    }
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
