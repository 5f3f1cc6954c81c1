//! The one retrier: tries again what failed, and finds out what a lost answer said.
//!
//! [`StoreError::class`] decides. Answers are not retried, but for `Contended`. What did not happen
//! is. What may have happened is repeated where that does no harm (reads, overwrites, deletes); a
//! conditional write is looked for first (see `settle`), because its repetition would meet the object
//! that it has made itself. A write that stays in doubt ends in the error that says so, never in a
//! later one. Refusals of the breaker end a call at once: it knows that nobody answers.
//!
//! Waits are exponential with full jitter and at least as long as the backend asked for; a budget
//! keeps retries to a tenth of the calls, looks included, so that an outage is not made worse.
//! Stands below `metered`, which sees what callers see, and above the breaker, which is asked for
//! each attempt. Bodies are not retried once they have begun, and probes not at all.

mod backoff;
mod budget;
mod course;
mod doubt;
mod settle;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::backoff::Backoff;
use self::budget::Budget;
use self::course::{Course, may_pass};
use self::doubt::Wanted;
use self::settle::{Finding, Likeness};
use crate::backend::Backend;
use crate::model::{
    Attributes, Capabilities, Class, ETag, ErrorKind, GetOptions, ListPage, ListRequest, ObjectKey,
    ObjectMeta, Payload, PresignMethod, Presigned, Provider, PutMode, Retrieved, StoreError,
    Stored, Usage,
};
use crate::telemetry::{BackendMetrics, Operation};

/// Bytes per second that even a slow backend takes.
const SLOWEST_BYTES_PER_SECOND: u64 = 1 << 20;

/// How often and for how long to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Tries after the first. With none, a write with a lost answer is still looked for once.
    pub max_retries: u32,
    /// Longest first wait; doubles with each retry.
    pub base: Duration,
    /// Longest wait.
    pub cap: Duration,
    /// Age of a call from which nothing more is begun for it; an upload has a second more for each
    /// MiB. An attempt under way is not cut off: it has a limit of its own.
    pub deadline: Duration,
    /// Longest hint of a backend that is waited for; a longer one is the caller's to know.
    pub longest_hint: Duration,
    /// Whether a write with a lost answer is looked for after the deadline too: a long upload is
    /// worth one short call.
    pub late_look: bool,
    /// Makes the waits repeatable.
    pub seed: Option<u64>,
}

impl RetryPolicy {
    /// Waits of 50 ms to 5 s, and a minute in all: twice the usual time limit of one attempt, so
    /// that a call which hung once gets another try.
    pub fn new(max_retries: u32) -> Self {
        Self {
            max_retries,
            base: Duration::from_millis(50),
            cap: Duration::from_secs(5),
            deadline: Duration::from_secs(60),
            longest_hint: Duration::from_secs(10),
            late_look: true,
            seed: None,
        }
    }

    /// For a backend that is one of several. Another one can take the call over, and its caller
    /// waits: what does not come right within a second is for the pool to decide. A breaker that
    /// is open is not waited for at all.
    pub fn of_member(max_retries: u32) -> Self {
        Self {
            cap: Duration::from_millis(200),
            deadline: Duration::from_secs(1),
            longest_hint: Duration::ZERO,
            late_look: false,
            ..Self::new(max_retries)
        }
    }
}

/// Tries again on behalf of its callers.
#[derive(Debug)]
pub struct Retry {
    inner: Arc<dyn Backend>,
    policy: RetryPolicy,
    backoff: Backoff,
    budget: Budget,
    metrics: BackendMetrics,
}

impl Retry {
    /// Wraps a backend.
    pub fn new(inner: Arc<dyn Backend>, policy: RetryPolicy, metrics: BackendMetrics) -> Self {
        let backoff = Backoff::new(policy.base, policy.cap, policy.seed);
        Self { inner, policy, backoff, budget: Budget::new(), metrics }
    }

