//! What a misbehaving backend makes of a call: one attempt, honestly told.

use std::time::Duration;

use bytes::Bytes;
use fake_s3::{Darkness, Effect, FakeS3, Fault, FaultProxy, Personality, WireEffect, WireFault};
use proof_storage::backend::Backend as _;
use proof_storage::backend::s3::{Options, S3};
use proof_storage::model::{
    Attributes, Body, Digest, ErrorKind, GetOptions, ObjectKey, Provider, PutMode, Representation,
    StoreError, Stored,
};

use super::{examined, options};

fn key() -> ObjectKey {
    ObjectKey::new("proofs/a.json")
}

async fn store(
    backend: &proof_storage::backend::s3::S3,
    bytes: &Bytes,
) -> Result<Stored, StoreError> {
    let mut attributes = Attributes::new("application/json");
    let digest = Digest::of(bytes);
    let size = bytes.len() as u64;
    attributes.representation =
        Some(Representation { sha256: digest, size, stored_sha256: digest });
    backend.put(&key(), bytes.clone().into(), attributes, PutMode::Create).await
}

/// Each fault of a write, what it is told as, and whether the object is there afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_says_whether_it_may_have_happened() {
    let bytes = Bytes::from_static(b"{}");
    for (effect, kind, there) in [
        (Effect::slow_down(), ErrorKind::Unavailable, false),
        (Effect::too_many_requests(), ErrorKind::Unavailable, false),
        (Effect::internal_error(), ErrorKind::Indeterminate, false),
        (Effect::access_denied(), ErrorKind::AccessDenied, false),
        (Effect::quota_reached(), ErrorKind::QuotaExceeded, false),
        (Effect::InternalErrorAfter, ErrorKind::Indeterminate, true),
        (Effect::error(409, "ConditionalRequestConflict", ""), ErrorKind::Contended, false),
        (Effect::error(400, "BadDigest", ""), ErrorKind::Failed, false),
        (Effect::error(403, "InvalidAccessKeyId", ""), ErrorKind::Misconfigured, false),
        (Effect::error(404, "NoSuchBucket", ""), ErrorKind::Misconfigured, false),
        (Effect::error(400, "KeyTooLongError", ""), ErrorKind::Invalid, false),
        (Effect::error(504, "", ""), ErrorKind::Indeterminate, false),
        (Effect::CloseBefore, ErrorKind::Indeterminate, false),
        (Effect::CloseAfter, ErrorKind::Indeterminate, true),
        (Effect::NoETag, ErrorKind::Indeterminate, true),
    ] {
        let server = FakeS3::start(Personality::Aws).expect("the server starts");
        let (backend, _) = examined(&server, Provider::S3).await;
        let label = format!("{effect:?}");
        server.fault(Fault::new(effect).on("PutObject"));
        let error = store(&backend, &bytes).await.expect_err("the fault is told");
        assert_eq!(error.kind(), kind, "{label}: {error:?}");
        assert_eq!(server.pending_faults(), 0, "{label} was met");
        assert_eq!(backend.head(&key()).await.is_ok(), there, "{label}");
        if kind == ErrorKind::Unavailable {
            assert!(error.retry_after().is_some(), "{label} says when to come back");
        }
        let said = error.detail().contains("the write may have happened");
        assert_eq!(said, kind == ErrorKind::Indeterminate, "{label}: {error}");
    }
}

/// Some backends go through a batch key by key.
#[tokio::test(flavor = "multi_thread")]
async fn many_keys_are_waited_for_longer_than_one() {
    let server = FakeS3::start(Personality::Aws).expect("the server starts");
    let timeout = Duration::from_millis(500);
    let backend = S3::connect(Options { timeout, ..options(&server, Provider::S3) }).await;
    let slow = || Fault::new(Effect::Delay(Duration::from_secs(2))).on("DeleteObjects");
    server.fault(slow());
    let keys: Vec<_> = (0..1000).map(|n| ObjectKey::new(format!("proofs/{n}"))).collect();
    assert!(backend.delete_many(&keys).await.iter().all(Result::is_ok));
    server.fault(slow());
    let alone = backend.delete_many(&keys[..1]).await.remove(0);
    assert_eq!(alone.expect_err("it took too long").kind(), ErrorKind::Timeout);
}

