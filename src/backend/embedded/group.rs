//! One group of operations, decided one after the other and written as one batch.
//!
//! Preconditions are checked against the store *plus what the group itself has decided so far*
//! (the overlay), so create-only and replace-if-match are exact among the members of a group too.
//! Only the last state of each key is written: a batch has one sequence number, and the engine
//! knows no order among rows of one batch that share a key.

use std::collections::HashMap;

use bytes::Bytes;
use fjall::PersistMode;

use super::batch::{Batch, Counters, Space};
use super::engine::{Engine, body_key, upload_row};
use super::errors::{error, fence, not_found};
use super::record::{BodyRef, Header};
use crate::model::{ErrorKind, ObjectKey, StoreError};

/// When a write may take place; the committer's view of `PutMode`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Condition {
    Absent,
    /// Only over this version; `None` is a token that names no version of this store.
    Version(Option<u64>),
    Always,
}

/// A row of `body`.
pub(super) type BodyRow = ([u8; 12], Bytes);

/// What a caller asks of the committer.
#[derive(Debug)]
pub(super) enum Operation {
    /// Make an object visible; its body is one row that comes along, or was written ahead.
    Put {
        key: ObjectKey,
        header: Header,
        record: Bytes,
        body: PutBody,
        condition: Condition,
        /// Of a copy: what it was made of must still be there.
        original: Option<Original>,
    },
    /// Remove an object.
    Delete { key: ObjectKey, condition: Condition },
    /// Give an object another name.
    Rename {
        source: ObjectKey,
        destination: ObjectKey,
        condition: Condition,
        version: u64,
        modified_ms: u64,
    },
    /// Rows of a body that is not visible yet. The first ones say that the upload began.
    Ahead { rows: Vec<BodyRow>, began: Option<u64> },
    /// Remove rows of an abandoned body; with the last ones the upload is forgotten.
    Reap { body: u64, chunks: std::ops::Range<u32>, last: bool },
}

/// The version of an object that a copy was made of.
///
/// Checked when the copy becomes visible: without that, a copy could appear after the delete of
/// its source was acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Original {
    pub(super) key: ObjectKey,
    pub(super) version: u64,
}

/// Where the bytes of a put are.
#[derive(Debug)]
pub(super) enum PutBody {
    /// There are none.
    Empty,
    /// One row, to be written with the record.
    Row(Bytes),
    /// Chunks that were written ahead under the body's id.
    Ahead,
}

impl Operation {
    /// About how many bytes it adds to the journal.
    pub(super) fn bytes(&self) -> u64 {
        let bytes = match self {
            Self::Put { key, record, body, .. } => {
                let row = if let PutBody::Row(row) = body { row.len() } else { 0 };
                key.as_str().len() + record.len() + row
            }
            Self::Rename { source, destination, .. } => {
                source.as_str().len() + destination.as_str().len() + 512
            }
            Self::Delete { key, .. } => key.as_str().len(),
            Self::Ahead { rows, .. } => rows.iter().map(|(_, row)| row.len()).sum(),
            Self::Reap { chunks, .. } => chunks.len() * 32,
        };
        bytes as u64 + 64
    }

    /// Whether it takes space for good, so that a full disk refuses it.
    pub(super) fn grows(&self) -> bool {
        matches!(self, Self::Put { .. } | Self::Rename { .. } | Self::Ahead { .. })
    }
}

/// What an operation did.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    /// Whether an object was there before, under the name written to or deleted.
    pub(super) found: bool,
    /// The record that a rename wrote.
    pub(super) record: Option<Bytes>,
}

/// The state of a key: its row and the part of it that decisions need.
#[derive(Clone)]
struct Current {
    header: Header,
    row: Bytes,
}

struct Entry {
    current: Option<Current>,
    /// Whether this group changed it.
    changed: bool,
}

/// A group being decided.
pub(super) struct Group<'a> {
    engine: &'a Engine,
    overlay: HashMap<ObjectKey, Entry>,
    /// Unframed bodies that this group brought and has not dropped again.
    rows: HashMap<u64, Bytes>,
    ahead: Vec<BodyRow>,
    dead: Vec<[u8; 12]>,
    begun: Vec<u64>,
    finished: Vec<u64>,
    counters: Counters,
    durable: bool,
}

