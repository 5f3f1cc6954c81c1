//! How much a store holds that does not count by itself: walked in the background, never by a
//! request.
//!
//! One walk serves all replicas: its sums are kept in the store, under `.proof-storage/`, and so is
//! how far it came, so that another replica finishes what one began. In between, each replica adds
//! what it did itself. A listing knows the bytes at rest and not what the callers sent, and a
//! delete does not say what it deleted: figures are an estimate, of the bytes at rest, and say so.

mod record;
mod since;
mod walk;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::future::try_join_all;

use self::record::{Record, Sums, Taken, Version, Walking};
use self::since::Since;
use self::walk::{Range, Walker};
use self::watch::Watch;
use crate::backend::Backend;
use crate::model::{
    Attributes, Capabilities, Digest, ETag, ErrorKind, GetOptions, ListPage, ListRequest,
    ObjectKey, ObjectMeta, Payload, PresignMethod, Presigned, Provider, PutMode, RESERVED,
    Retrieved, StoreError, Stored, Usage,
};

/// Longest wait before the record is read again: another replica may have walked.
const REFRESH: Duration = Duration::from_secs(300);

/// When to come back for figures that are not there yet. Small stores are counted by then.
const FIRST_COUNT: Duration = Duration::from_secs(5);

/// How the inventory is taken.
#[derive(Clone, Debug)]
pub struct InventoryPolicy {
    /// What the names begin with that are counted.
    pub prefix: String,
    /// Between the start of two walks.
    pub interval: Duration,
    /// Listings under way at once.
    pub lanes: usize,
    /// Between two notes of how far a walk came.
    pub save_every: Duration,
    /// After so long without a new note a walk of another replica is taken over.
    pub patience: Duration,
    /// Begins the record's name: a pool keeps its record among its members' own. Absent where the
    /// store is not to be written to: each process counts it for itself then.
    pub record: Option<&'static str>,
}

impl InventoryPolicy {
    /// The usual one.
    pub fn new(prefix: impl Into<String>, interval: Duration) -> Self {
        Self {
            prefix: prefix.into(),
            interval,
            lanes: 4,
            save_every: Duration::from_secs(10),
            patience: Duration::from_secs(60),
            record: Some(""),
        }
    }

    /// The same for a pool.
    #[must_use]
    pub fn of_pool(self) -> Self {
        Self { record: Some("pool-"), ..self }
    }

    /// The same without a record.
    #[must_use]
    pub fn in_memory(self) -> Self {
        Self { record: None, ..self }
    }
}

/// A backend whose [`Backend::usage`] is answered from an inventory.
#[derive(Debug)]
pub struct Inventory {
    inner: Arc<dyn Backend>,
    policy: InventoryPolicy,
    /// Name of this process in the record.
    owner: String,
    record_key: ObjectKey,
    taken: Mutex<Option<Taken>>,
    since: Mutex<Since>,
}

impl Inventory {
    /// Wraps a backend. Nothing is counted until [`Self::keep`] or [`Self::take`].
    pub fn new(inner: Arc<dyn Backend>, policy: InventoryPolicy) -> Self {
        // A digest, as the prefix may have any character and any length.
        let digest = &Digest::of(policy.prefix.as_bytes()).to_hex()[..16];
        let name = format!("{}{digest}", policy.record.unwrap_or_default());
        Self {
            inner,
            owner: format!("{:016x}", fastrand::u64(..)),
            record_key: ObjectKey::new(format!("{RESERVED}/inventory/{name}.json")),
            policy,
            taken: Mutex::new(None),
            since: Mutex::new(Since::default()),
        }
    }

    /// Walks once, without the record that replicas share.
    ///
    /// # Errors
    /// A page could not be read; the figures stay what they were.
    pub async fn take(&self) -> Result<Usage, StoreError> {
        let started = SystemTime::now();
        self.since().mark(started);
        let everything = vec![Range::default()];
        let walker = Walker::new(&*self.inner, &self.policy.prefix, Sums::default(), everything);
        try_join_all((0..self.policy.lanes).map(|_| walker.lane())).await?;
        self.publish(Taken::new(walker.sums(), started, SystemTime::now()));
        self.figures()
    }

