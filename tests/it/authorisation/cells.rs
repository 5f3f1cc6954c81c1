//! Plays one cell: the request that a credential makes for a key.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proof_storage::access::{ApiToken, Issuer};
use proof_storage::config::{AuthConfig, AuthMode, Config, TokenEntry};
use proof_storage::http::{Grant, Pins, SignedMethod, Signer};
use proof_storage::model::{KeyPrefix, Namespace, Rights, Scope};
use serde_json::json;

use super::provider::{self, ProviderKey};
use super::rules::{self, CREDENTIALS, Call, RELATIONS};
use crate::http::client::{Answer, Client};

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passed the gate, whatever was answered then.
    Allowed,
    /// 401.
    Unknown,
    /// 403.
    Denied,
    /// 404, because that listener has no such call: see `settings`.
    Absent,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => ".",
            Self::Unknown => "401",
            Self::Denied => "403",
            Self::Absent => "404",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        let all = [Self::Allowed, Self::Unknown, Self::Denied, Self::Absent];
        all.into_iter().find(|verdict| verdict.as_str() == word)
    }

    pub fn of(answer: &Answer) -> Self {
        match answer.status.as_u16() {
            401 => {
                let challenge = answer.header("www-authenticate").unwrap();
                assert!(challenge.starts_with("Bearer "), "{challenge}");
                Self::Unknown
            }
            403 => Self::Denied,
            _ => Self::Allowed,
        }
    }
}

/// A token for each column, and one for the test itself.
pub struct Credentials {
    tokens: Vec<ApiToken>,
    root: ApiToken,
    /// Of each column that has one.
    jwts: Vec<Option<String>>,
    /// Where the provider's keys are.
    keys: tempfile::TempDir,
}

impl Credentials {
    pub fn make() -> Self {
        let token = || ApiToken::make().unwrap();
        let keys = tempfile::tempdir().unwrap();
        let (known, other) = (ProviderKey::es256("known"), ProviderKey::ed25519("other"));
        provider::publish(&keys.path().join("jwks"), &[&known, &other]);
        let strangers = [ProviderKey::es256("known"), ProviderKey::es256("unknown")];
        let columns = 0..CREDENTIALS.len();
        let jwts =
            columns.map(|column| rules::is_jwt(column).then(|| jwt(column, &known, &strangers)));
        let tokens = CREDENTIALS.iter().map(|_| token()).collect();
        Self { tokens, root: token(), jwts: jwts.collect(), keys }
    }

    /// The service's side of them.
    pub fn config(&self) -> AuthConfig {
        let mut tokens = Vec::new();
        for (column, token) in self.tokens.iter().enumerate() {
            let name = CREDENTIALS[column];
            if rules::is_jwt(column) {
                continue;
            }
            let expired = name == "expired";
            let Some(scopes) =
                rules::scopes(column).or(expired.then(|| vec!["read", "write", "sign"]))
            else {
                continue;
            };
            let prefixes = rules::prefixes(column).iter();
            let prefixes: Vec<_> = prefixes.map(|text| KeyPrefix::parse(text).unwrap()).collect();
            let scopes = scopes.into_iter().map(|word| Scope::parse(word).unwrap()).collect();
            tokens.push(TokenEntry {
                name: name.into(),
                sha256: token.sha256(),
                rights: Rights { scopes, prefixes: prefixes.into() },
                expires: expired.then_some(UNIX_EPOCH + Duration::from_secs(1)),
            });
        }
        let (name, sha256) = ("root".into(), self.root.sha256());
        tokens.push(TokenEntry { name, sha256, rights: Rights::all(), expires: None });
        let public_read = vec![KeyPrefix::parse("public/").unwrap()];
        let jwt = Some(provider::config(&self.keys.path().join("jwks")));
        AuthConfig { mode: AuthMode::Required, tokens, jwt, public_read, ..Config::default().auth }
    }

    /// Stores what is to exist, and deletes what is not.
    pub async fn fill(&self, client: &Client) {
        let root = format!("Bearer {}", self.root.expose());
        let headers = [("authorization", root.as_str()), ("content-type", "text/plain")];
        for relation in &RELATIONS {
            let path = format!("/v1/proofs/{}", encode(relation.key));
            let (method, body) = if relation.exists { ("PUT", "stored") } else { ("DELETE", "") };
            let mut answer = client.call(method, &path, &headers, body).await;
            if answer.status == 409 {
                client.call("DELETE", &path, &headers, "").await;
                answer = client.call(method, &path, &headers, body).await;
            }
            assert!(answer.status.is_success(), "{answer:?}");
        }
    }

