//! A process of the service as its members see it: with a clock of its own, calls that take their time, and a
//! death that may come in the middle of any of them.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use proof_storage::backend::Backend;
use proof_storage::model::{
    Attributes, Capabilities, ETag, GetOptions, ListPage, ListRequest, ObjectKey, ObjectMeta,
    Payload, PresignMethod, Presigned, Provider, PutMode, Retrieved, StoreError, Stored, Usage,
};

/// One process.
#[derive(Debug)]
pub struct Process {
    /// Milliseconds by which its wall clock is off.
    pub skew: AtomicI64,
    /// Calls of members until it dies; negative for one that lives on.
    left: AtomicI64,
    /// Longest time that a call of a member takes; none where calls take no time.
    latency: Option<Mutex<(fastrand::Rng, Duration)>>,
}

impl Process {
    /// One whose members answer at once.
    pub fn prompt() -> Self {
        Self { skew: AtomicI64::new(0), left: AtomicI64::new(-1), latency: None }
    }

    /// One whose calls take up to `longest`, as the seed has it; every second one none at all.
    pub fn slow(seed: u64, longest: Duration) -> Self {
        let latency = Some(Mutex::new((fastrand::Rng::with_seed(seed), longest)));
        Self { latency, ..Self::prompt() }
    }

    /// It will die after so many calls more.
    pub fn dies_after(&self, calls: u32) {
        self.left.store(calls.into(), Ordering::Relaxed);
    }

    pub fn is_dead(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// Takes its time; never ends where the process is dead.
    async fn pass(&self) {
        if let Some(latency) = &self.latency {
            let wait = {
                let mut latency = latency.lock().unwrap_or_else(PoisonError::into_inner);
                let longest = latency.1.as_micros() as u64;
                latency.0.bool().then(|| Duration::from_micros(latency.0.u64(0..=longest)))
            };
            if let Some(wait) = wait {
                tokio::time::sleep(wait).await;
            }
        }
        let left =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| match left {
                1.. => Some(left - 1),
                0 | i64::MIN..0 => None,
            });
        if left == Err(0) {
            std::future::pending::<()>().await;
        }
    }

    /// What was done may be done with nobody left to hear of it.
    async fn hear(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }
}

/// What a process has of a member.
#[derive(Debug)]
pub struct Wire<B> {
    pub process: Arc<Process>,
    pub member: Arc<B>,
}

impl<B> Wire<B> {
    async fn call<T>(&self, call: impl Future<Output = T>) -> T {
        self.process.pass().await;
        let result = call.await;
        self.process.hear().await;
        result
    }
}

#[async_trait]
impl<B: Backend> Backend for Wire<B> {
    fn provider(&self) -> Provider {
        self.member.provider()
    }

    fn capabilities(&self) -> Capabilities {
        self.member.capabilities()
    }

    async fn put(
        &self,
        key: &ObjectKey,
        payload: Payload,
        attributes: Attributes,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.call(self.member.put(key, payload, attributes, mode)).await
    }

    async fn get(&self, key: &ObjectKey, options: GetOptions) -> Result<Retrieved, StoreError> {
        self.call(self.member.get(key, options)).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.call(self.member.head(key)).await
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        self.call(self.member.delete(key, if_match)).await
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>> {
        self.call(self.member.delete_many(keys)).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.call(self.member.list(request)).await
    }

    async fn copy(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.call(self.member.copy(source, destination, mode)).await
    }

    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.call(self.member.rename(source, destination, mode)).await
    }

    async fn presign(
        &self,
        key: &ObjectKey,
        method: &PresignMethod,
        expires_in: Duration,
    ) -> Result<Presigned, StoreError> {
        self.call(self.member.presign(key, method, expires_in)).await
    }

    async fn usage(&self) -> Result<Usage, StoreError> {
        self.call(self.member.usage()).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.call(self.member.probe()).await
    }
}
