//! Signed URLs over HTTP: making them, and serving who comes with one.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::body::Body as HttpBody;
use axum::http::{Method, Response, StatusCode};
use axum::response::{IntoResponse, Json};
use serde::{Deserialize, Serialize};

use super::extract::{decode_key, no_query, strict_json};
use super::gate::{Call, Demand, Granted, Need, Pass, Who};
use super::headers::content_type_of;
use super::problem::{Code, Problem};
use super::signing::{Grant, MAX_EXPIRY, Pins, SignedMethod};
use super::state::AppState;
use super::{objects, render, retention, transfer};
use crate::access::Caller;
use crate::audit::Action;
use crate::model::{Digest, Key, Scope};
use crate::telemetry::Denial;
use crate::vault::{PresignAction, is_c2pa};

const DEFAULT_EXPIRY: u64 = 3600;
pub const ROUTE: &str = "/v1/signed/";

/// Body of `POST /v1/signed-urls`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignRequest {
    key: String,
    method: SignedMethod,
    expires_in: Option<u64>,
    max_bytes: Option<u64>,
    length: Option<u64>,
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

/// A URL to be signed: for no more than the caller may do itself.
pub struct Sign {
    key: Key,
    request: SignRequest,
}

impl Demand for Sign {
    const WHO: Who = Who::Caller;
    const SCOPES: &'static [Scope] = &[Scope::Sign];
    const ACTION: Option<Action> = Some(Action::Sign);

    async fn read(mut call: Call<'_>) -> Result<Self, Problem> {
        no_query(&call.head.uri)?;
        let request: SignRequest = strict_json(&mut call).await?;
        let key = transfer::field_key(call.namespace, "key", &request.key)?;
        Ok(Self { key, request })
    }

    fn needs(&self) -> Vec<Need<'_>> {
        needs_of(&self.key, self.request.method)
    }
}

/// What it takes to sign a URL, and still takes when it is used.
fn needs_of(key: &Key, method: SignedMethod) -> Vec<Need<'_>> {
    let scope = match method {
        SignedMethod::Get | SignedMethod::Head => Scope::Read,
        SignedMethod::Put => Scope::Write,
    };
    vec![Need::Key(Scope::Sign, key), Need::Key(scope, key)]
}

/// `POST /v1/signed-urls`
pub async fn sign(granted: Granted<Sign>) -> Result<impl IntoResponse, Problem> {
    let Granted { pass, what: Sign { key, request }, .. } = granted;
    let lifetime = request.expires_in.unwrap_or(DEFAULT_EXPIRY);
    if !(1..=MAX_EXPIRY.as_secs()).contains(&lifetime) {
        return Err(Problem::invalid(format!(
            "expires_in: {lifetime} is not a number of seconds from 1 to {}",
            MAX_EXPIRY.as_secs()
        )));
    }
    let (method, asked) = (request.method, request.via);
    let pins = request.pins()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // No URL outlives the right that it was signed by.
    let end = pass.caller().expires.unwrap_or(u64::MAX);
    let expires = (now + lifetime).min(end);
    let ours = |pins| {
        let issuer = pass.caller().issuer;
        by_service(&pass, &key, &Grant { method, expires, issuer, pins })
    };
    let url = match via(&pass, &key, method, &pins, asked)? {
        Via::Service => ours(pins),
        Via::Backend => {
            let lifetime = Duration::from_secs(expires.saturating_sub(now).max(1));
            match by_backend(&pass, &key, method, pins.clone(), lifetime).await {
                // Of this proof it cannot be the backend's, and nobody insists: a sealed one is ours.
                Err(problem) if asked.is_none() && problem.code() == Code::Unsupported => {
                    ours(pins)
                }
                url => url?,
            }
        }
    };
    pass.note(|facts| {
        facts.with("method", url.method.as_str());
        facts.with("expires", url.expires_at.as_str());
        facts.with("via", if url.via == Via::Service { "service" } else { "backend" });
    });
    Ok((StatusCode::CREATED, Json(url)))
}