    /// Keeps the inventory up to date for as long as it is polled.
    pub async fn keep(&self) {
        let mut watch = Watch::default();
        loop {
            let round = match self.policy.record {
                Some(_) => self.round(&mut watch).await,
                None => self.take().await.map(|_| self.policy.interval),
            };
            let wait = match round {
                Ok(wait) => wait,
                // As of a store of which it is not known yet whether it can do what is asked of it.
                Err(error) if error.is_unasked() => {
                    tracing::debug!(%error, "the store cannot be counted yet");
                    error.retry_after().unwrap_or(self.policy.patience)
                }
                Err(error) => {
                    tracing::warn!(%error, "the store cannot be counted");
                    self.policy.patience
                }
            };
            // Replicas that were started together shall not ask together.
            tokio::time::sleep(wait.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
        }
    }

    /// Reads the record and does what is due; answers when to look again.
    async fn round(&self, watch: &mut Watch) -> Result<Duration, StoreError> {
        let (record, version) = Record::load(&*self.inner, &self.record_key).await?;
        if let Some(taken) = record.taken {
            self.publish(taken);
        }
        let walking = match record.walking.clone() {
            Some(walk)
                if walk.owner != self.owner && !watch.is_abandoned(&walk, self.policy.patience) =>
            {
                return Ok(self.policy.save_every);
            }
            Some(walk) => walk.taken_over_by(&self.owner),
            None => {
                let due_in = |taken| watch.due_in(taken, self.policy.interval);
                let left = record.taken.map_or(Duration::ZERO, due_in);
                if !left.is_zero() {
                    return Ok(left.min(REFRESH));
                }
                Walking::begin(&self.owner, SystemTime::now())
            }
        };
        match self.walk(record, version, walking).await {
            Ok(()) => Ok(self.policy.interval.min(REFRESH)),
            // Somebody else wrote the record: the walk is theirs.
            Err(error) if is_refusal(&error) => Ok(self.policy.save_every),
            Err(error) => Err(error),
        }
    }

    /// Walks on from where the record says, and notes on the way how far it came.
    async fn walk(
        &self,
        mut record: Record,
        mut version: Version,
        walking: Walking,
    ) -> Result<(), StoreError> {
        let (inner, key) = (&*self.inner, &self.record_key);
        self.since().mark(SystemTime::now());
        let walker = Walker::new(inner, &self.policy.prefix, walking.sums, walking.rest.clone());
        let mut lanes = std::pin::pin!(try_join_all((0..self.policy.lanes).map(|_| walker.lane())));
        record.walking = Some(walking.clone());
        let mut last_saved = None;
        let finished = loop {
            let step = if last_saved.is_none() { Duration::ZERO } else { self.policy.save_every };
            let finished = tokio::time::timeout(step, &mut lanes).await;
            let progress = walker.progress();
            if let Ok(finished) = finished {
                record.walking = finished.is_err().then(|| walking.at(&progress));
                break finished;
            }
            record.walking = Some(walking.at(&progress));
            version = record.save(inner, key, version).await?;
            last_saved = Some(());
        };
        if finished.is_ok() {
            let taken = Taken::new(walker.sums(), walking.started(), SystemTime::now());
            record.taken = Some(taken);
            self.publish(taken);
            tracing::debug!(objects = taken.sums.objects, "counted the store");
        }
        record.save(inner, key, version).await?;
        finished.map(drop)
    }

    fn publish(&self, taken: Taken) {
        let mut current = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != Some(taken) {
            self.since().forget_before(taken.middle());
            *current = Some(taken);
        }
    }

    fn figures(&self) -> Result<Usage, StoreError> {
        let taken = *self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(taken) = taken else {
            let detail = "what the store holds is being counted in the background, for the first \
                          time: come back later";
            let error = StoreError::new(ErrorKind::Unavailable, self.provider(), detail);
            return Err(error.with_retry_after(FIRST_COUNT).unasked());
        };
        let ours = self.since().after(taken.middle());
        let bytes = taken.sums.stored_bytes.saturating_add_signed(ours.stored_bytes);
        Ok(Usage {
            objects: taken.sums.objects.saturating_add_signed(ours.objects),
            bytes,
            stored_bytes: bytes,
            exact: false,
            as_of: taken.middle(),
        })
    }

    fn since(&self) -> MutexGuard<'_, Since> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn counts(&self, key: &ObjectKey) -> bool {
        key.as_str().starts_with(&self.policy.prefix) && !is_reserved(key.as_str())
    }

    fn stored(&self, key: &ObjectKey, created: bool, stored: &Stored) {
        if self.counts(key) {
            let created = created || stored.replaced == Some(false);
            self.since().stored(SystemTime::now(), key, stored.meta.stored_size, created);
        }
    }

    fn deleted(&self, key: &ObjectKey, existed: Option<bool>) {
        if self.counts(key) {
            self.since().deleted(SystemTime::now(), key, existed);
        }
    }
}

fn is_refusal(error: &StoreError) -> bool {
    use ErrorKind::{AlreadyExists, Contended, PreconditionFailed};
    matches!(error.kind(), AlreadyExists | Contended | PreconditionFailed)
}

/// The service's own records are no proofs.
fn is_reserved(name: &str) -> bool {
    name.strip_prefix(RESERVED).is_some_and(|rest| rest.starts_with('/'))
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Backend for Inventory {
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
        let created = mode == PutMode::Create;
        let stored = self.inner.put(key, payload, attributes, mode).await?;
        self.stored(key, created, &stored);
        Ok(stored)
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
        let existed = self.inner.delete(key, if_match).await?;
        // A condition on what was not there would not have been met.
        self.deleted(key, existed);
        Ok(existed)
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>> {
        let results = self.inner.delete_many(keys).await;
        for (key, result) in keys.iter().zip(&results) {
            if let Ok(existed) = result {
                self.deleted(key, *existed);
            }
        }
        results
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
        let created = mode == PutMode::Create;
        let stored = self.inner.copy(source, destination, mode).await?;
        self.stored(destination, created, &stored);
        Ok(stored)
    }

    async fn salvage(&self, source: &ObjectKey, aside: &ObjectKey) -> Result<(), StoreError> {
        self.inner.salvage(source, aside).await
    }

    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let created = mode == PutMode::Create;
        let stored = self.inner.rename(source, destination, mode).await?;
        self.stored(destination, created, &stored);
        if self.counts(source) {
            self.since().moved_away(SystemTime::now(), source, stored.meta.stored_size);
        }
        Ok(stored)
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
        self.figures()
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.inner.probe().await
    }
}

#[cfg(test)]
mod tests;
