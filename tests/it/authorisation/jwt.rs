//! JWTs over HTTP: what their claims let in, what they sign, and how they are counted.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use proof_storage::backend::memory::Memory;
use proof_storage::config::{AuthMode, Config, JwtConfig};
use proof_storage::http::{Grant, Pins, SignedMethod};
use proof_storage::model::{Rate, Scope, Scopes};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::cells::{in_an_hour, sign};
use super::provider::{self, LEEWAY, ProviderKey, WHERE, claims, now, publish};
use crate::http::client::{Answer, Client};

/// Looks, each of a second of paused time, after which what has not come does not come.
const LOOKS: usize = 120;

/// A service that takes JWTs, and the provider of them.
struct Provided {
    client: Client,
    key: ProviderKey,
    other: ProviderKey,
    folder: tempfile::TempDir,
}

impl Provided {
    async fn start() -> Self {
        Self::with(|_| {}, |_| {}).await
    }

    async fn with(of_jwt: impl FnOnce(&mut JwtConfig), of_all: impl FnOnce(&mut Config)) -> Self {
        let (key, other) = (ProviderKey::es256("one"), ProviderKey::ed25519("two"));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jwks");
        publish(&file, &[&key, &other]);
        let mut jwt = provider::config(&file);
        of_jwt(&mut jwt);
        let mut config = Config::default();
        (config.auth.mode, config.auth.jwt) = (AuthMode::Required, Some(jwt));
        of_all(&mut config);
        let client = Client::over(Arc::new(Memory::new()), config).await;
        Self { client, key, other, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("jwks")
    }

    async fn ask(&self, method: &str, path: &str, jwt: &str, body: impl ToString) -> Answer {
        let bearer = format!("Bearer {jwt}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        self.client.call(method, path, &headers, body.to_string()).await
    }

    /// The status of each call: a store, a read, a listing and a delete below a prefix.
    async fn statuses(&self, jwt: &str, prefix: &str) -> [u16; 4] {
        let path = format!("/v1/proofs/{prefix}/a");
        let list = format!("/v1/proofs?prefix={prefix}/");
        let mut statuses = [0; 4];
        let calls =
            [("PUT", &path, "1"), ("GET", &path, ""), ("GET", &list, ""), ("DELETE", &path, "")];
        for (status, (method, path, body)) in statuses.iter_mut().zip(calls) {
            *status = self.ask(method, path, jwt, body).await.status.as_u16();
        }
        statuses
    }

    /// The path of a URL, and when it says that it ends.
    async fn signed(&self, jwt: &str, request: Value) -> (String, u64) {
        let answer = self.ask("POST", "/v1/signed-urls", jwt, request).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        let told = answer.json();
        assert_eq!(told["via"], "service");
        let url = told["url"].as_str().unwrap();
        let ends = humantime::parse_rfc3339(told["expires_at"].as_str().unwrap()).unwrap();
        let ends = ends.duration_since(UNIX_EPOCH).unwrap().as_secs();
        (url[url.find("/v1/").unwrap()..].to_owned(), ends)
    }

    /// Begins to read the keys again, as the service does.
    fn watch(&self) -> Vec<JoinHandle<()>> {
        self.client.service().state().authority.background()
    }

    /// Waits until a JWT is taken, or is not any more.
    async fn until(&self, jwt: &str, taken: bool) {
        for _ in 0..LOOKS {
            let status = self.ask("GET", "/v1/proofs/mine/a", jwt, "").await.status;
            if (status != 401) == taken {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("the keys were never read again");
    }
}

const ALL: &str = "read write delete list sign";

#[tokio::test]
async fn the_claims_of_a_jwt_say_which_keys_and_scopes_it_is_for() {
    const NO: u16 = 403;
    let service = Provided::start().await;
    let every = [201, 200, 200, 204];
    for key in [&service.key, &service.other] {
        let jwt = key.sign(&claims("alice", ALL, &["mine"]));
        assert_eq!(service.statuses(&jwt, "mine").await, every);
        assert_eq!(service.statuses(&jwt, "other").await, [NO; 4]);
    }
    // Words of another service's are passed over, and a list is as good as a text.
    let several = |scopes: Value, prefixes: Value| {
        let mut claims = claims("alice", "", &[]);
        (claims["scope"], claims[WHERE]) = (scopes, prefixes);
        service.key.sign(&claims)
    };
    let root = service.key.sign(&claims("root", ALL, &["*"]));
    assert_eq!(service.ask("PUT", "/v1/proofs/third/a", &root, "1").await.status, 201);
    for jwt in [
        several(json!("openid read list"), json!("mine third")),
        several(json!(["read", "profile", "list"]), json!(["third", "mine"])),
    ] {
        assert_eq!(service.statuses(&jwt, "third").await, [NO, 200, 200, NO]);
        assert_eq!(service.statuses(&jwt, "other").await, [NO; 4]);
        let answer = service.ask("DELETE", "/v1/proofs/third/a", &jwt, "").await;
        answer.is_problem(403, "ACCESS_DENIED", "`delete`");
    }
    for (scopes, prefixes) in [
        (json!(null), json!("*")),
        (json!(""), json!("*")),
        (json!({ "read": true }), json!("*")),
        (json!("READ WRITE"), json!("*")),
        (json!(ALL), json!(null)),
        (json!(ALL), json!([])),
        (json!(ALL), json!({ "mine": true })),
        (json!(ALL), json!(["/mine"])),
    ] {
        let jwt = several(scopes.clone(), prefixes.clone());
        let statuses = service.statuses(&jwt, "mine").await;
        assert_eq!(statuses, [NO; 4], "{scopes} {prefixes}");
    }
    // Where no claim is named that has prefixes, the scopes are for every key.
    let service = Provided::with(|jwt| jwt.prefix_claim = None, |_| {}).await;
    let jwt = service.key.sign(&claims("alice", ALL, &[]));
    assert_eq!(service.statuses(&jwt, "other").await, every);
}

#[tokio::test]
async fn a_url_that_a_jwt_signed_works_and_ends_with_it_at_the_latest() {
    let service = Provided::start().await;
    let ending = |exp: u64| {
        let mut claims = claims("alice", ALL, &["mine"]);
        claims["exp"] = exp.into();
        (service.key.sign(&claims), exp)
    };
    let request = |method: &str, seconds: u64| json!({ "key": "mine/a", "method": method, "expires_in": seconds });
    let (jwt, exp) = ending(now() + 1800);
    let (put, ends) = service.signed(&jwt, request("PUT", 3600)).await;
    assert_eq!(ends, exp, "no later than the JWT");
    assert_eq!(service.client.put(&put, "1").await.status, 201);
    let (get, ends) = service.signed(&jwt, request("GET", 3600)).await;
    assert_eq!(ends, exp);
    assert_eq!(&service.client.get(&get).await.body[..], b"1");
    // The control: what is asked for counts where it ends sooner.
    let (_, ends) = service.signed(&jwt, request("GET", 60)).await;
    assert!(ends < exp, "{ends} {exp}");
    // Within the leeway a JWT is taken after its end. A URL is not: it has ended with it.
    let (late, exp) = ending(now() - LEEWAY.as_secs() / 2);
    let (url, ends) = service.signed(&late, request("GET", 3600)).await;
    assert_eq!(ends, exp);
    service.client.get(&url).await.is_problem(403, "ACCESS_DENIED", "expired");
    // And no more is signed than the JWT may do.
    for (claims, scope) in [
        (claims("alice", ALL, &["other"]), "sign"),
        (claims("alice", "read write", &["mine"]), "sign"),
        (claims("alice", "sign", &["mine"]), "read"),
    ] {
        let jwt = service.key.sign(&claims);
        let answer = service.ask("POST", "/v1/signed-urls", &jwt, request("GET", 60)).await;
        answer.is_problem(403, "ACCESS_DENIED", &format!("`{scope}`"));
    }
}

/// A JWT cannot be asked again, so the URL says itself which scopes it had.
#[tokio::test]
async fn a_url_has_the_scopes_that_the_jwt_had() {
    let service = Provided::start().await;
    let root = service.key.sign(&claims("root", ALL, &["*"]));
    assert_eq!(service.ask("PUT", "/v1/proofs/mine/a", &root, "1").await.status, 201);
    let url = |key: &ProviderKey, scopes: &[Scope]| {
        let issuer = key.issuer(scopes.iter().copied().collect::<Scopes>());
        let (method, pins) = (SignedMethod::Get, Pins::default());
        sign("mine/a", &Grant { method, expires: in_an_hour(), issuer, pins })
    };
    let scopes = [Scope::Sign, Scope::Read];
    assert_eq!(service.client.get(&url(&service.key, &scopes)).await.status, 200);
    for scopes in [&scopes[..1], &scopes[1..], &[]] {
        let answer = service.client.get(&url(&service.key, scopes)).await;
        answer.is_problem(403, "ACCESS_DENIED", "may not do this any more");
    }
    let stranger = ProviderKey::es256("three");
    let answer = service.client.get(&url(&stranger, &scopes)).await;
    answer.is_problem(403, "ACCESS_DENIED", "no right any more");
    // To replace takes `delete` of the one who signed.
    for (scopes, status) in [(ALL, 201), ("read write list sign", 403)] {
        let jwt = service.key.sign(&claims("alice", scopes, &["mine"]));
        let request = json!({ "key": "mine/a", "method": "PUT" });
        let (url, _) = service.signed(&jwt, request).await;
        let etag = service.ask("HEAD", "/v1/proofs/mine/a", &root, "").await;
        let etag = etag.header("etag").unwrap().to_owned();
        let answer = service.client.call("PUT", &url, &[("if-match", &etag)], scopes).await;
        assert_eq!(answer.status.as_u16() / 100, status / 100, "{scopes}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_the_provider_takes_back_ends_its_jwts_and_their_urls() {
    let service = Provided::start().await;
    let tasks = service.watch();
    let mine = |key: &ProviderKey| key.sign(&claims("alice", ALL, &["mine"]));
    let (jwt, kept) = (mine(&service.key), mine(&service.other));
    assert_eq!(service.ask("PUT", "/v1/proofs/mine/a", &jwt, "1").await.status, 201);
    let request = json!({ "key": "mine/a", "method": "GET" });
    let (url, _) = service.signed(&jwt, request.clone()).await;
    let (kept_url, _) = service.signed(&kept, request).await;
    let get = async |url: &str| service.client.get(url).await;
    assert_eq!(get(&url).await.status, 200);

    publish(&service.file(), &[&service.other]);
    service.until(&jwt, false).await;
    get(&url).await.is_problem(403, "ACCESS_DENIED", "no right any more");
    service.ask("GET", "/v1/proofs/mine/a", &jwt, "").await.is_problem(401, "UNAUTHENTICATED", "");
    // What the other key signed stays.
    assert_eq!(service.ask("GET", "/v1/proofs/mine/a", &kept, "").await.status, 200);
    assert_eq!(get(&kept_url).await.status, 200);
    // The control: it was the key, and nothing else of the URL.
    publish(&service.file(), &[&service.other, &service.key]);
    service.until(&jwt, true).await;
    assert_eq!(get(&url).await.status, 200);
    tasks.iter().for_each(JoinHandle::abort);
}

/// Between the first reading, when the service is put together, and the first look of who watches the file.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_taken_back_while_the_service_starts_ends_too() {
    let service = Provided::start().await;
    let jwt = service.key.sign(&claims("alice", ALL, &["mine"]));
    service.until(&jwt, true).await;
    publish(&service.file(), &[&service.other]);
    let tasks = service.watch();
    service.until(&jwt, false).await;
    tasks.iter().for_each(JoinHandle::abort);
}

#[tokio::test(start_paused = true)]
async fn a_subject_has_one_rate_for_all_its_jwts() {
    let limit = |config: &mut Config| {
        config.limits.rates.token = Some(Rate::parse("1/s burst 2").unwrap());
    };
    let service = Provided::with(|_| {}, limit).await;
    let jwt = |subject: &str, scopes: &str| service.key.sign(&claims(subject, scopes, &["mine"]));
    let (one, two) = (jwt("alice", ALL), jwt("alice", "list"));
    let other = jwt("bob", ALL);
    assert_ne!(one, two);
    let list = async |jwt: &str| service.ask("GET", "/v1/proofs?prefix=mine/", jwt, "").await;
    for (jwt, left) in [(&one, "\"token\";r=1;t=1"), (&two, "\"token\";r=0;t=2")] {
        let answer = list(jwt).await;
        assert_eq!((answer.status.as_u16(), answer.header("ratelimit")), (200, Some(left)));
    }
    for jwt in [&one, &two] {
        list(jwt).await.is_problem(429, "RATE_LIMITED", "`token`");
    }
    // Another subject has its own, and who is not taken has none.
    assert_eq!(list(&other).await.header("ratelimit"), Some("\"token\";r=1;t=1"));
    let forged = ProviderKey::es256("one").sign(&claims("bob", ALL, &["mine"]));
    assert_eq!(list(&forged).await.status, 401);
    assert_eq!(list(&other).await.header("ratelimit"), Some("\"token\";r=0;t=2"));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(list(&two).await.status, 200);
}
