//! Uploads in parts: equal ones, a few at once, and nothing left where one fails or its caller goes.

use std::time::Duration;

use bytes::Bytes;
use fake_s3::{Effect, FakeS3, Fault, Personality};
use proof_storage::backend::Backend as _;
use proof_storage::backend::s3::S3;
use proof_storage::model::{
    Attributes, Digest, ErrorKind, GetOptions, ObjectKey, Payload, Provider, PutMode,
    Representation, SpoolWriter, StoreError, Stored,
};

use super::{examined, paced};

const PART: usize = 8 << 20;
/// Parts of one upload under way at once.
const AT_ONCE: u64 = 4;

/// A body of so many whole parts and a rest.
pub fn large(parts: usize) -> (Payload, Attributes) {
    let bytes = noise(parts * PART + 1000);
    let (sha256, size) = (Digest::of(&bytes), bytes.len() as u64);
    let mut attributes = Attributes::new("application/octet-stream");
    attributes.representation = Some(Representation { sha256, size, stored_sha256: sha256 });
    let mut writer = SpoolWriter::create_in(&std::env::temp_dir()).unwrap();
    writer.append(&bytes).unwrap();
    (writer.finish(), attributes)
}

/// Bytes of which no two kilobytes are alike, so that any mix-up shows.
fn noise(length: usize) -> Bytes {
    let mut bytes = vec![7; length];
    for (number, block) in bytes.chunks_exact_mut(1024).enumerate() {
        block[..8].copy_from_slice(&number.to_le_bytes());
    }
    bytes.into()
}

fn key() -> ObjectKey {
    ObjectKey::new("proofs/large")
}

async fn put(store: &S3, parts: usize) -> Result<Stored, StoreError> {
    let (payload, attributes) = large(parts);
    store.put(&key(), payload, attributes, PutMode::Create).await
}

