//! Writes that were given up and land later: what a slow server does with a request that it has.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use proof_storage::backend::Backend;
use proof_storage::model::{
    Attributes, Capabilities, ETag, ErrorKind, GetOptions, ListPage, ListRequest, ObjectKey,
    ObjectMeta, Payload, PresignMethod, Presigned, Provider, PutMode, Retrieved, StoreError,
    Stored, Usage,
};

/// A write that the caller has given up.
type Held = (ObjectKey, Payload, Attributes, PutMode);

/// A store that can be told to answer writes with a time-out and to do them later.
#[derive(Debug)]
pub struct Late<B> {
    inner: B,
    holds: AtomicBool,
    held: Mutex<Vec<Held>>,
}

impl<B: Backend> Late<B> {
    pub fn new(inner: B) -> Self {
        Self { inner, holds: AtomicBool::new(false), held: Mutex::default() }
    }

    /// Whether the writes to come are held back.
    pub fn hold(&self, holds: bool) {
        self.holds.store(holds, Ordering::Relaxed);
    }

    /// Does what was held back; answers how many writes took effect.
    pub async fn land(&self) -> usize {
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        let mut landed = 0;
        for (key, payload, attributes, mode) in held {
            landed += usize::from(self.inner.put(&key, payload, attributes, mode).await.is_ok());
        }
        landed
    }

    /// The store below.
    pub fn inner(&self) -> &B {
        &self.inner
    }
}

#[async_trait]
impl<B: Backend> Backend for Late<B> {
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
        if !self.holds.load(Ordering::Relaxed) {
            return self.inner.put(key, payload, attributes, mode).await;
        }
        let held = (key.clone(), payload, attributes, mode);
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(held);
        Err(StoreError::new(ErrorKind::Timeout, self.provider(), "injected: it may land later"))
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
        self.inner.delete(key, if_match).await
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
