//! Copy, move and batch delete.

use proof_storage::model::WriteMode;
use serde_json::json;

use super::client::Client;

#[tokio::test]
async fn copy_leaves_the_source_and_move_does_not() {
    let client = Client::new().await;
    let headers = [("proof-meta-a", "b"), ("content-type", "text/plain")];
    client.call("PUT", "/v1/proofs/s", &headers, "bytes").await;
    let copied = client.post_json("/v1/copy", json!({"source": "s", "destination": "c"})).await;
    assert_eq!((copied.status.as_u16(), &copied.json()["key"]), (201, &json!("c")));
    let moved = client.post_json("/v1/move", json!({"source": "s", "destination": "m"})).await;
    assert_eq!((moved.status.as_u16(), &moved.json()["key"]), (201, &json!("m")));
    assert_eq!(client.get("/v1/proofs/s").await.status, 404);
    for path in ["/v1/proofs/c", "/v1/proofs/m"] {
        let got = client.get(path).await;
        assert_eq!(&got.body[..], b"bytes");
        assert_eq!(got.header("proof-meta-a"), Some("b"));
        assert_eq!(got.header("content-type"), Some("text/plain"));
    }
}

#[tokio::test]
async fn an_array_is_no_object() {
    let client = Client::new().await;
    client.put("/v1/proofs/a", "1").await;
    let answer = client.post_json("/v1/batch-delete", json!([["a"]])).await;
    answer.is_problem(400, "INVALID_REQUEST", "object");
    let answer = client.post_json("/v1/move", json!(["a", "b", false])).await;
    answer.is_problem(400, "INVALID_REQUEST", "object");
    assert_eq!(client.get("/v1/proofs/a").await.status, 200);
}

#[tokio::test]
async fn transfers_refuse_what_would_lose_something() {
    let client = Client::new().await;
    client.put("/v1/proofs/a", "1").await;
    client.put("/v1/proofs/b", "2").await;
    for path in ["/v1/copy", "/v1/move"] {
        let cases = [
            (json!({"source": "a", "destination": "b"}), 409, "ALREADY_EXISTS", "destination"),
            (
                json!({"source": "a", "destination": "b", "overwrite": true}),
                409,
                "ALREADY_EXISTS",
                "write-once",
            ),
            (json!({"source": "none", "destination": "c"}), 404, "NOT_FOUND", ""),
            (json!({"source": "a", "destination": "a"}), 400, "INVALID_REQUEST", "same key"),
            (json!({"source": "a", "destination": "/c"}), 400, "INVALID_KEY", "destination"),
            (json!({"source": "", "destination": "c"}), 400, "INVALID_KEY", "source"),
            (json!({"source": "a"}), 400, "INVALID_REQUEST", "destination"),
            (
                json!({"source": "a", "destination": "c", "force": true}),
                400,
                "INVALID_REQUEST",
                "force",
            ),
            (
                json!({"source": "a", "destination": ".proof-storage/c"}),
                400,
                "INVALID_KEY",
                "reserved",
            ),
        ];
        for (body, status, code, text) in cases {
            client.post_json(path, body).await.is_problem(status, code, text);
        }
    }
    assert_eq!(&client.get("/v1/proofs/b").await.body[..], b"2");
}

#[tokio::test]
async fn overwrite_is_for_overwrite_mode() {
    let client = Client::configured(|c| c.storage.write_mode = WriteMode::Overwrite).await;
    client.put("/v1/proofs/a", "1").await;
    client.put("/v1/proofs/b", "2").await;
    let body = json!({"source": "a", "destination": "b"});
    client.post_json("/v1/move", body).await.is_problem(409, "ALREADY_EXISTS", "overwrite");
    let body = json!({"source": "a", "destination": "b", "overwrite": true});
    assert_eq!(client.post_json("/v1/move", body).await.status, 201);
    assert_eq!(&client.get("/v1/proofs/b").await.body[..], b"1");
}

#[tokio::test]
async fn batch_delete_accounts_for_every_key() {
    let client = Client::new().await;
    client.put("/v1/proofs/a", "1").await;
    let body = json!({"keys": ["a", "never", "/bad", "a"]});
    let answer = client.post_json("/v1/batch-delete", body).await;
    assert_eq!(answer.status, 200);
    let result = answer.json();
    assert_eq!(result["deleted"], json!(["a", "never", "a"]));
    assert_eq!(result["failed"].as_array().unwrap().len(), 1);
    assert_eq!(result["failed"][0]["key"], "/bad");
    assert_eq!(result["failed"][0]["code"], "INVALID_KEY");
    assert_eq!(client.get("/v1/proofs/a").await.status, 404);

    let many: Vec<_> = (0..10_000).map(|n| format!("k{n}")).collect();
    let answer = client.post_json("/v1/batch-delete", json!({"keys": many})).await;
    assert_eq!(answer.json()["deleted"].as_array().unwrap().len(), 10_000);
    let too_many: Vec<_> = (0..10_001).map(|n| format!("k{n}")).collect();
    let answer = client.post_json("/v1/batch-delete", json!({"keys": too_many})).await;
    answer.is_problem(400, "INVALID_REQUEST", "keys: more than 10000");
    let none = client.post_json("/v1/batch-delete", json!({"keys": []})).await;
    none.is_problem(400, "INVALID_REQUEST", "keys");
}
