//! Counts and times every operation of a backend.
//!
//! A call that is dropped before its answer counts as cancelled. A `get` counts when its head is
//! there; a body that is streamed afterwards counts by itself, as `get_body`, when it ends, fails
//! or is dropped, so a failure on the way is seen when it happens. The time of `get_body` is as
//! long as its reader makes it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Stream;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::model::{
    Attributes, Body, BodyStream, ByteRange, Capabilities, ETag, GetOptions, ListPage, ListRequest,
    ObjectKey, ObjectMeta, Payload, PresignMethod, Presigned, Provider, PutMode, Retrieved,
    StoreError, Stored, Usage,
};
use crate::telemetry::{BackendMetrics, Operation, Outcome};

/// A backend whose operations are counted.
#[derive(Debug)]
pub struct Metered {
    inner: Arc<dyn Backend>,
    metrics: BackendMetrics,
}

impl Metered {
    /// Wraps a backend.
    pub fn new(inner: Arc<dyn Backend>, metrics: BackendMetrics) -> Self {
        Self { inner, metrics }
    }

    fn start(&self, operation: Operation) -> Timer {
        Timer {
            metrics: self.metrics.clone(),
            operation,
            started: Instant::now(),
            outcome: Outcome::Cancelled,
        }
    }

    async fn measure<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut timer = self.start(operation);
        let result = call.await;
        timer.outcome = result.as_ref().err().map_or(Outcome::Ok, Outcome::from);
        result
    }
}

/// Records when it is dropped: a future that nobody finished leaves it at cancelled.
struct Timer {
    metrics: BackendMetrics,
    operation: Operation,
    started: Instant,
    outcome: Outcome,
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.metrics.operation(self.operation, self.outcome, self.started.elapsed());
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Backend for Metered {
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
        self.measure(Operation::Put, self.inner.put(key, payload, attributes, mode)).await
    }

    async fn get(&self, key: &ObjectKey, options: GetOptions) -> Result<Retrieved, StoreError> {
        let range = options.range;
        let found = self.measure(Operation::Get, self.inner.get(key, options)).await?;
        let body = match found.body {
            Body::Bytes(bytes) => Body::Bytes(bytes),
            Body::Stream(inner) => {
                let remaining = range.map_or(found.meta.stored_size, ByteRange::len);
                let timer = Some(self.start(Operation::GetBody));
                Body::Stream(Box::pin(MeteredBody { inner, remaining, timer }))
            }
        };
        Ok(Retrieved::new(found.meta, body))
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.measure(Operation::Head, self.inner.head(key)).await
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        self.measure(Operation::Delete, self.inner.delete(key, if_match)).await
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>> {
        let mut timer = self.start(Operation::DeleteMany);
        let results = self.inner.delete_many(keys).await;
        let failure = results.iter().find_map(|result| result.as_ref().err());
        timer.outcome = failure.map_or(Outcome::Ok, Outcome::from);
        results
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.measure(Operation::List, self.inner.list(request)).await
    }

    async fn copy(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.measure(Operation::Copy, self.inner.copy(source, destination, mode)).await
    }

    async fn salvage(&self, source: &ObjectKey, aside: &ObjectKey) -> Result<(), StoreError> {
        self.measure(Operation::Copy, self.inner.salvage(source, aside)).await
    }

    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.measure(Operation::Rename, self.inner.rename(source, destination, mode)).await
    }

    async fn presign(
        &self,
        key: &ObjectKey,
        method: &PresignMethod,
        expires_in: Duration,
    ) -> Result<Presigned, StoreError> {
        self.measure(Operation::Presign, self.inner.presign(key, method, expires_in)).await
    }

    async fn usage(&self) -> Result<Usage, StoreError> {
        self.measure(Operation::Usage, self.inner.usage()).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.measure(Operation::Probe, self.inner.probe()).await
    }
}

struct MeteredBody {
    inner: BodyStream,
    /// Bytes still to come. A reader that knows the length stops asking once it has them all, and
    /// never sees the end: that is no cancellation.
    remaining: u64,
    /// Gone once the end was counted.
    timer: Option<Timer>,
}

impl MeteredBody {
    fn end(&mut self, outcome: Outcome) {
        if let Some(mut timer) = self.timer.take() {
            timer.outcome = outcome;
        }
    }
}

impl Stream for MeteredBody {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.inner.as_mut().poll_next(context));
        match &item {
            Some(Ok(bytes)) => {
                self.remaining = self.remaining.saturating_sub(bytes.len() as u64);
                if self.remaining == 0
                    && let Some(timer) = &mut self.timer
                {
                    timer.outcome = Outcome::Ok;
                }
            }
            Some(Err(error)) => self.end(Outcome::from(error)),
            None => self.end(Outcome::Ok),
        }
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests;
