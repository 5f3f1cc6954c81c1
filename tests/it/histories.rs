//! Concurrent histories: whatever a few callers did at once, some order of their calls must
//! explain every answer, and must not put a call before one that had ended when it began.
//!
//! This is linearizability (Herlihy and Wing), checked by search, against a model small enough to
//! be read at a glance.

mod order;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut as _, Bytes, BytesMut};
use proof_storage::backend::Backend;
use proof_storage::backend::embedded::{self, Embedded, Unobserved};
use proof_storage::backend::memory::Memory;
use proof_storage::model::{
    Attributes, Body, ErrorKind, GetOptions, ListRequest, ObjectKey, PutMode, StoreError,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use tokio::sync::Barrier;

use self::order::{Answer, Call, Event, explains};
use crate::planted::{Bug, Planted};

const CALLERS: usize = 3;
const CALLS: usize = 4;
/// Names in play, few so that calls meet.
pub(crate) const NAMES: usize = 3;

type Store = Arc<dyn Backend>;

fn call() -> impl Strategy<Value = Call> {
    let name = || 0..NAMES;
    let pair = || (name(), 1..NAMES, any::<bool>()).prop_map(|(a, by, c)| (a, (a + by) % NAMES, c));
    prop_oneof![
        4 => (name(), any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(name, create, large)| Call::Put { name, create, large }),
        2 => name().prop_map(|name| Call::Delete { name }),
        2 => pair().prop_map(|(from, to, create)| Call::Copy { from, to, create }),
        2 => pair().prop_map(|(from, to, create)| Call::Rename { from, to, create }),
        4 => name().prop_map(|name| Call::Get { name }),
        2 => Just(Call::List),
    ]
}

/// Makes histories until one cannot be explained, at most so many.
async fn search(store: Store, histories: usize) -> Result<(), String> {
    let calls = prop::collection::vec(prop::collection::vec(call(), CALLS), CALLERS);
    let mut runner = TestRunner::default();
    for number in 0..histories {
        let calls = calls.new_tree(&mut runner).expect("calls can be made").current();
        let history = record(&store, number, calls).await?;
        if !explains(&history) {
            return Err(format!("no order explains history {number}:{}", table(&history)));
        }
    }
    Ok(())
}

/// One line for each call, by its beginning.
fn table(history: &[Event]) -> String {
    let mut events: Vec<&Event> = history.iter().collect();
    events.sort_by_key(|event| event.began);
    let line = |event: &&Event| {
        let Event { call, value, answer, began, ended } = event;
        format!("\n{began:>3}-{ended:<3} {call:?}, value {value}: {answer:?}")
    };
    events.iter().map(line).collect()
}

/// Lets every caller make its calls, one after the other, all callers at once.
async fn record(store: &Store, number: usize, calls: Vec<Vec<Call>>) -> Result<Vec<Event>, String> {
    let clock = Arc::new(AtomicU64::new(0));
    let start = Arc::new(Barrier::new(calls.len()));
    let callers: Vec<_> = calls
        .into_iter()
        .enumerate()
        .map(|(caller, calls)| {
            let (store, clock, start) = (store.clone(), Arc::clone(&clock), Arc::clone(&start));
            tokio::spawn(async move {
                start.wait().await;
                let mut events = Vec::new();
                for (turn, call) in calls.into_iter().enumerate() {
                    let value = (caller * CALLS + turn) as u32;
                    let began = clock.fetch_add(1, Ordering::SeqCst);
                    let answer = make(&store, number, &call, value).await?;
                    let ended = clock.fetch_add(1, Ordering::SeqCst);
                    events.push(Event { call, value, answer, began, ended });
                }
                Ok::<_, String>(events)
            })
        })
        .collect();
    let mut history = Vec::new();
    for caller in callers {
        history.extend(caller.await.map_err(|error| error.to_string())??);
    }
    Ok(history)
}

fn key(history: usize, name: usize) -> ObjectKey {
    ObjectKey::new(format!("{history}/{name}"))
}

fn mode(create: bool) -> PutMode {
    if create { PutMode::Create } else { PutMode::Overwrite }
}

/// A body that begins with its value.
fn body(value: u32, large: bool) -> Bytes {
    let size = if large { 1_100_000 } else { 100 };
    let mut bytes = BytesMut::with_capacity(size);
    bytes.put_u32(value);
    bytes.resize(size, value as u8);
    bytes.freeze()
}

/// Makes one call; an answer that no order could give is an error at once.
async fn make(store: &Store, history: usize, call: &Call, value: u32) -> Result<Answer, String> {
    let answer = match *call {
        Call::Put { name, create, large } => {
            let (key, payload) = (key(history, name), body(value, large).into());
            let stored = store.put(&key, payload, attributes(value), mode(create)).await;
            stored.map(|stored| Answer::Wrote { replaced: stored.replaced })
        }
        Call::Copy { from, to, create } => {
            let (from, to) = (key(history, from), key(history, to));
            let stored = store.copy(&from, &to, mode(create)).await;
            stored.map(|stored| Answer::Wrote { replaced: stored.replaced })
        }
        Call::Rename { from, to, create } => {
            let (from, to) = (key(history, from), key(history, to));
            let stored = store.rename(&from, &to, mode(create)).await;
            stored.map(|stored| Answer::Wrote { replaced: stored.replaced })
        }
        Call::Delete { name } => store
            .delete(&key(history, name), None)
            .await
            .map(|found| Answer::Deleted(found == Some(true))),
        Call::Get { name } => read(store, &key(history, name)).await.map(Answer::Read),
        Call::List => list(store, history).await.map(Answer::Listed),
    };
    answer.or_else(|error| match error.kind() {
        ErrorKind::NotFound => Ok(Answer::NotFound),
        ErrorKind::AlreadyExists => Ok(Answer::AlreadyExists),
        _ => Err(format!("{call:?} failed: {error:?}")),
    })
}

/// The value is in the attributes too: bytes and attributes must be of one write.
fn attributes(value: u32) -> Attributes {
    Attributes::new(format!("value/{value}"))
}

async fn read(store: &Store, key: &ObjectKey) -> Result<u32, StoreError> {
    let found = store.get(key, GetOptions::default()).await?;
    let value = found.meta.attributes.content_type.trim_start_matches("value/").parse();
    let value: u32 = value.expect("attributes of a write of this test");
    if let Body::Bytes(bytes) = found.body {
        assert!(bytes.starts_with(&value.to_be_bytes()), "bytes and attributes are of one write");
    }
    Ok(value)
}

async fn list(store: &Store, history: usize) -> Result<Vec<usize>, StoreError> {
    let prefix = format!("{history}/");
    let request = ListRequest { prefix: prefix.clone(), delimiter: None, limit: 100, after: None };
    let page = store.list(&request).await?;
    let names = page.items.iter().map(|item| item.key.as_str().trim_start_matches(&prefix));
    Ok(names.map(|name| name.parse().expect("a name of this test")).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_has_an_order() {
    let found = search(Arc::new(Memory::new()), 2000).await;
    found.unwrap_or_else(|found| panic!("{found}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_has_an_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = embedded::Options {
        data_dir: folder.path().join("data"),
        cache_bytes: 8 << 20,
        disk_reserve_bytes: 0,
        observer: Arc::new(Unobserved),
    };
    let store = Embedded::open(options).expect("the store opens");
    let found = search(Arc::new(store), 400).await;
    found.unwrap_or_else(|found| panic!("{found}"));
}

/// Negative control: stores without an order are found out.
#[tokio::test(flavor = "multi_thread")]
async fn disorder_is_found() {
    for bug in [Bug::CreateRaces, Bug::RenameShowsBoth, Bug::RenameGap, Bug::AnswersEarly] {
        let found = search(Arc::new(Planted::new(bug)), 2000).await;
        assert!(found.is_err(), "{bug:?} is not found");
    }
}
