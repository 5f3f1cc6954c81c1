//! Uploads in parts.

use bytes::Bytes;
use fake_s3::Personality;
use s3s::crypto::{Checksum as _, Sha256};

use super::client::{Answer, Client};
use super::{base64, start};

const LEAST: usize = 5 << 20;

async fn begin(client: &Client, key: &str) -> String {
    let call = client.call("POST", key).query("uploads", "");
    let answer = call.header("content-type", "text/x").send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.all("UploadId")[0].to_owned()
}

async fn part(client: &Client, key: &str, id: &str, number: usize, body: Bytes) -> String {
    let call = client.call("PUT", key).query("uploadId", id);
    let answer = call.query("partNumber", &number.to_string()).body(body).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.etag().to_owned()
}

fn completion(etags: &[String]) -> String {
    let part = |(i, etag): (usize, &String)| {
        format!("<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag></Part>", i + 1)
    };
    let parts: String = etags.iter().enumerate().map(part).collect();
    format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
}

async fn uploaded(client: &Client, key: &str, sizes: &[usize], condition: (&str, &str)) -> Answer {
    let id = begin(client, key).await;
    let mut etags = Vec::new();
    for (i, size) in sizes.iter().enumerate() {
        etags.push(part(client, key, &id, i + 1, vec![b'a' + i as u8; *size].into()).await);
    }
    let call = client.call("POST", key).query("uploadId", &id).body(completion(&etags));
    let call = if condition.0.is_empty() { call } else { call.header(condition.0, condition.1) };
    call.send().await
}

