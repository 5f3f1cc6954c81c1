//! A limit on how long one call to a backend may take, and how long a body may pause.
//!
//! Innermost of the layers: what is above sees a slow backend as an error of a known kind. It is of
//! one attempt, so a retrier above gives each its own time. Large uploads and copies get more time,
//! so that a limit which suits small calls does not cut them off. An upload from a file may go on
//! for as long as it takes more of it: its time begins anew with each piece that is read. What is
//! read must begin sooner: an answer that is late is mostly lost with its connection, and another
//! one soon found. A streamed body may neither pause for the limit nor take longer, as a whole, than
//! the limit and its size allow; only the time in which its reader waits counts, so a slow reader is
//! not taken for a slow backend.

mod body;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::body::TimedBody;
use super::transfer_allowance;
use crate::backend::Backend;
use crate::model::{
    Attributes, Body, ByteRange, Capabilities, ETag, ErrorKind, GetOptions, ListPage, ListRequest,
    ObjectKey, ObjectMeta, Payload, PresignMethod, Presigned, Provider, PutMode, Retrieved,
    StoreError, Stored, Usage,
};

/// What every read is given to begin, where the limit is not shorter.
const LEAST_TO_BEGIN: Duration = Duration::from_secs(2);

/// Limits every call to what is behind it.
#[derive(Debug)]
pub struct Timeout {
    inner: Arc<dyn Backend>,
    limit: Duration,
}

/// Bytes of a copy whose size nobody can tell, for its time limit.
const SALVAGED: u64 = 256 << 20;

impl Timeout {
    /// Limits calls, and pauses of streamed bodies, to `limit`; uploads, copies and bodies as a
    /// whole get a second for each MiB beyond it. Reads must begin within a quarter of it.
    pub fn new(inner: Arc<dyn Backend>, limit: Duration) -> Self {
        Self { inner, limit }
    }

    /// A call of which the backend may need time for the work.
    async fn within<T>(
        &self,
        extra: Duration,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.limited(self.limit + extra, call).await
    }

    /// A call that only reads, up to the first byte.
    async fn beginning<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.limited((self.limit / 4).max(LEAST_TO_BEGIN).min(self.limit), call).await
    }

    async fn limited<T>(
        &self,
        limit: Duration,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(limit, call).await {
            Ok(result) => result,
            Err(_) => Err(self.expired(limit)),
        }
    }

    /// Limits how long an upload may go on without reading more of what it sends.
    async fn within_pieces<T>(
        &self,
        payload: &Payload,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let limit = self.limit + transfer_allowance(payload.len());
        let mut call = std::pin::pin!(call);
        loop {
            let before = payload.reads();
            match tokio::time::timeout(limit, &mut call).await {
                Ok(result) => return result,
                Err(_) if payload.reads() > before => {}
                Err(_) => return Err(self.expired(limit)),
            }
        }
    }

    fn expired(&self, limit: Duration) -> StoreError {
        let detail = format!("the backend did not answer within {} ms", limit.as_millis());
        StoreError::new(ErrorKind::Timeout, self.inner.provider(), detail)
    }

    /// How long a server-side copy may take beyond the usual.
    async fn copy_allowance(&self, source: &ObjectKey) -> Result<Duration, StoreError> {
        let meta = self.beginning(self.inner.head(source)).await?;
        Ok(transfer_allowance(meta.stored_size))
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Backend for Timeout {
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
        // A count of its own: others may send the same bytes somewhere else.
        let payload = payload.watched();
        let call = self.inner.put(key, payload.clone(), attributes, mode);
        self.within_pieces(&payload, call).await
    }

    async fn get(&self, key: &ObjectKey, options: GetOptions) -> Result<Retrieved, StoreError> {
        let range = options.range;
        let found = self.beginning(self.inner.get(key, options)).await?;
        let body = match found.body {
            Body::Bytes(bytes) => Body::Bytes(bytes),
            Body::Stream(stream) => {
                let length = range.map_or(found.meta.stored_size, ByteRange::len);
                let whole = self.limit + transfer_allowance(length);
                let provider = self.inner.provider();
                Body::Stream(Box::pin(TimedBody::new(stream, self.limit, whole, provider)))
            }
        };
        Ok(Retrieved::new(found.meta, body))
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.beginning(self.inner.head(key)).await
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        self.within(Duration::ZERO, self.inner.delete(key, if_match)).await
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>> {
        let count = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        let limit = self.limit + crate::backend::TIME_FOR_EACH_DELETE * count;
        match tokio::time::timeout(limit, self.inner.delete_many(keys)).await {
            Ok(results) => results,
            Err(_) => keys.iter().map(|_| Err(self.expired(limit))).collect(),
        }
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.within(Duration::ZERO, self.inner.list(request)).await
    }

    async fn copy(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let extra = self.copy_allowance(source).await?;
        self.within(extra, self.inner.copy(source, destination, mode)).await
    }

    async fn salvage(&self, source: &ObjectKey, aside: &ObjectKey) -> Result<(), StoreError> {
        // Its size is among what may be damaged.
        self.within(transfer_allowance(SALVAGED), self.inner.salvage(source, aside)).await
    }

    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let extra = self.copy_allowance(source).await?;
        self.within(extra, self.inner.rename(source, destination, mode)).await
    }

    /// Credentials may have to be fetched.
    async fn presign(
        &self,
        key: &ObjectKey,
        method: &PresignMethod,
        expires_in: Duration,
    ) -> Result<Presigned, StoreError> {
        self.within(Duration::ZERO, self.inner.presign(key, method, expires_in)).await
    }

    async fn usage(&self) -> Result<Usage, StoreError> {
        self.within(Duration::ZERO, self.inner.usage()).await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.within(Duration::ZERO, self.inner.probe()).await
    }
}

#[cfg(test)]
mod tests;
