//! What readers see while commits are under way and the engine's worker is busy.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use fjall::Snapshot;

use super::*;

/// Replacements of one object, each with a body of its own.
const REPLACEMENTS: u64 = 200;

/// Replaces an object again and again, has the worker flush all the while, and counts the snapshots whose record
/// names a body that they do not have.
async fn torn(take: fn(&Shared) -> Snapshot) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()));
    put(&store, "a", &noise(0, 100_000), PutMode::Overwrite).await.unwrap();
    let (done, torn) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut threads = Vec::new();
    for _ in 0..2 {
        let (store, done, torn) = (Arc::clone(&store), Arc::clone(&done), Arc::clone(&torn));
        threads.push(std::thread::spawn(move || {
            while !done.load(Ordering::Acquire) {
                let snapshot = take(&store.shared);
                let record = store.shared.engine.record(&snapshot, &key("a")).unwrap().unwrap();
                // Long enough for the commit under way to come to its end.
                std::thread::sleep(Duration::from_millis(5));
                let body = store.shared.engine.body_row(&snapshot, &record.header.body, 0).unwrap();
                torn.fetch_add(u64::from(body.is_none()), Ordering::AcqRel);
            }
        }));
    }
    let (flushed, flushing) = (Arc::clone(&store), Arc::clone(&done));
    threads.push(std::thread::spawn(move || {
        while !flushing.load(Ordering::Acquire) {
            // Of the smallest keyspace, which each commit writes to.
            flushed.shared.engine.system.rotate_memtable().unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
    }));
    for number in 1..REPLACEMENTS {
        put(&store, "a", &noise(number, 100_000), PutMode::Overwrite).await.unwrap();
    }
    done.store(true, Ordering::Release);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    torn.load(Ordering::Acquire)
}

#[tokio::test]
async fn a_record_that_is_seen_has_its_body() {
    assert_eq!(torn(Shared::snapshot).await, 0);
    // The control: one that the engine gives while a commit is under way.
    let mut found = 0;
    for _ in 0..10 {
        found += torn(|shared| shared.engine.db.snapshot()).await;
        if found > 0 {
            break;
        }
    }
    assert!(found > 0, "the engine gives out whole snapshots only: then ours are not needed");
}
