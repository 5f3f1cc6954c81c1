//! Bodies that are too large for one batch: chunks go ahead, the record comes last.
//!
//! The first chunk is written together with a row in `uploads`; the batch that makes the object
//! visible removes that row. What is left of an upload that was given up, failed or was cut off by
//! a crash is therefore known by its row, and is collected by the [`Reaper`]: at opening all rows
//! are orphans, later those whose [`Upload`] was dropped unfinished.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use bytes::Bytes;
use fjall::{Readable as _, Snapshot};
use tokio::sync::oneshot;

use super::body::{CHUNK_BYTES, frame, read_chunk, read_whole};
use super::engine::body_key;
use super::errors::{error, fence, unavailable};
use super::group::{Operation, Original, Outcome};
use super::queue::Queue;
use super::record::BodyRef;
use super::shared::Shared;
use crate::model::{ErrorKind, Payload, StoreError};

/// Chunks of one upload that may be on their way to the committer at once.
const AHEAD: usize = 2;
/// How far behind the store its witness may be.
const WITNESS_EVERY: Duration = Duration::from_secs(1);
/// Chunk rows removed in one operation.
const REAP_CHUNKS: u32 = 1024;

/// Where the bytes of a new body come from.
#[derive(Clone)]
pub(super) enum Source {
    Payload(Payload),
    /// Another object's body as it was when its copy began.
    Body(Arc<Shared>, Snapshot, BodyRef, Original),
}

impl Source {
    /// Of a copy: what it is made of.
    pub(super) fn original(&self) -> Option<Original> {
        match self {
            Self::Payload(_) => None,
            Self::Body(_, _, _, original) => Some(original.clone()),
        }
    }

    /// All of a small body, in memory of its own: the engine keeps it until it is flushed, and a
    /// slice would keep the whole buffer that the request was read into.
    pub(super) async fn whole(self, bytes: u64) -> Result<Bytes, StoreError> {
        match self {
            Self::Payload(Payload::Bytes(bytes)) => Ok(Bytes::copy_from_slice(&bytes)),
            source => source.read(0, bytes as usize, 0).await,
        }
    }

    /// One chunk of a large body.
    async fn chunk(&self, chunk: u32) -> Result<Bytes, StoreError> {
        let offset = u64::from(chunk) * u64::from(CHUNK_BYTES);
        self.read(offset, CHUNK_BYTES as usize, chunk).await
    }

    async fn read(&self, offset: u64, length: usize, chunk: u32) -> Result<Bytes, StoreError> {
        let source = self.clone();
        let read = move || match source {
            Self::Payload(payload) => payload
                .read_at(offset, length)
                .map_err(|cause| unavailable("the upload's spool cannot be read", cause)),
            Self::Body(shared, snapshot, body, _) if body.chunk_bytes == 0 => {
                read_whole(&shared, &snapshot, &body, 0..body.bytes)
            }
            Self::Body(shared, snapshot, body, _) => read_chunk(&shared, &snapshot, &body, chunk),
        };
        if let Self::Payload(Payload::Bytes(_)) = self {
            return read();
        }
        tokio::task::spawn_blocking(read)
            .await
            .unwrap_or_else(|cause| Err(unavailable("the read failed", cause)))
    }
}

/// Names bodies that nobody will finish to the [`Reaper`].
#[derive(Clone)]
pub(super) struct Orphans(mpsc::Sender<Option<u64>>);

impl Orphans {
    pub(super) fn channel() -> (Self, mpsc::Receiver<Option<u64>>) {
        let (sender, receiver) = mpsc::channel();
        (Self(sender), receiver)
    }

    fn add(&self, id: u64) {
        // Fails only once the store is closed; the next opening finds the upload's row.
        let _ = self.0.send(Some(id));
    }

    /// Lets the reaper stop after what it was given so far.
    pub(super) fn stop(&self) {
        let _ = self.0.send(None);
    }
}

/// A body that is being written. Dropped unfinished, it is collected.
pub(super) struct Upload {
    queue: Arc<Queue>,
    orphans: Orphans,
    body: BodyRef,
    finished: bool,
}

impl Upload {
    pub(super) fn new(queue: Arc<Queue>, orphans: Orphans, body: BodyRef) -> Self {
        Self { queue, orphans, body, finished: false }
    }

    /// Writes every chunk. The body is invisible until its record is put.
    pub(super) async fn write(&self, source: &Source) -> Result<(), StoreError> {
        let chunks = u32::try_from(self.body.chunks())
            .map_err(|_| error(ErrorKind::Invalid, "the body is too large for this store"))?;
        let mut pending: VecDeque<oneshot::Receiver<Result<Outcome, StoreError>>> = VecDeque::new();
        for chunk in 0..chunks {
            let permit = self.queue.admit(u64::from(CHUNK_BYTES)).await?;
            let bytes = source.chunk(chunk).await?;
            let row = (body_key(self.body.id, chunk), frame(self.body.id, chunk, &bytes));
            let began = (chunk == 0).then_some(self.body.id);
            let operation = Operation::Ahead { rows: vec![row], began };
            pending.push_back(self.queue.send(operation, permit).await?);
            if pending.len() > AHEAD
                && let Some(first) = pending.pop_front()
            {
                Queue::answer(first).await?;
            }
        }
        for answer in pending {
            Queue::answer(answer).await?;
        }
        Ok(())
    }