    /// The header of a column.
    fn header(&self, column: usize) -> Option<String> {
        match CREDENTIALS[column] {
            "none" => None,
            "basic" => Some("Basic dXNlcjpwYXNzd29yZA==".to_owned()),
            _ => {
                let token = self.jwts[column].as_deref();
                let token = token.unwrap_or_else(|| self.tokens[column].expose());
                Some(format!("Bearer {token}"))
            }
        }
    }

    /// A URL that stands on the right of a column's bearer.
    pub fn signed(&self, column: usize, key: &str, method: SignedMethod) -> String {
        let issuer = match CREDENTIALS[column] {
            "none" | "basic" => Issuer::Anyone,
            _ => issuer(&self.tokens[column]),
        };
        let pins = Pins::default();
        sign(key, &Grant { method, expires: in_an_hour(), issuer, pins })
    }
}

/// What the provider, or somebody in its place, signed for a column.
fn jwt(column: usize, known: &ProviderKey, [forger, unknown]: &[ProviderKey; 2]) -> String {
    // What is not taken is not taken for one reason only: it says as much as `jwt-mine`.
    let scopes = rules::scopes(column).or_else(|| rules::scopes(rules::column("jwt-mine")));
    let mut claims =
        provider::claims(CREDENTIALS[column], &scopes.unwrap().join(" "), rules::prefixes(column));
    match CREDENTIALS[column] {
        "jwt-nowhere" => drop(claims.as_object_mut().unwrap().remove(provider::WHERE)),
        "jwt-expired" => {
            let leeway = provider::LEEWAY.as_secs();
            claims["exp"] = (provider::now() - leeway - 5).into();
        }
        "jwt-audience" => claims["aud"] = "other".into(),
        _ => {}
    }
    match CREDENTIALS[column] {
        "jwt-forged" => forger,
        "jwt-unknown" => unknown,
        _ => known,
    }
    .sign(&claims)
}

/// Asks for a URL as the bearer of a JWT does: the answer, where it is refused.
async fn ask(
    client: &Client,
    credentials: &Credentials,
    call: Call,
    key: &str,
    column: usize,
) -> Result<String, Answer> {
    let method = if call.name == "signed-head" { "HEAD" } else { call.method };
    let header = credentials.header(column).unwrap();
    let headers = [("content-type", "application/json"), ("authorization", header.as_str())];
    let body = json!({ "key": key, "method": method }).to_string();
    let answer = client.call("POST", "/v1/signed-urls", &headers, body).await;
    if answer.status != 201 {
        return Err(answer);
    }
    let url = answer.json()["url"].as_str().unwrap().to_owned();
    Ok(url[url.find("/v1/").unwrap()..].to_owned())
}

pub fn issuer(token: &ApiToken) -> Issuer {
    Issuer::Token(token.sha256().as_bytes()[..16].try_into().unwrap())
}

