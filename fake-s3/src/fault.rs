//! Faults on demand: what to do to the next requests that match, and how an answer is spoilt.
//!
//! A fault is spent by the gate, when the signature is already checked and the operation known. What
//! concerns the answer is left in a slot among the request's extensions, where the server finds it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;
use s3s::{Body, HttpResponse, S3Error};

use crate::bodies::Half;
use crate::error::error;

/// What happens to a request that a [`Fault`] matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is not executed and gets this error.
    Error {
        /// HTTP status.
        status: u16,
        /// S3's error code; an unknown one is allowed.
        code: String,
        /// Text for people.
        message: String,
        /// Seconds in `Retry-After`, where given.
        retry_after: Option<u64>,
    },
    /// It is executed after this time.
    Delay(Duration),
    /// The connection closes, and it was not executed.
    CloseBefore,
    /// It is executed, and the connection closes without an answer: the caller cannot know.
    CloseAfter,
    /// Half of the answer's body comes, then the connection closes.
    CutBody,
    /// Half of the answer's body comes, then nothing more, and the connection stays open.
    StallBody,
    /// One bit in the middle of the answer's body is wrong; its length and headers are right.
    FlipBit,
    /// It succeeds, and the answer names no ETag, neither as a header nor in its XML.
    NoETag,
    /// It is executed, and the answer has status 200 and an `<Error>` of this code as its body, which
    /// AWS does on Copy and Complete.
    ErrorIn200(String),
    /// It is executed, and answered with 500 `InternalError` all the same.
    InternalErrorAfter,
    /// Of a `DeleteObjects`, the keys that contain `part` stay and are answered with this code; the
    /// others are deleted.
    RefuseKeys {
        /// Part of the keys.
        part: String,
        /// S3's error code.
        code: String,
    },
    /// It is never executed and never answered.
    Hang,
}

impl Effect {
    /// An [`Effect::Error`] without `Retry-After`.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        let (code, message) = (code.to_owned(), message.to_owned());
        Self::Error { status, code, message, retry_after: None }
    }

    /// 503 `SlowDown` with `Retry-After: 1`.
    pub fn slow_down() -> Self {
        Self::Error {
            status: 503,
            code: "SlowDown".into(),
            message: "Please reduce your request rate.".into(),
            retry_after: Some(1),
        }
    }

    /// 429 `TooManyRequests`, as R2 has it.
    pub fn too_many_requests() -> Self {
        let message = "Reduce your concurrent request rate for the same object.";
        Self::error(429, "TooManyRequests", message)
    }

    /// 500 `InternalError`.
    pub fn internal_error() -> Self {
        Self::error(500, "InternalError", "We encountered an internal error. Please try again.")
    }

    /// 403 `AccessDenied`.
    pub fn access_denied() -> Self {
        Self::error(403, "AccessDenied", "Access Denied")
    }

    /// 403 `AccessDenied` that says "quota is reached", as Garage has it.
    pub fn quota_reached() -> Self {
        Self::error(403, "AccessDenied", "Forbidden: Bucket size quota is reached")
    }

    pub(crate) fn to_error(&self) -> Option<S3Error> {
        let Self::Error { status, code, message, retry_after } = self else { return None };
        let mut answer = error(*status, code, message.as_str());
        if let Some(seconds) = retry_after {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
            headers.insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
            answer.set_headers(headers);
        }
        Some(answer)
    }
}

/// What to do to the next requests that match. Faults are tried in the order in which they were given;
/// the first that matches is spent, and only that one takes effect.
///
/// ```
/// # use fake_s3::{Effect, Fault};
/// Fault::new(Effect::slow_down()).on("PutObject").key("a/").times(3);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    operation: Option<String>,
    key: Option<String>,
    passes: usize,
    times: usize,
    effect: Effect,
}

impl Fault {
    /// A fault for the next request, whatever it is.
    pub fn new(effect: Effect) -> Self {
        Self { operation: None, key: None, passes: 0, times: 1, effect }
    }

    /// Only for this operation, by S3's name for it: `PutObject`.
    #[must_use]
    pub fn on(self, operation: &str) -> Self {
        Self { operation: Some(operation.into()), ..self }
    }