/// Where nobody says: the backend, unless a URL of its own would break a promise, or is for a C2PA
/// reader, which stumbles over the `&` in its query. Where callers have rights, the service: only
/// its own URLs end when the right does.
fn via(
    pass: &Pass,
    key: &Key,
    method: SignedMethod,
    pins: &Pins,
    asked: Option<Via>,
) -> Result<Via, Problem> {
    let possible = pass.vault().check_presign(method == SignedMethod::Put);
    let pinned = pins.max_bytes.is_some() || pins.length.is_some() || pins.sha256.is_some();
    match asked {
        Some(Via::Backend) if !pass.settings.backend_urls => {
            let detail = "via: a URL of the backend's own outlives the right that it is asked for with, so \
                          there are none here: leave it out, or set STORAGE_BACKEND_URLS=on";
            Err(Problem::new(Code::Unsupported, detail))
        }
        Some(Via::Backend) if pinned => Err(Problem::invalid(
            "via: max_bytes, length and sha256 can only be held to by the service: leave them out, \
             or use via: service",
        )),
        Some(Via::Backend) => Ok(possible.map(|()| Via::Backend)?),
        Some(Via::Service) => Ok(Via::Service),
        None if pass.authority.asks() || !pass.settings.backend_urls => Ok(Via::Service),
        None if possible.is_err() || pinned || is_c2pa(&content_type_of(key)) => Ok(Via::Service),
        None => Ok(Via::Backend),
    }
}

fn by_service(state: &AppState, key: &Key, grant: &Grant) -> SignedUrl {
    let content_type = grant.pins.content_type.iter();
    let headers = content_type.map(|value| ("Content-Type".to_owned(), value.clone())).collect();
    let token = state.signer.sign(key, grant);
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
    pass: &Pass,
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
    let signed = pass.vault().presign(key, action, lifetime).await?;
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
        let pinned = self.max_bytes.is_some()
            || self.length.is_some()
            || self.content_type.is_some()
            || self.sha256.is_some();
        if pinned && self.method != SignedMethod::Put {
            let detail = "max_bytes, length, content_type and sha256 only have a meaning for PUT";
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
        Ok(Pins {
            max_bytes: self.max_bytes,
            length: self.length,
            content_type: self.content_type,
            sha256,
        })
    }
}

/// A call with a signed URL, as whoever signed it.
pub struct UseSigned {
    key: Key,
    grant: Grant,
    signer: Caller,
    replaces: bool,
}

impl Demand for UseSigned {
    const WHO: Who = Who::Bearer;
    const SCOPES: &'static [Scope] = &[];
    const ACTION: Option<Action> = Some(Action::Store);

    async fn read(call: Call<'_>) -> Result<Self, Problem> {
        let (state, head) = (call.state, call.head);
        // What is not signed would be obeyed or passed over: neither.
        no_query(&head.uri)?;
        let rest = head.uri.path().strip_prefix(ROUTE).unwrap_or_default();
        let (token, name) = rest.split_once('/').unwrap_or((rest, ""));
        let key = decode_key(call.namespace, name)?;
        let refused = |detail: String| {
            state.metrics.denied(Denial::Signature);
            Problem::new(Code::AccessDenied, detail)
        };
        let now = SystemTime::now();
        let verified = state.signer.verify(&key, token, now);
        let grant = verified.map_err(|error| refused(error.to_string()))?;
        if head.method.as_str() != grant.method.as_str() {
            return Err(refused(format!("this URL was signed for {}", grant.method.as_str())));
        }
        let signer = state.authority.issuer(grant.issuer, now).map_err(|_| {
            refused("whoever signed this URL has no right any more: ask for a new one".to_owned())
        })?;
        Ok(Self { key, grant, signer, replaces: objects::replaces(&call) })
    }

    fn needs(&self) -> Vec<Need<'_>> {
        let mut needs = needs_of(&self.key, self.grant.method);
        let replaces = self.replaces && self.grant.method == SignedMethod::Put;
        needs.extend(replaces.then_some(Need::Key(Scope::Delete, &self.key)));
        needs
    }

    fn gives_out(&self) -> Option<&Key> {
        Some(&self.key)
    }

    fn signer(&self) -> Option<&Caller> {
        Some(&self.signer)
    }
}

/// `GET`, `HEAD` and `PUT /v1/signed/{token}/{key}`
pub async fn serve(granted: Granted<UseSigned>) -> Result<Response<HttpBody>, Problem> {
    let Granted { pass, what: UseSigned { key, grant, .. }, head, body } = granted;
    if head.method == Method::PUT {
        retention::refuse_with_url(&head.headers)?;
        let stored = objects::store(&pass, &key, &head.headers, body, &grant.pins).await;
        stored.map_err(|problem| retention::told(&pass, problem))
    } else {
        objects::retrieve(&pass, &key, &head.method, &head.headers).await
    }
}
