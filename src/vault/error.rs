//! What the vault refuses, beside what the backend reports.

use crate::codec::gzip::InflateError;
use crate::model::{ErrorKind, Provider, StoreError};

/// Why the vault did not do as it was asked. Texts are for the client.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The backend's own answer or failure.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The request contradicts itself or the configuration.
    #[error("{0}")]
    Invalid(String),
    /// The bytes are not those that the caller's digest names. Nothing was stored.
    #[error("the body does not match {header}: its sha-256 is {found}")]
    DigestMismatch {
        /// Header that carried the expected digest.
        header: &'static str,
        /// Digest of what arrived, in base64.
        found: String,
    },
    /// More bytes than the configuration allows, as sent or inflated.
    #[error("the body has more than {limit} bytes: raise STORAGE_MAX_OBJECT_BYTES or send less")]
    TooLarge {
        /// The configured limit.
        limit: u64,
    },
    /// The temporary file of a large body cannot be written.
    #[error("cannot buffer the body: {0}")]
    Spool(#[source] std::io::Error),
}

impl VaultError {
    /// The backend's kind of error, where the backend said so.
    pub fn store_kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Store(error) => Some(error.kind()),
            _ => None,
        }
    }

    pub(crate) fn already_exists(provider: Provider, detail: &'static str) -> Self {
        StoreError::new(ErrorKind::AlreadyExists, provider, detail).into()
    }

    pub(crate) fn precondition(provider: Provider, detail: &'static str) -> Self {
        StoreError::new(ErrorKind::PreconditionFailed, provider, detail).into()
    }

    /// Translates a failure to inflate what a caller sent.
    pub(crate) fn from_upload(error: InflateError) -> Self {
        match error {
            InflateError::Malformed(cause) => Self::Invalid(format!(
                "Content-Encoding says gzip but the body is not a complete gzip stream: {cause}"
            )),
            InflateError::TooLarge { limit } => Self::TooLarge { limit },
            InflateError::Sink(cause) => Self::Spool(cause),
        }
    }
}
