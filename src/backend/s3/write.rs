//! Storing an object: what is asked for, the call that makes it, and what counts as a success.

use std::collections::HashMap;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
use bytes::Bytes;
use tokio::sync::SemaphorePermit;

use super::attributes::{content_encoding, metadata_bytes, tags_to_form, to_metadata};
use super::client::allowance;
use super::conditions::conditions;
use super::lock::Locking;
use super::meta::{encryption, etag, now};
use super::multipart::{PART_BYTES, Upload};
use super::{Effect, S3, translate};
use crate::model::{
    Attributes, Digest, ETag, Encryption, ErrorKind, Lock, ObjectKey, ObjectMeta, Payload, PutMode,
    StoreError, Stored, Support,
};

/// Tags that S3 keeps of one object.
const MOST_TAGS: usize = 10;
/// Bodies above this have a time limit by their size.
const LARGE: u64 = 1 << 20;

/// A write that was checked and put into the backend's words.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) payload: Payload,
    pub(super) attributes: Attributes,
    pub(super) metadata: HashMap<String, String>,
    /// Tags in the backend's own form.
    pub(super) tagging: Option<String>,
    pub(super) encryption: Option<ServerSideEncryption>,
    pub(super) storage_class: Option<StorageClass>,
    pub(super) locking: Locking,
}

impl Prepared {
    /// Whether it goes in parts.
    fn is_large(&self) -> bool {
        matches!(self.payload, Payload::File(_)) && self.payload.len() > PART_BYTES
    }
}

/// What the backend said of a finished write.
pub(super) struct Written {
    pub(super) e_tag: Option<String>,
    pub(super) version_id: Option<String>,
    pub(super) encryption: Option<ServerSideEncryption>,
}

impl S3 {
    pub(super) async fn store(
        &self,
        key: &ObjectKey,
        payload: Payload,
        attributes: Attributes,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let locking = self.locking(attributes.retention).await?;
        let prepared = self.prepare(payload, attributes, locking)?;
        let support = self.support_of(&mode)?;
        let is_ours = support == Support::Gateway;
        let held = self.held(key, &mode, &prepared).await?;
        if !self.takes_turns() && held.is_none() {
            let mut upload = self.send_ahead(key, &prepared, &mode).await?;
            let written = self.commit(key, &prepared, upload.as_mut(), &mode).await?;
            return self.accept(key, prepared, mode, written).await;
        }
        if is_ours && prepared.is_large() {
            // Nothing is sent in vain, and nobody waits for a turn while parts are on their way.
            self.check(key, &mode).await?;
        }
        let mut upload = self.send_ahead(key, &prepared, &mode).await?;
        let (this, key) = (self.clone(), key.clone());
        // A caller that goes away must not let others in between the look and the write.
        self.finish(async move {
            let _turn = this.shared.writers.turn(&key).await;
            if is_ours {
                this.check(&key, &mode).await?;
            }
            let sent = this.sent(support, &mode);
            let wanted = prepared.attributes.retention;
            let written = match this.commit(&key, &prepared, upload.as_mut(), &sent).await {
                Err(error) if this.is_header_refused(support, &sent, &error) => {
                    let sent = PutMode::Overwrite;
                    this.commit(&key, &prepared, upload.as_mut(), &sent).await
                }
                written => written,
            };
            let outcome = match written {
                Ok(written) => this.accept(&key, prepared, mode, written).await,
                Err(error) => Err(error),
            };
            if let Some(held) = held {
                this.let_go(&key, held, wanted, &outcome).await;
            }
            outcome
        })
        .await
    }

    /// Runs something to its end, whether its caller waits or not.
    pub(super) fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> impl Future<Output = Result<T, StoreError>> {
        // Boxed: a call of the SDK is ten kilobytes, which would be moved on the way to a thread.
        let task = tokio::spawn(Box::pin(work));
        async move {
            match task.await {
                Ok(result) => result,
                Err(_) => Err(self.error(ErrorKind::Indeterminate, "the write was cut off")),
            }
        }
    }

    /// What to ask the backend for: the caller's wish, else the configured default.
    pub(super) fn encryption_for(
        &self,
        asked: Encryption,
    ) -> Result<Option<ServerSideEncryption>, StoreError> {
        let (can, options) = (self.can(), &self.shared.options);
        let (support, kind, feature) = match asked {
            Encryption::None if options.encryption == Encryption::None => return Ok(None),
            Encryption::None => return self.encryption_for(options.encryption),
            Encryption::Aes256 => (
                can.encryption_aes256,
                ServerSideEncryption::Aes256,
                "encryption_aes256: encryption at rest with AES256",
            ),
            Encryption::Kms => (
                can.encryption_kms,
                ServerSideEncryption::AwsKms,
                "encryption_kms: encryption at rest with aws:kms",
            ),
            Encryption::Envelope => return Err(self.unsupported("envelope encryption")),
        };
        support.require(options.provider, feature)?;
        Ok(Some(kind))
    }

