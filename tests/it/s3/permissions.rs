//! Credentials that are wrong, a bucket that is not there, rights that are missing: each told for what
//! it is, and none taken for a missing proof.

use std::time::Duration;

use bytes::Bytes;
use fake_s3::{Effect, FakeS3, Fault, Personality};
use proof_storage::backend::Backend;
use proof_storage::backend::s3::{Options, S3, StaticCredentials, Verdict};
use proof_storage::model::{
    Attributes, Class, Encryption, ErrorKind, GetOptions, ListRequest, ObjectKey, Provider,
    PutMode, Support,
};

use super::{connect, examined, options};

fn key() -> ObjectKey {
    ObjectKey::new("proofs/a")
}

/// How every call that reaches the backend fails.
async fn failures(store: &S3) -> Vec<(&'static str, ErrorKind)> {
    let list = ListRequest { prefix: String::new(), delimiter: None, limit: 1, after: None };
    let bytes = Bytes::from_static(b"x");
    let put = store.put(&key(), bytes.into(), Attributes::new("a/b"), PutMode::Create).await;
    [
        ("put", put.err()),
        ("get", store.get(&key(), GetOptions::default()).await.err()),
        ("head", store.head(&key()).await.err()),
        ("list", store.list(&list).await.err()),
        ("delete", store.delete(&key(), None).await.err()),
        ("delete_many", store.delete_many(&[key()]).await.remove(0).err()),
        ("probe", store.probe().await.err()),
        ("examine", store.examine().await.err()),
    ]
    .into_iter()
    .map(|(call, error)| (call, error.expect("it fails").kind()))
    .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_are_the_operators_fault() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    for (access_key_id, secret_access_key) in
        [(FakeS3::ACCESS_KEY, "wrong"), ("AKIANOBODYNOBODYNOBO", FakeS3::SECRET_KEY)]
    {
        let credentials = StaticCredentials {
            access_key_id: access_key_id.to_owned(),
            secret_access_key: secret_access_key.into(),
        };
        let options = Options { credentials: Some(credentials), ..options(&server, Provider::S3) };
        for (call, kind) in failures(&S3::connect(options).await).await {
            assert_eq!(kind, ErrorKind::Misconfigured, "{call}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_bucket_is_no_missing_proof() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let options = Options { bucket: "nobodys".to_owned(), ..options(&server, Provider::S3) };
    for (call, kind) in failures(&S3::connect(options).await).await {
        // A HEAD is answered without a word, and a delete of what is not there is none.
        let wanted = match call {
            "head" => ErrorKind::NotFound,
            _ => ErrorKind::Misconfigured,
        };
        assert_eq!(kind, wanted, "{call}");
    }
}

/// Without the right to list, a missing key is answered 403: the service is not down for that.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_list_the_rest_works() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    server.set_list_permission(false);
    let store = connect(&server, Provider::S3).await;
    let refused = store.probe().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AccessDenied, "what it means is not known yet");
    let report = store.examine().await.unwrap();
    assert_eq!(report.verdict("write-read"), Verdict::Native);
    for feature in ["list", "missing-key"] {
        assert_eq!(report.verdict(feature), Verdict::No, "{feature}");
    }
    let missing = report.findings.iter().find(|finding| finding.feature == "missing-key").unwrap();
    assert!(missing.detail.contains("403") && missing.detail.contains("ListBucket"));
    for feature in ["create-only", "delete-if-match", "batch-delete", "presigned-get"] {
        assert_eq!(report.verdict(feature), Verdict::Native, "{feature}: {:#?}", report.findings);
    }
    server.set_list_permission(true);
    assert!(server.objects().is_empty(), "nothing is left: {:?}", server.objects());
    server.set_list_permission(false);
    store.learn(&report);
    store.probe().await.expect("it is known to write and read");
    // A refusal for another reason is one.
    server.fault(Fault::new(Effect::error(403, "InvalidAccessKeyId", "")).on("GetObject"));
    assert_eq!(store.probe().await.unwrap_err().kind(), ErrorKind::Misconfigured);
    assert_eq!(store.head(&key()).await.unwrap_err().kind(), ErrorKind::AccessDenied);
}

/// What a backend answers with 501 it has not, whatever it did when it was examined.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_501_is_not_asked_for_again() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let gone = || Fault::new(Effect::error(501, "NotImplemented", "")).on("PutObject");
    let put = async |store: &S3, attributes: Attributes, mode: PutMode| {
        let bytes = Bytes::from_static(b"x");
        store.put(&key(), bytes.into(), attributes, mode).await
    };
    let plain = || Attributes::new("a/b");
    let tags = || Attributes { tags: [("a".into(), "b".into())].into(), ..plain() };
    let class = || Attributes { storage_class: Some("STANDARD_IA".into()), ..plain() };
    let encrypted = || Attributes { encryption: Encryption::Aes256, ..plain() };

    let (store, _) = examined(&server, Provider::S3).await;
    for attributes in [class(), encrypted()] {
        server.fault(gone());
        let first = put(&store, attributes.clone(), PutMode::Overwrite).await.unwrap_err();
        let before = server.requests();
        let second = put(&store, attributes, PutMode::Overwrite).await.unwrap_err();
        assert_eq!((first.kind(), second.kind()), (ErrorKind::Unsupported, ErrorKind::Unsupported));
        assert_eq!(server.requests().since(&before).total(), 0, "it is not asked again");
    }
    let can = store.capabilities();
    assert_eq!((can.storage_class, can.encryption_aes256), (Support::No, Support::No));
    assert_eq!((can.encryption_kms, can.tags), (Support::Native, Support::Native));
    // What the service can do itself, it does from then on.
    server.fault(gone());
    put(&store, tags(), PutMode::Overwrite).await.unwrap_err();
    put(&store, tags(), PutMode::Overwrite).await.expect("kept as metadata");
    assert_eq!(store.capabilities().tags, Support::Gateway);
    assert_eq!(store.head(&key()).await.unwrap().attributes.tags, tags().tags);
    server.fault(gone());
    put(&store, plain(), PutMode::Create).await.unwrap_err();
    assert_eq!(store.capabilities().create_only, Support::Gateway);
    let refused = put(&store, plain(), PutMode::Create).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists, "compared here");
}

