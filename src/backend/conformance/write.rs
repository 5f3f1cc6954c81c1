//! Writes: the three modes, and bytes of every size.

use bytes::Bytes;

use super::fixture::{
    Store, accept, assert_kept, assert_same, assert_same_meta, available, expect, expect_absent,
    key, noise, plain, put, put_with, read, refuse, rich, spooled,
};
use crate::model::{ETag, ErrorKind, PutMode};

pub(super) async fn create_refuses_a_second(store: Store) {
    let (key, first, second) = (key("proofs/a"), noise(1, 100), noise(2, 50));
    let tried = store.put(&key, first.clone().into(), rich(&first), PutMode::Create).await;
    if !store.capabilities().create_only.is_available() {
        available(store.capabilities().create_only, "create_only", tried);
        return expect_absent(&store, &key, "a refused create writes nothing").await;
    }
    let stored = accept(tried, "a create of a new key succeeds");
    assert_ne!(stored.replaced, Some(true), "a create never says that it replaced an object");
    let tried = store.put(&key, second.clone().into(), plain(), PutMode::Create).await;
    refuse(tried, ErrorKind::AlreadyExists, "a create over an object is refused");
    let tried = store.put(&key, first.clone().into(), rich(&first), PutMode::Create).await;
    refuse(tried, ErrorKind::AlreadyExists, "a create over the same bytes is refused too");
    let meta = expect(&store, &key, &first, "a refused create changes nothing").await;
    assert_same_meta(&store, &meta, &stored.meta, "a refused create changes nothing");
}

pub(super) async fn overwrite_replaces_everything(store: Store) {
    let (key, first, second) = (key("proofs/a"), noise(1, 100), noise(2, 50));
    let stored = put_with(&store, &key, &first, rich(&first)).await;
    assert_ne!(stored.replaced, Some(true), "the first write replaces nothing");
    let stored = put(&store, &key, &second).await;
    assert_ne!(stored.replaced, Some(false), "the second write replaces the first");
    let meta = expect(&store, &key, &second, "an overwrite replaces the bytes").await;
    assert_kept(&meta.attributes, &plain(), "an overwrite replaces all attributes");
}

pub(super) async fn replace_needs_exactly_that_version(store: Store) {
    let (key, first, second) = (key("proofs/a"), noise(1, 100), noise(2, 50));
    let old = put(&store, &key, &first).await.meta.etag;
    let put_if = |wanted: &ETag, bytes: &Bytes| {
        let (mode, payload) = (PutMode::Replace(wanted.clone()), bytes.clone().into());
        let (store, key) = (store.clone(), key.clone());
        async move { store.put(&key, payload, plain(), mode).await }
    };
    let tried = put_if(&old, &second).await;
    if !store.capabilities().replace_if_match.is_available() {
        available(store.capabilities().replace_if_match, "replace_if_match", tried);
        expect(&store, &key, &first, "a refused replace writes nothing").await;
        return;
    }
    let new = accept(tried, "a replace of the present version succeeds");
    assert_ne!(new.replaced, Some(false), "a replace says that it replaced an object");
    expect(&store, &key, &second, "a replace takes effect").await;
    let rule = "a replace of another version is refused";
    refuse(put_if(&old, &first).await, ErrorKind::PreconditionFailed, rule);
    let made_up = ETag::new("no-such-version");
    refuse(put_if(&made_up, &first).await, ErrorKind::PreconditionFailed, rule);
    expect(&store, &key, &second, "a refused replace changes nothing").await;

    accept(store.delete(&key, None).await, "a delete succeeds");
    let rule = "a replace of a missing object is refused";
    refuse(put_if(&new.meta.etag, &first).await, ErrorKind::PreconditionFailed, rule);
    expect_absent(&store, &key, rule).await;
}

