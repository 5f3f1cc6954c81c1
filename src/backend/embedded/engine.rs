//! fjall, opened and tuned: the keyspaces and what is read from them.
//!
//! Knows rows and knobs, not objects' rules. Every size here is chosen so that memory stays
//! bounded whatever is stored: write buffers (see [`MEMTABLE_LIMIT`]), cache (the caller's), open
//! files. A keyspace's options are written down by fjall when it is created, so a change of them
//! takes effect in new data directories only.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use fjall::config::HashRatioPolicy;
use fjall::{
    AbstractTree as _, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode,
    Readable as _, Snapshot,
};

use super::errors::{corrupt, fence};
use super::record::{BodyRef, Record};
use super::shared::Shared;
use crate::model::{ObjectKey, StoreError};

const MIB: u64 = 1 << 20;

/// Records: small rows.
const META_MEMTABLE_BYTES: u64 = 4 * MIB;
/// Bodies go to a blob file of about this size at each flush.
const BODY_MEMTABLE_BYTES: u64 = 16 * MIB;
/// Write buffers that may wait for their flush before the committer holds its next group back.
/// With the active one this bounds what bodies hold in memory to about three buffers.
pub(super) const MEMTABLE_LIMIT: usize = 2;
/// Sorted runs not yet merged before the committer waits. fjall itself stops writers at 30, and
/// there would wait for ever if its workers had died.
const RUN_LIMIT: usize = 16;
/// What is smaller stays in the tree's own blocks.
const SEPARATION_BYTES: u32 = 1024;
/// Far below the common limit of 1024, and enough for a container's 256.
const OPEN_FILES: usize = 100;
/// The least that fjall takes; together with its rotation at 64 MB it bounds what an opening has
/// to replay.
const JOURNAL_BYTES: u64 = 64 * MIB;
const WORKERS: usize = 2;

/// Row of the counters in `system`.
const COUNTERS_KEY: &[u8] = b"counters";
/// Row of the epoch in `system`.
const EPOCH_KEY: &[u8] = b"epoch";

/// The sums for `usage`, and the number of the last commit. Absolute, so that a replay of any
/// part of the journal ends at the right figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Counters {
    pub(super) objects: u64,
    pub(super) bytes: u64,
    pub(super) stored_bytes: u64,
    /// Number of commits since the store was made.
    pub(super) sequence: u64,
}

/// What an opening found.
pub(super) struct Recovered {
    /// Of this opening; larger than that of any before.
    pub(super) epoch: u64,
    pub(super) counters: Counters,
    /// Bodies of uploads that never finished.
    pub(super) uploads: Vec<u64>,
}

/// The opened database.
pub(super) struct Engine {
    pub(super) db: Database,
    /// Object key to [`Record`].
    pub(super) meta: Keyspace,
    /// Body id and chunk index to bytes.
    pub(super) body: Keyspace,
    /// Body id of an upload in flight to its start in milliseconds since 1970.
    pub(super) uploads: Keyspace,
    /// The counters.
    pub(super) system: Keyspace,
}

