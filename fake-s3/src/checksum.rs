//! Bodies and what was claimed of them: Content-MD5 and `x-amz-checksum-*`, in headers or trailers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::HeaderMap;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::dto::{ChecksumType, StreamingBlob};
use s3s::{Body, S3Error, S3Result, TrailingHeaders};

use crate::error::{error, invalid_request};
use crate::personality::Personality;

/// Most bytes of one body: S3's limit for one call.
const BODY_LIMIT: usize = 5 << 30;

/// An algorithm of `x-amz-checksum-*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Crc32,
    Crc32c,
    Crc64Nvme,
    Sha1,
    Sha256,
}

impl Algorithm {
    const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// By S3's name: `SHA256`.
    pub(crate) fn named(name: &str) -> S3Result<Self> {
        let found = Self::ALL.into_iter().find(|one| one.name() == name);
        found.ok_or_else(|| invalid_request("Checksum algorithm provided is unsupported."))
    }

    /// S3's name: `SHA256`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Crc32 => Crc32::checksum(bytes).to_vec(),
            Self::Crc32c => Crc32c::checksum(bytes).to_vec(),
            Self::Crc64Nvme => Crc64Nvme::checksum(bytes).to_vec(),
            Self::Sha1 => Sha1::checksum(bytes).to_vec(),
            Self::Sha256 => Sha256::checksum(bytes).to_vec(),
        }
    }
}

/// A checksum that is kept with an object or a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checksum {
    pub(crate) algorithm: Algorithm,
    /// Base64, of a composite one with `-N`.
    pub(crate) value: String,
    /// Of the whole object, not of its parts' checksums.
    pub(crate) full: bool,
}

impl Checksum {
    pub(crate) fn of(algorithm: Algorithm, bytes: &[u8]) -> Self {
        Self { algorithm, value: BASE64.encode(algorithm.digest(bytes)), full: true }
    }

    /// The checksum of checksums, where all parts have one of this algorithm.
    pub(crate) fn of_parts(algorithm: Algorithm, parts: &[Option<Self>]) -> Option<Self> {
        let mut digests = Vec::new();
        for part in parts {
            let part = part.as_ref().filter(|part| part.algorithm == algorithm)?;
            digests.extend(BASE64.decode(&part.value).ok()?);
        }
        let value = format!("{}-{}", BASE64.encode(algorithm.digest(&digests)), parts.len());
        Some(Self { algorithm, value, full: false })
    }

    /// `FULL_OBJECT` or `COMPOSITE`.
    pub(crate) fn kind(&self) -> ChecksumType {
        ChecksumType::from_static(if self.full { "FULL_OBJECT" } else { "COMPOSITE" })
    }
}

/// Writes a checksum (`Option<&Checksum>`) into the five fields of an output.
macro_rules! tell_checksum {
    ($output:expr, $checksum:expr) => {
        if let Some(checksum) = $checksum {
            let value = Some(checksum.value.clone());
            match checksum.algorithm {
                $crate::checksum::Algorithm::Crc32 => $output.checksum_crc32 = value,
                $crate::checksum::Algorithm::Crc32c => $output.checksum_crc32c = value,
                $crate::checksum::Algorithm::Crc64Nvme => $output.checksum_crc64nvme = value,
                $crate::checksum::Algorithm::Sha1 => $output.checksum_sha1 = value,
                $crate::checksum::Algorithm::Sha256 => $output.checksum_sha256 = value,
            }
        }
    };
}

/// Reads the five fields of an input.
macro_rules! claimed_checksums {
    ($input:expr) => {
        [
            ($crate::checksum::Algorithm::Crc32, $input.checksum_crc32.take()),
            ($crate::checksum::Algorithm::Crc32c, $input.checksum_crc32c.take()),
            ($crate::checksum::Algorithm::Crc64Nvme, $input.checksum_crc64nvme.take()),
            ($crate::checksum::Algorithm::Sha1, $input.checksum_sha1.take()),
            ($crate::checksum::Algorithm::Sha256, $input.checksum_sha256.take()),
        ]
        .into_iter()
        .filter_map(|(algorithm, value)| value.map(|value| (algorithm, value)))
        .collect::<Vec<_>>()
    };
}
pub(crate) use {claimed_checksums, tell_checksum};

