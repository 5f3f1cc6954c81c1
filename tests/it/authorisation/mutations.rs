//! Signed URLs, changed in every way that comes to mind: none is let through.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::percent_decode_str;
use proof_storage::access::{ApiToken, Issuer};
use proof_storage::backend::memory::Memory;
use proof_storage::config::{AuthConfig, AuthMode, Config, TokenEntry};
use proof_storage::http::{Grant, Pins, SignedMethod};
use proof_storage::model::{Digest, KeyPrefix, Rights};

use super::cells::{in_an_hour, issuer, sign};
use crate::http::client::{Answer, Client};

const FEWEST: usize = 2_000;
const BODY: &str = "stored";

/// A service, and who may do everything in it.
async fn service() -> (Client, ApiToken) {
    let token = ApiToken::make().unwrap();
    let entry = TokenEntry {
        name: "root".into(),
        sha256: token.sha256(),
        rights: Rights::all(),
        expires: None,
    };
    let auth = AuthConfig {
        mode: AuthMode::Required,
        tokens: vec![entry],
        public_read: vec![KeyPrefix::parse("public/").unwrap()],
        ..Config::default().auth
    };
    let config = Config { auth, ..Config::default() };
    let client = Client::over(Arc::new(Memory::new()), config).await;
    let bearer = format!("Bearer {}", token.expose());
    for key in ["a/1", "a/2", "public/1"] {
        let headers = [("authorization", bearer.as_str()), ("content-type", "text/plain")];
        let answer = client.call("PUT", &format!("/v1/proofs/{key}"), &headers, BODY).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    (client, token)
}

fn grants(token: &ApiToken) -> Vec<(&'static str, Grant)> {
    let pins = Pins {
        max_bytes: Some(100),
        length: Some(BODY.len() as u64),
        content_type: Some("text/plain".to_owned()),
        sha256: Some(Digest::of(BODY.as_bytes())),
    };
    let grant = |method, pins| Grant { method, expires: in_an_hour(), issuer: issuer(token), pins };
    vec![
        ("a/1", grant(SignedMethod::Get, Pins::default())),
        ("a/2", grant(SignedMethod::Get, Pins::default())),
        ("a/1", grant(SignedMethod::Put, pins)),
        ("a/1", grant(SignedMethod::Put, Pins::default())),
        ("a/1", grant(SignedMethod::Head, Pins::default())),
    ]
}

async fn call(client: &Client, method: &str, path: &str) -> Answer {
    let body = if method == "PUT" { BODY } else { "" };
    client.call(method, path, &[("content-type", "text/plain")], body).await
}

/// The token's text and the key of a path, the key as the service understands it.
fn understood(path: &str) -> Option<(String, Vec<u8>)> {
    let rest = path.strip_prefix("/v1/signed/")?;
    let (token, key) = rest.split_once('/')?;
    Some((token.to_owned(), percent_decode_str(key).collect()))
}

/// Status and code.
type Refusal = (u16, &'static str);

/// A URL that is not genuine, and one of another method, key or token.
const DENIED: Refusal = (403, "ACCESS_DENIED");
/// A path that cannot be a key: told before any signature is looked at, whoever asks.
const NO_KEY: Refusal = (400, "INVALID_KEY");
/// A query, which no signed URL has: told first of all, so that none is passed over.
const QUERY: Refusal = (400, "INVALID_REQUEST");

/// Other keys, and what is to be answered where a URL is used for them.
const KEYS: [(&str, Refusal); 10] = [
    ("a/2", DENIED),
    ("a/1/", NO_KEY),
    ("a//1", NO_KEY),
    ("a/1%00", NO_KEY),
    ("a/./1", NO_KEY),
    ("a/../a/1", NO_KEY),
    ("A/1", DENIED),
    ("a", DENIED),
    ("a/1x", DENIED),
    ("public/1", DENIED),
];

/// Every changed form of a URL, as method and path, and what is to be answered.
fn mutations(method: &'static str, url: &str, other: &str) -> Vec<(&'static str, String, Refusal)> {
    let (token, key) = url.strip_prefix("/v1/signed/").unwrap().split_once('/').unwrap();
    let (other_token, _) = other.strip_prefix("/v1/signed/").unwrap().split_once('/').unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
    let other_bytes = URL_SAFE_NO_PAD.decode(other_token).unwrap();
    let (payload, tag) = bytes.split_at(bytes.len() - 32);
    let (other_payload, other_tag) = other_bytes.split_at(other_bytes.len() - 32);
    let mut tokens: Vec<Vec<u8>> = Vec::new();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            tokens.push(changed);
        }
        // A byte dropped, doubled, and everything from here on dropped.
        tokens.push([&bytes[..at], &bytes[at + 1..]].concat());
        tokens.push([&bytes[..=at], &bytes[at..]].concat());
        tokens.push(bytes[..at].to_vec());
        // Two neighbours exchanged.
        if at + 1 < bytes.len() && bytes[at] != bytes[at + 1] {
            let mut changed = bytes.clone();
            changed.swap(at, at + 1);
            tokens.push(changed);
        }
    }
    // Whole fields dropped, doubled, exchanged with those of another URL.
    let bounds = [0, 1, 2, 10, 11, 27, 28, payload.len()];
    for from in 0..bounds.len() - 1 {
        let (start, end) = (bounds[from], bounds[from + 1]);
        tokens.push([&payload[..start], &payload[end..], tag].concat());
        tokens.push([&payload[..end], &payload[start..], tag].concat());
        if let Some(field) = other_payload.get(start..end)
            && *field != payload[start..end]
        {
            tokens.push([&payload[..start], field, &payload[end..], tag].concat());
        }
    }
    tokens.push([payload, other_tag].concat());
    tokens.push([other_payload, tag].concat());
    tokens.push([payload, tag, tag].concat());
    tokens.push([payload, payload, tag].concat());
    tokens.push([payload, &[0; 32]].concat());
    let mut paths: Vec<_> = tokens
        .iter()
        .map(|token| (format!("/v1/signed/{}/{key}", URL_SAFE_NO_PAD.encode(token)), DENIED))
        .collect();
    // The text itself: each character another, and forms of it that decode alike.
    for at in 0..token.len() {
        for letter in ["A", "_", "%41", "=", "+"] {
            let changed = format!("{}{letter}{}", &token[..at], &token[at + 1..]);
            paths.push((format!("/v1/signed/{changed}/{key}"), DENIED));
        }
    }
    paths.push((format!("/v1/signed/{token}=/{key}"), DENIED));
    paths.push((format!("/v1/signed/{token}%00/{key}"), DENIED));
    paths.push((format!("/v1/signed//{token}/{key}"), DENIED));
    paths.extend(KEYS.map(|(key, refusal)| (format!("/v1/signed/{token}/{key}"), refusal)));
    for more in ["?", "?expires=9999999999", "?a", "?key=a/2", "?method=PUT", "?%00", "?a=1&a=1"] {
        paths.push((format!("{url}{more}"), QUERY));
    }
    let genuine = understood(url);
    let mut all: Vec<_> = paths
        .into_iter()
        // `?` alone is no query, and a key that decodes to the same is the same.
        .filter(|(path, _)| {
            !path.ends_with('?') && (path.contains('?') || understood(path) != genuine)
        })
        .map(|(path, refusal)| (method, path, refusal))
        .collect();
    let others = ["GET", "HEAD", "PUT"].into_iter().filter(|other| *other != method);
    all.extend(others.map(|other| (other, url.to_owned(), DENIED)));
    all
}