    fn prepare(
        &self,
        payload: Payload,
        attributes: Attributes,
        locking: Locking,
    ) -> Result<Prepared, StoreError> {
        let can = self.can();
        let encryption = self.encryption_for(attributes.encryption)?;
        if attributes.storage_class.is_some() {
            can.storage_class.require(self.shared.options.provider, "storage classes")?;
        }
        if !attributes.tags.is_empty() && !can.tags.is_available() {
            return Err(self.unsupported("tags"));
        }
        if attributes.tags.len() > MOST_TAGS {
            let detail = format!("Proof-Tags: more than {MOST_TAGS} tags");
            return Err(self.error(ErrorKind::Invalid, detail));
        }
        let native_tags = can.tags == Support::Native;
        let limit = self.shared.dialect.metadata_bytes;
        let mut metadata = to_metadata(&attributes, true);
        if native_tags && metadata_bytes(&metadata) > limit {
            // Only a copy, for readers to be spared a call.
            metadata = to_metadata(&attributes, false);
        }
        let bytes = metadata_bytes(&metadata);
        if bytes > limit {
            let detail = format!(
                "Proof-Meta-*: {bytes} bytes of metadata with the service's own, and the backend \
                 keeps {limit}: store less, or put it into the proof"
            );
            return Err(self.error(ErrorKind::Invalid, detail));
        }
        let tagging =
            (native_tags && !attributes.tags.is_empty()).then(|| tags_to_form(&attributes.tags));
        let class = attributes.storage_class.as_deref().filter(|class| *class != "STANDARD");
        let storage_class = class.map(StorageClass::from);
        Ok(Prepared { payload, attributes, metadata, tagging, encryption, storage_class, locking })
    }

    /// Sends the parts of a large body, which are no object yet.
    async fn send_ahead(
        &self,
        key: &ObjectKey,
        prepared: &Prepared,
        mode: &PutMode,
    ) -> Result<Option<Upload>, StoreError> {
        match prepared.is_large() {
            true => self.send_parts(key, prepared, mode).await.map(Some),
            false => Ok(None),
        }
    }

    /// The call that makes the object.
    async fn commit(
        &self,
        key: &ObjectKey,
        prepared: &Prepared,
        upload: Option<&mut Upload>,
        mode: &PutMode,
    ) -> Result<Written, StoreError> {
        match (upload, &prepared.payload) {
            (Some(upload), _) => self.complete(upload, prepared, mode).await,
            (None, Payload::Bytes(bytes)) => {
                self.send_whole(key, prepared, bytes.clone(), mode).await
            }
            (None, file) => {
                let _room = self.room().await?;
                let bytes = self.read_payload(file.clone(), 0, PART_BYTES as usize).await?;
                self.send_whole(key, prepared, bytes, mode).await
            }
        }
    }

    /// Waits for a place for a part of a file in memory.
    pub(super) async fn room(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        let closed = |_| self.error(ErrorKind::Failed, "the backend is closing");
        self.shared.parts.acquire().await.map_err(closed)
    }

    /// Reads a part of a payload off the threads that serve.
    pub(super) async fn read_payload(
        &self,
        payload: Payload,
        offset: u64,
        length: usize,
    ) -> Result<Bytes, StoreError> {
        let read = tokio::task::spawn_blocking(move || payload.read_at(offset, length)).await;
        let read = read.map_err(std::io::Error::other).and_then(|read| read);
        read.map_err(|cause| {
            let detail = "the upload's temporary file cannot be read: nothing was stored";
            self.error(ErrorKind::Unavailable, detail).with_source(cause).unasked()
        })
    }

