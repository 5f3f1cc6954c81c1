//! Time that passes, keys that change, damage, and URLs that go past the service.

use std::sync::Arc;
use std::time::Duration;

use fake_s3::{FakeS3, Personality};
use proof_storage::backend::Backend;
use proof_storage::backend::faulty::{Fault, Faulty, Operation};
use proof_storage::backend::memory::Memory;
use proof_storage::model::{ErrorKind, Provider, PutMode, Retention, WriteMode};
use proof_storage::vault::{Change, Condition, PresignAction};

use super::{Kept, Setup, keep};
use crate::s3::{examined, paced};
use crate::sealed::sealing;

const NOTHING: Retention = Retention { until: None, legal_hold: false, stored: None };

#[tokio::test]
async fn a_time_that_is_over_holds_nothing() {
    let setup = Setup { rules: vec![keep("kept/", 5)], ..Setup::default() };
    let kept = Kept::over(Arc::new(Memory::new()), setup);
    let until = Retention { until: Some(kept.hour(5)), ..NOTHING };
    for (name, said) in [("a", until), ("kept/a", NOTHING)] {
        kept.store(name, "x", said, Condition::None).await.unwrap();
    }
    kept.advance(4);
    for name in ["a", "kept/a"] {
        let refused = kept.vault.delete(&kept.key(name), None).await.unwrap_err();
        assert_eq!(refused.store_kind(), Some(ErrorKind::Retained), "{name}");
    }
    kept.advance(2);
    for name in ["a", "kept/a"] {
        kept.vault.delete(&kept.key(name), None).await.unwrap();
        assert_eq!(kept.read(name).await, None);
    }
}

/// Rekeying and changes of a hold write again, and the prefix counts from the first store all the same.
#[tokio::test]
async fn rekeying_keeps_what_holds_a_proof_and_since_when() {
    let store: Arc<dyn Backend> = Arc::new(Memory::new());
    let sealed = |ids: &str| {
        let rules = vec![keep("kept/", 5)];
        Kept::over(store.clone(), Setup { rules, sealing: sealing(ids), ..Setup::default() })
    };
    let old = sealed("2025");
    let said = Retention { until: Some(old.hour(9)), legal_hold: true, ..NOTHING };
    old.store("a", "x", said, Condition::None).await.unwrap();
    old.store("kept/a", "x", NOTHING, Condition::None).await.unwrap();
    let stored = old.vault.head(&old.key("kept/a")).await.unwrap().last_modified;

    let new = sealed("2026 2025");
    let found = new.vault.rekey(None, false, true, |_| {}).await.unwrap();
    assert_eq!((found.rewrapped, found.failed), (2, 0));
    let kept = new.retention("a").await;
    assert_eq!((kept.until, kept.legal_hold), (said.until, true));
    assert_eq!(new.retention("kept/a").await.stored, Some(stored));
    let change = Change { until: None, legal_hold: Some(true) };
    new.vault.retain(&new.key("kept/a"), change).await.unwrap();
    assert_eq!(new.retention("kept/a").await.stored, Some(stored), "the first time stays");

    // Without the key nothing opens, and what is held is held.
    let without = sealed("2027");
    let unread = without.vault.open(&without.key("a")).await.unwrap_err();
    assert_eq!(unread.store_kind(), Some(ErrorKind::KeyMissing));
    let refused = without.vault.delete(&without.key("a"), None).await.unwrap_err();
    assert_eq!(refused.store_kind(), Some(ErrorKind::Retained));
    let change = Change { until: Some(without.hour(20)), legal_hold: None };
    without.vault.retain(&without.key("a"), change).await.unwrap();
    assert_eq!(new.read("a").await.as_deref(), Some("x"), "the same frames");
}

/// The backend's own answer has what is said of a proof among its metadata, for whoever has the URL.
#[tokio::test]
async fn no_url_of_the_backend_reads_what_is_held() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let (store, _) = examined(&server, Provider::S3).await;
    let kept = Kept::over(paced(&server, store), Setup::default());
    let said = Retention { legal_hold: true, ..NOTHING };
    kept.store("held", "x", said, Condition::None).await.unwrap();
    kept.store("free", "x", NOTHING, Condition::None).await.unwrap();
    let hour = Duration::from_secs(3600);
    for action in [|| PresignAction::Get, || PresignAction::Head] {
        let refused = kept.vault.presign(&kept.key("held"), action(), hour).await.unwrap_err();
        assert_eq!(refused.store_kind(), Some(ErrorKind::Unsupported));
        kept.vault.presign(&kept.key("free"), action(), hour).await.unwrap();
        kept.vault.presign(&kept.key("missing"), action(), hour).await.unwrap();
    }
}

