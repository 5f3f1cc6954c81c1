//! Keeps calls away from a backend that fails, and finds out by single calls when it is well again.
//!
//! What counts is whether the backend answers: refusals such as 404 or 412 are answers, and so is
//! `Corrupt`, which is of one object. Failures and unknown outcomes count, a body that breaks off
//! too; being told to come later counts among many calls only, as it may be of one key. Callers that
//! go away count as nothing, and so do refusals on this side. A refused call is `Unavailable`, certainly without effect, and says when to come again. `probe` goes the same
//! way as any call, so the health check's probes find out without traffic.
//!
//! The machine is in `state`; this is its gate. Stands above limit and timeout, so that a hanging
//! backend is a failing one, and below retry, so that each attempt is asked about.

mod body;
mod gate;
mod state;
mod window;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::body::GuardedBody;
pub use self::gate::{BreakerHandle, BreakerStatus};
use self::gate::{Gate, Verdict};
pub use self::state::BreakerPolicy;
use crate::backend::Backend;
use crate::model::{
    Attributes, Body, Capabilities, Class, ETag, ErrorKind, GetOptions, ListPage, ListRequest,
    ObjectKey, ObjectMeta, Payload, PresignMethod, Presigned, Provider, PutMode, Retrieved,
    StoreError, Stored, Usage,
};
use crate::telemetry::BackendMetrics;

/// Opens and closes the way to what is behind it.
#[derive(Debug)]
pub struct Breaker {
    inner: Arc<dyn Backend>,
    gate: Arc<Gate>,
}

impl Breaker {
    /// Wraps a backend; `name` is the member's, for answers and the log.
    pub fn new(
        inner: Arc<dyn Backend>,
        name: impl Into<Arc<str>>,
        policy: BreakerPolicy,
        metrics: &BackendMetrics,
    ) -> Self {
        let gate = Gate::new(name.into(), inner.provider(), policy, metrics);
        Self { inner, gate: Arc::new(gate) }
    }

    /// How it stands.
    pub fn status(&self) -> BreakerStatus {
        self.gate.status()
    }

    /// For whoever wants to know how it stands later on.
    pub fn handle(&self) -> BreakerHandle {
        BreakerHandle::new(Arc::clone(&self.gate))
    }

    async fn guard<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let pass = Gate::admit(&self.gate)?;
        let result = call.await;
        pass.finish(result.as_ref().err().map_or(Verdict::Answered, judge));
        result
    }
}

/// What an error says about the backend.
fn judge(error: &StoreError) -> Verdict<'_> {
    match error.class() {
        Class::Failed if error.kind() == ErrorKind::Corrupt => Verdict::Answered,
        Class::Failed if error.is_unasked() => Verdict::Nothing,
        Class::Failed if error.kind() == ErrorKind::Unavailable => Verdict::Busy(error),
        Class::Failed | Class::Unknown => Verdict::Failed(error),
        Class::Answer => Verdict::Answered,
    }
}

/// Of many answers: one that is an answer shows that the backend works.
fn judge_many<T>(results: &[Result<T, StoreError>]) -> Verdict<'_> {
    let verdicts =
        || results.iter().map(|result| result.as_ref().map_or_else(judge, |_| Verdict::Answered));
    if verdicts().any(|verdict| matches!(verdict, Verdict::Answered)) {
        return Verdict::Answered;
    }
    let failed = verdicts().find(|verdict| matches!(verdict, Verdict::Failed(_)));
    let busy = || verdicts().find(|verdict| matches!(verdict, Verdict::Busy(_)));
    failed.or_else(busy).unwrap_or(Verdict::Nothing)
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Backend for Breaker {
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
        self.guard(self.inner.put(key, payload, attributes, mode)).await
    }

    async fn get(&self, key: &ObjectKey, options: GetOptions) -> Result<Retrieved, StoreError> {
        let found = self.guard(self.inner.get(key, options)).await?;
        let body = match found.body {
            Body::Bytes(bytes) => Body::Bytes(bytes),
            Body::Stream(inner) => {
                Body::Stream(Box::pin(GuardedBody::new(inner, Arc::clone(&self.gate))))
            }
        };
        Ok(Retrieved { meta: found.meta, body })
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.guard(self.inner.head(key)).await
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        self.guard(self.inner.delete(key, if_match)).await
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>> {
        let pass = match Gate::admit(&self.gate) {
            Ok(pass) => pass,
            Err(refusal) => return keys.iter().map(|_| Err(refusal.clone())).collect(),
        };
        let results = self.inner.delete_many(keys).await;
        pass.finish(judge_many(&results));
        results
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.guard(self.inner.list(request)).await
    }

    async fn copy(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.guard(self.inner.copy(source, destination, mode)).await
    }

    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.guard(self.inner.rename(source, destination, mode)).await
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

    /// Passed by: what was counted before is no call, and says nothing of how the backend is.
    async fn usage(&self) -> Result<Usage, StoreError> {
        self.inner.usage().await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.guard(self.inner.probe()).await
    }
}

#[cfg(test)]
mod tests;
