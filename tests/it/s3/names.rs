//! Keys with odd characters, and the limits that are kept before anything is sent.

use bytes::Bytes;
use fake_s3::{Effect, FakeS3, Fault, Personality};
use proof_storage::backend::Backend;
use proof_storage::model::{
    Attributes, ErrorKind, GetOptions, ListRequest, MAX_KEY_BYTES, ObjectKey, Provider, PutMode,
};

use super::{examined, paced};

const ODD: [&str; 14] = [
    "a b",
    " a ",
    "a+b",
    "a%2Fb",
    "a%",
    "a?b=c&d",
    "a#b",
    "a\"b'<c>",
    "a\\b|{}",
    "a;b,c:d@e",
    "写真/🖼️",
    "e\u{301}",
    "a=b/c~d*(e)!",
    "\u{ffff}",
];

async fn all_of(store: &dyn Backend) -> Vec<String> {
    let request = ListRequest { prefix: String::new(), delimiter: None, limit: 1000, after: None };
    let page = store.list(&request).await.unwrap();
    page.items.into_iter().map(|item| item.key.as_str().to_owned()).collect()
}

async fn holds(store: &dyn Backend, key: &ObjectKey) -> Bytes {
    store.get(key, GetOptions::default()).await.unwrap().body.collect().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_are_copied_moved_listed_and_deleted() {
    for (personality, provider) in [
        (Personality::Aws, Provider::S3),
        (Personality::R2, Provider::R2),
        (Personality::Garage, Provider::S3),
    ] {
        let server = FakeS3::start(personality).unwrap();
        let store = paced(&server, examined(&server, provider).await.0);
        let longest = format!("{} é", "k".repeat(MAX_KEY_BYTES - "copy/ é".len()));
        for name in ODD.into_iter().chain([longest.as_str()]) {
            let [first, copy, moved] =
                ["", "copy/", "move/"].map(|at| ObjectKey::new(format!("{at}{name}")));
            let bytes = Bytes::from(name.to_owned());
            let attributes = Attributes::new("text/plain");
            store.put(&first, bytes.clone().into(), attributes, PutMode::Create).await.unwrap();
            let label = format!("{personality:?} {name:?}");
            store.copy(&first, &copy, PutMode::Create).await.expect(&label);
            store.rename(&first, &moved, PutMode::Create).await.expect(&label);
            assert_eq!(holds(&*store, &copy).await, bytes, "{label}");
            assert_eq!(holds(&*store, &moved).await, bytes, "{label}");
            let mut wanted = [copy.as_str(), moved.as_str()];
            wanted.sort_unstable();
            assert_eq!(all_of(&*store).await, wanted, "{label}");
            let kept = server.objects().into_keys().collect::<Vec<_>>();
            assert_eq!(kept, wanted, "{label}: under the very name");
            let gone = store.delete_many(&[copy, moved]).await;
            assert!(gone.iter().all(Result::is_ok), "{label}: {gone:?}");
            assert!(server.objects().is_empty(), "{label}");
        }
    }
}

/// What can never be taken is refused here, by its limit.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_not_sent() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let (store, _) = examined(&server, Provider::S3).await;
    let (a, b) = (ObjectKey::new("a"), ObjectKey::new("b"));
    let put = async |attributes: Attributes| {
        store.put(&a, Bytes::from_static(b"x").into(), attributes, PutMode::Overwrite).await
    };
    put(Attributes::new("text/plain")).await.unwrap();

    let before = server.requests();
    let mut metadata = Attributes::new("text/plain");
    metadata.metadata.insert("note".to_owned(), "n".repeat(2048));
    let mut tags = Attributes::new("text/plain");
    tags.tags = (0..11).map(|n| (n.to_string(), String::new())).collect();
    for (attributes, limit) in [(metadata, "2048"), (tags, "10 tags")] {
        let error = put(attributes).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.detail().contains(limit), "{error}");
    }
    assert_eq!(server.requests().since(&before).total(), 0);

    let (largest, too_large) = (5 << 30, (5 << 30) + 1);
    for (length, copies) in [(largest, 1), (too_large, 0)] {
        let before = server.requests();
        server.fault(Fault::new(Effect::ClaimLength(length)).on("HeadObject").key("a"));
        let error = store.copy(&a, &b, PutMode::Create).await.unwrap_err();
        assert_eq!(server.requests().since(&before).of("CopyObject"), copies, "{length}");
        if copies == 0 {
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.detail().contains("5368709120"), "{error}");
        }
        server.remove_raw("b");
    }
}