#[tokio::test]
async fn where_nobody_can_look_nothing_is_deleted() {
    let store = Arc::new(Faulty::new(Memory::new(), 1));
    let kept = Kept::over(store.clone(), Setup::default());
    kept.store("a", "x", NOTHING, Condition::None).await.unwrap();
    store.script(Operation::Head, [Some(Fault::Refuse(ErrorKind::Unavailable)); 2]);
    let key = kept.key("a");
    let refused = kept.vault.delete(&key, None).await.unwrap_err();
    assert_eq!(refused.store_kind(), Some(ErrorKind::Unavailable));
    let refused = kept.vault.delete_many(std::slice::from_ref(&key)).await.remove(0).unwrap_err();
    assert_eq!(refused.store_kind(), Some(ErrorKind::Unavailable));
    assert_eq!(kept.read("a").await.as_deref(), Some("x"));

    // What is damaged can go, unless the rules for its prefix hold all that is there.
    store.script(Operation::Head, [Some(Fault::Refuse(ErrorKind::Corrupt)); 2]);
    let held = Setup { rules: vec![keep("*", 1)], ..Setup::default() };
    let refused = Kept::over(store.clone(), held).vault.delete(&key, None).await.unwrap_err();
    assert_eq!(refused.store_kind(), Some(ErrorKind::Corrupt));
    kept.vault.delete(&key, None).await.unwrap();
    assert_eq!(kept.read("a").await, None);
}

/// A change never writes bytes that are not what was stored, and never over somebody else's write.
#[tokio::test]
async fn a_change_writes_exactly_what_it_read() {
    let store = Arc::new(Faulty::new(Memory::new(), 1));
    let kept = Kept::over(store.clone(), Setup::default());
    kept.store("a", "x".repeat(50).as_str(), NOTHING, Condition::None).await.unwrap();
    store.script(Operation::Get, [Some(Fault::FlipBit)]);
    let change = Change { until: None, legal_hold: Some(true) };
    let refused = kept.vault.retain(&kept.key("a"), change).await.unwrap_err();
    assert_eq!(refused.store_kind(), Some(ErrorKind::Corrupt));
    assert_eq!(kept.retention("a").await, NOTHING, "nothing was written");
    store.script(Operation::Put, [Some(Fault::Refuse(ErrorKind::PreconditionFailed))]);
    kept.vault.retain(&kept.key("a"), change).await.unwrap();
    assert!(kept.retention("a").await.legal_hold);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_url_of_the_backend_may_overwrite() {
    let server = FakeS3::start(Personality::Aws).expect("the server starts");
    let (store, _) = examined(&server, Provider::S3).await;
    let store: Arc<dyn Backend> = Arc::new(store);
    let put = || PresignAction::Put { content_type: "text/plain".to_owned() };
    let hour = Duration::from_secs(3600);
    for (mode, possible) in [(WriteMode::WriteOnce, true), (WriteMode::Overwrite, false)] {
        let kept = Kept::over(store.clone(), Setup { mode, ..Setup::default() });
        assert_eq!(kept.vault.check_presign(true).is_ok(), possible, "{mode:?}");
        assert!(kept.vault.check_presign(false).is_ok());
        let signed = kept.vault.presign(&kept.key("a"), put(), hour).await;
        assert_eq!(signed.is_ok(), possible, "{mode:?}");
    }
}

/// The vault's view of its store is the one that checks, whoever holds it.
#[tokio::test]
async fn there_is_no_way_around() {
    let kept = Kept::over(Arc::new(Memory::new()), Setup::default());
    let said = Retention { legal_hold: true, ..NOTHING };
    kept.store("a", "x", said, Condition::None).await.unwrap();
    let (backend, key) = (kept.vault.backend(), kept.key("a"));
    let (key, other) = (key.object(), kept.key("b"));
    let attributes = proof_storage::model::Attributes::new("text/plain");
    backend
        .put(other.object(), bytes::Bytes::new().into(), attributes.clone(), PutMode::Create)
        .await
        .unwrap();
    let overwrite = PutMode::Overwrite;
    let refused = [
        backend.delete(key, None).await.map(drop),
        backend.delete_many(std::slice::from_ref(key)).await.remove(0).map(drop),
        backend.put(key, bytes::Bytes::new().into(), attributes, overwrite.clone()).await.map(drop),
        backend.copy(other.object(), key, overwrite.clone()).await.map(drop),
        backend.rename(other.object(), key, overwrite.clone()).await.map(drop),
        backend.rename(key, other.object(), overwrite).await.map(drop),
        backend.salvage(other.object(), key).await,
    ];
    for refused in refused {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Retained);
    }
}
