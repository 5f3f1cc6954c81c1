//! The embedded store: one directory on a local disk, durable when it answers.
//!
//! ```text
//! put ─ record ─┐                                   ┌ meta    key → record
//!               ├→ Queue → Committer → one batch → ─┼ body    id, chunk → bytes
//! delete, move ─┘          (one thread, one sync)   ├ uploads id → began
//! get, list ────────── snapshots ──────────────────→└ system  counters
//! ```
//!
//! A write is answered after the fdatasync of the batch that has its record, its body and the
//! counters. Bodies are named by ids that are never reused, so reads wait for no sync. The engine is
//! fjall; only this module and its children know that.

mod batch;
mod body;
mod committer;
mod directory;
mod engine;
mod errors;
mod group;
mod health;
mod journal;
mod listing;
mod open_error;
mod opening;
mod options;
mod queue;
mod record;
mod shadow;
mod shared;
mod space;
mod upload;
mod witness;
mod write;

#[doc(hidden)]
pub use self::journal::fuzz_journal;
#[doc(hidden)]
pub use self::record::fuzz_record;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use fjall::Snapshot;
use tokio::sync::mpsc;

use self::committer::Committer;
use self::directory::Directory;
use self::errors::{error, not_found, unavailable};
use self::group::{Condition, Operation, Original, another_version};
use self::queue::{IN_FLIGHT_OPERATIONS, Queue};
use self::record::{Header, Record, now_ms, version_of};
use self::shared::Shared;
use self::upload::{Orphans, Reaper, Source};
use self::write::{check_attributes, check_distinct, check_key, condition};
use super::Backend;
use crate::model::{
    Attributes, Body, Capabilities, ETag, ErrorKind, GetOptions, ListPage, ListRequest, ObjectKey,
    ObjectMeta, Payload, PresignMethod, Presigned, Provider, PutMode, Retrieved, StoreError,
    Stored, Support, Usage,
};

pub use self::open_error::OpenError;
pub use self::options::{CommitGroup, CommitObserver, Options, Unobserved};

/// Room for a write of this size makes a store that takes writes.
const PROBE_BYTES: u64 = 1 << 20;

/// How often a copy starts again because its source was overwritten meanwhile. With proofs, which
/// are written once, it never is.
const COPY_TRIES: u32 = 100;

/// The store. Closed when dropped; [`Embedded::close`] says when that is done.
pub struct Embedded {
    shared: Arc<Shared>,
    queue: Arc<Queue>,
    orphans: Orphans,
    threads: Mutex<Threads>,
    damage: Vec<String>,
}

#[derive(Default)]
struct Threads {
    committer: Option<JoinHandle<()>>,
    reaper: Option<JoinHandle<()>>,
}

fn join(thread: Option<JoinHandle<()>>) {
    if thread.is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("a thread of the store had panicked");
    }
}

impl Embedded {
    /// Opens or creates the store in a directory. Blocks while the journal is replayed.
    ///
    /// # Errors
    /// The directory is in use, is not ours, is damaged beyond opening, or cannot be accessed.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let directory = Directory::claim(&options.data_dir)?;
        let opening::Opened { engine, counters, uploads: left, damage, witness } =
            opening::open(&directory, &options)?;
        let reserve = options.disk_reserve_bytes;
        let shared = Arc::new(Shared::new(engine, counters, directory, witness, reserve));
        // Before anything is acknowledged: what follows depends on these files.
        shared.refresh_shadow();
        let (sender, commands) = mpsc::channel(IN_FLIGHT_OPERATIONS);
        let queue = Arc::new(Queue::new(sender));
        let (orphans, orphaned) = Orphans::channel();
        let committer = Committer::new(Arc::clone(&shared), commands, options.observer);
        let reaper =
            Reaper { shared: Arc::clone(&shared), queue: Arc::clone(&queue), orphans: orphaned };
        let spawn = |name: &str, body: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(body)
                .map_err(|cause| OpenError::io(&options.data_dir, cause))
        };
        let threads = Threads {
            committer: Some(spawn("committer", Box::new(move || committer.run()))?),
            reaper: Some(spawn("reaper", Box::new(move || reaper.run(left)))?),
        };
        let threads = Mutex::new(threads);
        Ok(Self { shared, queue, orphans, threads, damage })
    }

    /// What was found damaged at opening: file, place, and what is lost. Empty where all is well.
    pub fn damage(&self) -> Vec<String> {
        self.damage.clone()
    }

    /// Why the store takes no more writes, after the first one that failed.
    pub fn read_only_reason(&self) -> Option<String> {
        self.shared.health.reason()
    }

    /// Finishes the writes under way and refuses new ones. Blocks. Reads still work.
    pub fn close(&self) {
        // In this order, so that what was given up before is still collected.
        self.orphans.stop();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        join(threads.reaper.take());
        self.queue.close();
        let committer = threads.committer.take();
        let first = committer.is_some();
        join(committer);
        if first {
            self.shared.finish();
        }
    }

    fn lookup(&self, snapshot: &Snapshot, key: &ObjectKey) -> Result<Record, StoreError> {
        let record = self.shared.engine.record(snapshot, key)?;
        record.ok_or_else(|| not_found(key))
    }
}