pub(super) async fn answer_is_what_head_gives(store: Store) {
    let (key, bytes) = (key("proofs/a"), noise(1, 1000));
    let stored = put_with(&store, &key, &bytes, rich(&bytes)).await;
    let head = accept(store.head(&key).await, "a stored object has a head");
    assert_same_meta(&store, &head, &stored.meta, "a write answers what head gives");
    assert_eq!(head.key, key, "metadata names the full key");
    assert_eq!(head.stored_size, 1000, "the stored size is that of the bytes at rest");
    assert_kept(&head.attributes, &rich(&bytes), "attributes come back as they were given");
    assert_eq!(head.provider, store.provider(), "metadata names the store's provider");
    assert_eq!(
        head.version_id.is_some(),
        store.capabilities().versions.is_available(),
        "a version is named exactly where versions are supported"
    );
    let since = head.last_modified.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    assert_eq!(since.subsec_nanos() % 1_000_000, 0, "times are in whole milliseconds");
}

pub(super) async fn every_write_has_its_own_etag(store: Store) {
    let (key, other) = (key("proofs/a"), key("proofs/b"));
    let mut seen = Vec::new();
    for round in 0..8 {
        // Where the ETag tells bytes apart and not writes, each write has bytes of its own.
        let seed = if store.capabilities().unique_etags.is_available() { 1 } else { 2 * round };
        seen.push(put(&store, &key, &noise(seed, 64)).await.meta.etag);
        seen.push(put(&store, &other, &noise(seed + 2, 65)).await.meta.etag);
        if round % 2 == 1 {
            accept(store.delete(&key, None).await, "a delete succeeds");
        }
    }
    let distinct: std::collections::HashSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "every write has an etag of its own: {seen:?}");
}

pub(super) async fn empty_object_is_an_object(store: Store) {
    for (name, payload) in [("bytes", Bytes::new().into()), ("file", spooled(b""))] {
        let key = key(name);
        let stored = store.put(&key, payload, plain(), PutMode::Overwrite).await;
        let stored = accept(stored, "an empty object can be stored");
        assert_eq!(stored.meta.stored_size, 0, "an empty object has no bytes");
        expect(&store, &key, &Bytes::new(), "an empty object is an object").await;
    }
}

/// Sizes at which an implementation may change its ways: packets, pages, chunks.
pub(super) const SIZES: [usize; 15] = [
    1,
    255,
    4095,
    4096,
    65_535,
    65_536,
    65_537,
    131_072,
    262_143,
    262_144,
    262_145,
    1_048_575,
    1_048_576,
    1_048_577,
    5 * 1_048_576 + 13,
];

pub(super) async fn bytes_survive_at_every_size(store: Store) {
    let every_value: Bytes = (0..=255).collect();
    put(&store, &key("every-value"), &every_value).await;
    for size in SIZES {
        let stored = put(&store, &key(size.to_string()), &noise(size as u64, size)).await;
        assert_eq!(stored.meta.stored_size, size as u64, "a write answers the stored size");
    }
    expect(&store, &key("every-value"), &every_value, "every byte value survives").await;
    for size in SIZES {
        let (key, bytes) = (key(size.to_string()), noise(size as u64, size));
        expect(&store, &key, &bytes, "bytes come back as they were stored").await;
    }
}

pub(super) async fn spooled_body_is_stored_whole(store: Store) {
    for size in [1, 65_537, 3 * 1_048_576 + 1] {
        let (key, bytes) = (key(size.to_string()), noise(size as u64, size));
        let payload = spooled(&bytes);
        let stored = store.put(&key, payload.clone(), rich(&bytes), PutMode::Overwrite).await;
        let stored = accept(stored, "a body in a file can be stored");
        let meta = expect(&store, &key, &bytes, "a body in a file is stored whole").await;
        assert_same_meta(&store, &meta, &stored.meta, "a write answers what head gives");
        let again = payload.read_at(0, size).unwrap_or_default();
        assert_same(&again, &bytes, "a payload can be read again after a write");
    }
}

pub(super) async fn shorter_and_longer_bodies_leave_no_rest(store: Store) {
    let key = key("proofs/a");
    for (round, size) in [3_000_000, 10, 200_000, 0, 1_048_577, 1_048_576].into_iter().enumerate() {
        let bytes = noise(round as u64, size);
        put(&store, &key, &bytes).await;
        let (_, found) = read(&store, &key).await.unwrap_or_else(|| {
            panic!("an overwrite leaves an object of {size} bytes, not none");
        });
        assert_same(&found, &bytes, "no byte of an earlier version is left");
    }
}
