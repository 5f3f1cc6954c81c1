//! Whoever calls notices nothing of it but the word `envelope`.

use fake_s3::{FakeS3, Personality};
use proof_storage::config::Config;
use proof_storage::model::{Digest, Provider};
use proptest::prelude::*;
use serde_json::json;

use super::{CANARY, keyring, memory, service};
use crate::http::client::{Client, gunzip, sample_json};
use crate::s3::examined;

const GZIP: [(&str, &str); 1] = [("accept-encoding", "gzip")];
const FRAME: usize = 64 * 1024;

#[tokio::test]
async fn digests_tags_and_sizes_are_of_what_the_caller_stored() {
    let client = service(&memory(), "2026", true).await;
    let json = sample_json(200_000);
    let stored = client.put("/v1/proofs/k.json", json.clone()).await;
    assert_eq!(stored.status, 201);
    let stored = stored.json();
    assert_eq!((&stored["encryption"], &stored["encoding"]), (&json!("envelope"), &json!("gzip")));
    assert_eq!(stored["sha256"], Digest::of(&json).to_hex());
    assert_eq!(stored["size"], json.len());
    let metadata = client.get("/v1/metadata/k.json").await.json();
    let listed = client.get("/v1/proofs").await.json()["items"][0].clone();
    for field in ["size", "stored_size", "sha256", "etag", "encoding"] {
        assert_eq!((&metadata[field], &listed[field]), (&stored[field], &stored[field]), "{field}");
    }
    let plain = client.get("/v1/proofs/k.json").await;
    assert_eq!(plain.body, json);
    assert_eq!(plain.header("etag"), stored["etag"].as_str());
    let coded = client.call("GET", "/v1/proofs/k.json", &GZIP, "").await;
    assert_eq!(gunzip(&coded.body), json);
    assert_eq!(coded.header("content-length"), Some(&*coded.body.len().to_string()));
    // Each frame has its tag at rest.
    let tags = coded.body.len().div_ceil(FRAME) * 16;
    assert_eq!(stored["stored_size"], coded.body.len() + tags);
    for headers in [&[][..], &GZIP] {
        let head = client.call("HEAD", "/v1/proofs/k.json", headers, "").await;
        let get = client.call("GET", "/v1/proofs/k.json", headers, "").await;
        assert_eq!(head.headers["content-length"], get.headers["content-length"]);
        assert_eq!(head.headers["repr-digest"], get.headers["repr-digest"]);
    }
    let etag = stored["etag"].as_str().unwrap();
    let unchanged = client.call("GET", "/v1/proofs/k.json", &[("if-none-match", etag)], "").await;
    assert_eq!(unchanged.status, 304);

    // Written once; the same bytes again are the same proof, sealed anew or not.
    assert_eq!(client.put("/v1/proofs/k.json", json.clone()).await.status, 200);
    client.put("/v1/proofs/k.json", "other").await.is_problem(409, "ALREADY_EXISTS", "");
    let other = [("if-match", "\"other\"")];
    assert_eq!(client.call("PUT", "/v1/proofs/k.json", &other, "{}").await.status, 412);
    let same = [("if-match", etag)];
    assert_eq!(client.call("PUT", "/v1/proofs/k.json", &same, "{}").await.status, 200);
    assert_eq!(client.get("/v1/proofs/k.json").await.body, "{}");
}

#[tokio::test]
async fn who_asks_is_sealed_and_who_does_not_is_not() {
    let store = memory();
    let client = service(&store, "2026", false).await;
    for (asked, given) in [("none", "none"), ("envelope", "envelope"), ("AES256", "envelope")] {
        let path = format!("/v1/proofs/{asked}");
        let headers = [("proof-encryption", asked)];
        let stored = client.call("PUT", &path, &headers, "{}").await.json();
        assert_eq!(stored["encryption"], given, "of a store that does not encrypt by itself");
        assert_eq!(client.get(&format!("/v1/metadata/{asked}")).await.json()["encryption"], given);
    }
    let kms = [("proof-encryption", "aws:kms")];
    client.call("PUT", "/v1/proofs/kms", &kms, "{}").await.is_problem(501, "UNSUPPORTED", "kms");

    // Without keys nothing is sealed, and nothing that is sealed is sent.
    let without = service(&store, "", false).await;
    for asked in ["envelope", "AES256"] {
        let headers = [("proof-encryption", asked)];
        let refused = without.call("PUT", "/v1/proofs/new", &headers, "{}").await;
        refused.is_problem(501, "UNSUPPORTED", asked);
    }
    for method in ["GET", "HEAD"] {
        assert_eq!(without.call(method, "/v1/proofs/envelope", &[], "").await.status, 502);
    }
    let refused = without.get("/v1/proofs/envelope").await;
    refused.is_problem(502, "KEY_MISSING", "the key '2026'");
    let range = without.call("GET", "/v1/proofs/envelope", &[("range", "bytes=0-0")], "").await;
    range.is_problem(502, "KEY_MISSING", "'2026'");
    let copy = json!({ "source": "envelope", "destination": "copy" });
    without.post_json("/v1/copy", copy).await.is_problem(502, "KEY_MISSING", "'2026'");
    let listed = without.get("/v1/proofs").await.json();
    let names: Vec<_> = listed["items"].as_array().unwrap().iter().map(|i| &i["key"]).collect();
    assert_eq!(names, ["AES256", "envelope", "none"], "listed all the same");
    assert_eq!(without.get("/v1/proofs/none").await.body, "{}");
    assert_eq!(without.call("DELETE", "/v1/proofs/envelope", &[], "").await.status, 204);
}

