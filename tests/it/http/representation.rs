//! One representation at every exit: gzip at rest is invisible but to those who ask for it.

use super::client::{Client, gunzip, gzip, sample_json};

const GZIP: [(&str, &str); 1] = [("accept-encoding", "gzip")];

#[tokio::test]
async fn json_is_compressed_at_rest_and_sent_in_the_form_the_client_takes() {
    let client = Client::new().await;
    let json = sample_json(13_000);
    let stored = client.put("/v1/proofs/k.json", json.clone()).await.json();
    assert_eq!(stored["encoding"], "gzip");
    assert_eq!(stored["size"], json.len());
    let stored_size = stored["stored_size"].as_u64().unwrap() as usize;
    assert!(stored_size < json.len() / 2);

    let plain = client.get("/v1/proofs/k.json").await;
    assert_eq!(plain.body, json);
    assert_eq!(plain.header("content-length"), Some(&*json.len().to_string()));
    assert_eq!(plain.header("content-encoding"), None);
    assert_eq!(plain.header("vary"), Some("Accept-Encoding"));

    let coded = client.call("GET", "/v1/proofs/k.json", &GZIP, "").await;
    assert_eq!(coded.header("content-encoding"), Some("gzip"));
    assert_eq!(coded.header("content-length"), Some(&*stored_size.to_string()));
    assert_eq!(gunzip(&coded.body), json);
    assert_ne!(coded.header("etag"), plain.header("etag"));
    assert_eq!(plain.header("etag"), stored["etag"].as_str());
    // The digest is of what the caller stored, whatever form is sent.
    assert_eq!(coded.header("repr-digest"), plain.header("repr-digest"));

    for headers in [&[][..], &GZIP] {
        let head = client.call("HEAD", "/v1/proofs/k.json", headers, "").await;
        let get = client.call("GET", "/v1/proofs/k.json", headers, "").await;
        assert_eq!(head.headers["etag"], get.headers["etag"]);
        assert_eq!(head.headers["content-length"], get.headers["content-length"]);
    }
}

#[tokio::test]
async fn what_does_not_pay_is_kept_as_it_is() {
    let client = Client::new().await;
    let noise: Vec<u8> = (0..4000_u64)
        .flat_map(|n| (n * n).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes())
        .collect();
    for (path, body) in [
        ("/v1/proofs/short.json", b"{}".repeat(500)),
        ("/v1/proofs/noise.json", noise),
        ("/v1/proofs/picture.png", sample_json(5000)),
    ] {
        let stored = client.put(path, body.clone()).await.json();
        assert_eq!(stored["encoding"], "identity", "{path}");
        assert_eq!(client.call("GET", path, &GZIP, "").await.body, body);
    }
}

#[tokio::test]
async fn c2pa_is_never_coded() {
    let client = Client::new().await;
    let manifest = sample_json(50_000);
    let plain = client.put("/v1/proofs/a.c2pa", manifest.clone()).await.json();
    assert_eq!(plain["encoding"], "identity");
    let headers = [("content-encoding", "gzip"), ("content-type", "Application/C2PA; x=y")];
    let sent = client.call("PUT", "/v1/proofs/b.c2pa", &headers, gzip(&manifest)).await.json();
    assert_eq!((&sent["encoding"], &sent["sha256"]), (&plain["encoding"], &plain["sha256"]));
    for path in ["/v1/proofs/a.c2pa", "/v1/proofs/b.c2pa"] {
        let got = client.call("GET", path, &GZIP, "").await;
        assert_eq!((got.header("content-encoding"), got.header("vary")), (None, None));
        assert_eq!(got.header("content-length"), Some(&*manifest.len().to_string()));
        assert_eq!(got.body, manifest);
    }
    let headers = [("proof-compression", "gzip")];
    let refused = client.call("PUT", "/v1/proofs/c.c2pa", &headers, "x").await;
    refused.is_problem(400, "INVALID_REQUEST", "Proof-Compression");
}