    /// The record is durable: the chunks belong to it now.
    pub(super) fn finish(mut self) {
        self.finished = true;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.finished {
            self.orphans.add(self.body.id);
        }
    }
}

/// Collects the chunks of uploads that came to nothing, and keeps witness and shadow, on a thread
/// of its own.
pub(super) struct Reaper {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: Arc<Queue>,
    pub(super) orphans: mpsc::Receiver<Option<u64>>,
}

impl Reaper {
    /// First what earlier runs left, then what this one leaves; until the store closes.
    pub(super) fn run(self, left: Vec<u64>) {
        for id in left {
            self.reap(id, "an earlier run");
        }
        let mut witnessed = self.shared.synced();
        loop {
            match self.orphans.recv_timeout(WITNESS_EVERY) {
                Ok(Some(id)) => self.reap(id, "this run"),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(None) | Err(RecvTimeoutError::Disconnected) => return,
            }
            self.shared.refresh_shadow();
            let synced = self.shared.synced();
            if synced != witnessed {
                witnessed = synced;
                self.shared.witness(synced, false);
            }
        }
    }

    fn reap(&self, id: u64, of: &str) {
        match self.try_reap(id) {
            Ok(chunks) => tracing::info!(chunks, of, "collected an interrupted upload"),
            Err(cause) => {
                tracing::warn!(%cause, of, "an interrupted upload is left for the next start");
            }
        }
    }

    fn try_reap(&self, id: u64) -> Result<u32, StoreError> {
        // An upload that failed midway may have chunks on their way to the committer: once this
        // empty operation behind them is answered, they are in the store and can be seen.
        self.queue.apply_blocking(Operation::Reap { body: id, chunks: 0..0, last: false })?;
        let rows = &self.shared.engine.body;
        let last = fence(|| {
            let snapshot = self.shared.snapshot();
            snapshot.prefix(rows, id.to_be_bytes()).next_back().map(fjall::Guard::key).transpose()
        })?;
        let chunks = match last.as_deref().and_then(|key| key.last_chunk::<4>()) {
            Some(index) => u32::from_be_bytes(*index) + 1,
            None => 0,
        };
        let mut first = 0;
        loop {
            let next = chunks.min(first + REAP_CHUNKS);
            let last = next == chunks;
            self.queue.apply_blocking(Operation::Reap { body: id, chunks: first..next, last })?;
            if last {
                return Ok(chunks);
            }
            first = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::Mutex;

    use super::*;
    use crate::backend::Backend as _;
    use crate::backend::embedded::{CommitGroup, CommitObserver, Embedded, Options};
    use crate::model::{Attributes, ObjectKey, PutMode};

    /// Holds the committer back for as long as the test holds the lock.
    #[derive(Debug, Default)]
    struct Gate(Mutex<()>);

    impl CommitObserver for Gate {
        fn committed(&self, _: CommitGroup) {
            drop(self.0.blocking_lock());
        }
    }

    #[tokio::test]
    async fn chunks_on_their_way_are_collected_with_a_failed_upload() {
        let folder = tempfile::tempdir().unwrap();
        let gate = Arc::new(Gate::default());
        let store = Embedded::open(Options {
            data_dir: folder.path().to_owned(),
            cache_bytes: 4 << 20,
            disk_reserve_bytes: 0,
            observer: Arc::clone(&gate) as _,
        })
        .unwrap();
        let closed = gate.0.lock().await;
        let (key, attributes) = (ObjectKey::new("a"), Attributes::new("text/plain"));
        store.put(&key, Bytes::new().into(), attributes, PutMode::Create).await.unwrap();

        let id = store.shared.fresh_id();
        let body = BodyRef { id, bytes: 3 << 20, chunk_bytes: CHUNK_BYTES, checksum: 0 };
        let upload = Upload::new(Arc::clone(&store.queue), store.orphans.clone(), body);
        for chunk in 0..4 {
            let rows = vec![(body_key(id, chunk), frame(id, chunk, b"some bytes"))];
            let began = (chunk == 0).then_some(id);
            let room = store.queue.admit(1).await.unwrap();
            store.queue.send(Operation::Ahead { rows, began }, room).await.unwrap();
        }
        drop(upload);
        // Time for a reaper that does not wait for the chunks to miss them.
        std::thread::sleep(Duration::from_millis(100));
        drop(closed);
        store.close();
        assert!(store.shared.engine.body.is_empty().unwrap(), "no chunk is left for ever");
        assert!(store.shared.engine.uploads.is_empty().unwrap());
    }
}