#[async_trait]
impl Backend for Embedded {
    fn provider(&self) -> Provider {
        Provider::Local
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            create_only: Support::Native,
            replace_if_match: Support::Native,
            delete_if_match: Support::Native,
            atomic_move: Support::Native,
            range: Support::Native,
            tags: Support::Native,
            storage_class: Support::No,
            encryption_aes256: Support::No,
            encryption_kms: Support::No,
            versions: Support::No,
            object_lock: Support::Gateway,
            presign: Support::No,
            presign_put: Support::No,
            unique_etags: Support::Native,
            exact_times: Support::Native,
        }
    }

    async fn put(
        &self,
        key: &ObjectKey,
        payload: Payload,
        attributes: Attributes,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        check_attributes(&attributes)?;
        self.store(key, payload.len(), Source::Payload(payload), attributes, mode).await
    }

    /// A small object is read on the calling task: its rows are nearly always in memory or in the
    /// page cache, where a hop to another thread would cost several times the read.
    async fn get(&self, key: &ObjectKey, options: GetOptions) -> Result<Retrieved, StoreError> {
        check_key(key)?;
        let snapshot = self.shared.snapshot();
        let record = self.lookup(&snapshot, key)?;
        let header = record.header;
        if options.if_match.is_some_and(|etag| version_of(&etag) != Some(header.version)) {
            return Err(another_version(key));
        }
        let range = match options.range {
            Some(range) if range.is_empty() || range.end > header.body.bytes => {
                return Err(error(
                    ErrorKind::Invalid,
                    format!(
                        "the range is not within the {} bytes of the object",
                        header.body.bytes
                    ),
                ));
            }
            Some(range) => range.start..range.end,
            None => 0..header.body.bytes,
        };
        let body = if header.body.chunk_bytes == 0 {
            Body::Bytes(body::read_whole(&self.shared, &snapshot, &header.body, range)?)
        } else {
            Body::Stream(body::stream(Arc::clone(&self.shared), snapshot, header.body, range))
        };
        Ok(Retrieved::new(record.into_meta(key.clone()), body))
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        check_key(key)?;
        let snapshot = self.shared.snapshot();
        self.lookup(&snapshot, key).map(|record| record.into_meta(key.clone()))
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        check_key(key)?;
        let condition =
            if_match.map_or(Condition::Always, |etag| Condition::Version(version_of(etag)));
        let operation = Operation::Delete { key: key.clone(), condition };
        self.queue.apply(operation).await.map(|outcome| Some(outcome.found))
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>> {
        let deletes = keys.iter().map(|key| self.delete(key, None));
        futures_util::future::join_all(deletes).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let (shared, request) = (Arc::clone(&self.shared), request.clone());
        tokio::task::spawn_blocking(move || listing::page(&shared, &request))
            .await
            .unwrap_or_else(|cause| Err(unavailable("the listing failed", cause)))
    }

    async fn copy(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        check_distinct(source, destination)?;
        let mut tries = COPY_TRIES;
        loop {
            let snapshot = self.shared.snapshot();
            let record = self.lookup(&snapshot, source)?;
            let Header { version, body, .. } = record.header;
            let original = Original { key: source.clone(), version };
            let from = Source::Body(Arc::clone(&self.shared), snapshot, body, original);
            let copied =
                self.store(destination, body.bytes, from, record.attributes, mode.clone()).await;
            tries -= 1;
            match copied {
                Err(cause)
                    if cause.kind() == ErrorKind::Unavailable
                        && tries > 0
                        && self.head(source).await?.etag != record::etag(version) => {}
                answer => return answer,
            }
        }
    }

    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        check_key(source)?;
        check_key(destination)?;
        check_distinct(source, destination)?;
        let operation = Operation::Rename {
            source: source.clone(),
            destination: destination.clone(),
            condition: condition(mode),
            version: self.shared.fresh_id(),
            modified_ms: now_ms(),
        };
        let outcome = self.queue.apply(operation).await?;
        let row = outcome.record.unwrap_or_default();
        let record = Record::decode(destination, &row)?;
        Ok(Stored { meta: record.into_meta(destination.clone()), replaced: Some(outcome.found) })
    }

    async fn presign(
        &self,
        _: &ObjectKey,
        _: &PresignMethod,
        _: Duration,
    ) -> Result<Presigned, StoreError> {
        let detail = "the 'local' backend has no URLs of its own";
        Err(StoreError::new(ErrorKind::Unsupported, Provider::Local, detail))
    }

    async fn usage(&self) -> Result<Usage, StoreError> {
        let counters = self.shared.counters();
        Ok(Usage {
            objects: counters.objects,
            bytes: counters.bytes,
            stored_bytes: counters.stored_bytes,
            exact: true,
            as_of: SystemTime::now(),
        })
    }

    async fn probe(&self) -> Result<(), StoreError> {
        if let Some(refusal) = self.shared.health.refusal() {
            return Err(refusal);
        }
        if let Some(refusal) = self.shared.space_refusal(PROBE_BYTES) {
            return Err(refusal);
        }
        self.shared.engine.check_alive().map_err(|cause| {
            self.shared.health.fail(&cause);
            self.shared.health.refusal().unwrap_or_else(errors::closed)
        })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("root", &self.shared.directory.root()).finish()
    }
}

#[cfg(test)]
mod tests;
