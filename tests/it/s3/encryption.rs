//! Encryption at rest: asked for by configuration or by the caller, and believed only when confirmed.

use bytes::Bytes;
use fake_s3::{FakeS3, Personality};
use proof_storage::backend::Backend as _;
use proof_storage::backend::s3::{Options, S3};
use proof_storage::config::Config;
use proof_storage::model::{
    Attributes, Encryption, ErrorKind, ObjectKey, Provider, PutMode, Support,
};

use super::uploads::large;
use super::{examined, options};
use crate::http::client::Client;

const KEY: &str = "arn:aws:kms:eu-west-1:1:key/proofs";

/// The configured default is of everything that asks for nothing, whatever way it comes.
#[tokio::test(flavor = "multi_thread")]
async fn the_configured_key_encrypts_every_way_in() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let store = S3::connect(Options {
        encryption: Encryption::Kms,
        kms_key_id: Some(KEY.to_owned()),
        ..options(&server, Provider::S3)
    })
    .await;
    store.learn(&store.examine().await.unwrap());
    let small = ObjectKey::new("proofs/small");
    let plain = Attributes::new("text/plain");
    let bytes = Bytes::from_static(b"x");
    let stored = store.put(&small, bytes.into(), plain, PutMode::Create).await.unwrap();
    assert_eq!(stored.meta.attributes.encryption, Encryption::Kms);
    let (payload, attributes) = large(1);
    let parts = ObjectKey::new("proofs/parts");
    store.put(&parts, payload, attributes, PutMode::Create).await.unwrap();
    store.copy(&small, &ObjectKey::new("proofs/copy"), PutMode::Create).await.unwrap();
    // Also a copy of what somebody else left in plain.
    server.put_raw("proofs/plain", Bytes::from_static(b"x"), fake_s3::Headers::default());
    let plain = ObjectKey::new("proofs/plain");
    assert_eq!(store.head(&plain).await.unwrap().attributes.encryption, Encryption::None);
    store.copy(&plain, &ObjectKey::new("proofs/of-plain"), PutMode::Create).await.unwrap();
    for name in ["small", "parts", "copy", "of-plain"] {
        let headers = &server.raw(&format!("proofs/{name}")).unwrap().headers;
        let found = (headers.encryption.as_deref(), headers.kms_key_id.as_deref());
        assert_eq!(found, (Some("aws:kms"), Some(KEY)), "{name}");
    }
    // What the caller asks for wins.
    let own = Attributes { encryption: Encryption::Aes256, ..Attributes::new("text/plain") };
    let key = ObjectKey::new("proofs/own");
    store.put(&key, Bytes::from_static(b"x").into(), own, PutMode::Create).await.unwrap();
    let headers = &server.raw("proofs/own").unwrap().headers;
    assert_eq!((headers.encryption.as_deref(), &headers.kms_key_id), (Some("AES256"), &None));
}

/// Garage takes the header and drops it. Even if it had been seen to keep it before, plaintext is never
/// called encrypted, and does not stay.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_dropped_is_found_and_removed() {
    let server = FakeS3::start(Personality::Garage).unwrap();
    let (store, mut report) = examined(&server, Provider::S3).await;
    let wish = || Attributes { encryption: Encryption::Aes256, ..Attributes::new("text/plain") };
    let key = ObjectKey::new("proofs/a");
    let bytes = || Bytes::from_static(b"secret").into();
    let before = server.requests();
    let refused = store.put(&key, bytes(), wish(), PutMode::Create).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported, "it is known not to");
    assert_eq!(server.requests().since(&before).total(), 0);

    report.capabilities.encryption_aes256 = Support::Native;
    store.learn(&report);
    let refused = store.put(&key, bytes(), wish(), PutMode::Create).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    let (payload, attributes) = large(1);
    let attributes = Attributes { encryption: Encryption::Aes256, ..attributes };
    let refused = store.put(&key, payload, attributes, PutMode::Create).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
    assert!(server.objects().is_empty(), "{:?}", server.objects().keys());

    let client = Client::over(std::sync::Arc::new(store), Config::default()).await;
    let asked = [("proof-encryption", "AES256")];
    let answer = client.call("PUT", "/v1/proofs/a", &asked, "secret").await;
    answer.is_problem(501, "UNSUPPORTED", "encryption");
    assert!(server.objects().is_empty());
}
