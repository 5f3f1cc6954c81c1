//! What a refusal leaves: one line, and all of it. The whole matrix has more refusals than are written
//! one by one (`routes`), so these are few, and none of them may lack its line.
//!
//! The control is in each test: what is let in, and what is refused for another reason, leaves none.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proof_storage::access::ApiToken;
use proof_storage::audit::OnFailure;
use proof_storage::backend::memory::Memory;
use proof_storage::config::{AuthConfig, AuthMode, Config, TokenEntry, TokensFile, read_tokens};
use proof_storage::http::Peer;
use proof_storage::model::{KeyPrefix, Rights, Scope};
use serde_json::{Value, json};

use super::{Paper, on_paper};
use crate::http::client::{Answer, Client};

const ADDRESS: &str = "192.0.2.7";

/// A service with an audit log, and who may do what there.
struct Refusing {
    client: Client,
    paper: Paper,
    /// May do all below `mine`.
    mine: ApiToken,
    /// May read there.
    reads: ApiToken,
    /// Is in the file of tokens, and may do all.
    listed: ApiToken,
    folder: tempfile::TempDir,
}

/// A request as somebody makes it.
struct Asked<'a> {
    method: &'a str,
    path: &'a str,
    bearer: Option<&'a str>,
    body: String,
}

fn list(file: &Path, name: &str, token: &ApiToken) {
    let sha256 = token.sha256().to_hex();
    let text = format!(
        "[[token]]\nname = '{name}'\nsha256 = '{sha256}'\nscopes = ['read', 'write', 'sign']\n\
         prefixes = ['*']\n"
    );
    std::fs::write(file, text).unwrap();
}

/// A token as the audit log names it: the first 32 digits of its SHA-256.
fn actor(name: &str, token: &ApiToken) -> Value {
    json!({ "kind": "token", "id": token.sha256().to_hex()[..32], "name": name })
}

impl Refusing {
    async fn start() -> Self {
        let token = || ApiToken::make().unwrap();
        let (mine, reads, listed) = (token(), token(), token());
        let entry = |name: &str, token: &ApiToken, scopes: Vec<Scope>| TokenEntry {
            name: name.into(),
            sha256: token.sha256(),
            rights: Rights {
                scopes: scopes.into_iter().collect(),
                prefixes: vec![KeyPrefix::parse("mine").unwrap()].into(),
            },
            expires: None,
        };
        let all = vec![Scope::Read, Scope::Write, Scope::Delete, Scope::List, Scope::Sign];
        let tokens = vec![entry("mine", &mine, all), entry("reads", &reads, vec![Scope::Read])];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.toml");
        list(&path, "listed", &listed);
        let tokens_file = Some(TokensFile { tokens: read_tokens(&path).unwrap(), path });
        let mode = AuthMode::Required;
        let auth = AuthConfig { mode, tokens, tokens_file, ..Config::default().auth };
        let paper = Paper::default();
        let audit = on_paper(&paper, OnFailure::Refuse);
        let config = Config { auth, ..Config::default() };
        let client = Client::audited(Arc::new(Memory::new()), config, audit).await;
        let started = Self { client, paper, mine, reads, listed, folder };
        let stored = started.ask("PUT", "/v1/proofs/mine/a", Some(&started.mine), "x").await;
        assert_eq!(stored.status, 201, "{stored:?}");
        started.paper.take();
        started
    }

    async fn ask(&self, method: &str, path: &str, by: Option<&ApiToken>, body: &str) -> Answer {
        let bearer = by.map(ApiToken::expose);
        self.send(Asked { method, path, bearer, body: body.to_owned() }).await
    }

    async fn send(&self, Asked { method, path, bearer, body }: Asked<'_>) -> Answer {
        let mut request = http::Request::builder().method(method).uri(path);
        request = request.header("x-request-id", "r-7").header("content-type", "application/json");
        if let Some(bearer) = bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        let address = format!("{ADDRESS}:7").parse().unwrap();
        request.extensions_mut().unwrap().insert(Peer { address, tls: false });
        self.client.send(request.body(Body::from(body)).unwrap()).await
    }

    /// The one line that was written since: what it says, without its place in the chain.
    #[track_caller]
    fn line(&self, what: &str) -> Value {
        let lines = self.paper.take();
        let [line] = &lines[..] else { panic!("{what}: one line, not {lines:#?}") };
        let mut line = line.clone();
        let said = line.as_object_mut().unwrap();
        for of_chain in ["audit", "seq", "time", "instance", "alg", "prev", "hash"] {
            assert!(said.remove(of_chain).is_some(), "{what}: {of_chain}");
        }
        line
    }

