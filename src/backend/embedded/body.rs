//! Bodies as rows: framing, reading back, and the stream of a large one.
//!
//! A body of up to [`WHOLE_BYTES`] is one row of raw bytes whose checksum stands in the record. A
//! larger one is chunk rows of [`CHUNK_BYTES`], each led by a checksum over the chunk, the body's
//! id and the chunk's index, so that a range read is verified and a row in another's place is
//! noticed. The checksums find damage by the disk; the digest of the proof is the vault's.

use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use fjall::Snapshot;
use futures_util::stream;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128_with_seed};

use super::engine::body_key;
use super::errors::{corrupt, error, unavailable};
use super::record::BodyRef;
use super::shared::Shared;
use crate::model::{BodyStream, ErrorKind, StoreError};

/// Largest body kept as one row, the size up to which the vault verifies before it answers.
pub(super) const WHOLE_BYTES: u64 = 1 << 20;
/// Bytes of a large body in each row.
pub(super) const CHUNK_BYTES: u32 = 512 << 10;
const FRAME_BYTES: usize = 16;

/// Checksum of a body that is one row.
pub(super) fn whole_checksum(id: u64, bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, id)
}

/// A chunk as its row has it.
pub(super) fn frame(id: u64, chunk: u32, bytes: &[u8]) -> Bytes {
    let mut row = BytesMut::with_capacity(FRAME_BYTES + bytes.len());
    row.put_u128_le(chunk_checksum(id, chunk, bytes));
    row.extend_from_slice(bytes);
    row.freeze()
}

fn chunk_checksum(id: u64, chunk: u32, bytes: &[u8]) -> u128 {
    xxh3_128_with_seed(bytes, xxh3_64(&body_key(id, chunk)))
}

/// A body of one row, or the part asked for.
pub(super) fn read_whole(
    shared: &Shared,
    snapshot: &Snapshot,
    body: &BodyRef,
    range: Range<u64>,
) -> Result<Bytes, StoreError> {
    if body.bytes == 0 {
        return Ok(Bytes::new());
    }
    let row = shared.engine.body_row(snapshot, body, 0)?;
    let row = row.ok_or_else(|| damaged(body, 0, "its bytes are missing"))?;
    if row.len() as u64 != body.bytes || whole_checksum(body.id, &row) != body.checksum {
        return Err(damaged(body, 0, "checksum mismatch"));
    }
    // The row is in memory, so both ends fit.
    Ok(row.slice(range.start as usize..range.end as usize))
}

/// One chunk of a large body, checked.
pub(super) fn read_chunk(
    shared: &Shared,
    snapshot: &Snapshot,
    body: &BodyRef,
    chunk: u32,
) -> Result<Bytes, StoreError> {
    let row = shared.engine.body_row(snapshot, body, chunk)?;
    let mut row = row.ok_or_else(|| damaged(body, chunk, "its bytes are missing"))?;
    let start = u64::from(chunk) * u64::from(body.chunk_bytes);
    let expected = (body.bytes - start).min(u64::from(body.chunk_bytes));
    if row.len() as u64 != FRAME_BYTES as u64 + expected {
        return Err(damaged(body, chunk, "wrong length"));
    }
    let bytes = row.split_off(FRAME_BYTES);
    if row[..] != chunk_checksum(body.id, chunk, &bytes).to_le_bytes() {
        return Err(damaged(body, chunk, "checksum mismatch"));
    }
    Ok(bytes)
}

/// A range of a large body, chunk by chunk, each read on a thread that may block.
///
/// The snapshot keeps the bytes readable to the end, also where the object is replaced or deleted
/// meanwhile. The price: what is deleted while a slow reader holds a stream is freed only after.
pub(super) fn stream(
    shared: Arc<Shared>,
    snapshot: Snapshot,
    body: BodyRef,
    range: Range<u64>,
) -> BodyStream {
    let next = move |offset: u64| {
        let (shared, snapshot) = (Arc::clone(&shared), snapshot.clone());
        async move {
            if offset >= range.end {
                return None;
            }
            let read = move || piece(&shared, &snapshot, &body, offset);
            let piece = tokio::task::spawn_blocking(read).await;
            let piece = piece.unwrap_or_else(|cause| Err(unavailable("the read failed", cause)));
            match piece {
                Ok(mut bytes) => {
                    let rest = usize::try_from(range.end - offset).unwrap_or(usize::MAX);
                    bytes.truncate(rest);
                    let offset = offset + bytes.len() as u64;
                    Some((Ok(bytes), offset))
                }
                // Nothing after an error.
                Err(error) => Some((Err(error), u64::MAX)),
            }
        }
    };
    Box::pin(stream::unfold(range.start, next))
}

/// From an offset to the end of its chunk.
fn piece(
    shared: &Shared,
    snapshot: &Snapshot,
    body: &BodyRef,
    offset: u64,
) -> Result<Bytes, StoreError> {
    let chunk_bytes = u64::from(body.chunk_bytes);
    let chunk = u32::try_from(offset / chunk_bytes)
        .map_err(|_| error(ErrorKind::Invalid, "the range is past the end"))?;
    let bytes = read_chunk(shared, snapshot, body, chunk)?;
    Ok(bytes.slice((offset % chunk_bytes) as usize..))
}

fn damaged(body: &BodyRef, chunk: u32, cause: &str) -> StoreError {
    corrupt(
        "the stored bytes are damaged",
        format!("body {:#x}, chunk {chunk} of {}: {cause}", body.id, body.chunks()),
    )
}
