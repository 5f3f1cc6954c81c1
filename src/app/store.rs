//! The configured store, and the layers that its kind needs.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::StartError;
use crate::backend::Backend;
use crate::backend::embedded::{self, CommitGroup, CommitObserver, Embedded};
use crate::backend::s3::{self, S3};
use crate::config::{RemoteConfig, StorageConfig};
use crate::http::BreakerView;
use crate::layer::{
    Breaker, BreakerPolicy, Inventory, InventoryPolicy, Limit, LimitPolicy, Metered, Retry,
    RetryPolicy, Timeout,
};
use crate::model::StoreError;
use crate::telemetry::Metrics;

/// Until a store that did not answer is examined again; doubles up to the second.
const FIRST_EXAMINATION_AGAIN: Duration = Duration::from_secs(1);
const EXAMINATION_AGAIN: Duration = Duration::from_secs(60);

/// What keeps the proofs.
pub(super) enum Store {
    Local(Arc<Embedded>),
    Remote(S3),
}

/// A store behind its layers.
pub(super) struct Layered {
    pub(super) backend: Arc<dyn Backend>,
    /// How its breaker stands, where there is one.
    pub(super) breaker_view: Option<BreakerView>,
    /// Comes when it is not as it was.
    pub(super) news: Arc<Notify>,
    /// What counts it, where it does not count by itself.
    inventory: Option<Arc<Inventory>>,
}

impl Layered {
    /// Keeps the inventory up to date.
    pub(super) fn count(&self) -> JoinHandle<()> {
        let inventory = self.inventory.clone();
        tokio::spawn(async move {
            if let Some(inventory) = inventory {
                inventory.keep().await;
            }
        })
    }
}

impl Store {
    /// Opens or connects. A remote store that is down is no reason not to start.
    pub(super) async fn open(
        config: &StorageConfig,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        if let Some(remote) = &config.remote {
            return Ok(Self::Remote(S3::connect(options(config, remote)).await));
        }
        let options = embedded::Options {
            data_dir: config.data_dir.clone(),
            cache_bytes: config.cache_bytes,
            disk_reserve_bytes: config.disk_reserve_bytes,
            observer: Arc::new(CommitMetrics(metrics.clone())),
        };
        let opening = tokio::task::spawn_blocking(move || Embedded::open(options));
        let store = opening.await.map_err(|error| StartError::DataDirectory {
            path: config.data_dir.display().to_string(),
            cause: io::Error::other(error),
        })??;
        Ok(Self::Local(Arc::new(store)))
    }

    /// The store behind its layers.
    pub(super) fn layered(&self, config: &StorageConfig, metrics: &Metrics) -> Layered {
        let backend: Arc<dyn Backend> = match self {
            Self::Local(store) => store.clone(),
            Self::Remote(store) => Arc::new(store.clone()),
        };
        let mut backend: Arc<dyn Backend> = Arc::new(Timeout::new(backend, config.timeout));
        let mut breaker_view: Option<BreakerView> = None;
        let news = Arc::new(Notify::new());
        // A disk on this machine is not mended by another try, and cannot be away.
        if let Some(remote) = &config.remote {
            let limit = LimitPolicy { in_flight: remote.max_in_flight, ..LimitPolicy::default() };
            backend = Arc::new(Limit::new(backend, limit, metrics));
            let name = config.provider.as_str();
            // Half of the time for something to be heard, half for the question.
            let silence = remote.dark_after / 2;
            let policy = BreakerPolicy { silence, ..BreakerPolicy::default() };
            let breaker = Breaker::new(backend, name, policy, metrics);
            let handle = breaker.handle();
            handle.tell(Arc::clone(&news));
            breaker_view = Some(Box::new(move || handle.status().state));
            backend = Arc::new(breaker);
            let policy = RetryPolicy::new(config.max_retries);
            backend = Arc::new(Retry::new(backend, policy, metrics.clone()));
        }
        let mut backend: Arc<dyn Backend> = Arc::new(Metered::new(backend, metrics.clone()));
        let mut inventory = None;
        if let Some(remote) = &config.remote {
            let policy = InventoryPolicy::new(config.namespace.prefix(), remote.inventory_interval);
            let layer = Arc::new(Inventory::new(backend, policy));
            inventory = Some(Arc::clone(&layer));
            backend = layer;
        }
        Layered { backend, breaker_view, news, inventory }
    }

    /// Finds out what a remote store can do, and goes on trying until it answers: a store that is
    /// down at start-up comes back some time.
    pub(super) fn learn(&self) -> JoinHandle<()> {
        let remote = match self {
            Self::Local(_) => None,
            Self::Remote(store) => Some(store.clone()),
        };
        tokio::spawn(async move {
            let Some(store) = remote else { return };
            let mut wait = FIRST_EXAMINATION_AGAIN;
            loop {
                match store.examine().await {
                    Ok(report) => {
                        store.learn(report.capabilities);
                        for finding in &report.findings {
                            let (verdict, feature) = (finding.verdict, finding.feature);
                            tracing::info!(feature, ?verdict, detail = finding.detail, "examined");
                        }
                        break;
                    }
                    Err(error) => {
                        tracing::warn!(?error, "the backend cannot be examined yet");
                        tokio::time::sleep(wait).await;
                        wait = (wait * 2).min(EXAMINATION_AGAIN);
                    }
                }
            }
        })
    }

    /// Standing defects.
    pub(super) fn damage(&self) -> Vec<String> {
        match self {
            Self::Local(store) => store.damage(),
            Self::Remote(_) => Vec::new(),
        }
    }

    /// Finishes what is under way.
    pub(super) async fn close(self) {
        let Self::Local(store) = self else { return };
        if let Err(error) = tokio::task::spawn_blocking(move || store.close()).await {
            tracing::error!(%error, "closing the store failed");
        }
    }
}

/// How the configured bucket is reached.
pub(super) fn options(config: &StorageConfig, remote: &RemoteConfig) -> s3::Options {
    let url = |url: &crate::config::BaseUrl| url.as_str().to_owned();
    s3::Options {
        provider: config.provider,
        endpoint: remote.endpoint.as_ref().map(url),
        presign_endpoint: remote.presign_endpoint.as_ref().map(url),
        region: remote.region.clone(),
        bucket: remote.bucket.clone(),
        credentials: remote.credentials.as_ref().map(|given| s3::StaticCredentials {
            access_key_id: given.access_key_id.expose().to_owned(),
            secret_access_key: SecretString::from(given.secret_access_key.expose()),
        }),
        path_style: remote.path_style,
        encryption: remote.encryption,
        kms_key_id: remote.kms_key_id.clone(),
        timeout: config.timeout,
    }
}

/// Tells the metrics about the embedded store's commits.
#[derive(Debug)]
struct CommitMetrics(Metrics);

impl CommitObserver for CommitMetrics {
    fn committed(&self, group: CommitGroup) {
        self.0.commit_group(group.operations, group.bytes, group.elapsed);
    }
}

/// Examines the configured remote backend; `None` where it is the embedded store.
///
/// # Errors
/// The first write failed.
pub async fn examine(config: &StorageConfig) -> Option<Result<s3::Report, StoreError>> {
    let remote = config.remote.as_ref()?;
    Some(S3::connect(options(config, remote)).await.examine().await)
}