#[tokio::test]
async fn no_changed_url_is_let_through() {
    let (client, token) = service().await;
    let grants = grants(&token);
    let urls: Vec<_> = grants.iter().map(|(key, grant)| sign(key, grant)).collect();
    let (mut tried, mut denied, mut wrong) = (0, 0, Vec::new());
    for (index, (_, grant)) in grants.iter().enumerate() {
        let (method, url) = (grant.method.as_str(), &urls[index]);
        assert!(call(&client, method, url).await.status.is_success(), "unchanged it works: {url}");
        let other = &urls[(index + 1) % urls.len()];
        for (method, path, refusal) in mutations(method, url, other) {
            let answer = call(&client, method, &path).await;
            tried += 1;
            denied += usize::from(refusal == DENIED);
            // Of a HEAD only the status is told.
            let (status, code) = refusal;
            if answer.status != status || method != "HEAD" && answer.problem() != code {
                wrong.push(format!("{method} {path}: {}, not {code}", answer.status));
            }
        }
        assert!(call(&client, method, url).await.status.is_success(), "and still does");
    }
    assert!(wrong.is_empty(), "{} of {tried}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(denied >= FEWEST && tried - denied < 100, "{denied} of {tried}");
    crate::tell(&format!("counted: {tried} changed signed URLs, 0 let through, {denied} denied"));
}

/// Negative control: what is changed and signed anew is let through, so that one that was let
/// through wrongly would be seen.
#[tokio::test]
async fn a_change_that_is_signed_is_let_through() {
    let (client, token) = service().await;
    let grant = grants(&token).remove(0).1;
    for key in ["a/1", "a/2"] {
        for expires in [grant.expires + 1, grant.expires + 1000] {
            let url = sign(key, &Grant { expires, ..grant.clone() });
            assert!(call(&client, "GET", &url).await.status.is_success());
        }
    }
    crate::tell("control: 4 URLs that were changed and signed anew are let through");
    // And one that is signed, over, or of nobody, is not.
    for grant in [
        Grant { expires: 1, ..grant.clone() },
        Grant { issuer: Issuer::Anyone, ..grant.clone() },
        Grant { issuer: Issuer::Token([0; 16]), ..grant.clone() },
        Grant { issuer: Issuer::Jwt([0; 16], Rights::all().scopes), ..grant },
    ] {
        call(&client, "GET", &sign("a/1", &grant)).await.is_problem(403, "ACCESS_DENIED", "URL");
    }
}

#[tokio::test]
async fn a_signed_url_takes_no_other_credential_and_is_kept_by_no_cache() {
    let (client, token) = service().await;
    let grant = grants(&token).remove(0).1;
    let url = sign("a/1", &grant);
    for header in [format!("Bearer {}", token.expose()), "Basic eDp5".to_owned(), String::new()] {
        let answer = client.call("GET", &url, &[("authorization", &header)], "").await;
        answer.is_problem(400, "INVALID_REQUEST", "Authorization");
    }
    let cache_control = async |path: &str| {
        let answer = call(&client, "GET", path).await;
        assert_eq!(answer.status, 200);
        answer.header("cache-control").map(str::to_owned)
    };
    assert_eq!(cache_control(&url).await.as_deref(), Some("private, no-store"));
    assert_eq!(cache_control(&sign("public/1", &grant)).await, None);
    assert_eq!(cache_control("/v1/proofs/public/1").await, None);
}

#[tokio::test]
async fn a_url_is_for_no_longer_than_the_token() {
    let (client, token) = service().await;
    let bearer = format!("Bearer {}", token.expose());
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let body = r#"{"key":"a/1","method":"PUT","length":6}"#;
    let answer = client.call("POST", "/v1/signed-urls", &headers, body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.json()["via"], "service");
    let url = answer.json()["url"].as_str().unwrap().split_once("/v1/").unwrap().1.to_owned();
    let url = format!("/v1/{url}");
    let text = [("content-type", "text/plain")];
    client.call("PUT", &url, &text, "short").await.is_problem(400, "INVALID_REQUEST", "6 bytes");
    client.call("PUT", &url, &text, "longer!").await.is_problem(413, "TOO_LARGE", "6");
    assert_eq!(client.call("PUT", &url, &text, BODY).await.status, 200);
    // To replace takes the right to delete, which this one has.
    let replace = [("content-type", "text/plain"), ("if-match", "\"0\"")];
    client.call("PUT", &url, &replace, "other!").await.is_problem(412, "PRECONDITION_FAILED", "");
}