    fn begin(&self, operation: Operation) -> Course<'_> {
        Course::new(self, operation, Duration::ZERO)
    }

    /// An attempt that moves so much takes its time, and is worth another one after it.
    fn begin_large(&self, operation: Operation, bytes: u64) -> Course<'_> {
        Course::new(self, operation, Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND))
    }

    /// A write without a condition: repeated as it is.
    async fn overwrite<F>(
        &self,
        mut course: Course<'_>,
        call: impl Fn() -> F,
    ) -> Result<Stored, StoreError>
    where
        F: Future<Output = Result<Stored, StoreError>>,
    {
        let stored = course.repeat(call).await?;
        // What was replaced may be our own, from an attempt whose answer was lost.
        let known = !course.is_in_doubt() || stored.replaced == Some(false);
        Ok(Stored { replaced: stored.replaced.filter(|_| known), ..stored })
    }

    /// A write or copy with a condition: looked for where its outcome is unknown.
    async fn conditional<F>(
        &self,
        mut course: Course<'_>,
        wanted: Wanted<'_>,
        destination: &ObjectKey,
        mode: &PutMode,
        call: impl Fn() -> F,
    ) -> Result<Stored, StoreError>
    where
        F: Future<Output = Result<Stored, StoreError>>,
    {
        loop {
            let error = match course.attempt(call()).await {
                Ok(stored) => return Ok(stored),
                Err(error) => error,
            };
            if !may_be_our_own(&course, &error) {
                course.again(error).await?;
                continue;
            }
            let finding = self.find(&course, &wanted, destination, mode, &error).await;
            if let Some(stored) = self.conclude(&mut course, finding, mode, error)? {
                return Ok(stored);
            }
        }
    }

    /// Turns a finding into the caller's answer, or into `None` where to try again.
    fn conclude(
        &self,
        course: &mut Course<'_>,
        finding: Finding,
        mode: &PutMode,
        error: StoreError,
    ) -> Result<Option<Stored>, StoreError> {
        match finding {
            Finding::Done(meta) => {
                course.settled();
                Ok(Some(Stored { meta, replaced: settle::replaced(mode) }))
            }
            Finding::NotDone => course.again_at_once(error).map(|()| None),
            Finding::Refused(kind) if error.kind() == kind => Err(error),
            Finding::Refused(kind) => {
                let detail = "another object is there";
                Err(StoreError::new(kind, self.inner.provider(), detail))
            }
            Finding::Open => Err(course.last_word(error)),
        }
    }
}

/// Whether what an attempt met may be an earlier attempt's, or its own, effect.
fn may_be_our_own(course: &Course<'_>, error: &StoreError) -> bool {
    match error.class() {
        Class::Unknown => true,
        Class::Answer => course.is_in_doubt(),
        Class::Failed => false,
    }
}

