//! Copy and rename: bytes and attributes arrive whole, and modes guard the destination.

use super::fixture::{
    Store, accept, assert_kept, assert_same_meta, expect, expect_absent, key, noise, plain, put,
    put_with, read, refuse, rich,
};
use crate::model::{ETag, ErrorKind, ObjectKey, PutMode, StoreError, Stored};

/// The two calls that share most of their rules.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Copy,
    Rename,
}

const WAYS: [Way; 2] = [Way::Copy, Way::Rename];

impl Way {
    async fn call(
        self,
        store: &Store,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        match self {
            Self::Copy => store.copy(source, destination, mode).await,
            Self::Rename => store.rename(source, destination, mode).await,
        }
    }
}

pub(super) async fn copy_leaves_the_source(store: Store) {
    let (source, destination, bytes) = (key("proofs/a"), key("moved/b"), noise(1, 1000));
    let before = put_with(&store, &source, &bytes, rich(&bytes)).await.meta;
    let stored = accept(
        store.copy(&source, &destination, PutMode::Overwrite).await,
        "a copy to a new key succeeds",
    );
    assert_ne!(stored.replaced, Some(true), "a copy to a new key replaces nothing");
    let meta = expect(&store, &destination, &bytes, "a copy has the bytes").await;
    assert_same_meta(&store, &meta, &stored.meta, "a copy answers what head gives");
    assert_eq!(meta.attributes, before.attributes, "a copy has the attributes");
    if store.capabilities().unique_etags.is_available() {
        assert_ne!(meta.etag, before.etag, "a copy is a version of its own");
    }
    let source = expect(&store, &source, &bytes, "a copy leaves the source").await;
    assert_same_meta(&store, &source, &before, "a copy leaves the source as it was");
}

pub(super) async fn salvage_keeps_the_bytes_and_leaves_the_source(store: Store) {
    let (source, aside, bytes) = (key("proofs/a"), key("aside/b"), noise(1, 1000));
    let before = put_with(&store, &source, &bytes, rich(&bytes)).await.meta;
    for _ in 0..2 {
        accept(store.salvage(&source, &aside).await, "what is there is kept, and kept again");
    }
    expect(&store, &aside, &bytes, "what is kept aside has the bytes").await;
    let after = expect(&store, &source, &bytes, "salvage leaves the source").await;
    assert_same_meta(&store, &after, &before, "salvage leaves the source as it was");
    let nothing = store.salvage(&key("missing"), &key("nowhere")).await;
    refuse(nothing, ErrorKind::NotFound, "nothing can be kept of what is not there");
}

pub(super) async fn rename_removes_the_source(store: Store) {
    let (source, destination, bytes) = (key("proofs/a"), key("moved/b"), noise(1, 1000));
    let before = put_with(&store, &source, &bytes, rich(&bytes)).await.meta;
    let stored = accept(
        store.rename(&source, &destination, PutMode::Overwrite).await,
        "a rename to a new key succeeds",
    );
    assert_ne!(stored.replaced, Some(true), "a rename to a new key replaces nothing");
    expect_absent(&store, &source, "a rename removes the source").await;
    let meta = expect(&store, &destination, &bytes, "a rename keeps the bytes").await;
    assert_same_meta(&store, &meta, &stored.meta, "a rename answers what head gives");
    assert_eq!(meta.attributes, before.attributes, "a rename keeps the attributes");
    accept(
        store.rename(&destination, &source, PutMode::Overwrite).await,
        "a rename can be taken back",
    );
    expect_absent(&store, &destination, "a rename removes the source").await;
    expect(&store, &source, &bytes, "a rename keeps the bytes").await;
}

pub(super) async fn missing_source_is_not_found(store: Store) {
    let (none, fresh, present) = (key("none"), key("fresh"), key("present"));
    let bytes = noise(1, 100);
    let before = put(&store, &present, &bytes).await.meta;
    for way in WAYS {
        let rule = format!("{way:?} of a missing source is not found");
        let tried = way.call(&store, &none, &fresh, PutMode::Overwrite).await;
        refuse(tried, ErrorKind::NotFound, &rule);
        expect_absent(&store, &fresh, &rule).await;
        let tried = way.call(&store, &none, &present, PutMode::Overwrite).await;
        refuse(tried, ErrorKind::NotFound, &rule);
        let meta = expect(&store, &present, &bytes, "the destination stays as it was").await;
        assert_same_meta(&store, &meta, &before, "the destination stays as it was");
    }
}

