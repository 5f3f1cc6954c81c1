//! From what S3 and its like answer to [`StoreError`]: one table for every call.
//!
//! What matters is whether a failed write may have happened. A refused connection and every clear
//! refusal did not; a lost answer, an internal error and a time limit may have.

use std::error::Error;
use std::io;
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::model::{ErrorKind, Provider, StoreError};

/// Whether a lost answer leaves anything in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Read,
    Write,
}

/// A backend that asks to slow down gets at least this long.
const SLOW_DOWN: Duration = Duration::from_secs(1);

const NO_ANSWER: &str = "the backend did not answer in time";

/// A text for the log: the SDK's whole chain of causes.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Cause(String);

/// Translates a failed call.
pub(super) fn translate<E>(
    provider: Provider,
    effect: Effect,
    error: SdkError<E, HttpResponse>,
) -> StoreError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let (kind, detail, retry_after) = judge(effect, &error);
    let cause = Cause(chain(&error));
    told(provider, effect, kind, detail, retry_after).with_source(cause)
}

fn told(
    provider: Provider,
    effect: Effect,
    kind: ErrorKind,
    mut detail: String,
    retry_after: Option<Duration>,
) -> StoreError {
    if effect == Effect::Write && matches!(kind, ErrorKind::Indeterminate | ErrorKind::Timeout) {
        detail.push_str(": the write may have happened");
    }
    let error = StoreError::new(kind, provider, detail);
    match retry_after {
        Some(after) => error.with_retry_after(after),
        None => error,
    }
}

/// A call that our own limit ended.
pub(super) fn late(provider: Provider, effect: Effect) -> StoreError {
    told(provider, effect, ErrorKind::Timeout, NO_ANSWER.into(), None)
}

/// One entry of an answer that has an outcome for each key.
pub(super) fn of_code(provider: Provider, code: Option<&str>, message: Option<&str>) -> StoreError {
    // Such entries have no status; the codes that matter are told apart without one.
    let status = if code == Some("AccessDenied") { 403 } else { 500 };
    let (kind, detail, after) = judge_answer(ErrorKind::Indeterminate, status, code, message, None);
    told(provider, Effect::Write, kind, detail, after)
}

/// What an error and its causes say, without the SDK's dump of the whole answer.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = causes(error).map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}

/// A body or an answer that broke off.
pub(super) fn broken(provider: Provider, cause: impl std::fmt::Display) -> StoreError {
    StoreError::new(ErrorKind::Failed, provider, "the backend's answer broke off")
        .with_source(Cause(cause.to_string()))
}

type Judgement = (ErrorKind, String, Option<Duration>);

fn judge<E>(effect: Effect, error: &SdkError<E, HttpResponse>) -> Judgement
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let lost = match effect {
        Effect::Read => ErrorKind::Failed,
        Effect::Write => ErrorKind::Indeterminate,
    };
    if let Some(unsigned) = unsigned(error) {
        return unsigned;
    }
    match error {
        SdkError::ServiceError(refusal) => {
            let status = refusal.raw().status().as_u16();
            let header = refusal.raw().headers().get("retry-after");
            let wait = header.and_then(|text| retry_after(text, SystemTime::now()));
            let meta = refusal.err();
            judge_answer(lost, status, meta.code(), meta.message(), wait)
        }
        SdkError::ConstructionFailure(_) => (
            ErrorKind::Misconfigured,
            "the request to the backend cannot be made: check endpoint, bucket and region".into(),
            None,
        ),
        SdkError::DispatchFailure(_) if never_sent(error) => {
            (ErrorKind::Failed, "the backend cannot be reached".into(), None)
        }
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            (ErrorKind::Timeout, NO_ANSWER.into(), None)
        }
        SdkError::TimeoutError(_) => (ErrorKind::Timeout, NO_ANSWER.into(), None),
        SdkError::DispatchFailure(_) => {
            (lost, "the connection to the backend broke off".into(), None)
        }
        _ => (lost, "the backend's answer was not understood".into(), None),
    }
}

