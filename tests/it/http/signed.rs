//! Signed URLs: made, used, and refused.

use serde_json::{Value, json};

use super::client::{Answer, Client};

async fn sign(client: &Client, body: Value) -> String {
    let answer = client.post_json("/v1/signed-urls", body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let url = answer.json()["url"].as_str().unwrap().to_owned();
    assert!(!url.contains('?'));
    url.strip_prefix("http://127.0.0.1:8080").unwrap().to_owned()
}

fn denied(answer: &Answer) {
    answer.is_problem(403, "ACCESS_DENIED", "");
}

#[tokio::test]
async fn each_method_does_what_it_was_signed_for_and_nothing_else() {
    let client = Client::new().await;
    let put = sign(&client, json!({"key": "a b/ü.json", "method": "PUT"})).await;
    assert_eq!(client.put(&put, "{}").await.status, 201);
    let get = sign(&client, json!({"key": "a b/ü.json", "method": "GET"})).await;
    let got = client.call("GET", &get, &[("range", "bytes=0-0")], "").await;
    assert_eq!((got.status.as_u16(), &got.body[..]), (206, &b"{"[..]));
    let head = sign(&client, json!({"key": "a b/ü.json", "method": "HEAD"})).await;
    assert_eq!(client.call("HEAD", &head, &[], "").await.status, 200);

    denied(&client.get(&put).await);
    denied(&client.put(&get, "x").await);
    denied(&client.get(&head).await);
    assert_eq!(client.call("HEAD", &get, &[], "").await.status, 403);
    client.call("DELETE", &get, &[], "").await.is_problem(405, "METHOD_NOT_ALLOWED", "");
}

#[tokio::test]
async fn a_token_is_for_its_key() {
    let client = Client::new().await;
    client.put("/v1/proofs/a", "1").await;
    client.put("/v1/proofs/b", "2").await;
    let url = sign(&client, json!({"key": "a", "method": "GET"})).await;
    let other = format!("{}/b", url.rsplit_once('/').unwrap().0);
    denied(&client.get(&other).await);
    denied(&client.get("/v1/signed/nonsense/a").await);
    assert_eq!(client.get(&url).await.status, 200);
}

#[tokio::test]
async fn a_signed_put_holds_to_its_pins() {
    let client = Client::new().await;
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let body = json!({
        "key": "k", "method": "PUT", "max_bytes": 3, "content_type": "text/plain", "sha256": sha256,
    });
    let answer = client.post_json("/v1/signed-urls", body.clone()).await.json();
    assert_eq!(answer["headers"]["Content-Type"], "text/plain");
    let url = sign(&client, body).await;
    let text = [("content-type", "text/plain")];
    client.put(&url, "abc").await.is_problem(400, "INVALID_REQUEST", "Content-Type");
    client.call("PUT", &url, &text, "abcd").await.is_problem(413, "TOO_LARGE", "3");
    client.call("PUT", &url, &text, "abd").await.is_problem(400, "DIGEST_MISMATCH", "signed for");
    assert_eq!(client.get("/v1/proofs/k").await.status, 404);
    assert_eq!(client.call("PUT", &url, &text, "abc").await.status, 201);
}

#[tokio::test]
async fn what_cannot_be_signed_is_named() {
    let client = Client::new().await;
    for (body, code, text) in [
        (json!({"key": "k", "method": "DELETE"}), "INVALID_REQUEST", "method: "),
        (json!({"key": "k", "method": "GET", "expires_in": 0}), "INVALID_REQUEST", "expires_in"),
        (
            json!({"key": "k", "method": "GET", "expires_in": 604_801}),
            "INVALID_REQUEST",
            "expires_in",
        ),
        (json!({"key": "k", "method": "GET", "max_bytes": 1}), "INVALID_REQUEST", "PUT"),
        (json!({"key": "k", "method": "PUT", "sha256": "00"}), "INVALID_REQUEST", "sha256"),
        (json!({"key": "k", "method": "GET", "via": "x"}), "INVALID_REQUEST", "via: "),
        (json!({"key": ".proof-storage/k", "method": "GET"}), "INVALID_KEY", "key"),
    ] {
        client.post_json("/v1/signed-urls", body).await.is_problem(400, code, text);
    }
}
