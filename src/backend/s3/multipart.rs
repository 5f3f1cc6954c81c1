//! Large bodies: equal parts, a few at once, and nothing left behind where one fails.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::write::{Prepared, Written, conditions};
use super::{Effect, S3, translate};
use crate::model::{Digest, Encoding, ErrorKind, ObjectKey, PutMode, StoreError};

/// Bytes of every part but the last (R2 wants them equal); 5 GiB are 640 of them.
pub(super) const PART_BYTES: u64 = 8 << 20;
/// Parts of one upload under way at once.
const AT_ONCE: usize = 4;

/// An upload that is aborted unless it is finished: parts that nobody completes cost money.
struct Upload {
    client: Client,
    bucket: String,
    key: String,
    id: String,
    finished: bool,
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let abort = self
            .client
            .abort_multipart_upload()
            .bucket(&self.bucket)
            .key(&self.key)
            .upload_id(&self.id)
            .send();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = abort.await {
                    let error = aws_sdk_s3::error::DisplayErrorContext(&error);
                    tracing::warn!(%error, "an unfinished upload could not be aborted");
                }
            });
        }
    }
}

impl S3 {
    pub(super) async fn send_parts(
        &self,
        key: &ObjectKey,
        prepared: &Prepared,
        mode: &PutMode,
    ) -> Result<Written, StoreError> {
        let mut upload = self.begin(key, prepared).await?;
        let length = prepared.payload.len();
        let numbers = 0..length.div_ceil(PART_BYTES);
        let parts = numbers.map(|number| self.send_part(&upload, prepared, number));
        let mut parts: Vec<CompletedPart> =
            stream::iter(parts).buffer_unordered(AT_ONCE).try_collect().await?;
        parts.sort_unstable_by_key(|part| part.part_number);
        let (if_none_match, if_match) = conditions(mode);
        let completed = self
            .client()
            .complete_multipart_upload()
            .bucket(self.bucket())
            .key(key.as_str())
            .upload_id(&upload.id)
            .set_if_none_match(if_none_match)
            .set_if_match(if_match)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .send()
            .await;
        let answer = completed.map_err(|error| {
            let error = translate(self.shared.options.provider, Effect::Write, error);
            self.of_condition(mode, error)
        })?;
        upload.finished = true;
        Ok(Written {
            e_tag: answer.e_tag,
            version_id: answer.version_id,
            encryption: answer.server_side_encryption,
        })
    }

    async fn begin(&self, key: &ObjectKey, prepared: &Prepared) -> Result<Upload, StoreError> {
        let attributes = &prepared.attributes;
        let gzip = (attributes.encoding == Encoding::Gzip).then(|| "gzip".to_owned());
        let begun = self
            .client()
            .create_multipart_upload()
            .bucket(self.bucket())
            .key(key.as_str())
            .content_type(&attributes.content_type)
            .set_content_encoding(gzip)
            .checksum_algorithm(ChecksumAlgorithm::Sha256)
            .set_metadata(Some(prepared.metadata.clone()))
            .set_cache_control(attributes.cache_control.clone())
            .set_tagging(prepared.tagging.clone())
            .set_storage_class(prepared.storage_class.clone())
            .set_server_side_encryption(prepared.encryption.clone())
            .set_ssekms_key_id(self.kms_key(prepared))
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
            finished: false,
        })
    }

    async fn send_part(
        &self,
        upload: &Upload,
        prepared: &Prepared,
        number: u64,
    ) -> Result<CompletedPart, StoreError> {
        let closed = || self.error(ErrorKind::Unavailable, "the backend is closing");
        let _room = self.shared.parts.acquire().await.map_err(|_| closed())?;
        let payload = prepared.payload.clone();
        let bytes = self.read_payload(payload, number * PART_BYTES, PART_BYTES as usize).await?;
        let sha256 = Digest::of(&bytes).to_base64();
        let number = i32::try_from(number + 1)
            .map_err(|_| self.error(ErrorKind::Invalid, "the body has too many parts"))?;
        let sent = self
            .client()
            .upload_part()
            .bucket(&upload.bucket)
            .key(&upload.key)
            .upload_id(&upload.id)
            .part_number(number)
            .checksum_sha256(&sha256)
            .body(ByteStream::from(bytes))
            .send()
            .await;
        let sent = sent.map_err(|e| translate(self.shared.options.provider, Effect::Read, e))?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .checksum_sha256(sha256)
            .build())
    }
}
