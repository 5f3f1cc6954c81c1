//! Every call of the API that could destroy a proof, on one that is held in each of the ways.

use proof_storage::config::Config;
use proof_storage::model::{KeyPrefix, RetentionRule, WriteMode};
use serde_json::json;

use super::{hold, keep};
use crate::http::client::{Answer, Client};

const UNTIL: &str = "2099-01-31T00:00:00Z";

async fn client(mode: WriteMode) -> Client {
    Client::configured(|config: &mut Config| {
        config.storage.write_mode = mode;
        config.storage.retention = vec![keep("kept/", 24), hold("case")];
    })
    .await
}

type Headers = &'static [(&'static str, &'static str)];

/// Ways to hold a proof: its key, and the headers that store it.
const WAYS: [(&str, Headers, &str); 4] = [
    ("a/until", &[("proof-retain-until", UNTIL)], "until 2099-01-31T00:00:00Z"),
    ("a/hold", &[("proof-legal-hold", "on")], "legal hold"),
    ("kept/a", &[], "retained until 20"),
    ("case", &[], "legal hold by the rules for its prefix"),
];

async fn all_ways(client: &Client) {
    for (key, headers, _) in WAYS {
        let path = format!("/v1/proofs/{key}");
        assert_eq!(client.call("PUT", &path, headers, "held").await.status, 201, "{key}");
    }
    assert_eq!(client.put("/v1/proofs/free", "free").await.status, 201);
}

#[track_caller]
fn refused(answer: &Answer, text: &str) {
    answer.is_problem(409, "RETAINED", text);
}

#[tokio::test]
async fn nothing_destroys_what_is_held() {
    for mode in [WriteMode::WriteOnce, WriteMode::Overwrite] {
        let client = client(mode).await;
        all_ways(&client).await;
        for (key, _, text) in WAYS {
            let path = format!("/v1/proofs/{key}");
            let mut before = client.get(&path).await;
            before.headers.remove("x-request-id");
            let etag = before.header("etag").unwrap().to_owned();
            let if_match = [("if-match", etag.as_str())];

            refused(&client.call("DELETE", &path, &[], "").await, text);
            refused(&client.call("DELETE", &path, &if_match, "").await, text);
            refused(&client.call("PUT", &path, &if_match, "other").await, text);
            let body = json!({ "keys": ["never", key] });
            let batch = client.post_json("/v1/batch-delete", body).await.json();
            assert_eq!(batch["deleted"], json!(["never"]));
            assert_eq!(batch["failed"][0]["code"], "RETAINED");
            let detail = batch["failed"][0]["detail"].as_str().unwrap();
            assert!(detail.contains(text), "{detail}");
            let away = json!({ "source": key, "destination": "elsewhere", "overwrite": true });
            refused(&client.post_json("/v1/move", away).await, text);
            if mode == WriteMode::Overwrite {
                refused(&client.put(&path, "other").await, text);
                for call in ["/v1/copy", "/v1/move"] {
                    let onto = json!({ "source": "free", "destination": key, "overwrite": true });
                    refused(&client.post_json(call, onto).await, text);
                    let onto = json!({ "source": "none", "destination": key, "overwrite": true });
                    client.post_json(call, onto).await.is_problem(404, "NOT_FOUND", "");
                }
            }
            assert_eq!(client.get("/v1/proofs/elsewhere").await.status, 404);
            let mut after = client.get(&path).await;
            after.headers.remove("x-request-id");
            assert_eq!((&after.body, &after.headers), (&before.body, &before.headers), "{key}");
        }
        assert_eq!(client.get("/v1/proofs/free").await.body, "free");
    }
}

#[tokio::test]
async fn a_condition_that_fails_is_told_first() {
    let client = client(WriteMode::WriteOnce).await;
    all_ways(&client).await;
    let other = [("if-match", "\"other\"")];
    for (key, _, _) in WAYS {
        let path = format!("/v1/proofs/{key}");
        assert_eq!(client.call("DELETE", &path, &other, "").await.status, 412);
        assert_eq!(client.call("PUT", &path, &other, "x").await.status, 412);
        client.put(&path, "other").await.is_problem(409, "ALREADY_EXISTS", "write-once");
    }
}