pub(super) async fn create_spares_the_destination(store: Store) {
    let can = store.capabilities().create_only.is_available();
    for way in WAYS {
        let names = ["source", "present", "fresh"].map(|name| key(format!("{way:?}/{name}")));
        let [source, present, fresh] = names;
        let (ours, theirs) = (noise(1, 100), noise(2, 200));
        put(&store, &source, &ours).await;
        let before = put_with(&store, &present, &theirs, rich(&theirs)).await.meta;
        let kind = if can { ErrorKind::AlreadyExists } else { ErrorKind::Unsupported };
        let rule = format!("{way:?} with create spares an object at the destination");
        refuse(way.call(&store, &source, &present, PutMode::Create).await, kind, &rule);
        let meta = expect(&store, &present, &theirs, &rule).await;
        assert_same_meta(&store, &meta, &before, &rule);
        expect(&store, &source, &ours, "a refused move leaves the source").await;
        if can {
            let rule = format!("{way:?} with create succeeds where nothing is");
            accept(way.call(&store, &source, &fresh, PutMode::Create).await, &rule);
            expect(&store, &fresh, &ours, &rule).await;
        }
    }
}

pub(super) async fn overwrite_and_replace_of_the_destination(store: Store) {
    let can = store.capabilities().replace_if_match.is_available();
    for way in WAYS {
        let (source, destination) = (key(format!("{way:?}/a")), key(format!("{way:?}/b")));
        let (ours, theirs) = (noise(1, 1_500_000), noise(2, 2_500_000));
        put(&store, &destination, &theirs).await;
        put_with(&store, &source, &ours, rich(&ours)).await;
        let rule = format!("{way:?} overwrites the destination");
        let moved = way.call(&store, &source, &destination, PutMode::Overwrite).await;
        let moved = accept(moved, &rule);
        assert_ne!(moved.replaced, Some(false), "{rule} and says so");
        let meta = expect(&store, &destination, &ours, &rule).await;
        assert_kept(&meta.attributes, &rich(&ours), &format!("{rule}, attributes too"));

        put(&store, &source, &theirs).await;
        let wrong = PutMode::Replace(ETag::new("no-such-version"));
        let right = PutMode::Replace(moved.meta.etag);
        let missing = key(format!("{way:?}/none"));
        let kind = if can { ErrorKind::PreconditionFailed } else { ErrorKind::Unsupported };
        let rule = format!("{way:?} replaces exactly the version that was named");
        refuse(way.call(&store, &source, &destination, wrong.clone()).await, kind, &rule);
        refuse(way.call(&store, &source, &missing, right.clone()).await, kind, &rule);
        expect_absent(&store, &missing, &rule).await;
        expect(&store, &destination, &ours, &rule).await;
        expect(&store, &source, &theirs, "a refused move leaves the source").await;
        if can {
            accept(way.call(&store, &source, &destination, right).await, &rule);
            let meta = expect(&store, &destination, &theirs, &rule).await;
            assert_kept(&meta.attributes, &plain(), &format!("{rule}, attributes too"));
        }
        let left = read(&store, &source).await.is_some();
        assert_eq!(left, !can || way == Way::Copy, "{way:?} removes the source only on success");
    }
}

pub(super) async fn onto_itself_is_invalid(store: Store) {
    let (key, bytes) = (key("proofs/a"), noise(1, 1_500_000));
    let before = put_with(&store, &key, &bytes, rich(&bytes)).await.meta;
    for way in WAYS {
        for mode in [PutMode::Overwrite, PutMode::Create, PutMode::Replace(before.etag.clone())] {
            let rule = format!("{way:?} of a key onto itself is invalid");
            refuse(way.call(&store, &key, &key, mode).await, ErrorKind::Invalid, &rule);
            let meta = expect(&store, &key, &bytes, &rule).await;
            assert_same_meta(&store, &meta, &before, &rule);
        }
    }
}

pub(super) async fn large_bodies_travel_whole(store: Store) {
    for way in WAYS {
        for size in [65_536, 65_537, 262_145, 1_048_576, 5 * 1_048_576 + 13] {
            let (source, destination) = (key(format!("{way:?}/a")), key(format!("{way:?}/b")));
            let bytes = noise(size as u64, size);
            put(&store, &source, &bytes).await;
            let rule = format!("{way:?} takes all of {size} bytes along");
            accept(way.call(&store, &source, &destination, PutMode::Overwrite).await, &rule);
            expect(&store, &destination, &bytes, &rule).await;
        }
    }
}

pub(super) async fn copies_are_independent(store: Store) {
    let (a, b, c) = (key("a"), key("b"), key("c"));
    let (first, second) = (noise(1, 1_300_000), noise(2, 1_300_000));
    put(&store, &a, &first).await;
    accept(store.copy(&a, &b, PutMode::Overwrite).await, "a copy succeeds");
    accept(store.copy(&b, &c, PutMode::Overwrite).await, "a copy of a copy succeeds");
    put(&store, &a, &second).await;
    expect(&store, &b, &first, "a copy outlives an overwrite of its source").await;
    accept(store.delete(&a, None).await, "a delete succeeds");
    accept(store.delete(&b, None).await, "a delete succeeds");
    expect(&store, &c, &first, "a copy outlives a delete of its source").await;
    accept(store.rename(&c, &a, PutMode::Overwrite).await, "a rename succeeds");
    expect(&store, &a, &first, "a renamed copy keeps its bytes").await;
}
