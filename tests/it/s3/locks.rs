//! Object lock: what is held is locked by the bucket that can, for as long, and by no other.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fake_s3::{Effect, FakeS3, Fault, Lock as Kept, Personality};
use proof_storage::backend::Backend as _;
use proof_storage::backend::s3::{Options, S3, Verdict};
use proof_storage::model::{
    Attributes, Digest, ErrorKind, Lock, LockMode, ObjectKey, Provider, PutMode, Representation,
    Retention, Stored, Support,
};

use super::uploads::large;
use super::{connect, examined, options};

const ASKS: &str = "GetObjectLockConfiguration";
const NOTHING: Retention = Retention { until: None, legal_hold: false, stored: None };

fn locked_bucket() -> FakeS3 {
    let server = FakeS3::start(Personality::Aws).unwrap();
    server.enable_object_lock();
    server
}

/// In whole seconds, as headers have it.
fn in_hours(hours: u64) -> SystemTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs() + hours * 3600)
}

fn until(hours: u64) -> Retention {
    Retention { until: Some(in_hours(hours)), ..NOTHING }
}

fn hold() -> Retention {
    Retention { legal_hold: true, ..NOTHING }
}

fn key() -> ObjectKey {
    ObjectKey::new("proofs/a")
}

fn attributes(text: &'static str, retention: Retention) -> Attributes {
    let (sha256, size) = (Digest::of(text.as_bytes()), text.len() as u64);
    let representation = Some(Representation { sha256, size, stored_sha256: sha256 });
    Attributes { representation, retention, ..Attributes::new("text/plain") }
}

async fn put(
    store: &S3,
    text: &'static str,
    retention: Retention,
    mode: PutMode,
) -> Result<Stored, proof_storage::model::StoreError> {
    let bytes = Bytes::from_static(text.as_bytes()).into();
    store.put(&key(), bytes, attributes(text, retention), mode).await
}

/// Whether each version can be removed by whoever has the bucket's credentials, the oldest first.
fn removable(server: &FakeS3, bypass: bool) -> Vec<bool> {
    let versions = server.versions(key().as_str());
    let names = versions.iter().map(|object| object.version.as_deref().unwrap_or("null"));
    names.map(|name| server.remove_version(key().as_str(), name, bypass)).collect()
}

fn holds(server: &FakeS3) -> Vec<Option<bool>> {
    server.versions(key().as_str()).iter().map(|object| object.lock.legal_hold).collect()
}

