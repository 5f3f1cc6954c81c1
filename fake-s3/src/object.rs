//! What is stored under a key, and what of a request's headers goes with it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use s3s::S3Result;
use s3s::crypto::{Checksum as _, Md5};

use crate::checksum::Checksum;
use crate::error::{error, invalid_argument};
use crate::lock::Lock;
use crate::personality::Personality;

/// Storage classes that a request may name.
const CLASSES: [&str; 8] = [
    "STANDARD",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "GLACIER_IR",
    "DEEP_ARCHIVE",
    "REDUCED_REDUNDANCY",
];

/// One stored object, as it lies in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// The bytes, as they were sent: never inflated.
    pub bytes: Bytes,
    /// Without quotes: MD5 in hex, of an upload in parts the MD5 of the parts' MD5s and `-N`.
    pub etag: String,
    /// Whole seconds, as S3 keeps it.
    pub last_modified: SystemTime,
    /// What is answered beside the bytes.
    pub headers: Headers,
    /// Its version's name, in a bucket that keeps versions.
    pub version: Option<String>,
    /// What keeps it.
    pub lock: Lock,
    pub(crate) checksum: Option<Checksum>,
}

impl Object {
    /// An object of now, with the ETag of its bytes.
    pub(crate) fn new(bytes: Bytes, headers: Headers, checksum: Option<Checksum>) -> Self {
        let etag = hex(Md5::checksum(&bytes).as_ref());
        let (version, lock) = (None, Lock::default());
        Self { bytes, etag, last_modified: now(), headers, version, lock, checksum }
    }

    /// Length in bytes, as S3's messages have it.
    pub(crate) fn length(&self) -> i64 {
        i64::try_from(self.bytes.len()).unwrap_or(i64::MAX)
    }
}

/// What is kept beside an object's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// `Content-Type`; where absent, the vendor's default is answered.
    pub content_type: Option<String>,
    /// `Content-Encoding`, without `aws-chunked`.
    pub content_encoding: Option<String>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// `Content-Language`.
    pub content_language: Option<String>,
    /// `Cache-Control`.
    pub cache_control: Option<String>,
    /// `x-amz-meta-*`, names without that.
    pub metadata: BTreeMap<String, String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// `None` is `STANDARD`.
    pub storage_class: Option<String>,
    /// `x-amz-server-side-encryption`: `AES256` or `aws:kms`.
    pub encryption: Option<String>,
    /// The key of `aws:kms`.
    pub kms_key_id: Option<String>,
}

impl Headers {
    /// What the vendor keeps of what was sent.
    ///
    /// # Errors
    /// What the vendor refuses: too much metadata, a storage class or an encryption it does not know.
    pub(crate) fn kept_by(mut self, personality: Personality) -> S3Result<Self> {
        let size: usize = self.metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
        if size > personality.metadata_limit() {
            let message = "Your metadata headers exceed the maximum allowed metadata size.";
            return Err(error(400, "MetadataTooLarge", message));
        }
        self.content_encoding = self.content_encoding.as_deref().and_then(without_aws_chunked);
        if personality == Personality::Garage {
            self.tags.clear();
            (self.storage_class, self.encryption, self.kms_key_id) = (None, None, None);
            return Ok(self);
        }
        if self.storage_class.as_ref().is_some_and(|class| !CLASSES.contains(&class.as_str())) {
            let message = "The storage class you specified is not valid";
            return Err(error(400, "InvalidStorageClass", message));
        }
        if personality == Personality::Aws {
            match self.encryption.as_deref() {
                None => self.encryption = Some("AES256".into()),
                Some("AES256" | "aws:kms" | "aws:kms:dsse") => {}
                Some(_) => return Err(invalid_argument("The encryption method is not supported")),
            }
            if self.encryption.as_deref() == Some("AES256") && self.kms_key_id.is_some() {
                return Err(invalid_argument("AES256 takes no key of KMS"));
            }
        }
        Ok(self)
    }
}

fn without_aws_chunked(value: &str) -> Option<String> {
    let kept: Vec<&str> =
        value.split(',').map(str::trim).filter(|coding| *coding != "aws-chunked").collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

/// The tags of an `x-amz-tagging` header.
pub(crate) fn tags_of_header(header: &str) -> S3Result<BTreeMap<String, String>> {
    let decoded = |text: &str| {
        let spaces = text.replace('+', " ");
        let decoded = percent_decode_str(&spaces).decode_utf8();
        decoded.map(std::borrow::Cow::into_owned).map_err(|_| invalid_tag("not UTF-8"))
    };
    let mut pairs = Vec::new();
    for pair in header.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        pairs.push((decoded(name)?, decoded(value)?));
    }
    checked_tags(pairs)
}

/// Tags within S3's limits.
pub(crate) fn checked_tags(pairs: Vec<(String, String)>) -> S3Result<BTreeMap<String, String>> {
    if pairs.len() > 10 {
        return Err(error(400, "BadRequest", "Object tags cannot be greater than 10"));
    }
    let mut tags = BTreeMap::new();
    for (name, value) in pairs {
        if name.is_empty() || name.chars().count() > 128 {
            return Err(invalid_tag("The TagKey you have provided is invalid"));
        }
        if value.chars().count() > 256 {
            return Err(invalid_tag("The TagValue you have provided is invalid"));
        }
        if tags.insert(name, value).is_some() {
            return Err(invalid_tag("Cannot provide multiple Tags with the same key"));
        }
    }
    Ok(tags)
}

fn invalid_tag(message: &str) -> s3s::S3Error {
    error(400, "InvalidTag", message)
}

/// Now, in whole seconds.
pub(crate) fn now() -> SystemTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
