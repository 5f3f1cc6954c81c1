//! Uploads in parts.

use bytes::{Bytes, BytesMut};
use s3s::crypto::{Checksum as _, Md5};
use s3s::dto::*;
use s3s::{S3Request, S3Response, S3Result};

use super::{Operations, sent_headers, sent_lock, strong, tell_encryption};
use crate::checksum::{Algorithm, Checksum, Incoming, announced, claimed_checksums, tell_checksum};
use crate::conditions::{Condition, ReadConditions};
use crate::error::{error, invalid_argument, invalid_request, not_implemented};
use crate::listing::url_encoded;
use crate::object::{Object, hex, now};
use crate::personality::Personality;
use crate::store::{Part, Upload};

/// Least bytes of a part that is not the last.
const LEAST_PART: usize = 5 << 20;

impl Operations {
    pub(super) async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let mut input = request.input;
        let headers = sent_headers!(input).kept_by(self.personality())?;
        let lock = sent_lock!(self, input);
        let algorithm = match &input.checksum_algorithm {
            Some(name) => Some(Algorithm::named(name.as_str())?),
            None => None,
        };
        let full = match input.checksum_type.as_ref().map(ChecksumType::as_str) {
            Some("FULL_OBJECT") => true,
            Some("COMPOSITE") => false,
            Some(_) => return Err(invalid_argument("Unknown checksum type.")),
            None => matches!(algorithm, None | Some(Algorithm::Crc64Nvme)),
        };
        let mut output = CreateMultipartUploadOutput {
            bucket: Some(input.bucket.clone()),
            key: Some(input.key.clone()),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            ..Default::default()
        };
        tell_encryption!(output, headers);
        let upload = Upload {
            bucket: input.bucket,
            key: input.key,
            headers,
            lock,
            algorithm,
            full,
            started: now(),
            parts: Default::default(),
        };
        output.upload_id = Some(self.store().start_upload(upload)?);
        Ok(S3Response::new(output))
    }

    pub(super) async fn upload_part(
        &self,
        request: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let S3Request { mut input, trailing_headers, headers, .. } = request;
        let upload = self.store().upload(&input.bucket, &input.key, &input.upload_id)?;
        let claimed = claimed_checksums!(input);
        if let (Some(promised), Some((sent, _))) = (upload.algorithm, claimed.first())
            && promised != *sent
        {
            let message = "Checksum Type mismatch occurred, expected checksum Type: ";
            return Err(invalid_request(&format!("{message}{}", promised.name())));
        }
        let incoming = Incoming {
            body: input.body.take(),
            length: input.content_length,
            content_md5: input.content_md5.take(),
            claimed,
            announced: announced(&headers),
            trailers: trailing_headers,
        };
        let (bytes, checksum) = incoming.receive(self.personality()).await?;
        let part = part(bytes, checksum);
        let mut output = UploadPartOutput { e_tag: strong(&hex(&part.md5)), ..Default::default() };
        tell_checksum!(output, &part.checksum);
        tell_encryption!(output, upload.headers);
        let (bucket, key, id) = (&input.bucket, &input.key, &input.upload_id);
        self.store().put_part(bucket, key, id, input.part_number, part)?;
        Ok(S3Response::new(output))
    }

    pub(super) async fn upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let input = request.input;
        let upload = self.store().upload(&input.bucket, &input.key, &input.upload_id)?;
        let conditions = ReadConditions {
            matches: input.copy_source_if_match,
            none_match: input.copy_source_if_none_match,
            modified_since: input.copy_source_if_modified_since,
            unmodified_since: input.copy_source_if_unmodified_since,
        };
        let source = self.copied(&input.copy_source, &conditions)?;
        let bytes = match input.copy_source_range.as_deref() {
            None => source.bytes.clone(),
            Some(range) => {
                let range = Range::parse(range).ok();
                let range = range.and_then(|range| range.check(source.bytes.len() as u64).ok());
                let range = range.ok_or_else(|| invalid_argument("The range is not valid"))?;
                let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
                source.bytes.slice(place(range.start)..place(range.end))
            }
        };
        let algorithm = upload.algorithm.unwrap_or(Algorithm::Crc64Nvme);
        let checksum = Checksum::of(algorithm, &bytes);
        let part = part(bytes, Some(checksum));
        let mut result = CopyPartResult {
            e_tag: strong(&hex(&part.md5)),
            last_modified: Some(Timestamp::from(part.modified)),
            ..Default::default()
        };
        tell_checksum!(result, &part.checksum);
        let mut output = UploadPartCopyOutput::default();
        tell_encryption!(output, upload.headers);
        output.copy_part_result = Some(result);
        let (bucket, key, id) = (&input.bucket, &input.key, &input.upload_id);
        self.store().put_part(bucket, key, id, input.part_number, part)?;
        Ok(S3Response::new(output))
    }

    pub(super) async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let mut input = request.input;
        let personality = self.personality();
        let upload = self.store().upload(&input.bucket, &input.key, &input.upload_id)?;
        let condition =
            Condition::of_write(personality, input.if_match.take(), input.if_none_match.take())?;
        let named = input.multipart_upload.take().and_then(|upload| upload.parts);
        let parts = chosen(personality, &upload, named.unwrap_or_default())?;
        let object = assembled(&upload, &parts);
        if input.mpu_object_size.is_some_and(|size| size != object.length()) {
            return Err(invalid_request("The object's size is not what x-amz-mp-object-size says"));
        }
        for (algorithm, claim) in claimed_checksums!(input) {
            let found = match &object.checksum {
                Some(found) if found.algorithm == algorithm => found.value.clone(),
                _ => Checksum::of(algorithm, &object.bytes).value,
            };
            if found != claim {
                let message = format!("The {} you specified did not match", algorithm.name());
                return Err(error(400, "BadDigest", message));
            }
        }
        let mut output = CompleteMultipartUploadOutput {
            bucket: Some(input.bucket.clone()),
            key: Some(input.key.clone()),
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            e_tag: strong(&object.etag),
            checksum_type: object.checksum.as_ref().map(Checksum::kind),
            ..Default::default()
        };
        tell_checksum!(output, &object.checksum);
        tell_encryption!(output, object.headers);
        output.version_id = self.store().complete(&input.upload_id, &condition, object)?;
        Ok(S3Response::new(output))
    }

    pub(super) async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = request.input;
        self.store().abort(&input.bucket, &input.key, &input.upload_id)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    pub(super) async fn list_parts(
        &self,
        request: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        let input = request.input;
        let upload = self.store().upload(&input.bucket, &input.key, &input.upload_id)?;
        let most = input.max_parts.unwrap_or(1000).clamp(0, 1000);
        let after = input.part_number_marker.unwrap_or(0);
        let mut later = upload.parts.range(after.saturating_add(1)..);
        let count = usize::try_from(most).unwrap_or_default();
        let parts: Vec<_> = later.by_ref().take(count).map(told).collect();
        let truncated = later.next().is_some();
        let output = ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            max_parts: Some(most),
            part_number_marker: Some(after),
            next_part_number_marker: parts.last().and_then(|part| part.part_number),
            is_truncated: Some(truncated),
            parts: Some(parts),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    pub(super) async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = request.input;
        if input.delimiter.is_some() {
            return Err(not_implemented("a delimiter among uploads in this simulation"));
        }
        self.store().has_bucket(&input.bucket)?;
        let most = input.max_uploads.unwrap_or(1000).clamp(0, 1000);
        let prefix = input.prefix.clone().unwrap_or_default();
        let url = input.encoding_type.is_some();
        let spelled = |key: &str| if url { url_encoded(key) } else { key.to_owned() };
        let after = input.key_marker.as_deref();
        let later = |(id, upload): &(String, Upload)| {
            let past = after.is_none_or(|after| match input.upload_id_marker.as_deref() {
                Some(last) => (upload.key.as_str(), id.as_str()) > (after, last),
                None => upload.key.as_str() > after,
            });
            past && upload.key.starts_with(&prefix)
        };
        let mut later = self.store().uploads(&input.bucket).into_iter().filter(later);
        let count = usize::try_from(most).unwrap_or_default();
        let page: Vec<_> = later.by_ref().take(count).collect();
        let truncated = later.next().is_some();
        let last = page.last().filter(|_| truncated);
        let uploads = page.iter().map(|(id, upload)| MultipartUpload {
            key: Some(spelled(&upload.key)),
            upload_id: Some(id.clone()),
            initiated: Some(Timestamp::from(upload.started)),
            ..Default::default()
        });
        let output = ListMultipartUploadsOutput {
            bucket: Some(input.bucket.clone()),
            next_key_marker: last.map(|(_, upload)| spelled(&upload.key)),
            next_upload_id_marker: last.map(|(id, _)| id.clone()),
            uploads: Some(uploads.collect()),
            prefix: Some(spelled(&prefix)),
            key_marker: after.map(spelled),
            max_uploads: Some(most),
            is_truncated: Some(truncated),
            encoding_type: input.encoding_type.clone(),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }
}

