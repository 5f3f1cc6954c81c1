//! The store as its callers see it: operations, restarts, races.

mod crash;
mod full;
mod snapshots;
mod sweep;

use std::collections::BTreeMap;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, future};

use super::*;

use crate::model::ByteRange;

fn options(path: &Path) -> Options {
    Options {
        data_dir: path.to_owned(),
        cache_bytes: 4 << 20,
        disk_reserve_bytes: 1 << 20,
        observer: Arc::new(Unobserved),
    }
}

fn open(path: &Path) -> Embedded {
    Embedded::open(options(path)).unwrap()
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name)
}

/// Bytes that differ at every place and for every seed.
fn noise(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

async fn put(
    store: &Embedded,
    name: &str,
    bytes: &Bytes,
    mode: PutMode,
) -> Result<Stored, StoreError> {
    let attributes = Attributes::new("text/plain");
    store.put(&key(name), bytes.clone().into(), attributes, mode).await
}

async fn bytes_of(body: Body) -> Result<Bytes, StoreError> {
    let mut stream = match body {
        Body::Bytes(bytes) => return Ok(bytes),
        Body::Stream(stream) => stream,
    };
    let mut all = BytesMut::new();
    while let Some(piece) = stream.next().await {
        all.extend_from_slice(&piece?);
    }
    Ok(all.freeze())
}

async fn read(store: &Embedded, name: &str) -> Result<Bytes, StoreError> {
    bytes_of(store.get(&key(name), GetOptions::default()).await?.body).await
}

#[tokio::test]
async fn bodies_of_every_shape_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let chunk = body::CHUNK_BYTES as usize;
    let sizes = [0, 1, 1023, 1024, 65_536, 1 << 20, (1 << 20) + 1, 3 * chunk, 3 * chunk + 7];
    {
        let store = open(folder.path());
        for size in sizes {
            put(&store, &format!("a/{size}"), &noise(size as u64, size), PutMode::Create)
                .await
                .unwrap();
        }
    }
    let store = open(folder.path());
    for size in sizes {
        let bytes = noise(size as u64, size);
        assert_eq!(read(&store, &format!("a/{size}")).await.unwrap(), bytes, "{size}");
        for (start, end) in [(0, 1), (size / 2, size), (size.saturating_sub(1), size)] {
            if start >= end || end > size {
                continue;
            }
            let range = Some(ByteRange { start: start as u64, end: end as u64 });
            let options = GetOptions { range, if_match: None };
            let part = store.get(&key(&format!("a/{size}")), options).await.unwrap().body;
            assert_eq!(bytes_of(part).await.unwrap(), bytes[start..end], "{size} {start}..{end}");
        }
    }
    let usage = store.usage().await.unwrap();
    assert_eq!(usage.objects, sizes.len() as u64);
    assert_eq!(usage.stored_bytes, sizes.iter().sum::<usize>() as u64);
    assert!(store.damage().is_empty());
}

#[tokio::test]
async fn of_many_racing_creates_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for round in 0..20 {
        let name = format!("race/{round}");
        let bodies: Vec<_> = (0..16).map(|i| noise(i, 100 + i as usize)).collect();
        let puts = bodies.iter().map(|bytes| put(&store, &name, bytes, PutMode::Create));
        let results = future::join_all(puts).await;
        let winners: Vec<_> = (0..16).filter(|i| results[*i].is_ok()).collect();
        assert_eq!(winners.len(), 1);
        assert_eq!(read(&store, &name).await.unwrap(), bodies[winners[0]]);
    }
    assert_eq!(store.usage().await.unwrap().objects, 20);
}

#[tokio::test]
async fn operations_on_one_key_in_one_group_leave_exact_counters() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for round in 0..30_u64 {
        let bytes = noise(round, 2000);
        let (_, _, _, _) = tokio::join!(
            put(&store, "k", &bytes, PutMode::Overwrite),
            async { store.delete(&key("k"), None).await },
            put(&store, "k", &bytes, PutMode::Overwrite),
            async { store.rename(&key("k"), &key("l"), PutMode::Overwrite).await },
        );
    }
    let mut expected = (0, 0);
    for name in ["k", "l"] {
        if let Ok(meta) = store.head(&key(name)).await {
            expected = (expected.0 + 1, expected.1 + meta.stored_size);
            read(&store, name).await.unwrap();
        }
    }
    let usage = store.usage().await.unwrap();
    assert_eq!((usage.objects, usage.stored_bytes), expected);
    let rows = store.shared.engine.body.len().unwrap();
    assert_eq!(rows as u64, usage.objects, "no body is left behind");
}

#[tokio::test]
async fn refused_large_upload_leaves_no_chunks() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let large = noise(1, 3 << 20);
    put(&store, "big", &large, PutMode::Create).await.unwrap();
    let rows = store.shared.engine.body.len().unwrap();
    let refused = put(&store, "big", &large, PutMode::Create).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
    store.close();
    assert_eq!(store.shared.engine.body.len().unwrap(), rows);
    assert!(store.shared.engine.uploads.is_empty().unwrap());
    let late = put(&store, "later", &large, PutMode::Create).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::Unavailable, "a closed store takes no writes");
    assert_eq!(read(&store, "big").await.unwrap(), large, "but still reads");
}

#[tokio::test]
async fn a_lost_version_marker_is_mended_and_clears_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let bytes = noise(1, 1000);
    put(&store, "k", &bytes, PutMode::Create).await.unwrap();
    drop(store);
    std::fs::remove_file(folder.path().join("engine/version")).unwrap();
    let store = open(folder.path());
    assert_eq!(read(&store, "k").await.unwrap(), bytes);
    assert_eq!(store.damage().len(), 1, "{:?}", store.damage());
}
