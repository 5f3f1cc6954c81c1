//! Frames of fjall's journal: a start, items, and an end with a checksum over the items.
//!
//! ```text
//! start  01  count u32  seqno u64
//! item   02  kind u8  compression u8  keyspace u64  key u16  value u32  stored u32  key  value
//! end    03  xxh3 of the items u64  "FJL" 03
//! ```
//! All little-endian. Lengths come before the bytes. The start is not covered by the checksum.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use crate::backend::embedded::batch::{Counters, Space, TRAILER_KEY, Trailer, check};

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const END_MAGIC: [u8; 4] = *b"FJL\x03";
pub(super) const START_BYTES: usize = 13;
const ITEM_HEAD_BYTES: usize = 21;
pub(super) const END_BYTES: usize = 13;
const VALUE: u8 = 0;
const TOMBSTONE: u8 = 1;
/// Numbers that the engine's own work may take between two of our batches.
const SEQNO_SLACK: u64 = 1 << 20;

/// One row of a batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item<'a> {
    pub(super) space: Space,
    pub(super) key: &'a [u8],
    /// `None` is a removal.
    pub(super) value: Option<&'a [u8]>,
}

impl Item<'_> {
    /// How the batch's trailer knows it.
    pub(super) fn check(&self) -> u32 {
        check(self.space, self.key, self.value)
    }

    /// The trailer, if it is that.
    pub(super) fn trailer(&self, salt: u64) -> Option<Trailer> {
        let is_trailer = self.space == Space::System && self.key == TRAILER_KEY;
        Trailer::decode(self.value.filter(|_| is_trailer)?, salt)
    }
}

/// A whole batch.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    pub(super) start: usize,
    pub(super) end: usize,
    /// As its unprotected head has them.
    pub(super) count: u32,
    pub(super) seqno: u64,
    /// All rows, the trailer included.
    pub(super) items: Vec<Item<'a>>,
    pub(super) trailer: Trailer,
}

impl Frame<'_> {
    /// The number that the batch has, or must have had: after the one before and not below what
    /// its trailer says.
    pub(super) fn seqno_within(&self, before: u64) -> u64 {
        let floor = self.trailer.floor.max(if before == 0 { 0 } else { before + 1 });
        let possible = floor..floor.saturating_add(SEQNO_SLACK);
        if possible.contains(&self.seqno) { self.seqno } else { floor }
    }
}

/// The batch that starts at a place, if it is whole and this store's.
pub(super) fn whole(bytes: &[u8], start: usize, salt: u64) -> Option<Frame<'_>> {
    let (count, seqno) = start_at(bytes, start)?;
    let mut at = start + START_BYTES;
    let mut items = Vec::new();
    // A count that is too low is a damaged head; the checksum decides.
    while let Some((item, end)) = item_at(bytes, at) {
        items.push(item);
        at = end;
    }
    let checksum = end_at(bytes, at)?;
    if xxh3_64(&bytes[start + START_BYTES..at]) != checksum {
        return None;
    }
    let trailer = items.last()?.trailer(salt)?;
    Some(Frame { start, end: at + END_BYTES, count, seqno, items, trailer })
}

/// Where the next whole batch starts, at or after a place.
pub(super) fn next_whole(bytes: &[u8], from: usize, salt: u64) -> Option<usize> {
    let candidates = from..bytes.len().saturating_sub(START_BYTES);
    candidates.into_iter().find(|at| bytes[*at] == START && whole(bytes, *at, salt).is_some())
}

/// Count and number of the start at a place.
pub(super) fn start_at(bytes: &[u8], at: usize) -> Option<(u32, u64)> {
    let head = bytes.get(at..at + START_BYTES)?;
    let count = u32::from_le_bytes(head[1..5].try_into().ok()?);
    let seqno = u64::from_le_bytes(head[5..].try_into().ok()?);
    (head[0] == START).then_some((count, seqno))
}

/// The checksum of the end at a place.
pub(super) fn end_at(bytes: &[u8], at: usize) -> Option<u64> {
    let end = bytes.get(at..at + END_BYTES)?;
    let checksum = u64::from_le_bytes(end[1..9].try_into().ok()?);
    (end[0] == END && end[9..] == END_MAGIC).then_some(checksum)
}

