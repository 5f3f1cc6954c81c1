//! Races that must have one winner, and calls that are dropped on their way.

use std::pin::pin;
use std::task::Poll;

use super::fixture::{
    Store, accept, assert_kept, assert_same, assert_same_meta, available, expect, key, noise,
    plain, put, race, read, read_raced, rich, spooled,
};
use super::usage;
use crate::model::{ErrorKind, Payload, PutMode, StoreError, Stored};

const RACERS: usize = 64;
const ROUNDS: u64 = 4;

/// Index of the one success; every other must be the given refusal.
fn only_winner<T>(answers: &[Result<T, StoreError>], refusal: ErrorKind, rule: &str) -> usize {
    let winners: Vec<usize> =
        answers.iter().enumerate().filter(|(_, a)| a.is_ok()).map(|(index, _)| index).collect();
    assert_eq!(winners.len(), 1, "{rule}: winners {winners:?} of {}", answers.len());
    for error in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert_eq!(error.kind(), refusal, "{rule}, all others lose: {error:?}");
    }
    winners[0]
}

/// Bodies of racers: of different sizes, some of them several chunks long.
fn body(round: u64, index: usize) -> bytes::Bytes {
    let size = if index.is_multiple_of(16) { 300_000 + index } else { 100 + index };
    noise(round * 1000 + index as u64, size)
}

async fn race_puts(
    store: &Store,
    name: &str,
    round: u64,
    mode: PutMode,
) -> Vec<Result<Stored, StoreError>> {
    let (racers, name) = (store.clone(), name.to_owned());
    race(RACERS, move |index| {
        let (store, key, mode) = (racers.clone(), key(&name), mode.clone());
        async move { store.put(&key, body(round, index).into(), plain(), mode).await }
    })
    .await
}

pub(super) async fn create_has_one_winner(store: Store) {
    let support = store.capabilities().create_only;
    let tried = store.put(&key("probe"), noise(1, 1).into(), plain(), PutMode::Create).await;
    if !available(support, "create_only", tried) {
        return;
    }
    for round in 0..ROUNDS {
        let name = format!("proofs/{round}");
        let answers = race_puts(&store, &name, round, PutMode::Create).await;
        let rule = "exactly one of racing creates wins";
        let winner = only_winner(&answers, ErrorKind::AlreadyExists, rule);
        let rule = "the object is the winner's";
        let meta = expect(&store, &key(&name), &body(round, winner), rule).await;
        let Ok(won) = &answers[winner] else { panic!("{rule}") };
        assert_same_meta(&store, &meta, &won.meta, rule);
    }
}

pub(super) async fn replace_has_one_winner(store: Store) {
    let name = "proofs/a";
    let mut etag = put(&store, &key(name), &noise(1, 100)).await.meta.etag;
    let mode = PutMode::Replace(etag.clone());
    let tried = store.put(&key(name), noise(1, 1).into(), plain(), mode).await;
    if !available(store.capabilities().replace_if_match, "replace_if_match", tried.clone()) {
        return;
    }
    etag = accept(tried, "a replace of the present version succeeds").meta.etag;
    for round in 0..ROUNDS {
        let answers = race_puts(&store, name, round, PutMode::Replace(etag)).await;
        let rule = "exactly one of racing replaces wins";
        let winner = only_winner(&answers, ErrorKind::PreconditionFailed, rule);
        let rule = "the object is the winner's";
        etag = expect(&store, &key(name), &body(round, winner), rule).await.etag;
    }
}

pub(super) async fn delete_or_replace_wins(store: Store) {
    let can = store.capabilities();
    if !can.replace_if_match.is_available() || !can.delete_if_match.is_available() {
        return; // Their refusal is shown by `write` and `delete`.
    }
    for round in 0..8 * ROUNDS {
        let key = key(format!("proofs/{round}"));
        let etag = put(&store, &key, &noise(1, 100)).await.meta.etag;
        let (racers, raced) = (store.clone(), key.clone());
        let answers = race(16, move |index| {
            let (store, key, etag) = (racers.clone(), raced.clone(), etag.clone());
            async move {
                if index % 2 == 0 {
                    return store.delete(&key, Some(&etag)).await;
                }
                let mode = PutMode::Replace(etag);
                store.put(&key, body(round, index).into(), plain(), mode).await.map(|_| Some(true))
            }
        })
        .await;
        // A delete that finds nothing is no error, so it is neither winner nor loser.
        let done: Vec<usize> =
            (0..16).filter(|&i| matches!(answers[i], Ok(Some(true) | None))).collect();
        assert_eq!(done.len(), 1, "one of deletes and replaces of a version wins: {answers:?}");
        let left = read(&store, &key).await.map(|(_, bytes)| bytes);
        let wanted = (done[0] % 2 == 1).then(|| body(round, done[0]));
        assert_eq!(left.map(|b| b.len()), wanted.map(|b| b.len()), "the winner's effect is seen");
    }
}

