//! Large bodies: equal parts, a few at once, and nothing left behind where one fails.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::attributes::content_encoding;
use super::client::allowance;
use super::conditions::conditions;
use super::error::chain;
use super::meta::etag;
use super::write::{Prepared, Written};
use super::{Effect, S3, translate};
use crate::model::{Digest, ErrorKind, ObjectKey, PutMode, StoreError};

/// Bytes of every part but the last (R2 wants them equal); 5 GiB are 640 of them.
pub(super) const PART_BYTES: u64 = 8 << 20;
/// Parts of one upload under way at once.
const AT_ONCE: usize = 4;
/// Tries to take back what was sent. The first one waits for nothing, each further one four times
/// as long as the one before.
const ABORT_TRIES: u32 = 4;
const ABORT_AGAIN: Duration = Duration::from_secs(1);

/// An upload that is aborted unless it is finished: parts that nobody completes cost money. What a
/// crash leaves is for the bucket's lifecycle rule.
#[derive(Debug)]
pub(super) struct Upload {
    client: Client,
    bucket: String,
    key: String,
    id: String,
    /// What is there, in order.
    parts: Vec<CompletedPart>,
    finished: bool,
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let [bucket, key, id] = [&mut self.bucket, &mut self.key, &mut self.id].map(std::mem::take);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(abort(self.client.clone(), bucket, key, id));
        }
    }
}

async fn abort(client: Client, bucket: String, key: String, id: String) {
    let mut wait = ABORT_AGAIN;
    for tries_left in (0..ABORT_TRIES).rev() {
        let request = client.abort_multipart_upload().bucket(&bucket).key(&key).upload_id(&id);
        let Err(error) = request.send().await else { return };
        // Finished after all, or aborted by an attempt whose answer was lost.
        if error.raw_response().is_some_and(|answer| answer.status().as_u16() == 404) {
            return;
        }
        if tries_left == 0 {
            tracing::warn!(error = chain(&error), "an unfinished upload could not be aborted");
            return;
        }
        tokio::time::sleep(wait).await;
        wait *= 4;
    }
}

impl S3 {
    /// Sends all parts. They are no object before the upload is completed.
    pub(super) async fn send_parts(
        &self,
        key: &ObjectKey,
        prepared: &Prepared,
        mode: &PutMode,
    ) -> Result<Upload, StoreError> {
        let (this, at, what) = (self.clone(), key.clone(), prepared.clone());
        // A caller that goes away must not leave an upload whose id nobody has seen.
        let begun = self.finish(async move { this.begin(&at, &what).await }).await;
        let mut upload = begun.map_err(|error| self.refused_write(prepared, mode, error))?;
        let numbers = 0..prepared.payload.len().div_ceil(PART_BYTES);
        let parts = numbers.map(|number| self.send_part(&upload, prepared, number));
        let mut parts: Vec<CompletedPart> =
            stream::iter(parts).buffer_unordered(AT_ONCE).try_collect().await?;
        parts.sort_unstable_by_key(|part| part.part_number);
        upload.parts = parts;
        Ok(upload)
    }

    /// Makes the parts an object.
    pub(super) async fn complete(
        &self,
        upload: &mut Upload,
        prepared: &Prepared,
        mode: &PutMode,
    ) -> Result<Written, StoreError> {
        let parts = Some(upload.parts.clone());
        let (if_none_match, if_match) = conditions(mode);
        let completed = (self.shared.clients.transfers)
            .complete_multipart_upload()
            .bucket(self.bucket())
            .key(&upload.key)
            .upload_id(&upload.id)
            .set_if_none_match(if_none_match)
            .set_if_match(if_match)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(parts).build())
            .send();
        // The backend may put the parts together before it answers.
        let answer = self
            .in_time(allowance(prepared.payload.len()), Effect::Write, Box::pin(completed))
            .await;
        let answer = answer.map_err(|error| self.refused_write(prepared, mode, error))?;
        upload.finished = true;
        Ok(Written {
            e_tag: answer.e_tag,
            version_id: answer.version_id,
            encryption: answer.server_side_encryption,
        })
    }

    async fn begin(&self, key: &ObjectKey, prepared: &Prepared) -> Result<Upload, StoreError> {
        let attributes = &prepared.attributes;
        let coding = content_encoding(attributes).map(str::to_owned);
        let begun = self
            .client()
            .create_multipart_upload()
            .bucket(self.bucket())
            .key(key.as_str())
            .content_type(&attributes.content_type)
            .set_content_encoding(coding)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .set_metadata(Some(prepared.metadata.clone()))
            .set_cache_control(attributes.cache_control.clone())
            .set_tagging(prepared.tagging.clone())
            .set_storage_class(prepared.storage_class.clone())
            .set_server_side_encryption(prepared.encryption.clone())
            .set_ssekms_key_id(self.kms_key(prepared.encryption.as_ref()))
            .set_object_lock_mode(prepared.locking.mode.clone())
            .set_object_lock_retain_until_date(prepared.locking.until)
            .set_object_lock_legal_hold_status(prepared.locking.hold.clone())
            .send()
            .await;
        // Nothing is visible before the last call: a lost answer here did nothing.
        let begun = begun.map_err(|e| translate(self.shared.options.provider, Effect::Read, e))?;
        let id = begun.upload_id.ok_or_else(|| {
            self.error(ErrorKind::Failed, "the backend gave no id for the upload")
        })?;
        Ok(Upload {
            client: self.client().clone(),
            bucket: self.bucket().to_owned(),
            key: key.as_str().to_owned(),
            id,
            parts: Vec::new(),
            finished: false,
        })
    }

    /// Sends one part. Its time is that of all parts under way, which share one line.
    async fn send_part(
        &self,
        upload: &Upload,
        prepared: &Prepared,
        number: u64,
    ) -> Result<CompletedPart, StoreError> {
        let _room = self.room().await?;
        let payload = prepared.payload.clone();
        let bytes = self.read_payload(payload, number * PART_BYTES, PART_BYTES as usize).await?;
        let sha256 = Digest::of(&bytes).to_base64();
        let number = i32::try_from(number + 1)
            .map_err(|_| self.error(ErrorKind::Invalid, "the body has too many parts"))?;
        let sent = (self.shared.clients.transfers)
            .upload_part()
            .bucket(&upload.bucket)
            .key(&upload.key)
            .upload_id(&upload.id)
            .part_number(number)
            .checksum_sha256(&sha256)
            .body(ByteStream::from(bytes))
            .send();
        let sent = self
            .in_time(allowance(AT_ONCE as u64 * PART_BYTES), Effect::Read, Box::pin(sent))
            .await?;
        if etag(sent.e_tag.as_deref()).is_none() {
            let detail = "the backend answered without an ETag: the part may not be there";
            return Err(self.error(ErrorKind::Failed, detail));
        }
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .checksum_sha256(sha256)
            .build())
    }
}
