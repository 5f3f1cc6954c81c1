//! What all personalities do alike, and signatures, conditions, checksums and limits as AWS has them.

use fake_s3::{Headers, Personality};
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha256};

use super::client::Client;
use super::{base64, start};

#[tokio::test]
async fn an_object_comes_back_as_it_was_sent() {
    for personality in Personality::ALL {
        let (server, client) = start(personality);
        let put = client
            .call("PUT", "a/b c+é.json")
            .header("content-type", "application/json")
            .header("cache-control", "no-store")
            .header("x-amz-meta-name", "value")
            .body("hello")
            .send()
            .await;
        assert_eq!((put.status, put.etag()), (200, "\"5d41402abc4b2a76b9719d911017c592\""));
        let get = client.get("a/b c+é.json").await;
        assert_eq!((get.status, get.text()), (200, "hello"));
        assert_eq!(get.header("content-type"), Some("application/json"));
        assert_eq!(get.header("cache-control"), Some("no-store"));
        assert_eq!(get.header("x-amz-meta-name"), Some("value"));
        assert_eq!(get.etag(), put.etag());
        let head = client.call("HEAD", "a/b c+é.json").send().await;
        assert_eq!((head.status, head.header("content-length")), (200, Some("5")));
        assert_eq!(server.raw("a/b c+é.json").unwrap().bytes, "hello");
        assert_eq!(client.get("missing").await.code(), "NoSuchKey");
        assert_eq!(client.call("HEAD", "missing").send().await.status, 404);
        assert_eq!(client.call("DELETE", "a/b c+é.json").send().await.status, 204);
        assert_eq!(client.call("DELETE", "a/b c+é.json").send().await.status, 204, "still gone");
        assert_eq!(client.get("a/b c+é.json").await.status, 404);
        let counts = server.requests();
        assert_eq!((counts.of("PutObject"), counts.of("DeleteObject")), (1, 2));
        assert_eq!(server.requests().since(&counts).total(), 0);
    }
}

#[tokio::test]
async fn planted_objects_are_served() {
    let (server, client) = start(Personality::Aws);
    let headers = Headers { content_type: Some("text/x".into()), ..Headers::default() };
    server.put_raw("planted", "bytes", headers);
    let get = client.get("planted").await;
    assert_eq!((get.text(), get.header("content-type")), ("bytes", Some("text/x")));
    server.alter_raw("planted", |object| object.bytes = "other".into());
    assert_eq!(client.get("planted").await.text(), "other");
    assert_eq!(client.get("planted").await.etag(), get.etag(), "as damage is: unseen");
    server.remove_raw("planted");
    assert!(server.objects().is_empty());
}

#[tokio::test]
async fn wrong_signatures_are_refused() {
    let (server, client) = start(Personality::Aws);
    let with = |change: fn(&mut Client)| {
        let mut client = client.clone();
        change(&mut client);
        async move { client.get("key").await }
    };
    let answer = with(|client| client.secret = "wrong".into()).await;
    assert_eq!((answer.status, answer.code()), (403, "SignatureDoesNotMatch"));
    let answer = with(|client| client.access_key = "nobody".into()).await;
    assert_eq!((answer.status, answer.code()), (403, "InvalidAccessKeyId"));
    let answer = with(|client| client.late = 16 * 60).await;
    assert_eq!((answer.status, answer.code()), (403, "RequestTimeTooSkewed"));
    let answer = with(|client| client.late = 14 * 60).await;
    assert_eq!(answer.status, 404, "within a quarter of an hour");
    let host = server.address().to_string();
    let answer = client.call("GET", "key").header("host", &host).transmit("/proofs/key").await;
    assert_eq!(answer.unwrap().status, 403, "without a signature");
    let answer = client.call("PUT", "key").body("a").payload(&"0".repeat(64)).send().await;
    assert_eq!((answer.status, answer.code()), (400, "XAmzContentSHA256Mismatch"));
    assert!(server.objects().is_empty());
}

