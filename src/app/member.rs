//! One configured backend: the store itself, and the layers that its kind needs.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::Notify;

use super::StartError;
use crate::backend::Backend;
use crate::backend::embedded::{self, CommitGroup, CommitObserver, Embedded};
use crate::backend::s3::{self, S3};
use crate::config::{BackendConfig, BackendKind, LocalConfig, RemoteConfig, StorageConfig};
use crate::layer::{
    Breaker, BreakerHandle, BreakerPolicy, Inventory, InventoryPolicy, Limit, LimitPolicy, Metered,
    Pace, PacePolicy, Retry, RetryPolicy, Timeout,
};
use crate::model::{Provider, Role, StoreError};
use crate::telemetry::{BreakerState, Metrics};

/// Until a store that did not answer is examined again; doubles up to the second.
const FIRST_EXAMINATION_AGAIN: Duration = Duration::from_secs(1);
const EXAMINATION_AGAIN: Duration = Duration::from_secs(60);

/// A backend behind its layers.
pub(super) struct Member {
    pub(super) config: BackendConfig,
    pub(super) backend: Arc<dyn Backend>,
    /// How its breaker stands, where there is one.
    pub(super) breaker: Option<BreakerHandle>,
    /// Comes when its breaker moves.
    pub(super) news: Arc<Notify>,
    store: Store,
    /// What counts it, where it does not count by itself.
    inventory: Option<Arc<Inventory>>,
}

/// Whether there is another backend that can take a call over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    Alone,
    Pool,
}

/// What keeps the proofs.
#[derive(Clone)]
enum Store {
    Local(Arc<Embedded>),
    Remote(S3),
}

impl Member {
    /// Opens or connects. A remote store that is down is no reason not to start; a folder that
    /// cannot be opened is, for it is on this machine and nobody but its operator mends it.
    pub(super) async fn open(
        config: &BackendConfig,
        storage: &StorageConfig,
        company: Company,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        let store = match &config.kind {
            BackendKind::Local(local) => {
                let setting = setting_of(&local.data_dir, config, storage);
                Store::Local(Arc::new(open_embedded(local, setting, metrics).await?))
            }
            BackendKind::Remote(remote) => {
                Store::Remote(S3::connect(options(remote, config.timeout)).await)
            }
        };
        let (backend, breaker) = layered(&store, config, company, metrics);
        let news = Arc::new(Notify::new());
        if let Some(breaker) = &breaker {
            breaker.tell(Arc::clone(&news));
        }
        let config = config.clone();
        let Some(remote) = config.remote() else {
            return Ok(Self { config, backend, breaker, news, store, inventory: None });
        };
        let policy = InventoryPolicy::new(storage.namespace.prefix(), remote.inventory_interval);
        let policy = if config.role == Role::ReadOnly { policy.in_memory() } else { policy };
        let inventory = Arc::new(Inventory::new(backend, policy));
        let backend: Arc<dyn Backend> = inventory.clone();
        let inventory = Some(inventory);
        Ok(Self { config, backend, breaker, news, store, inventory })
    }

    /// Finds out what a remote store can do, and goes on trying until it answers: a store that is
    /// down at start-up comes back some time, and when it does, this is the first to know.
    pub(super) fn learn(&self) -> impl Future<Output = ()> + Send + use<> {
        let (name, role) = (Arc::clone(&self.config.name), self.config.role);
        let (store, breaker) = (self.store.clone(), self.breaker.clone());
        async move {
            let (Store::Remote(store), Some(breaker)) = (store, breaker) else { return };
            let news = Arc::new(Notify::new());
            breaker.tell(Arc::clone(&news));
            let mut wait = FIRST_EXAMINATION_AGAIN;
            loop {
                match learn_once(&name, role, &store).await {
                    Ok(true) => return,
                    Ok(false) => tracing::warn!(
                        backend = %name,
                        "the backend failed while it was examined: once more later"
                    ),
                    Err(error) => {
                        tracing::warn!(backend = %name, ?error, "the backend cannot be examined yet");
                    }
                }
                wait = match tokio::time::timeout(wait, closes(&breaker, &news)).await {
                    Ok(()) => FIRST_EXAMINATION_AGAIN,
                    Err(_) => (wait * 2).min(EXAMINATION_AGAIN),
                };
            }
        }
    }

    /// As [`Self::learn`], but tries once.
    pub(super) async fn learn_now(&self) {
        let Store::Remote(store) = &self.store else { return };
        if let Err(error) = learn_once(&self.config.name, self.config.role, store).await {
            tracing::warn!(backend = %self.config.name, ?error, "the backend cannot be examined");
        }
    }

    /// Keeps its inventory up to date, where it has one.
    pub(super) fn count(&self) -> impl Future<Output = ()> + Send + use<> {
        let inventory = self.inventory.clone();
        async move {
            if let Some(inventory) = inventory {
                inventory.keep().await;
            }
        }
    }

    /// Standing defects.
    pub(super) fn damage(&self) -> Vec<String> {
        match &self.store {
            Store::Local(store) => store.damage(),
            Store::Remote(_) => Vec::new(),
        }
    }

    /// Finishes what is under way.
    pub(super) async fn close(self) {
        let Store::Local(store) = self.store else { return };
        if let Err(error) = tokio::task::spawn_blocking(move || store.close()).await {
            tracing::error!(backend = %self.config.name, %error, "closing the store failed");
        }
    }
}

