//! What HeadObject and GetObject say of an object, as [`ObjectMeta`].

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{ServerSideEncryption, StorageClass};

use super::S3;
use super::attributes::{Garbled, encoding, read_metadata, says_sealed};
use super::lock::told;
use crate::model::{
    Attributes, ETag, Encryption, ErrorKind, Lock, ObjectKey, ObjectMeta, StoreError,
};

/// The media type of an object without one (RFC 2046 §4.5.1), as S3 gives it.
const DEFAULT_TYPE: &str = "binary/octet-stream";

/// The fields that the two answers share.
pub(super) struct Head {
    e_tag: Option<String>,
    version_id: Option<String>,
    content_length: Option<i64>,
    content_range: Option<String>,
    content_type: Option<String>,
    content_encoding: Option<String>,
    cache_control: Option<String>,
    last_modified: Option<DateTime>,
    metadata: Option<HashMap<String, String>>,
    storage_class: Option<StorageClass>,
    server_side_encryption: Option<ServerSideEncryption>,
    pub(super) lock: Lock,
    missing_meta: Option<i32>,
    pub(super) tag_count: Option<i32>,
}

macro_rules! head_of {
    ($answer:ty) => {
        impl From<$answer> for Head {
            fn from(answer: $answer) -> Self {
                Self {
                    lock: told(
                        answer.object_lock_mode.as_ref(),
                        answer.object_lock_retain_until_date,
                        answer.object_lock_legal_hold_status.as_ref(),
                    ),
                    e_tag: answer.e_tag,
                    version_id: answer.version_id,
                    content_length: answer.content_length,
                    content_range: answer.content_range,
                    content_type: answer.content_type,
                    content_encoding: answer.content_encoding,
                    cache_control: answer.cache_control,
                    last_modified: answer.last_modified,
                    metadata: answer.metadata,
                    storage_class: answer.storage_class,
                    server_side_encryption: answer.server_side_encryption,
                    missing_meta: answer.missing_meta,
                    tag_count: answer.tag_count,
                }
            }
        }
    };
}

head_of!(HeadObjectOutput);
head_of!(GetObjectOutput);

impl S3 {
    /// Metadata from an answer's head.
    pub(super) fn meta(&self, key: &ObjectKey, head: Head) -> Result<ObjectMeta, StoreError> {
        let amiss = |what: &str| {
            let detail = format!("the backend's answer has no {what}");
            self.error(ErrorKind::Failed, detail)
        };
        if head.missing_meta.is_some_and(|count| count > 0) {
            let detail = "the object has metadata that S3 cannot send in headers";
            return Err(self.error(ErrorKind::Unsupported, detail));
        }
        let mut attributes = Attributes::new(head.content_type.as_deref().unwrap_or(DEFAULT_TYPE));
        attributes.encoding = encoding(head.content_encoding.as_deref()).map_err(|coding| {
            let detail = format!("the object is stored with Content-Encoding '{coding}'");
            self.error(ErrorKind::Unsupported, detail)
        })?;
        attributes.cache_control = head.cache_control;
        attributes.storage_class = head.storage_class.map(|class| class.as_str().to_owned());
        attributes.encryption = encryption(head.server_side_encryption.as_ref());
        let metadata = head.metadata.unwrap_or_default();
        let garbled = |_: Garbled| {
            let detail = "what the service wrote beside the object's bytes is damaged: its sha-256, \
                          size, envelope or retention cannot be read";
            self.error(ErrorKind::Corrupt, detail)
        };
        read_metadata(&mut attributes, &metadata).map_err(garbled)?;
        // Sealed bytes must not be taken for the proof itself.
        if says_sealed(head.content_encoding.as_deref()) && attributes.envelope.is_none() {
            return Err(garbled(Garbled));
        }
        let whole = head.content_range.as_deref().and_then(|range| range.rsplit('/').next());
        let stored_size = match whole {
            Some(total) => total.parse().ok(),
            None => head.content_length.and_then(|length| u64::try_from(length).ok()),
        };
        Ok(ObjectMeta {
            key: key.clone(),
            etag: etag(head.e_tag.as_deref()).ok_or_else(|| amiss("ETag"))?,
            version_id: self.named_version(head.version_id),
            stored_size: stored_size.ok_or_else(|| amiss("Content-Length"))?,
            last_modified: time(head.last_modified).ok_or_else(|| amiss("Last-Modified"))?,
            attributes,
            lock: head.lock,
            provider: self.shared.options.provider,
        })
    }
}

impl S3 {
    /// The name of a version, where it will still be good for something: some give names to
    /// versions that they do not keep.
    pub(super) fn named_version(&self, header: Option<String>) -> Option<String> {
        header.filter(|version| version != "null" && self.can().versions.is_available())
    }
}

/// How the backend says that an object is encrypted.
pub(super) fn encryption(header: Option<&ServerSideEncryption>) -> Encryption {
    match header {
        None => Encryption::None,
        Some(ServerSideEncryption::Aes256) => Encryption::Aes256,
        // `aws:kms:dsse` is a key-management service's too.
        Some(_) => Encryption::Kms,
    }
}

/// An ETag without its quotes; a weak one names no bytes.
pub(super) fn etag(header: Option<&str>) -> Option<ETag> {
    let tag = header?;
    let tag = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag);
    (!tag.is_empty() && !tag.starts_with("W/")).then(|| ETag::new(tag))
}

/// An ETag as a header has it.
pub(super) fn quoted(etag: &ETag) -> String {
    format!("\"{}\"", etag.as_str())
}

/// A time in whole seconds, which is all that every answer has.
pub(super) fn time(stamp: Option<DateTime>) -> Option<SystemTime> {
    // Some say the year 1 where they know no time: of an object all the same.
    let seconds = u64::try_from(stamp?.secs()).unwrap_or(0);
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Now, in whole seconds.
pub(super) fn now() -> SystemTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs())
}
