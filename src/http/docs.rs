//! The API's description, and a page to try it. Both are part of the binary.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::IntoResponse;

use super::extract::NoQuery;

const SPEC: &str = include_str!("../../openapi.yaml");
const PAGE: &str = include_str!("docs.html");

/// Everything the page needs is in the page; it talks to this service only.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; \
                           style-src 'unsafe-inline'; connect-src 'self'; img-src data: blob:; \
                           base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /openapi.yaml`
pub async fn openapi(_: NoQuery) -> impl IntoResponse {
    (typed("application/yaml"), SPEC)
}

/// `GET /docs`
pub async fn page(_: NoQuery) -> impl IntoResponse {
    let policy = [(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY))];
    (typed("text/html; charset=utf-8"), policy, PAGE)
}

fn typed(content_type: &'static str) -> [(HeaderName, HeaderValue); 2] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ]
}

/// `GET /`: a person with a browser looks for the page.
pub async fn root(_: NoQuery) -> axum::response::Redirect {
    axum::response::Redirect::to("/docs")
}
