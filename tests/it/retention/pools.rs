//! Holds in pools whose members go dark, come back with an older state, rot, or are new.

use std::sync::Arc;

use proof_storage::backend::Backend as _;
use proof_storage::model::{ErrorKind, HOLDS_MARK, ObjectKey, PoolMode, Retention, WriteMode};
use proof_storage::pool::{Pool, Reconcile};
use proof_storage::vault::{Change, Condition, Holds, VaultError};

use super::{Kept, Setup};
use crate::pool::ring::{Ring, settle};

const NOTHING: Retention = Retention { until: None, legal_hold: false, stored: None };
const HELD: Retention = Retention { legal_hold: true, ..NOTHING };
const HOLD: Change = Change { until: None, legal_hold: Some(true) };

fn over(pool: &Arc<Pool>, holds: Holds) -> Kept {
    let (mode, seen) = (WriteMode::Overwrite, Arc::clone(pool));
    let holds = holds.seeing(move || seen.has_read_all());
    Kept::over(Arc::clone(pool) as _, Setup { mode, holds, ..Setup::default() })
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
            let (one, two) = (over(&one, Holds::on()), over(&two, Holds::on()));
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
        let kept = over(&pool, Holds::on());
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
    let kept = over(&ring.replica(), Holds::on());
    kept.store("a", "a", NOTHING, Condition::None).await.unwrap();
    ring.darken(1);
    kept.vault.retain(&kept.key("a"), HOLD).await.unwrap();
    ring.heal(1);
    ring.darken(0);
    refused(kept.vault.delete(&kept.key("a"), None).await, ErrorKind::Unavailable);
    // Nor does a replica that starts now, and can read no line of the dark one.
    let other = over(&ring.replica(), Holds::on());
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

#[tokio::test(start_paused = true)]
async fn until_the_mark_can_be_looked_for_all_is_looked_at() {
    for mode in [PoolMode::Mirror, PoolMode::Fallback] {
        let ring = Ring::new(mode, 2);
        over(&ring.replica(), Holds::on()).store("a", "a", HELD, Condition::None).await.unwrap();
        // Without the setting, while the home is dark.
        ring.darken(0);
        let (pool, holds) = (ring.replica(), Holds::unless_marked());
        let later = over(&pool, holds.clone());
        let settling = tokio::spawn(holds.clone().settle(Arc::clone(&pool) as _));
        tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        assert!(holds.may_be(), "{mode:?}");
        assert!(later.vault.delete(&later.key("a"), None).await.is_err());
        ring.heal(0);
        tokio::time::sleep(std::time::Duration::from_secs(20)).await;
        settling.await.unwrap();
        assert!(holds.can_be_set(), "{mode:?}");
        refused(later.vault.delete(&later.key("a"), None).await, ErrorKind::Retained);
        assert_eq!(later.read("a").await.as_deref(), Some("a"));
    }
}

/// Members that are replaced one after another take the mark along.
#[tokio::test(start_paused = true)]
async fn a_member_that_lost_the_mark_gets_it_again() {
    let ring = Ring::new(PoolMode::Mirror, 2);
    let pool = ring.replica();
    over(&pool, Holds::on()).store("a", "a", HELD, Condition::None).await.unwrap();
    for by in ["comparing", "a start"] {
        ring.store(0).delete(&mark(), None).await.unwrap();
        match by {
            "comparing" => drop(pool.reconcile(Reconcile::default()).await.unwrap()),
            _ => Holds::unless_marked().settle(Arc::clone(&pool) as _).await,
        }
        assert!(ring.store(0).head(&mark()).await.is_ok(), "{by}");
        assert!(ring.store(1).head(&mark()).await.is_ok(), "{by}");
    }
}
