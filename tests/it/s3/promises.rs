//! What the service promises, on each kind of S3 and through the layers it stands behind.

use std::sync::Arc;

use bytes::Bytes;
use fake_s3::{Effect, FakeS3, Fault, FaultProxy, Personality, WireEffect, WireFault};
use proof_storage::backend::Backend;
use proof_storage::backend::s3::{Options, S3};
use proof_storage::layer::{
    Breaker, BreakerPolicy, Limit, LimitPolicy, Pace, PacePolicy, Retry, RetryPolicy, Timeout,
};
use proof_storage::model::{
    Attributes, Body, Class, Digest, ErrorKind, GetOptions, ObjectKey, Provider, PutMode,
    Representation,
};
use proof_storage::telemetry::Metrics;

use super::{examined, options, paced};

const ALL: [(Personality, Provider); 3] = [
    (Personality::Aws, Provider::S3),
    (Personality::R2, Provider::R2),
    (Personality::Garage, Provider::S3),
];

pub fn layered(backend: Arc<dyn Backend>) -> Arc<dyn Backend> {
    let metrics = Metrics::new().backend("s3", Provider::S3);
    let timeout = Timeout::new(backend, std::time::Duration::from_secs(10));
    let limit = Limit::new(Arc::new(timeout), LimitPolicy::default(), &metrics);
    let breaker = Breaker::new(Arc::new(limit), "s3", BreakerPolicy::default(), &metrics);
    Arc::new(Retry::new(Arc::new(breaker), RetryPolicy::new(3), metrics))
}

fn proof(text: &str) -> (Bytes, Attributes) {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
    let mut attributes = Attributes::new("application/json");
    attributes.representation =
        Some(Representation { sha256: digest, size, stored_sha256: digest });
    (bytes, attributes)
}

/// The answer is lost, or wrong, behind the commit: what is there is looked at and compared, and the
/// caller sees a success.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_a_success_in_the_end() {
    for (personality, provider) in ALL {
        for effect in [Effect::CloseAfter, Effect::InternalErrorAfter, Effect::NoETag] {
            let server = FakeS3::start(personality).expect("the server starts");
            let backend = layered(paced(&server, examined(&server, provider).await.0));
            let key = ObjectKey::new("proofs/a.json");
            let (bytes, attributes) = proof("{}");
            let label = format!("{personality:?} {effect:?}");
            server.fault(Fault::new(effect.clone()).on("PutObject"));
            let before = server.requests();
            let stored = backend.put(&key, bytes.into(), attributes, PutMode::Create).await;
            let stored = stored.unwrap_or_else(|error| panic!("{label}: {error:?}"));
            assert_eq!(stored.meta.stored_size, 2);
            assert_eq!(server.pending_faults(), 0, "{label} was met");
            assert_eq!(server.objects().len(), 1);
            assert_eq!(server.requests().since(&before).of("PutObject"), 1, "{label}: not twice");

            // Somebody else's bytes are not taken for our own.
            let key = ObjectKey::new("proofs/b.json");
            let theirs = fake_s3::Headers::default();
            server.put_raw(key.as_str(), Bytes::from_static(b"[]"), theirs);
            let (bytes, attributes) = proof("{}");
            server.fault(Fault::new(Effect::CloseBefore).on("PutObject"));
            let refused = backend.put(&key, bytes.into(), attributes, PutMode::Create).await;
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::AlreadyExists, "{label}");
        }
    }
}

/// 200 with an error in it, which S3 answers to copies and to the last call of an upload in parts.
#[tokio::test(flavor = "multi_thread")]
async fn an_error_behind_a_200_is_none() {
    for executed in [true, false] {
        let server = FakeS3::start(Personality::Aws).expect("the server starts");
        let (store, _) = examined(&server, Provider::S3).await;
        let (a, b) = (ObjectKey::new("proofs/a"), ObjectKey::new("proofs/b"));
        let (bytes, attributes) = proof("{}");
        store.put(&a, bytes.into(), attributes, PutMode::Create).await.unwrap();
        let fault = || {
            // Executed or not: it cannot be told from the answer.
            let wrong = Effect::ErrorIn200("InternalError".into());
            if executed { wrong } else { Effect::CloseBefore }
        };
        server.fault(Fault::new(fault()).on("CopyObject"));
        let error = store.copy(&a, &b, PutMode::Create).await.expect_err("an error");
        assert_eq!(error.kind(), ErrorKind::Indeterminate);
        assert_eq!(server.raw("proofs/b").is_some(), executed);
        server.remove_raw("proofs/b");
        let layered = layered(Arc::new(store));
        for operation in ["CopyObject", "CompleteMultipartUpload"] {
            server.fault(Fault::new(fault()).on(operation));
            let key = ObjectKey::new(format!("proofs/{operation}"));
            if operation == "CopyObject" {
                layered.copy(&a, &key, PutMode::Create).await.unwrap();
            } else {
                let (payload, attributes) = super::uploads::large(1);
                layered.put(&key, payload, attributes, PutMode::Create).await.unwrap();
            }
            assert_eq!(server.pending_faults(), 0, "{operation} was met");
            assert!(server.raw(key.as_str()).is_some(), "{operation}");
        }
    }
}