#[tokio::test]
async fn the_same_bytes_again_are_a_success_and_extend() {
    for mode in [WriteMode::WriteOnce, WriteMode::Overwrite] {
        let client = client(mode).await;
        let path = "/v1/proofs/a";
        let first = [("proof-retain-until", UNTIL)];
        assert_eq!(client.call("PUT", path, &first, "held").await.status, 201);
        for (headers, until, legal_hold) in [
            (&[][..], UNTIL, false),
            (&[("proof-legal-hold", "off")], UNTIL, false),
            (&[("proof-retain-until", "2050-01-01T00:00:00Z")], UNTIL, false),
            (&[("proof-legal-hold", "on")], UNTIL, true),
            (&[("proof-legal-hold", "off")], UNTIL, true),
            (&[("proof-retain-until", "2100-01-01T00:00:00+01:00")], "2099-12-31T23:00:00Z", true),
        ] {
            let again = client.call("PUT", path, headers, "held").await;
            assert_eq!(again.status, 200, "{headers:?}");
            let said = again.json()["retention"].clone();
            assert_eq!(
                (&said["until"], &said["legal_hold"]),
                (&json!(until), &json!(legal_hold)),
                "{headers:?}"
            );
            assert_eq!(client.get(path).await.body, "held");
        }
    }
}

#[tokio::test]
async fn headers_are_read_strictly() {
    let client = client(WriteMode::WriteOnce).await;
    for (name, value, text) in [
        ("proof-retain-until", "tomorrow", "Proof-Retain-Until: 'tomorrow' is no date-time"),
        ("proof-retain-until", "2099-01-31", "RFC 3339"),
        ("proof-retain-until", "", "RFC 3339"),
        ("proof-retain-until", "2020-01-31T00:00:00Z", "not in the future"),
        ("proof-retain-until", "2999-01-31T00:00:00Z", "100 years"),
        ("proof-legal-hold", "ON", "Proof-Legal-Hold: unknown value 'ON'; known are on, off"),
        ("proof-legal-hold", "", "known are"),
        ("proof-retain", "x", "Proof-Retain-Until"),
    ] {
        let answer = client.call("PUT", "/v1/proofs/a", &[(name, value)], "x").await;
        answer.is_problem(400, "INVALID_REQUEST", text);
    }
    let twice = [("proof-retain-until", UNTIL), ("proof-retain-until", UNTIL)];
    let answer = client.call("PUT", "/v1/proofs/a", &twice, "x").await;
    answer.is_problem(400, "INVALID_REQUEST", "more than once");
    assert_eq!(client.get("/v1/proofs/a").await.status, 404);
    let new = client.call("POST", "/v1/proofs", &[("proof-legal-hold", "on")], "x").await.json();
    let path = format!("/v1/proofs/{}", new["key"].as_str().unwrap());
    refused(&client.call("DELETE", &path, &[], "").await, "legal hold");
}

async fn retain(client: &Client, key: &str, body: serde_json::Value) -> Answer {
    let headers = [("content-type", "application/json")];
    client.call("PUT", &format!("/v1/retention/{key}"), &headers, body.to_string()).await
}

