//! A pause between two writes of one key, for a backend that refuses the one that comes too soon.
//!
//! R2 takes one write a second of each key and answers the next with 429: a caller that waits for
//! its time is served, one that is refused comes back with others at once. Writers of a key take
//! turns here, and the next begins no sooner than the pause after the end of the last, so that what
//! the backend sees is never closer. Who has to wait and has a condition looks first whether it can
//! be met: reads cost no turn, and losers of a race do not wait for their refusal. A caller that
//! would wait too long is told when to come back. Deletes put nothing there and pass.
//!
//! Holds among the writers of one process; for others the retrier knows what 429 means. Stands
//! above limit and timeout, whose places and time a wait must not take, and below the breaker, as
//! nobody waits for a backend that is not asked.

mod turns;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::turns::{Turn, Turns};
use crate::backend::Backend;
use crate::model::{
    Attributes, Capabilities, ETag, ErrorKind, GetOptions, ListPage, ListRequest, ObjectKey,
    ObjectMeta, Payload, PresignMethod, Presigned, Provider, PutMode, Retrieved, StoreError,
    Stored, Usage,
};

/// How far apart writes are, and how long one may wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacePolicy {
    /// From the end of one write of a key to the begin of the next.
    pub pause: Duration,
    /// Longest wait.
    pub patience: Duration,
}

impl PacePolicy {
    /// Writes of a key a second apart, as R2 wants them, and at most 5 s of waiting.
    pub const ONE_A_SECOND: Self =
        Self { pause: Duration::from_secs(1), patience: Duration::from_secs(5) };
}

/// Keeps the writes of each key apart at what is behind it.
#[derive(Debug)]
pub struct Pace {
    inner: Arc<dyn Backend>,
    policy: PacePolicy,
    turns: Turns,
}

impl Pace {
    /// Wraps a backend.
    pub fn new(inner: Arc<dyn Backend>, policy: PacePolicy) -> Self {
        Self { inner, policy, turns: Turns::new(policy.pause) }
    }

    /// Waits until a write of the key may begin.
    ///
    /// # Errors
    /// What it copies is missing, its condition does not hold, or it would wait too long.
    async fn turn(
        &self,
        source: Option<&ObjectKey>,
        key: &ObjectKey,
        mode: &PutMode,
    ) -> Result<Turn, StoreError> {
        if let Some(turn) = self.turns.at_once(key) {
            return Ok(turn);
        }
        let waited = tokio::time::timeout(self.policy.patience, async {
            // Whoever writes now may decide the condition.
            self.turns.over(key).await;
            self.look(source, key, mode).await?;
            Ok(self.turns.wait(key).await)
        });
        waited.await.unwrap_or_else(|_| Err(self.refusal()))
    }

    /// A condition that does not hold before the wait is answered before it.
    async fn look(
        &self,
        source: Option<&ObjectKey>,
        key: &ObjectKey,
        mode: &PutMode,
    ) -> Result<(), StoreError> {
        let refusal = match mode {
            PutMode::Overwrite => return Ok(()),
            PutMode::Create => (ErrorKind::AlreadyExists, "there is an object already"),
            PutMode::Replace(_) => (ErrorKind::PreconditionFailed, "another version is there"),
        };
        match source {
            // Invalid, which is the backend's to say.
            Some(source) if source == key => return Ok(()),
            Some(source) => drop(self.inner.head(source).await?),
            None => {}
        }
        let found = match self.inner.head(key).await {
            Ok(meta) => Some(meta.etag),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            // The write itself will tell.
            Err(_) => return Ok(()),
        };
        let holds = match mode {
            PutMode::Replace(wanted) => found.as_ref() == Some(wanted),
            _ => found.is_none(),
        };
        let (kind, detail) = refusal;
        if holds { Ok(()) } else { Err(StoreError::new(kind, self.inner.provider(), detail)) }
    }

    fn refusal(&self) -> StoreError {
        let detail = format!(
            "too many writes of this key: the backend takes one in {} ms; nothing was done",
            self.policy.pause.as_millis()
        );
        StoreError::new(ErrorKind::Unavailable, self.inner.provider(), detail)
            .with_retry_after(self.policy.pause)
            .unasked()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Backend for Pace {
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
        let _turn = self.turn(None, key, &mode).await?;
        self.inner.put(key, payload, attributes, mode).await
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
        let _turn = self.turn(Some(source), destination, &mode).await?;
        self.inner.copy(source, destination, mode).await
    }

    async fn salvage(&self, source: &ObjectKey, aside: &ObjectKey) -> Result<(), StoreError> {
        let _turn = self.turn(Some(source), aside, &PutMode::Overwrite).await?;
        self.inner.salvage(source, aside).await
    }

    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let _turn = self.turn(Some(source), destination, &mode).await?;
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

#[cfg(test)]
mod tests;
