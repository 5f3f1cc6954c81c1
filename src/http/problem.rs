//! Every failure as `application/problem+json` (RFC 9457), the framework's own included.
//!
//! A handler returns a [`Problem`]; it travels in the response's extensions and the outermost
//! middleware writes it out, because only that knows the request id.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;

use crate::model::{Class, ErrorKind, KeyError, Provider, StoreError};
use crate::vault::VaultError;

/// Machine-readable name of a problem; part of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is its own contract name; see `spec`")]
pub enum Code {
    NotFound,
    Unauthenticated,
    AccessDenied,
    QuotaExceeded,
    AlreadyExists,
    Contended,
    Retained,
    PreconditionFailed,
    InvalidKey,
    InvalidRequest,
    DigestMismatch,
    TooLarge,
    Unsupported,
    BackendError,
    BackendTimeout,
    Unavailable,
    Corrupt,
    KeyMissing,
    MethodNotAllowed,
    RequestTimeout,
    RateLimited,
    UnsupportedMediaType,
    RangeNotSatisfiable,
    HeadersTooLarge,
    Internal,
}

impl Code {
    /// Every code, for documentation and tests.
    pub const ALL: [Self; 25] = [
        Self::NotFound,
        Self::Unauthenticated,
        Self::AccessDenied,
        Self::QuotaExceeded,
        Self::AlreadyExists,
        Self::Contended,
        Self::Retained,
        Self::PreconditionFailed,
        Self::InvalidKey,
        Self::InvalidRequest,
        Self::DigestMismatch,
        Self::TooLarge,
        Self::Unsupported,
        Self::BackendError,
        Self::BackendTimeout,
        Self::Unavailable,
        Self::Corrupt,
        Self::KeyMissing,
        Self::MethodNotAllowed,
        Self::RequestTimeout,
        Self::RateLimited,
        Self::UnsupportedMediaType,
        Self::RangeNotSatisfiable,
        Self::HeadersTooLarge,
        Self::Internal,
    ];

    /// Name, status and title.
    pub fn spec(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Self::NotFound => ("NOT_FOUND", StatusCode::NOT_FOUND, "Not found"),
            Self::Unauthenticated => {
                ("UNAUTHENTICATED", StatusCode::UNAUTHORIZED, "Not authenticated")
            }
            Self::AccessDenied => ("ACCESS_DENIED", StatusCode::FORBIDDEN, "Access denied"),
            Self::QuotaExceeded => {
                ("QUOTA_EXCEEDED", StatusCode::INSUFFICIENT_STORAGE, "Storage is full")
            }
            Self::AlreadyExists => ("ALREADY_EXISTS", StatusCode::CONFLICT, "Already exists"),
            Self::Contended => ("CONTENDED", StatusCode::CONFLICT, "Another write is under way"),
            Self::Retained => ("RETAINED", StatusCode::CONFLICT, "Retained"),
            Self::PreconditionFailed => {
                ("PRECONDITION_FAILED", StatusCode::PRECONDITION_FAILED, "Precondition failed")
            }
            Self::InvalidKey => ("INVALID_KEY", StatusCode::BAD_REQUEST, "Invalid key"),
            Self::InvalidRequest => ("INVALID_REQUEST", StatusCode::BAD_REQUEST, "Invalid request"),
            Self::DigestMismatch => ("DIGEST_MISMATCH", StatusCode::BAD_REQUEST, "Digest mismatch"),
            Self::TooLarge => ("TOO_LARGE", StatusCode::PAYLOAD_TOO_LARGE, "Too large"),
            Self::Unsupported => ("UNSUPPORTED", StatusCode::NOT_IMPLEMENTED, "Not supported"),
            Self::BackendError => ("BACKEND_ERROR", StatusCode::BAD_GATEWAY, "Backend error"),
            Self::BackendTimeout => {
                ("BACKEND_TIMEOUT", StatusCode::GATEWAY_TIMEOUT, "Backend timeout")
            }
            Self::Unavailable => ("UNAVAILABLE", StatusCode::SERVICE_UNAVAILABLE, "Unavailable"),
            Self::KeyMissing => ("KEY_MISSING", StatusCode::BAD_GATEWAY, "Key is missing"),
            Self::Corrupt => ("CORRUPT", StatusCode::BAD_GATEWAY, "Damaged at rest"),
            Self::MethodNotAllowed => {
                ("METHOD_NOT_ALLOWED", StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
            }
            Self::RequestTimeout => {
                ("REQUEST_TIMEOUT", StatusCode::REQUEST_TIMEOUT, "Request timeout")
            }
            Self::RateLimited => {
                ("RATE_LIMITED", StatusCode::TOO_MANY_REQUESTS, "Too many requests")
            }
            Self::UnsupportedMediaType => (
                "UNSUPPORTED_MEDIA_TYPE",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Unsupported media type",
            ),
            Self::RangeNotSatisfiable => (
                "RANGE_NOT_SATISFIABLE",
                StatusCode::RANGE_NOT_SATISFIABLE,
                "Range not satisfiable",
            ),
            Self::HeadersTooLarge => (
                "HEADERS_TOO_LARGE",
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "Headers too large",
            ),
            Self::Internal => ("INTERNAL", StatusCode::INTERNAL_SERVER_ERROR, "Internal error"),
        }
    }

    fn of_status(status: StatusCode) -> Self {
        Self::ALL
            .into_iter()
            .find(|code| code.spec().1 == status)
            .unwrap_or(if status.is_client_error() { Self::InvalidRequest } else { Self::Internal })
    }
}

