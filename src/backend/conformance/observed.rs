//! What others see while something is being written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::fixture::{
    Store, accept, assert_kept, assert_same, assert_same_meta, expect, expect_absent, joined, key,
    noise, plain, put, put_with, race, read_raced,
};
use crate::model::{Attributes, ErrorKind, ListRequest, ObjectKey, PutMode, Support};

/// Runs an observer again and again: before the writer starts, while it runs, and once after.
async fn observe<O, F, W>(observer: O, writer: W)
where
    O: Fn() -> F + Send + 'static,
    F: Future<Output = ()> + Send,
    W: Future<Output = ()>,
{
    let done = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&done);
    let (started, start) = oneshot::channel();
    let watching = tokio::spawn(async move {
        observer().await;
        let _ = started.send(());
        loop {
            let last = seen.load(Ordering::Acquire);
            observer().await;
            if last {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    // An error means that the observer has panicked: the join below passes that on.
    let _ = start.await;
    writer.await;
    done.store(true, Ordering::Release);
    joined(watching.await);
}

pub(super) async fn writes_are_read_at_once(store: Store) {
    race(32, move |index| {
        let store = store.clone();
        async move {
            let key = key(format!("proofs/{index}"));
            for round in 0..12 {
                let bytes = noise(index as u64 * 100 + round, 500 + index * 4000);
                let stored = put(&store, &key, &bytes).await;
                let meta = expect(&store, &key, &bytes, "a write is read at once").await;
                assert_same_meta(&store, &meta, &stored.meta, "a write is read at once");
                if round % 3 == 2 {
                    accept(store.delete(&key, None).await, "a delete succeeds");
                    expect_absent(&store, &key, "a delete is seen at once").await;
                }
            }
        }
    })
    .await;
}

/// Bytes and attributes that belong together: the version is the seed and is named in both.
fn version(number: u64) -> (Bytes, Attributes) {
    let size = 200_000 + (number as usize % 3) * 60_000;
    let mut attributes = plain();
    attributes.metadata.insert("version".into(), number.to_string());
    attributes.metadata.insert("size".into(), size.to_string());
    (noise(number, size), attributes)
}

async fn check_version(store: &Store, key: &ObjectKey) {
    let Some((meta, bytes)) = read_raced(store, key).await else {
        panic!("an object that is only overwritten is never missing");
    };
    let number = meta.attributes.metadata.get("version").and_then(|text| text.parse().ok());
    let Some(number) = number else { panic!("attributes are of some write") };
    let (wanted, attributes) = version(number);
    assert_same(&bytes, &wanted, "bytes and attributes are of the same write");
    assert_kept(&meta.attributes, &attributes, "attributes are of one write");
}

pub(super) async fn overwrites_are_never_mixed(store: Store) {
    let key = key("proofs/a");
    let (bytes, attributes) = version(0);
    put_with(&store, &key, &bytes, attributes).await;
    let (readers, raced) = (store.clone(), key.clone());
    let observer = move || {
        let (store, key) = (readers.clone(), raced.clone());
        async move { check_version(&store, &key).await }
    };
    observe(observer, async {
        for number in 1..60 {
            let (bytes, attributes) = version(number);
            put_with(&store, &key, &bytes, attributes).await;
        }
    })
    .await;
}

pub(super) async fn overwritten_sources_are_copied_whole(store: Store) {
    for base in [1_000, 1_100_000] {
        let source = key(format!("{base}/source"));
        // The length tells the version.
        let version = move |number: usize| noise(number as u64, base + number);
        put(&store, &source, &version(0)).await;
        let (copier, from) = (store.clone(), source.clone());
        let observer = move || {
            let (store, from, to) = (copier.clone(), from.clone(), key(format!("{base}/copy")));
            async move {
                let rule = "a source that is only overwritten can always be copied";
                let copied = accept(store.copy(&from, &to, PutMode::Overwrite).await, rule);
                let rule = "a copy has the bytes of one write of its source";
                let number = (copied.meta.stored_size as usize).saturating_sub(base);
                let meta = expect(&store, &to, &version(number), rule).await;
                let rule = "a copy answers what head gives";
                assert_same_meta(&store, &meta, &copied.meta, rule);
            }
        };
        observe(observer, async {
            for number in 1..60 {
                put(&store, &source, &version(number)).await;
            }
        })
        .await;
    }
}

pub(super) async fn renames_are_never_seen_half(store: Store) {
    let exact = store.capabilities().atomic_move == Support::Native;
    for round in 0..24 {
        let (source, destination) = (key(format!("{round}/a")), key(format!("{round}/b")));
        let bytes = noise(round, if round % 2 == 0 { 1000 } else { 1_200_000 });
        put(&store, &source, &bytes).await;
        let (watched, from, to) = (store.clone(), source.clone(), destination.clone());
        let observer = move || {
            let (store, from, to) = (watched.clone(), from.clone(), to.clone());
            async move { look(&store, &from, &to, exact).await }
        };
        observe(observer, async {
            let tried = store.rename(&source, &destination, PutMode::Overwrite).await;
            accept(tried, "a rename succeeds");
        })
        .await;
        expect(&store, &destination, &bytes, "a rename keeps the bytes").await;
    }
}

/// There is one rename only, from `from` to `to`: what is seen first limits what may be seen next.
async fn look(store: &Store, from: &ObjectKey, to: &ObjectKey, exact: bool) {
    let there = async |key: &ObjectKey| match store.head(key).await {
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        other => accept(other.map(|_| true), "a head answers"),
    };
    if !there(from).await {
        assert!(there(to).await, "a rename is never seen with neither name");
    }
    if exact && there(to).await {
        assert!(!there(from).await, "an atomic rename is never seen with both names");
    }
    let folder = from.as_str().split_inclusive('/').next().unwrap_or_default().to_owned();
    let request = ListRequest { prefix: folder, delimiter: None, limit: 10, after: None };
    let page = accept(store.list(&request).await, "a list answers");
    let names: Vec<_> = page.items.iter().map(|item| item.key.as_str()).collect();
    assert!(!exact || names.len() == 1, "a list shows exactly one name of a rename: {names:?}");
}

pub(super) async fn lists_are_whole_while_written(store: Store) {
    for index in 0..40_u64 {
        let (bytes, attributes) = version(index);
        put_with(&store, &key(format!("stable/{index:02}")), &bytes, attributes).await;
    }
    let watched = store.clone();
    let observer = move || {
        let store = watched.clone();
        async move { check_listing(&store).await }
    };
    observe(observer, async {
        for number in 0..120_u64 {
            let (bytes, attributes) = version(number);
            let churned = key(format!("stable/{:02}x", number * 7 % 40));
            put_with(&store, &churned, &bytes, attributes).await;
            if number % 3 == 0 {
                accept(store.delete(&churned, None).await, "a delete succeeds");
            }
        }
    })
    .await;
}

async fn check_listing(store: &Store) {
    let mut request =
        ListRequest { prefix: "stable/".into(), delimiter: None, limit: 7, after: None };
    let mut names = Vec::new();
    loop {
        let page = accept(store.list(&request).await, "a list answers");
        for item in page.items {
            if let Some(attributes) = &item.attributes {
                let size = attributes.metadata.get("size").and_then(|text| text.parse().ok());
                let rule = "a listed object is as one write made it";
                assert_eq!(size, Some(item.stored_size), "{rule}: {:?}", item.key);
            }
            names.push(item.key.to_string());
        }
        let Some(next) = page.next else { break };
        request.after = Some(next);
    }
    let ordered = names.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(ordered, "a listing is in order and repeats nothing while others write: {names:?}");
    let stable = names.iter().filter(|name| !name.ends_with('x')).count();
    assert_eq!(stable, 40, "a listing has every object that nobody touches: {names:?}");
}