/// Nor by a copy, and a read gives what there is without it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_copy_or_a_read_of_tags_is_answered_501_is_not_asked_for_again() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let gone = |call| Fault::new(Effect::error(501, "NotImplemented", "")).on(call);
    let copy = ObjectKey::new("proofs/copy");
    let plain = || Attributes::new("a/b");
    let class = Attributes { storage_class: Some("STANDARD_IA".into()), ..plain() };
    let encrypted = Attributes { encryption: Encryption::Aes256, ..plain() };
    let tagged = Attributes { tags: [("a".into(), "b".into())].into(), ..plain() };
    let (store, _) = examined(&server, Provider::S3).await;
    for (attributes, mode) in [
        // First: AWS says of every object that it is encrypted, and so each copy asks for it.
        (encrypted, PutMode::Overwrite),
        (class, PutMode::Overwrite),
        (plain(), PutMode::Create),
        (tagged.clone(), PutMode::Overwrite),
    ] {
        let bytes = Bytes::from_static(b"x");
        store.put(&key(), bytes.into(), attributes, PutMode::Overwrite).await.unwrap();
        server.fault(gone("CopyObject"));
        let refused = store.copy(&key(), &copy, mode).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
    }
    let can = store.capabilities();
    assert_eq!((can.storage_class, can.encryption_aes256), (Support::No, Support::No));
    assert_eq!((can.create_only, can.tags), (Support::Gateway, Support::Gateway));
    assert_eq!(can.encryption_kms, Support::Native, "nobody asked for that");

    let (store, _) = examined(&server, Provider::S3).await;
    let bytes = Bytes::from_static(b"x");
    store.put(&key(), bytes.into(), tagged.clone(), PutMode::Overwrite).await.unwrap();
    let stored = server.raw(key().as_str()).unwrap();
    let mut headers = stored.headers.clone();
    headers.tags.insert("c".into(), "d".into());
    server.put_raw(key().as_str(), Bytes::from_static(b"x"), headers);
    assert_eq!(store.head(&key()).await.unwrap().attributes.tags.len(), 2, "what others added");
    server.fault(gone("GetObjectTagging"));
    let read = store.get(&key(), GetOptions::default()).await.expect("it is served");
    assert_eq!(read.meta.attributes.tags, tagged.tags);
    let before = server.requests();
    store.head(&key()).await.unwrap();
    assert_eq!(server.requests().since(&before).of("GetObjectTagging"), 0);
    assert_eq!(store.capabilities().tags, Support::Gateway);
}

/// R2 may refuse the doctor's second write of a key by its pace, and not by its condition.
#[tokio::test(flavor = "multi_thread")]
async fn an_examination_waits_where_it_is_asked_to() {
    let server = FakeS3::start(Personality::R2).unwrap();
    let busy = || Fault::new(Effect::too_many_requests()).after(1);
    server.fault(busy().on("PutObject").key("/create"));
    let (_, report) = examined(&server, Provider::R2).await;
    assert_eq!(server.pending_faults(), 0);
    assert_eq!(report.capabilities.create_only, Support::Native, "{:#?}", report.findings);
}

/// Connections that nobody takes: certainly nothing happened, however long it was waited for.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_connected_was_never_sent() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let options = Options {
        endpoint: Some(format!("http://{address}")),
        timeout: Duration::from_millis(200),
        ..options(&server, Provider::S3)
    };
    let store = S3::connect(options).await;
    // Each is connected as long as there is room in the queue of those that wait to be taken, and stays
    // there; a further one hangs in the middle of connecting.
    let mut unanswered = 0;
    loop {
        let bytes = Bytes::from_static(b"x");
        let error = store.put(&key(), bytes.into(), Attributes::new("a/b"), PutMode::Create).await;
        let error = error.unwrap_err();
        if (error.kind(), error.class()) == (ErrorKind::Failed, Class::Failed) {
            break;
        }
        assert_eq!(
            (error.kind(), error.class()),
            (ErrorKind::Timeout, Class::Unknown),
            "{error:?}"
        );
        unanswered += 1;
        assert!(unanswered < 16, "the queue is never full: {error:?}");
    }
    assert!(unanswered > 0, "what was sent and not answered is another matter");
}