    /// Only for keys that contain this. Operations without a key in their path, as `DeleteObjects`, are
    /// never matched by it.
    #[must_use]
    pub fn key(self, part: &str) -> Self {
        Self { key: Some(part.into()), ..self }
    }

    /// For so many requests. `usize::MAX` is for ever.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// Only after so many matching requests went through untouched.
    #[must_use]
    pub fn after(self, passes: usize) -> Self {
        Self { passes, ..self }
    }

    fn matches(&self, operation: &str, key: Option<&str>) -> bool {
        self.operation.as_deref().is_none_or(|wanted| wanted == operation)
            && self.key.as_deref().is_none_or(|part| key.is_some_and(|key| key.contains(part)))
    }
}

/// Faults that are still to come.
#[derive(Debug, Default)]
pub(crate) struct Script(Mutex<Vec<Fault>>);

impl Script {
    pub(crate) fn add(&self, fault: Fault) {
        if fault.times > 0 {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
        }
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn pending(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Spends the first fault that matches.
    pub(crate) fn take(&self, operation: &str, key: Option<&str>) -> Option<Effect> {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut spent = None;
        for (place, fault) in faults.iter_mut().enumerate() {
            if !fault.matches(operation, key) {
                continue;
            }
            if fault.passes > 0 {
                fault.passes -= 1;
                continue;
            }
            if fault.times != usize::MAX {
                fault.times -= 1;
            }
            spent = Some((place, fault.times == 0, fault.effect.clone()));
            break;
        }
        let (place, over, effect) = spent?;
        if over {
            faults.remove(place);
        }
        Some(effect)
    }
}

/// Where the gate leaves an effect for the server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slot(Arc<Mutex<Option<Effect>>>);

impl Slot {
    pub(crate) fn put(&self, effect: Effect) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(effect);
    }

    pub(crate) fn take(&self) -> Option<Effect> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The code with which a batch delete refuses this key, if it does.
    pub(crate) fn refusal_of(&self, key: &str) -> Option<String> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(Effect::RefuseKeys { part, code }) if key.contains(part) => Some(code.clone()),
            _ => None,
        }
    }
}

/// The answer with the fault in it; `None` closes the connection. Errors are left as they are.
pub(crate) async fn spoil(response: HttpResponse, effect: Effect) -> Option<HttpResponse> {
    if matches!(effect, Effect::CloseBefore | Effect::CloseAfter) {
        return None;
    }
    if !response.status().is_success() || matches!(effect, Effect::RefuseKeys { .. }) {
        return Some(response);
    }
    let (mut parts, body) = response.into_parts();
    let bytes = body.collect().await.ok()?.to_bytes();
    if bytes.is_empty() && effect == Effect::CutBody {
        return None;
    }
    let body = match effect {
        Effect::CutBody | Effect::StallBody => {
            Body::http_body(Half::of(&bytes, effect == Effect::CutBody))
        }
        Effect::FlipBit => {
            let mut bytes = bytes.to_vec();
            let middle = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 1;
            }
            Body::from(bytes)
        }
        Effect::NoETag => {
            parts.headers.remove(header::ETAG);
            let xml = parts.headers.get(header::CONTENT_TYPE);
            let xml = xml.is_some_and(|kind| kind == "application/xml");
            if xml { Body::from(without_etag(bytes)) } else { Body::from(bytes) }
        }
        Effect::ErrorIn200(code) => {
            parts.status = http::StatusCode::OK;
            parts.headers.remove(header::CONTENT_LENGTH);
            Body::from(error_text(&code))
        }
        Effect::InternalErrorAfter => {
            parts.status = http::StatusCode::INTERNAL_SERVER_ERROR;
            parts.headers.remove(header::CONTENT_LENGTH);
            Body::from(error_text("InternalError"))
        }
        _ => Body::from(bytes),
    };
    Some(HttpResponse::from_parts(parts, body))
}

fn error_text(code: &str) -> String {
    let message = "We encountered an internal error. Please try again.";
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code>\
         <Message>{message}</Message></Error>"
    )
}

fn without_etag(xml: Bytes) -> Bytes {
    let Ok(text) = std::str::from_utf8(&xml) else { return xml };
    let Some((before, rest)) = text.split_once("<ETag>") else { return xml };
    let Some((_, after)) = rest.split_once("</ETag>") else { return xml };
    Bytes::from(format!("{before}{after}"))
}