/// The item at a place, and where it ends; `None` for what this store would not have written.
pub(super) fn item_at(bytes: &[u8], at: usize) -> Option<(Item<'_>, usize)> {
    let head = bytes.get(at..at + ITEM_HEAD_BYTES)?;
    let (kind, compression) = (head[1], head[2]);
    if head[0] != ITEM || compression != 0 {
        return None;
    }
    let space = Space::from_id(u64::from_le_bytes(head[3..11].try_into().ok()?))?;
    let key_bytes = usize::from(u16::from_le_bytes(head[11..13].try_into().ok()?));
    let value_bytes = u32::from_le_bytes(head[13..17].try_into().ok()?);
    let stored_bytes = u32::from_le_bytes(head[17..].try_into().ok()?);
    if value_bytes != stored_bytes || key_bytes == 0 {
        return None;
    }
    let key: Range<usize> = at + ITEM_HEAD_BYTES..at + ITEM_HEAD_BYTES + key_bytes;
    let value = key.end..key.end.checked_add(value_bytes as usize)?;
    let end = value.end;
    let (key, value) = (bytes.get(key)?, bytes.get(value)?);
    let value = match kind {
        VALUE => Some(value),
        TOMBSTONE if value.is_empty() => None,
        _ => return None,
    };
    Some((Item { space, key, value }, end))
}

/// Appends a batch.
pub(super) fn encode(out: &mut Vec<u8>, seqno: u64, items: &[Item<'_>]) {
    out.push(START);
    out.extend_from_slice(&(items.len() as u32).to_le_bytes());
    out.extend_from_slice(&seqno.to_le_bytes());
    let first = out.len();
    for item in items {
        let value = item.value.unwrap_or_default();
        out.extend_from_slice(&[ITEM, if item.value.is_some() { VALUE } else { TOMBSTONE }, 0]);
        out.extend_from_slice(&(item.space as u64).to_le_bytes());
        out.extend_from_slice(&(item.key.len() as u16).to_le_bytes());
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        out.extend_from_slice(item.key);
        out.extend_from_slice(value);
    }
    let checksum = xxh3_64(&out[first..]);
    out.push(END);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&END_MAGIC);
}

/// Takes any bytes for a journal, as they are and as rows of a batch that is then damaged: what a fuzzer
/// calls. A batch that is read has the checksum of its rows, and is the same when it is written again.
///
/// # Panics
/// It has not, or is not.
pub fn fuzz_journal(bytes: &[u8]) {
    const SALT: u64 = 7;
    let same = |journal: &[u8]| {
        let start = next_whole(journal, 0, SALT)?;
        let frame = whole(journal, start, SALT)?;
        let mut again = Vec::new();
        encode(&mut again, frame.seqno, &frame.items);
        // The count in the head is not covered by any checksum.
        assert_eq!(again[5..], journal[frame.start + 5..frame.end]);
        Some(frame.items.len())
    };
    same(bytes);
    let Some(((count, flips), mut rest)) = bytes.split_first().and_then(|(count, rest)| {
        rest.split_first_chunk::<3>().map(|(flips, rest)| ((*count, *flips), rest))
    }) else {
        return;
    };
    let mut items = Vec::new();
    for _ in 0..count % 8 {
        let Some(([space, key, value], data)) = rest.split_first_chunk::<3>() else { break };
        let Some((key, data)) = data.split_at_checked(usize::from(*key).max(1)) else { break };
        let Some((body, data)) = data.split_at_checked(usize::from(value / 2)) else { break };
        let space = Space::ALL[usize::from(space % 4)];
        items.push(Item { space, key, value: (value % 2 == 0).then_some(body) });
        rest = data;
    }
    let checks = items.iter().map(Item::check).collect();
    let trailer = Trailer { counters: Counters::default(), floor: 1, checks }.encode(SALT);
    items.push(Item { space: Space::System, key: TRAILER_KEY, value: Some(&trailer) });
    let mut journal = Vec::new();
    encode(&mut journal, 1, &items);
    assert_eq!(same(&journal), Some(items.len()));
    let [place @ .., bit] = flips;
    let at = START_BYTES + usize::from(u16::from_le_bytes(place)) % (journal.len() - START_BYTES);
    journal[at] ^= 1 << (bit % 8);
    assert_eq!(same(&journal), None, "a damaged batch is read");
}
