//! Keeps calls away from a backend that fails, and finds out by probes when it is well again.
//!
//! What counts is whether the backend answers: refusals such as 404 or 412 are answers, and so is
//! `Corrupt`, which is of one object. Failures and unknown outcomes count, a body that breaks off
//! too; requests to slow down count by their share only, as they may be of one key. Callers that go
//! away count as nothing, and so do refusals on this side. A backend of which nothing is heard any
//! more is given up as a whole (see `silence`), and the calls that hang end with it. A refused call
//! is `Unavailable`, certainly without effect, and says when to come again. No caller's call is the
//! one that tries whether the backend is well again: a probe is, so that no write is put in doubt.
//!
//! The machine is in `state`, its gate in `gate`. Stands above limit and timeout, so that a hanging
//! backend is a failing one, and below retry, so that each attempt is asked about.

mod body;
mod gate;
mod silence;
mod state;
mod window;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use self::body::GuardedBody;
pub(super) use self::gate::is_refusal;
pub use self::gate::{BreakerHandle, BreakerStatus};
use self::gate::{Gate, Pass, Verdict};
use self::silence::Silence;
pub use self::state::BreakerPolicy;
use super::transfer_allowance;
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
    way: Arc<Way>,
}

/// The way to a backend, shared with the bodies that come along it.
#[derive(Debug)]
struct Way {
    inner: Arc<dyn Backend>,
    gate: Arc<Gate>,
    silence: Silence,
}

impl Breaker {
    /// Wraps a backend; `name` is the member's, for answers and the log.
    pub fn new(
        inner: Arc<dyn Backend>,
        name: impl Into<Arc<str>>,
        policy: BreakerPolicy,
        metrics: &BackendMetrics,
    ) -> Self {
        let silence = Silence::new(policy.silence, Instant::now());
        let gate = Gate::new(name.into(), inner.provider(), policy, metrics);
        Self { way: Arc::new(Way { inner, gate: Arc::new(gate), silence }) }
    }

    /// How it stands.
    pub fn status(&self) -> BreakerStatus {
        self.way.gate.status()
    }

    /// For whoever wants to know how it stands later on.
    pub fn handle(&self) -> BreakerHandle {
        BreakerHandle::new(Arc::clone(&self.way.gate))
    }

    fn inner(&self) -> &dyn Backend {
        &*self.way.inner
    }

    /// A call that is expected to be answered at once.
    async fn guard<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.guard_transfer(0, call).await
    }

    /// A call that sends so many bytes, and gets the time for it.
    async fn guard_transfer<T>(
        &self,
        bytes: u64,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let pass = self.way.admit().await?;
        let result = self.way.listen(bytes, call).await;
        self.way.finish(pass, verdict_on(&result));
        result
    }
}

impl Way {
    /// A pass for a call, after a probe where the breaker is to be tried.
    async fn admit(&self) -> Result<Pass, StoreError> {
        let pass = Gate::admit(&self.gate)?;
        if !pass.is_trial {
            return Ok(pass);
        }
        match self.try_out(pass).await {
            Ok(()) => Gate::admit(&self.gate),
            Err(_) => Err(self.gate.refusal_now()),
        }
    }

    /// Asks the backend how it is, and moves the breaker accordingly.
    async fn try_out(&self, pass: Pass) -> Result<(), StoreError> {
        let limit = self.silence.bearable() * 2;
        let probe = tokio::time::timeout(limit, self.inner.probe()).await;
        let result = probe.unwrap_or_else(|_| Err(self.silent()));
        self.finish(pass, verdict_on(&result));
        result
    }

    fn finish(&self, pass: Pass, verdict: Verdict<'_>) {
        if verdict.is_heard() {
            self.silence.broken(Instant::now());
        }
        pass.finish(verdict);
    }

    /// Waits for a call that sends so many bytes, but not for one of which nothing will be heard.
    async fn listen<T>(
        self: &Arc<Self>,
        bytes: u64,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let patience = self.silence.bearable() + transfer_allowance(bytes);
        tokio::select! {
            biased;
            result = call => result,
            error = self.goes_dark(patience) => Err(error),
        }
    }

