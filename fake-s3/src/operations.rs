//! The operations, as `s3s` calls them. What is not here is answered with 501 by `s3s`.

mod buckets;
mod copy;
mod delete;
mod lock;
mod multipart;
mod read;
mod tags;
mod write;

use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result};

use crate::gate::Gate;
use crate::personality::Personality;
use crate::store::Store;

/// A handle on the gate that `s3s` can own.
pub(crate) struct Operations(pub(crate) Arc<Gate>);

impl Operations {
    fn store(&self) -> &Store {
        &self.0.store
    }

    fn personality(&self) -> Personality {
        self.0.store.personality()
    }
}

/// The method of the trait, answered by the function of the same name.
macro_rules! operations {
    ($($name:ident: $input:ty => $output:ty,)*) => {
        #[async_trait::async_trait]
        impl S3 for Operations {
            $(
                async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                    self.$name(request).await
                }
            )*
        }
    };
}

operations! {
    abort_multipart_upload: AbortMultipartUploadInput => AbortMultipartUploadOutput,
    complete_multipart_upload: CompleteMultipartUploadInput => CompleteMultipartUploadOutput,
    copy_object: CopyObjectInput => CopyObjectOutput,
    create_bucket: CreateBucketInput => CreateBucketOutput,
    create_multipart_upload: CreateMultipartUploadInput => CreateMultipartUploadOutput,
    delete_object: DeleteObjectInput => DeleteObjectOutput,
    delete_object_tagging: DeleteObjectTaggingInput => DeleteObjectTaggingOutput,
    delete_objects: DeleteObjectsInput => DeleteObjectsOutput,
    get_bucket_location: GetBucketLocationInput => GetBucketLocationOutput,
    get_object: GetObjectInput => GetObjectOutput,
    get_object_lock_configuration: GetObjectLockConfigurationInput => GetObjectLockConfigurationOutput,
    get_object_tagging: GetObjectTaggingInput => GetObjectTaggingOutput,
    head_bucket: HeadBucketInput => HeadBucketOutput,
    head_object: HeadObjectInput => HeadObjectOutput,
    list_multipart_uploads: ListMultipartUploadsInput => ListMultipartUploadsOutput,
    list_objects_v2: ListObjectsV2Input => ListObjectsV2Output,
    list_parts: ListPartsInput => ListPartsOutput,
    put_object: PutObjectInput => PutObjectOutput,
    put_object_legal_hold: PutObjectLegalHoldInput => PutObjectLegalHoldOutput,
    put_object_tagging: PutObjectTaggingInput => PutObjectTaggingOutput,
    upload_part: UploadPartInput => UploadPartOutput,
    upload_part_copy: UploadPartCopyInput => UploadPartCopyOutput,
}

/// The headers that are kept, of the inputs that have the same fields for them.
macro_rules! sent_headers {
    ($input:expr) => {
        $crate::object::Headers {
            content_type: $input.content_type.take(),
            content_encoding: $input.content_encoding.take(),
            content_disposition: $input.content_disposition.take(),
            content_language: $input.content_language.take(),
            cache_control: $input.cache_control.take(),
            metadata: $input.metadata.take().into_iter().flatten().collect(),
            tags: match $input.tagging.take() {
                Some(tags) => $crate::object::tags_of_header(&tags)?,
                None => Default::default(),
            },
            storage_class: $input.storage_class.take().map(|class| class.as_str().to_owned()),
            encryption: $input.server_side_encryption.take().map(|sse| sse.as_str().to_owned()),
            kms_key_id: $input.ssekms_key_id.take(),
        }
    };
}

/// The lock that a write asks for, of the inputs that have the same fields for it.
macro_rules! sent_lock {
    ($this:expr, $input:expr) => {
        $this.asked_lock(
            &$input.bucket,
            $input.object_lock_mode.as_ref().map(s3s::dto::ObjectLockMode::as_str),
            $input.object_lock_retain_until_date.clone(),
            ($input.object_lock_legal_hold_status.as_ref())
                .map(s3s::dto::ObjectLockLegalHoldStatus::as_str),
        )?
    };
}

/// Writes how an object is encrypted into an output.
macro_rules! tell_encryption {
    ($output:expr, $headers:expr) => {
        $output.server_side_encryption =
            $headers.encryption.clone().map(s3s::dto::ServerSideEncryption::from);
        $output.ssekms_key_id = $headers.kms_key_id.clone();
    };
}
pub(crate) use {sent_headers, sent_lock, tell_encryption};

fn strong(etag: &str) -> Option<ETag> {
    Some(ETag::Strong(etag.to_owned()))
}
