//! The errors that the simulation answers with: status, code and message in one place.

use s3s::{S3Error, S3ErrorCode};

/// An S3 error with exactly this status, whatever `s3s` thinks of the code.
pub(crate) fn error(status: u16, code: &str, message: impl Into<String>) -> S3Error {
    let known = S3ErrorCode::from_bytes(code.as_bytes()).unwrap_or(S3ErrorCode::InternalError);
    let mut error = S3Error::with_message(known, message.into());
    if let Ok(status) = http::StatusCode::from_u16(status) {
        error.set_status_code(status);
    }
    error
}

pub(crate) fn not_implemented(what: &str) -> S3Error {
    error(501, "NotImplemented", format!("{what} is not implemented"))
}

pub(crate) fn precondition_failed() -> S3Error {
    let message = "At least one of the pre-conditions you specified did not hold";
    error(412, "PreconditionFailed", message)
}

pub(crate) fn no_such_key() -> S3Error {
    error(404, "NoSuchKey", "The specified key does not exist.")
}

pub(crate) fn no_such_bucket() -> S3Error {
    error(404, "NoSuchBucket", "The specified bucket does not exist")
}

pub(crate) fn no_such_upload() -> S3Error {
    error(404, "NoSuchUpload", "The specified multipart upload does not exist.")
}

pub(crate) fn access_denied() -> S3Error {
    error(403, "AccessDenied", "Access Denied")
}

pub(crate) fn invalid_argument(message: &str) -> S3Error {
    error(400, "InvalidArgument", message)
}

pub(crate) fn invalid_request(message: &str) -> S3Error {
    error(400, "InvalidRequest", message)
}
