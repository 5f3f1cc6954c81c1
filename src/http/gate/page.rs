//! Pages of others, open in the browser of somebody who reaches the service.
//!
//! A page needs nobody's leave to send a `POST` to another origin, only to read the answer. Where callers have to
//! say who they are that does nothing, as no browser says it by itself. Where anyone may do anything, as on a
//! developer's loopback, such a page could store proofs there.

use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, Uri, header};

use super::super::problem::{Code, Problem};
use super::super::state::AppState;

/// Refuses a change that another origin's page asks for.
///
/// # Errors
/// 403: a browser says that it is one (`Sec-Fetch-Site`, W3C Fetch Metadata §2.2; `Origin`, RFC 6454 §7).
pub fn refuse_foreign(state: &AppState, head: &Parts) -> Result<(), Problem> {
    let is_foreign = match (head.headers.get("sec-fetch-site"), head.headers.get(header::ORIGIN)) {
        (Some(site), _) => !matches!(site.as_bytes(), b"same-origin" | b"none"),
        (None, Some(origin)) => !is_ours(state, head, origin),
        (None, None) => false,
    };
    if !is_foreign {
        return Ok(());
    }
    let detail = "a page of another origin asks for this in a browser, and may only read here: send it from a \
                  program, or have callers say who they are (STORAGE_TOKENS_FILE)";
    Err(Problem::new(Code::AccessDenied, detail))
}

fn is_ours(state: &AppState, head: &Parts, origin: &HeaderValue) -> bool {
    let authority = |text: &str| text.parse::<Uri>().ok()?.into_parts().authority;
    let Some(origin) = origin.to_str().ok().and_then(authority) else { return false };
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let asked = head.uri.authority().map(Authority::as_str).or(host);
    asked.is_some_and(|asked| origin.as_str().eq_ignore_ascii_case(asked))
        || authority(&state.settings.public_url).is_some_and(|ours| ours == origin)
}