/// A body that is still to come, and what was said of it in the headers.
pub(crate) struct Incoming {
    pub(crate) body: Option<StreamingBlob>,
    pub(crate) length: Option<i64>,
    pub(crate) content_md5: Option<String>,
    pub(crate) claimed: Vec<(Algorithm, String)>,
    pub(crate) announced: bool,
    pub(crate) trailers: Option<TrailingHeaders>,
}

impl Incoming {
    /// The bytes, whole and as claimed, and the checksum to keep.
    pub(crate) async fn receive(
        mut self,
        personality: Personality,
    ) -> S3Result<(Bytes, Option<Checksum>)> {
        let mut body = self.body.take().map(Body::from).unwrap_or_default();
        let bytes = body.store_all_limited(BODY_LIMIT).await;
        let bytes = bytes.map_err(|cause| broken_body(personality, &cause.to_string()))?;
        if self.length.is_some_and(|length| usize::try_from(length) != Ok(bytes.len())) {
            return Err(incomplete());
        }
        if let Some(trailers) = self.trailers.as_ref().and_then(TrailingHeaders::take) {
            for algorithm in Algorithm::ALL {
                let value = trailers.get(algorithm.header()).and_then(|value| value.to_str().ok());
                self.claimed.extend(value.map(|value| (algorithm, value.to_owned())));
            }
        }
        let checksum = self.check(personality, &bytes)?;
        Ok((bytes, checksum))
    }

    fn check(self, personality: Personality, bytes: &[u8]) -> S3Result<Option<Checksum>> {
        let aws = personality == Personality::Aws;
        if let Some(md5) = &self.content_md5 {
            if personality == Personality::R2 && !self.claimed.is_empty() {
                return Err(invalid_request("only one checksum may be given"));
            }
            let md5 = BASE64.decode(md5).ok().filter(|md5| md5.len() == 16);
            let md5 = md5.ok_or_else(|| {
                error(400, "InvalidDigest", "The Content-MD5 you specified is not valid.")
            })?;
            if md5 != Md5::checksum(bytes).as_ref() {
                return Err(bad_digest(personality, "Content-MD5"));
            }
        }
        if self.claimed.len() > 1 {
            let message = "Expecting a single x-amz-checksum- header.";
            return Err(invalid_request(message));
        }
        let Some((algorithm, claim)) = self.claimed.first() else {
            if aws && self.announced {
                let message = "x-amz-sdk-checksum-algorithm specified, but no corresponding \
                               x-amz-checksum-* or x-amz-trailer headers were found.";
                return Err(invalid_request(message));
            }
            return Ok(aws.then(|| Checksum::of(Algorithm::Crc64Nvme, bytes)));
        };
        let found = Checksum::of(*algorithm, bytes);
        if found.value != *claim {
            return Err(bad_digest(personality, algorithm.name()));
        }
        Ok(Some(found))
    }
}

/// Whether the headers promise a checksum, be it of a header or of a trailer.
pub(crate) fn announced(headers: &HeaderMap) -> bool {
    let trailers = headers.get("x-amz-trailer").and_then(|names| names.to_str().ok());
    headers.contains_key("x-amz-sdk-checksum-algorithm")
        || trailers.is_some_and(|names| names.contains("x-amz-checksum-"))
}

fn bad_digest(personality: Personality, of: &str) -> S3Error {
    let code = if personality == Personality::Garage { "InvalidDigest" } else { "BadDigest" };
    error(400, code, format!("The {of} you specified did not match what was received."))
}

fn incomplete() -> S3Error {
    let message = "You did not provide the number of bytes specified by the \
                   Content-Length HTTP header";
    error(400, "IncompleteBody", message)
}

/// The types of these causes are private to `s3s`; their texts name them.
fn broken_body(personality: Personality, cause: &str) -> S3Error {
    if cause.contains("Sha256Mismatch") {
        let aws = personality != Personality::Garage;
        let code = if aws { "XAmzContentSHA256Mismatch" } else { "InvalidDigest" };
        let message =
            "The provided 'x-amz-content-sha256' header does not match what was computed.";
        return error(400, code, message);
    }
    if cause.contains("SignatureMismatch") {
        let message = "The signature of a chunk does not match.";
        return error(403, "SignatureDoesNotMatch", message);
    }
    incomplete()
}
