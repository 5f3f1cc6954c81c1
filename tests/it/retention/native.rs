//! Strength: native where the bucket's own lock keeps all that is said, and nowhere else.

use std::sync::Arc;

use fake_s3::{FakeS3, Personality};
use proof_storage::backend::Backend;
use proof_storage::backend::s3::{Options, S3};
use proof_storage::model::{LockMode, PoolMode, Provider, Retention, Role, WriteMode};
use proof_storage::pool::{MemberSetup, Pool, PoolPolicy};
use proof_storage::vault::{Change, Condition, Holds, Strength};

use super::{Kept, Setup, hold, keep};
use crate::s3::{examined, options};
use crate::sealed::sealing;

const NOTHING: Retention = Retention { until: None, legal_hold: false, stored: None };
const HELD: Retention = Retention { legal_hold: true, ..NOTHING };

async fn bucket(locks: bool) -> (FakeS3, Arc<dyn Backend>) {
    let server = FakeS3::start(Personality::Aws).unwrap();
    if locks {
        server.enable_object_lock();
    }
    let (store, _) = examined(&server, Provider::S3).await;
    (server, Arc::new(store))
}

fn over(backend: Arc<dyn Backend>) -> Kept {
    let rules = vec![keep("day/", 24), hold("case")];
    let setup = Setup { mode: WriteMode::Overwrite, holds: Holds::on(), rules, ..Setup::default() };
    Kept::over(backend, setup)
}

/// Who refuses to destroy it; `None` where nothing holds it.
async fn strength(kept: &Kept, name: &str) -> Option<Strength> {
    let meta = kept.vault.head(&kept.key(name)).await.unwrap();
    let standing = kept.vault.standing(&meta)?;
    Some(kept.vault.strength(&meta, standing))
}

async fn store(kept: &Kept, name: &str, retention: Retention) -> Option<Strength> {
    kept.store(name, "text", retention, Condition::None).await.unwrap();
    strength(kept, name).await
}

