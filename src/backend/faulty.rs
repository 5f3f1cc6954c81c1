//! A store that fails on purpose, for tests of the layers above it. Never part of a service.
//!
//! [`Faulty`] wraps any backend and injects faults by a seeded chance, by a script, or both; the
//! script goes first. The same seed and the same order of calls give the same faults. Beside plain
//! failures there are the ones that lose data in careless callers: the call that took effect and
//! reported a failure, the answer that never comes, and bodies that are cut, altered or of an
//! older version. What was injected is on record, so that a test can show that it met the fault.
//!
//! ```text
//! layer under test → Faulty ── plan: fault or none? ──→ inner backend
//! ```

mod body;
mod plan;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use self::plan::Plan;
pub use self::plan::{Chance, Fault, Operation};
use super::Backend;
use crate::model::{
    Attributes, Body, Capabilities, ETag, ErrorKind, GetOptions, ListPage, ListRequest, ObjectKey,
    ObjectMeta, Payload, PresignMethod, Presigned, Provider, PutMode, Retrieved, StoreError,
    Stored, Usage,
};

/// What an older reader would see: an object, or that there is none.
type Version = Option<(ObjectMeta, Bytes)>;

/// A backend with faults, see the module.
#[derive(Debug)]
pub struct Faulty<B> {
    inner: B,
    plan: Mutex<Plan>,
    /// States of each key before writes through this wrapper, oldest first, for stale reads.
    older: Mutex<HashMap<ObjectKey, Vec<Version>>>,
}

impl<B: Backend> Faulty<B> {
    /// Wraps a backend; without chances and script there is no fault.
    pub fn new(inner: B, seed: u64) -> Self {
        Self { inner, plan: Mutex::new(Plan::new(seed)), older: Mutex::default() }
    }

    /// Replaces all chances; none heals the store.
    ///
    /// # Panics
    /// A fault cannot strike its operation, so the test would prove nothing.
    pub fn set_chances(&self, chances: impl Into<Vec<Chance>>) {
        lock(&self.plan).set_chances(chances.into());
    }

    /// Appends to the script of an operation: one entry for each of its next calls, where `None`
    /// lets a call through. After the script, chances decide again.
    ///
    /// # Panics
    /// A fault cannot strike its operation, so the test would prove nothing.
    pub fn script(
        &self,
        operation: Operation,
        faults: impl IntoIterator<Item = impl Into<Option<Fault>>>,
    ) {
        lock(&self.plan).script(operation, faults.into_iter().map(Into::into));
    }

    /// Forgets what is left of all scripts.
    pub fn clear_script(&self) {
        lock(&self.plan).clear_script();
    }

    /// Every fault injected so far, in order.
    pub fn injected(&self) -> Vec<(Operation, Fault)> {
        lock(&self.plan).injected().to_vec()
    }

