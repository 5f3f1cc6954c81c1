//! One error for every backend, layer and pool.
//!
//! The distinction that everything above relies on: *did not happen* against *may have happened*.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::object::Provider;

/// What went wrong, in the words of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No such object.
    NotFound,
    /// A create met an object.
    AlreadyExists,
    /// The backend is busy with another write of the same key, and did not do this one. The only
    /// answer that another try may change.
    Contended,
    /// The version is not the one asked for.
    PreconditionFailed,
    /// The object is held, and stays: the detail says until when.
    Retained,
    /// The backend refused this object to us.
    AccessDenied,
    /// The backend refuses our credentials, bucket or clock: an operator must act.
    Misconfigured,
    /// The backend is full; nothing was written.
    QuotaExceeded,
    /// The request can never succeed as it stands.
    Invalid,
    /// The backend lacks the capability that the detail names.
    Unsupported,
    /// The stored bytes are not what was stored.
    Corrupt,
    /// The proof is sealed under a key that this service was not given: an operator must act.
    KeyMissing,
    /// Failed, and certainly without effect: not reached, or answered with an error. Safe to try
    /// elsewhere or again.
    Failed,
    /// Not now, and certainly without effect: too much is asked at once, or too soon. Safe to try
    /// elsewhere or later.
    Unavailable,
    /// Failed, and may have taken effect: re-read before trying again.
    Indeterminate,
    /// No answer in time; for a write the same as `Indeterminate`.
    Timeout,
}

/// The one question that retry, breaker and pool ask of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// An answer: the backend works, and says no.
    Answer,
    /// Did not happen.
    Failed,
    /// May have happened.
    Unknown,
}

/// A backend's failure.
#[derive(Clone)]
pub struct StoreError {
    kind: ErrorKind,
    provider: Provider,
    /// For the client: says what and how to mend it, never a secret or a path.
    detail: Cow<'static, str>,
    retry_after: Option<Duration>,
    /// Refused on this side.
    unasked: bool,
    /// For the log.
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl StoreError {
    /// An error with a text that a client may read.
    pub fn new(kind: ErrorKind, provider: Provider, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            provider,
            detail: detail.into(),
            retry_after: None,
            unasked: false,
            source: None,
        }
    }

    /// Adds the cause, which is logged but never sent.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Adds the time after which another try makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Marks a refusal that was made on this side, without asking the backend.
    #[must_use]
    pub fn unasked(mut self) -> Self {
        self.unasked = true;
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Who says so.
    pub fn provider(&self) -> Provider {
        self.provider
    }

    /// Text for the client.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The server's hint, where it gave one.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether it says something of the backend at all.
    pub fn is_unasked(&self) -> bool {
        self.unasked
    }

    /// Whether the call did not happen, may have happened, or was answered.
    pub fn class(&self) -> Class {
        match self.kind {
            ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::Contended
            | ErrorKind::PreconditionFailed
            | ErrorKind::Retained
            | ErrorKind::AccessDenied
            | ErrorKind::QuotaExceeded
            | ErrorKind::Invalid
            | ErrorKind::Unsupported => Class::Answer,
            ErrorKind::Corrupt
            | ErrorKind::KeyMissing
            | ErrorKind::Failed
            | ErrorKind::Unavailable
            | ErrorKind::Misconfigured => Class::Failed,
            ErrorKind::Indeterminate | ErrorKind::Timeout => Class::Unknown,
        }
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {}: {}", self.kind, self.provider, self.detail)?;
        match &self.source {
            Some(source) => write!(f, " ({source})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}
