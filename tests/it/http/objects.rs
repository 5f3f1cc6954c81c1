//! Store, retrieve, look, delete.

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::client::Client;

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn a_proof_comes_back_as_it_was_stored() {
    let client = Client::new().await;
    let stored = client.put("/v1/proofs/a/b.c2pa", "jumbf").await;
    assert_eq!(stored.status, 201);
    assert_eq!(stored.header("location"), Some("/v1/proofs/a/b.c2pa"));
    let result = stored.json();
    assert_eq!(result["key"], "a/b.c2pa");
    assert_eq!(result["url"], "http://127.0.0.1:8080/v1/proofs/a/b.c2pa");
    assert_eq!(result["size"], 5);
    assert_eq!(result["stored_size"], 5);
    assert_eq!(result["sha256"], hex(b"jumbf"));
    assert_eq!(result["etag"], format!("\"{}\"", hex(b"jumbf")));
    assert_eq!(result["content_type"], "application/c2pa");
    assert_eq!(result["encoding"], "identity");
    assert_eq!(result["encryption"], "none");
    assert_eq!(result["version_id"], Value::Null);
    assert_eq!(result["provider"], "memory");
    assert!(result["timestamp"].as_str().unwrap().ends_with('Z'));

    let got = client.get("/v1/proofs/a/b.c2pa").await;
    assert_eq!((got.status.as_u16(), &got.body[..]), (200, &b"jumbf"[..]));
    assert_eq!(got.header("content-length"), Some("5"));
    assert_eq!(got.header("content-type"), Some("application/c2pa"));
    assert_eq!(got.header("etag"), result["etag"].as_str());
    assert_eq!(got.header("accept-ranges"), Some("bytes"));
    assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
    assert!(got.header("content-security-policy").unwrap().contains("sandbox"));
    assert!(got.header("last-modified").unwrap().ends_with("GMT"));
    assert!(got.header("repr-digest").unwrap().starts_with("sha-256=:"));
    assert_eq!(got.header("cache-control"), None);
    assert_eq!(got.header("content-encoding"), None);

    let head = client.call("HEAD", "/v1/proofs/a/b.c2pa", &[], "").await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    for name in ["content-length", "etag", "content-type", "repr-digest", "last-modified"] {
        assert_eq!(head.header(name), got.header(name), "{name}");
    }
}

#[tokio::test]
async fn write_once_confirms_the_same_bytes_and_refuses_others() {
    let client = Client::new().await;
    assert_eq!(client.put("/v1/proofs/k", "one").await.status, 201);
    let again = client.put("/v1/proofs/k", "one").await;
    assert_eq!(again.status, 200);
    client.put("/v1/proofs/k", "two").await.is_problem(409, "ALREADY_EXISTS", "If-Match");
    assert_eq!(&client.get("/v1/proofs/k").await.body[..], b"one");
}

#[tokio::test]
async fn overwrite_mode_replaces() {
    let client =
        Client::configured(|c| c.storage.write_mode = proof_storage::model::WriteMode::Overwrite)
            .await;
    assert_eq!(client.put("/v1/proofs/k", "one").await.status, 201);
    assert_eq!(client.put("/v1/proofs/k", "two").await.status, 200);
    assert_eq!(&client.get("/v1/proofs/k").await.body[..], b"two");
}

#[tokio::test]
async fn post_makes_a_key_nobody_can_guess() {
    let client = Client::new().await;
    let headers = [("content-type", "application/c2pa")];
    let first = client.call("POST", "/v1/proofs", &headers, "x").await;
    let second = client.call("POST", "/v1/proofs", &headers, "x").await;
    assert_eq!((first.status.as_u16(), second.status.as_u16()), (201, 201));
    let key = first.json()["key"].as_str().unwrap().to_owned();
    assert_ne!(key, second.json()["key"]);
    let (name, extension) = key.split_once('.').unwrap();
    assert_eq!(extension, "c2pa");
    assert_eq!(uuid::Uuid::parse_str(name).unwrap().get_version_num(), 4);
    assert_eq!(client.get(&format!("/v1/proofs/{key}")).await.status, 200);
}

#[tokio::test]
async fn delete_is_idempotent() {
    let client = Client::new().await;
    client.put("/v1/proofs/k", "one").await;
    for _ in 0..2 {
        let answer = client.call("DELETE", "/v1/proofs/k", &[], "").await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    }
    client.get("/v1/proofs/k").await.is_problem(404, "NOT_FOUND", "");
}

#[tokio::test]
async fn keys_are_decoded_once_and_never_normalised() {
    let client = Client::new().await;
    client.put("/v1/proofs/a%252Fb", "literal").await;
    assert_eq!(client.get("/v1/proofs/a%252Fb").await.json_key(&client).await, "a%2Fb");
    client.get("/v1/proofs/a%2Fb").await.is_problem(404, "NOT_FOUND", "");
    client.put("/v1/proofs/x%2Fy", "slash").await;
    assert_eq!(&client.get("/v1/proofs/x/y").await.body[..], b"slash");
    client.put("/v1/proofs/%C3%A9", "composed").await;
    client.get("/v1/proofs/e%CC%81").await.is_problem(404, "NOT_FOUND", "");
    client.put("/v1/proofs/urn:c2pa:1-2", "urn").await;
    assert_eq!(client.get("/v1/proofs/urn%3Ac2pa%3A1-2").await.status, 200);
}