/// What an answer of a status and a code means.
fn judge_answer(
    lost: ErrorKind,
    status: u16,
    code: Option<&str>,
    message: Option<&str>,
    wait: Option<Duration>,
) -> Judgement {
    let code = code.unwrap_or_default();
    let message = message.unwrap_or_default();
    let said = |text: &str| {
        let code = if code.is_empty() { format!("status {status}") } else { code.to_owned() };
        format!("{text} ({code})")
    };
    let slow = |text: &str| {
        (ErrorKind::Unavailable, said(text), Some(wait.unwrap_or_default().max(SLOW_DOWN)))
    };
    match (status, code) {
        (_, "NoSuchBucket") => {
            (ErrorKind::Misconfigured, said("the backend has no such bucket"), None)
        }
        (_, "XMinioStorageFull" | "QuotaExceeded") | (507, _) => {
            (ErrorKind::QuotaExceeded, said("the backend is full"), None)
        }
        (403, _) if message.contains("quota") => {
            (ErrorKind::QuotaExceeded, said("the backend's quota is reached"), None)
        }
        (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken")
        | (_, "AuthorizationHeaderMalformed" | "AccountProblem" | "AllAccessDisabled")
        | (_, "Unauthorized" | "TokenRefreshRequired" | "NotSignedUp")
        | (401, _) => (ErrorKind::Misconfigured, said("the backend refuses our credentials"), None),
        (_, "RequestTimeTooSkewed" | "RequestExpired") => {
            let text = "this machine's clock is too far from the backend's";
            (ErrorKind::Misconfigured, said(text), None)
        }
        // S3 says it with 403, and it has nothing to do with rights.
        (_, "InvalidObjectState") => {
            let text = "the object was moved to an archive: restore it there before it is read";
            (ErrorKind::AccessDenied, said(text), None)
        }
        (403, _) => (ErrorKind::AccessDenied, said("the backend refuses access"), None),
        (_, "NoSuchUpload") => (ErrorKind::Failed, said("the backend lost the upload"), None),
        (404, _) => (ErrorKind::NotFound, "there is no such object".into(), None),
        (412 | 304, _) => (ErrorKind::PreconditionFailed, "another version is there".into(), None),
        (416, _) => (ErrorKind::Invalid, "the range is not within the object".into(), None),
        (409, _) => {
            let text = "the backend is busy with another write of this key";
            (ErrorKind::Contended, said(text), wait)
        }
        (429 | 503, _) | (_, "SlowDown" | "TooManyRequests" | "ServiceUnavailable") => {
            slow("the backend asks to slow down")
        }
        (_, "BadDigest" | "InvalidDigest" | "XAmzContentSHA256Mismatch" | "IncompleteBody") => {
            (ErrorKind::Failed, said("the bytes arrived damaged at the backend"), None)
        }
        (_, "RequestTimeout") => {
            (ErrorKind::Failed, said("the backend waited too long for the bytes"), None)
        }
        (501, _) | (_, "NotImplemented") => {
            (ErrorKind::Unsupported, said("the backend does not support this"), None)
        }
        (301 | 307 | 308, _) => {
            let text = "the bucket is in another region or under another endpoint";
            (ErrorKind::Misconfigured, said(text), None)
        }
        (400..=499, _) => (ErrorKind::Invalid, said("the backend refuses the request"), None),
        _ => (lost, said("the backend failed"), wait),
    }
}

/// Seconds, or the time at which to come again.
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let when = httpdate::parse_http_date(text).ok()?;
    Some(when.duration_since(now).unwrap_or_default())
}

fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Where there was nothing to sign the request with: who gives credentials may be ailing, or there
/// are none.
fn unsigned(error: &(dyn Error + 'static)) -> Option<Judgement> {
    let cause = causes(error).find_map(<dyn Error>::downcast_ref::<CredentialsError>)?;
    Some(match cause {
        CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_) => {
            (ErrorKind::Misconfigured, "there are no credentials for the backend".into(), None)
        }
        _ => (ErrorKind::Failed, "the credentials for the backend cannot be fetched".into(), None),
    })
}