/// A failure on its way to the client.
#[derive(Clone, Debug)]
pub struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    provider: Option<Provider>,
    retry_after: Option<Duration>,
    /// What was asked for may have been done.
    indeterminate: bool,
    headers: Vec<(header::HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem with a text that says what is wrong and how to mend it.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let passes = matches!(code, Code::Contended | Code::Unavailable | Code::BackendTimeout);
        let retry_after = passes.then_some(Duration::from_secs(1));
        Self {
            code,
            detail: detail.into(),
            provider: None,
            retry_after,
            indeterminate: false,
            headers: Vec::new(),
        }
    }

    /// A 400 that names the offending field.
    pub fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::InvalidRequest, detail)
    }

    /// Adds a response header.
    #[must_use]
    pub fn with_header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Says when to come again.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The contract's name of the problem.
    pub fn code(&self) -> Code {
        self.code
    }

    /// Whether what was asked for may have been done.
    pub fn is_indeterminate(&self) -> bool {
        self.indeterminate
    }

    /// What is wrong, in words.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The body, given the id of the request that failed.
    pub fn to_json(&self, request_id: &str) -> serde_json::Value {
        let (name, status, title) = self.code.spec();
        let slug = name.to_ascii_lowercase().replace('_', "-");
        let mut body = serde_json::json!({
            "type": format!("urn:proof-storage:problem:{slug}"),
            "title": title,
            "status": status.as_u16(),
            "detail": self.detail,
            "instance": format!("urn:proof-storage:request:{request_id}"),
            "code": name,
        });
        if let Some(provider) = self.provider {
            body["provider"] = provider.as_str().into();
        }
        body
    }

    /// Names a bare error response of the framework.
    pub(super) fn of_status(status: StatusCode) -> Self {
        let code = Code::of_status(status);
        let detail = match code {
            Code::NotFound => "no such resource: see /openapi.yaml for what there is",
            Code::MethodNotAllowed => "this resource has no such method: see the Allow header",
            Code::Internal => "an unexpected error happened here; the log has it by the request id",
            _ => "the request could not be understood",
        };
        Self::new(code, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.code.spec().1;
        for (name, value) in &self.headers {
            response.headers_mut().append(name, value.clone());
        }
        if let Some(after) = self.retry_after {
            let seconds = (after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(1);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Self {
        Self::new(Code::InvalidKey, error.to_string())
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let code = match error.kind() {
            ErrorKind::NotFound => Code::NotFound,
            ErrorKind::AlreadyExists => Code::AlreadyExists,
            ErrorKind::Contended => Code::Contended,
            ErrorKind::Retained => Code::Retained,
            ErrorKind::PreconditionFailed => Code::PreconditionFailed,
            ErrorKind::AccessDenied => Code::AccessDenied,
            ErrorKind::QuotaExceeded => Code::QuotaExceeded,
            ErrorKind::Invalid => Code::InvalidRequest,
            ErrorKind::Unsupported => Code::Unsupported,
            ErrorKind::Corrupt => Code::Corrupt,
            ErrorKind::KeyMissing => Code::KeyMissing,
            ErrorKind::Unavailable => Code::Unavailable,
            ErrorKind::Failed | ErrorKind::Indeterminate | ErrorKind::Misconfigured => {
                Code::BackendError
            }
            ErrorKind::Timeout => Code::BackendTimeout,
        };
        match code {
            // A request that asked for too much, and a disk that an alert watches: no failure.
            Code::Unsupported | Code::QuotaExceeded => tracing::debug!(?error, "backend refusal"),
            _ if code.spec().1.is_server_error() => tracing::error!(?error, "backend failure"),
            _ => {}
        }
        let mut problem = Self::new(code, error.detail().to_owned());
        problem.provider = Some(error.provider());
        problem.indeterminate = error.class() == Class::Unknown;
        problem.retry_after = error.retry_after().or(problem.retry_after);
        problem
    }
}

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        let code = match error {
            VaultError::Store(error) => return error.into(),
            VaultError::Invalid(_) => Code::InvalidRequest,
            VaultError::DigestMismatch { .. } => Code::DigestMismatch,
            VaultError::TooLarge { .. } => Code::TooLarge,
            VaultError::Spool(ref cause) if cause.kind() == std::io::ErrorKind::ResourceBusy => {
                let detail = "as many large bodies wait in files as may: try again shortly";
                return Self::new(Code::Unavailable, detail);
            }
            VaultError::Spool(ref cause) => {
                tracing::error!(error = %cause, "cannot buffer a body");
                if cause.kind() == std::io::ErrorKind::StorageFull {
                    let detail = "no space left to buffer the body; nothing was stored";
                    return Self::new(Code::QuotaExceeded, detail);
                }
                return Self::new(Code::Unavailable, "cannot buffer the body on disk");
            }
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_file_left_for_a_body_is_for_a_moment_and_no_room_on_the_disk_is_not() {
        for (kind, code) in [
            (std::io::ErrorKind::ResourceBusy, Code::Unavailable),
            (std::io::ErrorKind::StorageFull, Code::QuotaExceeded),
        ] {
            let problem = Problem::from(VaultError::Spool(kind.into()));
            let answer = problem.into_response();
            assert_eq!(answer.status(), code.spec().1);
            let later = answer.headers().contains_key(header::RETRY_AFTER);
            assert_eq!(later, code == Code::Unavailable);
        }
    }
}