fn part(bytes: Bytes, checksum: Option<Checksum>) -> Part {
    let md5 = Md5::checksum(&bytes).as_ref().try_into().unwrap_or_default();
    Part { bytes, md5, modified: now(), checksum }
}

/// The parts that a completion names, where they are what they have to be.
fn chosen(
    personality: Personality,
    upload: &Upload,
    named: Vec<CompletedPart>,
) -> S3Result<Vec<&Part>> {
    let invalid = || {
        let message = "One or more of the specified parts could not be found.";
        error(400, "InvalidPart", message)
    };
    let mut parts = Vec::new();
    let mut before = 0;
    for mut wanted in named {
        let number = wanted.part_number.unwrap_or_default();
        if number <= before {
            let message = "The list of parts was not in ascending order.";
            return Err(error(400, "InvalidPartOrder", message));
        }
        before = number;
        let part = upload.parts.get(&number).ok_or_else(invalid)?;
        if wanted.e_tag.as_ref().map(ETag::value) != Some(hex(&part.md5).as_str()) {
            return Err(invalid());
        }
        for (algorithm, claim) in claimed_checksums!(wanted) {
            let kept = part.checksum.as_ref().filter(|kept| kept.algorithm == algorithm);
            if kept.is_none_or(|kept| kept.value != claim) {
                return Err(invalid());
            }
        }
        parts.push(part);
    }
    let Some((_, first)) = parts.split_last() else {
        let message = "The XML you provided was not well-formed";
        return Err(error(400, "MalformedXML", message));
    };
    if first.iter().any(|part| part.bytes.len() < LEAST_PART) {
        let message = "Your proposed upload is smaller than the minimum allowed size";
        return Err(error(400, "EntityTooSmall", message));
    }
    let uneven = first.windows(2).any(|pair| pair[0].bytes.len() != pair[1].bytes.len());
    let last_is_larger =
        parts.len() > 1 && parts[parts.len() - 1].bytes.len() > first[0].bytes.len();
    if personality == Personality::R2 && (uneven || last_is_larger) {
        let message = "All non-trailing parts must have the same length.";
        return Err(error(400, "InvalidPart", message));
    }
    Ok(parts)
}

