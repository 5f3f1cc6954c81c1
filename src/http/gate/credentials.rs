//! What a request's headers say about who is calling.

use std::time::SystemTime;

use axum::http::{HeaderMap, HeaderValue, header};

use super::super::problem::{Code, Problem};
use super::super::state::AppState;
use crate::access::Caller;
use crate::telemetry::Denial;

/// Who is calling; `None` where the request does not say.
///
/// # Errors
/// 401 where what it says is not true.
pub async fn caller(
    state: &AppState,
    headers: &HeaderMap,
    now: SystemTime,
) -> Result<Option<Caller>, Problem> {
    if !state.authority.asks() {
        return Ok(Some(Caller::anyone()));
    }
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let bearer = match (fields.next(), fields.next()) {
        (None, _) => return Ok(None),
        (Some(field), None) => bearer(field),
        (Some(_), Some(_)) => None,
    };
    let Some(bearer) = bearer else {
        return Err(invalid(state, "send one Authorization header: Bearer and a token".to_owned()));
    };
    match state.authority.authenticate(bearer, now).await {
        Ok(caller) => Ok(Some(caller)),
        Err(refused) => Err(invalid(state, refused.to_string())),
    }
}

/// The token of the only scheme that is taken (RFC 6750).
fn bearer(field: &HeaderValue) -> Option<&str> {
    let (scheme, token) = field.to_str().ok()?.split_once(' ')?;
    let token = token.trim_matches(' ');
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    let fine =
        scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.bytes().all(fits);
    fine.then_some(token)
}

/// A signed URL is a credential of its own: with two, one of them would be passed over unseen.
///
/// # Errors
/// 400 where there is a header too.
pub fn refuse_header(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(header::AUTHORIZATION) {
        let detail = "Authorization: a signed URL takes no other credential: leave the header out";
        return Err(Problem::invalid(detail));
    }
    Ok(())
}

/// 401 to whoever did not say who they are.
pub fn missing(state: &AppState) -> Problem {
    let detail = "say who you are: send Authorization: Bearer and a token";
    refusal(state, detail.to_owned(), "Bearer realm=\"proof-storage\"")
}

fn invalid(state: &AppState, detail: String) -> Problem {
    refusal(state, detail, "Bearer realm=\"proof-storage\", error=\"invalid_token\"")
}

fn refusal(state: &AppState, detail: String, challenge: &'static str) -> Problem {
    state.metrics.denied(Denial::Unauthenticated);
    Problem::new(Code::Unauthenticated, detail)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}
