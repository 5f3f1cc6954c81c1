//! Storing an object, and who decides its condition.

use std::collections::HashMap;

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};
use bytes::Bytes;

use super::attributes::{metadata_bytes, tags_to_form, to_metadata};
use super::meta::{encryption, etag, now, quoted};
use super::multipart::PART_BYTES;
use super::{Effect, S3, translate};
use crate::model::{
    Attributes, Digest, ETag, Encoding, Encryption, ErrorKind, ObjectKey, ObjectMeta, Payload,
    PutMode, StoreError, Stored, Support,
};

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
        let prepared = self.prepare(payload, attributes)?;
        let support = self.support_of(&mode)?;
        if !self.takes_turns() {
            return self.send(key, prepared, mode).await;
        }
        let (this, key) = (self.clone(), key.clone());
        // A caller that goes away must not let others in between the look and the write.
        self.finish(async move {
            let _turn = this.shared.writers.turn(&key).await;
            if support == Support::Gateway {
                this.check(&key, &mode).await?;
            }
            this.send(&key, prepared, mode).await
        })
        .await
    }

    /// Runs something to its end, whether its caller waits or not.
    pub(super) async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        match tokio::spawn(work).await {
            Ok(result) => result,
            Err(_) => Err(self.error(ErrorKind::Indeterminate, "the write was cut off")),
        }
    }

    /// Whether some condition is ours to decide: then all of our writers of a key take turns.
    pub(super) fn takes_turns(&self) -> bool {
        let can = self.can();
        [can.create_only, can.replace_if_match, can.delete_if_match].contains(&Support::Gateway)
    }

    /// Who decides the condition of a write.
    pub(super) fn support_of(&self, mode: &PutMode) -> Result<Support, StoreError> {
        let can = self.can();
        let (support, feature) = match mode {
            PutMode::Create => (can.create_only, "create_only: conditional writes"),
            PutMode::Replace(_) => (can.replace_if_match, "replace_if_match: conditional writes"),
            PutMode::Overwrite => return Ok(Support::Native),
        };
        if support.is_available() { Ok(support) } else { Err(self.unsupported(feature)) }
    }

    /// Compares on the backend's behalf; the caller has the turn.
    pub(super) async fn check(&self, key: &ObjectKey, mode: &PutMode) -> Result<(), StoreError> {
        let found = match self.look(key).await {
            Ok(meta) => Some(meta.etag),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        match (mode, found) {
            (PutMode::Overwrite, _) | (PutMode::Create, None) => Ok(()),
            (PutMode::Create, Some(_)) => Err(self.refused(mode)),
            (PutMode::Replace(wanted), Some(found)) if *wanted == found => Ok(()),
            (PutMode::Replace(_), _) => Err(self.refused(mode)),
        }
    }

    /// The refusal of a condition.
    pub(super) fn refused(&self, mode: &PutMode) -> StoreError {
        match mode {
            PutMode::Create => self.error(ErrorKind::AlreadyExists, "there is an object already"),
            _ => self.error(ErrorKind::PreconditionFailed, "another version is there"),
        }
    }

    /// A failed conditional write in the words of its condition.
    pub(super) fn of_condition(&self, mode: &PutMode, error: StoreError) -> StoreError {
        match (error.kind(), mode) {
            (ErrorKind::PreconditionFailed, _) => self.refused(mode),
            // S3 answers If-Match on a missing key so.
            (ErrorKind::NotFound, PutMode::Replace(_)) => self.refused(mode),
            _ => error,
        }
    }

    /// What to ask the backend for: the caller's wish, else the configured default.
    pub(super) fn encryption_for(
        &self,
        asked: Encryption,
    ) -> Result<Option<ServerSideEncryption>, StoreError> {
        let (can, configured) = (self.can(), self.shared.options.encryption);
        match if asked == Encryption::None { configured } else { asked } {
            Encryption::None => Ok(None),
            Encryption::Aes256 if can.encryption_aes256.is_available() => {
                Ok(Some(ServerSideEncryption::Aes256))
            }
            Encryption::Aes256 => {
                Err(self.unsupported("encryption_aes256: encryption at rest with AES256"))
            }
            Encryption::Kms if can.encryption_kms.is_available() => {
                Ok(Some(ServerSideEncryption::AwsKms))
            }
            Encryption::Kms => {
                Err(self.unsupported("encryption_kms: encryption at rest with aws:kms"))
            }
            Encryption::Envelope => Err(self.unsupported("envelope encryption")),
        }
    }

    fn prepare(&self, payload: Payload, attributes: Attributes) -> Result<Prepared, StoreError> {
        let can = self.can();
        let encryption = self.encryption_for(attributes.encryption)?;
        if attributes.storage_class.is_some() && !can.storage_class.is_available() {
            return Err(self.unsupported("storage classes"));
        }
        if !attributes.tags.is_empty() && !can.tags.is_available() {
            return Err(self.unsupported("tags"));
        }
        let native_tags = can.tags == Support::Native;
        let metadata = to_metadata(&attributes, !native_tags);
        let (bytes, limit) = (metadata_bytes(&metadata), self.shared.dialect.metadata_bytes);
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
        Ok(Prepared { payload, attributes, metadata, tagging, encryption, storage_class })
    }

    /// Sends what was prepared, with the backend's own conditions where it knows them.
    async fn send(
        &self,
        key: &ObjectKey,
        prepared: Prepared,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let sent = match &prepared.payload {
            Payload::File(_) if prepared.payload.len() > PART_BYTES => {
                self.send_parts(key, &prepared, &mode).await
            }
            payload => {
                let bytes = self.in_memory(payload.clone()).await?;
                self.send_whole(key, &prepared, bytes, &mode).await
            }
        };
        if sent.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unsupported) {
            self.note_absence(&prepared, &mode);
        }
        self.accept(key, prepared, mode, sent?).await
    }

    /// The backend has not what was asked for, whatever the examination saw. Where it can be told
    /// what that is, it is not asked for again; conditions are then ours to keep.
    fn note_absence(&self, prepared: &Prepared, mode: &PutMode) {
        let asked = [
            prepared.tagging.is_some(),
            prepared.storage_class.is_some(),
            prepared.encryption.is_some(),
        ];
        self.unlearn(|can| match (asked, mode) {
            ([true, false, false], _) => can.tags = Support::No,
            ([false, true, false], _) => can.storage_class = Support::No,
            ([false, false, true], _) => match prepared.encryption {
                Some(ServerSideEncryption::AwsKms) => can.encryption_kms = Support::No,
                _ => can.encryption_aes256 = Support::No,
            },
            ([false, false, false], PutMode::Create) => can.create_only = Support::Gateway,
            ([false, false, false], PutMode::Replace(_)) => can.replace_if_match = Support::Gateway,
            _ => {}
        });
        tracing::warn!(?asked, ?mode, "the backend has not what the examination found it to have");
    }

    async fn in_memory(&self, payload: Payload) -> Result<Bytes, StoreError> {
        match payload {
            Payload::Bytes(bytes) => Ok(bytes),
            file => self.read_payload(file, 0, PART_BYTES as usize).await,
        }
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
            self.error(ErrorKind::Unavailable, "the upload's spool cannot be read")
                .with_source(cause)
        })
    }

    async fn send_whole(
        &self,
        key: &ObjectKey,
        prepared: &Prepared,
        bytes: Bytes,
        mode: &PutMode,
    ) -> Result<Written, StoreError> {
        let Prepared { attributes, .. } = prepared;
        let known = attributes.representation.map(|known| known.stored_sha256);
        let sha256 = known.unwrap_or_else(|| Digest::of(&bytes));
        let mut request = self
            .client()
            .put_object()
            .bucket(self.bucket())
            .key(key.as_str())
            .content_type(&attributes.content_type)
            .checksum_sha256(sha256.to_base64())
            .set_metadata(Some(prepared.metadata.clone()))
            .set_cache_control(attributes.cache_control.clone())
            .set_tagging(prepared.tagging.clone())
            .set_storage_class(prepared.storage_class.clone())
            .set_server_side_encryption(prepared.encryption.clone())
            .set_ssekms_key_id(self.kms_key(prepared))
            .body(ByteStream::from(bytes));
        if attributes.encoding == Encoding::Gzip {
            request = request.content_encoding("gzip");
        }
        let (if_none_match, if_match) = conditions(mode);
        let request = request.set_if_none_match(if_none_match).set_if_match(if_match);
        let answer = request.send().await.map_err(|error| {
            let provider = self.shared.options.provider;
            self.of_condition(mode, translate(provider, Effect::Write, error))
        })?;
        Ok(Written {
            e_tag: answer.e_tag,
            version_id: answer.version_id,
            encryption: answer.server_side_encryption,
        })
    }

    pub(super) fn kms_key(&self, prepared: &Prepared) -> Option<String> {
        let kms = prepared.encryption == Some(ServerSideEncryption::AwsKms);
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
            let detail = "the backend answered without an ETag: the write may not have happened";
            return Err(self.error(ErrorKind::Indeterminate, detail));
        };
        let found = encryption(written.encryption.as_ref());
        if prepared.encryption.is_some() && prepared.encryption != written.encryption {
            return Err(self.drop_plaintext(key, &etag).await);
        }
        let stored_size = prepared.payload.len();
        let mut attributes = prepared.attributes;
        attributes.encryption = found;
        // As every later read will have it: S3 names no default class.
        attributes.storage_class = attributes.storage_class.filter(|class| class != "STANDARD");
        let meta = ObjectMeta {
            key: key.clone(),
            etag,
            version_id: self.named_version(written.version_id),
            stored_size,
            last_modified: now(),
            attributes,
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
    async fn drop_plaintext(&self, key: &ObjectKey, etag: &ETag) -> StoreError {
        // The caller may hold the turn already.
        let native = self.can().delete_if_match == Support::Native;
        let removed = self.send_delete(key, native.then_some(etag)).await;
        tracing::error!(
            %key,
            removed = removed.is_ok(),
            "the backend ignored the request to encrypt: what it stored in plain was removed"
        );
        self.unsupported("encryption at rest: it ignored the request for it")
    }
}

/// `If-None-Match` and `If-Match`.
pub(super) fn conditions(mode: &PutMode) -> (Option<String>, Option<String>) {
    match mode {
        PutMode::Create => (Some("*".to_owned()), None),
        PutMode::Replace(etag) => (None, Some(quoted(etag))),
        PutMode::Overwrite => (None, None),
    }
}