#[tokio::test]
async fn a_time_is_extended_never_shortened_and_a_legal_hold_is_cleared() {
    let client = client(WriteMode::WriteOnce).await;
    let headers = [("content-type", "text/plain"), ("proof-meta-a", "b"), ("proof-tags", "c=d")];
    client.call("PUT", "/v1/proofs/a", &headers, "x".repeat(4000)).await;
    let before = client.get("/v1/metadata/a").await.json();
    assert_eq!(before["retention"], json!(null));

    let set = retain(&client, "a", json!({ "retain_until": UNTIL })).await;
    assert_eq!(set.status, 200, "{set:?}");
    let expected =
        json!({ "until": UNTIL, "legal_hold": false, "source": "object", "strength": "gateway" });
    assert_eq!(set.json()["retention"], expected);
    let shorter = retain(&client, "a", json!({ "retain_until": "2098-01-31T00:00:00Z" })).await;
    refused(&shorter, "can only be extended");
    let same = retain(&client, "a", json!({ "retain_until": UNTIL })).await;
    assert_eq!(same.json()["last_modified"], set.json()["last_modified"], "nothing to change");

    let held = retain(&client, "a", json!({ "legal_hold": true })).await;
    assert_eq!(held.json()["retention"]["legal_hold"], true);
    refused(&client.call("DELETE", "/v1/proofs/a", &[], "").await, "and under a legal hold");
    let cleared = retain(&client, "a", json!({ "legal_hold": false })).await;
    assert_eq!(cleared.json()["retention"], expected, "the time stays");
    refused(&client.call("DELETE", "/v1/proofs/a", &[], "").await, "until 2099");

    // Bytes and all else that was said are as they were.
    let mut after = client.get("/v1/metadata/a").await.json();
    for field in ["retention", "timestamp", "last_modified"] {
        after[field] = before[field].clone();
    }
    assert_eq!(after, before);
    assert_eq!(client.get("/v1/proofs/a").await.body, "x".repeat(4000));

    client.put("/v1/proofs/b", "b").await;
    retain(&client, "b", json!({ "legal_hold": true })).await;
    retain(&client, "b", json!({ "legal_hold": false })).await;
    assert_eq!(client.call("DELETE", "/v1/proofs/b", &[], "").await.status, 204);
    for (key, body, status, code, text) in [
        ("b", json!({ "legal_hold": true }), 404, "NOT_FOUND", ""),
        ("a", json!({}), 400, "INVALID_REQUEST", "nothing to change"),
        ("a", json!({ "legal_hold": "on" }), 400, "INVALID_REQUEST", "legal_hold"),
        ("a", json!({ "until": UNTIL }), 400, "INVALID_REQUEST", "until"),
        ("a", json!({ "retain_until": "2099" }), 400, "INVALID_REQUEST", "retain_until"),
        ("a", json!({ "retain_until": "2020-01-31T00:00:00Z" }), 400, "INVALID_REQUEST", "future"),
        ("/a", json!({ "legal_hold": true }), 400, "INVALID_KEY", ""),
    ] {
        retain(&client, key, body).await.is_problem(status, code, text);
    }
}

#[tokio::test]
async fn a_copy_is_a_proof_of_its_own() {
    let client = client(WriteMode::WriteOnce).await;
    all_ways(&client).await;
    for (key, _, text) in WAYS {
        let body = json!({ "source": key, "destination": "copy" });
        let copied = client.post_json("/v1/copy", body).await;
        assert_eq!((copied.status.as_u16(), &copied.json()["retention"]), (201, &json!(null)));
        assert_eq!(client.get("/v1/proofs/copy").await.body, "held");
        assert_eq!(client.call("DELETE", "/v1/proofs/copy", &[], "").await.status, 204);
        refused(&client.call("DELETE", &format!("/v1/proofs/{key}"), &[], "").await, text);
    }
    let body = json!({ "source": "a/until", "destination": "kept/copy" });
    let copied = client.post_json("/v1/copy", body).await.json();
    assert_eq!(copied["retention"]["source"], "prefix");
    refused(&client.call("DELETE", "/v1/proofs/kept/copy", &[], "").await, "prefix");
    let body = json!({ "source": "free", "destination": "kept/moved" });
    assert_eq!(client.post_json("/v1/move", body).await.status, 201, "into a prefix that holds");
    refused(&client.call("DELETE", "/v1/proofs/kept/moved", &[], "").await, "prefix");
}

#[tokio::test]
async fn prefixes_are_whole_segments() {
    let client = client(WriteMode::WriteOnce).await;
    for (key, status) in [
        ("kept", 204),
        ("kept2/a", 204),
        ("a/kept/a", 204),
        ("kept/a", 409),
        ("kept/a/b", 409),
        ("case", 409),
        ("case/a", 409),
        ("cases", 204),
        ("Case", 204),
    ] {
        let path = format!("/v1/proofs/{key}");
        client.put(&path, "x").await;
        assert_eq!(client.call("DELETE", &path, &[], "").await.status, status, "{key}");
    }
    let rules = |prefix: &str| -> RetentionRule { hold(prefix) };
    assert_eq!(rules("*").prefix, KeyPrefix::every());
}
