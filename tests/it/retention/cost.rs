//! What holds cost in requests to a bucket: nothing where they are off.

use std::sync::Arc;

use fake_s3::{FakeS3, Personality};
use proof_storage::backend::Backend;
use proof_storage::model::{Provider, Retention, WriteMode};
use proof_storage::vault::{Condition, Holds, etag_of};

use super::{Kept, Setup};
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

async fn bill_of(personality: Personality, provider: Provider, mode: WriteMode, on: bool) -> Bill {
    let server = FakeS3::start(personality).expect("the server starts");
    let (store, _) = examined(&server, provider).await;
    let store: Arc<dyn Backend> = Arc::new(store);
    let holds = match on {
        true => Holds::on(),
        false => Holds::unless_marked(),
    };
    holds.clone().settle(Arc::clone(&store)).await;
    assert_eq!(holds.may_be(), on);
    bill(&server, &Kept::over(store, Setup { mode, holds, ..Setup::default() })).await
}
