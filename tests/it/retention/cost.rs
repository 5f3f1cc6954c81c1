//! What holds cost in requests to a bucket: nothing where they are off.

use std::sync::Arc;

use bytes::Bytes;
use fake_s3::{FakeS3, Personality};
use proof_storage::backend::Backend;
use proof_storage::model::{GetOptions, Provider, PutMode, Retention, WriteMode};
use proof_storage::vault::{Condition, Holds, Sealed, Sealing, etag_of};

use super::{Kept, Setup};
use crate::pool::ring::{attributes, key};
use crate::s3::examined;

const NOTHING: Retention = Retention { until: None, legal_hold: false, stored: None };

/// Calls, and the requests of each as `operation×count`.
type Bill = Vec<(&'static str, String)>;

/// Every call that could have to look, and those that never do.
async fn bill(server: &FakeS3, kept: &Kept) -> Bill {
    let vault = &kept.vault;
    let mut bill = Bill::new();
    let mut before = server.requests();
    let mut note = |call: &'static str| {
        let now = server.requests();
        bill.push((call, shown(&now.since(&before))));
        before = server.requests();
    };
    kept.store("a", "a", NOTHING, Condition::None).await.unwrap();
    note("store");
    kept.read("a").await.unwrap();
    note("read");
    let meta = vault.head(&kept.key("a")).await.unwrap();
    note("head");
    let tags = Condition::Matches(vec![etag_of(&meta, meta.attributes.encoding)]);
    kept.store("a", "b", NOTHING, tags).await.unwrap();
    note("replace");
    vault.copy(&kept.key("a"), &kept.key("b"), false).await.unwrap();
    note("copy");
    vault.rename(&kept.key("b"), &kept.key("c"), false).await.unwrap();
    note("move");
    if vault.policy().write_mode == WriteMode::Overwrite {
        kept.store("a", "d", NOTHING, Condition::None).await.unwrap();
        note("overwrite");
        vault.copy(&kept.key("a"), &kept.key("c"), true).await.unwrap();
        note("copy onto");
        vault.rename(&kept.key("a"), &kept.key("c"), true).await.unwrap();
        note("move onto");
    }
    vault.delete(&kept.key("c"), None).await.unwrap();
    note("delete");
    for deleted in vault.delete_many(&["a", "c", "never"].map(|name| kept.key(name))).await {
        deleted.unwrap();
    }
    note("batch");
    bill
}

fn shown(counts: &fake_s3::Counts) -> String {
    let operations =
        ["PutObject", "GetObject", "HeadObject", "CopyObject", "DeleteObject", "DeleteObjects"];
    let told = operations.map(|operation| (operation, counts.of(operation)));
    assert_eq!(told.iter().map(|(_, count)| count).sum::<u64>(), counts.total(), "{counts:?}");
    let told = told.into_iter().filter(|(_, count)| *count > 0);
    told.map(|(operation, count)| format!("{operation}×{count}")).collect::<Vec<_>>().join(" ")
}

/// A store that may be written as often as one likes: what is refused for haste is asked again.
async fn unhurried(server: &FakeS3, provider: Provider) -> Arc<dyn Backend> {
    server.set_write_interval(None);
    Arc::new(examined(server, provider).await.0)
}

async fn bill_of(personality: Personality, provider: Provider, mode: WriteMode, on: bool) -> Bill {
    let server = FakeS3::start(personality).expect("the server starts");
    let store = unhurried(&server, provider).await;
    let holds = match on {
        true => Holds::on(),
        false => Holds::unless_marked(),
    };
    holds.clone().settle(Arc::clone(&store)).await;
    assert_eq!(holds.may_be(), on);
    bill(&server, &Kept::over(store, Setup { mode, holds, ..Setup::default() })).await
}

/// The same calls without what holds proofs: straight to what is below it.
async fn bill_without(server: &FakeS3, store: Arc<dyn Backend>, mode: WriteMode) -> Bill {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Sealed::new(store, Sealing::default(), folder.path().to_owned());
    let [a, b, c, never] = ["a", "b", "c", "never"].map(key);
    let put = async |text: &'static [u8], mode: PutMode| {
        store.put(&a, Bytes::from_static(text).into(), attributes(text), mode).await.unwrap();
    };
    let mut bill = Bill::new();
    let mut before = server.requests();
    let mut note = |call: &'static str| {
        let now = server.requests();
        bill.push((call, shown(&now.since(&before))));
        before = server.requests();
    };
    let (new, over) = match mode {
        WriteMode::WriteOnce => (PutMode::Create, None),
        WriteMode::Overwrite => (PutMode::Overwrite, Some(PutMode::Overwrite)),
    };
    put(b"a", new).await;
    note("store");
    drop(store.get(&a, GetOptions::default()).await.unwrap());
    note("read");
    drop(store.head(&a).await.unwrap());
    note("head");
    let etag = store.head(&a).await.unwrap().etag;
    put(b"b", PutMode::Replace(etag)).await;
    note("replace");
    drop(store.copy(&a, &b, PutMode::Create).await.unwrap());
    note("copy");
    drop(store.rename(&b, &c, PutMode::Create).await.unwrap());
    note("move");
    if let Some(over) = over {
        put(b"d", over.clone()).await;
        note("overwrite");
        drop(store.copy(&a, &c, over.clone()).await.unwrap());
        note("copy onto");
        drop(store.rename(&a, &c, over).await.unwrap());
        note("move onto");
    }
    store.delete(&c, None).await.unwrap();
    note("delete");
    drop(store.delete_many(&[a, c, never]).await);
    note("batch");
    bill
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_that_are_off_cost_no_request() {
    let buckets = [
        (Personality::Aws, Provider::S3),
        (Personality::R2, Provider::R2),
        (Personality::Garage, Provider::S3),
    ];
    for (personality, provider) in buckets {
        for mode in [WriteMode::WriteOnce, WriteMode::Overwrite] {
            let server = FakeS3::start(personality).expect("the server starts");
            let store = unhurried(&server, provider).await;
            let without = bill_without(&server, store, mode).await;
            let off = bill_of(personality, provider, mode, false).await;
            assert_eq!(off, without, "{personality:?} {mode:?}");
        }
    }
}

/// In figures, and the control: what they cost where they are on.
#[tokio::test(flavor = "multi_thread")]
async fn holds_that_are_on_cost_a_look() {
    let mode = WriteMode::Overwrite;
    let off = bill_of(Personality::Aws, Provider::S3, mode, false).await;
    let on = bill_of(Personality::Aws, Provider::S3, mode, true).await;
    for (call, without, with) in [
        ("read", "GetObject×1", "GetObject×1"),
        ("head", "HeadObject×1", "HeadObject×1"),
        ("overwrite", "PutObject×1", "PutObject×1 HeadObject×1"),
        ("delete", "DeleteObject×1", "HeadObject×1 DeleteObject×1"),
        ("batch", "DeleteObjects×1", "HeadObject×3 DeleteObject×3"),
    ] {
        let find = |bill: &Bill| bill.iter().find(|(name, _)| *name == call).unwrap().1.clone();
        assert_eq!((find(&off), find(&on)), (without.to_owned(), with.to_owned()), "{call}");
    }
}
