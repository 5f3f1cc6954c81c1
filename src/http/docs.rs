//! The API's description, and a page to try it. Both are part of the binary.

use std::sync::LazyLock;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::IntoResponse;

use super::gate::Granted;
use super::health::Open;
use crate::model::Digest;

const SPEC: &str = include_str!("../../openapi.yaml");
const PAGE: &str = include_str!("docs.html");

/// Everything the page needs is in the page; it talks to this service only. Its one script and its
/// one style are named by their hashes, so nothing else on the page can run.
static PAGE_POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        digest_of_element("script"),
        digest_of_element("style"),
    )
});

/// Hash of an inline element's text (CSP Level 3 §2.3.1).
fn digest_of_element(name: &str) -> String {
    let text = PAGE.split_once(&format!("<{name}>")).map_or("", |(_, rest)| rest);
    let text = text.split_once(&format!("</{name}>")).map_or("", |(text, _)| text);
    Digest::of(text.as_bytes()).to_base64()
}

/// `GET /openapi.yaml`
pub async fn openapi(_: Granted<Open>) -> impl IntoResponse {
    (typed("application/yaml"), SPEC)
}

/// `GET /docs`
pub async fn page(_: Granted<Open>) -> impl IntoResponse {
    let policy = [(header::CONTENT_SECURITY_POLICY, PAGE_POLICY.as_str())];
    (typed("text/html; charset=utf-8"), policy, PAGE)
}

fn typed(content_type: &'static str) -> [(HeaderName, HeaderValue); 2] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ]
}

/// `GET /`: a person with a browser looks for the page.
pub async fn root(_: Granted<Open>) -> axum::response::Redirect {
    axum::response::Redirect::to("/docs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_has_one_script_and_one_style_and_the_policy_names_them() {
        let empty = Digest::of(b"").to_base64();
        for name in ["script", "style"] {
            assert_eq!(PAGE.matches(&format!("<{name}")).count(), 1);
            let digest = digest_of_element(name);
            assert_ne!(digest, empty);
            assert!(PAGE_POLICY.contains(&format!("{name}-src 'sha256-{digest}'")));
        }
        assert!(!PAGE_POLICY.contains("unsafe"));
        assert!(!PAGE.contains(" style=") && !PAGE.contains(" onclick="), "no hash covers these");
    }
}