async fn eventually(what: &str, found: impl Fn() -> bool) {
    for _ in 0..200 {
        if found() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_says_whether_it_locks() {
    for (personality, provider, locks, wanted) in [
        (Personality::Aws, Provider::S3, false, Support::Gateway),
        (Personality::Aws, Provider::S3, true, Support::Native),
        (Personality::R2, Provider::R2, false, Support::Gateway),
        (Personality::Garage, Provider::S3, false, Support::Gateway),
    ] {
        let server = FakeS3::start(personality).unwrap();
        if locks {
            server.enable_object_lock();
        }
        assert_eq!(connect(&server, provider).await.capabilities().object_lock, Support::Unknown);
        let (store, report) = examined(&server, provider).await;
        assert_eq!(report.capabilities.object_lock, wanted, "{:#?}", report.findings);
        assert_eq!(store.capabilities().object_lock, wanted);
        assert!(report.conclusive, "{:#?}", report.findings);
        // What is only read is not locked, and says so all the same.
        let report = store.examine_reading().await.unwrap();
        assert_eq!(report.capabilities.object_lock, wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_none_is_asked_for_again() {
    for (effect, verdict, conclusive, text) in [
        (Effect::access_denied(), Verdict::Gateway, true, "grant s3:GetBucketObjectLockConfigur"),
        (Effect::error(405, "MethodNotAllowed", ""), Verdict::Gateway, true, "refused (405"),
        (Effect::error(501, "NotImplemented", ""), Verdict::Gateway, true, "refused (501"),
        (Effect::internal_error(), Verdict::Unknown, false, "not to be tried (500"),
        (Effect::slow_down(), Verdict::Unknown, false, "not to be tried (503"),
        (Effect::CloseBefore, Verdict::Unknown, false, "no answer"),
        // Tomorrow it is another one.
        (Effect::error(400, "ExpiredToken", ""), Verdict::Unknown, false, "(400 ExpiredToken"),
        (Effect::error(403, "RequestTimeTooSkewed", ""), Verdict::Unknown, false, "(403 Request"),
        (Effect::error(404, "NoSuchBucket", ""), Verdict::Unknown, false, "(404 NoSuchBucket"),
        (Effect::error(408, "", ""), Verdict::Unknown, false, "(408"),
        (Effect::error(409, "OperationAborted", ""), Verdict::Unknown, false, "(409 Operation"),
    ] {
        let server = locked_bucket();
        server.fault(Fault::new(effect).on(ASKS));
        let report = connect(&server, Provider::S3).await.examine().await.unwrap();
        assert_eq!(report.verdict("object-lock"), verdict, "{text}");
        assert_eq!(report.conclusive, conclusive, "{text}");
        let finding = report.findings.iter().find(|one| one.feature == "object-lock").unwrap();
        assert!(finding.detail.contains(text), "{}", finding.detail);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_is_locked_and_only_where_there_are_locks() {
    for (retention, past_date) in
        [(until(24), true), (hold(), false), (Retention { legal_hold: true, ..until(24) }, false)]
    {
        let server = locked_bucket();
        let (store, _) = examined(&server, Provider::S3).await;
        let stored = put(&store, "a", retention, PutMode::Create).await.unwrap();
        let Retention { until, legal_hold, .. } = retention;
        assert_eq!(stored.meta.lock, Lock { until, legal_hold });
        assert_eq!(store.head(&key()).await.unwrap().lock, stored.meta.lock);
        let read = store.get(&key(), proof_storage::model::GetOptions::default()).await.unwrap();
        assert_eq!(read.meta, stored.meta);
        let object = server.raw(key().as_str()).unwrap();
        let mode = until.map(|_| "GOVERNANCE".to_owned());
        assert_eq!(object.lock, Kept { mode, until, legal_hold: legal_hold.then_some(true) });
        // A delete hides it, and the bytes stay.
        store.delete(&key(), None).await.unwrap();
        assert_eq!(removable(&server, false), [false]);
        assert_eq!(removable(&server, true), [past_date], "governance: whoever has the right");
    }
    // The controls: what nothing is said of, and a bucket without locks.
    let server = locked_bucket();
    let (store, _) = examined(&server, Provider::S3).await;
    put(&store, "a", NOTHING, PutMode::Create).await.unwrap();
    assert_eq!(removable(&server, false), [true]);
    let server = FakeS3::start(Personality::Aws).unwrap();
    let (store, _) = examined(&server, Provider::S3).await;
    let stored = put(&store, "a", hold(), PutMode::Create).await.unwrap();
    assert_eq!(stored.meta.lock, Lock::default());
    assert_eq!(stored.meta.attributes.retention, hold(), "the service's own word is kept");
    assert_eq!(removable(&server, false), [true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_mode_is_what_was_set() {
    for (object_lock, past_date) in
        [(LockMode::Governance, true), (LockMode::Compliance, false), (LockMode::Off, true)]
    {
        let server = locked_bucket();
        let options = Options { object_lock, ..options(&server, Provider::S3) };
        let store = S3::connect(options).await;
        let report = store.examine().await.unwrap();
        store.learn(&report);
        let finding = report.findings.iter().find(|one| one.feature == "object-lock").unwrap();
        put(&store, "a", until(24), PutMode::Create).await.unwrap();
        let lock = server.raw(key().as_str()).unwrap().lock.clone();
        let told = store.capabilities().object_lock;
        assert_eq!(report.capabilities.object_lock, Support::Native);
        if object_lock == LockMode::Off {
            assert_eq!(told, Support::Gateway, "a pool must not count on it");
            assert_eq!(lock, Kept::default());
            assert!(finding.detail.contains("STORAGE_OBJECT_LOCK=off"), "{}", finding.detail);
        } else {
            let word = format!("{object_lock:?}").to_uppercase();
            assert_eq!(told, Support::Native);
            assert!(finding.detail.contains(&word.to_lowercase()), "{}", finding.detail);
            assert_eq!(lock.mode, Some(word));
            assert_eq!(removable(&server, false), [false]);
        }
        assert_eq!(removable(&server, true), [past_date], "{object_lock:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_and_copies_are_locked_too() {
    let server = locked_bucket();
    let (store, _) = examined(&server, Provider::S3).await;
    let (payload, attributes) = large(1);
    let retention = Retention { legal_hold: true, ..until(24) };
    let attributes = Attributes { retention, ..attributes };
    let stored = store.put(&key(), payload, attributes, PutMode::Create).await.unwrap();
    assert_eq!(stored.meta.lock, Lock { until: retention.until, legal_hold: true });
    let copy = ObjectKey::new("proofs/copy");
    let copied = store.copy(&key(), &copy, PutMode::Create).await.unwrap();
    assert_eq!(copied.meta.lock, stored.meta.lock, "{:?}", server.raw("proofs/copy"));
    // The control: what says nothing of itself is copied without.
    let free = ObjectKey::new("proofs/free");
    let plain = Attributes::new("text/plain");
    store.put(&free, Bytes::from_static(b"x").into(), plain, PutMode::Create).await.unwrap();
    let copied = store.copy(&free, &ObjectKey::new("proofs/c"), PutMode::Create).await.unwrap();
    assert_eq!(copied.meta.lock, Lock::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_is_over_is_not_asked_for() {
    let server = locked_bucket();
    let (store, _) = examined(&server, Provider::S3).await;
    // S3 would refuse the date.
    let over = Retention { until: Some(in_hours(0)), ..NOTHING };
    put(&store, "a", over, PutMode::Create).await.unwrap();
    let both = Retention { legal_hold: true, ..over };
    let stored = put(&store, "b", both, PutMode::Overwrite).await.unwrap();
    assert_eq!(stored.meta.lock, Lock { until: None, legal_hold: true });
}

/// A hold is changed by a write of the same bytes: the new version has all that is said, the old one is
/// let go of.
#[tokio::test(flavor = "multi_thread")]
async fn the_replaced_version_is_let_go_of() {
    let server = locked_bucket();
    let (store, _) = examined(&server, Provider::S3).await;
    let first = put(&store, "a", hold(), PutMode::Create).await.unwrap();
    let longer = Retention { legal_hold: true, ..until(24) };
    let replace = PutMode::Replace(first.meta.etag.clone());
    let second = put(&store, "a", longer, replace.clone()).await.unwrap();
    assert_eq!(second.meta.lock, Lock { until: longer.until, legal_hold: true });
    assert_eq!(holds(&server), [Some(false), Some(true)], "it holds at one version at every time");
    put(&store, "a", Retention { legal_hold: false, ..longer }, replace).await.unwrap();
    assert_eq!(holds(&server), [Some(false), Some(false), None]);
    assert_eq!(removable(&server, false), [true, false, false], "dates run out, and not before");
    assert_eq!(removable(&server, true), [true, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_hold_and_other_bytes_stay_held() {
    let server = locked_bucket();
    let (store, _) = examined(&server, Provider::S3).await;
    put(&store, "a", NOTHING, PutMode::Create).await.unwrap();
    server.alter_raw(key().as_str(), |object| object.lock.legal_hold = Some(true));
    put(&store, "a", NOTHING, PutMode::Overwrite).await.unwrap();
    assert_eq!(holds(&server), [Some(true), None], "it was set by somebody else");
    put(&store, "a", hold(), PutMode::Overwrite).await.unwrap();
    put(&store, "b", hold(), PutMode::Overwrite).await.unwrap();
    assert_eq!(
        holds(&server),
        [Some(true), None, Some(true), Some(true)],
        "these bytes go nowhere"
    );
}

/// A version keeps its hold where what took its place is not locked itself.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_let_go_of_before_something_else_is_locked() {
    let longer = Retention { legal_hold: true, ..until(24) };
    let server = locked_bucket();
    let (store, _) = examined(&server, Provider::S3).await;
    put(&store, "a", hold(), PutMode::Create).await.unwrap();
    let options = Options { object_lock: LockMode::Off, ..options(&server, Provider::S3) };
    let off = S3::connect(options).await;
    off.learn(&off.examine().await.unwrap());
    put(&off, "a", longer, PutMode::Overwrite).await.unwrap();
    assert_eq!(holds(&server), [Some(true), None], "locks are off by now");

    let server = locked_bucket();
    let (store, _) = examined(&server, Provider::S3).await;
    put(&store, "a", hold(), PutMode::Create).await.unwrap();
    // As a backend is seen that drops what it was asked for.
    server.set_lock_visibility(false);
    put(&store, "a", longer, PutMode::Overwrite).await.unwrap();
    assert_eq!(holds(&server), [Some(true), Some(true)]);
    // The control.
    server.set_lock_visibility(true);
    put(&store, "a", hold(), PutMode::Overwrite).await.unwrap();
    assert_eq!(holds(&server), [Some(true), Some(false), Some(true)]);
}

/// Whoever may write and not read replaces as without locks.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_is_refused_refuses_no_write() {
    let server = locked_bucket();
    let (store, _) = examined(&server, Provider::S3).await;
    put(&store, "a", NOTHING, PutMode::Create).await.unwrap();
    server.fault(Fault::new(Effect::access_denied()).on("HeadObject"));
    put(&store, "b", NOTHING, PutMode::Overwrite).await.unwrap();
    assert_eq!((server.pending_faults(), holds(&server).len()), (0, 2));
    // The control: a look that fails is no look.
    server.fault(Fault::new(Effect::internal_error()).on("HeadObject"));
    put(&store, "c", NOTHING, PutMode::Overwrite).await.unwrap_err();
    assert_eq!(holds(&server).len(), 2, "nothing was written");
}

/// What fails behind the write does not undo it, and is tried again.
#[tokio::test(flavor = "multi_thread")]
async fn letting_go_is_tried_again_and_never_fails_the_write() {
    let server = locked_bucket();
    let (store, _) = examined(&server, Provider::S3).await;
    put(&store, "a", hold(), PutMode::Create).await.unwrap();
    server.fault(Fault::new(Effect::internal_error()).on("PutObjectLegalHold"));
    put(&store, "a", NOTHING, PutMode::Overwrite).await.unwrap();
    assert_eq!(server.pending_faults(), 0);
    eventually("it is let go of later", || holds(&server) == [Some(false), None]).await;
    // Without the right the write stands, and the old version stays held.
    put(&store, "a", hold(), PutMode::Overwrite).await.unwrap();
    server.set_lock_permission(false);
    put(&store, "a", NOTHING, PutMode::Overwrite).await.unwrap();
    assert_eq!(holds(&server), [Some(false), None, Some(true), None]);
}

/// A write whose answer is lost: what is there tells whether it happened.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_lets_go_only_of_what_was_replaced() {
    for (effect, after) in [
        (Effect::CloseAfter, vec![Some(false), None]),
        (Effect::CloseBefore, vec![Some(true)]),
        (Effect::access_denied(), vec![Some(true)]),
    ] {
        let server = locked_bucket();
        let (store, _) = examined(&server, Provider::S3).await;
        put(&store, "a", hold(), PutMode::Create).await.unwrap();
        server.fault(Fault::new(effect.clone()).on("PutObject"));
        put(&store, "a", NOTHING, PutMode::Overwrite).await.unwrap_err();
        assert_eq!(holds(&server), after, "{effect:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_not_asked_yet_is_asked_before_anything_is_held() {
    let server = locked_bucket();
    let store = connect(&server, Provider::S3).await;
    put(&store, "a", NOTHING, PutMode::Create).await.unwrap();
    assert_eq!(server.requests().of(ASKS), 0);
    server.fault(Fault::new(Effect::internal_error()).on(ASKS));
    let error = put(&store, "a", hold(), PutMode::Overwrite).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.detail().contains("object_lock"), "{error}");
    assert_eq!(server.versions(key().as_str()).len(), 1, "nothing was stored");
    for _ in 0..2 {
        let stored = put(&store, "a", hold(), PutMode::Overwrite).await.unwrap();
        assert!(stored.meta.lock.legal_hold);
    }
    assert_eq!(server.requests().of(ASKS), 2, "it is asked once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_right_is_named() {
    let server = locked_bucket();
    let (store, _) = examined(&server, Provider::S3).await;
    server.set_lock_permission(false);
    for (retention, right) in [
        (until(24), "takes s3:PutObjectRetention beside"),
        (hold(), "takes s3:PutObjectLegalHold beside"),
    ] {
        let error = put(&store, "a", retention, PutMode::Create).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AccessDenied);
        assert!(error.detail().contains(right), "{error}");
    }
    let (payload, attributes) = large(1);
    let attributes = Attributes { retention: hold(), ..attributes };
    let error = store.put(&key(), payload, attributes, PutMode::Create).await.unwrap_err();
    assert!(error.detail().contains("s3:PutObjectLegalHold"), "{error}");
    assert!(server.objects().is_empty());
    put(&store, "a", NOTHING, PutMode::Create).await.expect("this takes no such right");
    // The control: another refusal says nothing of locks.
    server.fault(Fault::new(Effect::access_denied()).on("PutObject"));
    let error = put(&store, "a", NOTHING, PutMode::Overwrite).await.unwrap_err();
    assert!(!error.detail().contains("PutObjectRetention"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_see_locks_claims_none() {
    let server = locked_bucket();
    let (store, _) = examined(&server, Provider::S3).await;
    server.set_lock_visibility(false);
    let stored = put(&store, "a", hold(), PutMode::Create).await.unwrap();
    assert_eq!(stored.meta.lock, Lock::default());
    assert_eq!(removable(&server, false), [false], "it is locked all the same");
    // And lets go of what it set, seen or not.
    put(&store, "a", NOTHING, PutMode::Overwrite).await.unwrap();
    assert_eq!(holds(&server), [Some(false), None]);
}

/// Some refuse to delete what is locked, rather than hide it.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_is_refused_for_a_lock_says_so() {
    let server = locked_bucket();
    let (store, _) = examined(&server, Provider::S3).await;
    put(&store, "a", hold(), PutMode::Create).await.unwrap();
    let denied = || Fault::new(Effect::access_denied()).on("DeleteObject");
    server.fault(denied());
    let error = store.delete(&key(), None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied);
    assert!(error.detail().contains("object lock keeps this object under a legal hold"), "{error}");
    let code = "AccessDenied".to_owned();
    server.fault(Fault::new(Effect::RefuseKeys { part: "proofs/a".into(), code }));
    let error = store.delete_many(&[key()]).await.remove(0).unwrap_err();
    assert!(error.detail().contains("under a legal hold"), "{error}");
    // The control: what is not locked is refused for another reason.
    put(&store, "a", NOTHING, PutMode::Overwrite).await.unwrap();
    server.fault(denied());
    let error = store.delete(&key(), None).await.unwrap_err();
    assert!(!error.detail().contains("object lock"), "{error}");
}
