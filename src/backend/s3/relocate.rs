//! Copies and moves inside the bucket.
//!
//! A copy is pinned to the version that was looked at, and looked at again when it is done. A move
//! is a copy that is read back whole and compared before the source goes: at every instant one of
//! the two names has the bytes.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::copy_object::builders::CopyObjectFluentBuilder;
use aws_sdk_s3::operation::copy_object::{CopyObjectError, CopyObjectOutput};
use aws_sdk_s3::types::{MetadataDirective, ServerSideEncryption, StorageClass, TaggingDirective};
use futures_util::StreamExt as _;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::client::allowance;
use super::conditions::{Asked, conditions};
use super::meta::quoted;
use super::options::CopyConditions;
use super::{Effect, S3};
use crate::model::{
    Attributes, Body, Class, Digest, ETag, Encryption, ErrorKind, GetOptions, Hasher, ObjectKey,
    ObjectMeta, PutMode, StoreError, Stored, Support,
};

/// How often a copy starts again because its source was overwritten meanwhile. With proofs, which
/// are written once, it never is.
const COPY_TRIES: u32 = 100;

/// Most bytes that one call copies.
const MOST_BYTES: u64 = 5 << 30;

/// What `x-amz-copy-source` leaves as it is: unreserved characters and the slash.
const SOURCE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Whether a copy says of itself what the original does. Encryption may be added, never taken away,
/// and the class that everything has goes without a name.
fn is_like(copy: &Attributes, original: &Attributes) -> bool {
    let mut wanted = original.clone();
    if wanted.encryption == Encryption::None {
        wanted.encryption = copy.encryption;
    }
    if wanted.storage_class.as_deref() == Some("STANDARD") {
        wanted.storage_class = copy.storage_class.clone();
    }
    *copy == wanted
}

impl S3 {
    pub(super) async fn duplicate(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.check_distinct(source, destination)?;
        let support = self.support_of(&mode)?;
        if !self.takes_turns() {
            return self.copy_checked(source, destination, &mode).await;
        }
        let (this, source, destination) = (self.clone(), source.clone(), destination.clone());
        self.finish(async move {
            let _turn = this.shared.writers.turn(&destination).await;
            if support == Support::Gateway {
                this.check_source_first(&source, &destination, &mode).await?;
            }
            this.copy_checked(&source, &destination, &mode).await
        })
        .await
    }

    pub(super) async fn relocate(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.check_distinct(source, destination)?;
        let support = self.support_of(&mode)?;
        let (this, source, destination) = (self.clone(), source.clone(), destination.clone());
        // Two moves of one source would both copy it: of this process's only one can.
        self.finish(async move {
            let _turn = this.shared.writers.turn_of_both(&source, &destination).await;
            if support == Support::Gateway {
                this.check_source_first(&source, &destination, &mode).await?;
            }
            let before = this.look(&source).await?;
            let stored = this.copy_pinned(&before, &destination, &mode).await?;
            if let Err(error) = this.compare(&before, &stored.meta).await {
                if error.kind() == ErrorKind::Corrupt {
                    // Best effort: read, it is found to be damaged all the same.
                    this.remove_spoilt(&stored.meta).await;
                }
                return Err(this.behind_copy(error));
            }
            let removed = this.remove_moved(&source, &before.etag).await;
            removed.map_err(|error| this.behind_copy(error))?;
            Ok(stored)
        })
        .await
    }

    /// What fails behind a copy does not undo it. One with other bytes is none, and says so.
    fn behind_copy(&self, error: StoreError) -> StoreError {
        if error.class() == Class::Unknown || error.kind() == ErrorKind::Corrupt {
            return error;
        }
        let detail = format!("the copy was made, and then: {error}");
        let hint = error.retry_after();
        let behind = self.error(ErrorKind::Indeterminate, detail).with_source(error);
        match hint {
            Some(after) => behind.with_retry_after(after),
            None => behind,
        }
    }

    /// The source goes only as the version that was copied, wherever the backend can compare.
    async fn remove_moved(&self, source: &ObjectKey, etag: &ETag) -> Result<(), StoreError> {
        let native = self.can().delete_if_match == Support::Native;
        let unchanged = match native {
            true => Ok(()),
            false => self.check(source, &PutMode::Replace(etag.clone())).await,
        };
        let removed = match unchanged {
            Ok(()) => self.send_delete(source, native.then_some(etag)).await.map(drop),
            Err(error) => Err(error),
        };
        removed.map_err(|error| match error.kind() {
            ErrorKind::PreconditionFailed => {
                let detail = "the source changed while it was moved: the copy and it are both kept";
                self.error(ErrorKind::Indeterminate, detail)
            }
            _ => error,
        })
    }

