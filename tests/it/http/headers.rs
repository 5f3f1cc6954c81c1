//! Headers of every answer: request ids, CORS, options that a backend lacks.

use super::client::Client;

#[tokio::test]
async fn request_ids_are_kept_where_harmless() {
    let client = Client::new().await;
    let given = client.call("GET", "/health", &[("x-request-id", "abc-1")], "").await;
    assert_eq!(given.header("x-request-id"), Some("abc-1"));
    for bad in ["a b", "\"", &"x".repeat(129)] {
        let made = client.call("GET", "/v1/proofs/none", &[("x-request-id", bad)], "").await;
        let id = made.header("x-request-id").unwrap().to_owned();
        assert!(uuid::Uuid::parse_str(&id).is_ok(), "{id}");
        assert_eq!(made.json()["instance"], format!("urn:proof-storage:request:{id}"));
    }
}

#[tokio::test]
async fn pages_of_other_origins_may_read_and_not_write() {
    let client = Client::new().await;
    let origin = [("origin", "https://verify.example")];
    for path in ["/v1/proofs/none", "/health", "/nowhere"] {
        let answer = client.call("GET", path, &origin, "").await;
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{path}");
    }
    let preflight =
        [("origin", "https://verify.example"), ("access-control-request-method", "PUT")];
    let answer = client.call("OPTIONS", "/v1/proofs/k", &preflight, "").await;
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET,HEAD"));
}

#[tokio::test]
async fn what_the_backend_lacks_is_refused_and_not_dropped() {
    let client = Client::new().await;
    for (name, value, text) in [
        ("proof-encryption", "AES256", "AES256"),
        ("proof-encryption", "aws:kms", "kms"),
        ("proof-encryption", "envelope", "envelope"),
        ("proof-storage-class", "STANDARD_IA", "storage classes"),
    ] {
        let answer = client.call("PUT", "/v1/proofs/k", &[(name, value)], "x").await;
        answer.is_problem(501, "UNSUPPORTED", text);
        assert_eq!(answer.json()["provider"], "memory");
    }
    // Of no backend, as what is in it cannot be read.
    let archived = [("proof-storage-class", "GLACIER")];
    let answer = client.call("PUT", "/v1/proofs/k", &archived, "x").await;
    answer.is_problem(400, "INVALID_REQUEST", "Proof-Storage-Class");
    assert_eq!(client.get("/v1/proofs/k").await.status, 404);
    let none = client.call("PUT", "/v1/proofs/k", &[("proof-encryption", "none")], "x").await;
    assert_eq!(none.status, 201);
}

#[tokio::test]
async fn default_cache_control_is_sent_only_where_none_was_stored() {
    let client =
        Client::configured(|c| c.storage.default_cache_control = Some("no-cache".to_owned())).await;
    client.put("/v1/proofs/a", "1").await;
    client.call("PUT", "/v1/proofs/b", &[("cache-control", "max-age=5")], "1").await;
    assert_eq!(client.get("/v1/proofs/a").await.header("cache-control"), Some("no-cache"));
    assert_eq!(client.get("/v1/proofs/b").await.header("cache-control"), Some("max-age=5"));
}

#[tokio::test]
async fn cdn_url_is_that_of_the_object() {
    let client = Client::configured(|c| {
        c.storage.cdn_url =
            Some(proof_storage::config::BaseUrl::parse("https://cdn.example/").unwrap());
    })
    .await;
    let stored = client.put("/v1/proofs/a%20b.json", "1").await.json();
    assert_eq!(stored["url"], "https://cdn.example/proofs/a%20b.json");
}

#[tokio::test]
async fn too_large_a_head_is_a_problem() {
    let client = Client::new().await;
    let value = "v".repeat(70_000);
    let answer = client.call("GET", "/health", &[("x-large", &value)], "").await;
    answer.is_problem(431, "HEADERS_TOO_LARGE", "65536");
    let many: Vec<_> = (0..129).map(|n| format!("x-{n}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "v")).collect();
    client.call("GET", "/health", &many, "").await.is_problem(431, "HEADERS_TOO_LARGE", "128");
}
