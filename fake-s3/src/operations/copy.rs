//! CopyObject. Its source is read at one moment, its destination decided at another, as on S3.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, header};
use s3s::dto::{
    CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, ETagCondition,
    MetadataDirective, TaggingDirective, Timestamp,
};
use s3s::{S3Request, S3Response, S3Result};

use super::{Operations, sent_headers, sent_lock, strong, tell_encryption};
use crate::checksum::{Algorithm, Checksum, tell_checksum};
use crate::conditions::{Condition, ReadConditions};
use crate::error::{invalid_argument, invalid_request, not_implemented};
use crate::object::{Headers, Object};
use crate::personality::Personality;

impl Operations {
    pub(super) async fn copy_object(
        &self,
        request: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let S3Request { mut input, headers, .. } = request;
        let personality = self.personality();
        self.store().has_bucket(&input.bucket)?;
        let (from_bucket, from_key) = named_source(&input.copy_source)?;
        let source = self.store().object(from_bucket, from_key)?;
        let conditions = ReadConditions {
            matches: input.copy_source_if_match.take(),
            none_match: input.copy_source_if_none_match.take(),
            modified_since: input.copy_source_if_modified_since.take(),
            unmodified_since: input.copy_source_if_unmodified_since.take(),
        };
        conditions.check_source(&source)?;
        let condition = destination(personality, &headers)?;
        let replaces = |directive: Option<&str>| match directive {
            None | Some("COPY") => Ok(false),
            Some("REPLACE") => Ok(true),
            Some(_) => Err(invalid_argument("Unknown directive.")),
        };
        let replaces_headers =
            replaces(input.metadata_directive.as_ref().map(MetadataDirective::as_str))?;
        let replaces_tags =
            replaces(input.tagging_directive.as_ref().map(TaggingDirective::as_str))?;
        let itself = (from_bucket, from_key) == (input.bucket.as_str(), input.key.as_str());
        let mut sent = sent_headers!(input);
        let changes = replaces_headers || sent.storage_class.is_some() || sent.encryption.is_some();
        if itself && !changes && personality == Personality::Aws {
            let message = "This copy request is illegal because it is trying to copy an object to \
                           itself without changing the object's metadata, storage class, website \
                           redirect location or encryption attributes.";
            return Err(invalid_request(message));
        }
        if !replaces_tags {
            sent.tags = source.headers.tags.clone();
        }
        if !replaces_headers {
            let Headers { tags, storage_class, encryption, kms_key_id, .. } = sent;
            let kept = source.headers.clone();
            sent = Headers { tags, storage_class, encryption, kms_key_id, ..kept };
        }
        let kept = sent.kept_by(personality)?;
        let wanted = match &input.checksum_algorithm {
            Some(name) => Some(Algorithm::named(name.as_str())?),
            None => source.checksum.as_ref().map(|checksum| checksum.algorithm),
        };
        let checksum = wanted.map(|algorithm| Checksum::of(algorithm, &source.bytes));
        // That of the source stays with it.
        let lock = sent_lock!(self, input);
        let object = Object { lock, ..Object::new(source.bytes.clone(), kept, checksum) };
        let mut result = CopyObjectResult {
            e_tag: strong(&object.etag),
            last_modified: Some(Timestamp::from(object.last_modified)),
            checksum_type: object.checksum.as_ref().map(Checksum::kind),
            ..Default::default()
        };
        tell_checksum!(result, &object.checksum);
        let mut output = CopyObjectOutput::default();
        tell_encryption!(output, object.headers);
        output.copy_object_result = Some(result);
        output.version_id = self.store().put(&input.bucket, &input.key, &condition, object)?;
        Ok(S3Response::new(output))
    }

    /// The source of a part that is copied.
    pub(super) fn copied(
        &self,
        source: &CopySource,
        conditions: &ReadConditions,
    ) -> S3Result<Arc<Object>> {
        let (bucket, key) = named_source(source)?;
        let object = self.store().object(bucket, key)?;
        conditions.check_source(&object)?;
        Ok(object)
    }
}

fn named_source(source: &CopySource) -> S3Result<(&str, &str)> {
    match source {
        CopySource::Bucket { bucket, key, version_id: None } => Ok((bucket, key)),
        _ => Err(not_implemented("this kind of copy source in this simulation")),
    }
}

/// The condition on what is overwritten: AWS reads the standard headers, R2 only its own.
fn destination(personality: Personality, headers: &HeaderMap) -> S3Result<Condition> {
    let read = |name: HeaderName| match headers.get(name) {
        None => Ok(None),
        Some(value) => ETagCondition::parse_http_header(value.as_bytes())
            .map(Some)
            .map_err(|_| invalid_argument("this condition is no ETag")),
    };
    let (mut matches, mut none_match) = (read(header::IF_MATCH)?, read(header::IF_NONE_MATCH)?);
    if personality == Personality::R2 {
        if matches.is_some() || none_match.is_some() {
            return Err(not_implemented("a standard condition on a copy's destination"));
        }
        matches = read(HeaderName::from_static("cf-copy-destination-if-match"))?;
        none_match = read(HeaderName::from_static("cf-copy-destination-if-none-match"))?;
    }
    Condition::of_write(personality, matches, none_match)
}