    /// A copy that was made here a moment ago, and is no copy: another try shall find no taken name.
    async fn remove_spoilt(&self, copy: &ObjectMeta) {
        let native = self.can().delete_if_match == Support::Native;
        if let Err(error) = self.send_delete(&copy.key, native.then_some(&copy.etag)).await {
            tracing::warn!(%error, "a copy with wrong bytes could not be removed");
        }
    }

    fn check_distinct(&self, source: &ObjectKey, other: &ObjectKey) -> Result<(), StoreError> {
        if source == other {
            let detail = "source and destination are the same key";
            return Err(self.error(ErrorKind::Invalid, detail));
        }
        Ok(())
    }

    /// A missing source is told before a condition on the destination.
    async fn check_source_first(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: &PutMode,
    ) -> Result<(), StoreError> {
        self.look(source).await?;
        self.check(destination, mode).await
    }

    async fn copy_checked(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: &PutMode,
    ) -> Result<Stored, StoreError> {
        let mut tries = COPY_TRIES;
        loop {
            let before = self.look(source).await?;
            let copied = self.copy_pinned(&before, destination, mode).await;
            tries -= 1;
            match copied {
                Err(error)
                    if error.kind() == ErrorKind::Contended
                        && tries > 0
                        && self.look(source).await?.etag != before.etag => {}
                answer => return answer,
            }
        }
    }

    /// Sends a copy with its condition on the destination, in the backend's dialect.
    pub(super) async fn send_copy(
        &self,
        request: CopyObjectFluentBuilder,
        mode: &PutMode,
    ) -> Result<CopyObjectOutput, SdkError<CopyObjectError, HttpResponse>> {
        let (none_match, if_match) = conditions(mode);
        match self.shared.dialect.copy_conditions {
            CopyConditions::Standard => {
                request.set_if_none_match(none_match).set_if_match(if_match).send().await
            }
            CopyConditions::Cloudflare => {
                let headers = [
                    ("cf-copy-destination-if-none-match", none_match),
                    ("cf-copy-destination-if-match", if_match),
                ];
                let ask = move |request: &mut aws_sdk_s3::config::http::HttpRequest| {
                    for (name, value) in &headers {
                        if let Some(value) = value {
                            request.headers_mut().insert(*name, value.clone());
                        }
                    }
                };
                request.customize().mutate_request(ask).send().await
            }
        }
    }

    /// What a copy asks for: the original's encryption, else the configured one.
    fn encryption_of_copy(
        &self,
        original: Encryption,
    ) -> Result<Option<ServerSideEncryption>, StoreError> {
        match self.encryption_for(original) {
            // Some encrypt without being asked, and refuse to be: what comes of it is looked at.
            Err(error)
                if error.kind() == ErrorKind::Unsupported && original != Encryption::None =>
            {
                Ok(None)
            }
            asked => asked,
        }
    }

    /// A copy inside the bucket, with the metadata of its source.
    fn copy_request(&self, source: &ObjectKey, destination: &ObjectKey) -> CopyObjectFluentBuilder {
        let path = format!("{}/{source}", self.bucket());
        (self.shared.clients.transfers)
            .copy_object()
            .bucket(self.bucket())
            .key(destination.as_str())
            .copy_source(utf8_percent_encode(&path, SOURCE).to_string())
            .metadata_directive(MetadataDirective::Copy)
    }

