//! One write of a new object: checks, body, record, and the answer.
//!
//! A small body goes with its record in one operation. A large one is written ahead in chunks, by a
//! task of its own, and becomes visible with its record.

use std::sync::Arc;

use super::Embedded;
use super::body;
use super::errors::{error, unavailable};
use super::group::{Condition, Operation, Original, PutBody};
use super::queue::{self, Queue};
use super::record::{BodyRef, Header, Record, now_ms, version_of};
use super::upload::{Orphans, Source, Upload};
use crate::model::{
    Attributes, Encryption, ErrorKind, MAX_KEY_BYTES, ObjectKey, PutMode, StoreError, Stored,
};

impl Embedded {
    /// Writes a new object whose bytes come from a payload or from another body.
    pub(super) async fn store(
        &self,
        key: &ObjectKey,
        bytes: u64,
        source: Source,
        attributes: Attributes,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        check_key(key)?;
        if let Some(refusal) = self.shared.health.refusal() {
            return Err(refusal);
        }
        let condition = condition(mode);
        let id = self.shared.fresh_id();
        let writer = Writer {
            queue: Arc::clone(&self.queue),
            orphans: self.orphans.clone(),
            id,
            key: key.clone(),
            bytes,
            attributes,
            condition,
            original: source.original(),
        };
        if bytes <= body::WHOLE_BYTES {
            return writer.write_whole(source).await;
        }
        // On a task of its own, so that a caller that goes away leaves the upload done.
        tokio::spawn(writer.write_chunks(source))
            .await
            .unwrap_or_else(|cause| Err(unavailable("the upload stopped", cause)))
    }
}

/// One write of a new object.
struct Writer {
    queue: Arc<Queue>,
    orphans: Orphans,
    id: u64,
    key: ObjectKey,
    bytes: u64,
    attributes: Attributes,
    condition: Condition,
    original: Option<Original>,
}

impl Writer {
    /// Body and record in one batch.
    async fn write_whole(self, source: Source) -> Result<Stored, StoreError> {
        let room = self.queue.admit(self.bytes).await?;
        let row = source.whole(self.bytes).await?;
        let checksum = body::whole_checksum(self.id, &row);
        let body = BodyRef { id: self.id, bytes: self.bytes, chunk_bytes: 0, checksum };
        let row = if row.is_empty() { PutBody::Empty } else { PutBody::Row(row) };
        self.publish(body, row, room).await
    }

    /// Chunks first, then the record.
    async fn write_chunks(self, source: Source) -> Result<Stored, StoreError> {
        let body =
            BodyRef { id: self.id, bytes: self.bytes, chunk_bytes: body::CHUNK_BYTES, checksum: 0 };
        let upload = Upload::new(Arc::clone(&self.queue), self.orphans.clone(), body);
        upload.write(&source).await?;
        let room = self.queue.admit(1).await?;
        let stored = self.publish(body, PutBody::Ahead, room).await;
        // Where nobody knows whether the record is stored, its chunks must stay.
        let kept = match &stored {
            Ok(_) => true,
            Err(cause) => cause.kind() == ErrorKind::Indeterminate,
        };
        if kept {
            upload.finish();
        }
        stored
    }

    async fn publish(
        self,
        body: BodyRef,
        row: PutBody,
        room: queue::Room,
    ) -> Result<Stored, StoreError> {
        let size = self.attributes.representation.map_or(self.bytes, |r| r.size);
        let header = Header { version: self.id, body, size, modified_ms: now_ms() };
        let record = Record { header, attributes: self.attributes };
        let operation = Operation::Put {
            key: self.key.clone(),
            header,
            record: record.encode(&self.key)?,
            body: row,
            condition: self.condition,
            original: self.original,
        };
        let outcome = Queue::answer(self.queue.send(operation, room).await?).await?;
        Ok(Stored { meta: record.into_meta(self.key), replaced: Some(outcome.found) })
    }
}

pub(super) fn condition(mode: PutMode) -> Condition {
    match mode {
        PutMode::Create => Condition::Absent,
        PutMode::Replace(etag) => Condition::Version(version_of(&etag)),
        PutMode::Overwrite => Condition::Always,
    }
}

pub(super) fn check_key(key: &ObjectKey) -> Result<(), StoreError> {
    let length = key.as_str().len();
    if (1..=MAX_KEY_BYTES).contains(&length) {
        return Ok(());
    }
    let detail = format!("a key has 1 to {MAX_KEY_BYTES} bytes, this one has {length}");
    Err(error(ErrorKind::Invalid, detail))
}

pub(super) fn check_distinct(
    source: &ObjectKey,
    destination: &ObjectKey,
) -> Result<(), StoreError> {
    if source != destination {
        return Ok(());
    }
    Err(error(ErrorKind::Invalid, "source and destination are the same key"))
}

pub(super) fn check_attributes(attributes: &Attributes) -> Result<(), StoreError> {
    if attributes.storage_class.is_some() {
        return Err(unsupported("storage_class"));
    }
    match attributes.encryption {
        // The service has encrypted the bytes already; to the store they are bytes.
        Encryption::None | Encryption::Envelope => Ok(()),
        Encryption::Aes256 => Err(unsupported("encryption_aes256")),
        Encryption::Kms => Err(unsupported("encryption_kms")),
    }
}

fn unsupported(capability: &str) -> StoreError {
    let detail = format!("the local store lacks the capability {capability}: leave it out");
    error(ErrorKind::Unsupported, detail)
}
