//! A limit on how many calls are in flight at one backend.
//!
//! A backend that slows down would else gather every request of the service: memory, sockets and
//! its own queue. A call waits a little for a place and is then refused, certainly without effect.
//! A streamed body keeps its place until it ends or is dropped; `delete_many` takes one place.
//! `probe` takes none: a service under load must not look dead. Stands below the breaker, which
//! must not count these refusals: they say nothing about the backend.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::backend::Backend;
use crate::model::{
    Attributes, Body, BodyStream, Capabilities, ETag, ErrorKind, GetOptions, ListPage, ListRequest,
    ObjectKey, ObjectMeta, Payload, PresignMethod, Presigned, Provider, PutMode, Retrieved,
    StoreError, Stored, Usage,
};
use crate::telemetry::{BackendCall, BackendMetrics, LimitSeries};

/// When a refused caller may come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How many calls may be in flight, and how long one waits for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitPolicy {
    /// Most calls and streamed bodies at once.
    pub in_flight: usize,
    /// Longest wait for a place.
    pub patience: Duration,
}

impl Default for LimitPolicy {
    /// 256 in flight, 1 s of patience.
    fn default() -> Self {
        Self { in_flight: 256, patience: Duration::from_secs(1) }
    }
}

/// Limits the calls in flight at what is behind it.
#[derive(Debug)]
pub struct Limit {
    inner: Arc<dyn Backend>,
    policy: LimitPolicy,
    places: Arc<Semaphore>,
    series: LimitSeries,
}

impl Limit {
    /// Wraps a backend.
    pub fn new(inner: Arc<dyn Backend>, policy: LimitPolicy, metrics: &BackendMetrics) -> Self {
        let series = metrics.limit();
        let places = Arc::new(Semaphore::new(policy.in_flight.min(Semaphore::MAX_PERMITS)));
        Self { inner, policy, places, series }
    }

    async fn place(&self) -> Result<Place, StoreError> {
        let wait = Arc::clone(&self.places).acquire_owned();
        // Nobody closes the semaphore, so only time can refuse.
        match tokio::time::timeout(self.policy.patience, wait).await {
            Ok(Ok(permit)) => Ok(Place { _permit: permit, _call: self.series.entered() }),
            Ok(Err(_)) | Err(_) => {
                self.series.refused();
                Err(self.refusal())
            }
        }
    }

    fn refusal(&self) -> StoreError {
        let detail = format!(
            "{} calls to the backend are in flight: try again later",
            self.policy.in_flight
        );
        StoreError::new(ErrorKind::Unavailable, self.inner.provider(), detail)
            .unasked()
            .with_retry_after(RETRY_AFTER)
    }

    async fn placed<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let _place = self.place().await?;
        call.await
    }
}

/// Held for as long as the backend is busy with a call.
struct Place {
    _permit: OwnedSemaphorePermit,
    _call: BackendCall,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Backend for Limit {
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
        self.placed(self.inner.put(key, payload, attributes, mode)).await
    }

    async fn get(&self, key: &ObjectKey, options: GetOptions) -> Result<Retrieved, StoreError> {
        let place = self.place().await?;
        let found = self.inner.get(key, options).await?;
        let body = match found.body {
            Body::Bytes(bytes) => Body::Bytes(bytes),
            Body::Stream(inner) => {
                Body::Stream(Box::pin(LimitedBody { inner, place: Some(place) }))
            }
        };
        Ok(Retrieved::new(found.meta, body))
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.placed(self.inner.head(key)).await
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        self.placed(self.inner.delete(key, if_match)).await
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>> {
        match self.place().await {
            Ok(_place) => self.inner.delete_many(keys).await,
            Err(refusal) => keys.iter().map(|_| Err(refusal.clone())).collect(),
        }
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.placed(self.inner.list(request)).await
    }

    async fn copy(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.placed(self.inner.copy(source, destination, mode)).await
    }

    async fn salvage(&self, source: &ObjectKey, aside: &ObjectKey) -> Result<(), StoreError> {
        self.placed(self.inner.salvage(source, aside)).await
    }

    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.placed(self.inner.rename(source, destination, mode)).await
    }

    /// Passed by: nothing is sent.
    async fn presign(
        &self,
        key: &ObjectKey,
        method: &PresignMethod,
        expires_in: Duration,
    ) -> Result<Presigned, StoreError> {
        self.inner.presign(key, method, expires_in).await
    }

    async fn usage(&self) -> Result<Usage, StoreError> {
        self.placed(self.inner.usage()).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.inner.probe().await
    }
}

struct LimitedBody {
    inner: BodyStream,
    /// Gone once the body has ended, even where its reader keeps it.
    place: Option<Place>,
}

impl Stream for LimitedBody {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.inner.as_mut().poll_next(context));
        if !matches!(item, Some(Ok(_))) {
            self.place = None;
        }
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests;