    /// Copies exactly the version in `before`. Storage class and encryption do not travel by
    /// themselves: they are asked for again.
    async fn copy_pinned(
        &self,
        before: &ObjectMeta,
        destination: &ObjectKey,
        mode: &PutMode,
    ) -> Result<Stored, StoreError> {
        let can = self.can();
        if before.stored_size > MOST_BYTES {
            let detail = format!(
                "the backend copies at most {MOST_BYTES} bytes by one call, and this object has {}",
                before.stored_size
            );
            return Err(self.error(ErrorKind::Invalid, detail));
        }
        let request = self.copy_request(&before.key, destination);
        let mut request = request.copy_source_if_match(quoted(&before.etag));
        // Without the header they are copied too: it is left out where there is nothing to copy.
        let tags = can.tags == Support::Native && !before.attributes.tags.is_empty();
        if tags {
            request = request.tagging_directive(TaggingDirective::Copy);
        }
        if let Some(class) = &before.attributes.storage_class {
            request = request.storage_class(StorageClass::from(class.as_str()));
        }
        let encryption = self.encryption_of_copy(before.attributes.encryption)?;
        // Nor does a lock.
        let locking = self.locking(before.attributes.retention).await?;
        request = request
            .set_object_lock_mode(locking.mode.clone())
            .set_object_lock_retain_until_date(locking.until)
            .set_object_lock_legal_hold_status(locking.hold.clone())
            .set_server_side_encryption(encryption.clone())
            .set_ssekms_key_id(self.kms_key(encryption.as_ref()));
        let support = self.support_of(mode)?;
        let mut said = self.sent(support, mode);
        let sent = Box::pin(self.send_copy(request.clone(), &said));
        let mut sent = self.in_time(allowance(before.stored_size), Effect::Write, sent).await;
        if let Err(error) = &sent
            && self.is_header_refused(support, &said, error)
        {
            said = PutMode::Overwrite;
            let again = Box::pin(self.send_copy(request, &said));
            sent = self.in_time(allowance(before.stored_size), Effect::Write, again).await;
        }
        if let Err(error) = sent {
            let asked = Asked {
                condition: said != PutMode::Overwrite,
                tags,
                storage_class: before.attributes.storage_class.is_some(),
                encryption: encryption.as_ref(),
                lock: locking.is_asked(),
            };
            self.note_refusal(asked, &error);
            let error = self.of_locking(&locking, error);
            return Err(self.of_copy(before, mode, error).await);
        }
        let meta = self.look(destination).await.map_err(|error| self.behind_copy(error))?;
        let wanted = encryption.is_some() || before.attributes.encryption != Encryption::None;
        let lost = wanted && meta.attributes.encryption == Encryption::None;
        if lost {
            return Err(self.drop_plaintext(destination, &meta.etag).await);
        }
        if meta.stored_size != before.stored_size || !is_like(&meta.attributes, &before.attributes)
        {
            let detail = "the copy is not what was copied: another write came in between, or the \
                          backend dropped what belongs to it";
            return Err(self.error(ErrorKind::Indeterminate, detail));
        }
        let replaced = match mode {
            PutMode::Create => Some(false),
            PutMode::Replace(_) => Some(true),
            PutMode::Overwrite => None,
        };
        Ok(Stored { meta, replaced })
    }

    /// Copies whatever is there, also where what is said of it cannot be read.
    pub(super) async fn copy_as_it_is(
        &self,
        source: &ObjectKey,
        aside: &ObjectKey,
    ) -> Result<(), StoreError> {
        let sent = Box::pin(self.copy_request(source, aside).send());
        self.in_time(allowance(MOST_BYTES), Effect::Write, sent).await.map(drop)
    }

    /// 412 says neither whether source or destination was meant.
    async fn of_copy(&self, before: &ObjectMeta, mode: &PutMode, error: StoreError) -> StoreError {
        match error.kind() {
            ErrorKind::PreconditionFailed => match self.look(&before.key).await {
                Ok(now) if now.etag == before.etag => self.refused(mode),
                Ok(_) => {
                    let detail = "the source changed while it was copied";
                    self.error(ErrorKind::Contended, detail)
                }
                Err(error) => error,
            },
            // The source has just been there: it went, or If-Match met a missing destination.
            ErrorKind::NotFound => match self.look(&before.key).await {
                Ok(_) => self.of_condition(mode, error),
                Err(error) => error,
            },
            _ => error,
        }
    }

    /// Reads a copy back: the source is deleted on no other evidence.
    async fn compare(&self, before: &ObjectMeta, after: &ObjectMeta) -> Result<(), StoreError> {
        let found = self.digest_of(&after.key, &after.etag).await?;
        let wanted = match before.attributes.representation {
            Some(known) => known.stored_sha256,
            None => self.digest_of(&before.key, &before.etag).await?,
        };
        if found == wanted {
            return Ok(());
        }
        let detail = "the copy's bytes are not the source's: the source was kept";
        Err(self.error(ErrorKind::Corrupt, detail))
    }

    async fn digest_of(&self, key: &ObjectKey, etag: &ETag) -> Result<Digest, StoreError> {
        let options = GetOptions { range: None, if_match: Some(etag.clone()) };
        match self.read(key, options).await?.body {
            Body::Bytes(bytes) => Ok(Digest::of(&bytes)),
            Body::Stream(mut stream) => {
                let mut hasher = Hasher::new();
                while let Some(piece) = stream.next().await {
                    hasher.update(&piece?);
                }
                Ok(hasher.finish())
            }
        }
    }
}