impl super::client::Answer {
    /// The only key that contains a literal percent sign.
    async fn json_key(&self, client: &Client) -> String {
        assert_eq!(self.status, 200);
        let page = client.get("/v1/proofs").await.json();
        let items = page["items"].as_array().unwrap();
        let keys = items.iter().map(|item| item["key"].as_str().unwrap());
        keys.filter(|key| key.contains('%')).collect()
    }
}

#[tokio::test]
async fn bad_keys_are_named() {
    let client = Client::new().await;
    let long = format!("/v1/proofs/{}", "k".repeat(1018));
    for (path, text) in [
        ("/v1/proofs/", "empty"),
        ("/v1/proofs/a//b", "segment"),
        ("/v1/proofs/a/%2e%2e/b", "segment"),
        ("/v1/proofs/a/", "starts or ends"),
        ("/v1/proofs/%2Fa", "starts or ends"),
        ("/v1/proofs/a%00b", "U+0000"),
        ("/v1/proofs/%FF", "UTF-8"),
        ("/v1/proofs/%zz", "%25"),
        ("/v1/proofs/a%2", "%25"),
        ("/v1/proofs/.proof-storage/x", "reserved"),
        (&long, "1025"),
    ] {
        for method in ["GET", "PUT", "DELETE"] {
            client.call(method, path, &[], "").await.is_problem(400, "INVALID_KEY", text);
        }
        assert_eq!(client.call("HEAD", path, &[], "").await.status, 400);
    }
    assert_eq!(client.put(&long[..long.len() - 1], "").await.status, 201);
}

#[tokio::test]
async fn metadata_tells_everything() {
    let client = Client::new().await;
    let headers = [
        ("content-type", "application/json"),
        ("cache-control", "max-age=60"),
        ("proof-meta-signer", "Zoë"),
        ("proof-tags", "type=proof&version=1.0"),
    ];
    let stored = client.call("PUT", "/v1/proofs/k.json", &headers, "{}").await.json();
    let metadata = client.get("/v1/metadata/k.json").await.json();
    for (name, value) in stored.as_object().unwrap() {
        assert_eq!(&metadata[name], value, "{name}");
    }
    assert_eq!(metadata["cache_control"], "max-age=60");
    assert_eq!(metadata["metadata"]["signer"], "Zoë");
    assert_eq!(metadata["tags"]["version"], "1.0");
    assert_eq!(metadata["storage_class"], Value::Null);
    client.get("/v1/metadata/none").await.is_problem(404, "NOT_FOUND", "");

    let got = client.get("/v1/proofs/k.json").await;
    assert_eq!(got.header("cache-control"), Some("max-age=60"));
    assert_eq!(got.headers["proof-meta-signer"].as_bytes(), "Zoë".as_bytes());
}

#[tokio::test]
async fn large_bodies_are_spooled_and_streamed() {
    let client = Client::new().await;
    let piece = bytes::Bytes::from(
        (0..1_000_000_u32).map(|n| (n.wrapping_mul(31) >> 3) as u8).collect::<Vec<_>>(),
    );
    let pieces = (0..12).map(|_| Ok(piece.clone())).collect();
    let stored = client.put_stream("/v1/proofs/large.bin", pieces).await;
    assert_eq!(stored.status, 201, "{stored:?}");
    let got = client.get("/v1/proofs/large.bin").await;
    assert!(!got.broken);
    assert_eq!(got.header("content-length"), Some("12000000"));
    assert_eq!(stored.json()["sha256"], hex(&got.body));
    assert_eq!(got.body, piece.repeat(12));
}

#[tokio::test]
async fn a_body_that_breaks_off_stores_nothing() {
    let client = Client::new().await;
    let pieces = vec![Ok("half".into()), Err(std::io::Error::other("gone"))];
    client.put_stream("/v1/proofs/k", pieces).await.is_problem(400, "INVALID_REQUEST", "broke off");
    assert_eq!(client.get("/v1/proofs/k").await.status, 404);
}

#[tokio::test]
async fn size_limit_holds_for_announced_and_streamed_bodies() {
    let client = Client::configured(|c| c.limits.max_object_bytes = 1000).await;
    assert_eq!(client.put("/v1/proofs/fits", vec![1; 1000]).await.status, 201);
    client.put("/v1/proofs/k", vec![1; 1001]).await.is_problem(413, "TOO_LARGE", "1000");
    let pieces = vec![Ok(vec![1; 600].into()), Ok(vec![1; 600].into())];
    client.put_stream("/v1/proofs/k", pieces).await.is_problem(413, "TOO_LARGE", "1000");
    assert_eq!(client.get("/v1/proofs/k").await.status, 404);
}
