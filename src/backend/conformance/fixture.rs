//! What the cases share: bytes that show any mix-up, and calls that name the rule they need.

use std::fmt::Debug;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use tokio::sync::Barrier;

use crate::backend::Backend;
use crate::model::{
    Attributes, Digest, Encoding, Encryption, ErrorKind, GetOptions, ListRequest, ObjectKey,
    ObjectMeta, Payload, PutMode, Representation, SpoolWriter, StoreError, Stored, Support,
};

pub(super) type Store = Arc<dyn Backend>;

/// How far a remote store's clock may be from ours.
const CLOCK_SLACK: Duration = Duration::from_secs(60);

pub(super) fn key(name: impl AsRef<str>) -> ObjectKey {
    ObjectKey::new(name.as_ref())
}

/// Bytes that are different at every place and for every seed, so that any shift shows.
pub(super) fn noise(seed: u64, length: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(length + 8);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while bytes.len() < length {
        // xorshift64*: never repeats within a body.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes.freeze()
}

/// The same bytes as an unnamed file.
pub(super) fn spooled(bytes: &[u8]) -> Payload {
    let mut writer = SpoolWriter::create_in(&std::env::temp_dir())
        .expect("the suite needs a folder for temporary files");
    writer.append(bytes).expect("the suite needs room for temporary files");
    writer.finish()
}

pub(super) fn plain() -> Attributes {
    Attributes::new("application/json")
}

/// Attributes in which every field that any store must keep says something, fit for the bytes.
pub(super) fn rich(bytes: &[u8]) -> Attributes {
    let mut attributes = Attributes::new("application/json; charset=utf-8");
    attributes.encoding = Encoding::Gzip;
    attributes.cache_control = Some("public, max-age=31536000, immutable".into());
    attributes.metadata.insert("issuer".into(), "proofs inc.".into());
    attributes.metadata.insert("empty".into(), String::new());
    attributes.representation = Some(Representation {
        sha256: Digest::of(b"what the caller sent"),
        size: bytes.len() as u64 * 3 + 7,
        stored_sha256: Digest::of(bytes),
    });
    attributes
}

/// Writes over whatever is there; must succeed.
pub(super) async fn put(store: &Store, key: &ObjectKey, bytes: &Bytes) -> Stored {
    put_with(store, key, bytes, plain()).await
}

/// Writes many at once, each its own bytes; all must succeed.
pub(super) async fn put_all(store: &Store, names: impl IntoIterator<Item = impl AsRef<str>>) {
    let puts = names.into_iter().enumerate().map(|(index, name)| async move {
        put(store, &key(name), &noise(index as u64, 16 + index % 50)).await;
    });
    join_all(puts).await;
}

pub(super) async fn put_with(
    store: &Store,
    key: &ObjectKey,
    bytes: &Bytes,
    attributes: Attributes,
) -> Stored {
    let stored = store.put(key, bytes.clone().into(), attributes, PutMode::Overwrite).await;
    accept(stored, "an overwrite always succeeds")
}

/// Metadata and bytes of an object, checked against each other; `None` where there is none.
pub(super) async fn read(store: &Store, key: &ObjectKey) -> Option<(ObjectMeta, Bytes)> {
    let retrieved = match store.get(key, GetOptions::default()).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        other => accept(other, "a read answers or says not found"),
    };
    let bytes = accept(retrieved.body.collect().await, "a whole body comes without an error");
    assert_eq!(
        retrieved.meta.stored_size,
        bytes.len() as u64,
        "the body of a read has as many bytes as its metadata says"
    );
    assert_eq!(&retrieved.meta.key, key, "a read names the key that was asked for");
    Some((retrieved.meta, bytes))
}

/// The same of an object that others may be writing: a stream may end in an error then, and the
/// read is tried again.
pub(super) async fn read_raced(store: &Store, key: &ObjectKey) -> Option<(ObjectMeta, Bytes)> {
    for _ in 0..1000 {
        let retrieved = match store.get(key, GetOptions::default()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            other => accept(other, "a read answers or says not found"),
        };
        if let Ok(bytes) = retrieved.body.collect().await {
            let rule = "a body that ends without an error is whole";
            assert_eq!(retrieved.meta.stored_size, bytes.len() as u64, "{rule}");
            return Some((retrieved.meta, bytes));
        }
        tokio::task::yield_now().await;
    }
    panic!("some read of an object that is being written comes through");
}