#[tokio::test]
async fn presigned_urls() {
    let (_server, client) = start(Personality::Aws);
    client.put("key", "hello").await;
    let get = client.call("GET", "key").query("response-content-type", "text/x");
    let answer = get.send_presigned(60).await;
    assert_eq!((answer.status, answer.text()), (200, "hello"));
    assert_eq!(answer.header("content-type"), Some("text/x"));
    let late = Client { late: 120, ..client.clone() };
    let answer = late.call("GET", "key").send_presigned(60).await;
    assert_eq!((answer.status, answer.code()), (403, "AccessDenied"), "expired");
    assert_eq!(late.call("GET", "key").send_presigned(180).await.status, 200);
    let answer = client.call("GET", "key").send_presigned(604_801).await;
    assert_eq!(answer.code(), "AuthorizationQueryParametersError");
    let target = client.call("GET", "key").presigned(60);
    let host = client.address.to_string();
    let head = client.call("HEAD", "key").header("host", &host).transmit(&target).await.unwrap();
    assert_eq!(head.status, 403, "signed for another method");
    let put = client.call("PUT", "new").body("presigned").send_presigned(60).await;
    assert_eq!((put.status, client.get("new").await.text()), (200, "presigned"));
}

#[tokio::test]
async fn ranges_and_conditions_of_reads() {
    let (_server, client) = start(Personality::Aws);
    client.put("key", "0123456789").await;
    let read = |name: &'static str, value: String| {
        let call = client.call("GET", "key").header(name, &value);
        async move { call.send().await }
    };
    let range = |range: &str| read("range", range.to_owned());
    let two = range("bytes=2-4").await;
    assert_eq!((two.status, two.text()), (206, "234"));
    assert_eq!(two.header("content-range"), Some("bytes 2-4/10"));
    assert_eq!(range("bytes=7-").await.text(), "789");
    assert_eq!(range("bytes=-2").await.text(), "89");
    assert_eq!(range("bytes=8-100").await.text(), "89");
    let answer = range("bytes=10-").await;
    assert_eq!((answer.status, answer.code()), (416, "InvalidRange"));
    let etag = client.get("key").await.etag().to_owned();
    assert_eq!(read("if-match", etag.clone()).await.status, 200);
    assert_eq!(read("if-match", "\"x\"".into()).await.status, 412);
    let unchanged = read("if-none-match", etag.clone()).await;
    assert_eq!((unchanged.status, unchanged.etag()), (304, etag.as_str()));
    assert_eq!(read("if-none-match", "\"x\"".into()).await.status, 200);
    let future = "Fri, 31 Dec 2100 23:59:59 GMT".to_owned();
    let past = "Sun, 06 Nov 1994 08:49:37 GMT".to_owned();
    assert_eq!(read("if-modified-since", future.clone()).await.status, 304);
    assert_eq!(read("if-modified-since", past.clone()).await.status, 200);
    assert_eq!(read("if-unmodified-since", past).await.status, 412);
    assert_eq!(read("if-unmodified-since", future).await.status, 200);
}

#[tokio::test]
async fn conditions_of_writes() {
    for personality in [Personality::Aws, Personality::R2] {
        let (_server, client) = start(personality);
        let put = |name: &'static str, value: String| {
            let call = client.call("PUT", "key").header(name, &value).body("b");
            async move { call.send().await }
        };
        assert_eq!(put("if-match", "\"x\"".into()).await.status, 404, "there is nothing yet");
        assert_eq!(put("if-none-match", "*".into()).await.status, 200);
        let refused = put("if-none-match", "*".into()).await;
        assert_eq!((refused.status, refused.code()), (412, "PreconditionFailed"));
        assert_eq!(put("if-none-match", "\"x\"".into()).await.status, 501, "only *");
        assert_eq!(put("if-match", "\"x\"".into()).await.status, 412);
        let etag = client.get("key").await.etag().to_owned();
        assert_eq!(put("if-match", etag.clone()).await.status, 200);
        let delete = |key: &str, value: &str| {
            let call = client.call("DELETE", key).header("if-match", value);
            async move { call.send().await.status }
        };
        assert_eq!(delete("key", "\"x\"").await, 412);
        assert_eq!(delete("missing", "\"x\"").await, 404);
        assert_eq!(delete("missing", "*").await, 404);
        assert_eq!(delete("key", &etag).await, 204);
    }
}

