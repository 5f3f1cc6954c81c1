//! Holds in pools whose members go dark, come back with an older state, rot, or are new.

use std::sync::Arc;
use std::time::Duration;

use proof_storage::backend::Backend as _;
use proof_storage::backend::faulty::Fault;
use proof_storage::model::{
    ErrorKind, HOLDS_MARK, ObjectKey, PoolMode, RESERVED, Retention, WriteMode,
};
use proof_storage::pool::{Pool, Reconcile};
use proof_storage::vault::{Change, Condition, Holds, HoldsPlace, VaultError};

use super::{Kept, Setup};
use crate::pool::ring::{Ring, settle};

const NOTHING: Retention = Retention { until: None, legal_hold: false, stored: None };
const HELD: Retention = Retention { legal_hold: true, ..NOTHING };
const HOLD: Change = Change { until: None, legal_hold: Some(true) };

/// A replica on a pool of two.
fn over(ring: &Ring, pool: &Arc<Pool>, holds: Holds) -> Kept {
    let (mode, seen) = (WriteMode::Overwrite, Arc::clone(pool));
    let holds = known(ring, holds).seeing(move || seen.has_read_all());
    Kept::over(Arc::clone(pool) as _, Setup { mode, holds, ..Setup::default() })
}

/// Holds that are noted in each of two members.
fn known(ring: &Ring, holds: Holds) -> Holds {
    holds.kept_at(vec![place(ring, 0, "bucket 0"), place(ring, 1, "bucket 1")])
}

fn place(ring: &Ring, place: usize, location: &str) -> HoldsPlace {
    HoldsPlace {
        name: format!("m{place}").into(),
        location: location.into(),
        store: Arc::clone(&ring.members[place]) as _,
        takes_writes: true,
    }
}

fn mark() -> ObjectKey {
    ObjectKey::new(HOLDS_MARK)
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, VaultError>, kind: ErrorKind) {
    assert_eq!(answer.unwrap_err().store_kind(), Some(kind));
}

/// A member misses the hold and answers again, and another replica has not read that yet: whatever it
/// is told by that member, it destroys nothing.
#[tokio::test(start_paused = true)]
async fn another_replica_that_is_told_an_older_state_destroys_nothing() {
    for call in ["delete", "version", "batch", "overwrite", "copy onto"] {
        for away in [0, 1] {
            let ring = Ring::new(PoolMode::Mirror, 2);
            let (one, two) = (ring.replica(), ring.replica());
            let (one, two) = (over(&ring, &one, Holds::on()), over(&ring, &two, Holds::on()));
            one.store("first", "1", HELD, Condition::None).await.unwrap();
            one.store("a", "a", NOTHING, Condition::None).await.unwrap();
            two.store("b", "b", NOTHING, Condition::None).await.unwrap();
            assert_eq!(two.read("a").await.as_deref(), Some("a"));
            ring.darken(away);
            one.vault.retain(&one.key("a"), HOLD).await.unwrap();
            ring.heal(away);
            let (key, other) = (two.key("a"), two.key("b"));
            let answer = match call {
                "delete" => two.vault.delete(&key, None).await,
                "version" => two.vault.delete(&key, Some(&["*".to_owned()])).await,
                "batch" => two.vault.delete_many(&[key]).await.remove(0),
                "overwrite" => two.store("a", "x", NOTHING, Condition::None).await.map(drop),
                _ => two.vault.copy(&other, &key, true).await.map(drop),
            };
            let refused = answer.expect_err(&format!("{call}, {away} was away"));
            // As long as it is told of the older version, it finds another one in its place.
            let kind = refused.store_kind().unwrap();
            let is_other = matches!(kind, ErrorKind::Contended | ErrorKind::PreconditionFailed);
            assert!(is_other || kind == ErrorKind::Retained, "{call}: {refused}");
            assert_eq!(one.read("a").await.as_deref(), Some("a"), "{call}, {away} was away");
            assert!(one.retention("a").await.legal_hold);
        }
    }
}

