//! Which calls leave a line, and what is in it.

use std::sync::Arc;

use http::Method;
use proof_storage::audit::OnFailure;
use proof_storage::backend::faulty::{Chance, Fault, Faulty, Operation};
use proof_storage::backend::memory::Memory;
use proof_storage::config::Config;
use proof_storage::http::CALLS;
use proof_storage::model::{Digest, ErrorKind};
use serde_json::{Value, json};

use super::{Paper, on_paper};
use crate::authorisation::{Credentials, play_all};
use crate::http::client::Client;

async fn client(config: Config) -> (Client, Paper) {
    let paper = Paper::default();
    let audit = on_paper(&paper, OnFailure::Refuse);
    (Client::audited(Arc::new(Memory::new()), config, audit).await, paper)
}

fn one(paper: &Paper) -> Value {
    let lines = paper.take();
    let [line] = &lines[..] else { panic!("one line: {lines:#?}") };
    line.clone()
}

/// The table itself: what is not a GET has an action. That it leaves a line is played below.
#[test]
fn every_route_that_may_change_something_has_an_action() {
    let mut changing = 0;
    for row in CALLS.iter() {
        let (path, method) = (row.path, &row.method);
        assert_eq!(row.action.is_some(), *method != Method::GET, "{method} {path}");
        changing += usize::from(row.action.is_some());
    }
    assert!(changing >= 9, "{changing}");
}

/// Every call by every credential on every key: each refusal has one line, each change that was let
/// through has one (a batch one more for each key), and nothing else has any.
#[tokio::test]
async fn the_whole_matrix_leaves_the_lines_that_it_should() {
    let credentials = Credentials::make();
    let config = Config { auth: credentials.config(), ..Config::default() };
    let (client, paper) = client(config).await;
    credentials.fill(&client).await;
    paper.take();
    let (mut played, mut refused) = (0, 0);
    play_all(&client, &credentials, |name, method, answer| {
        let mut lines = paper.take();
        // Of many refusals in a second those beyond measure are counted: see `writer`.
        // Who shows a JWT asks for a URL before it is used: that line is another call's.
        let asked = |line: &Value| name.starts_with("signed-") && line["action"] == "sign";
        lines.retain(|line| line["action"] != "refuse-more" && !asked(line));
        let status = answer.status.as_u16();
        let actions: Vec<_> = lines.iter().map(|line| line["action"].as_str().unwrap()).collect();
        if matches!(status, 401 | 403) {
            assert!(matches!(actions[..], ["refuse"] | []), "{name}: {actions:?}");
            refused += actions.len();
        } else if method == "GET" || method == "HEAD" || status == 400 && lines.is_empty() {
            assert!(lines.is_empty(), "{name}: {lines:?}");
        } else {
            let (last, before) = actions.split_last().unwrap_or_else(|| panic!("{name} {status}"));
            assert!(before.iter().all(|action| *action == "delete") && *last != "refuse");
            let line = lines.last().unwrap();
            assert_eq!(line["status"], status, "{name}");
            assert_eq!(line["request"].as_str(), answer.header("x-request-id"));
        }
        for line in &lines {
            let line = line.to_string();
            assert!(!line.contains("pst_") && !line.contains("eyJ"), "a token is in {line}");
        }
        played += 1;
    })
    .await;
    // What each single one says, and that it is there: see `refusals`.
    assert!(played > 10_000 && refused >= 400, "{played} {refused}");
}

#[tokio::test]
async fn what_stands_in_the_lines() {
    let (client, paper) = client(Config::default()).await;
    let body = "{\"claim\":1}";
    let sha256 = Digest::of(body.as_bytes()).to_hex();
    let headers = [
        ("content-type", "application/json"),
        ("proof-meta-note", "canary-meta"),
        ("x-request-id", "r-1"),
    ];
    client.call("PUT", "/v1/proofs/a%22%5C%E2%80%A8b", &headers, body).await;
    let line = one(&paper);
    assert_eq!((&line["action"], &line["result"]), (&json!("store"), &json!("done")));
    assert_eq!((&line["effect"], &line["status"]), (&json!("created"), &json!(201)));
    assert_eq!((&line["key"], &line["sha256"]), (&json!("a\"\\\u{2028}b"), &json!(sha256)));
    assert_eq!((&line["request"], &line["actor"]["kind"]), (&json!("r-1"), &json!("anyone")));
    assert_eq!(line["call"], "PUT /v1/proofs/{*key}");
    assert!(!line.to_string().contains("canary-meta"));

    client.put("/v1/proofs/a%22%5C%E2%80%A8b", "other").await;
    let line = one(&paper);
    assert_eq!((&line["result"], &line["code"]), (&json!("failed"), &json!("ALREADY_EXISTS")));
    assert_eq!(line["sha256"], Digest::of(b"other").to_hex(), "of what was not stored");

    client.put("/v1/proofs/a", body).await;
    paper.take();
    let until = [("proof-retain-until", "2099-01-31T00:00:00Z")];
    for (more, effect) in [(&until[..], "extended"), (&until[..], "unchanged"), (&[], "unchanged")]
    {
        assert_eq!(client.call("PUT", "/v1/proofs/held", &[], body).await.status.as_u16() / 100, 2);
        paper.take();
        client.call("PUT", "/v1/proofs/held", more, body).await;
        assert_eq!(one(&paper)["effect"], effect);
    }
    client.post_json("/v1/copy", json!({"source": "a", "destination": "b"})).await;
    let line = one(&paper);
    assert_eq!((&line["action"], &line["key"]), (&json!("copy"), &json!("a")));
    assert_eq!((&line["destination"], &line["sha256"]), (&json!("b"), &json!(sha256)));
    client.post_json("/v1/move", json!({"source": "b", "destination": "c"})).await;
    let line = one(&paper);
    assert_eq!((&line["action"], &line["destination"]), (&json!("move"), &json!("c")));

    let signed = client.post_json("/v1/signed-urls", json!({"key": "d", "method": "PUT"})).await;
    let line = one(&paper);
    assert_eq!((&line["action"], &line["detail"]["method"]), (&json!("sign"), &json!("PUT")));
    let url = signed.json()["url"].as_str().unwrap().to_owned();
    let path = &url[url.find("/v1/").unwrap()..];
    let token = path.split('/').nth(3).unwrap();
    assert!(!line.to_string().contains(token), "no signature");
    client.put(path, body).await;
    let line = one(&paper);
    assert_eq!((&line["action"], &line["actor"]["via"]), (&json!("store"), &json!("signed-url")));
    assert!(!line.to_string().contains(token), "no signature");

    client.post_json("/v1/batch-delete", json!({"keys": ["a", "c", "/"]})).await;
    let lines = paper.take();
    let told: Vec<_> =
        lines.iter().map(|line| (line["action"].as_str().unwrap(), line["key"].as_str())).collect();
    assert_eq!(told, [("delete", Some("a")), ("delete", Some("c")), ("batch-delete", None)]);
    assert_eq!(lines[2]["detail"], json!({"deleted": 2, "failed": 1, "keys": 2}));
    client.call("POST", "/v1/proofs", &[], body).await;
    assert!(one(&paper)["key"].as_str().unwrap().len() > 30);
    client.get("/v1/proofs/d").await;
    client.call("DELETE", "/v1/proofs/d", &[], "").await;
    assert_eq!(one(&paper)["action"], "delete", "and the GET left none");
}

