//! What stands beside an object's bytes, and what happens where it or they are damaged.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fake_s3::{Effect, FakeS3, Fault, Headers, Object, Personality};
use proof_storage::backend::Backend as _;
use proof_storage::config::Config;
use proof_storage::model::{Attributes, GetOptions, ObjectKey, Provider, PutMode};

use super::{examined, paced};
use crate::http::client::{Client, sample_json};

async fn service(personality: Personality, provider: Provider) -> (FakeS3, Client) {
    let server = FakeS3::start(personality).unwrap();
    let store = paced(&server, examined(&server, provider).await.0);
    (server, Client::over(store, Config::default()).await)
}

fn tagged(count: usize, value: &str) -> Attributes {
    let mut attributes = Attributes::new("text/plain");
    attributes.tags = (0..count).map(|n| (format!("tag {n}"), value.to_owned())).collect();
    attributes
}

/// Tags are the backend's own, for its rules, and in the metadata too, for readers.
#[tokio::test(flavor = "multi_thread")]
async fn a_tagged_object_is_read_by_one_request() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let (store, _) = examined(&server, Provider::S3).await;
    let key = ObjectKey::new("proofs/a");
    let attributes = tagged(2, "größe + 1");
    let payload = Bytes::from_static(b"x");
    store.put(&key, payload.into(), attributes.clone(), PutMode::Create).await.unwrap();
    assert_eq!(server.raw("proofs/a").unwrap().headers.tags, attributes.tags, "the backend's own");
    let before = server.requests();
    let found = store.get(&key, GetOptions::default()).await.unwrap();
    assert_eq!(found.meta.attributes.tags, attributes.tags);
    assert_eq!(store.head(&key).await.unwrap(), found.meta);
    let calls = server.requests().since(&before);
    assert_eq!((calls.of("GetObject"), calls.of("HeadObject"), calls.total()), (1, 1, 2));

    // They travel with a copy, and somebody else's change of them is seen.
    let copy = store.copy(&key, &ObjectKey::new("proofs/b"), PutMode::Create).await.unwrap();
    assert_eq!(copy.meta.attributes.tags, attributes.tags);
    server.alter_raw("proofs/a", |object| {
        object.headers.tags.insert("theirs".to_owned(), "1".to_owned());
    });
    let tags = store.head(&key).await.unwrap().attributes.tags;
    assert_eq!((tags.len(), tags["theirs"].as_str()), (3, "1"));
}

/// A copy of the tags that the metadata has no room for is left out, and costs a second request.
#[tokio::test(flavor = "multi_thread")]
async fn tags_are_kept_whether_metadata_has_room_or_not() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let (store, _) = examined(&server, Provider::S3).await;
    let key = ObjectKey::new("proofs/a");
    let attributes = tagged(10, &"v".repeat(250));
    let payload = Bytes::from_static(b"x");
    store.put(&key, payload.into(), attributes.clone(), PutMode::Create).await.unwrap();
    let before = server.requests();
    assert_eq!(store.head(&key).await.unwrap().attributes.tags, attributes.tags);
    assert_eq!(server.requests().since(&before).of("GetObjectTagging"), 1);
}

/// One object whose record is damaged: it is told by itself, and every other is served.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_told_and_spoils_no_list() {
    for (personality, provider) in
        [(Personality::Aws, Provider::S3), (Personality::R2, Provider::R2)]
    {
        let (server, client) = service(personality, provider).await;
        for name in ["a", "b", "c"] {
            assert_eq!(client.put(&format!("/v1/proofs/{name}"), "bytes").await.status, 201);
        }
        server.alter_raw("proofs/b", |object| {
            let digest = object.headers.metadata.get_mut("proof-storage-sha256").unwrap();
            "\u{fffd}garbled".clone_into(digest);
            // What some answer where they know no time.
            object.last_modified = SystemTime::UNIX_EPOCH - Duration::from_secs(1 << 32);
        });
        let listed = client.get("/v1/proofs").await;
        assert_eq!(listed.status, 200);
        let keys: Vec<_> = listed.json()["items"].as_array().unwrap().clone();
        assert_eq!(keys.len(), 3, "{keys:?}");
        for call in ["/v1/proofs/b", "/v1/metadata/b"] {
            client.get(call).await.is_problem(502, "CORRUPT", "sha-256");
        }
        client.put("/v1/proofs/b", "bytes").await.is_problem(502, "CORRUPT", "sha-256");
        assert_eq!(client.get("/v1/proofs/c").await.body, "bytes");
        assert_eq!(client.call("DELETE", "/v1/proofs/b", &[], "").await.status, 204);
        assert_eq!(client.put("/v1/proofs/b", "bytes").await.status, 201, "it can be mended");
    }
}

fn flip(object: &mut Object) {
    let mut bytes = object.bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    object.bytes = bytes.into();
}

/// Bytes that are not what was stored are never an answer: before the status line where they are
/// few, else by a body that does not end.
#[tokio::test(flavor = "multi_thread")]
async fn damaged_bytes_are_no_answer() {
    let (server, client) = service(Personality::Aws, Provider::S3).await;
    let (small, large) = (sample_json(20_000), sample_json(3 << 20));
    let json = [("content-type", "application/json")];
    let plain = [("content-type", "application/json"), ("proof-compression", "identity")];
    for (name, headers, bytes) in [
        ("small.gz", &json[..], &small),
        ("small", &plain[..], &small),
        ("large.gz", &json[..], &large),
        ("large", &plain[..], &large),
    ] {
        let path = format!("/v1/proofs/{name}");
        assert_eq!(client.call("PUT", &path, headers, bytes.clone()).await.status, 201);
        let object = format!("proofs/{name}");
        let gzip = [("accept-encoding", "gzip")];
        let range = [("range", "bytes=10-19")];
        for at_rest in [false, true] {
            for asked in [&[][..], &gzip, &range] {
                if at_rest {
                    server.alter_raw(&object, flip);
                } else {
                    server.fault(Fault::new(Effect::FlipBit).on("GetObject"));
                }
                let label = format!("{name} {asked:?} at rest: {at_rest}");
                let answer = client.call("GET", &path, asked, "").await;
                assert!(answer.broken || answer.status == 502, "{label}: a clean end");
                if name.starts_with("small") {
                    answer.is_problem(502, "CORRUPT", "sha-256");
                }
                if at_rest {
                    server.alter_raw(&object, flip);
                }
            }
        }
        assert_eq!(server.pending_faults(), 0);
        let whole = client.get(&path).await;
        assert!(!whole.broken && whole.body == bytes[..], "{name} is whole again");
    }
}

/// Objects of others: served, listed, without a digest, and not trusted to be what they say.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_served_without_a_digest() {
    let (server, client) = service(Personality::Aws, Provider::S3).await;
    let headers = Headers { content_type: Some("text/plain".into()), ..Headers::default() };
    server.put_raw("proofs/theirs", Bytes::from_static(b"theirs"), headers);
    server.put_raw("proofs/folder/", Bytes::new(), Headers::default());
    let got = client.get("/v1/proofs/theirs").await;
    assert_eq!((got.status.as_u16(), &got.body[..]), (200, &b"theirs"[..]));
    assert_eq!(got.header("repr-digest"), None);
    let listed = client.get("/v1/proofs").await.json();
    let keys: Vec<_> = listed["items"].as_array().unwrap().iter().map(|i| &i["key"]).collect();
    assert_eq!(keys, ["theirs"], "a folder's marker is no proof");
    let other = client.put("/v1/proofs/theirs", "other").await;
    other.is_problem(409, "ALREADY_EXISTS", "");
}