#[tokio::test]
async fn parts_become_one_object() {
    for personality in Personality::ALL {
        let (server, client) = start(personality);
        let answer = uploaded(&client, "key", &[LEAST, LEAST, 3], ("", "")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let stored = server.raw("key").unwrap();
        assert_eq!(stored.bytes.len(), 2 * LEAST + 3);
        assert_eq!(&stored.bytes[2 * LEAST - 1..], b"bccc");
        assert!(stored.etag.ends_with("-3") && stored.etag.len() == 34);
        assert!(answer.text().contains(&stored.etag));
        assert_eq!(stored.headers.content_type.as_deref(), Some("text/x"));
        assert!(server.uploads().is_empty());
    }
}

#[tokio::test]
async fn parts_have_rules() {
    let (server, client) = start(Personality::Aws);
    let small = uploaded(&client, "key", &[LEAST - 1, 3], ("", "")).await;
    assert_eq!((small.status, small.code()), (400, "EntityTooSmall"));
    let empty = client.call("POST", "key").query("uploadId", &begin(&client, "key").await);
    let empty = empty.body("<CompleteMultipartUpload></CompleteMultipartUpload>").send().await;
    assert_eq!(empty.code(), "MalformedXML");
    let id = begin(&client, "other").await;
    let etag = part(&client, "other", &id, 1, "abc".into()).await;
    let complete = |body: String| {
        let call = client.call("POST", "other").query("uploadId", &id).body(body);
        async move { call.send().await }
    };
    let answer = complete(completion(&["\"x\"".into()])).await;
    assert_eq!(answer.code(), "InvalidPart");
    let twice = completion(&[etag.clone(), etag.clone()]).replace(">2<", ">1<");
    assert_eq!(complete(twice).await.code(), "InvalidPartOrder");
    let wrong = client.call("PUT", "other").query("uploadId", &id).query("partNumber", "2");
    let wrong = wrong.header("x-amz-checksum-sha256", &base64([0; 32])).body("b").send().await;
    assert_eq!(wrong.code(), "BadDigest");
    assert_eq!(complete(completion(std::slice::from_ref(&etag))).await.status, 200);
    assert_eq!(complete(completion(&[etag])).await.code(), "NoSuchUpload");
    assert_eq!(server.uploads(), ["key", "key"]);
}

#[tokio::test]
async fn r2_wants_even_parts() {
    for personality in Personality::ALL {
        let (_server, client) = start(personality);
        let uneven = uploaded(&client, "key", &[LEAST, LEAST + 1, 3], ("", "")).await;
        let (status, code) =
            if personality == Personality::R2 { (400, "InvalidPart") } else { (200, "") };
        assert_eq!((uneven.status, uneven.code()), (status, code), "{personality:?}");
    }
}

#[tokio::test]
async fn completion_has_conditions() {
    for personality in Personality::ALL {
        let (server, client) = start(personality);
        client.put("key", "old").await;
        let create = uploaded(&client, "key", &[3], ("if-none-match", "*")).await;
        let (status, left) = if personality == Personality::Garage { (200, 0) } else { (412, 1) };
        assert_eq!((create.status, server.uploads().len()), (status, left), "{personality:?}");
        let replace = uploaded(&client, "key", &[3], ("if-match", "\"x\"")).await;
        assert_eq!(replace.status, status, "{personality:?}");
        let fresh = uploaded(&client, "fresh", &[3], ("if-none-match", "*")).await;
        assert_eq!(fresh.status, 200);
    }
}

#[tokio::test]
async fn uploads_are_listed_and_aborted() {
    let (server, client) = start(Personality::Aws);
    let (first, second) = (begin(&client, "a/1").await, begin(&client, "b/1").await);
    part(&client, "a/1", &first, 1, "abc".into()).await;
    part(&client, "a/1", &first, 2, "de".into()).await;
    let parts = client.call("GET", "a/1").query("uploadId", &first);
    assert_eq!(parts.send().await.all("Size"), ["3", "2"]);
    let parts = client.call("GET", "a/1").query("uploadId", &first).query("max-parts", "1");
    let parts = parts.send().await;
    assert_eq!((parts.all("Size"), parts.all("IsTruncated")), (vec!["3"], vec!["true"]));
    let uploads = client.call("GET", "").query("uploads", "").send().await;
    assert_eq!(uploads.all("UploadId"), [first.as_str(), second.as_str()]);
    let uploads = client.call("GET", "").query("uploads", "").query("prefix", "b/").send().await;
    assert_eq!(uploads.all("Key"), ["b/1"]);
    let abort = |key: &str, id: &str| {
        let call = client.call("DELETE", key).query("uploadId", id);
        async move { call.send().await.status }
    };
    assert_eq!(abort("b/1", &first).await, 404, "another key's");
    assert_eq!(abort("a/1", &first).await, 204);
    assert_eq!(abort("a/1", &first).await, 404);
    assert_eq!(server.uploads(), ["b/1"]);
}

#[tokio::test]
async fn parts_are_copied() {
    let (server, client) = start(Personality::Aws);
    client.put("from", "0123456789").await;
    let id = begin(&client, "to").await;
    let copy = client.call("PUT", "to").query("uploadId", &id).query("partNumber", "1");
    let copy = copy.header("x-amz-copy-source", "proofs/from");
    let copy = copy.header("x-amz-copy-source-range", "bytes=2-4").send().await;
    let etag = copy.all("ETag")[0].replace("&quot;", "\"");
    let call = client.call("POST", "to").query("uploadId", &id).body(completion(&[etag]));
    assert_eq!(call.send().await.status, 200);
    assert_eq!(server.raw("to").unwrap().bytes, "234");
}

#[tokio::test]
async fn composite_checksums() {
    let (_server, client) = start(Personality::Aws);
    let call = client.call("POST", "key").query("uploads", "");
    let call = call.header("x-amz-checksum-algorithm", "SHA256").send().await;
    let id = call.all("UploadId")[0].to_owned();
    let digest = Sha256::checksum(b"abc");
    let put = client.call("PUT", "key").query("uploadId", &id).query("partNumber", "1");
    let put = put.header("x-amz-checksum-sha256", &base64(digest)).body("abc").send().await;
    let done = client.call("POST", "key").query("uploadId", &id);
    let done = done.body(completion(&[put.etag().to_owned()])).send().await;
    let expected = format!("{}-1", base64(Sha256::checksum(&digest)));
    assert_eq!(done.all("ChecksumSHA256"), [expected.as_str()]);
    let head = client.call("HEAD", "key").header("x-amz-checksum-mode", "ENABLED").send().await;
    assert_eq!(head.header("x-amz-checksum-sha256"), Some(expected.as_str()));
    assert_eq!(head.header("x-amz-checksum-type"), Some("COMPOSITE"));
}