/// Whether a delete removed something; where an earlier attempt's answer was lost, it may have been
/// that one.
fn deleted(course: &Course<'_>, was_there: Option<bool>) -> Option<bool> {
    was_there.filter(|found| *found || !course.is_in_doubt())
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Backend for Retry {
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
        let course = self.begin_large(Operation::Put, payload.len());
        if mode == PutMode::Overwrite {
            return self.overwrite(course, call).await;
        }
        let wanted = Wanted::Written(Likeness::new(&attributes, payload.len()));
        self.conditional(course, wanted, key, &mode, call).await
    }

    async fn get(&self, key: &ObjectKey, options: GetOptions) -> Result<Retrieved, StoreError> {
        self.begin(Operation::Get).repeat(|| self.inner.get(key, options.clone())).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.begin(Operation::Head).repeat(|| self.inner.head(key)).await
    }

    /// Repeated as it is, with a condition too: a version that is gone is no error, and another one
    /// is spared.
    async fn delete(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        let mut course = self.begin(Operation::Delete);
        loop {
            match course.attempt(self.inner.delete(key, if_match)).await {
                Ok(was_there) => return Ok(deleted(&course, was_there)),
                Err(error) if error.kind() == ErrorKind::PreconditionFailed => return Err(error),
                Err(error) => course.again(error).await?,
            }
        }
    }

    /// Repeats the keys that failed, and only those.
    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>> {
        let mut course = self.begin(Operation::DeleteMany);
        let mut results = self.inner.delete_many(keys).await;
        loop {
            let failed: Vec<usize> = (0..results.len().min(keys.len()))
                .filter(|&place| results[place].as_ref().is_err_and(may_pass))
                .collect();
            let errors = failed.iter().filter_map(|&place| results[place].as_ref().err());
            // The one that asks for the longest wait speaks for all.
            let worst = errors.max_by_key(|error| error.retry_after()).cloned();
            course.note(worst.as_ref());
            let Some(worst) = worst else { return results };
            if course.again(worst).await.is_err() {
                return results;
            }
            let again: Vec<ObjectKey> = failed.iter().map(|&place| keys[place].clone()).collect();
            let answers = self.inner.delete_many(&again).await;
            for (place, answer) in failed.into_iter().zip(answers) {
                results[place] = later(&results[place], answer);
            }
        }
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.begin(Operation::List).repeat(|| self.inner.list(request)).await
    }

    async fn copy(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let call = || self.inner.copy(source, destination, mode.clone());
        let course = self.begin(Operation::Copy);
        if mode == PutMode::Overwrite {
            return self.overwrite(course, call).await;
        }
        let wanted = Wanted::CopyOf(source);
        self.conditional(course, wanted, destination, &mode, call).await
    }

    async fn salvage(&self, source: &ObjectKey, aside: &ObjectKey) -> Result<(), StoreError> {
        let call = || self.inner.salvage(source, aside);
        self.begin(Operation::Copy).repeat(call).await
    }

    /// Looks at the source first: once it is gone, nothing else could tell what was to arrive.
    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        if source == destination {
            // Invalid, which is the backend's to say.
            return self.inner.rename(source, destination, mode).await;
        }
        let before = self.head(source).await?;
        let mut course = self.begin(Operation::Rename);
        loop {
            let call = self.inner.rename(source, destination, mode.clone());
            let error = match course.attempt(call).await {
                Ok(stored) => return Ok(stored),
                Err(error) => error,
            };
            if !may_be_our_own(&course, &error) {
                course.again(error).await?;
                continue;
            }
            let finding = self.find_moved(&course, &before, destination, &mode, &error).await;
            if let Some(stored) = self.conclude(&mut course, finding, &mode, error)? {
                return Ok(stored);
            }
        }
    }

    /// Passed by: nothing is sent, and what cannot be signed now cannot be a moment later.
    async fn presign(
        &self,
        key: &ObjectKey,
        method: &PresignMethod,
        expires_in: Duration,
    ) -> Result<Presigned, StoreError> {
        self.inner.presign(key, method, expires_in).await
    }

    /// Once: it is what was counted before, and another try would not count.
    async fn usage(&self) -> Result<Usage, StoreError> {
        self.inner.usage().await
    }

    /// Once: a health check asks how the backend is now, and comes again by itself.
    async fn probe(&self) -> Result<(), StoreError> {
        self.begin(Operation::Probe).attempt(self.inner.probe()).await
    }
}

/// The answer to a key that was tried again. A doubt stays until an answer removes it.
fn later(
    earlier: &Result<Option<bool>, StoreError>,
    answer: Result<Option<bool>, StoreError>,
) -> Result<Option<bool>, StoreError> {
    let Err(doubt) = earlier else { return answer };
    match answer {
        _ if doubt.class() != Class::Unknown => answer,
        Ok(was_there) => Ok(was_there.filter(|found| *found)),
        Err(error) if error.class() == Class::Unknown => Err(error),
        Err(_) => Err(doubt.clone()),
    }
}

#[cfg(test)]
mod tests;