pub(super) async fn rename_of_one_source_has_one_winner(store: Store) {
    if !store.capabilities().atomic_move.is_available() {
        return; // Such a store promises only that some name has the bytes: see `observed`.
    }
    for round in 0..ROUNDS {
        let (source, bytes) = (key(format!("{round}/source")), noise(round, 300_000));
        put(&store, &source, &bytes).await;
        let (racers, raced) = (store.clone(), source.clone());
        let answers = race(RACERS, move |index| {
            let (store, source) = (racers.clone(), raced.clone());
            let destination = key(format!("{round}/{index}"));
            async move { store.rename(&source, &destination, PutMode::Overwrite).await }
        })
        .await;
        let rule = "exactly one of racing renames of one source wins";
        let winner = only_winner(&answers, ErrorKind::NotFound, rule);
        for index in 0..RACERS {
            let found = read(&store, &key(format!("{round}/{index}"))).await;
            assert_eq!(found.is_some(), index == winner, "only the winner's name has the bytes");
        }
        expect(&store, &key(format!("{round}/{winner}")), &bytes, rule).await;
    }
}

pub(super) async fn rename_to_one_destination_has_one_winner(store: Store) {
    if !store.capabilities().create_only.is_available() {
        return; // Its refusal is shown by `relocate`.
    }
    for round in 0..ROUNDS {
        let destination = key(format!("{round}/destination"));
        for index in 0..16 {
            put(&store, &key(format!("{round}/{index}")), &body(round, index)).await;
        }
        let (racers, raced) = (store.clone(), destination.clone());
        let answers = race(16, move |index| {
            let (store, destination) = (racers.clone(), raced.clone());
            let source = key(format!("{round}/{index}"));
            async move { store.rename(&source, &destination, PutMode::Create).await }
        })
        .await;
        let rule = "exactly one of racing renames to one name wins";
        let winner = only_winner(&answers, ErrorKind::AlreadyExists, rule);
        expect(&store, &destination, &body(round, winner), rule).await;
        for index in (0..16).filter(|&index| index != winner) {
            let source = key(format!("{round}/{index}"));
            expect(&store, &source, &body(round, index), "a loser keeps its source").await;
        }
    }
}

/// Polls a call so many times, whether it was woken or not, then drops it where it stands.
async fn drop_after<F: Future>(polls: usize, call: F) {
    let mut call = pin!(call);
    for _ in 0..polls {
        let done =
            std::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_ready()));
        if done.await {
            return;
        }
        tokio::task::yield_now().await;
    }
}

pub(super) async fn cancelled_writes_are_done_or_not(store: Store) {
    for polls in 0..80 {
        let (fresh, present) = (key(format!("fresh/{polls}")), key(format!("present/{polls}")));
        let size = if polls % 2 == 0 { 900 } else { 1_100_000 };
        let (old, new) = (noise(1, size), noise(2, size));
        put(&store, &present, &old).await;
        for key in [&fresh, &present] {
            let payload: Payload = if polls % 4 < 2 { new.clone().into() } else { spooled(&new) };
            drop_after(polls, store.put(key, payload, rich(&new), PutMode::Overwrite)).await;
        }
        let rule = "a cancelled write is done or not, never half";
        if let Some((meta, bytes)) = read_raced(&store, &fresh).await {
            assert_same(&bytes, &new, rule);
            assert_kept(&meta.attributes, &rich(&new), rule);
        }
        let Some((meta, bytes)) = read_raced(&store, &present).await else {
            panic!("{rule}: the object that was there is gone");
        };
        let new_is_there = meta.attributes.representation == rich(&new).representation;
        assert_same(&bytes, if new_is_there { &new } else { &old }, rule);
    }
    usage::settle(&store, "after cancelled writes").await;
}

pub(super) async fn cancelled_renames_are_done_or_not(store: Store) {
    for polls in 0..60 {
        let (source, destination) = (key(format!("a/{polls}")), key(format!("b/{polls}")));
        let bytes = noise(polls as u64, 1_100_000);
        put(&store, &source, &bytes).await;
        drop_after(polls, store.rename(&source, &destination, PutMode::Overwrite)).await;
        drop_after(polls, store.copy(&source, &key("c"), PutMode::Overwrite)).await;
        // In this order: a rename that is still under way may finish in between.
        let found = match read_raced(&store, &source).await {
            Some(found) => Some(found),
            None => read_raced(&store, &destination).await,
        };
        let Some((_, found)) = found else {
            panic!("a cancelled rename leaves the bytes under one of both names");
        };
        assert_same(&found, &bytes, "a cancelled rename alters no byte");
    }
    usage::settle(&store, "after cancelled renames").await;
}
