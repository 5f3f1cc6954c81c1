//! The model of a [`Backend`]: a sorted map behind one lock.
//!
//! Simple enough to be right by reading, so that tests of layers, pools and the vault can stand on
//! it and operation sequences can be judged by it. Every call is one critical section, therefore
//! every promise of the contract holds by construction. For tests and as the oracle only: it keeps
//! nothing over a restart.

mod listing;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;

use super::Backend;
use crate::model::{
    Attributes, Body, Capabilities, ETag, Encryption, ErrorKind, GetOptions, ListPage, ListRequest,
    Lock, ObjectKey, ObjectMeta, Payload, PresignMethod, Presigned, Provider, PutMode, Retrieved,
    StoreError, Stored, Support, Usage,
};

/// Longest body that is answered in one piece; longer ones are streamed, so that callers meet both.
const PIECE_BYTES: usize = 256 * 1024;

/// An in-memory store, see the module.
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<ObjectKey, Object>,
    /// Number of writes ever made: the next version token.
    writes: u64,
}

#[derive(Clone, Debug)]
struct Object {
    meta: ObjectMeta,
    bytes: Bytes,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// No call leaves the state half changed, so a lock poisoned by a panicking test is usable.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn find(&self, key: &ObjectKey) -> Result<&Object, StoreError> {
        self.objects.get(key).ok_or_else(|| refuse(ErrorKind::NotFound, "no such object"))
    }

    fn check_mode(&self, key: &ObjectKey, mode: &PutMode) -> Result<(), StoreError> {
        let present = self.objects.get(key).map(|object| &object.meta.etag);
        match mode {
            PutMode::Create if present.is_some() => {
                Err(refuse(ErrorKind::AlreadyExists, "an object with this key exists"))
            }
            PutMode::Replace(wanted) if present != Some(wanted) => Err(other_version()),
            PutMode::Create | PutMode::Replace(_) | PutMode::Overwrite => Ok(()),
        }
    }

    fn write(
        &mut self,
        key: &ObjectKey,
        bytes: Bytes,
        attributes: Attributes,
        mode: &PutMode,
    ) -> Result<Stored, StoreError> {
        self.check_mode(key, mode)?;
        self.writes += 1;
        let meta = ObjectMeta {
            key: key.clone(),
            etag: ETag::new(self.writes.to_string()),
            version_id: None,
            stored_size: bytes.len() as u64,
            last_modified: now(),
            attributes,
            lock: Lock::default(),
            provider: Provider::Memory,
        };
        let before = self.objects.insert(key.clone(), Object { meta: meta.clone(), bytes });
        Ok(Stored { meta, replaced: Some(before.is_some()) })
    }

    fn copy(
        &mut self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: &PutMode,
    ) -> Result<Stored, StoreError> {
        if source == destination {
            return Err(refuse(ErrorKind::Invalid, "source and destination are the same key"));
        }
        let Object { meta, bytes } = self.find(source)?.clone();
        self.write(destination, bytes, meta.attributes, mode)
    }
}

#[async_trait]
impl Backend for Memory {
    fn provider(&self) -> Provider {
        Provider::Memory
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
        let bytes = read_payload(payload).await?;
        self.lock().write(key, bytes, attributes, &mode)
    }

    async fn get(&self, key: &ObjectKey, options: GetOptions) -> Result<Retrieved, StoreError> {
        let Object { meta, bytes } = self.lock().find(key)?.clone();
        if options.if_match.is_some_and(|wanted| wanted != meta.etag) {
            return Err(other_version());
        }
        let bytes = match options.range {
            None => bytes,
            Some(range) if range.is_empty() || range.end > meta.stored_size => {
                return Err(refuse(ErrorKind::Invalid, "the range is empty or past the end"));
            }
            // Both ends are at most the length of `bytes`, which is a `usize`.
            Some(range) => bytes.slice(range.start as usize..range.end as usize),
        };
        Ok(Retrieved::new(meta, body(bytes)))
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        Ok(self.lock().find(key)?.meta.clone())
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        let mut state = self.lock();
        let Some(object) = state.objects.get(key) else { return Ok(Some(false)) };
        if if_match.is_some_and(|wanted| *wanted != object.meta.etag) {
            return Err(other_version());
        }
        state.objects.remove(key);
        Ok(Some(true))
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>> {
        let mut state = self.lock();
        keys.iter().map(|key| Ok(Some(state.objects.remove(key).is_some()))).collect()
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        if request.limit == 0 || request.limit > 1000 {
            return Err(refuse(ErrorKind::Invalid, "the limit is not between 1 and 1000"));
        }
        if request.delimiter.as_deref() == Some("") {
            return Err(refuse(ErrorKind::Invalid, "the delimiter is empty"));
        }
        let state = self.lock();
        Ok(listing::page(state.objects.values().map(|object| &object.meta), request))
    }

    async fn copy(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.lock().copy(source, destination, &mode)
    }

    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let mut state = self.lock();
        let stored = state.copy(source, destination, &mode)?;
        state.objects.remove(source);
        Ok(stored)
    }

    async fn presign(
        &self,
        _: &ObjectKey,
        _: &PresignMethod,
        _: Duration,
    ) -> Result<Presigned, StoreError> {
        let detail = "the 'memory' backend has no URLs of its own";
        Err(StoreError::new(ErrorKind::Unsupported, Provider::Memory, detail))
    }

    async fn usage(&self) -> Result<Usage, StoreError> {
        let state = self.lock();
        Ok(Usage {
            objects: state.objects.len() as u64,
            bytes: state.objects.values().map(|object| object.meta.size()).sum(),
            stored_bytes: state.objects.values().map(|object| object.meta.stored_size).sum(),
            exact: true,
            as_of: now(),
        })
    }

    async fn probe(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn check_attributes(attributes: &Attributes) -> Result<(), StoreError> {
    let lacking = match attributes.encryption {
        _ if attributes.storage_class.is_some() => "storage_class",
        Encryption::None => return Ok(()),
        Encryption::Aes256 => "encryption_aes256",
        Encryption::Kms => "encryption_kms",
        Encryption::Envelope => "envelope encryption",
    };
    let detail = format!("the memory store lacks the capability {lacking}");
    Err(StoreError::new(ErrorKind::Unsupported, Provider::Memory, detail))
}

async fn read_payload(payload: Payload) -> Result<Bytes, StoreError> {
    if let Payload::Bytes(bytes) = payload {
        return Ok(bytes);
    }
    let length = usize::try_from(payload.len())
        .map_err(|_| refuse(ErrorKind::QuotaExceeded, "the object does not fit into memory"))?;
    let read = tokio::task::spawn_blocking(move || payload.read_at(0, length)).await;
    let failed = || refuse(ErrorKind::Unavailable, "the spooled body cannot be read");
    read.map_err(|error| failed().with_source(error))?.map_err(|error| failed().with_source(error))
}

fn body(bytes: Bytes) -> Body {
    if bytes.len() <= PIECE_BYTES {
        return Body::Bytes(bytes);
    }
    Body::Stream(Box::pin(stream::unfold(bytes, |mut rest| async move {
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        (!piece.is_empty()).then_some((Ok(piece), rest))
    })))
}

/// In whole milliseconds, as the contract says.
fn now() -> SystemTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = since.subsec_millis() * 1_000_000;
    UNIX_EPOCH + Duration::new(since.as_secs(), nanos)
}

fn other_version() -> StoreError {
    refuse(ErrorKind::PreconditionFailed, "another version is there, or none")
}

fn refuse(kind: ErrorKind, detail: &'static str) -> StoreError {
    StoreError::new(kind, Provider::Memory, detail)
}