/// What repairs bring about keeps holds: a copy that was missing, one with wrong bytes, one that moves home.
#[tokio::test(start_paused = true)]
async fn repairs_bring_holds_along() {
    for mode in [PoolMode::Mirror, PoolMode::Fallback] {
        let ring = Ring::new(mode, 2);
        let pool = ring.replica();
        let kept = over(&ring, &pool, Holds::on());
        kept.store("first", "1", HELD, Condition::None).await.unwrap();
        ring.darken(0);
        // To overwrite, it would have to look whether the dark one has something that is held.
        refused(kept.store("a", "a", HELD, Condition::None).await, ErrorKind::Unavailable);
        kept.store("a", "a", HELD, Condition::Absent).await.unwrap();
        refused(kept.vault.delete(&kept.key("a"), None).await, ErrorKind::Retained);
        ring.heal(0);
        settle(&pool).await;
        assert_eq!(ring.kept(0, "a").await.as_deref(), Some("a"), "{mode:?}");
        if mode == PoolMode::Mirror {
            ring.corrupt(0, "a").await;
            let verify = Reconcile { verify_bytes: true, dry_run: false };
            pool.reconcile(verify).await.unwrap();
            assert_eq!(ring.kept(0, "a").await.as_deref(), Some("a"), "mended");
            ring.darken(1);
        }
        assert!(kept.retention("a").await.legal_hold, "{mode:?}");
        refused(kept.vault.delete(&kept.key("a"), None).await, ErrorKind::Retained);
    }
}

/// A mirror's member that missed the hold never decides, however long the other one is away.
#[tokio::test(start_paused = true)]
async fn with_the_member_that_knows_of_a_hold_dark_nothing_is_deleted() {
    let ring = Ring::new(PoolMode::Mirror, 2);
    let kept = over(&ring, &ring.replica(), Holds::on());
    kept.store("first", "1", HELD, Condition::None).await.unwrap();
    kept.store("a", "a", NOTHING, Condition::None).await.unwrap();
    ring.darken(1);
    kept.vault.retain(&kept.key("a"), HOLD).await.unwrap();
    ring.heal(1);
    ring.darken(0);
    refused(kept.vault.delete(&kept.key("a"), None).await, ErrorKind::Unavailable);
    // Nor does a replica that starts now, and can read no line of the dark one.
    let other = over(&ring, &ring.replica(), Holds::on());
    refused(other.vault.delete(&other.key("a"), None).await, ErrorKind::Unavailable);
    // And neither puts another hold in the place of one that it cannot see.
    for replica in [&kept, &other] {
        let change = Change { until: Some(replica.hour(1)), legal_hold: None };
        let changed = replica.vault.retain(&replica.key("a"), change).await;
        refused(changed, ErrorKind::Unavailable);
    }
    ring.heal(0);
    assert_eq!(kept.read("a").await.as_deref(), Some("a"));
    assert!(kept.retention("a").await.legal_hold);
}

/// A replica that was told nothing of holds, and what it finds out while the test goes on.
fn looking(ring: &Ring) -> (Kept, Holds) {
    let pool = ring.replica();
    let holds = known(ring, Holds::unless_marked());
    tokio::spawn(holds.clone().settle(Arc::clone(&pool) as _));
    (over(ring, &pool, holds.clone()), holds)
}

async fn a_while() {
    tokio::time::sleep(Duration::from_secs(20)).await;
}

#[tokio::test(start_paused = true)]
async fn any_member_that_answers_knows_that_proofs_may_be_held() {
    for (mode, dark) in [PoolMode::Mirror, PoolMode::Fallback].into_iter().zip([0, 1]) {
        let ring = Ring::new(mode, 2);
        let kept = over(&ring, &ring.replica(), Holds::on());
        kept.store("a", "a", HELD, Condition::None).await.unwrap();
        ring.darken(dark);
        let (later, holds) = looking(&ring);
        a_while().await;
        assert!(holds.can_be_set(), "{mode:?}");
        assert!(later.vault.delete(&later.key("a"), None).await.is_err());
        ring.heal(dark);
        a_while().await;
        refused(later.vault.delete(&later.key("a"), None).await, ErrorKind::Retained);
        assert_eq!(later.read("a").await.as_deref(), Some("a"));
    }
}