    /// Ends when the backend is dark, with what to tell whoever waits for it.
    async fn goes_dark(self: &Arc<Self>, patience: Duration) -> StoreError {
        let question = || {
            let this = Arc::clone(self);
            // On its own: who asks may go away, and others wait for the answer.
            tokio::spawn(async move {
                let answer = tokio::time::timeout(this.silence.bearable(), this.inner.probe());
                if answer.await.is_ok_and(|result| verdict_on(&result).is_heard()) {
                    this.silence.broken(Instant::now());
                }
            });
        };
        self.silence.unbearable(patience, question).await;
        let error = self.silent();
        self.gate.darkened(&error);
        error
    }

    fn silent(&self) -> StoreError {
        let silence = self.silence.bearable().as_millis() * 2;
        let detail =
            format!("the backend has fallen silent: nothing came from it for {silence} ms");
        StoreError::new(ErrorKind::Timeout, self.inner.provider(), detail)
    }
}

fn verdict_on<T>(result: &Result<T, StoreError>) -> Verdict<'_> {
    result.as_ref().err().map_or(Verdict::Answered, judge)
}

/// What an error says about the backend.
fn judge(error: &StoreError) -> Verdict<'_> {
    match (error.class(), error.kind()) {
        (Class::Failed, ErrorKind::Corrupt) => Verdict::Answered,
        (Class::Failed, _) if error.is_unasked() => Verdict::Nothing,
        (Class::Failed, ErrorKind::Unavailable) => Verdict::Slowed(error),
        (Class::Failed | Class::Unknown, _) => Verdict::Failed(error),
        (Class::Answer, _) => Verdict::Answered,
    }
}

/// Of many answers: one that is an answer shows that the backend works.
fn judge_many<T>(results: &[Result<T, StoreError>]) -> Verdict<'_> {
    let verdicts = || results.iter().map(verdict_on);
    if verdicts().any(|verdict| matches!(verdict, Verdict::Answered)) {
        return Verdict::Answered;
    }
    let failed = verdicts().find(|verdict| matches!(verdict, Verdict::Failed(_)));
    let slowed = || verdicts().find(|verdict| matches!(verdict, Verdict::Slowed(_)));
    failed.or_else(slowed).unwrap_or(Verdict::Nothing)
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Backend for Breaker {
    fn provider(&self) -> Provider {
        self.inner().provider()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner().capabilities()
    }

    async fn put(
        &self,
        key: &ObjectKey,
        payload: Payload,
        attributes: Attributes,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let bytes = payload.len();
        self.guard_transfer(bytes, self.inner().put(key, payload, attributes, mode)).await
    }

    async fn get(&self, key: &ObjectKey, options: GetOptions) -> Result<Retrieved, StoreError> {
        let found = self.guard(self.inner().get(key, options)).await?;
        let body = match found.body {
            Body::Bytes(bytes) => Body::Bytes(bytes),
            Body::Stream(inner) => {
                Body::Stream(Box::pin(GuardedBody::new(inner, Arc::clone(&self.way))))
            }
        };
        Ok(Retrieved::new(found.meta, body))
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.guard(self.inner().head(key)).await
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        self.guard(self.inner().delete(key, if_match)).await
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>> {
        let all = |error: StoreError| keys.iter().map(|_| Err(error.clone())).collect();
        let pass = match self.way.admit().await {
            Ok(pass) => pass,
            Err(refusal) => return all(refusal),
        };
        let call = async { Ok(self.inner().delete_many(keys).await) };
        let results = self.way.listen(0, call).await.unwrap_or_else(all);
        self.way.finish(pass, judge_many(&results));
        results
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.guard(self.inner().list(request)).await
    }

    async fn copy(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.guard(self.inner().copy(source, destination, mode)).await
    }

    async fn salvage(&self, source: &ObjectKey, aside: &ObjectKey) -> Result<(), StoreError> {
        self.guard(self.inner().salvage(source, aside)).await
    }

    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.guard(self.inner().rename(source, destination, mode)).await
    }

    /// Passed by: nothing is sent.
    async fn presign(
        &self,
        key: &ObjectKey,
        method: &PresignMethod,
        expires_in: Duration,
    ) -> Result<Presigned, StoreError> {
        self.inner().presign(key, method, expires_in).await
    }

    /// Passed by: what was counted before is no call, and says nothing of how the backend is.
    async fn usage(&self) -> Result<Usage, StoreError> {
        self.inner().usage().await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        let pass = Gate::admit(&self.way.gate)?;
        if pass.is_trial {
            return self.way.try_out(pass).await;
        }
        let result = self.way.listen(0, self.inner().probe()).await;
        self.way.finish(pass, verdict_on(&result));
        result
    }
}

#[cfg(test)]
mod tests;
