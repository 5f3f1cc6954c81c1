//! Bodies under way: a stream may end in an error, never in other bytes.

use futures_util::StreamExt as _;

use super::fixture::{Store, accept, assert_same, expect, expect_absent, key, noise, put};
use crate::model::{Body, BodyStream, GetOptions, ObjectKey, PutMode};

/// More than any store holds ready at once.
const SIZE: usize = 12 * 1_048_576 + 5;

/// Begins a read: its first piece and the rest, which is absent where all came at once.
async fn begin(store: &Store, key: &ObjectKey) -> (Vec<u8>, Option<BodyStream>) {
    let found = accept(store.get(key, GetOptions::default()).await, "an object is read");
    match found.body {
        Body::Bytes(bytes) => (bytes.to_vec(), None),
        Body::Stream(mut stream) => {
            let first = stream.next().await;
            let first = first.unwrap_or_else(|| panic!("a stream of {SIZE} bytes has a piece"));
            (accept(first, "the first piece comes without an error").to_vec(), Some(stream))
        }
    }
}

/// Reads on after the object was changed: the bytes that were begun with, or an error.
async fn finish(begun: (Vec<u8>, Option<BodyStream>), wanted: &[u8], rule: &str) {
    let (mut bytes, stream) = begun;
    let Some(mut stream) = stream else { return assert_same(&bytes, wanted, rule) };
    while let Some(piece) = stream.next().await {
        let Ok(piece) = piece else {
            return assert_same(&bytes, &wanted[..bytes.len()], rule);
        };
        bytes.extend_from_slice(&piece);
        assert!(bytes.len() <= wanted.len(), "{rule}: more bytes than the object had");
    }
    assert_same(&bytes, wanted, rule);
}

pub(super) async fn dropped_early_harms_nothing(store: Store) {
    let (key, bytes) = (key("proofs/a"), noise(1, SIZE));
    put(&store, &key, &bytes).await;
    for _ in 0..4 {
        drop(begin(&store, &key).await);
        drop(store.get(&key, GetOptions::default()).await);
    }
    expect(&store, &key, &bytes, "an object survives readers that give up").await;
    drop(begin(&store, &key).await);
    accept(store.delete(&key, None).await, "a delete succeeds");
    expect_absent(&store, &key, "a deleted object is gone").await;
}

pub(super) async fn deleted_meanwhile(store: Store) {
    let (source, moved, bytes) = (key("proofs/a"), key("proofs/b"), noise(1, SIZE));
    let rule = "a stream of a deleted object gives its bytes or an error";
    put(&store, &source, &bytes).await;
    let begun = begin(&store, &source).await;
    accept(store.delete(&source, None).await, "an object can be deleted while it is read");
    put(&store, &key("proofs/other"), &noise(2, SIZE)).await;
    finish(begun, &bytes, rule).await;

    put(&store, &source, &bytes).await;
    let begun = begin(&store, &source).await;
    let tried = store.rename(&source, &moved, PutMode::Overwrite).await;
    accept(tried, "an object can be renamed while it is read");
    finish(begun, &bytes, "a stream of a renamed object gives its bytes or an error").await;
    expect(&store, &moved, &bytes, "a rename while reading keeps the bytes").await;
}

pub(super) async fn overwritten_meanwhile(store: Store) {
    let (key, old) = (key("proofs/a"), noise(1, SIZE));
    put(&store, &key, &old).await;
    for round in 2..5 {
        // The same length: any mix of the two versions would go unnoticed by its size.
        let new = noise(round, SIZE);
        put(&store, &key, &old).await;
        let begun = begin(&store, &key).await;
        put(&store, &key, &new).await;
        finish(begun, &old, "a stream never goes on with bytes of a later version").await;
        expect(&store, &key, &new, "an overwrite takes effect while the old is read").await;
    }
}