/// Whether the request certainly never left: the connection could not be made.
fn never_sent(error: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable,
    };
    const UNREACHED: [io::ErrorKind; 5] =
        [AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable];
    causes(error).any(|cause| {
        let refused = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let connecting = cause.downcast_ref::<hyper_util::client::legacy::Error>();
        refused.is_some_and(|kind| UNREACHED.contains(&kind))
            || connecting.is_some_and(hyper_util::client::legacy::Error::is_connect)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_its_meaning() {
        let write = ErrorKind::Indeterminate;
        for (status, code, message, kind) in [
            (404, "NoSuchKey", "", ErrorKind::NotFound),
            (404, "NoSuchBucket", "", ErrorKind::Misconfigured),
            (403, "AccessDenied", "", ErrorKind::AccessDenied),
            (403, "AccessDenied", "quota is reached", ErrorKind::QuotaExceeded),
            (403, "SignatureDoesNotMatch", "", ErrorKind::Misconfigured),
            (403, "RequestTimeTooSkewed", "", ErrorKind::Misconfigured),
            (412, "PreconditionFailed", "", ErrorKind::PreconditionFailed),
            (409, "ConditionalRequestConflict", "", ErrorKind::Contended),
            (409, "OperationAborted", "", ErrorKind::Contended),
            (429, "TooManyRequests", "", ErrorKind::Unavailable),
            (503, "SlowDown", "", ErrorKind::Unavailable),
            (400, "BadDigest", "", ErrorKind::Failed),
            (400, "InvalidDigest", "", ErrorKind::Failed),
            (400, "XAmzContentSHA256Mismatch", "", ErrorKind::Failed),
            (400, "RequestTimeout", "", ErrorKind::Failed),
            (400, "AuthorizationHeaderMalformed", "", ErrorKind::Misconfigured),
            (401, "Unauthorized", "", ErrorKind::Misconfigured),
            (301, "PermanentRedirect", "", ErrorKind::Misconfigured),
            (404, "NoSuchUpload", "", ErrorKind::Failed),
            (400, "KeyTooLongError", "", ErrorKind::Invalid),
            (416, "InvalidRange", "", ErrorKind::Invalid),
            (500, "InternalError", "", write),
            (502, "", "", write),
            (501, "NotImplemented", "", ErrorKind::Unsupported),
            (504, "", "", write),
            (200, "InternalError", "", write),
            (200, "SlowDown", "", ErrorKind::Unavailable),
            (507, "XMinioStorageFull", "", ErrorKind::QuotaExceeded),
            (403, "QuotaExceeded", "", ErrorKind::QuotaExceeded),
        ] {
            let (found, ..) = judge_answer(write, status, Some(code), Some(message), None);
            assert_eq!(found, kind, "{status} {code} {message}");
        }
        let (read, ..) = judge_answer(ErrorKind::Failed, 500, None, None, None);
        assert_eq!(read, ErrorKind::Failed, "a failed read has no effect");
    }

    #[test]
    fn an_archived_object_is_no_matter_of_rights() {
        let judged = |code| judge_answer(ErrorKind::Failed, 403, Some(code), None, None);
        let (kind, detail, _) = judged("InvalidObjectState");
        assert_eq!(kind, ErrorKind::AccessDenied);
        assert!(detail.contains("restore it"), "{detail}");
        assert!(!judged("AccessDenied").1.contains("restore"));
    }

    #[test]
    fn a_hint_to_wait_is_kept_and_never_shorter_than_a_second() {
        let wait = |seconds| {
            let hint = Some(Duration::from_secs(seconds));
            judge_answer(ErrorKind::Failed, 503, Some("SlowDown"), None, hint).2
        };
        assert_eq!(wait(0), Some(SLOW_DOWN));
        assert_eq!(wait(7), Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_hint_is_a_number_of_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let date = |seconds| httpdate::fmt_http_date(now + Duration::from_secs(seconds));
        assert_eq!(retry_after(" 7 ", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(&date(9), now), Some(Duration::from_secs(9)));
        let later = now + Duration::from_secs(60);
        assert_eq!(retry_after(&date(9), later), Some(Duration::ZERO), "it is over");
        assert_eq!(retry_after("soon", now), None);
    }
}