impl<'a> Group<'a> {
    pub(super) fn new(engine: &'a Engine, counters: Counters) -> Self {
        Self {
            engine,
            overlay: HashMap::new(),
            rows: HashMap::new(),
            ahead: Vec::new(),
            dead: Vec::new(),
            begun: Vec::new(),
            finished: Vec::new(),
            counters,
            durable: false,
        }
    }

    /// Decides one operation.
    pub(super) fn apply(&mut self, operation: Operation) -> Result<Outcome, StoreError> {
        match operation {
            Operation::Put { key, header, record, body, condition, original } => {
                self.check_original(original)?;
                self.put(key, Current { header, row: record }, body, condition)
            }
            Operation::Delete { key, condition } => self.delete(key, condition),
            Operation::Rename { source, destination, condition, version, modified_ms } => {
                self.rename(source, destination, condition, version, modified_ms)
            }
            Operation::Ahead { rows, began } => {
                self.ahead.extend(rows);
                self.begun.extend(began);
                Ok(Outcome::default())
            }
            Operation::Reap { body, chunks, last } => {
                self.dead.extend(chunks.map(|chunk| body_key(body, chunk)));
                self.finished.extend(last.then_some(body));
                Ok(Outcome::default())
            }
        }
    }

    /// Whether there is nothing to write.
    pub(super) fn is_idle(&self) -> bool {
        !self.durable && self.ahead.is_empty() && self.dead.is_empty() && self.finished.is_empty()
    }

    /// The counters that hold once it is committed.
    pub(super) fn counters(&self) -> Counters {
        Counters { sequence: self.counters.sequence + 1, ..self.counters }
    }

    /// Whether anybody waits for the effect to be durable.
    ///
    /// Rows written ahead are not synced: the batch that makes them visible is, and the journal
    /// keeps order, so they are durable before anything refers to them.
    pub(super) fn is_durable(&self) -> bool {
        self.durable
    }

    /// Writes what was decided.
    pub(super) fn commit(self) -> fjall::Result<()> {
        let counters = self.counters();
        let mode = if self.durable { PersistMode::SyncData } else { PersistMode::Buffer };
        let capacity = self.overlay.len() + self.rows.len() + self.ahead.len() + self.dead.len();
        let mut batch = Batch::new(self.engine, capacity + 8);
        // Bodies before the records that name them, names that appear before names that vanish.
        for (id, row) in self.rows {
            batch.insert(Space::Body, body_key(id, 0), row);
        }
        for (key, row) in self.ahead {
            batch.insert(Space::Body, key, row);
        }
        for id in self.begun {
            let (key, row) = upload_row(id);
            batch.insert(Space::Uploads, key, row);
        }
        let mut gone = Vec::new();
        for (key, entry) in self.overlay {
            match entry.current {
                _ if !entry.changed => {}
                Some(current) => batch.insert(Space::Meta, key.as_str(), current.row),
                None => gone.push(key),
            }
        }
        for key in gone {
            batch.remove(Space::Meta, key.as_str());
        }
        for key in self.dead {
            batch.remove(Space::Body, key);
        }
        for id in self.finished {
            batch.remove(Space::Uploads, id.to_be_bytes());
        }
        batch.commit(counters, mode)
    }

    fn put(
        &mut self,
        key: ObjectKey,
        new: Current,
        body: PutBody,
        condition: Condition,
    ) -> Result<Outcome, StoreError> {
        let (found, old) = self.existing(&key, condition)?;
        check_put(&key, old.as_ref(), condition)?;
        self.count_in(&new.header);
        let id = new.header.body.id;
        self.set(key, Some(new));
        if let Some(old) = old {
            self.drop_object(&old);
        }
        match body {
            PutBody::Empty => {}
            PutBody::Row(row) => {
                self.rows.insert(id, row);
            }
            PutBody::Ahead => self.finished.push(id),
        }
        Ok(Outcome { found, record: None })
    }

    fn check_original(&mut self, original: Option<Original>) -> Result<(), StoreError> {
        let Some(Original { key, version }) = original else { return Ok(()) };
        match self.current(&key)? {
            Some(current) if current.header.version == version => Ok(()),
            Some(_) => Err(error(ErrorKind::Unavailable, "the source changed while it was copied")),
            None => Err(not_found(&key)),
        }
    }