/// R2 takes one write a second of each key: the second waits here, and no 429 is ever seen.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_write_within_a_second_waits_for_its_time() {
    let server = FakeS3::start(Personality::R2).expect("the server starts");
    let (store, _) = examined(&server, Provider::R2).await;
    let write = async |backend: &dyn Backend, text: &str| {
        let (bytes, attributes) = proof(text);
        let key = ObjectKey::new("proofs/a");
        backend.put(&key, bytes.into(), attributes, PutMode::Overwrite).await
    };
    write(&store, "1").await.unwrap();
    let refused = write(&store, "2").await.expect_err("without a pace it comes too soon");
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(refused.retry_after() >= Some(std::time::Duration::from_secs(1)));

    let paced = Pace::new(Arc::new(store), PacePolicy::ONE_A_SECOND);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    write(&paced, "3").await.unwrap();
    write(&paced, "4").await.expect("it waits");
    assert_eq!(server.raw("proofs/a").unwrap().bytes, "4");
}

/// Nothing that fails behind the copy keeps a move from coming to its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_fails_halfway_is_finished() {
    let struck = ["HeadObject", "CopyObject", "GetObject", "DeleteObject"];
    let effects = [Effect::slow_down(), Effect::internal_error(), Effect::CloseAfter];
    for (operation, effect) in struck.iter().flat_map(|name| effects.iter().map(move |e| (name, e)))
    {
        let server = FakeS3::start(Personality::Aws).expect("the server starts");
        let backend = layered(Arc::new(examined(&server, Provider::S3).await.0));
        let (from, to) = (ObjectKey::new("proofs/a.json"), ObjectKey::new("proofs/b.json"));
        let (bytes, attributes) = proof("{}");
        backend.put(&from, bytes.into(), attributes, PutMode::Create).await.expect("it is stored");
        // Of the looks, the one at the copy.
        let passes = if *operation == "HeadObject" { 2 } else { 0 };
        server.fault(Fault::new(effect.clone()).on(operation).after(passes));
        let moved = backend.rename(&from, &to, PutMode::Create).await;
        moved.unwrap_or_else(|error| panic!("{operation} {effect:?}: {error:?}"));
        assert_eq!(server.pending_faults(), 0, "{operation} was struck");
        let left: Vec<String> = server.objects().into_keys().collect();
        assert_eq!(left, [to.as_str()], "{operation} {effect:?}");
    }
}

/// Faults of the wire, each of which strikes one request of each kind: callers see nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_moment_on_the_wire_is_not_seen() {
    for effect in [
        WireEffect::Reset,
        WireEffect::Close,
        WireEffect::Stale,
        WireEffect::CutUpload(1),
        WireEffect::FlipUpload(1),
        WireEffect::LoseAnswer,
        WireEffect::Garble,
        WireEffect::Truncate(1),
    ] {
        let server = FakeS3::start(Personality::Aws).expect("the server starts");
        let wire = FaultProxy::start(server.address()).expect("the wire starts");
        let options = Options { endpoint: Some(wire.endpoint()), ..options(&server, Provider::S3) };
        let store = S3::connect(options).await;
        store.learn(&examined(&server, Provider::S3).await.1);
        let backend = layered(Arc::new(store));
        let key = ObjectKey::new("proofs/a.json");
        // Something for a stale connection to be idle after.
        backend.head(&key).await.expect_err("nothing is there");
        let strike = |method| wire.fault(WireFault::new(effect).on(method));
        let (bytes, attributes) = proof("{}");
        strike("PUT");
        let put = backend.put(&key, bytes.into(), attributes, PutMode::Create).await;
        put.unwrap_or_else(|error| panic!("{effect:?} put: {error:?}"));
        strike("GET");
        let got = backend.get(&key, GetOptions::default()).await;
        let got = got.unwrap_or_else(|error| panic!("{effect:?} get: {error:?}"));
        assert!(matches!(got.body, Body::Bytes(bytes) if bytes == "{}"), "{effect:?}");
        strike("DELETE");
        let deleted = backend.delete(&key, None).await;
        deleted.unwrap_or_else(|error| panic!("{effect:?} delete: {error:?}"));
        assert!(server.objects().is_empty(), "{effect:?}");
        assert_eq!((wire.struck(), wire.pending_faults()), (3, 0), "{effect:?}");
    }
}

/// A short outage is waited for, and a long one is told at once, without another call.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_waited_for_and_then_told_at_once() {
    let server = FakeS3::start(Personality::Aws).expect("the server starts");
    let backend = layered(Arc::new(examined(&server, Provider::S3).await.0));
    let key = ObjectKey::new("proofs/a.json");
    server.fault(Fault::new(Effect::slow_down()).on("HeadObject"));
    let missing = backend.head(&key).await.expect_err("there is none");
    assert_eq!(missing.kind(), ErrorKind::NotFound, "after one refusal");

    server.pause().expect("the server pauses");
    for _ in 0..4 {
        let error = backend.head(&key).await.expect_err("nobody answers");
        // The breaker opens among them.
        assert_eq!(error.class(), Class::Failed, "{error:?}");
    }
    let before = server.requests();
    let error = backend.head(&key).await.expect_err("the breaker is open");
    assert!(error.retry_after().is_some(), "it says when to come back: {error:?}");
    assert_eq!(server.requests().since(&before).total(), 0);
}