pub fn in_an_hour() -> u64 {
    let hour = SystemTime::now() + Duration::from_secs(3600);
    hour.duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Signs as the service of the test's client does.
pub fn sign(key: &str, grant: &Grant) -> String {
    let signer = Signer::new(vec![7; 32].into(), None);
    let token = signer.sign(&Namespace::new("proofs/").unwrap().key(key).unwrap(), grant);
    format!("/v1/signed/{token}/{}", encode(key))
}

/// For a path: everything but slashes.
pub fn encode(key: &str) -> String {
    utf8_percent_encode(key, NON_ALPHANUMERIC).to_string().replace("%2F", "/")
}

/// Makes the request.
pub async fn play(
    client: &Client,
    credentials: &Credentials,
    call: Call,
    relation: usize,
    credential: usize,
) -> Answer {
    let key = RELATIONS[relation].key;
    let path = format!("/v1/proofs/{}", encode(key));
    let query = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    // Of a JWT, which cannot be asked again, it is said when the URL is made for which keys it is.
    let own = match rules::is_jwt(credential) && call.name.starts_with("signed-") {
        true => match ask(client, credentials, call, key, credential).await {
            Ok(url) => Some(url),
            Err(refused) => return refused,
        },
        false => None,
    };
    let signed =
        |method| own.clone().unwrap_or_else(|| credentials.signed(credential, key, method));
    let transfer = |source: &str, destination: &str, overwrite: bool| {
        json!({ "source": source, "destination": destination, "overwrite": overwrite }).to_string()
    };
    let sign = |method: &str| json!({ "key": key, "method": method }).to_string();
    let match_any = [("if-match", "\"0\"")].as_slice();
    let range = [("range", "bytes=0-1")].as_slice();
    let plain: &[(&str, &str)] = &[];
    let (method, path, more, body) = match call.name {
        "list-below" => (
            "GET",
            format!("/v1/proofs?prefix={}", query(&format!("{key}/"))),
            plain,
            String::new(),
        ),
        "list-begins" => ("GET", format!("/v1/proofs?prefix={}", query(key)), plain, String::new()),
        "list-all" => ("GET", "/v1/proofs".to_owned(), plain, String::new()),
        "store-new" => ("POST", "/v1/proofs".to_owned(), plain, "new".to_owned()),
        "get" => ("GET", path, plain, String::new()),
        "get-encoded" => {
            let all: String = key.bytes().map(|byte| format!("%{byte:02x}")).collect();
            ("GET", format!("/v1/proofs/{all}?ignored=1"), plain, String::new())
        }
        "get-range" => ("GET", path, range, String::new()),
        "head" => ("HEAD", path, plain, String::new()),
        "put" => ("PUT", path, plain, "stored".to_owned()),
        "replace" => ("PUT", path, match_any, "other".to_owned()),
        "delete" => ("DELETE", path, plain, String::new()),
        "get-empty" => ("GET", "/v1/proofs/".to_owned(), plain, String::new()),
        "put-empty" => ("PUT", "/v1/proofs/".to_owned(), plain, "x".to_owned()),
        "delete-empty" => ("DELETE", "/v1/proofs/".to_owned(), plain, String::new()),
        "metadata" => ("GET", format!("/v1/metadata/{}", encode(key)), plain, String::new()),
        "metadata-empty" => ("GET", "/v1/metadata/".to_owned(), plain, String::new()),
        // The gate judges it; then it is refused, so that no cell leaves something held.
        "retain" | "retain-empty" => {
            let key = if call.name == "retain" { encode(key) } else { String::new() };
            let past = json!({ "retain_until": "1999-12-31T00:00:00Z" }).to_string();
            ("PUT", format!("/v1/retention/{key}"), plain, past)
        }
        "retain-clear" => (
            "PUT",
            format!("/v1/retention/{}", encode(key)),
            plain,
            json!({ "legal_hold": false }).to_string(),
        ),
        "copy-from" => ("POST", "/v1/copy".to_owned(), plain, transfer(key, "mine/a", false)),
        "copy-to" => ("POST", "/v1/copy".to_owned(), plain, transfer("mine/a", key, false)),
        "copy-over" => ("POST", "/v1/copy".to_owned(), plain, transfer("mine/a", key, true)),
        "move-from" => ("POST", "/v1/move".to_owned(), plain, transfer(key, "mine/a", false)),
        "move-to" => ("POST", "/v1/move".to_owned(), plain, transfer("mine/a", key, false)),
        "move-over" => ("POST", "/v1/move".to_owned(), plain, transfer("mine/a", key, true)),
        "batch-one" => {
            ("POST", "/v1/batch-delete".to_owned(), plain, json!({ "keys": [key] }).to_string())
        }
        "batch-first" => (
            "POST",
            "/v1/batch-delete".to_owned(),
            plain,
            json!({ "keys": [key, "mine/a"] }).to_string(),
        ),
        "batch-last" => (
            "POST",
            "/v1/batch-delete".to_owned(),
            plain,
            json!({ "keys": ["mine/a", key] }).to_string(),
        ),
        "sign-get" => ("POST", "/v1/signed-urls".to_owned(), plain, sign("GET")),
        "sign-head" => ("POST", "/v1/signed-urls".to_owned(), plain, sign("HEAD")),
        "sign-put" => ("POST", "/v1/signed-urls".to_owned(), plain, sign("PUT")),
        "signed-get" => ("GET", signed(SignedMethod::Get), plain, String::new()),
        "signed-head" => ("HEAD", signed(SignedMethod::Head), plain, String::new()),
        "signed-put" => ("PUT", signed(SignedMethod::Put), plain, "stored".to_owned()),
        "signed-replace" => ("PUT", signed(SignedMethod::Put), match_any, "other".to_owned()),
        "stats" => ("GET", "/v1/stats".to_owned(), plain, String::new()),
        "backends" => ("GET", "/v1/backends".to_owned(), plain, String::new()),
        "metrics" => ("GET", "/metrics".to_owned(), plain, String::new()),
        "health" => ("GET", "/health".to_owned(), plain, String::new()),
        "ready" => ("GET", "/health/ready".to_owned(), plain, String::new()),
        "openapi" => ("GET", "/openapi.yaml".to_owned(), plain, String::new()),
        "docs" => ("GET", "/docs".to_owned(), plain, String::new()),
        "root" => ("GET", "/".to_owned(), plain, String::new()),
        name => panic!("nobody knows how to play {name}"),
    };
    let mut headers = vec![("content-type", "application/json")];
    headers.extend_from_slice(more);
    // The column is whose right a signed URL stands on: with a header too it would be refused.
    let header = credentials.header(credential).filter(|_| !call.name.starts_with("signed-"));
    headers.extend(header.as_deref().map(|header| ("authorization", header)));
    client.call(method, &path, &headers, body).await
}
