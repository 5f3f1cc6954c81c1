//! One assertion at least for every rule in which the vendors differ.

use std::io::Write as _;
use std::time::Duration;

use fake_s3::{FakeS3, Headers, Personality};
use flate2::write::GzEncoder;
use s3s::crypto::{Checksum as _, Crc32, Md5, Sha256};

use super::client::Client;
use super::{base64, start};

/// How many of 64 conditional writes at once say that they were the one.
async fn race(client: &Client, condition: &str, value: &str) -> usize {
    let writes = (0..64).map(|i| {
        let call = client.call("PUT", "raced").header(condition, value);
        // Of every race other bodies: the same one again would have the same ETag, and win too.
        tokio::spawn(call.body(format!("{condition} {i}")).send())
    });
    let mut winners = 0;
    for write in writes.collect::<Vec<_>>() {
        let answer = write.await.unwrap();
        assert!([200, 412].contains(&answer.status), "{}", answer.status);
        winners += usize::from(answer.status == 200);
    }
    winners
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_64_conditional_writes_wins_except_on_garage() {
    for (personality, winners) in
        [(Personality::Aws, 1), (Personality::R2, 1), (Personality::Garage, 64)]
    {
        let (_server, client) = start(personality);
        assert_eq!(race(&client, "if-none-match", "*").await, winners, "{personality:?}");
        let etag = client.get("raced").await.etag().to_owned();
        assert_eq!(race(&client, "if-match", &etag).await, winners, "{personality:?}");
    }
}

async fn sent_with(client: &Client, name: &str, value: &str) -> (u16, String) {
    let answer = client.call("PUT", "key").header(name, value).body("a").send().await;
    (answer.status, answer.code().to_owned())
}

#[tokio::test]
async fn aws_encrypts_everything() {
    let (_server, client) = start(Personality::Aws);
    let sse = "x-amz-server-side-encryption";
    let put = client.put("plain", "a").await;
    assert_eq!(put.header(sse), Some("AES256"));
    assert_eq!(client.get("plain").await.header(sse), Some("AES256"));
    let key_id = "x-amz-server-side-encryption-aws-kms-key-id";
    let put = client.call("PUT", "kms").header(sse, "aws:kms").header(key_id, "id-1").body("a");
    assert_eq!(put.send().await.header(sse), Some("aws:kms"));
    let head = client.call("HEAD", "kms").send().await;
    assert_eq!((head.header(sse), head.header(key_id)), (Some("aws:kms"), Some("id-1")));
    let put = client.call("PUT", "ia").header("x-amz-storage-class", "STANDARD_IA").body("a");
    assert_eq!(put.send().await.status, 200);
    assert_eq!(client.get("ia").await.header("x-amz-storage-class"), Some("STANDARD_IA"));
    assert_eq!(client.get("plain").await.header("x-amz-storage-class"), None);
}

#[tokio::test]
async fn what_is_not_simulated_is_refused() {
    let (_server, client) = start(Personality::Aws);
    let sse_c = "x-amz-server-side-encryption-customer-algorithm";
    assert_eq!(sent_with(&client, sse_c, "AES256").await.0, 501);
}

#[tokio::test]
async fn r2_refuses_what_it_has_not() {
    let (server, client) = start(Personality::R2);
    for (name, value) in [
        ("x-amz-tagging", "a=1"),
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-object-lock-mode", "GOVERNANCE"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-acl", "private"),
    ] {
        let refused = (501, "NotImplemented".to_owned());
        assert_eq!(sent_with(&client, name, value).await, refused, "{name}");
    }
    assert!(server.objects().is_empty());
    client.put("key", "a").await;
    for method in ["GET", "PUT", "DELETE"] {
        let body = "<Tagging><TagSet></TagSet></Tagging>";
        let answer = client.call(method, "key").query("tagging", "").body(body).send().await;
        assert_eq!(answer.status, 501, "{method}");
    }
    assert_eq!(client.get("key").await.header("x-amz-server-side-encryption"), None);
    let md5 = client.call("PUT", "md5").header("content-md5", &base64(Md5::checksum(b"a")));
    let both = md5.header("x-amz-checksum-crc32", &base64(Crc32::checksum(b"a"))).body("a");
    assert_eq!(both.send().await.status, 400);
    let meta = |size: usize| "v".repeat(size - 1);
    assert_eq!(sent_with(&client, "x-amz-meta-n", &meta(8192)).await.0, 200);
    assert_eq!(sent_with(&client, "x-amz-meta-n", &meta(8193)).await.0, 400);
}