#[tokio::test]
async fn copies_and_moves_open_under_their_new_names() {
    let store = memory();
    let client = service(&store, "2026", true).await;
    let large = sample_json(3_000_000);
    for (name, body) in [("small", b"{}".to_vec()), ("large.bin", large), ("empty", Vec::new())] {
        let stored = client.put(&format!("/v1/proofs/{name}"), body.clone()).await.json();
        let copied = format!("copies/{name}");
        let request = json!({ "source": name, "destination": copied });
        let copy = client.post_json("/v1/copy", request.clone()).await;
        assert_eq!((copy.status.as_u16(), &copy.json()["sha256"]), (201, &stored["sha256"]));
        assert_eq!(copy.json()["encryption"], "envelope");
        client.post_json("/v1/copy", request).await.is_problem(409, "ALREADY_EXISTS", "");
        let request = json!({ "source": copied, "destination": format!("moved/{name}") });
        let moved = client.post_json("/v1/move", request.clone()).await;
        assert_eq!((moved.status.as_u16(), &moved.json()["sha256"]), (201, &stored["sha256"]));
        client.post_json("/v1/move", request).await.is_problem(404, "NOT_FOUND", "");
        for (name, status) in [(name, 200), (&*copied, 404), (&*format!("moved/{name}"), 200)] {
            let found = client.get(&format!("/v1/proofs/{name}")).await;
            assert_eq!(found.status, status, "{name}");
            assert!(status == 404 || found.body == body, "{name}");
        }
    }
}

#[tokio::test]
async fn bodies_at_the_borders_of_frames_and_of_memory_come_back() {
    let client = service(&memory(), "2026", true).await;
    for size in [0, 1, FRAME - 1, FRAME, FRAME + 1, 2 * FRAME, (1 << 20) + 1, (8 << 20) + 1] {
        let body: Vec<u8> = (0..size).map(|n| (n * 7919 % 251) as u8).collect();
        let path = format!("/v1/proofs/{size}.bin");
        assert_eq!(client.put(&path, body.clone()).await.status, 201);
        let found = client.get(&path).await;
        assert!(found.body == body && !found.broken, "{size}");
    }
    // Of unknown length: by way of a temporary file.
    let pieces = (0..20).map(|n| Ok(vec![n; 50_000].into())).collect();
    assert_eq!(client.put_stream("/v1/proofs/stream.bin", pieces).await.status, 201);
    assert_eq!(client.get("/v1/proofs/stream.bin").await.body.len(), 1_000_000);
}

/// Of a proof that is too large to be checked whole for a range: only its frames are read.
#[test]
fn ranges_are_slices() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let size = (8 << 20) + 3 * FRAME + 5;
    let body: Vec<u8> = (0..size as u64).map(|n| (n * n % 249) as u8).collect();
    let client = runtime.block_on(async {
        let client = service(&memory(), "2026", true).await;
        assert_eq!(client.put("/v1/proofs/a.bin", body.clone()).await.status, 201);
        client
    });
    let config = ProptestConfig { cases: 64, ..ProptestConfig::default() };
    let border =
        (0..=size / FRAME, 0..40_usize).prop_map(|(n, d)| (n * FRAME + d).saturating_sub(20));
    let place = prop_oneof![0..size, border];
    proptest!(config, |(a in place.clone(), b in place.clone())| {
        let (first, last) = (a.min(b).min(size - 1), a.max(b).min(size - 1));
        let range = format!("bytes={first}-{last}");
        let headers = [("range", &*range)];
        let part = runtime.block_on(client.call("GET", "/v1/proofs/a.bin", &headers, ""));
        prop_assert_eq!(part.status.as_u16(), 206);
        prop_assert!(!part.broken && part.body == body[first..=last]);
    });
}

/// URLs of the bucket's own, of a CDN, and redirects lead to sealed bytes: none is given.
#[tokio::test]
async fn nobody_is_sent_past_the_service_to_sealed_bytes() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let (store, _) = examined(&server, Provider::S3).await;
    let mut config = Config::default();
    config.storage.keyring = Some(keyring("2026"));
    config.storage.redirect_downloads = vec![String::new()];
    config.storage.cdn_url = proof_storage::config::BaseUrl::parse("https://cdn.example").ok();
    let client = Client::over(std::sync::Arc::new(store), config).await;
    let sealed = [("proof-encryption", "envelope")];
    let ours = client.call("PUT", "/v1/proofs/sealed.txt", &sealed, CANARY).await.json();
    let plain = client.put("/v1/proofs/plain.txt", CANARY).await.json();
    assert!(plain["url"].as_str().unwrap().starts_with("https://cdn.example/"), "the control");
    assert!(ours["url"].as_str().unwrap().starts_with("http://127.0.0.1:8080/v1/"), "{ours}");
    assert_eq!(client.get("/v1/proofs/plain.txt").await.status, 307, "the control");
    assert_eq!(client.get("/v1/proofs/sealed.txt").await.body, CANARY);
    for (key, via) in [("plain.txt", "backend"), ("sealed.txt", "service"), ("new", "service")] {
        for method in ["GET", "HEAD"] {
            let request = json!({ "key": key, "method": method });
            assert_eq!(
                client.post_json("/v1/signed-urls", request).await.json()["via"],
                via,
                "{key}"
            );
        }
    }
    let insists = json!({ "key": "sealed.txt", "method": "GET", "via": "backend" });
    let refused = client.post_json("/v1/signed-urls", insists).await;
    refused.is_problem(501, "UNSUPPORTED", "use via: service");
}