fn assembled(upload: &Upload, parts: &[&Part]) -> Object {
    let mut bytes = BytesMut::new();
    let mut digests = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&part.bytes);
        digests.extend_from_slice(&part.md5);
    }
    let bytes = bytes.freeze();
    let checksums: Vec<_> = parts.iter().map(|part| part.checksum.clone()).collect();
    let algorithm = upload.algorithm.or(checksums.first().cloned().flatten().map(|c| c.algorithm));
    let checksum = algorithm.and_then(|algorithm| match upload.full {
        true => Some(Checksum::of(algorithm, &bytes)),
        false => Checksum::of_parts(algorithm, &checksums),
    });
    let etag = format!("{}-{}", hex(Md5::checksum(&digests).as_ref()), parts.len());
    let (headers, lock) = (upload.headers.clone(), upload.lock.clone());
    Object { bytes, etag, last_modified: now(), headers, version: None, lock, checksum }
}

fn told((number, part): (&i32, &Part)) -> s3s::dto::Part {
    let mut told = s3s::dto::Part {
        part_number: Some(*number),
        size: i64::try_from(part.bytes.len()).ok(),
        e_tag: strong(&hex(&part.md5)),
        last_modified: Some(Timestamp::from(part.modified)),
        ..Default::default()
    };
    tell_checksum!(told, &part.checksum);
    told
}
