//! URLs that the backend signed, followed by a stranger: no credentials, no SDK.

use std::collections::HashMap;

use fake_s3::{FakeS3, Personality};
use proof_storage::config::Config;
use proof_storage::model::{ErrorKind, Provider, WriteMode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use proof_storage::backend::faulty::{Fault, Faulty, Operation};
use proof_storage::backend::s3::{Options, S3};

use super::{examined, options, paced};
use crate::http::client::{Answer, Client, gunzip, sample_json};

/// What a server answered.
struct Fetched {
    status: u16,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

/// One request on a connection of its own.
async fn fetch(method: &str, url: &str, headers: &[(String, String)], body: &[u8]) -> Fetched {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut head = format!("{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = std::str::from_utf8(&answer[..end]).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers: HashMap<_, _> =
        headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    assert!(!headers.contains_key("transfer-encoding"), "this reader knows lengths only");
    Fetched { status, headers, body: answer[end + 4..].to_vec() }
}

/// A service over a server of this personality.
async fn service(
    personality: Personality,
    provider: Provider,
    change: impl FnOnce(&mut Config),
) -> (FakeS3, Client) {
    let server = FakeS3::start(personality).unwrap();
    let (store, _) = examined(&server, provider).await;
    let store = paced(&server, store);
    let mut config = Config::default();
    change(&mut config);
    let client = Client::without_holds(store, config, proof_storage::audit::Audit::off()).await;
    (server, client)
}

async fn sign(client: &Client, body: Value) -> Value {
    let answer = client.post_json("/v1/signed-urls", body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

fn required(signed: &Value) -> Vec<(String, String)> {
    let headers = signed["headers"].as_object().unwrap().iter();
    headers.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_presigned_url_gives_what_the_service_gives() {
    for (personality, provider) in
        [(Personality::Aws, Provider::S3), (Personality::R2, Provider::R2)]
    {
        let (server, client) = service(personality, provider, |_| {}).await;
        let text = sample_json(20_000);
        let json_type = [("content-type", "application/json")];
        assert_eq!(
            client.call("PUT", "/v1/proofs/a.json", &json_type, text.clone()).await.status,
            201
        );
        client.put("/v1/proofs/b.c2pa", "jumbf").await;
        for (key, via, expected) in
            [("a.json", None, &text[..]), ("b.c2pa", Some("backend"), &b"jumbf"[..])]
        {
            for method in ["GET", "HEAD"] {
                let signed = sign(&client, json!({"key": key, "method": method, "via": via})).await;
                let url = signed["url"].as_str().unwrap();
                assert!(url.starts_with(&server.endpoint()), "{url}");
                assert_eq!(signed["via"], "backend");
                let gzip = [("accept-encoding".to_owned(), "gzip".to_owned())];
                let got = fetch(method, url, &gzip, b"").await;
                assert_eq!(got.status, 200, "{personality:?} {method} {key}");
                if method == "GET" {
                    let coded = got.headers.contains_key("content-encoding");
                    let body = if coded { gunzip(&got.body) } else { got.body };
                    assert_eq!(body, expected);
                    assert_eq!(coded, key == "a.json", "kept as gzip");
                }
                let other = if method == "GET" { "HEAD" } else { "GET" };
                assert_eq!(fetch(other, url, &[], b"").await.status, 403, "for one method only");
            }
        }
        // Readers of manifest stores stumble over a query.
        let signed = sign(&client, json!({"key": "b.c2pa", "method": "GET"})).await;
        assert_eq!(signed["via"], "service");
        let signed = json!({"key": "a.json", "method": "GET", "via": "service"});
        assert!(sign(&client, signed).await["url"].as_str().unwrap().contains("/v1/signed/"));
    }
}

/// Callers may reach the bucket under another host than the service does, and its name is signed.
#[tokio::test(flavor = "multi_thread")]
async fn a_presigned_url_has_the_host_that_callers_know() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let seen = server.endpoint().replace("127.0.0.1", "localhost");
    let options =
        Options { presign_endpoint: Some(seen.clone()), ..options(&server, Provider::S3) };
    let store = S3::connect(options).await;
    let client = Client::over(std::sync::Arc::new(store), Config::default()).await;
    client.put("/v1/proofs/a.json", "{}").await;
    let signed = sign(&client, json!({"key": "a.json", "method": "GET", "expires_in": 60})).await;
    let url = signed["url"].as_str().unwrap();
    assert!(url.starts_with(&format!("{seen}/")), "{url}");
    assert_eq!(fetch("GET", url, &[], b"").await.body, b"{}");
    let inside = url.replace("localhost", "127.0.0.1");
    assert_eq!(fetch("GET", &inside, &[], b"").await.status, 403, "the host is signed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_presigned_url_names_any_key() {
    for (personality, provider) in [
        (Personality::Aws, Provider::S3),
        (Personality::R2, Provider::R2),
        (Personality::Garage, Provider::S3),
    ] {
        let (server, client) = service(personality, provider, |_| {}).await;
        for key in ["a b", "a+b", "a&b=c?d#e", "a%2Fb/100%", "é/写真🖼", "a\"b'(c)*~!", "a:b@c;d,e$"]
        {
            server.put_raw(&format!("proofs/{key}"), key.as_bytes().to_vec(), Default::default());
            for method in ["GET", "HEAD"] {
                let signed = sign(&client, json!({"key": key, "method": method})).await;
                assert_eq!(signed["via"], "backend");
                let got = fetch(method, signed["url"].as_str().unwrap(), &[], b"").await;
                assert_eq!(got.status, 200, "{personality:?} {method} {key}");
                assert!(method == "HEAD" || got.body == key.as_bytes(), "{key}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_presigned_put_is_write_once_where_the_service_is() {
    for mode in [WriteMode::WriteOnce, WriteMode::Overwrite] {
        let change = |config: &mut Config| config.storage.write_mode = mode;
        let (_server, client) = service(Personality::Aws, Provider::S3, change).await;
        let signed =
            sign(&client, json!({"key": "up.c2pa", "method": "PUT", "via": "backend"})).await;
        let (url, headers) = (signed["url"].as_str().unwrap(), required(&signed));
        assert_eq!(signed["headers"]["content-type"], "application/c2pa");
        assert_eq!(fetch("PUT", url, &headers, b"first").await.status, 200);
        let again = fetch("PUT", url, &headers, b"other").await.status;
        assert_eq!(again, if mode == WriteMode::WriteOnce { 412 } else { 200 });
        let bare = fetch("PUT", url, &[], b"no headers").await.status;
        assert_eq!(bare, 403, "the headers are signed");
        let got = client.get("/v1/proofs/up.c2pa").await;
        let kept = if mode == WriteMode::WriteOnce { &b"first"[..] } else { b"other" };
        assert_eq!((&got.body[..], got.header("content-type")), (kept, Some("application/c2pa")));
        assert_eq!(got.header("repr-digest"), None, "nobody compared it with a digest");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_backend_cannot_promise_stays_with_the_service() {
    let (_server, client) = service(Personality::Garage, Provider::S3, |_| {}).await;
    let put = json!({"key": "a", "method": "PUT"});
    assert_eq!(sign(&client, put).await["via"], "service", "it would overwrite");
    let put = json!({"key": "a", "method": "PUT", "via": "backend"});
    client.post_json("/v1/signed-urls", put).await.is_problem(501, "UNSUPPORTED", "write-once");
    assert_eq!(sign(&client, json!({"key": "a", "method": "GET"})).await["via"], "backend");

    let (_server, client) = service(Personality::Aws, Provider::S3, |_| {}).await;
    let pinned = json!({"key": "a", "method": "PUT", "max_bytes": 5});
    assert_eq!(sign(&client, pinned).await["via"], "service");
    let pinned = json!({"key": "a", "method": "PUT", "max_bytes": 5, "via": "backend"});
    let answer = client.post_json("/v1/signed-urls", pinned).await;
    answer.is_problem(400, "INVALID_REQUEST", "max_bytes");

    // It would outlive the right.
    let rights = |config: &mut Config| config.auth.backend_urls = false;
    let (_server, client) = service(Personality::Aws, Provider::S3, rights).await;
    for method in ["GET", "HEAD", "PUT"] {
        let wish = json!({"key": "a", "method": method, "via": "backend"});
        let answer = client.post_json("/v1/signed-urls", wish).await;
        answer.is_problem(501, "UNSUPPORTED", "STORAGE_BACKEND_URLS=on");
        assert_eq!(sign(&client, json!({"key": "a", "method": method})).await["via"], "service");
    }

    let client = Client::new().await;
    assert_eq!(sign(&client, json!({"key": "a", "method": "GET"})).await["via"], "service");
    let get = json!({"key": "a", "method": "GET", "via": "backend"});
    client.post_json("/v1/signed-urls", get).await.is_problem(501, "UNSUPPORTED", "presign");
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_are_sent_on_only_where_nothing_is_lost() {
    let change = |config: &mut Config| {
        config.storage.redirect_downloads = vec!["open/".to_owned()];
    };
    let (server, client) = service(Personality::Aws, Provider::S3, change).await;
    let text = sample_json(20_000);
    let typed = |content_type: &'static str| [("content-type", content_type)];
    for (key, content_type) in [
        ("open/a.json", "application/json"),
        ("open/b.bin", "application/octet-stream"),
        ("open/c.c2pa", "application/c2pa"),
        ("open/d", "application/c2pa"),
        ("shut/a.json", "application/json"),
    ] {
        let path = format!("/v1/proofs/{key}");
        let put = client.call("PUT", &path, &typed(content_type), text.clone()).await;
        assert_eq!(put.status, 201);
    }
    let gzip = ("accept-encoding", "gzip");
    let call = async |method: &str, key: &str, headers: &[(&str, &str)]| -> Answer {
        client.call(method, &format!("/v1/proofs/{key}"), headers, "").await
    };
    for (key, headers) in [("open/a.json", &[gzip][..]), ("open/b.bin", &[])] {
        for method in ["GET", "HEAD"] {
            let sent_on = call(method, key, headers).await;
            assert_eq!(sent_on.status, 307, "{method} {key}");
            assert_eq!(sent_on.header("cache-control"), Some("private, no-store"));
            let location = sent_on.header("location").unwrap();
            assert!(location.starts_with(&server.endpoint()));
            let got = fetch(method, location, &[], b"").await;
            assert_eq!(got.status, 200);
            if method == "GET" {
                let coded = got.headers.contains_key("content-encoding");
                let body = if coded { gunzip(&got.body) } else { got.body };
                assert_eq!(body, text);
            }
        }
    }
    assert_eq!(call("GET", "open/b.bin", &[("range", "bytes=0-3")]).await.status, 307);
    let etag = call("GET", "shut/a.json", &[]).await.header("etag").unwrap().to_owned();
    for (key, headers, status) in [
        ("open/a.json", &[][..], 200),
        ("open/a.json", &[gzip, ("range", "bytes=0-3")], 206),
        ("open/b.bin", &[("if-none-match", &etag)], 304),
        ("open/c.c2pa", &[], 200),
        ("open/d", &[], 200),
        ("shut/a.json", &[gzip], 200),
        ("open/missing", &[], 404),
    ] {
        assert_eq!(call("GET", key, headers).await.status, status, "{key} {headers:?}");
    }
    // A right that cannot be given just now is no reason to refuse the bytes.
    let (store, _) = examined(&server, Provider::S3).await;
    let faulty = Faulty::new(store, 1);
    faulty.script(Operation::Presign, [Fault::Refuse(ErrorKind::Unavailable)]);
    let mut config = Config::default();
    change(&mut config);
    let unsigned = Client::over(std::sync::Arc::new(faulty), config).await;
    assert_eq!(unsigned.get("/v1/proofs/open/b.bin").await.body, text);
    assert_eq!(unsigned.get("/v1/proofs/open/b.bin").await.status, 307, "and the next one is");
    // A right that was given by us is used with us.
    let signed = json!({"key": "open/b.bin", "method": "GET", "via": "service"});
    let url = sign(&client, signed).await["url"].as_str().unwrap().to_owned();
    let path = url.strip_prefix("http://127.0.0.1:8080").unwrap();
    assert_eq!(client.get(path).await.status, 200);
}