#[tokio::test(start_paused = true)]
async fn any_member_that_answers_knows_that_nothing_is_held() {
    for (mode, dark) in [PoolMode::Mirror, PoolMode::Fallback].into_iter().zip([1, 0]) {
        let ring = Ring::new(mode, 2);
        let (one, _) = looking(&ring);
        one.store("a", "a", NOTHING, Condition::None).await.unwrap();
        a_while().await;
        ring.darken(dark);
        let (two, holds) = looking(&ring);
        a_while().await;
        assert!(!holds.may_be(), "{mode:?}");
        two.store("b", "b", NOTHING, Condition::None).await.unwrap();
        for name in ["a", "b"] {
            two.vault.delete(&two.key(name), None).await.unwrap();
        }
        ring.heal(dark);
        a_while().await;
        assert!(!holds.may_be(), "{mode:?}");
    }
}

/// What a member says that nobody has compared with the others is not believed: it may be new.
#[tokio::test(start_paused = true)]
async fn until_a_member_can_tell_all_is_looked_at() {
    let ring = Ring::new(PoolMode::Fallback, 2);
    ring.darken(0);
    let (kept, holds) = looking(&ring);
    a_while().await;
    assert!(holds.may_be() && !holds.can_be_set());
    assert!(kept.vault.delete(&kept.key("a"), None).await.is_err());
    ring.heal(0);
    a_while().await;
    assert!(!holds.may_be());
}

#[tokio::test(start_paused = true)]
async fn the_first_hold_waits_until_every_member_says_so() {
    for dark in [0, 1] {
        let ring = Ring::new(PoolMode::Mirror, 2);
        let kept = over(&ring, &ring.replica(), Holds::on());
        ring.darken(dark);
        refused(kept.store("a", "a", HELD, Condition::Absent).await, ErrorKind::Unavailable);
        kept.store("b", "b", NOTHING, Condition::Absent).await.unwrap();
        ring.heal(dark);
        kept.store("a", "a", HELD, Condition::Absent).await.unwrap();
        // And none after it, be it of a replica that has never seen that member.
        ring.darken(dark);
        for (replica, name) in [(kept, "c"), (over(&ring, &ring.replica(), Holds::on()), "d")] {
            replica.store(name, "x", HELD, Condition::Absent).await.unwrap();
        }
    }
}

/// One that was set back to before the first hold says that there is none, until the other one answers.
#[tokio::test(start_paused = true)]
async fn a_mark_outweighs_what_is_said_without_one() {
    let ring = Ring::new(PoolMode::Fallback, 2);
    drop(looking(&ring));
    a_while().await;
    let kept = over(&ring, &ring.replica(), Holds::on());
    kept.store("a", "a", HELD, Condition::None).await.unwrap();
    ring.store(1).delete(&mark(), None).await.unwrap();
    ring.darken(0);
    let (later, holds) = looking(&ring);
    a_while().await;
    assert!(!holds.may_be());
    ring.heal(0);
    a_while().await;
    assert!(holds.can_be_set());
    refused(later.vault.delete(&later.key("a"), None).await, ErrorKind::Retained);
    assert!(ring.store(1).head(&mark()).await.is_ok());
}

/// Members that are replaced one after another take the mark along.
#[tokio::test(start_paused = true)]
async fn a_member_that_lost_the_mark_gets_it_again() {
    let ring = Ring::new(PoolMode::Mirror, 2);
    let pool = ring.replica();
    let kept = over(&ring, &pool, Holds::on());
    kept.store("a", "a", HELD, Condition::None).await.unwrap();
    for by in ["comparing", "a start"] {
        ring.store(0).delete(&mark(), None).await.unwrap();
        match by {
            "comparing" => drop(pool.reconcile(Reconcile::default()).await.unwrap()),
            _ => drop(looking(&ring)),
        }
        a_while().await;
        assert!(ring.store(0).head(&mark()).await.is_ok(), "{by}");
        assert!(ring.store(1).head(&mark()).await.is_ok(), "{by}");
    }
}

