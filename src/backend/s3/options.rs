//! How one S3 backend is reached, and what it is known to refuse.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;

use crate::model::{Encryption, LockMode, Provider, Reach};

/// Where requests go and as whom.
#[derive(Clone)]
pub struct Options {
    /// Name in answers and metrics: S3, or R2 with its preset.
    pub provider: Provider,
    /// URL of the service; absent: Amazon's own for the region.
    pub endpoint: Option<String>,
    /// URL that callers reach the bucket under, for presigned URLs; absent: the endpoint.
    pub presign_endpoint: Option<String>,
    /// Region to sign for; absent: what the environment says.
    pub region: Option<String>,
    /// Bucket.
    pub bucket: String,
    /// Key id and secret; absent: the SDK's own chain (environment, profiles, web identity, IMDS).
    pub credentials: Option<StaticCredentials>,
    /// Bucket in the path instead of in the host name.
    pub path_style: bool,
    /// Encryption of objects that ask for none.
    pub encryption: Encryption,
    /// Key for `aws:kms`; absent: the account's default.
    pub kms_key_id: Option<String>,
    /// How what is held is locked, where the bucket has locks.
    pub object_lock: LockMode,
    /// For one answer's head to arrive.
    pub timeout: Duration,
    /// Where the bucket may be.
    pub reach: Reach,
}

/// A key id and its secret.
#[derive(Clone)]
pub struct StaticCredentials {
    /// Public part.
    pub access_key_id: String,
    /// Secret part.
    pub secret_access_key: SecretString,
}

impl fmt::Debug for StaticCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticCredentials").field("access_key_id", &"(redacted)").finish()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("provider", &self.provider)
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

/// What R2 is known to refuse or to do otherwise (developers.cloudflare.com/r2/api/s3/api), so
/// that it is not even asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    /// Sends what it keeps as gzip inflated to whoever does not ask for gzip.
    pub(super) inflates: bool,
    /// Conditions on the destination of a copy go into headers of Cloudflare's own.
    pub(super) copy_conditions: CopyConditions,
    /// Most bytes of metadata, names and values together.
    pub(super) metadata_bytes: usize,
}

/// Names of the headers that condition the destination of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CopyConditions {
    Standard,
    Cloudflare,
}

impl Dialect {
    pub(super) fn of(provider: Provider) -> Self {
        match provider {
            Provider::R2 => Self {
                inflates: true,
                copy_conditions: CopyConditions::Cloudflare,
                metadata_bytes: 8192,
            },
            _ => Self {
                inflates: false,
                copy_conditions: CopyConditions::Standard,
                metadata_bytes: 2048,
            },
        }
    }
}