impl Engine {
    /// Opens or creates; recovers what the journal has.
    pub(super) fn open(path: &Path, cache_bytes: u64) -> Result<Self, fjall::Error> {
        let db = Database::builder(path)
            .cache_size(cache_bytes)
            .max_cached_files(Some(OPEN_FILES))
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(WORKERS)
            .manual_journal_persist(true)
            .open()?;
        let small = || KeyspaceCreateOptions::default().max_memtable_size(MIB);
        let meta = db.keyspace("meta", || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(META_MEMTABLE_BYTES)
                .data_block_hash_ratio_policy(HashRatioPolicy::all(0.75))
        })?;
        let body = db.keyspace("body", || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(BODY_MEMTABLE_BYTES)
                // A body is only ever read by an id that a record names: filters never say no.
                .expect_point_read_hits(true)
                .with_kv_separation(Some(
                    KvSeparationOptions::default().separation_threshold(SEPARATION_BYTES),
                ))
        })?;
        let uploads = db.keyspace("uploads", small)?;
        let system = db.keyspace("system", small)?;
        Ok(Self { db, meta, body, uploads, system })
    }

    /// Reads where the last opening left off, and begins a new epoch, durably.
    pub(super) fn recover(&self) -> Result<Recovered, StoreError> {
        let counters = self.counters()?;
        let known = match fence(|| self.system.get(EPOCH_KEY))? {
            Some(row) => u64::from_be_bytes(
                row.as_ref().try_into().map_err(|error| corrupt("the epoch is damaged", error))?,
            ),
            None => 0,
        };
        // Whatever the counters' row says: no id of a body that is there may be used again.
        let newest = fence(|| self.body.last_key_value().map(fjall::Guard::key).transpose())?;
        let newest = newest.as_deref().and_then(|key| key.first_chunk::<8>());
        let seen = newest.map_or(0, |id| Shared::epoch_of(u64::from_be_bytes(*id)));
        let epoch = known.max(seen) + 1;
        let uploads = fence(|| self.uploads.iter().map(fjall::Guard::key).collect())?;
        let uploads: Vec<fjall::Slice> = uploads;
        let id = |key: &fjall::Slice| Some(u64::from_be_bytes(*key.first_chunk::<8>()?));
        let uploads = uploads.iter().filter_map(id).collect();
        fence(|| {
            let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
            batch.insert(&self.system, EPOCH_KEY, epoch.to_be_bytes());
            batch.commit()
        })?;
        Ok(Recovered { epoch, counters, uploads })
    }

    /// The counters as of the last commit; zeroes in a new store.
    pub(super) fn counters(&self) -> Result<Counters, StoreError> {
        match fence(|| self.system.get(COUNTERS_KEY))? {
            Some(row) => postcard::from_bytes(&row)
                .map_err(|error| corrupt("the store's counters are damaged", error)),
            None => Ok(Counters::default()),
        }
    }

    /// The counters' row.
    pub(super) fn counters_row(counters: &Counters) -> (&'static [u8], Vec<u8>) {
        let row = postcard::to_allocvec(counters).expect("four integers always serialize");
        (COUNTERS_KEY, row)
    }

    /// One record as a snapshot has it.
    pub(super) fn record(
        &self,
        snapshot: &Snapshot,
        key: &ObjectKey,
    ) -> Result<Option<Record>, StoreError> {
        let row = fence(|| snapshot.get(&self.meta, key.as_str()))?;
        row.map(|row| Record::decode(key, &row)).transpose()
    }

    /// One body row as a snapshot has it.
    pub(super) fn body_row(
        &self,
        snapshot: &Snapshot,
        body: &BodyRef,
        chunk: u32,
    ) -> Result<Option<Bytes>, StoreError> {
        let row = fence(|| snapshot.get(&self.body, body_key(body.id, chunk)))?;
        Ok(row.map(Bytes::from))
    }

    /// Waits until few enough write buffers wait for their flush; bounds memory under load.
    ///
    /// # Errors
    /// The engine has stopped: nothing will be flushed any more.
    pub(super) fn wait_for_flushes(&self) -> Result<(), fjall::Error> {
        let behind = |keyspace: &Keyspace| {
            keyspace.sealed_memtable_count() >= MEMTABLE_LIMIT
                || keyspace.tree.l0_run_count() >= RUN_LIMIT
        };
        while behind(&self.body) || behind(&self.meta) {
            self.check_alive()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether a write could still be taken: fjall stops for good at its first failed write.
    pub(super) fn check_alive(&self) -> Result<(), fjall::Error> {
        self.db.persist(PersistMode::Buffer)
    }
}

/// Key of a body row: ordered by body, then by chunk.
pub(super) fn body_key(id: u64, chunk: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&id.to_be_bytes());
    key[8..].copy_from_slice(&chunk.to_be_bytes());
    key
}