    /// The backend below, to look at what really happened.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    fn draw(&self, operation: Operation) -> Option<Fault> {
        lock(&self.plan).draw(operation)
    }

    /// Runs a call under a fault that strikes calls rather than bodies.
    async fn call<T>(
        &self,
        fault: Option<Fault>,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match fault {
            Some(Fault::Refuse(kind)) => Err(self.error(kind, "injected: not done")),
            Some(Fault::Later(time)) => {
                let refusal = self.error(ErrorKind::Unavailable, "injected: not now");
                Err(refusal.with_retry_after(time))
            }
            Some(Fault::Lose(kind)) => {
                call.await?;
                Err(self.error(kind, "injected: the answer was lost"))
            }
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                call.await
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::HangAfter) => {
                call.await?;
                std::future::pending().await
            }
            Some(Fault::FlipBit | Fault::Truncate | Fault::BreakBody | Fault::Stale) | None => {
                call.await
            }
        }
    }

    fn error(&self, kind: ErrorKind, detail: &'static str) -> StoreError {
        StoreError::new(kind, self.inner.provider(), detail)
    }

    /// Keeps what is there now for stale reads. Costs a read, so only where such a fault may come.
    async fn remember(&self, keys: &[&ObjectKey]) {
        if !lock(&self.plan).may_be_stale() {
            return;
        }
        for &key in keys {
            let version = self.version(key).await;
            lock(&self.older).entry(key.clone()).or_default().push(version);
        }
    }

    async fn version(&self, key: &ObjectKey) -> Version {
        let found = self.inner.get(key, GetOptions::default()).await.ok()?;
        let bytes = found.body.collect().await.ok()?;
        Some((found.meta, bytes))
    }

    /// The latest remembered state of a key that is not the present one: a refused write may have
    /// remembered that too.
    async fn stale(&self, key: &ObjectKey) -> Option<Result<(ObjectMeta, Bytes), StoreError>> {
        let etag = |version: &Version| version.as_ref().map(|(meta, _)| meta.etag.clone());
        let present = etag(&self.version(key).await);
        let older = lock(&self.older);
        let version = older.get(key)?.iter().rev().find(|&version| etag(version) != present)?;
        Some(version.clone().ok_or_else(|| self.error(ErrorKind::NotFound, "no such object")))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<B: Backend> Backend for Faulty<B> {
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
        self.remember(&[key]).await;
        let fault = self.draw(Operation::Put);
        self.call(fault, self.inner.put(key, payload, attributes, mode)).await
    }

    async fn get(&self, key: &ObjectKey, options: GetOptions) -> Result<Retrieved, StoreError> {
        let fault = self.draw(Operation::Get);
        if fault == Some(Fault::Stale)
            && let Some(older) = self.stale(key).await
        {
            let (meta, bytes) = older?;
            return Ok(Retrieved::new(meta, Body::Bytes(body::part(bytes, options.range))));
        }
        let found = self.call(fault, self.inner.get(key, options)).await?;
        let broken = self.error(ErrorKind::Failed, "injected: the body broke off");
        let Some(fault) = fault else { return Ok(found) };
        Ok(Retrieved::new(found.meta, body::damage(found.body, fault, broken).await))
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        let fault = self.draw(Operation::Head);
        if fault == Some(Fault::Stale)
            && let Some(older) = self.stale(key).await
        {
            return older.map(|(meta, _)| meta);
        }
        self.call(fault, self.inner.head(key)).await
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        self.remember(&[key]).await;
        let fault = self.draw(Operation::Delete);
        self.call(fault, self.inner.delete(key, if_match)).await
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>> {
        self.remember(&keys.iter().collect::<Vec<_>>()).await;
        let fault = self.draw(Operation::DeleteMany);
        let call = async { Ok(self.inner.delete_many(keys).await) };
        match self.call(fault, call).await {
            Ok(answers) => answers,
            Err(error) => keys.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let fault = self.draw(Operation::List);
        self.call(fault, self.inner.list(request)).await
    }

    async fn copy(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.remember(&[destination]).await;
        let fault = self.draw(Operation::Copy);
        self.call(fault, self.inner.copy(source, destination, mode)).await
    }

    async fn salvage(&self, source: &ObjectKey, aside: &ObjectKey) -> Result<(), StoreError> {
        self.remember(&[aside]).await;
        let fault = self.draw(Operation::Copy);
        self.call(fault, self.inner.salvage(source, aside)).await
    }

    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.remember(&[source, destination]).await;
        let fault = self.draw(Operation::Rename);
        self.call(fault, self.inner.rename(source, destination, mode)).await
    }

    async fn presign(
        &self,
        key: &ObjectKey,
        method: &PresignMethod,
        expires_in: Duration,
    ) -> Result<Presigned, StoreError> {
        let fault = self.draw(Operation::Presign);
        self.call(fault, self.inner.presign(key, method, expires_in)).await
    }

    async fn usage(&self) -> Result<Usage, StoreError> {
        let fault = self.draw(Operation::Usage);
        self.call(fault, self.inner.usage()).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let fault = self.draw(Operation::Probe);
        self.call(fault, self.inner.probe()).await
    }
}

/// No holder leaves either map half changed, so a lock poisoned by a panicking test is usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
