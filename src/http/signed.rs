//! Signed URLs over HTTP: making them, and serving who comes with one.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body as HttpBody;
use axum::extract::{Request, State};
use axum::http::{Method, Response, StatusCode};
use axum::response::{IntoResponse, Json};
use serde::{Deserialize, Serialize};

use super::extract::{NoQuery, StrictJson, decode_key};
use super::headers::content_type_of;
use super::problem::{Code, Problem};
use super::signing::{Grant, MAX_EXPIRY, Pins, SignedMethod};
use super::state::AppState;
use super::{objects, render, transfer};
use crate::model::{Digest, Key};
use crate::vault::{PresignAction, is_c2pa};

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
    via: Option<Via>,
}

/// Whom a signed URL leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Via {
    /// Us: every promise of the API holds.
    Service,
    /// The backend itself, past us: the bytes at rest, in the form in which they are kept.
    Backend,
}

/// A signed URL and how to use it.
#[derive(Debug, Serialize)]
pub struct SignedUrl {
    url: String,
    method: SignedMethod,
    /// Headers that the request must carry.
    headers: BTreeMap<String, String>,
    expires_at: String,
    via: Via,
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
    let (method, asked) = (request.method, request.via);
    let pins = request.pins()?;
    let lifetime = Duration::from_secs(lifetime);
    let url = match via(&state, &key, method, &pins, asked)? {
        Via::Service => by_service(&state, &key, Grant { method, expires: 0, pins }, lifetime),
        Via::Backend => match by_backend(&state, &key, method, pins.clone(), lifetime).await {
            // Of this proof it cannot be the backend's, and nobody insists: a sealed one is ours.
            Err(problem) if asked.is_none() && problem.code() == Code::Unsupported => {
                by_service(&state, &key, Grant { method, expires: 0, pins }, lifetime)
            }
            url => url?,
        },
    };
    Ok((StatusCode::CREATED, Json(url)))
}

/// Where nobody says: the backend, unless a URL of its own would break a promise, or is for a C2PA
/// reader, which stumbles over the `&` in its query.
fn via(
    state: &AppState,
    key: &Key,
    method: SignedMethod,
    pins: &Pins,
    asked: Option<Via>,
) -> Result<Via, Problem> {
    let possible = state.vault.check_presign(method == SignedMethod::Put);
    let pinned = pins.max_bytes.is_some() || pins.sha256.is_some();
    match asked {
        Some(Via::Backend) if pinned => Err(Problem::invalid(
            "via: max_bytes and sha256 can only be held to by the service: leave them out, or use \
             via: service",
        )),
        Some(Via::Backend) => Ok(possible.map(|()| Via::Backend)?),
        Some(Via::Service) => Ok(Via::Service),
        None if possible.is_err() || pinned || is_c2pa(&content_type_of(key)) => Ok(Via::Service),
        None => Ok(Via::Backend),
    }
}

fn by_service(state: &AppState, key: &Key, grant: Grant, lifetime: Duration) -> SignedUrl {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let grant = Grant { expires: now.as_secs() + lifetime.as_secs(), ..grant };
    let content_type = grant.pins.content_type.iter();
    let headers = content_type.map(|value| ("Content-Type".to_owned(), value.clone())).collect();
    let token = state.signer.sign(key, &grant);
    let path = render::path_of(key.as_str());
    SignedUrl {
        url: format!("{}{ROUTE}{token}/{path}", state.settings.public_url),
        method: grant.method,
        headers,
        expires_at: render::timestamp(UNIX_EPOCH + Duration::from_secs(grant.expires)),
        via: Via::Service,
    }
}

async fn by_backend(
    state: &AppState,
    key: &Key,
    method: SignedMethod,
    pins: Pins,
    lifetime: Duration,
) -> Result<SignedUrl, Problem> {
    let action = match method {
        SignedMethod::Get => PresignAction::Get,
        SignedMethod::Head => PresignAction::Head,
        SignedMethod::Put => PresignAction::Put {
            content_type: pins.content_type.unwrap_or_else(|| content_type_of(key)),
        },
    };
    let signed = state.vault.presign(key, action, lifetime).await?;
    Ok(SignedUrl {
        url: signed.url,
        method,
        headers: signed.headers.into_iter().collect(),
        expires_at: render::timestamp(signed.expires_at),
        via: Via::Backend,
    })
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