/// What fails behind the copy has not undone it: the first look at it, its reading back, the delete
/// of the source. A copy with other bytes is removed, and the source kept.
#[tokio::test(flavor = "multi_thread")]
async fn what_fails_behind_a_copy_may_have_happened() {
    let (from, to) = (key(), ObjectKey::new("proofs/b.json"));
    let unknown = ErrorKind::Indeterminate;
    for (moves, fault, kind, copied) in [
        (false, Fault::new(Effect::slow_down()).on("HeadObject").after(1), unknown, true),
        (false, Fault::new(Effect::slow_down()).on("CopyObject"), ErrorKind::Unavailable, false),
        (true, Fault::new(Effect::slow_down()).on("HeadObject").after(1), unknown, true),
        (true, Fault::new(Effect::access_denied()).on("GetObject"), unknown, true),
        (true, Fault::new(Effect::CutBody).on("GetObject"), unknown, true),
        (true, Fault::new(Effect::slow_down()).on("DeleteObject"), unknown, true),
        (true, Fault::new(Effect::FlipBit).on("GetObject"), ErrorKind::Corrupt, false),
    ] {
        let server = FakeS3::start(Personality::Aws).expect("the server starts");
        let (backend, _) = examined(&server, Provider::S3).await;
        store(&backend, &Bytes::from_static(b"{}")).await.expect("it is stored");
        let label = format!("{fault:?}");
        server.fault(fault);
        let answer = match moves {
            true => backend.rename(&from, &to, PutMode::Create).await,
            false => backend.copy(&from, &to, PutMode::Create).await,
        };
        let error = answer.expect_err("the fault is told");
        assert_eq!((error.kind(), server.pending_faults()), (kind, 0), "{label}: {error:?}");
        assert!(server.raw(from.as_str()).is_some(), "{label}: the source is there");
        assert_eq!(server.raw(to.as_str()).is_some(), copied, "{label}");
    }
}

/// A connection that cannot be made carries nothing, however long it took to find out.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_backend_did_nothing() {
    let server = FakeS3::start(Personality::Aws).expect("the server starts");
    let wire = FaultProxy::start(server.address()).expect("the wire starts");
    wire.go_dark(Darkness::Unreachable).expect("the wire goes dark");
    let options = Options { timeout: Duration::from_millis(300), ..options(&server, Provider::S3) };
    let backend = S3::connect(Options { endpoint: Some(wire.endpoint()), ..options }).await;
    let error = store(&backend, &Bytes::from_static(b"{}")).await.expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::Failed, "{error:?}");
    wire.light_up().expect("the wire is lit");
    // What was sent and is not answered is another matter.
    wire.fault(WireFault::new(WireEffect::Swallow));
    let error = store(&backend, &Bytes::from_static(b"{}")).await.expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    assert!(server.objects().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_gone_did_nothing() {
    let server = FakeS3::start(Personality::Aws).expect("the server starts");
    // Without connections of before: one that was just cut may be tried, and leaves a doubt.
    let backend = S3::connect(options(&server, Provider::S3)).await;
    server.pause().expect("the server pauses");
    let error = store(&backend, &Bytes::from_static(b"{}")).await.expect_err("nobody answers");
    assert_eq!(error.kind(), ErrorKind::Failed, "a refused connection: {error:?}");
    server.resume().expect("the server goes on");
    store(&backend, &Bytes::from_static(b"{}")).await.expect("it recovers by itself");
}

/// A body that is cut is an error; bytes that differ are for the vault, which knows the digest.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_body_never_ends_cleanly() {
    for size in [1000, 3_000_000] {
        let server = FakeS3::start(Personality::Aws).expect("the server starts");
        let (backend, _) = examined(&server, Provider::S3).await;
        let bytes = Bytes::from(vec![7; size]);
        store(&backend, &bytes).await.expect("it is stored");
        server.fault(Fault::new(Effect::CutBody).on("GetObject"));
        let outcome = match backend.get(&key(), GetOptions::default()).await {
            Err(error) => Err(error),
            Ok(found) => match found.body {
                Body::Bytes(bytes) => Ok(bytes.len()),
                Body::Stream(mut stream) => {
                    let mut length = Ok(0);
                    while let Some(piece) = futures_util::StreamExt::next(&mut stream).await {
                        length = match (length, piece) {
                            (Ok(length), Ok(piece)) => Ok(length + piece.len()),
                            (_, Err(error)) | (Err(error), _) => Err(error),
                        };
                    }
                    length
                }
            },
        };
        let error = outcome.expect_err("a cut body is an error");
        assert_eq!(error.kind(), ErrorKind::Failed, "{size}: {error:?}");
    }
}