#[tokio::test]
async fn r2_has_its_own_conditions_for_a_copys_destination() {
    let (_server, client) = start(Personality::R2);
    let etag = client.put("from", "a").await.etag().to_owned();
    client.put("to", "a").await;
    let copy = |name: &str, value: &str| {
        let call = client.call("PUT", "to").header("x-amz-copy-source", "proofs/from");
        let call = call.header(name, value);
        async move { call.send().await.status }
    };
    assert_eq!(copy("if-none-match", "*").await, 501);
    assert_eq!(copy("if-match", &etag).await, 501);
    assert_eq!(copy("cf-copy-destination-if-none-match", "*").await, 412);
    assert_eq!(copy("cf-copy-destination-if-match", "\"x\"").await, 412);
    assert_eq!(copy("cf-copy-destination-if-match", &etag).await, 200);
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn r2_inflates_gzip_and_the_others_do_not() {
    let packed = gzip("plain text");
    for personality in Personality::ALL {
        let (server, client) = start(personality);
        let put = client.call("PUT", "key").header("content-encoding", "gzip");
        assert_eq!(put.body(packed.clone()).send().await.status, 200);
        assert_eq!(server.raw("key").unwrap().bytes, packed);
        let asked = client.call("GET", "key").header("accept-encoding", "gzip").send().await;
        assert_eq!(
            (asked.header("content-encoding"), &asked.body[..]),
            (Some("gzip"), &packed[..])
        );
        let get = client.get("key").await;
        let head = client.call("HEAD", "key").header("accept-encoding", "gzip").send().await;
        let plain_head = client.call("HEAD", "key").send().await;
        assert!(plain_head.header("content-length").is_some());
        if personality == Personality::R2 {
            assert_eq!(get.text(), "plain text");
            assert_eq!(
                (get.header("content-encoding"), get.header("content-length")),
                (None, None)
            );
            assert!(get.etag().starts_with("W/\""));
            assert_eq!(head.header("content-length"), None);
        } else {
            assert_eq!(
                (get.header("content-encoding"), &get.body[..]),
                (Some("gzip"), &packed[..])
            );
            assert!(get.etag().starts_with('"'));
            assert!(head.header("content-length").is_some());
        }
    }
}

#[tokio::test]
async fn writes_of_one_key_may_be_rated() {
    for personality in [Personality::Aws, Personality::Garage] {
        let server = FakeS3::start(personality).unwrap();
        let client = Client::new(&server);
        assert_eq!(client.put("key", "a").await.status, 200);
        assert_eq!(client.put("key", "b").await.status, 200, "as fast as one likes");
    }
    let server = FakeS3::start(Personality::R2).unwrap();
    let client = Client::new(&server);
    assert_eq!(client.put("key", "a").await.status, 200);
    assert_eq!(client.put("key", "b").await.status, 429, "one a second");
    server.set_write_interval(Some(Duration::from_secs(3600)));
    server.remove_raw("key");
    let soon = client.put("key", "d").await;
    assert_eq!((soon.status, soon.code()), (429, "TooManyRequests"));
    assert_eq!(client.put("other", "a").await.status, 200);
    server.set_write_interval(Some(Duration::from_millis(1)));
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(client.put("key", "e").await.status, 200);
}

#[tokio::test]
async fn garage_ignores_conditions() {
    let (server, client) = start(Personality::Garage);
    client.put("key", "a").await;
    for (name, value) in [("if-none-match", "*"), ("if-match", "\"x\"")] {
        assert_eq!(sent_with(&client, name, value).await.0, 200);
        let copy = client.call("PUT", "copied").header("x-amz-copy-source", "proofs/key");
        assert_eq!(copy.header(name, value).send().await.status, 200);
    }
    let delete = client.call("DELETE", "key").header("if-match", "\"x\"").send().await;
    assert_eq!(delete.status, 204);
    assert!(server.raw("key").is_none());
}

#[tokio::test]
async fn garage_drops_what_it_has_not() {
    let (server, client) = start(Personality::Garage);
    for (name, value) in [
        ("x-amz-tagging", "a=1"),
        ("x-amz-server-side-encryption", "AES256"),
        ("x-amz-server-side-encryption", "aws:kms"),
        ("x-amz-storage-class", "GLACIER"),
        ("x-amz-object-lock-mode", "GOVERNANCE"),
    ] {
        let answer = client.call("PUT", "key").header(name, value).body("a").send().await;
        assert_eq!((answer.status, answer.header(name)), (200, None), "{name}");
        assert_eq!(client.get("key").await.header(name), None, "{name}");
        assert_eq!(server.raw("key").unwrap().headers, Headers::default(), "{name}");
    }
    assert_eq!(client.call("GET", "key").query("tagging", "").send().await.status, 501);
    let body = "<Tagging><TagSet></TagSet></Tagging>";
    let put = client.call("PUT", "key").query("tagging", "").body(body).send().await;
    assert_eq!(put.status, 501);
    assert_eq!(client.call("GET", "").query("versioning", "").send().await.status, 501);
    let attributes = client.call("GET", "key").query("attributes", "");
    let attributes = attributes.header("x-amz-object-attributes", "ETag").send().await;
    assert_eq!(attributes.status, 500);
    assert_eq!(sent_with(&client, "x-amz-meta-n", &"v".repeat(4096)).await.0, 200);
}

#[tokio::test]
async fn garage_has_other_errors() {
    let (server, client) = start(Personality::Garage);
    let wrong = base64(Sha256::checksum(b"other"));
    let refused = (400, "InvalidDigest".to_owned());
    assert_eq!(sent_with(&client, "x-amz-checksum-sha256", &wrong).await, refused);
    let put = client.call("PUT", "key").payload(&"0".repeat(64)).body("a").send().await;
    assert_eq!(put.code(), "InvalidDigest");
    server.set_quota(Some(10));
    assert_eq!(client.put("key", "12345678").await.status, 200);
    let full = client.put("more", "123").await;
    assert_eq!((full.status, full.code()), (403, "AccessDenied"));
    assert!(full.text().contains("quota is reached"));
    assert_eq!(client.put("key", "1234567890").await.status, 200, "replaces, and fits");
    server.set_quota(None);
    assert_eq!(client.put("more", "123").await.status, 200);
}

#[test]
fn personalities_have_names() {
    let named = ["aws", "r2", "garage"].map(str::parse::<Personality>);
    assert_eq!(named.map(Result::unwrap), Personality::ALL);
    assert!("minio".parse::<Personality>().is_err());
    assert!(FakeS3::SECRET_KEY.len() == 40 && FakeS3::ACCESS_KEY.len() == 20, "as AWS's are");
}