    fn delete(&mut self, key: ObjectKey, condition: Condition) -> Result<Outcome, StoreError> {
        let (found, old) = self.existing(&key, condition)?;
        if !found {
            return Ok(Outcome::default());
        }
        if let Condition::Version(version) = condition
            && version != old.map(|old| old.version)
        {
            return Err(another_version(&key));
        }
        self.set(key, None);
        if let Some(old) = old {
            self.drop_object(&old);
        }
        Ok(Outcome { found, record: None })
    }

    fn rename(
        &mut self,
        source: ObjectKey,
        destination: ObjectKey,
        condition: Condition,
        version: u64,
        modified_ms: u64,
    ) -> Result<Outcome, StoreError> {
        let Some(from) = self.current(&source)?.cloned() else {
            return Err(not_found(&source));
        };
        let old = self.current(&destination)?.map(|current| current.header);
        check_put(&destination, old.as_ref(), condition)?;
        let header = Header { version, modified_ms, ..from.header };
        let row = header.transplant((&source, &from.row), &destination)?;
        self.set(destination, Some(Current { header, row: row.clone() }));
        self.set(source, None);
        if let Some(old) = old {
            self.drop_object(&old);
        }
        Ok(Outcome { found: old.is_some(), record: Some(row) })
    }

    /// Whether a key holds something, and what. A damaged record can be deleted and overwritten
    /// where no condition asks for its version; its body is then not to be found any more.
    fn existing(
        &mut self,
        key: &ObjectKey,
        condition: Condition,
    ) -> Result<(bool, Option<Header>), StoreError> {
        match self.current(key) {
            Ok(current) => Ok((current.is_some(), current.map(|current| current.header))),
            Err(cause)
                if cause.kind() == ErrorKind::Corrupt && matches!(condition, Condition::Always) =>
            {
                self.counters.objects = self.counters.objects.saturating_sub(1);
                Ok((true, None))
            }
            Err(cause) => Err(cause),
        }
    }

    /// What a key holds, after everything decided so far.
    fn current(&mut self, key: &ObjectKey) -> Result<Option<&Current>, StoreError> {
        if !self.overlay.contains_key(key) {
            let engine = self.engine;
            let row = fence(|| engine.meta.get(key.as_str()))?.map(Bytes::from);
            let current = row
                .map(|row| Header::decode(key, &row).map(|header| Current { header, row }))
                .transpose()?;
            self.overlay.insert(key.clone(), Entry { current, changed: false });
        }
        Ok(self.overlay.get(key).and_then(|entry| entry.current.as_ref()))
    }

    fn set(&mut self, key: ObjectKey, current: Option<Current>) {
        self.durable = true;
        self.overlay.insert(key, Entry { current, changed: true });
    }

    fn count_in(&mut self, header: &Header) {
        self.counters.objects += 1;
        self.counters.bytes += header.size;
        self.counters.stored_bytes += header.body.bytes;
    }

    /// Takes an object's body and its share of the counters away.
    fn drop_object(&mut self, old: &Header) {
        let counters = &mut self.counters;
        // Saturating: a counter that a damaged journal left too low must not stop deletes.
        counters.objects = counters.objects.saturating_sub(1);
        counters.bytes = counters.bytes.saturating_sub(old.size);
        counters.stored_bytes = counters.stored_bytes.saturating_sub(old.body.bytes);
        if self.rows.remove(&old.body.id).is_none() {
            self.dead.extend(rows_of(&old.body));
        }
    }
}

fn rows_of(body: &BodyRef) -> impl Iterator<Item = [u8; 12]> + use<> {
    let id = body.id;
    let chunks = u32::try_from(body.chunks()).unwrap_or(u32::MAX);
    (0..chunks).map(move |chunk| body_key(id, chunk))
}

fn check_put(
    key: &ObjectKey,
    old: Option<&Header>,
    condition: Condition,
) -> Result<(), StoreError> {
    match (condition, old) {
        (Condition::Absent, Some(_)) => {
            Err(error(ErrorKind::AlreadyExists, format!("there is an object '{key}' already")))
        }
        (Condition::Version(Some(version)), Some(old)) if version == old.version => Ok(()),
        (Condition::Version(_), _) => Err(another_version(key)),
        (Condition::Absent | Condition::Always, _) => Ok(()),
    }
}

pub(super) fn another_version(key: &ObjectKey) -> StoreError {
    error(ErrorKind::PreconditionFailed, format!("'{key}' is not at the version asked for"))
}
