//! Signed URLs over HTTP: making them, and serving who comes with one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body as HttpBody;
use axum::extract::{Request, State};
use axum::http::{Method, Response, StatusCode};
use axum::response::{IntoResponse, Json};
use serde::{Deserialize, Serialize};

use super::extract::{NoQuery, StrictJson, decode_key};
use super::problem::{Code, Problem};
use super::signing::{Grant, MAX_EXPIRY, Pins, SignedMethod};
use super::state::AppState;
use super::{objects, render, transfer};
use crate::model::Digest;

const DEFAULT_EXPIRY: u64 = 3600;
const ROUTE: &str = "/v1/signed/";

/// Body of `POST /v1/signed-urls`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignRequest {
    key: String,
    method: SignedMethod,
    expires_in: Option<u64>,
    max_bytes: Option<u64>,
    content_type: Option<String>,
    sha256: Option<String>,
}

/// A signed URL and how to use it.
#[derive(Debug, Serialize)]
pub struct SignedUrl {
    url: String,
    method: &'static str,
    /// Headers that the request must carry.
    headers: std::collections::BTreeMap<&'static str, String>,
    expires_at: String,
}

/// `POST /v1/signed-urls`
pub async fn sign(
    State(state): State<AppState>,
    _: NoQuery,
    StrictJson(request): StrictJson<SignRequest>,
) -> Result<impl IntoResponse, Problem> {
    let key = transfer::field_key(&state, "key", &request.key)?;
    let lifetime = request.expires_in.unwrap_or(DEFAULT_EXPIRY);
    if !(1..=MAX_EXPIRY.as_secs()).contains(&lifetime) {
        return Err(Problem::invalid(format!(
            "expires_in: {lifetime} is not a number of seconds from 1 to {}",
            MAX_EXPIRY.as_secs()
        )));
    }
    let method = request.method;
    let pins = request.pins()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let expires = now.as_secs() + lifetime;
    let headers = pins.content_type.iter().map(|value| ("Content-Type", value.clone())).collect();
    let token = state.signer.sign(&key, &Grant { method, expires, pins });
    let path = render::path_of(key.as_str());
    let url = SignedUrl {
        url: format!("{}{ROUTE}{token}/{path}", state.settings.public_url),
        method: method.as_str(),
        headers,
        expires_at: render::timestamp(UNIX_EPOCH + Duration::from_secs(expires)),
    };
    Ok((StatusCode::CREATED, Json(url)))
}

impl SignRequest {
    fn pins(self) -> Result<Pins, Problem> {
        let pinned =
            self.max_bytes.is_some() || self.content_type.is_some() || self.sha256.is_some();
        if pinned && self.method != SignedMethod::Put {
            let detail = "max_bytes, content_type and sha256 only have a meaning for PUT";
            return Err(Problem::invalid(detail));
        }
        let sha256 = self
            .sha256
            .map(|text| Digest::from_hex(&text))
            .transpose()
            .map_err(|_| Problem::invalid("sha256: send 64 hexadecimal digits"))?;
        let printable = |text: &String| {
            (1..=255).contains(&text.len()) && text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        };
        if self.content_type.as_ref().is_some_and(|text| !printable(text) || !text.contains('/')) {
            return Err(Problem::invalid("content_type: not a media type"));
        }
        Ok(Pins { max_bytes: self.max_bytes, content_type: self.content_type, sha256 })
    }
}

/// `GET`, `HEAD` and `PUT /v1/signed/{token}/{key}`
pub async fn serve(
    State(state): State<AppState>,
    request: Request,
) -> Result<Response<HttpBody>, Problem> {
    let (parts, body) = request.into_parts();
    let rest = parts.uri.path().strip_prefix(ROUTE).unwrap_or_default();
    let (token, name) = rest.split_once('/').unwrap_or((rest, ""));
    let key = decode_key(&state.vault, name)?;
    let grant = state
        .signer
        .verify(&key, token, SystemTime::now())
        .map_err(|error| Problem::new(Code::AccessDenied, error.to_string()))?;
    if parts.method.as_str() != grant.method.as_str() {
        let detail = format!("this URL was signed for {}", grant.method.as_str());
        return Err(Problem::new(Code::AccessDenied, detail));
    }
    if parts.method == Method::PUT {
        objects::store(&state, &key, &parts.headers, body, &grant.pins).await
    } else {
        objects::retrieve(&state, &key, &parts.method, &parts.headers).await
    }
}
