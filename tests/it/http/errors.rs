//! Every failure is a problem: the framework's own, the backend's, damage and overload.

use std::sync::Arc;

use proof_storage::backend::faulty::{Chance, Fault, Faulty, Operation};
use proof_storage::backend::memory::Memory;
use proof_storage::config::Config;

use super::client::Client;

#[tokio::test]
async fn the_frameworks_own_refusals_are_problems() {
    let client = Client::new().await;
    client.get("/nowhere").await.is_problem(404, "NOT_FOUND", "openapi");
    client.get("/v1/").await.is_problem(404, "NOT_FOUND", "");
    let answer = client.call("PATCH", "/v1/proofs/k", &[], "").await;
    answer.is_problem(405, "METHOD_NOT_ALLOWED", "Allow");
    let allow = answer.header("allow").unwrap();
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        assert!(allow.contains(method), "{allow}");
    }
    client.call("POST", "/v1/copy", &[("content-type", "text/plain")], "{}").await.is_problem(
        415,
        "UNSUPPORTED_MEDIA_TYPE",
        "application/json",
    );
    client.call("POST", "/v1/copy", &[("content-type", "application/json")], "{").await.is_problem(
        400,
        "INVALID_REQUEST",
        "JSON",
    );
    client.get("/v1/stats?x=1").await.is_problem(400, "INVALID_REQUEST", "'x'");
    client.call("PUT", "/v1/proofs/k?x=1", &[], "").await.is_problem(400, "INVALID_REQUEST", "'x'");
}

#[tokio::test]
async fn a_full_memory_budget_is_refused_at_once_with_retry_after() {
    let client = Client::configured(|c| c.limits.memory_budget_bytes = 1 << 20).await;
    client.put("/v1/proofs/k", vec![1; 400_000]).await;
    // An answer that nobody reads holds its part of the budget.
    let holders: Vec<_> = (0..3).collect();
    let mut held = Vec::new();
    for _ in holders {
        held.push(client.open("/v1/proofs/k").await);
    }
    let refused = held.iter().find(|answer| answer.status() == 503).expect("the budget is full");
    assert_eq!(refused.headers()["retry-after"], "1");
    drop(held);
    assert_eq!(client.get("/v1/proofs/k").await.status, 200);
}

#[tokio::test]
async fn health_and_figures_answer() {
    let client = Client::new().await;
    client.put("/v1/proofs/k", "12345").await;
    let health = client.get("/health").await.json();
    assert_eq!((&health["status"], &health["healthy"]), (&"ok".into(), &true.into()));
    assert_eq!(client.get("/health/ready").await.json()["ready"], true);
    let stats = client.get("/v1/stats").await.json();
    assert_eq!((&stats["total_objects"], &stats["total_size"]), (&1.into(), &5.into()));
    assert_eq!(stats["exact"], true);
    let backends = client.get("/v1/backends").await.json();
    assert_eq!(backends["backends"][0]["capabilities"]["create_only"], "native");
    let metrics = client.get("/metrics").await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(text.contains("proof_storage_"), "{text}");
}

#[tokio::test]
async fn readiness_goes_first_when_draining() {
    let client = Client::new().await;
    client.drain();
    assert_eq!(client.get("/health/ready").await.status, 503);
    assert_eq!(client.get("/health").await.status, 200);
    assert_eq!(client.get("/health").await.header("connection"), Some("close"));
}

#[tokio::test]
async fn damage_at_rest_is_never_served() {
    let faulty = Faulty::new(Memory::new(), 1);
    let fault = Fault::FlipBit;
    faulty.set_chances([Chance { operation: Operation::Get, fault, probability: 1.0 }]);
    let client = Client::over(Arc::new(faulty), Config::default()).await;
    for (path, size) in [("/v1/proofs/small", 1000), ("/v1/proofs/large", 12 << 20)] {
        client.put(path, vec![7; size]).await;
        // This store gives even the large one in one piece: nothing of it has left.
        client.get(path).await.is_problem(502, "CORRUPT", "damaged");
    }
    let json = super::client::sample_json(20_000);
    client.put("/v1/proofs/k.json", json).await;
    client.get("/v1/proofs/k.json").await.is_problem(502, "CORRUPT", "");
    let gzip = [("accept-encoding", "gzip")];
    client.call("GET", "/v1/proofs/k.json", &gzip, "").await.is_problem(502, "CORRUPT", "");
}

/// Over HTTP/1.1 nothing can come behind a body that nobody reads.
#[tokio::test(start_paused = true)]
async fn a_connection_that_will_be_closed_is_said_to_be() {
    let client = Client::new().await;
    let refused = client.put("/v1/proofs/a//b", "body").await;
    refused.is_problem(400, "INVALID_KEY", "");
    assert_eq!(refused.header("connection"), Some("close"));
    let pending = futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
    let request = axum::http::Request::put("/v1/proofs/slow");
    let slow = client.send(request.body(axum::body::Body::from_stream(pending)).unwrap()).await;
    slow.is_problem(408, "REQUEST_TIMEOUT", "");
    assert_eq!(slow.header("connection"), Some("close"));
    // What was read to its end, had none, or comes over HTTP/2 leaves it open.
    assert_eq!(client.put("/v1/proofs/a", "body").await.header("connection"), None);
    assert_eq!(client.get("/v1/proofs/a//b").await.header("connection"), None);
    let request = axum::http::Request::put("/v1/proofs/a//b").version(axum::http::Version::HTTP_2);
    let refused = client.send(request.body("body".into()).unwrap()).await;
    assert_eq!((refused.status.as_u16(), refused.header("connection")), (400, None));
}

/// A browser that is shown somebody else's page must not be made to store anything.
#[tokio::test]
async fn a_page_of_another_origin_may_only_read() {
    let client = Client::new().await;
    let post = |headers: &'static [(&'static str, &'static str)]| {
        client.call("POST", "/v1/proofs", headers, "{}")
    };
    const HOST: (&str, &str) = ("host", "127.0.0.1:8080");
    for foreign in [
        &[HOST, ("sec-fetch-site", "cross-site")][..],
        &[HOST, ("sec-fetch-site", "same-site"), ("origin", "http://127.0.0.1:8080")],
        &[HOST, ("origin", "https://evil.example")],
        &[HOST, ("origin", "http://127.0.0.1:3000")],
        &[HOST, ("origin", "null")],
        &[("origin", "https://evil.example")],
    ] {
        post(foreign).await.is_problem(403, "ACCESS_DENIED", "another origin");
    }
    let listed = client.get("/v1/proofs").await;
    assert_eq!(listed.json()["items"].as_array().unwrap().len(), 0, "nothing was stored");
    for ours in [
        &[HOST][..],
        &[HOST, ("origin", "http://127.0.0.1:8080")],
        &[HOST, ("sec-fetch-site", "same-origin"), ("origin", "https://in.front.example")],
        &[HOST, ("sec-fetch-site", "none")],
    ] {
        assert_eq!(post(ours).await.status, 201, "{ours:?}");
    }
    // Reading is what STORAGE_CORS_ORIGINS says.
    let read = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    assert_eq!(client.call("GET", "/v1/proofs", &read, "").await.status, 200);
}