#[tokio::test]
async fn a_gzip_upload_is_the_proof_it_inflates_to() {
    let client = Client::new().await;
    let json = sample_json(20_000);
    let coded = gzip(&json);
    let headers = [("content-encoding", "gzip")];
    let stored = client.call("PUT", "/v1/proofs/k.json", &headers, coded.clone()).await;
    assert_eq!(stored.status, 201);
    assert_eq!(stored.json()["size"], json.len());
    assert_eq!(stored.json()["stored_size"], coded.len());
    // The same proof, sent plain.
    assert_eq!(client.put("/v1/proofs/k.json", json.clone()).await.status, 200);
    assert_eq!(client.get("/v1/proofs/k.json").await.body, json);
    // The caller's own coding is passed on as it is.
    assert_eq!(client.call("GET", "/v1/proofs/k.json", &GZIP, "").await.body, coded);
}

#[tokio::test]
async fn a_gzip_upload_that_is_none_is_refused() {
    let client = Client::new().await;
    let headers = [("content-encoding", "gzip")];
    let coded = gzip(&sample_json(3000));
    for bad in [&b"plain"[..], &coded[..coded.len() - 1], &[&coded[..], b"tail"].concat()] {
        let answer = client.call("PUT", "/v1/proofs/k", &headers, bad.to_vec()).await;
        answer.is_problem(400, "INVALID_REQUEST", "gzip");
    }
    assert_eq!(client.get("/v1/proofs/k").await.status, 404);
}

#[tokio::test]
async fn a_bomb_is_refused_by_the_limit_on_its_output() {
    let client = Client::configured(|c| c.limits.max_object_bytes = 1 << 20).await;
    let headers = [("content-encoding", "gzip")];
    let bomb = gzip(&vec![0; 64 << 20]);
    assert!(bomb.len() < 1 << 20);
    client.call("PUT", "/v1/proofs/k", &headers, bomb).await.is_problem(
        413,
        "TOO_LARGE",
        "1048576",
    );
}

#[tokio::test]
async fn the_caller_may_choose_the_form_at_rest() {
    let client = Client::new().await;
    let json = sample_json(5000);
    let identity = [("proof-compression", "identity")];
    let stored = client.call("PUT", "/v1/proofs/i.json", &identity, json.clone()).await.json();
    assert_eq!(stored["encoding"], "identity");
    let gzip = [("proof-compression", "gzip"), ("content-type", "image/png")];
    let stored = client.call("PUT", "/v1/proofs/g.png", &gzip, "tiny").await.json();
    assert_eq!(stored["encoding"], "gzip");
    assert_eq!(&client.get("/v1/proofs/g.png").await.body[..], b"tiny");
}

#[tokio::test]
async fn ranges_are_of_the_identity_form() {
    let client = Client::new().await;
    let json = sample_json(13_000);
    client.put("/v1/proofs/k.json", json.clone()).await;
    let headers = [("range", "bytes=100-199"), ("accept-encoding", "gzip")];
    let part = client.call("GET", "/v1/proofs/k.json", &headers, "").await;
    assert_eq!(part.status, 206);
    assert_eq!(part.body, json[100..200]);
    assert_eq!(part.header("content-range"), Some(&*format!("bytes 100-199/{}", json.len())));
    assert_eq!(part.header("content-length"), Some("100"));
    assert_eq!(part.header("content-encoding"), None);
    assert_eq!(part.header("etag"), client.get("/v1/proofs/k.json").await.header("etag"));
}

#[tokio::test]
async fn ranges_of_a_large_proof_in_either_form() {
    let client = Client::new().await;
    let json = sample_json(9 << 20);
    for (path, compression) in [("/v1/proofs/g.json", "gzip"), ("/v1/proofs/i.json", "identity")] {
        let headers = [("proof-compression", compression)];
        assert_eq!(client.call("PUT", path, &headers, json.clone()).await.status, 201);
        let middle = json.len() / 2;
        for (start, end) in
            [(0, 1), (65_535, 65_537), (middle, middle + 300_000), (json.len() - 5, json.len())]
        {
            let range = format!("bytes={start}-{}", end - 1);
            let part = client.call("GET", path, &[("range", &range)], "").await;
            assert_eq!((part.status.as_u16(), part.broken), (206, false));
            assert_eq!(part.body, json[start..end], "{path} {range}");
        }
        assert_eq!(client.get(path).await.body, json);
    }
}