#[tokio::test]
async fn what_holds_a_proof_is_in_the_lines_of_who_said_so() {
    const UNTIL: &str = "2099-01-31T00:00:00Z";
    let (client, paper) = client(Config::default()).await;
    let headers = [("proof-retain-until", "2099-01-31T01:00:00+01:00"), ("proof-legal-hold", "on")];
    client.call("PUT", "/v1/proofs/a", &headers, "x").await;
    let line = one(&paper);
    assert_eq!((&line["action"], &line["result"]), (&json!("store"), &json!("done")));
    assert_eq!(line["detail"], json!({"legal_hold": true, "retain_until": UNTIL}));
    let json_body = [("content-type", "application/json")];
    let retain = async |body: Value| {
        client.call("PUT", "/v1/retention/a", &json_body, body.to_string()).await;
        let line = one(&paper);
        assert_eq!((&line["action"], &line["key"]), (&json!("retain"), &json!("a")));
        (line["result"].clone(), line["code"].clone(), line["detail"].clone())
    };
    let cleared = (json!("done"), json!(null), json!({"legal_hold": false}));
    assert_eq!(retain(json!({"legal_hold": false})).await, cleared);
    let sooner = "2098-01-31T00:00:00Z";
    let refused = (json!("failed"), json!("RETAINED"), json!({"retain_until": sooner}));
    assert_eq!(retain(json!({"retain_until": sooner})).await, refused);
    client.call("DELETE", "/v1/proofs/a", &[], "").await;
    let line = one(&paper);
    assert_eq!((&line["action"], &line["code"]), (&json!("delete"), &json!("RETAINED")));
    assert_eq!(line["result"], "failed");
}

#[tokio::test]
async fn what_may_have_happened_and_what_was_given_up_is_indeterminate() {
    let store = Arc::new(Faulty::new(Memory::new(), 1));
    let paper = Paper::default();
    let audit = on_paper(&paper, OnFailure::Refuse);
    let client = Client::audited(store.clone(), Config::default(), audit).await;
    let fault = Fault::Lose(ErrorKind::Indeterminate);
    store.set_chances([Chance { operation: Operation::Put, fault, probability: 1.0 }]);
    client.put("/v1/proofs/a", "x").await;
    assert_eq!(one(&paper)["result"], "indeterminate");
    store.set_chances([]);
    // A body that never ends, and a caller that goes away.
    let body = axum::body::Body::from_stream(futures_util::stream::pending::<
        Result<bytes::Bytes, std::io::Error>,
    >());
    let request = http::Request::put("/v1/proofs/b").body(body).unwrap();
    let waited =
        tokio::time::timeout(std::time::Duration::from_millis(50), client.send(request)).await;
    assert!(waited.is_err());
    client.put("/v1/proofs/c", "x").await;
    let told: Vec<_> = paper
        .take()
        .iter()
        .map(|line| (line["key"].to_string(), line["result"].to_string()))
        .collect();
    let expected = [("\"b\"", "\"indeterminate\""), ("\"c\"", "\"done\"")];
    assert_eq!(told, expected.map(|(key, result)| (key.to_owned(), result.to_owned())));
}

#[tokio::test]
async fn without_a_line_nothing_is_acknowledged() {
    let (client, paper) = client(Config::default()).await;
    client.put("/v1/proofs/a", "x").await;
    paper.refuses.store(true, std::sync::atomic::Ordering::Release);
    let answer = client.put("/v1/proofs/b", "x").await;
    answer.is_problem(503, "UNAVAILABLE", "may have been done");
    client.put("/v1/proofs/c", "x").await.is_problem(503, "UNAVAILABLE", "nothing may change");
    let health = client.get("/health").await.json();
    assert_eq!(health["status"], "degraded");
    assert_eq!(client.get("/v1/proofs/a").await.status, 200, "reads go on");
    paper.refuses.store(false, std::sync::atomic::Ordering::Release);
    assert_eq!(client.get("/v1/proofs/c").await.status, 404, "and nothing was stored");
}