#[tokio::test]
async fn checksums_are_verified_and_kept() {
    let (server, client) = start(Personality::Aws);
    let body = b"hello";
    for (name, right) in [
        ("x-amz-checksum-sha256", base64(Sha256::checksum(body))),
        ("x-amz-checksum-crc32", base64(Crc32::checksum(body))),
        ("x-amz-checksum-crc32c", base64(Crc32c::checksum(body))),
        ("x-amz-checksum-crc64nvme", base64(Crc64Nvme::checksum(body))),
        ("content-md5", base64(Md5::checksum(body))),
    ] {
        let put = |value: String| {
            let call = client.call("PUT", name).header(name, &value).body("hello");
            async move { call.send().await }
        };
        let wrong = match name {
            "content-md5" => base64([0; 16]),
            _ => "AAAAAA==".into(),
        };
        let answer = put(wrong).await;
        assert_eq!((answer.status, answer.code()), (400, "BadDigest"), "{name}");
        assert!(server.raw(name).is_none());
        assert_eq!(put(right.clone()).await.status, 200, "{name}");
        let get = client.call("GET", name).header("x-amz-checksum-mode", "ENABLED").send().await;
        let kept = if name == "content-md5" { "x-amz-checksum-crc64nvme" } else { name };
        assert!(get.header(kept).is_some(), "{name}");
        assert!(name == "content-md5" || get.header(name) == Some(&right));
        assert_eq!(get.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
    }
    let two = client.call("PUT", "two").body("hello");
    let two = two.header("x-amz-checksum-crc32", &base64(Crc32::checksum(body)));
    let two = two.header("x-amz-checksum-sha256", &base64(Sha256::checksum(body))).send().await;
    assert_eq!(two.code(), "InvalidRequest");
    let bad = client.call("PUT", "bad").body("hello").header("content-md5", "no").send().await;
    assert_eq!(bad.code(), "InvalidDigest");
    let announced = client.call("PUT", "x").header("x-amz-sdk-checksum-algorithm", "CRC32");
    assert_eq!(announced.body("a").send().await.code(), "InvalidRequest");
}

/// One chunk, the last chunk, and the trailer.
fn chunked(client: &Client, key: &str, sent: &str, checksum: &str) -> super::client::Call {
    let length = sent.len();
    let body = format!("{length:x}\r\n{sent}\r\n0\r\nx-amz-checksum-crc32:{checksum}\r\n\r\n");
    client
        .call("PUT", key)
        .header("content-encoding", "aws-chunked,gzip")
        .header("x-amz-decoded-content-length", &length.to_string())
        .header("x-amz-trailer", "x-amz-checksum-crc32")
        .payload("STREAMING-UNSIGNED-PAYLOAD-TRAILER")
        .body(body)
}

#[tokio::test]
async fn trailers_are_verified() {
    let (server, client) = start(Personality::Aws);
    let right = base64(Crc32::checksum(b"hello"));
    assert_eq!(chunked(&client, "key", "hello", &right).send().await.status, 200);
    let stored = server.raw("key").unwrap();
    assert_eq!(stored.bytes, "hello");
    assert_eq!(
        stored.headers.content_encoding.as_deref(),
        Some("gzip"),
        "aws-chunked is no coding"
    );
    let wrong = chunked(&client, "other", "hallo", &right).send().await;
    assert_eq!((wrong.status, wrong.code()), (400, "BadDigest"));
    assert!(server.raw("other").is_none());
    let missing = chunked(&client, "other", "hello", &right).body("5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(missing.send().await.code(), "InvalidRequest", "the trailer was promised");
    let (_r2, client) = start(Personality::R2);
    let refused = chunked(&client, "key", "hello", &right).send().await;
    assert_eq!((refused.status, refused.code()), (501, "NotImplemented"));
}

#[tokio::test]
async fn limits() {
    let (_server, client) = start(Personality::Aws);
    assert_eq!(client.put(&"k".repeat(1024), "a").await.status, 200);
    assert_eq!(client.put(&"k".repeat(1025), "a").await.code(), "KeyTooLongError");
    let meta = |bytes: usize| {
        let call = client.call("PUT", "meta").header("x-amz-meta-n", &"v".repeat(bytes - 1));
        async move { call.body("a").send().await }
    };
    assert_eq!(meta(2048).await.status, 200);
    assert_eq!(meta(2049).await.code(), "MetadataTooLarge");
    let tags = |header: String| {
        let call = client.call("PUT", "tags").header("x-amz-tagging", &header).body("a");
        async move { call.send().await }
    };
    let many = |count: usize| (0..count).map(|i| format!("t{i}=v")).collect::<Vec<_>>().join("&");
    assert_eq!(tags(many(10)).await.status, 200);
    assert_eq!(tags(many(11)).await.status, 400);
    assert_eq!(tags(format!("{}=v", "n".repeat(129))).await.code(), "InvalidTag");
    assert_eq!(tags(format!("n={}", "v".repeat(257))).await.code(), "InvalidTag");
    assert_eq!(tags("a=1&a=2".into()).await.code(), "InvalidTag");
    let class = client.call("PUT", "class").header("x-amz-storage-class", "COLD").body("a");
    assert_eq!(class.send().await.code(), "InvalidStorageClass");
}

fn deletion(keys: impl IntoIterator<Item = String>) -> String {
    let objects: String =
        keys.into_iter().map(|key| format!("<Object><Key>{key}</Key></Object>")).collect();
    format!("<Delete>{objects}</Delete>")
}

#[tokio::test]
async fn batch_delete() {
    for personality in Personality::ALL {
        let (server, client) = start(personality);
        for i in 0..3 {
            server.put_raw(&format!("k{i}"), "a", Headers::default());
        }
        let delete = |count: usize| {
            let body = deletion((1..=count).map(|i| format!("k{i}")));
            let call = client.call("POST", "").query("delete", "").body(body.clone());
            let call =
                call.header("x-amz-checksum-crc32", &base64(Crc32::checksum(body.as_bytes())));
            async move { call.send().await }
        };
        let answer = delete(1000).await;
        assert_eq!((answer.status, answer.all("Deleted").len()), (200, 1000));
        assert_eq!(server.objects().keys().collect::<Vec<_>>(), ["k0"]);
        assert_eq!(server.requests().of("DeleteObjects"), 1);
        let status = if personality == Personality::Garage { 200 } else { 400 };
        assert_eq!(delete(1001).await.status, status, "{personality:?}");
    }
}

#[tokio::test]
async fn copies() {
    let (server, client) = start(Personality::Aws);
    client
        .call("PUT", "from é")
        .header("content-type", "text/x")
        .header("x-amz-meta-a", "1")
        .header("x-amz-tagging", "t=1")
        .header("x-amz-checksum-sha256", &base64(Sha256::checksum(b"hello")))
        .body("hello")
        .send()
        .await;
    let copy =
        |to: &str| client.call("PUT", to).header("x-amz-copy-source", "/proofs/from%20%C3%A9");
    let plain = copy("to").send().await;
    assert_eq!(plain.status, 200);
    assert_eq!(plain.all("ETag").len(), 1);
    let (from, to) = (server.raw("from é").unwrap(), server.raw("to").unwrap());
    assert_eq!((&from.bytes, &from.headers, &from.etag), (&to.bytes, &to.headers, &to.etag));
    let replaced = copy("to")
        .header("x-amz-metadata-directive", "REPLACE")
        .header("x-amz-tagging-directive", "REPLACE")
        .header("x-amz-meta-b", "2");
    assert_eq!(replaced.send().await.status, 200);
    let to = server.raw("to").unwrap();
    assert!(to.headers.tags.is_empty() && !to.headers.metadata.contains_key("a"));
    assert_eq!(to.headers.content_type, None);
    assert_eq!(copy("from é").send().await.code(), "InvalidRequest", "onto itself");
    let etag = format!("\"{}\"", from.etag);
    let conditional = |to: &str, name: &str, value: &str| {
        let call = copy(to).header(name, value);
        async move { call.send().await.status }
    };
    assert_eq!(conditional("to", "x-amz-copy-source-if-match", &etag).await, 200);
    assert_eq!(conditional("to", "x-amz-copy-source-if-match", "\"x\"").await, 412);
    assert_eq!(conditional("to", "x-amz-copy-source-if-none-match", &etag).await, 412);
    assert_eq!(conditional("to", "if-none-match", "*").await, 412);
    assert_eq!(conditional("fresh", "if-none-match", "*").await, 200);
    assert_eq!(conditional("to", "if-match", "\"x\"").await, 412);
    assert_eq!(conditional("to", "if-match", &etag).await, 200);
    let missing = client.call("PUT", "to").header("x-amz-copy-source", "proofs/missing");
    assert_eq!(missing.send().await.code(), "NoSuchKey");
}
