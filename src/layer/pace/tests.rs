//! Writers of one key over the memory store, on paused time.

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::*;
use crate::backend::conformance;
use crate::backend::faulty::{Fault, Faulty, Operation};
use crate::backend::memory::Memory;

const SECOND: Duration = Duration::from_secs(1);
const POLICY: PacePolicy = PacePolicy::ONE_A_SECOND;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name)
}

struct Bench {
    store: Arc<Faulty<Memory>>,
    pace: Pace,
    began: Instant,
}

impl Bench {
    fn new() -> Self {
        let store = Arc::new(Faulty::new(Memory::new(), 1));
        Self { pace: Pace::new(store.clone(), POLICY), store, began: Instant::now() }
    }

    async fn put(&self, name: &str, mode: PutMode) -> Result<Stored, StoreError> {
        let payload = Bytes::from_static(b"bytes").into();
        self.pace.put(&key(name), payload, Attributes::new("text/plain"), mode).await
    }

    /// When it was answered, from the beginning.
    async fn put_at(&self, name: &str, mode: PutMode) -> (Duration, Result<Stored, StoreError>) {
        let answer = self.put(name, mode).await;
        (self.began.elapsed(), answer)
    }
}

#[tokio::test(start_paused = true)]
async fn writes_of_a_key_are_a_second_apart_and_those_of_others_are_not() {
    let bench = Bench::new();
    let mut at = Vec::new();
    for _ in 0..3 {
        bench.put("a", PutMode::Overwrite).await.unwrap();
        bench.put(&format!("other {}", at.len()), PutMode::Overwrite).await.unwrap();
        at.push(bench.began.elapsed());
    }
    assert_eq!(at, [Duration::ZERO, SECOND, SECOND * 2]);
    tokio::time::advance(SECOND).await;
    bench.put("a", PutMode::Overwrite).await.unwrap();
    assert_eq!(bench.began.elapsed(), SECOND * 3, "the pause is over already");
}

/// What counts is when the last one was over: it may have come late to the backend.
#[tokio::test(start_paused = true)]
async fn the_pause_begins_with_the_end_of_a_write() {
    let bench = Bench::new();
    bench.store.script(Operation::Put, [Fault::Delay(SECOND * 3)]);
    let both = join_all([1, 2].map(|_| bench.put_at("a", PutMode::Overwrite))).await;
    assert_eq!([both[0].0, both[1].0], [SECOND * 3, SECOND * 4]);
    bench.pace.copy(&key("a"), &key("b"), PutMode::Overwrite).await.unwrap();
    assert_eq!(bench.began.elapsed(), SECOND * 4, "another key");
    bench.pace.rename(&key("a"), &key("b"), PutMode::Overwrite).await.unwrap();
    assert_eq!(bench.began.elapsed(), SECOND * 5, "the same key again");
    bench.pace.delete(&key("b"), None).await.unwrap();
    assert_eq!(bench.began.elapsed(), SECOND * 5, "a delete waits for nothing");
}

#[tokio::test(start_paused = true)]
async fn losers_of_a_race_are_told_at_once_and_send_nothing() {
    let bench = Bench::new();
    bench.store.script(Operation::Put, [Fault::Delay(SECOND / 4)]);
    let answers = join_all((0..64).map(|_| bench.put_at("a", PutMode::Create))).await;
    let won = answers.iter().filter(|(_, answer)| answer.is_ok()).count();
    assert_eq!(won, 1);
    for (at, answer) in &answers {
        assert_eq!(*at, SECOND / 4);
        let refused = |error: &StoreError| error.kind() == ErrorKind::AlreadyExists;
        assert!(answer.as_ref().err().is_none_or(refused), "{answer:?}");
    }
    let etag = answers.into_iter().find_map(|(_, answer)| answer.ok()).unwrap().meta.etag;
    let modes = [PutMode::Replace(etag), PutMode::Replace(ETag::new("other"))];
    let answers = join_all(modes.map(|mode| bench.put_at("a", mode))).await;
    assert!(answers[0].1.is_ok(), "the right version waits for its time");
    assert_eq!(answers[0].0, SECOND * 5 / 4);
    assert_eq!(answers[1].1.as_ref().unwrap_err().kind(), ErrorKind::PreconditionFailed);
    assert_eq!(answers[1].0, SECOND / 4, "and the wrong one does not");
    let copied = bench.pace.copy(&key("none"), &key("a"), PutMode::Create).await;
    assert_eq!(copied.unwrap_err().kind(), ErrorKind::NotFound, "the source is missed first");
}

#[tokio::test(start_paused = true)]
async fn waits_are_bounded_and_say_when_to_come_back() {
    let bench = Bench::new();
    let answers = join_all((0..10).map(|_| bench.put_at("a", PutMode::Overwrite))).await;
    let (done, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(_, a)| a.is_ok());
    assert_eq!(done.len() + refused.len(), 10);
    // The last second of patience and a turn fall together: either may come first.
    assert!((5..=6).contains(&done.len()), "{}", done.len());
    for (at, answer) in refused {
        let error = answer.unwrap_err();
        assert_eq!((error.kind(), at), (ErrorKind::Unavailable, POLICY.patience));
        assert_eq!(error.retry_after(), Some(SECOND));
        assert!(error.is_unasked(), "it says nothing of the backend");
    }
}

#[tokio::test(start_paused = true)]
async fn callers_that_go_away_give_their_turn_back() {
    let bench = Bench::new();
    bench.store.script(Operation::Put, [Fault::Hang]);
    let gone = tokio::time::timeout(SECOND, bench.put("a", PutMode::Overwrite)).await;
    assert!(gone.is_err());
    let waiting = tokio::time::timeout(SECOND / 2, bench.put("a", PutMode::Overwrite)).await;
    assert!(waiting.is_err(), "it waits for its time");
    bench.put("a", PutMode::Overwrite).await.unwrap();
    assert_eq!(bench.began.elapsed(), SECOND * 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_over_is_forgotten() {
    let bench = Bench::new();
    for round in 0..10 {
        for number in 0..2000 {
            bench.put(&format!("{round}/{number}"), PutMode::Overwrite).await.unwrap();
        }
        tokio::time::advance(SECOND).await;
    }
    assert!(bench.pace.turns.remembered() <= 6000, "{}", bench.pace.turns.remembered());
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    conformance::run(async || {
        let policy = PacePolicy { pause: Duration::from_millis(1), ..POLICY };
        Arc::new(Pace::new(Arc::new(Memory::new()), policy)) as _
    })
    .await;
}
