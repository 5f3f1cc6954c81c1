//! Reads of a part, and reads of exactly one version.

use super::fixture::{
    Store, accept, assert_same, assert_same_meta, available, expect, key, noise, plain, put,
    refuse, spooled,
};
use crate::model::{ByteRange, ErrorKind, GetOptions, ObjectKey, PutMode, Retrieved, StoreError};

async fn part(
    store: &Store,
    key: &ObjectKey,
    start: usize,
    end: usize,
) -> Result<Retrieved, StoreError> {
    let range = ByteRange { start: start as u64, end: end as u64 };
    store.get(key, GetOptions { range: Some(range), if_match: None }).await
}

pub(super) async fn any_part_is_exact(store: Store) {
    const BORDERS: [usize; 6] = [0, 65_536, 131_072, 262_144, 1_048_576, 2_097_152];
    const SIZE: usize = 2_097_152 + 777;
    let (small, large) = (key("small"), key("large"));
    let (few, many) = (noise(1, 10), noise(2, SIZE));
    put(&store, &small, &few).await;
    let stored = store.put(&large, spooled(&many), plain(), PutMode::Overwrite).await;
    let meta = accept(stored, "a body in a file can be stored").meta;
    let support = store.capabilities().range;
    if !available(support, "range", part(&store, &small, 0, 1).await) {
        return;
    }
    for (start, end) in [(0, 1), (0, 10), (3, 7), (9, 10), (0, 9)] {
        let found = accept(part(&store, &small, start, end).await, "a range inside is read");
        let found = accept(found.body.collect().await, "a range comes without an error");
        assert_same(&found, &few[start..end], "a range gives exactly its bytes");
    }
    let mut ranges = vec![(0, SIZE), (SIZE - 1, SIZE), (SIZE - 778, SIZE), (1, SIZE - 1)];
    for border in BORDERS {
        let near = [border.saturating_sub(1), border, border + 1];
        ranges.extend(near.iter().map(|&at| (at, at + 1)));
        ranges.extend(near.iter().map(|&at| (at, SIZE)));
        ranges.extend(near.iter().filter(|&&at| at > 0).map(|&at| (0, at)));
        ranges.push((border.saturating_sub(300), border + 300));
    }
    ranges.extend([(65_535, 262_145), (65_536, 131_072), (262_144, 1_048_576), (1_000, 1_100_000)]);
    for (start, end) in ranges {
        let found = accept(part(&store, &large, start, end).await, "a range inside is read");
        let rule = "a range comes with the whole object's metadata";
        assert_same_meta(&store, &found.meta, &meta, rule);
        let found = accept(found.body.collect().await, "a range comes without an error");
        let rule = format!("the range {start}..{end} gives exactly its bytes");
        assert_same(&found, &many[start..end], &rule);
    }
}

pub(super) async fn past_the_end_is_invalid(store: Store) {
    let (empty, some) = (key("empty"), key("some"));
    put(&store, &empty, &noise(1, 0)).await;
    put(&store, &some, &noise(1, 100)).await;
    let support = store.capabilities().range;
    if !available(support, "range", part(&store, &some, 0, 101).await) {
        return;
    }
    for (start, end) in [(0, 101), (99, 101), (100, 101), (5000, 5001), (0, usize::MAX)] {
        let tried = part(&store, &some, start, end).await;
        refuse(tried, ErrorKind::Invalid, "a range that reaches past the end is invalid");
    }
    let tried = part(&store, &empty, 0, 1).await;
    refuse(tried, ErrorKind::Invalid, "an empty object has no range");
    let tried = part(&store, &key("none"), 0, 1).await;
    refuse(tried, ErrorKind::NotFound, "a range of a missing object is not found");
}

pub(super) async fn if_match_pins_the_version(store: Store) {
    let (key, first, second) = (key("proofs/a"), noise(1, 300_000), noise(2, 300_000));
    let old = put(&store, &key, &first).await.meta.etag;
    let pinned = |etag| GetOptions { range: None, if_match: Some(etag) };
    let found = accept(store.get(&key, pinned(old.clone())).await, "the pinned version is read");
    assert_eq!(found.meta.etag, old, "metadata is of the pinned version");
    let found = accept(found.body.collect().await, "a pinned body comes without an error");
    assert_same(&found, &first, "a pinned read gives that version's bytes");

    put(&store, &key, &second).await;
    let rule = "a read of a version that is gone is refused";
    refuse(store.get(&key, pinned(old.clone())).await, ErrorKind::PreconditionFailed, rule);
    if store.capabilities().range.is_available() {
        let options =
            GetOptions { range: Some(ByteRange { start: 0, end: 1 }), ..pinned(old.clone()) };
        refuse(store.get(&key, options).await, ErrorKind::PreconditionFailed, rule);
    }
    expect(&store, &key, &second, "the present version is read without a pin").await;
    accept(store.delete(&key, None).await, "a delete succeeds");
    let rule = "a pinned read of a missing object is not found";
    refuse(store.get(&key, pinned(old)).await, ErrorKind::NotFound, rule);
}
