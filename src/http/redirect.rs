//! Downloads that do not pass through the service: 307 to a URL that the backend has signed.
//!
//! Only for keys that the configuration names, only where the backend would send exactly the form
//! that this client would get from us, and never for C2PA manifest stores, whose readers lose
//! redirects. Whatever is not sent on is answered here, as ever. Bytes that go past us are not
//! compared with their digest.

use std::time::{Duration, SystemTime};

use axum::body::Body as HttpBody;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::conditional::{self, Verdict};
use super::gate::Pass;
use super::headers::content_type_of;
use super::problem::Problem;
use super::render;
use crate::model::{Encoding, Encryption, Key};
use crate::vault::{PresignAction, is_c2pa};

/// For how long the URL works: a client follows it at once.
const LIFETIME: Duration = Duration::from_secs(300);

/// With less than this left of the backend's credentials the client might come too late.
const SHORTEST: Duration = Duration::from_secs(30);

/// The redirect, or `None` where the service has to answer itself.
///
/// # Errors
/// As any read: `NOT_FOUND`, or a failure.
pub async fn elsewhere(
    pass: &Pass,
    key: &Key,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Option<Response<HttpBody>>, Problem> {
    let chosen = pass.settings.redirect_downloads.iter().any(|p| key.as_str().starts_with(p));
    if !chosen || is_c2pa(&content_type_of(key)) || pass.vault().check_presign(false).is_err() {
        return Ok(None);
    }
    let meta = pass.vault().head(key).await?;
    let form = render::negotiate(headers, &meta);
    let kept = meta.attributes.encoding;
    // A range is one of the identity form, and the backend would cut the bytes that it keeps.
    let ranged = headers.contains_key(header::RANGE) && kept != Encoding::Identity;
    let proceed = conditional::evaluate(headers, &meta, form) == Verdict::Proceed;
    // Sealed bytes are of no use to anybody but us.
    let sealed = meta.attributes.encryption == Encryption::Envelope;
    if sealed || is_c2pa(&meta.attributes.content_type) || form != kept || ranged || !proceed {
        return Ok(None);
    }
    // A signature holds for one method.
    let action = if method == Method::HEAD { PresignAction::Head } else { PresignAction::Get };
    // Credentials may be at their end, or not to be had just now: the bytes can be all the same.
    let Ok(signed) = pass.vault().presign(key, action, LIFETIME).await else { return Ok(None) };
    let left = signed.expires_at.duration_since(SystemTime::now()).unwrap_or_default();
    let Ok(location) = HeaderValue::from_str(&signed.url) else { return Ok(None) };
    if left < SHORTEST || !signed.headers.is_empty() {
        return Ok(None);
    }
    let mut response = Response::new(HttpBody::empty());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    let answer = response.headers_mut();
    answer.insert(header::LOCATION, location);
    // The URL is a right, and dies soon.
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    answer.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    answer.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    Ok(Some(response))
}
