//! The S3 backend over an S3 in this process, in each of its personalities.

mod encryption;
mod faults;
mod locks;
mod names;
mod permissions;
mod process;
pub mod promises;
mod records;
mod uploads;
mod urls;

use std::sync::Arc;
use std::time::Duration;

use fake_s3::{FakeS3, Personality};
use proof_storage::backend::s3::{Options, Report, S3, StaticCredentials, Verdict};
use proof_storage::backend::{Backend, conformance};
use proof_storage::layer::{Inventory, InventoryPolicy, Pace, PacePolicy};
use proof_storage::model::{Encryption, LockMode, Provider, Reach};

/// How a server is reached.
pub fn options(server: &FakeS3, provider: Provider) -> Options {
    Options {
        provider,
        endpoint: Some(server.endpoint()),
        presign_endpoint: None,
        region: Some(FakeS3::REGION.to_owned()),
        bucket: FakeS3::BUCKET.to_owned(),
        credentials: Some(StaticCredentials {
            access_key_id: FakeS3::ACCESS_KEY.to_owned(),
            secret_access_key: FakeS3::SECRET_KEY.into(),
        }),
        path_style: true,
        encryption: Encryption::None,
        kms_key_id: None,
        object_lock: LockMode::Governance,
        timeout: Duration::from_secs(10),
        reach: Reach::Guarded,
    }
}

/// A backend that talks to a server.
async fn connect(server: &FakeS3, provider: Provider) -> S3 {
    S3::connect(options(server, provider)).await
}

/// The same, and it knows what the server can do.
pub async fn examined(server: &FakeS3, provider: Provider) -> (S3, Report) {
    let store = connect(server, provider).await;
    let report = store.examine().await.expect("the server can be examined");
    store.learn(&report);
    (store, report)
}

/// Time between two writes of a key in tests that write many times: R2's second would take minutes.
const PAUSE: Duration = Duration::from_millis(10);

/// The store as the service has it: R2 refuses the write that comes too soon, and never has to.
pub fn paced(server: &FakeS3, store: S3) -> Arc<dyn Backend> {
    if store.provider() != Provider::R2 {
        return Arc::new(store);
    }
    server.set_write_interval(Some(PAUSE));
    let policy = PacePolicy { pause: PAUSE, ..PacePolicy::ONE_A_SECOND };
    Arc::new(Pace::new(Arc::new(store), policy))
}

async fn keeps_the_contract(personality: Personality, provider: Provider, locks: bool) {
    let servers = std::cell::RefCell::new(Vec::new());
    conformance::run(async || {
        let server = FakeS3::start(personality).expect("the server starts");
        if locks {
            server.enable_object_lock();
        }
        let (store, _) = examined(&server, provider).await;
        let store = paced(&server, store);
        servers.borrow_mut().push(server);
        let policy = InventoryPolicy::new("", Duration::from_secs(3600));
        let inventory = Inventory::new(store, policy);
        inventory.take().await.expect("the bucket can be counted");
        Arc::new(inventory) as _
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_keeps_the_contract() {
    keeps_the_contract(Personality::Aws, Provider::S3, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_with_object_lock_and_versions_keeps_the_contract() {
    keeps_the_contract(Personality::Aws, Provider::S3, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r2_keeps_the_contract() {
    keeps_the_contract(Personality::R2, Provider::R2, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garage_keeps_the_contract() {
    keeps_the_contract(Personality::Garage, Provider::S3, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_examination_tells_the_personalities_apart() {
    use Verdict::{Gateway, Native, No};
    let conditions =
        ["create-only", "if-match", "delete-if-match", "copy-conditions", "multipart-conditions"];
    let features = ["tags", "encryption-aes256", "storage-class", "versions"];
    for (personality, provider, of_conditions, wanted) in [
        (Personality::Aws, Provider::S3, Native, [Native, Native, Native, No]),
        (Personality::R2, Provider::R2, Native, [Gateway, No, Native, No]),
        (Personality::Garage, Provider::S3, Gateway, [Gateway, No, No, No]),
    ] {
        let server = FakeS3::start(personality).expect("the server starts");
        let (_, report) = examined(&server, provider).await;
        let found = features.map(|feature| report.verdict(feature));
        assert_eq!(found, wanted, "{personality:?}: {:#?}", report.findings);
        for feature in conditions {
            assert_eq!(report.verdict(feature), of_conditions, "{feature}: {:#?}", report.findings);
        }
        for feature in [
            "write-read",
            "checksum-sha256",
            "content-encoding",
            "range",
            "copy",
            "multipart",
            "list",
            "missing-key",
            "batch-delete",
            "presigned-get",
            "presigned-head",
            "presigned-put",
        ] {
            assert_eq!(report.verdict(feature), Native, "{feature}: {:#?}", report.findings);
        }
        assert!(report.clock_skew.is_some_and(|skew| skew.abs() <= 2), "{:?}", report.clock_skew);
        assert!(server.objects().is_empty(), "nothing is left: {:?}", server.objects());
        assert!(server.uploads().is_empty(), "nothing is left: {:?}", server.uploads());
    }
}
