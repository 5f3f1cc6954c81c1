//! The whole stack of a remote backend: what is promised through it, with and without faults.
//!
//! ```text
//! metered ▸ retry ▸ breaker ▸ limit ▸ timeout ▸ faulty ▸ memory
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use proof_storage::backend::Backend;
use proof_storage::backend::conformance;
use proof_storage::backend::faulty::{Chance, Fault, Faulty, Operation};
use proof_storage::backend::memory::Memory;
use proof_storage::layer::{
    Breaker, BreakerPolicy, Limit, LimitPolicy, Metered, Retry, RetryPolicy, Timeout,
};
use proof_storage::model::{
    Attributes, Capabilities, Class, Digest, ETag, ErrorKind, GetOptions, ListPage, ListRequest,
    ObjectKey, ObjectMeta, Payload, PresignMethod, Presigned, Provider, PutMode, Representation,
    Retrieved, StoreError, Stored, Usage,
};
use proof_storage::telemetry::{BackendMetrics, Metrics};

type Store = Arc<Faulty<Memory>>;

fn metrics() -> BackendMetrics {
    Metrics::new().backend("test", Provider::Memory)
}

fn below_retry(store: Store, metrics: &BackendMetrics) -> Arc<dyn Backend> {
    let timeout = Timeout::new(store, Duration::from_secs(3));
    let limits = LimitPolicy { patience: Duration::from_secs(60), ..LimitPolicy::default() };
    let limit = Limit::new(Arc::new(timeout), limits, metrics);
    let policy = BreakerPolicy { seed: Some(1), ..BreakerPolicy::default() };
    Arc::new(Breaker::new(Arc::new(limit), "test", policy, metrics))
}

fn stack(store: Store) -> Arc<dyn Backend> {
    let metrics = metrics();
    let policy = RetryPolicy { seed: Some(1), ..RetryPolicy::new(3) };
    let retry = Retry::new(below_retry(store, &metrics), policy, metrics.clone());
    Arc::new(Metered::new(Arc::new(retry), metrics))
}

#[tokio::test(flavor = "multi_thread")]
async fn full_stack_keeps_the_contract() {
    conformance::run(async || stack(Arc::new(Faulty::new(Memory::new(), 1)))).await;
}

/// Every way in which a call can fail, each at this share of the calls.
fn troubles(share: f64) -> Vec<Chance> {
    let faults = [
        Fault::Refuse(ErrorKind::Failed),
        Fault::Refuse(ErrorKind::Unavailable),
        Fault::Refuse(ErrorKind::Contended),
        Fault::Refuse(ErrorKind::Timeout),
        Fault::Lose(ErrorKind::Indeterminate),
        Fault::Hang,
        Fault::HangAfter,
    ];
    let operations = [
        Operation::Put,
        Operation::Head,
        Operation::Get,
        Operation::Delete,
        Operation::DeleteMany,
        Operation::Copy,
        Operation::Rename,
    ];
    let each = |operation| {
        faults.iter().map(move |&fault| Chance { operation, fault, probability: share })
    };
    operations.into_iter().flat_map(each).collect()
}

fn object(number: usize) -> (Bytes, Attributes, Digest) {
    let bytes = Bytes::from(format!("proof {number}"));
    let digest = Digest::of(&bytes);
    let size = bytes.len() as u64;
    let mut attributes = Attributes::new("text/plain");
    attributes.representation =
        Some(Representation { sha256: digest, size, stored_sha256: digest });
    (bytes, attributes, digest)
}

/// What may be under a key, by its digest; `None` is nothing.
type Possible = Vec<Option<Digest>>;

/// What a caller knows of the store from the answers it had, and nothing else.
#[derive(Default)]
struct Ledger {
    keys: BTreeMap<ObjectKey, Possible>,
}

impl Ledger {
    fn at(&self, key: &ObjectKey) -> Possible {
        self.keys.get(key).cloned().unwrap_or_else(|| vec![None])
    }

    /// A call that leaves `after` under the key where it happens.
    fn answered<T>(&mut self, key: &ObjectKey, after: Possible, answer: &Result<T, StoreError>) {
        let mut possible = match answer {
            Ok(_) => after,
            Err(error) if error.class() == Class::Unknown => [self.at(key), after].concat(),
            Err(_) => self.at(key),
        };
        possible.sort();
        possible.dedup();
        self.keys.insert(key.clone(), possible);
    }