/// What was noted of a member says nothing of the bucket that its name is given later.
#[tokio::test(start_paused = true)]
async fn a_name_that_is_given_another_bucket_is_asked_anew() {
    for (bucket, may_be) in [("bucket 1", false), ("another", true)] {
        let ring = Ring::new(PoolMode::Fallback, 2);
        drop(looking(&ring));
        a_while().await;
        ring.darken(1);
        let places = vec![place(&ring, 0, "bucket 0"), place(&ring, 1, bucket)];
        let holds = Holds::unless_marked().kept_at(places);
        tokio::spawn(holds.clone().settle(Arc::clone(&ring.replica()) as _));
        a_while().await;
        assert_eq!(holds.may_be(), may_be, "{bucket}");
    }
}

/// Another service over the same store was given holds, against the documentation: that is found out.
#[tokio::test(start_paused = true)]
async fn the_mark_is_looked_for_again() {
    let ring = Ring::new(PoolMode::Mirror, 2);
    let pool = ring.replica();
    let holds = known(&ring, Holds::unless_marked());
    tokio::spawn(holds.clone().keep(Arc::clone(&pool) as _));
    a_while().await;
    assert!(!holds.may_be());
    let kept = over(&ring, &ring.replica(), Holds::on());
    kept.store("a", "a", HELD, Condition::None).await.unwrap();
    a_while().await;
    assert!(!holds.may_be(), "not that soon");
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(holds.can_be_set());
    let later = over(&ring, &pool, holds);
    refused(later.vault.delete(&later.key("a"), None).await, ErrorKind::Retained);
}

/// One member refuses each look and another one is away: nobody gives up on that one.
#[tokio::test(start_paused = true)]
async fn a_refused_look_does_not_end_the_wait_for_the_others() {
    for (refusing, dark) in [(0, 1), (1, 0)] {
        let ring = Ring::new(PoolMode::Mirror, 3);
        let all = || (0..3).map(|at| place(&ring, at, "bucket")).collect();
        let look = || {
            let holds = Holds::unless_marked().kept_at(all());
            (holds.clone(), holds.settle(Arc::clone(&ring.replica()) as _))
        };
        look().1.await;
        // Only the one that is away gets the mark, by a service that knows of no other.
        let on = Holds::on().kept_at(vec![place(&ring, dark, "bucket")]);
        on.mark(&(Arc::clone(&ring.replica()) as _)).await.unwrap();
        ring.darken(dark);
        ring.strike(refusing, Fault::Refuse(ErrorKind::AccessDenied));
        let (holds, settling) = look();
        tokio::spawn(settling);
        a_while().await;
        assert!(!holds.may_be(), "the third one knows that nobody had it");
        ring.heal(dark);
        a_while().await;
        assert!(holds.can_be_set(), "{refusing} refuses");
    }
}

/// Who counts and changes nothing leaves no note either.
#[tokio::test(start_paused = true)]
async fn who_only_looks_stores_nothing() {
    for held in [false, true] {
        let ring = Ring::new(PoolMode::Mirror, 2);
        if held {
            let at = vec![place(&ring, 0, "bucket 0")];
            let on = Holds::on().kept_at(at);
            on.mark(&(Arc::clone(&ring.replica()) as _)).await.unwrap();
        }
        let before = [ring.names(0, RESERVED).await, ring.names(1, RESERVED).await];
        let holds = known(&ring, Holds::unless_marked()).only_looking();
        holds.clone().settle(Arc::clone(&ring.replica()) as _).await;
        assert_eq!(holds.may_be(), held);
        assert_eq!([ring.names(0, RESERVED).await, ring.names(1, RESERVED).await], before);
        // The control.
        let holds = known(&ring, Holds::unless_marked());
        holds.settle(Arc::clone(&ring.replica()) as _).await;
        assert_ne!([ring.names(0, RESERVED).await, ring.names(1, RESERVED).await], before);
    }
}
