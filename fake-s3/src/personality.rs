//! Whom the server plays: what each vendor refuses before an operation is looked at, and its limits.
//!
//! What a vendor does differently *within* an operation stands with the operation.

use std::str::FromStr;
use std::time::Duration;

use http::HeaderMap;
use s3s::S3Result;

use crate::error::{error, not_implemented};

/// Whose answers the server gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Personality {
    /// AWS S3: a general-purpose bucket, without versions unless it has object lock.
    Aws,
    /// Cloudflare R2: refuses tags, server-side encryption, ACLs and streaming signatures, and the
    /// second write of a key within a second; inflates gzip on the way out.
    R2,
    /// Garage 2.5: ignores conditions on writes and drops tags, encryption and storage classes.
    Garage,
}

impl Personality {
    /// All of them, for tests that run over each.
    pub const ALL: [Self; 3] = [Self::Aws, Self::R2, Self::Garage];

    /// Most bytes of metadata, names and values together.
    pub(crate) fn metadata_limit(self) -> usize {
        match self {
            Self::Aws => 2048,
            Self::R2 => 8192,
            Self::Garage => usize::MAX,
        }
    }

    /// Least time between two writes of one key.
    pub(crate) fn write_interval(self) -> Option<Duration> {
        (self == Self::R2).then_some(Duration::from_secs(1))
    }

    /// Most keys in one batch delete.
    pub(crate) fn batch_limit(self) -> usize {
        match self {
            Self::Aws | Self::R2 => 1000,
            Self::Garage => usize::MAX,
        }
    }

    /// The content type of an object that was stored without one.
    pub(crate) fn default_content_type(self) -> &'static str {
        match self {
            Self::Aws => "binary/octet-stream",
            Self::R2 | Self::Garage => "application/octet-stream",
        }
    }

    /// Refuses what this vendor, or the simulation, has not.
    pub(crate) fn refuse(self, operation: &str, headers: &HeaderMap) -> S3Result<()> {
        let named = |prefix: &str| {
            headers.keys().any(|name| name.as_str().starts_with(prefix)).then_some(())
        };
        if named("x-amz-server-side-encryption-customer-").is_some() {
            return Err(not_implemented("SSE-C in this simulation"));
        }
        match self {
            Self::Aws => {}
            Self::R2 => {
                const HEADERS: [&str; 5] = [
                    "x-amz-tagging",
                    "x-amz-server-side-encryption",
                    "x-amz-object-lock-",
                    "x-amz-acl",
                    "x-amz-grant-",
                ];
                if let Some(prefix) = HEADERS.into_iter().find(|prefix| named(prefix).is_some()) {
                    return Err(not_implemented(&format!("Header '{prefix}'")));
                }
                let payload = headers.get("x-amz-content-sha256").map(http::HeaderValue::as_bytes);
                if payload.is_some_and(|value| value.starts_with(b"STREAMING-")) {
                    return Err(not_implemented("a streaming payload"));
                }
                if operation.ends_with("Tagging") || operation.ends_with("Acl") {
                    return Err(not_implemented(operation));
                }
            }
            Self::Garage => {
                if operation == "GetObjectAttributes" {
                    return Err(error(500, "InternalError", "Internal error"));
                }
                if operation.ends_with("Tagging") || operation.ends_with("Acl") {
                    return Err(not_implemented(operation));
                }
            }
        }
        Ok(())
    }
}

impl FromStr for Personality {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "aws" => Ok(Self::Aws),
            "r2" => Ok(Self::R2),
            "garage" => Ok(Self::Garage),
            _ => Err("aws, r2 or garage".into()),
        }
    }
}