/// Waits for what comes some time, and not for ever.
#[track_caller]
fn until(mut is_so: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        // By count and not by a clock, which some tests stop.
        for _ in 0..30_000 {
            if is_so() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("it never came: {place}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_make_the_whole_everywhere() {
    for (personality, provider) in [
        (Personality::Aws, Provider::S3),
        // Refuses parts that are not equal.
        (Personality::R2, Provider::R2),
        (Personality::Garage, Provider::S3),
    ] {
        let server = FakeS3::start(personality).unwrap();
        let store = paced(&server, examined(&server, provider).await.0);
        let before = server.requests();
        let (payload, attributes) = large(2);
        let stored = store.put(&key(), payload, attributes.clone(), PutMode::Create).await.unwrap();
        assert_eq!(server.requests().since(&before).of("UploadPart"), 3);
        assert_eq!(stored.meta.attributes.representation, attributes.representation);
        let found = store.get(&key(), GetOptions::default()).await.unwrap();
        let found = Digest::of(&found.body.collect().await.unwrap());
        assert_eq!(Some(found), attributes.representation.map(|known| known.sha256));
        assert!(server.uploads().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_is_taken_back() {
    for (operation, effect, kind) in [
        ("UploadPart", Effect::internal_error(), ErrorKind::Failed),
        ("UploadPart", Effect::CloseAfter, ErrorKind::Failed),
        ("UploadPart", Effect::slow_down(), ErrorKind::Unavailable),
        ("UploadPart", Effect::quota_reached(), ErrorKind::QuotaExceeded),
        ("UploadPart", Effect::NoETag, ErrorKind::Failed),
        ("CompleteMultipartUpload", Effect::CloseBefore, ErrorKind::Indeterminate),
        ("CompleteMultipartUpload", Effect::internal_error(), ErrorKind::Indeterminate),
    ] {
        // Of its own: parts that are still on their way would meet the next one's fault.
        let server = FakeS3::start(Personality::Aws).unwrap();
        let (store, _) = examined(&server, Provider::S3).await;
        let label = format!("{operation} {effect:?}");
        server.fault(Fault::new(effect).on(operation));
        let error = put(&store, 2).await.expect_err("the fault is told");
        assert_eq!(error.kind(), kind, "{label}: {error:?}");
        assert_eq!(server.pending_faults(), 0, "{label} was met");
        until(|| server.uploads().is_empty()).await;
        assert!(server.objects().is_empty(), "{label}");
    }
    // Refused by its condition at the very end.
    let server = FakeS3::start(Personality::Aws).unwrap();
    let (store, _) = examined(&server, Provider::S3).await;
    server.put_raw(key().as_str(), Bytes::from_static(b"x"), fake_s3::Headers::default());
    assert_eq!(put(&store, 1).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    until(|| server.uploads().is_empty()).await;
    assert_eq!(server.raw(key().as_str()).unwrap().bytes, "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn taking_back_is_tried_again() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let (store, _) = examined(&server, Provider::S3).await;
    server.fault(Fault::new(Effect::internal_error()).on("UploadPart"));
    server.fault(Fault::new(Effect::CloseBefore).on("AbortMultipartUpload"));
    put(&store, 1).await.unwrap_err();
    until(|| server.uploads().is_empty()).await;
    assert_eq!(server.pending_faults(), 0);
}

/// Its parts never end, so what is under way can be counted; then the caller goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_leaves_nothing() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let (store, _) = examined(&server, Provider::S3).await;
    server.fault(Fault::new(Effect::Hang).on("UploadPart").times(usize::MAX));
    let before = server.requests();
    let upload = tokio::spawn({
        let store = store.clone();
        async move { put(&store, 6).await }
    });
    let parts = || server.requests().since(&before).of("UploadPart");
    until(|| parts() >= AT_ONCE).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(parts(), AT_ONCE, "no more of seven at once");
    assert_eq!(server.uploads().len(), 1);
    upload.abort();
    until(|| server.uploads().is_empty()).await;
    server.clear_faults();

    // Also where nobody had seen its id yet.
    let before = server.requests();
    let slow = Effect::Delay(Duration::from_millis(50));
    server.fault(Fault::new(slow).on("CreateMultipartUpload"));
    let upload = tokio::spawn(async move { put(&store, 1).await });
    until(|| server.requests().since(&before).of("CreateMultipartUpload") == 1).await;
    upload.abort();
    until(|| server.requests().since(&before).of("AbortMultipartUpload") == 1).await;
    until(|| server.uploads().is_empty()).await;
    assert_eq!(server.requests().since(&before).of("UploadPart"), 0);
}

/// The limit is each part's own: a part that hangs is told in the time of what is under way, however
/// large the whole is.
#[tokio::test]
async fn a_part_that_hangs_ends_in_its_own_time() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let (store, _) = examined(&server, Provider::S3).await;
    server.fault(Fault::new(Effect::Hang).on("UploadPart").times(usize::MAX));
    let before = server.requests();
    let upload = tokio::spawn({
        let store = store.clone();
        async move { put(&store, 6).await }
    });
    until(|| server.requests().since(&before).of("UploadPart") == AT_ONCE).await;
    // From here on time goes as far as the next limit at once.
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let error = upload.await.unwrap().unwrap_err();
    let waited = begun.elapsed();
    tokio::time::resume();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    // The configured 10 s, and a second for each MiB under way.
    let limit = Duration::from_secs(10 + AT_ONCE * 8);
    assert!(waited <= limit, "{waited:?} with a limit of {limit:?}");
    assert!(waited >= Duration::from_secs(10), "{waited:?}");
    until(|| server.uploads().is_empty()).await;
}

/// Bodies of unknown length wait in files, and only so many of them are in memory at once.
#[tokio::test(flavor = "multi_thread")]
async fn few_files_are_in_memory_at_once() {
    const ROOM: u64 = 6;
    let server = FakeS3::start(Personality::Aws).unwrap();
    let (store, _) = examined(&server, Provider::S3).await;
    server.fault(Fault::new(Effect::Hang).on("PutObject").times(usize::MAX));
    let before = server.requests();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..2 * ROOM {
        let store = store.clone();
        tasks.spawn(async move {
            let mut writer = SpoolWriter::create_in(&std::env::temp_dir()).unwrap();
            writer.append(b"small").unwrap();
            let key = ObjectKey::new(format!("proofs/{number}"));
            let attributes = Attributes::new("text/plain");
            store.put(&key, writer.finish(), attributes, PutMode::Create).await
        });
    }
    let sent = || server.requests().since(&before).of("PutObject");
    until(|| sent() >= ROOM).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(sent(), ROOM);
}

/// Where this process compares, writers of a key take turns: not for as long as parts are on their
/// way, and yet one of two creates wins.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_the_parts_of_another() {
    let server = FakeS3::start(Personality::Garage).unwrap();
    let (store, _) = examined(&server, Provider::S3).await;
    server.fault(Fault::new(Effect::Delay(Duration::from_millis(500))).on("UploadPart"));
    let before = server.requests();
    let large = tokio::spawn({
        let store = store.clone();
        async move { put(&store, 1).await }
    });
    until(|| server.requests().since(&before).of("UploadPart") >= 1).await;
    let small = Bytes::from_static(b"small").into();
    let attributes = Attributes::new("text/plain");
    store.put(&key(), small, attributes, PutMode::Create).await.expect("it was first");
    assert_eq!(server.requests().since(&before).of("CompleteMultipartUpload"), 0, "no turn waited");
    let refused = large.await.unwrap().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    assert_eq!(server.raw(key().as_str()).unwrap().bytes, "small");
    until(|| server.uploads().is_empty()).await;
    let before = server.requests();
    assert_eq!(put(&store, 1).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert_eq!(server.requests().since(&before).of("UploadPart"), 0, "nothing is sent in vain");
}

/// Some answer the header of a condition with 501. This process has checked it, so it can go without.
#[tokio::test(flavor = "multi_thread")]
async fn a_condition_whose_header_is_refused_is_kept_all_the_same() {
    for operation in ["PutObject", "CompleteMultipartUpload", "CopyObject"] {
        let server = FakeS3::start(Personality::Garage).unwrap();
        let (store, _) = examined(&server, Provider::S3).await;
        let source = ObjectKey::new("proofs/source");
        let bytes = || Bytes::from_static(b"x").into();
        let plain = || Attributes::new("text/plain");
        store.put(&source, bytes(), plain(), PutMode::Overwrite).await.unwrap();
        let create = async || match operation {
            "PutObject" => store.put(&key(), bytes(), plain(), PutMode::Create).await,
            "CopyObject" => store.copy(&source, &key(), PutMode::Create).await,
            _ => put(&store, 1).await,
        };
        let refusal = Effect::error(501, "NotImplemented", "If-None-Match is not implemented");
        server.fault(Fault::new(refusal).on(operation));
        let before = server.requests();
        create().await.unwrap_or_else(|error| panic!("{operation}: {error:?}"));
        assert_eq!(server.requests().since(&before).of(operation), 2, "{operation}");
        assert_eq!(create().await.unwrap_err().kind(), ErrorKind::AlreadyExists, "{operation}");
    }
}

/// A move whose copy is not what it should be keeps its source, and leaves no junk in the way of
/// another try.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_with_a_spoilt_copy_is_as_if_it_never_was() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let (store, _) = examined(&server, Provider::S3).await;
    let (payload, attributes) = large(0);
    store.put(&key(), payload, attributes, PutMode::Create).await.unwrap();
    let moved = ObjectKey::new("proofs/moved");
    server.fault(Fault::new(Effect::FlipBit).on("GetObject").key("moved"));
    let error = store.rename(&key(), &moved, PutMode::Create).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(server.objects().into_keys().collect::<Vec<_>>(), [key().as_str()]);
    store.rename(&key(), &moved, PutMode::Create).await.expect("another try");
    assert_eq!(server.objects().into_keys().collect::<Vec<_>>(), [moved.as_str()]);
}
