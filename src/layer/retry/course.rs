//! One caller's call on its way: attempts, looks, waits, and what to say in the end.
//!
//! A write that failed in an unknown way leaves a doubt, which only a look or a success resolves.
//! While there is one, no error may say that nothing happened, whatever later attempts say.

use std::time::Duration;

use tokio::time::Instant;

use super::Retry;
use crate::layer::breaker::is_refusal;
use crate::model::{Class, ErrorKind, ObjectKey, ObjectMeta, StoreError};
use crate::telemetry::{Label as _, Operation, Retried};

/// Whether another try may soon end otherwise.
pub(super) fn may_pass(error: &StoreError) -> bool {
    match error.kind() {
        ErrorKind::Contended => true,
        // Damage does not mend itself, and what an operator has to mend takes longer.
        ErrorKind::Corrupt | ErrorKind::Misconfigured => false,
        _ => error.class() != Class::Answer && !is_refusal(error),
    }
}

/// A look did not come to an answer.
#[derive(Debug)]
pub(super) struct Unclear;

pub(super) struct Course<'a> {
    retry: &'a Retry,
    operation: Operation,
    started: Instant,
    deadline: Duration,
    retries: u32,
    /// The latest failure after which a write of ours may have happened.
    doubt: Option<StoreError>,
}

impl<'a> Course<'a> {
    /// `extra` is time beyond the policy's.
    pub(super) fn new(retry: &'a Retry, operation: Operation, extra: Duration) -> Self {
        retry.budget.deposit();
        let (started, deadline) = (Instant::now(), retry.policy.deadline + extra);
        Self { retry, operation, started, deadline, retries: 0, doubt: None }
    }

    /// Makes one attempt and keeps in mind how it ended.
    pub(super) async fn attempt<T>(
        &mut self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let result = call.await;
        self.note(result.as_ref().err());
        result
    }

    /// Keeps in mind how an attempt ended.
    pub(super) fn note(&mut self, error: Option<&StoreError>) {
        let class = error.map_or(Class::Answer, StoreError::class);
        if self.retries > 0 {
            let answered =
                class == Class::Answer && error.is_none_or(|e| e.kind() != ErrorKind::Contended);
            self.count(if answered { Retried::Answered } else { Retried::Failed });
        }
        if self.is_write() && class == Class::Unknown {
            self.doubt = error.cloned();
        }
    }

    /// Attempts a call that may be repeated as it is, until it is answered or given up.
    pub(super) async fn repeat<T, F>(&mut self, call: impl Fn() -> F) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        loop {
            match self.attempt(call()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => self.again(error).await?,
            }
        }
    }

    /// Whether an attempt of ours may have happened: then an answer need not mean what it says.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// Waits until the next attempt may begin.
    ///
    /// # Errors
    /// There is none: what to tell the caller.
    pub(super) async fn again(&mut self, error: StoreError) -> Result<(), StoreError> {
        let tries_left = self.retries < self.retry.policy.max_retries;
        if may_pass(&error) && tries_left && self.pause(&error, self.retries).await {
            self.retries += 1;
            return Ok(());
        }
        Err(self.last_word(error))
    }

    /// Lets the next attempt begin at once, after a look that has waited already.
    ///
    /// # Errors
    /// There is none: what to tell the caller.
    pub(super) fn again_at_once(&mut self, error: StoreError) -> Result<(), StoreError> {
        let tries_left = self.retries < self.retry.policy.max_retries;
        if tries_left && self.is_in_time(Duration::ZERO) && self.pay() {
            self.retries += 1;
            return Ok(());
        }
        Err(self.last_word(error))
    }

    /// Looks what is at a key, after an attempt that ended with `cause`. Costs the budget like a
    /// retry, but is none: by the policy the first look comes even after the deadline.
    pub(super) async fn look(
        &self,
        key: &ObjectKey,
        cause: &StoreError,
    ) -> Result<Option<ObjectMeta>, Unclear> {
        let mut last = cause.clone();
        for number in 0..self.retry.policy.max_retries.max(1) {
            let go = match number {
                0 => self.pause_before_first_look(&last).await,
                _ => self.pause(&last, number).await,
            };
            if !go {
                return Err(Unclear);
            }
            match self.retry.inner.head(key).await {
                Ok(meta) => return Ok(Some(meta)),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                Err(error) if !may_pass(&error) => return Err(Unclear),
                Err(error) => last = error,
            }
        }
        Err(Unclear)
    }

    /// A look has shown that a write with a lost answer had taken effect.
    pub(super) fn settled(&self) {
        self.count(Retried::Settled);
    }

    /// What to tell the caller when nothing more is done.
    pub(super) fn last_word(&self, error: StoreError) -> StoreError {
        self.doubt.clone().unwrap_or(error)
    }

    async fn pause(&self, error: &StoreError, number: u32) -> bool {
        let wait = self.wait(error, number);
        if self.is_hint_too_long(error) || !self.is_in_time(wait) {
            self.count(Retried::TooLate);
            return false;
        }
        self.pay_and_wait(error, wait).await
    }

    async fn pause_before_first_look(&self, error: &StoreError) -> bool {
        let wait = self.wait(error, 0);
        let is_late = !self.retry.policy.late_look && !self.is_in_time(wait);
        if self.is_hint_too_long(error) || is_late {
            self.count(Retried::TooLate);
            return false;
        }
        self.pay_and_wait(error, wait).await
    }

    fn is_hint_too_long(&self, error: &StoreError) -> bool {
        error.retry_after().is_some_and(|hint| hint > self.retry.policy.longest_hint)
    }

    /// Chance comes on top of a hint: all who were given the same one would come at once.
    fn wait(&self, error: &StoreError, number: u32) -> Duration {
        error.retry_after().unwrap_or_default() + self.retry.backoff.wait(number)
    }

    fn is_in_time(&self, wait: Duration) -> bool {
        self.started.elapsed() + wait <= self.deadline
    }

    async fn pay_and_wait(&self, error: &StoreError, wait: Duration) -> bool {
        if !self.pay() {
            return false;
        }
        let operation = self.operation.as_str();
        tracing::debug!(operation, wait_ms = wait.as_millis(), ?error, "trying again");
        tokio::time::sleep(wait).await;
        true
    }

    fn pay(&self) -> bool {
        let paid = self.retry.budget.withdraw();
        if !paid {
            self.count(Retried::NoBudget);
        }
        paid
    }

    fn count(&self, outcome: Retried) {
        self.retry.metrics.retried(self.operation, outcome);
    }

    fn is_write(&self) -> bool {
        match self.operation {
            Operation::Put
            | Operation::Delete
            | Operation::DeleteMany
            | Operation::Copy
            | Operation::Rename => true,
            Operation::Get
            | Operation::GetBody
            | Operation::Head
            | Operation::List
            | Operation::Presign
            | Operation::Usage
            | Operation::Probe => false,
        }
    }
}