    /// Makes a signed URL, whose line is not looked at.
    async fn signed(&self, key: &str, method: &str, by: &ApiToken) -> String {
        let body = json!({ "key": key, "method": method }).to_string();
        let answer = self.ask("POST", "/v1/signed-urls", Some(by), &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        self.paper.take();
        let url = answer.json()["url"].as_str().unwrap().to_owned();
        url[url.find("/v1/").unwrap()..].to_owned()
    }
}

/// What all of them say, and what only this one does.
fn refused(status: u16, call: &str, actor: Value, more: Value) -> Value {
    let code = if status == 401 { "UNAUTHENTICATED" } else { "ACCESS_DENIED" };
    let mut line = json!({
        "action": "refuse", "result": "refused", "status": status, "code": code, "call": call,
        "actor": actor, "address": ADDRESS, "request": "r-7",
    });
    line.as_object_mut().unwrap().append(&mut more.as_object().unwrap().clone());
    line
}

#[tokio::test]
async fn whoever_is_not_known_leaves_one_line_that_names_nobody() {
    let service = Refusing::start().await;
    let unknown = ApiToken::make().unwrap();
    let nobody = || json!({ "kind": "nobody" });
    let tokens = [None, Some(unknown.expose()), Some("pst_wrong"), Some("eyJ.eyJ.x")];
    for bearer in tokens {
        for (method, path, call, more) in [
            ("PUT", "/v1/proofs/mine/a", "PUT /v1/proofs/{*key}", json!({ "key": "mine/a" })),
            ("GET", "/v1/proofs/mine/a", "GET /v1/proofs/{*key}", json!({ "key": "mine/a" })),
            ("POST", "/v1/copy", "POST /v1/copy", json!({})),
            ("GET", "/v1/stats", "GET /v1/stats", json!({})),
        ] {
            let body = r#"{"source":"mine/a","destination":"mine/b"}"#.to_owned();
            let answer = service.send(Asked { method, path, bearer, body }).await;
            answer.is_problem(401, "UNAUTHENTICATED", "");
            let what = format!("{method} {path} {bearer:?}");
            assert_eq!(service.line(&what), refused(401, call, nobody(), more), "{what}");
        }
    }
    // The controls: what is let in, what is no key and what is there for nobody leaves none.
    let reads = Some(&service.reads);
    assert_eq!(service.ask("GET", "/v1/proofs/mine/a", reads, "").await.status, 200);
    assert_eq!(service.ask("GET", "/v1/proofs/mine/b", reads, "").await.status, 404);
    assert_eq!(service.ask("GET", "/v1/proofs/mine//", reads, "").await.status, 400);
    assert_eq!(service.ask("GET", "/elsewhere", None, "").await.status, 404);
    assert_eq!(service.paper.take(), Vec::<Value>::new());
}

#[tokio::test]
async fn whoever_is_known_leaves_one_line_with_what_was_missing() {
    let service = Refusing::start().await;
    let (mine, reads) = (&service.mine, &service.reads);
    let both = |source: &str, destination: &str, overwrite: bool| {
        json!({ "source": source, "destination": destination, "overwrite": overwrite }).to_string()
    };
    let batch = |keys: [&str; 2]| json!({ "keys": keys }).to_string();
    let sign = json!({ "key": "other/b", "method": "PUT" }).to_string();
    const KEY: &str = "/v1/proofs/{*key}";
    for (what, name, by, method, path, body, call, more) in [
        (
            "a scope that the token does not have",
            "reads",
            reads,
            "DELETE",
            "/v1/proofs/mine/a",
            String::new(),
            format!("DELETE {KEY}"),
            json!({ "key": "mine/a", "detail": { "scope": "delete" } }),
        ),
        (
            "a prefix that it does not have",
            "mine",
            mine,
            "PUT",
            "/v1/proofs/other/b",
            "x".to_owned(),
            format!("PUT {KEY}"),
            json!({ "key": "other/b", "detail": { "refused": "other/b", "scope": "write" } }),
        ),
        (
            "a read of another's key",
            "reads",
            reads,
            "GET",
            "/v1/proofs/other/b",
            String::new(),
            format!("GET {KEY}"),
            json!({ "key": "other/b", "detail": { "refused": "other/b", "scope": "read" } }),
        ),
        (
            "a batch with one key of another",
            "mine",
            mine,
            "POST",
            "/v1/batch-delete",
            batch(["mine/a", "other/b"]),
            "POST /v1/batch-delete".to_owned(),
            json!({ "detail": { "keys": 2, "refused": "other/b", "scope": "delete" } }),
        ),
        (
            "a copy to another's key",
            "mine",
            mine,
            "POST",
            "/v1/copy",
            both("mine/a", "other/b", true),
            "POST /v1/copy".to_owned(),
            json!({
                "key": "mine/a", "destination": "other/b",
                "detail": { "refused": "other/b", "scope": "write" },
            }),
        ),
        (
            "a URL for another's key",
            "mine",
            mine,
            "POST",
            "/v1/signed-urls",
            sign,
            "POST /v1/signed-urls".to_owned(),
            json!({ "key": "other/b", "detail": { "refused": "other/b", "scope": "sign" } }),
        ),
        (
            "a listing of everything",
            "mine",
            mine,
            "GET",
            "/v1/proofs",
            String::new(),
            "GET /v1/proofs".to_owned(),
            json!({ "detail": { "scope": "list" } }),
        ),
    ] {
        service.ask(method, path, Some(by), &body).await.is_problem(403, "ACCESS_DENIED", "");
        assert_eq!(service.line(what), refused(403, &call, actor(name, by), more), "{what}");
    }
    // The control: nothing was deleted, and with two keys of its own the batch leaves other lines.
    let body = batch(["mine/a", "mine/b"]);
    let deleted = service.ask("POST", "/v1/batch-delete", Some(mine), &body).await.json();
    assert_eq!(deleted["deleted"].as_array().map(Vec::len), Some(2), "{deleted}");
    let lines = service.paper.take();
    let actions: Vec<_> = lines.iter().map(|line| &line["action"]).collect();
    assert_eq!(actions, ["delete", "delete", "batch-delete"]);
}

#[tokio::test]
async fn a_url_that_is_not_genuine_leaves_one_line_without_its_signature() {
    let service = Refusing::start().await;
    let url = service.signed("mine/a", "GET", &service.mine).await;
    let token = url.split('/').nth(3).unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(token).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let wrong = URL_SAFE_NO_PAD.encode(bytes);
    // The signature; the key, which another URL is needed for; and the method.
    for (what, method, path, key, text) in [
        ("signature", "GET", format!("/v1/signed/{wrong}/mine/a"), "mine/a", "signature"),
        ("key", "GET", format!("/v1/signed/{token}/mine/b"), "mine/b", "signature"),
        ("method", "PUT", url.clone(), "mine/a", "signed for GET"),
    ] {
        service.ask(method, &path, None, "").await.is_problem(403, "ACCESS_DENIED", text);
        let line = service.line(what);
        assert!(!line.to_string().contains(&token[..20]), "{what}: no signature");
        let nobody = json!({ "kind": "nobody", "via": "signed-url" });
        let call = format!("{method} /v1/signed/{{token}}/{{*key}}");
        assert_eq!(line, refused(403, &call, nobody, json!({ "key": key })), "{what}");
    }
    // The control: unchanged it is let in, and a GET leaves no line.
    assert_eq!(service.ask("GET", &url, None, "").await.status, 200);
    assert_eq!(service.paper.take(), Vec::<Value>::new());
}

#[tokio::test(start_paused = true)]
async fn a_url_whose_issuer_was_withdrawn_or_may_less_leaves_one_line() {
    const CALL: &str = "PUT /v1/signed/{token}/{*key}";
    let service = Refusing::start().await;
    // Of the one who may not delete: to replace takes that, and is refused while the right is there.
    let url = service.signed("mine/a", "PUT", &service.listed).await;
    let mut request = http::Request::put(&url).header("if-match", "\"0\"");
    request = request.header("x-request-id", "r-7");
    let address = format!("{ADDRESS}:7").parse().unwrap();
    request.extensions_mut().unwrap().insert(Peer { address, tls: false });
    let answer = service.client.send(request.body(Body::from("y")).unwrap()).await;
    answer.is_problem(403, "ACCESS_DENIED", "may not do this any more");
    let mut by = actor("listed", &service.listed);
    by["via"] = "signed-url".into();
    let more = json!({ "key": "mine/a", "detail": { "refused": "mine/a", "scope": "delete" } });
    assert_eq!(service.line("less"), refused(403, CALL, by, more));

    // The control: the URL is genuine, and lets a store in.
    assert_eq!(service.ask("PUT", &url, None, "x").await.status, 200);
    assert_eq!(service.line("stored")["action"], "store");
    // Then its token is taken out of the file.
    let tasks = service.client.service().state().authority.background();
    let next = ApiToken::make().unwrap();
    list(&service.folder.path().join("tokens.toml"), "next", &next);
    while service.ask("GET", "/v1/proofs/mine/a", Some(&next), "").await.status == 401 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    service.paper.take();
    let answer = service.ask("PUT", &url, None, "x").await;
    answer.is_problem(403, "ACCESS_DENIED", "no right any more");
    let nobody = json!({ "kind": "nobody", "via": "signed-url" });
    let expected = refused(403, CALL, nobody, json!({ "key": "mine/a" }));
    assert_eq!(service.line("withdrawn"), expected);
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
}