    /// Keys whose content no answer allows.
    async fn broken(&self, store: &Memory) -> Vec<String> {
        let mut broken = Vec::new();
        for (key, possible) in &self.keys {
            let found = store.head(key).await.ok();
            let found = found.and_then(|meta| Some(meta.attributes.representation?.sha256));
            if !possible.contains(&found) {
                broken.push(format!("{key}: {found:?} is none of {possible:?}"));
            }
        }
        broken
    }
}

/// One caller, many calls, troubles all the time: what it was told must be what is there.
/// Also counts the calls that succeeded.
async fn live_through(backend: &dyn Backend, store: &Memory, calls: usize) -> (Vec<String>, usize) {
    let mut ledger = Ledger::default();
    let mut broken = Vec::new();
    let mut succeeded = 0;
    for number in 0..calls {
        let key = ObjectKey::new(format!("k{}", number / 3 % 8));
        let other = ObjectKey::new(format!("k{}", (number / 3 + 1 + number % 7) % 8));
        let (bytes, attributes, digest) = object(number);
        let ours = vec![Some(digest)];
        let payload = Payload::from(bytes);
        let ok = match number % 9 {
            0..3 => {
                let answer = backend.put(&key, payload, attributes, PutMode::Create).await;
                let exists = answer.as_ref().is_err_and(|e| e.kind() == ErrorKind::AlreadyExists);
                if exists && ledger.at(&key) == [None] {
                    broken.push(format!("call {number}: exists already, where nothing was"));
                }
                ledger.answered(&key, ours, &answer);
                answer.is_ok()
            }
            3 => {
                let answer = backend.put(&key, payload, attributes, PutMode::Overwrite).await;
                ledger.answered(&key, ours, &answer);
                answer.is_ok()
            }
            4 => {
                let Ok(meta) = store.head(&key).await else { continue };
                let answer =
                    backend.put(&key, payload, attributes, PutMode::Replace(meta.etag)).await;
                let refused =
                    |e: &StoreError| e.class() == Class::Answer && e.kind() != ErrorKind::Contended;
                let lost = answer.as_ref().is_err_and(refused);
                if lost {
                    broken.push(format!("call {number}: {answer:?}, where nobody else writes"));
                }
                ledger.answered(&key, ours, &answer);
                answer.is_ok()
            }
            5 => {
                let answer = backend.delete(&key, None).await;
                ledger.answered(&key, vec![None], &answer);
                answer.is_ok()
            }
            6 => {
                let keys = [key.clone(), other.clone()];
                let answers = backend.delete_many(&keys).await;
                for (key, answer) in keys.iter().zip(&answers) {
                    ledger.answered(key, vec![None], answer);
                }
                answers.iter().all(Result::is_ok)
            }
            7 if key != other => {
                let there = ledger.at(&key);
                let answer = backend.copy(&key, &other, PutMode::Overwrite).await;
                ledger.answered(&other, there, &answer);
                answer.is_ok()
            }
            _ if key != other => {
                let there = ledger.at(&key);
                let answer = backend.rename(&key, &other, PutMode::Create).await;
                ledger.answered(&other, there, &answer);
                ledger.answered(&key, vec![None], &answer);
                answer.is_ok()
            }
            _ => continue,
        };
        succeeded += usize::from(ok);
        for found in ledger.broken(store).await {
            broken.push(format!("call {number}: {found}"));
        }
        // Callers have time: the breaker may close again.
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    (broken, succeeded)
}

#[tokio::test(start_paused = true)]
async fn what_is_acknowledged_holds_and_what_is_refused_did_not_happen() {
    for seed in 0..12 {
        let store = Arc::new(Faulty::new(Memory::new(), seed));
        store.set_chances(troubles(0.02));
        let backend = stack(store.clone());
        let (broken, succeeded) = live_through(&*backend, store.inner(), 450).await;
        assert!(broken.is_empty(), "seed {seed}:\n{}", broken.join("\n"));
        assert!(succeeded > 150, "seed {seed}: only {succeeded} succeeded");
        assert!(store.injected().len() > 20, "seed {seed}: there were troubles");
    }
}

/// In a flood of troubles calls fail, but honestly.
#[tokio::test(start_paused = true)]
async fn a_flood_of_troubles_makes_nobody_lie() {
    for seed in 0..6 {
        let store = Arc::new(Faulty::new(Memory::new(), seed));
        store.set_chances(troubles(0.12));
        let backend = stack(store.clone());
        let (broken, _) = live_through(&*backend, store.inner(), 450).await;
        assert!(broken.is_empty(), "seed {seed}:\n{}", broken.join("\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_not_made_worse() {
    let store = Arc::new(Faulty::new(Memory::new(), 1));
    let fault = Fault::Refuse(ErrorKind::Failed);
    store.set_chances([Chance { operation: Operation::Head, fault, probability: 1.0 }]);
    let backend = stack(store.clone());
    let calls = 300;
    for _ in 0..calls {
        backend.head(&ObjectKey::new("a")).await.unwrap_err();
    }
    let reached = store.injected().len();
    assert!(reached <= calls / 5, "the breaker keeps all but a few away, not {reached}");
    store.set_chances([]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let healed = backend.head(&ObjectKey::new("a")).await.unwrap_err();
    assert_eq!(healed.kind(), ErrorKind::NotFound, "one call is enough");
}

/// What a careless retrier does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Carelessness {
    /// Takes a write without an answer for done.
    Optimist,
    /// Takes a write without an answer for not done.
    Pessimist,
    /// Repeats a create and believes what it is told.
    Repeats,
}

#[derive(Debug)]
struct Careless {
    inner: Arc<dyn Backend>,
    how: Carelessness,
}

impl Careless {
    fn pessimist<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        answer.map_err(|error| match (self.how, error.class()) {
            (Carelessness::Pessimist, Class::Unknown) => {
                StoreError::new(ErrorKind::Failed, Provider::Memory, "not done")
            }
            _ => error,
        })
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Backend for Careless {
    fn provider(&self) -> Provider {
        self.inner.provider()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn put(
        &self,
        key: &ObjectKey,
        payload: Payload,
        attributes: Attributes,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let call = || self.inner.put(key, payload.clone(), attributes.clone(), mode.clone());
        let answer = call().await;
        let unknown = answer.as_ref().is_err_and(|error| error.class() == Class::Unknown);
        match self.how {
            Carelessness::Optimist if unknown => {
                let elsewhere = Memory::new();
                elsewhere.put(key, payload, attributes, PutMode::Overwrite).await
            }
            Carelessness::Repeats if unknown => call().await,
            _ => self.pessimist(answer),
        }
    }

    async fn get(&self, key: &ObjectKey, options: GetOptions) -> Result<Retrieved, StoreError> {
        self.inner.get(key, options).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.inner.head(key).await
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        self.pessimist(self.inner.delete(key, if_match).await)
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>> {
        self.inner.delete_many(keys).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.inner.list(request).await
    }

    async fn copy(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.inner.copy(source, destination, mode).await
    }

    async fn salvage(&self, source: &ObjectKey, aside: &ObjectKey) -> Result<(), StoreError> {
        self.inner.salvage(source, aside).await
    }

    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.inner.rename(source, destination, mode).await
    }

    async fn presign(
        &self,
        key: &ObjectKey,
        method: &PresignMethod,
        expires_in: Duration,
    ) -> Result<Presigned, StoreError> {
        self.inner.presign(key, method, expires_in).await
    }

    async fn usage(&self) -> Result<Usage, StoreError> {
        self.inner.usage().await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.inner.probe().await
    }
}

/// Negative control: each carelessness is found out by the same callers under the same troubles.
#[tokio::test(start_paused = true)]
async fn careless_retriers_are_found_out() {
    for how in [Carelessness::Optimist, Carelessness::Pessimist, Carelessness::Repeats] {
        let mut found = false;
        for seed in 0..12 {
            let store = Arc::new(Faulty::new(Memory::new(), seed));
            store.set_chances(troubles(0.02));
            let inner = below_retry(store.clone(), &metrics());
            let careless = Careless { inner, how };
            found = found || !live_through(&careless, store.inner(), 450).await.0.is_empty();
        }
        assert!(found, "{how:?} is not found out");
    }
}
