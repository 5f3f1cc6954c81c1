//! GetObject and HeadObject.

use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderValue, header};
use s3s::dto::{
    ETag, GetObjectInput, GetObjectOutput, HeadObjectInput, HeadObjectOutput,
    ObjectLockLegalHoldStatus, ObjectLockMode, Range, StorageClass, StreamingBlob, Timestamp,
};
use s3s::{Body, S3Request, S3Response, S3Result};

use super::{Operations, strong, tell_encryption};
use crate::bodies::Unmeasured;
use crate::checksum::tell_checksum;
use crate::conditions::ReadConditions;
use crate::error::{error, not_implemented};
use crate::object::Object;
use crate::personality::Personality;

/// Writes what GET and HEAD tell alike.
macro_rules! tell_object {
    ($output:expr, $object:expr, $personality:expr, $checksum:expr, $locks:expr) => {
        let headers = &$object.headers;
        $output.accept_ranges = Some("bytes".into());
        $output.e_tag = strong(&$object.etag);
        $output.last_modified = Some(Timestamp::from($object.last_modified));
        $output.content_type = Some(
            (headers.content_type.clone())
                .unwrap_or_else(|| $personality.default_content_type().to_owned()),
        );
        $output.content_encoding = headers.content_encoding.clone();
        $output.content_disposition = headers.content_disposition.clone();
        $output.content_language = headers.content_language.clone();
        $output.cache_control = headers.cache_control.clone();
        $output.metadata = Some(headers.metadata.clone().into_iter().collect());
        $output.storage_class = headers
            .storage_class
            .clone()
            .filter(|class| class != "STANDARD")
            .map(StorageClass::from);
        tell_encryption!($output, headers);
        $output.version_id = $object.version.clone();
        if $locks {
            let lock = &$object.lock;
            $output.object_lock_mode = lock.mode.clone().map(ObjectLockMode::from);
            $output.object_lock_retain_until_date = lock.until.map(Timestamp::from);
            $output.object_lock_legal_hold_status = lock
                .legal_hold
                .map(|on| ObjectLockLegalHoldStatus::from_static(if on { "ON" } else { "OFF" }));
        }
        if $checksum {
            $output.checksum_type = $object.checksum.as_ref().map(|checksum| checksum.kind());
            tell_checksum!($output, &$object.checksum);
        }
    };
}

impl Operations {
    pub(super) async fn get_object(
        &self,
        request: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let S3Request { input, headers, .. } = request;
        undivided(input.part_number)?;
        let version = input.version_id.as_deref();
        let object = self.store().version(&input.bucket, &input.key, version)?;
        let conditions = ReadConditions {
            matches: input.if_match,
            none_match: input.if_none_match,
            modified_since: input.if_modified_since,
            unmodified_since: input.if_unmodified_since,
        };
        conditions.check(&object)?;
        let mut output = GetObjectOutput::default();
        let checked = input.checksum_mode.is_some() && input.range.is_none();
        tell_object!(output, object, self.personality(), checked, self.store().sees_locks());
        output.tag_count = i32::try_from(object.headers.tags.len()).ok().filter(|count| *count > 0);
        let inflated = match input.range {
            None => self.inflated(&object, &headers),
            Some(_) => None,
        };
        if let Some(plain) = inflated {
            output.content_encoding = None;
            output.e_tag = Some(ETag::Weak(object.etag.clone()));
            let body = Body::http_body(Unmeasured(Some(plain)));
            output.body = Some(StreamingBlob::from(body));
            return Ok(S3Response::new(output));
        }
        let (bytes, range) = cut(&object.bytes, input.range)?;
        output.content_range = range;
        output.content_length = i64::try_from(bytes.len()).ok();
        output.body = Some(StreamingBlob::from(Body::from(bytes)));
        Ok(S3Response::new(output))
    }

    pub(super) async fn head_object(
        &self,
        request: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let S3Request { input, headers, .. } = request;
        undivided(input.part_number)?;
        let version = input.version_id.as_deref();
        let object = self.store().version(&input.bucket, &input.key, version)?;
        let conditions = ReadConditions {
            matches: input.if_match,
            none_match: input.if_none_match,
            modified_since: input.if_modified_since,
            unmodified_since: input.if_unmodified_since,
        };
        conditions.check(&object)?;
        let mut output = HeadObjectOutput::default();
        let checked = input.checksum_mode.is_some();
        tell_object!(output, object, self.personality(), checked, self.store().sees_locks());
        let (bytes, range) = cut(&object.bytes, input.range)?;
        output.content_range = range;
        let loses_length =
            self.personality() == Personality::R2 && is_gzip(&object) && accepts_gzip(&headers);
        output.content_length = i64::try_from(bytes.len()).ok().filter(|_| !loses_length);
        let mut response = S3Response::new(output);
        if !object.headers.tags.is_empty() {
            let count = HeaderValue::from(object.headers.tags.len());
            response.headers.insert("x-amz-tagging-count", count);
        }
        Ok(response)
    }

    /// R2 inflates what was stored as gzip for whoever does not say that gzip is welcome.
    fn inflated(&self, object: &Arc<Object>, headers: &HeaderMap) -> Option<Bytes> {
        if self.personality() != Personality::R2 || !is_gzip(object) || accepts_gzip(headers) {
            return None;
        }
        let mut plain = Vec::new();
        GzDecoder::new(object.bytes.as_ref()).read_to_end(&mut plain).ok()?;
        Some(Bytes::from(plain))
    }
}

fn is_gzip(object: &Object) -> bool {
    object.headers.content_encoding.as_deref() == Some("gzip")
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).into_iter();
    values.filter_map(|value| value.to_str().ok()).any(|value| {
        let mut codings = value.split(',').map(|coding| coding.trim().to_ascii_lowercase());
        codings.any(|coding| coding == "gzip" || coding.starts_with("gzip;"))
    })
}

fn undivided(part: Option<i32>) -> S3Result<()> {
    match part {
        Some(_) => Err(not_implemented("partNumber in this simulation")),
        None => Ok(()),
    }
}

/// The bytes of the range, and `Content-Range` where there is one.
fn cut(bytes: &Bytes, range: Option<Range>) -> S3Result<(Bytes, Option<String>)> {
    let Some(range) = range else { return Ok((bytes.clone(), None)) };
    let total = bytes.len();
    let found = range.check(total as u64).ok().and_then(|range| {
        Some((usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?))
    });
    let Some((start, end)) = found else {
        return Err(error(416, "InvalidRange", "The requested range is not satisfiable"));
    };
    Ok((bytes.slice(start..end), Some(format!("bytes {start}-{}/{total}", end - 1))))
}
