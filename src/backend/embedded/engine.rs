//! fjall, opened and tuned: the keyspaces and what is read from them.
//!
//! Knows rows and knobs, not objects' rules. Every size here is chosen so that memory stays
//! bounded whatever is stored: write buffers (see [`Engine::make_room`]), cache (the caller's), open
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
use xxhash_rust::xxh3::xxh3_64;

use super::batch::{Batch, Counters, Space, TRAILER_KEY, Trailer};
use super::errors::{corrupt, fence};
use super::record::{BodyRef, Record};
use super::shared::Shared;
use crate::model::{ObjectKey, StoreError};

const MIB: u64 = 1 << 20;

/// Records: small rows.
const META_MEMTABLE_BYTES: u64 = 4 * MIB;
/// Bodies go to a blob file of about this size at each flush.
const BODY_MEMTABLE_BYTES: u64 = 16 * MIB;
/// Write buffers of a keyspace that may wait for their flush before the next group is held back.
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
/// One flushes and compacts in turn. Of several, fjall lets the first do no compaction: it puts
/// the request back and takes it again, and so spins on a core for as long as the others are busy.
const WORKERS: usize = 1;

/// What an opening found.
pub(super) struct Recovered {
    /// The sequence that the store's own files know.
    pub(super) found: u64,
    /// Why it does not know its counters, where it does not.
    pub(super) unreadable: Option<String>,
    /// With this opening's epoch and sequence.
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
    /// Body ids of uploads in flight.
    pub(super) uploads: Keyspace,
    /// The trailer of the last batch.
    pub(super) system: Keyspace,
    /// Secret of this store, see [`Trailer`].
    pub(super) salt: u64,
}

impl Engine {
    /// Opens or creates; recovers what the journal has.
    pub(super) fn open(path: &Path, cache_bytes: u64, salt: u64) -> Result<Self, fjall::Error> {
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
                .max_memtable_size(2 * META_MEMTABLE_BYTES)
                .data_block_hash_ratio_policy(HashRatioPolicy::all(0.75))
        })?;
        let body = db.keyspace("body", || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(2 * BODY_MEMTABLE_BYTES)
                // A body is only ever read by an id that a record names: filters never say no.
                .expect_point_read_hits(true)
                .with_kv_separation(Some(
                    KvSeparationOptions::default().separation_threshold(SEPARATION_BYTES),
                ))
        })?;
        let uploads = db.keyspace("uploads", small)?;
        let system = db.keyspace("system", small)?;
        let engine = Self { db, meta, body, uploads, system, salt };
        for space in Space::ALL {
            debug_assert_eq!(engine.space(space).id(), space as u64, "{space:?}");
        }
        Ok(engine)
    }

    /// Reads where the last opening left off, and what the counters of this one are.
    ///
    /// `witnessed` is the epoch and the sequence known from elsewhere: what the store's own files
    /// have lost must not be given out again.
    pub(super) fn recover(&self, witnessed: (u64, u64)) -> Result<Recovered, StoreError> {
        let (found, unreadable) = match self.counters() {
            Ok(found) => (found, None),
            Err(cause) => (Counters::default(), Some(format!("{cause:?}"))),
        };
        // Whatever the trailer says: no id of a body that is there may be used again.
        let newest = fence(|| self.body.last_key_value().map(fjall::Guard::key).transpose())?;
        let newest = newest.as_deref().and_then(|key| key.first_chunk::<8>());
        let seen = newest.map_or(0, |id| Shared::epoch_of(u64::from_be_bytes(*id)));
        let counters = Counters {
            epoch: found.epoch.max(seen).max(witnessed.0) + 1,
            sequence: found.sequence.max(witnessed.1) + 1,
            ..found
        };
        let rows: Vec<(fjall::Slice, fjall::Slice)> =
            fence(|| self.uploads.iter().map(fjall::Guard::into_inner).collect())?;
        let uploads = rows.iter().filter_map(|(key, row)| upload_of(key, row)).collect();
        Ok(Recovered { found: found.sequence, unreadable, counters, uploads })
    }

    /// Makes the epoch of this opening durable, before any id is given out in it.
    pub(super) fn begin(&self, counters: Counters) -> Result<(), StoreError> {
        fence(|| Batch::new(self, 0).commit(counters, PersistMode::SyncData))
    }

    /// The keyspace of a space.
    pub(super) fn space(&self, space: Space) -> &Keyspace {
        match space {
            Space::Meta => &self.meta,
            Space::Body => &self.body,
            Space::Uploads => &self.uploads,
            Space::System => &self.system,
        }
    }

    /// The counters as of the last commit; zeroes in a new store.
    fn counters(&self) -> Result<Counters, StoreError> {
        match fence(|| self.system.get(TRAILER_KEY))? {
            Some(row) => Trailer::decode(&row, self.salt)
                .map(|trailer| trailer.counters)
                .ok_or_else(|| corrupt("the store's counters are damaged", "checksum mismatch")),
            None => Ok(Counters::default()),
        }
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

    /// Makes room for the next group: seals full write buffers and waits until few enough of
    /// them wait for their flush. This is what bounds the engine's memory under load; left to
    /// itself it seals a buffer only when one of its workers gets to it.
    ///
    /// # Errors
    /// The engine has stopped: nothing will be flushed any more.
    pub(super) fn make_room(&self) -> Result<(), fjall::Error> {
        for (keyspace, limit) in
            [(&self.body, BODY_MEMTABLE_BYTES), (&self.meta, META_MEMTABLE_BYTES)]
        {
            if keyspace.tree.active_memtable().size() >= limit {
                keyspace.rotate_memtable()?;
            }
            while keyspace.sealed_memtable_count() >= MEMTABLE_LIMIT
                || keyspace.tree.l0_run_count() >= RUN_LIMIT
            {
                self.check_alive()?;
                std::thread::sleep(Duration::from_millis(1));
            }
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

/// Row that says that an upload is in flight. Its value confirms its key: a damaged key must not
/// make the reaper collect another body.
pub(super) fn upload_row(id: u64) -> ([u8; 8], Bytes) {
    let sum = xxh3_64(&id.to_be_bytes()).to_le_bytes();
    (id.to_be_bytes(), Bytes::copy_from_slice(&sum))
}

fn upload_of(key: &[u8], row: &[u8]) -> Option<u64> {
    let id = u64::from_be_bytes(key.try_into().ok()?);
    (upload_row(id).1 == row).then_some(id)
}
