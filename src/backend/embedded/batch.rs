//! A batch as this store writes it: rows of four spaces, and last a trailer that vouches for them.
//!
//! The engine's journal has one checksum for a whole batch and none over the batch's number. The
//! [`Trailer`] says which rows belong to the batch, one check for each, so that a batch with one
//! damaged row gives up that row only; and it bounds the batch's number. It also carries the
//! counters, which makes them part of every commit.

use bytes::Bytes;
use fjall::{OwnedWriteBatch, PersistMode, UserKey, UserValue};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::engine::Engine;

/// Row of the trailer in `system`.
pub(super) const TRAILER_KEY: &[u8] = b"commit";
const CHECKSUM_BYTES: usize = 8;

/// A keyspace, by the number that the journal knows it by: the order of their creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Space {
    Meta = 1,
    Body = 2,
    Uploads = 3,
    System = 4,
}

impl Space {
    pub(super) const ALL: [Self; 4] = [Self::Meta, Self::Body, Self::Uploads, Self::System];

    pub(super) fn from_id(id: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|space| *space as u64 == id)
    }
}

/// The sums for `usage`, and how far the store has come. Absolute, so that a replay of any part
/// of the journal ends at the right figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Counters {
    pub(super) objects: u64,
    pub(super) bytes: u64,
    pub(super) stored_bytes: u64,
    /// Number of batches since the store was made.
    pub(super) sequence: u64,
    /// Number of openings since the store was made.
    pub(super) epoch: u64,
    /// Sequence of the last batch that was certainly on the disk when this one was written. What
    /// comes after it may be torn by a power cut in any place, whatever follows behind.
    pub(super) synced: u64,
}

/// The last row of every batch.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Trailer {
    pub(super) counters: Counters,
    /// The batch's number in the engine is at least this, and below the next batch's.
    pub(super) floor: u64,
    /// One for each other row.
    pub(super) checks: Vec<u32>,
}

impl Trailer {
    /// The row. `salt` is a secret of the store: a body that imitates a batch cannot know it.
    pub(super) fn encode(&self, salt: u64) -> Vec<u8> {
        let mut row = postcard::to_allocvec(self).expect("integers always serialize");
        row.extend_from_slice(&xxh3_64_with_seed(&row, salt).to_le_bytes());
        row
    }

    /// Reads and checks a row; `None` where it is damaged or another store's.
    pub(super) fn decode(row: &[u8], salt: u64) -> Option<Self> {
        let (row, sum) = row.split_last_chunk::<CHECKSUM_BYTES>()?;
        if xxh3_64_with_seed(row, salt) != u64::from_le_bytes(*sum) {
            return None;
        }
        postcard::from_bytes(row).ok()
    }
}

/// Recognises a row; `None` is a removal.
pub(super) fn check(space: Space, key: &[u8], value: Option<&[u8]>) -> u32 {
    let seed = xxh3_64_with_seed(key, u64::from(space as u8) * 2 + u64::from(value.is_some()));
    xxh3_64_with_seed(value.unwrap_or_default(), seed) as u32
}

/// A batch being filled.
pub(super) struct Batch<'a> {
    engine: &'a Engine,
    rows: OwnedWriteBatch,
    checks: Vec<u32>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(engine: &'a Engine, capacity: usize) -> Self {
        let rows = OwnedWriteBatch::with_capacity(engine.db.clone(), capacity + 1);
        Self { engine, rows, checks: Vec::with_capacity(capacity) }
    }

    pub(super) fn insert(&mut self, space: Space, key: impl Into<UserKey>, value: Bytes) {
        let key = key.into();
        self.checks.push(check(space, &key, Some(&value)));
        self.rows.insert(self.engine.space(space), key, UserValue::from(value));
    }

    pub(super) fn remove(&mut self, space: Space, key: impl Into<UserKey>) {
        let key = key.into();
        self.checks.push(check(space, &key, None));
        self.rows.remove(self.engine.space(space), key);
    }

    /// Adds the trailer; commits. Durable where the mode syncs.
    pub(super) fn commit(mut self, counters: Counters, mode: PersistMode) -> fjall::Result<()> {
        let floor = self.engine.db.visible_seqno();
        let row = Trailer { counters, floor, checks: self.checks }.encode(self.engine.salt);
        self.rows.insert(&self.engine.system, TRAILER_KEY, row);
        self.rows.durability(Some(mode)).commit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailer_comes_back_only_whole_and_with_its_salt() {
        let counters =
            Counters { objects: 1, bytes: 2, stored_bytes: 3, sequence: 4, epoch: 5, synced: 3 };
        let trailer = Trailer { counters, floor: 6, checks: vec![7, 8] };
        let row = trailer.encode(9);
        assert_eq!(Trailer::decode(&row, 9), Some(trailer));
        assert_eq!(Trailer::decode(&row, 10), None);
        for bit in 0..row.len() * 8 {
            let mut flipped = row.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Trailer::decode(&flipped, 9), None, "bit {bit}");
        }
    }

    #[test]
    fn check_tells_space_kind_key_and_value_apart() {
        let all = [
            check(Space::Meta, b"k", Some(b"v")),
            check(Space::Body, b"k", Some(b"v")),
            check(Space::Meta, b"k", None),
            check(Space::Meta, b"k", Some(b"")),
            check(Space::Meta, b"l", Some(b"v")),
            check(Space::Meta, b"k", Some(b"w")),
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(!all[..i].contains(one), "{i}");
        }
    }
}