#[tokio::test(flavor = "multi_thread")]
async fn native_is_what_the_bucket_keeps_as_long_as_it_is_said() {
    let (native, gateway) = (Some(Strength::Native), Some(Strength::Gateway));
    for (locks, by_lock) in [(true, native), (false, gateway)] {
        let (_server, backend) = bucket(locks).await;
        let kept = over(backend);
        let until = |hours| Retention { until: Some(kept.hour(hours)), ..NOTHING };
        assert_eq!(store(&kept, "until", until(48)).await, by_lock);
        assert_eq!(store(&kept, "hold", HELD).await, by_lock);
        assert_eq!(store(&kept, "free", NOTHING).await, None);
        // Of rules the bucket knows nothing.
        assert_eq!(store(&kept, "day/free", NOTHING).await, gateway);
        assert_eq!(store(&kept, "day/shorter", until(2)).await, gateway);
        assert_eq!(store(&kept, "day/longer", until(48)).await, by_lock);
        assert_eq!(store(&kept, "day/hold", HELD).await, gateway, "the time is the rule's alone");
        assert_eq!(store(&kept, "case/until", until(48)).await, gateway);
        assert_eq!(store(&kept, "case/hold", HELD).await, by_lock);
        // The rest of a time that is over is no lock's.
        kept.advance(49);
        assert_eq!(store(&kept, "case/hold", HELD).await, by_lock);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_hold_is_locked_anew_and_a_cleared_one_lets_go() {
    let (server, backend) = bucket(true).await;
    let kept = over(backend);
    let key = kept.key("a");
    assert_eq!(store(&kept, "a", NOTHING).await, None);
    let hold = |on| Change { until: None, legal_hold: Some(on) };
    let until = |hours| Change { until: Some(kept.hour(hours)), legal_hold: None };
    let mut versions = 1;
    for (change, found) in [
        (hold(true), Some(Strength::Native)),
        (until(24), Some(Strength::Native)),
        (until(48), Some(Strength::Native)),
        (hold(false), Some(Strength::Native)),
    ] {
        let meta = kept.vault.retain(&key, change).await.unwrap();
        versions += 1;
        let standing = kept.vault.standing(&meta).unwrap();
        assert_eq!(Some(kept.vault.strength(&meta, standing)), found, "{change:?}");
        assert_eq!(strength(&kept, "a").await, found, "{change:?}");
        let all = server.versions("proofs/a");
        assert_eq!(all.len(), versions, "{change:?}");
        let held = |object: &&Arc<fake_s3::Object>| object.lock.legal_hold == Some(true);
        let on = usize::from(meta.attributes.retention.legal_hold);
        assert_eq!(all.iter().filter(held).count(), on, "no old version stays under a hold");
    }
    // A version that was left behind while it had a time keeps that: it runs out.
    let all = server.versions("proofs/a");
    let left = all.iter().filter(|object| object.lock.until.is_some());
    let names: Vec<_> = left.map(|object| object.version.clone().unwrap()).collect();
    assert_eq!(names.len(), 3);
    assert!(names.iter().all(|name| !server.remove_version("proofs/a", name, false)));
    assert_eq!(kept.read("a").await.as_deref(), Some("text"));
    // The name is the service's to refuse.
    kept.vault.delete(&key, None).await.unwrap_err();
    kept.advance(49);
    kept.vault.delete(&key, None).await.unwrap();
    assert_eq!(kept.read("a").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_somebody_takes_off_is_not_claimed_any_more() {
    let (server, backend) = bucket(true).await;
    let kept = over(backend);
    let until = Retention { until: Some(kept.hour(48)), ..HELD };
    assert_eq!(store(&kept, "a", until).await, Some(Strength::Native));
    server.alter_raw("proofs/a", |object| object.lock.legal_hold = Some(false));
    assert_eq!(strength(&kept, "a").await, Some(Strength::Gateway));
    server.alter_raw("proofs/a", |object| object.lock.legal_hold = Some(true));
    server.alter_raw("proofs/a", |object| object.lock.until = Some(kept.hour(47)));
    assert_eq!(strength(&kept, "a").await, Some(Strength::Gateway));
    server.alter_raw("proofs/a", |object| object.lock.until = Some(kept.hour(50)));
    assert_eq!(strength(&kept, "a").await, Some(Strength::Native));
    server.set_lock_visibility(false);
    assert_eq!(strength(&kept, "a").await, Some(Strength::Gateway));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_counts_no_member_that_asks_for_no_lock() {
    for (object_lock, found) in
        [(LockMode::Governance, Strength::Native), (LockMode::Off, Strength::Gateway)]
    {
        let (first, server) = (bucket(true).await, bucket(true).await.0);
        let options = Options { object_lock, ..options(&server, Provider::S3) };
        let second = S3::connect(options).await;
        second.learn(&second.examine().await.unwrap());
        let spool = tempfile::tempdir().unwrap();
        let policy = PoolPolicy::new(PoolMode::Mirror, 2, "proofs/", spool.path());
        let members = [("m0", first.1), ("m1", Arc::new(second) as _)];
        let members = members.map(|(name, backend)| MemberSetup {
            name: name.into(),
            backend,
            role: Role::ReadWrite,
            quota_bytes: None,
        });
        let pool = Pool::new(members.into(), policy);
        pool.round().await;
        let kept = over(Arc::clone(&pool) as _);
        assert_eq!(store(&kept, "a", HELD).await, Some(found), "{object_lock:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_is_native_where_all_who_are_written_to_are() {
    let (native, gateway) = (Strength::Native, Strength::Gateway);
    for (locks, role, found) in [
        ([true, true], Role::ReadWrite, native),
        ([true, false], Role::ReadWrite, gateway),
        ([false, true], Role::ReadWrite, gateway),
        ([true, false], Role::ReadOnly, native),
    ] {
        let (first, second) = (bucket(locks[0]).await, bucket(locks[1]).await);
        let spool = tempfile::tempdir().unwrap();
        let setup = |name: &str, backend, role| MemberSetup {
            name: name.into(),
            backend,
            role,
            quota_bytes: None,
        };
        let members = vec![setup("m0", first.1, Role::ReadWrite), setup("m1", second.1, role)];
        let policy = PoolPolicy::new(PoolMode::Mirror, 1, "proofs/", spool.path());
        let pool = Pool::new(members, policy);
        pool.round().await;
        let kept = over(Arc::clone(&pool) as _);
        assert_eq!(store(&kept, "a", HELD).await, Some(found), "{locks:?} {role:?}");
        // Each copy is locked by who can, whatever the pool can say of all.
        crate::pool::ring::settle(&pool).await;
        for (server, locks) in [(&first.0, locks[0]), (&second.0, locks[1])] {
            if let Some(object) = server.raw("proofs/a") {
                assert_eq!(object.lock.legal_hold, locks.then_some(true));
            } else {
                assert_eq!(role, Role::ReadOnly);
            }
        }
    }
}

/// The frames stay as they are, and their wrapped key goes along in a new version that is locked too.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_rekeyed_is_locked_anew() {
    let (server, backend) = bucket(true).await;
    let sealed = |ids: &str| {
        Kept::over(Arc::clone(&backend), Setup { sealing: sealing(ids), ..Setup::default() })
    };
    let (old, new) = (sealed("2025"), sealed("2026 2025"));
    let until = Retention { until: Some(old.hour(48)), ..HELD };
    assert_eq!(store(&old, "a", until).await, Some(Strength::Native));
    let found = new.vault.rekey(None, false, true, |_| {}).await.unwrap();
    assert_eq!((found.rewrapped, found.failed), (1, 0));
    assert_eq!(strength(&new, "a").await, Some(Strength::Native));
    let versions = server.versions("proofs/a");
    let locks: Vec<_> = versions.iter().map(|object| &object.lock).collect();
    assert_eq!(
        locks.iter().map(|lock| lock.legal_hold).collect::<Vec<_>>(),
        [Some(false), Some(true)]
    );
    assert!(locks.iter().all(|lock| lock.until == until.until), "{locks:?}");
    assert_eq!(sealed("2026").read("a").await.as_deref(), Some("text"));
}