    async fn send_whole(
        &self,
        key: &ObjectKey,
        prepared: &Prepared,
        bytes: Bytes,
        mode: &PutMode,
    ) -> Result<Written, StoreError> {
        let Prepared { attributes, locking, .. } = prepared;
        let known = attributes.representation.map(|known| known.stored_sha256);
        let sha256 = known.unwrap_or_else(|| Digest::of(&bytes));
        let length = bytes.len() as u64;
        let is_large = length > LARGE;
        let client = if is_large { &self.shared.clients.transfers } else { self.client() };
        let request = client
            .put_object()
            .bucket(self.bucket())
            .key(key.as_str())
            .content_type(&attributes.content_type)
            .checksum_sha256(sha256.to_base64())
            .set_metadata(Some(prepared.metadata.clone()))
            .set_cache_control(attributes.cache_control.clone())
            .set_content_encoding(content_encoding(attributes).map(str::to_owned))
            .set_tagging(prepared.tagging.clone())
            .set_storage_class(prepared.storage_class.clone())
            .set_server_side_encryption(prepared.encryption.clone())
            .set_ssekms_key_id(self.kms_key(prepared.encryption.as_ref()))
            .set_checksum_algorithm(locking.checksum.clone())
            .set_object_lock_mode(locking.mode.clone())
            .set_object_lock_retain_until_date(locking.until)
            .set_object_lock_legal_hold_status(locking.hold.clone())
            .body(ByteStream::from(bytes));
        let (if_none_match, if_match) = conditions(mode);
        let request = request.set_if_none_match(if_none_match).set_if_match(if_match);
        let answer = match is_large {
            true => self.in_time(allowance(length), Effect::Write, Box::pin(request.send())).await,
            false => request
                .send()
                .await
                .map_err(|error| translate(self.shared.options.provider, Effect::Write, error)),
        };
        let answer = answer.map_err(|error| self.refused_write(prepared, mode, error))?;
        Ok(Written {
            e_tag: answer.e_tag,
            version_id: answer.version_id,
            encryption: answer.server_side_encryption,
        })
    }

    /// The key to name with a request for encryption.
    pub(super) fn kms_key(&self, encryption: Option<&ServerSideEncryption>) -> Option<String> {
        let kms = encryption == Some(&ServerSideEncryption::AwsKms);
        self.shared.options.kms_key_id.clone().filter(|_| kms)
    }

    /// Checks a success: a well-formed 200 without an ETag or without the encryption that was
    /// asked for is none.
    async fn accept(
        &self,
        key: &ObjectKey,
        prepared: Prepared,
        mode: PutMode,
        written: Written,
    ) -> Result<Stored, StoreError> {
        let Some(etag) = etag(written.e_tag.as_deref()) else {
            let detail = "the backend answered without an ETag: the write may have happened";
            return Err(self.error(ErrorKind::Indeterminate, detail));
        };
        let mut found = written.encryption;
        if prepared.encryption.is_some() && prepared.encryption != found {
            // Some tell it only to those who ask.
            found = match self.head_of(key).await {
                Ok(head) => head.server_side_encryption,
                Err(error) => {
                    let detail = "it cannot be told whether what was written is encrypted";
                    return Err(self.error(ErrorKind::Indeterminate, detail).with_source(error));
                }
            };
            if prepared.encryption != found && matches!(mode, PutMode::Replace(_)) {
                // What was there is gone: without this there would be nothing.
                let detail =
                    "the proof was replaced, and the backend did not encrypt it as it was asked to";
                return Err(self.error(ErrorKind::Indeterminate, detail));
            }
            if prepared.encryption != found {
                return Err(self.drop_plaintext(key, &etag).await);
            }
        }
        let lock = match prepared.locking.is_asked() {
            // The answer to a write tells none.
            true => self.lock_of(key, written.version_id.as_deref(), &prepared.locking).await,
            false => Lock::default(),
        };
        let stored_size = prepared.payload.len();
        let mut attributes = prepared.attributes;
        attributes.encryption = encryption(found.as_ref());
        // As every later read will have it: S3 names no default class.
        attributes.storage_class = attributes.storage_class.filter(|class| class != "STANDARD");
        let meta = ObjectMeta {
            key: key.clone(),
            etag,
            version_id: self.named_version(written.version_id),
            stored_size,
            last_modified: now(),
            attributes,
            lock,
            provider: self.shared.options.provider,
        };
        let replaced = match mode {
            PutMode::Create => Some(false),
            PutMode::Replace(_) => Some(true),
            PutMode::Overwrite => None,
        };
        Ok(Stored { meta, replaced })
    }

    /// The backend took the header that asks for encryption, and dropped it.
    pub(super) async fn drop_plaintext(&self, key: &ObjectKey, etag: &ETag) -> StoreError {
        // The caller may hold the turn already.
        let native = self.can().delete_if_match == Support::Native;
        let removed = self.send_delete(key, native.then_some(etag)).await;
        tracing::error!(
            removed = removed.is_ok(),
            "the backend ignored the request to encrypt: what it stored in plain was deleted, which a \
             bucket with versions keeps as an old one"
        );
        self.unsupported("encryption at rest: it ignored the request for it")
    }
}