/// What the operator wrote the folder into.
fn setting_of(data_dir: &Path, config: &BackendConfig, storage: &StorageConfig) -> String {
    if data_dir == storage.data_dir {
        return "STORAGE_DATA_DIR".to_owned();
    }
    format!("data_dir of backend `{}`", config.name)
}

async fn open_embedded(
    config: &LocalConfig,
    setting: String,
    metrics: &Metrics,
) -> Result<Embedded, StartError> {
    let options = embedded::Options {
        data_dir: config.data_dir.clone(),
        cache_bytes: config.cache_bytes,
        disk_reserve_bytes: config.disk_reserve_bytes,
        observer: Arc::new(CommitMetrics(metrics.clone())),
    };
    let opening = tokio::task::spawn_blocking(move || Embedded::open(options)).await;
    let opened = opening.map_err(|error| StartError::DataDirectory {
        path: config.data_dir.display().to_string(),
        cause: io::Error::other(error),
    })?;
    opened.map_err(|cause| StartError::Store { setting, cause })
}

/// A store behind the layers that every call passes.
fn layered(
    store: &Store,
    config: &BackendConfig,
    company: Company,
    metrics: &Metrics,
) -> (Arc<dyn Backend>, Option<BreakerHandle>) {
    let metrics = metrics.backend(Arc::clone(&config.name), config.provider());
    let backend: Arc<dyn Backend> = match store {
        Store::Local(store) => store.clone(),
        Store::Remote(store) => Arc::new(store.clone()),
    };
    let mut backend: Arc<dyn Backend> = Arc::new(Timeout::new(backend, config.timeout));
    let mut handle = None;
    // A disk on this machine is not mended by another try, and cannot be away.
    if let Some(remote) = config.remote() {
        let limit = LimitPolicy { in_flight: remote.max_in_flight, ..LimitPolicy::default() };
        backend = Arc::new(Limit::new(backend, limit, &metrics));
        if config.provider() == Provider::R2 {
            backend = Arc::new(Pace::new(backend, PacePolicy::ONE_A_SECOND));
        }
        // Half of the time for something to be heard, half for the question.
        let silence = remote.dark_after / 2;
        let policy = BreakerPolicy { silence, ..BreakerPolicy::default() };
        let breaker = Breaker::new(backend, Arc::clone(&config.name), policy, &metrics);
        handle = Some(breaker.handle());
        backend = Arc::new(breaker);
        let policy = match company {
            Company::Alone => RetryPolicy::new(remote.max_retries),
            Company::Pool => RetryPolicy::of_member(remote.max_retries),
        };
        backend = Arc::new(Retry::new(backend, policy, metrics.clone()));
    }
    (Arc::new(Metered::new(backend, metrics)), handle)
}

/// Ends when the breaker has moved and lets calls through.
async fn closes(breaker: &BreakerHandle, news: &Notify) {
    loop {
        news.notified().await;
        if breaker.status().state == BreakerState::Closed {
            return;
        }
    }
}

/// Examines a bucket once, and takes over what was found; answers whether that is the last word.
async fn learn_once(name: &str, role: Role, store: &S3) -> Result<bool, StoreError> {
    let report = examine(role, store).await?;
    store.learn(&report);
    for finding in &report.findings {
        let (verdict, feature) = (finding.verdict, finding.feature);
        tracing::info!(backend = name, feature, ?verdict, detail = finding.detail, "examined");
    }
    for note in &report.notes {
        tracing::warn!(backend = name, "{note}");
    }
    Ok(report.conclusive)
}

/// Tries what a bucket can do; one that is only read is not written to for that either.
pub(super) async fn examine(role: Role, store: &S3) -> Result<s3::Report, StoreError> {
    match role {
        Role::ReadOnly => store.examine_reading().await,
        Role::ReadWrite | Role::WriteOnly | Role::Drain => store.examine().await,
    }
}

/// How a configured bucket is reached.
pub(super) fn options(remote: &RemoteConfig, timeout: Duration) -> s3::Options {
    let url = |url: &crate::config::BaseUrl| url.as_str().to_owned();
    s3::Options {
        provider: remote.provider,
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
        object_lock: remote.object_lock,
        timeout,
        reach: remote.reach,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::faulty::{Chance, Fault, Faulty, Operation};
    use crate::backend::memory::Memory;
    use crate::model::ErrorKind;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_is_back_is_noticed() {
        let store = Arc::new(Faulty::new(Memory::new(), 1));
        let fault = Fault::Refuse(ErrorKind::Failed);
        let chance = |operation| Chance { operation, fault, probability: 1.0 };
        store.set_chances([chance(Operation::Probe)]);
        let metrics = Metrics::new().backend("far", Provider::S3);
        let breaker = Breaker::new(store.clone(), "far", BreakerPolicy::default(), &metrics);
        let (handle, news) = (breaker.handle(), Arc::new(Notify::new()));
        handle.tell(Arc::clone(&news));
        let probing = tokio::spawn(async move {
            loop {
                let _ = breaker.probe().await;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let noticed = closes(&handle, &news);
        let early = tokio::time::timeout(EXAMINATION_AGAIN, noticed).await;
        assert!(early.is_err(), "it opened and was tried, and is not back");
        store.set_chances([]);
        let noticed = closes(&handle, &news);
        tokio::time::timeout(EXAMINATION_AGAIN, noticed).await.expect("it is back");
        probing.abort();
    }
}
