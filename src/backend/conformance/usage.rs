//! Usage: the counters say what a walk over everything would.

use super::fixture::{Store, accept, key, noise, plain, put, put_with, race, rich};
use crate::model::{ErrorKind, ListRequest, PutMode, Usage};

/// Walks the whole store: number of objects, callers' bytes, stored bytes.
async fn walked(store: &Store) -> (u64, u64, u64) {
    let mut request =
        ListRequest { prefix: String::new(), delimiter: None, limit: 1000, after: None };
    let (mut objects, mut bytes, mut stored) = (0, 0, 0);
    loop {
        let page = accept(store.list(&request).await, "a list answers");
        for item in page.items {
            let head = match store.head(&item.key).await {
                // Moved away meanwhile, by a call that was cancelled.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                other => accept(other, "a listed object has a head"),
            };
            objects += 1;
            bytes += head.size();
            stored += head.size_at_rest();
        }
        let Some(next) = page.next else { return (objects, bytes, stored) };
        request.after = Some(next);
    }
}

fn figures(usage: &Usage) -> (u64, u64, u64) {
    (usage.objects, usage.bytes, usage.stored_bytes)
}

async fn check(store: &Store, rule: &str) {
    let usage = accept(store.usage().await, "usage answers");
    // An estimate that says so is honest; only a figure that calls itself exact can be wrong.
    if usage.exact {
        assert_eq!(figures(&usage), walked(store).await, "usage is exact {rule}");
    }
}

/// Waits until usage and content agree: a cancelled call may still be under way.
pub(super) async fn settle(store: &Store, rule: &str) {
    for _ in 0..200 {
        let usage = accept(store.usage().await, "usage answers");
        if !usage.exact || figures(&usage) == walked(store).await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    check(store, rule).await;
}

pub(super) async fn counts_a_mixed_history(store: Store) {
    check(&store, "of an empty store").await;
    accept(store.probe().await, "a healthy store passes its probe");
    let [a, b, c] = ["a", "b", "c"].map(key);
    let (small, large) = (noise(1, 100), noise(2, 1_500_000));
    put_with(&store, &a, &small, rich(&small)).await;
    check(&store, "after a first write").await;
    put(&store, &b, &large).await;
    check(&store, "after a large write").await;
    put(&store, &a, &large).await;
    check(&store, "after an overwrite by more").await;
    put_with(&store, &b, &small, rich(&small)).await;
    check(&store, "after an overwrite by less").await;
    let _ = store.put(&a, small.clone().into(), plain(), PutMode::Create).await;
    check(&store, "after a refused write").await;
    accept(store.copy(&b, &c, PutMode::Overwrite).await, "a copy succeeds");
    check(&store, "after a copy").await;
    accept(store.copy(&b, &a, PutMode::Overwrite).await, "a copy succeeds");
    check(&store, "after a copy over an object").await;
    accept(store.rename(&a, &key("d"), PutMode::Overwrite).await, "a rename succeeds");
    check(&store, "after a rename").await;
    accept(store.rename(&b, &c, PutMode::Overwrite).await, "a rename succeeds");
    check(&store, "after a rename over an object").await;
    put(&store, &a, &noise(3, 0)).await;
    check(&store, "with an empty object").await;
    accept(store.delete(&c, None).await, "a delete succeeds");
    accept(store.delete(&c, None).await, "a second delete is no error");
    check(&store, "after deletes").await;
    store.delete_many(&[key("d"), key("none"), a.clone(), a]).await;
    check(&store, "after many deletes").await;
    let usage = accept(store.usage().await, "usage answers");
    assert!(!usage.exact || figures(&usage) == (0, 0, 0), "an emptied store holds nothing");
}

pub(super) async fn counts_after_races(store: Store) {
    for round in 0..4_u64 {
        let racers = store.clone();
        race(32, move |index| {
            let store = racers.clone();
            async move {
                let (one, two) = (key(format!("{}", index % 3)), key(format!("{}", index % 5)));
                let bytes = noise(round, 1000 + index * 3000);
                // Many of these are refused or find nothing, on purpose.
                match index % 6 {
                    0 | 1 => drop(put(&store, &one, &bytes).await),
                    2 => drop(store.put(&two, bytes.into(), plain(), PutMode::Create).await),
                    3 => drop(store.delete(&one, None).await),
                    4 => drop(store.rename(&one, &two, PutMode::Overwrite).await),
                    _ => drop(store.delete_many(&[one, two]).await),
                }
            }
        })
        .await;
        check(&store, "after racing writes, moves and deletes").await;
    }
}