/// The object must be there with exactly these bytes.
pub(super) async fn expect(
    store: &Store,
    key: &ObjectKey,
    bytes: &Bytes,
    rule: &str,
) -> ObjectMeta {
    let Some((meta, found)) = read(store, key).await else {
        panic!("{rule}: {key:?} is not found");
    };
    assert_same(&found, bytes, rule);
    let head = accept(store.head(key).await, rule);
    assert_eq!(head, meta, "head and get say the same of an object that nobody changes");
    meta
}

/// Nothing may be there, by any way of looking.
pub(super) async fn expect_absent(store: &Store, key: &ObjectKey, rule: &str) {
    refuse(store.head(key).await, ErrorKind::NotFound, rule);
    refuse(store.get(key, GetOptions::default()).await, ErrorKind::NotFound, rule);
    let request = ListRequest { prefix: key.to_string(), delimiter: None, limit: 1, after: None };
    let page = accept(store.list(&request).await, "a list answers");
    let listed = page.items.first().is_some_and(|item| item.key == *key);
    assert!(!listed, "{rule}: {key:?} is still listed");
}

/// What was answered to a write, and what is read later. Where times are not exact they may differ
/// by the seconds that a backend's clock is off.
pub(super) fn assert_same_meta(store: &Store, found: &ObjectMeta, wanted: &ObjectMeta, rule: &str) {
    let mut wanted = wanted.clone();
    if !store.capabilities().exact_times.is_available() {
        let (a, b) = (found.last_modified, wanted.last_modified);
        let apart = a.duration_since(b).or_else(|_| b.duration_since(a)).unwrap_or_default();
        assert!(apart < CLOCK_SLACK, "{rule}: times are {apart:?} apart");
        wanted.last_modified = found.last_modified;
    }
    assert_eq!(*found, wanted, "{rule}");
}

/// Attributes as they were given. A store may encrypt what asked for no encryption, and gives no
/// name to the class that everything has.
pub(super) fn assert_kept(found: &Attributes, wanted: &Attributes, rule: &str) {
    let mut wanted = wanted.clone();
    if wanted.encryption == Encryption::None {
        wanted.encryption = found.encryption;
    }
    if wanted.storage_class.as_deref() == Some("STANDARD") && found.storage_class.is_none() {
        wanted.storage_class = None;
    }
    assert_eq!(*found, wanted, "{rule}");
}

/// Compares without printing megabytes.
pub(super) fn assert_same(found: &[u8], wanted: &[u8], rule: &str) {
    if found == wanted {
        return;
    }
    let at = found.iter().zip(wanted).position(|(a, b)| a != b);
    panic!(
        "{rule}: {} bytes where {} were expected, first difference at {at:?}",
        found.len(),
        wanted.len()
    );
}

/// The call must succeed.
pub(super) fn accept<T>(result: Result<T, StoreError>, rule: &str) -> T {
    result.unwrap_or_else(|error| panic!("{rule}: refused with {error:?}"))
}

/// The call must fail in exactly this way.
pub(super) fn refuse<T: Debug>(result: Result<T, StoreError>, kind: ErrorKind, rule: &str) {
    match result {
        Ok(answer) => panic!("{rule}: expected {kind:?}, got {answer:?}"),
        Err(error) => assert_eq!(error.kind(), kind, "{rule}: {error:?}"),
    }
}

/// Where the store lacks a feature the call must be refused; else `true`, and the case goes on.
pub(super) fn available<T: Debug>(
    support: Support,
    feature: &str,
    tried: Result<T, StoreError>,
) -> bool {
    if support.is_available() {
        return true;
    }
    refuse(tried, ErrorKind::Unsupported, &format!("what is not supported is refused ({feature})"));
    false
}

/// Starts `count` calls at the same instant, each in its own task; answers in their order.
pub(super) async fn race<F, Fut, T>(count: usize, call: F) -> Vec<T>
where
    F: Fn(usize) -> Fut,
    Fut: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let barrier = Arc::new(Barrier::new(count));
    let tasks: Vec<_> = (0..count)
        .map(|index| {
            let (barrier, call) = (Arc::clone(&barrier), call(index));
            tokio::spawn(async move {
                barrier.wait().await;
                call.await
            })
        })
        .collect();
    let mut answers = Vec::with_capacity(count);
    for task in tasks {
        answers.push(joined(task.await));
    }
    answers
}

/// Passes a task's panic on, so that the case fails with the rule that the task named.
pub(super) fn joined<T>(result: Result<T, tokio::task::JoinError>) -> T {
    result.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}