/// A refusal of the health probe tells our credentials' fault from a missing permission.
#[tokio::test(flavor = "multi_thread")]
async fn the_probe_tells_who_is_at_fault() {
    let server = FakeS3::start(Personality::Aws).expect("the server starts");
    let (backend, _) = examined(&server, Provider::S3).await;
    backend.probe().await.expect("a missing object is an answer");
    server.fault(Fault::new(Effect::access_denied()).times(2));
    let denied = backend.probe().await.expect_err("a permission is missing");
    assert_eq!(denied.kind(), ErrorKind::AccessDenied);
    let mut options = options(&server, Provider::S3);
    if let Some(credentials) = &mut options.credentials {
        credentials.secret_access_key = "not the secret".into();
    }
    let wrong = S3::connect(options).await.probe().await.expect_err("the secret is wrong");
    assert_eq!(wrong.kind(), ErrorKind::Misconfigured, "{wrong:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_deletes_are_one_call() {
    let server = FakeS3::start(Personality::Aws).expect("the server starts");
    let (backend, _) = examined(&server, Provider::S3).await;
    for (count, pages) in [(1000, 1), (10_000, 10)] {
        let before = server.requests();
        let keys: Vec<_> = (0..count).map(|n| ObjectKey::new(format!("proofs/{n}"))).collect();
        let answers = backend.delete_many(&keys).await;
        assert!(answers.len() == count && answers.iter().all(Result::is_ok));
        let calls = server.requests().since(&before);
        assert_eq!((calls.of("DeleteObjects"), calls.total()), (pages, pages));
    }
}

/// Some clusters have no batch delete, and no XML can name every key.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_deleted_together_is_deleted_alone() {
    let server = FakeS3::start(Personality::Aws).expect("the server starts");
    let (backend, _) = examined(&server, Provider::S3).await;
    let keys = ["proofs/a", "proofs/\u{ffff}", "proofs/b"].map(ObjectKey::new);
    let fill = || {
        for key in &keys {
            server.put_raw(key.as_str(), Bytes::from_static(b"x"), fake_s3::Headers::default());
        }
    };
    fill();
    let before = server.requests();
    assert!(backend.delete_many(&keys).await.iter().all(Result::is_ok));
    let calls = server.requests().since(&before);
    assert_eq!((calls.of("DeleteObjects"), calls.of("DeleteObject")), (1, 1));
    assert!(server.objects().is_empty());

    let without = [
        Effect::error(501, "NotImplemented", ""),
        Effect::error(
            400,
            "InvalidRequest",
            "Missing required header for this request: Content-MD5",
        ),
    ];
    for effect in without {
        fill();
        server.fault(Fault::new(effect).on("DeleteObjects"));
        assert!(backend.delete_many(&keys).await.iter().all(Result::is_ok));
        assert!(server.objects().is_empty());
    }
    // One that stays is told, and is no other's fault.
    fill();
    server.fault(Fault::new(Effect::error(501, "NotImplemented", "")).on("DeleteObjects"));
    server.fault(Fault::new(Effect::access_denied()).on("DeleteObject").key("proofs/b"));
    let kinds = backend.delete_many(&keys).await;
    let kinds: Vec<_> = kinds.into_iter().map(|a| a.err().map(|error| error.kind())).collect();
    assert_eq!(kinds, [None, None, Some(ErrorKind::AccessDenied)]);
}

/// Deleted is what was said to be deleted: an answer that is none leaves all of it in doubt.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_page_of_deletes_counts_as_deleted_for_no_key() {
    let server = FakeS3::start(Personality::Aws).expect("the server starts");
    let (backend, _) = examined(&server, Provider::S3).await;
    let keys = ["proofs/a", "proofs/b"].map(ObjectKey::new);
    for effect in [
        Effect::ErrorIn200("InternalError".into()),
        Effect::CloseAfter,
        Effect::CloseBefore,
        Effect::CutBody,
        Effect::internal_error(),
    ] {
        let label = format!("{effect:?}");
        server.fault(Fault::new(effect).on("DeleteObjects"));
        for answer in backend.delete_many(&keys).await {
            let error = answer.expect_err("nobody knows");
            assert_eq!(error.kind(), ErrorKind::Indeterminate, "{label}");
        }
        assert_eq!(server.pending_faults(), 0, "{label} was met");
    }
    let effect = Effect::RefuseKeys { part: "/b".into(), code: "InternalError".into() };
    server.fault(Fault::new(effect).on("DeleteObjects"));
    let answers = backend.delete_many(&keys).await;
    assert!(answers[0].is_ok());
    assert_eq!(answers[1].as_ref().unwrap_err().kind(), ErrorKind::Indeterminate);
}

/// Objects that others put into the bucket are served, without a digest of ours.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_objects_are_read() {
    let server = FakeS3::start(Personality::Aws).expect("the server starts");
    let (backend, _) = examined(&server, Provider::S3).await;
    let headers =
        fake_s3::Headers { content_type: Some("text/plain".into()), ..Default::default() };
    server.put_raw(key().as_str(), Bytes::from_static(b"theirs"), headers);
    let found = backend.get(&key(), GetOptions::default()).await.expect("it is read");
    assert_eq!(found.meta.attributes.representation, None);
    assert_eq!(found.meta.attributes.content_type, "text/plain");
    assert!(matches!(found.body, Body::Bytes(bytes) if bytes == "theirs"));
}
