//! The configured store, and the layers that its kind needs.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::StartError;
use crate::backend::Backend;
use crate::backend::embedded::{self, CommitGroup, CommitObserver, Embedded};
use crate::backend::s3::{self, S3};
use crate::config::{RemoteConfig, StorageConfig};
use crate::layer::{Metered, Timeout};
use crate::telemetry::Metrics;

/// The embedded store's probe reads two flags and the free space: often costs nothing.
const LOCAL_PROBE: Duration = Duration::from_secs(1);
/// A remote one's is a request that somebody counts.
const REMOTE_PROBE: Duration = Duration::from_secs(10);

/// What keeps the proofs.
pub(super) enum Store {
    Local(Arc<Embedded>),
    Remote(S3),
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
    pub(super) fn layered(&self, config: &StorageConfig, metrics: &Metrics) -> Arc<dyn Backend> {
        let backend: Arc<dyn Backend> = match self {
            Self::Local(store) => store.clone(),
            Self::Remote(store) => Arc::new(store.clone()),
        };
        let backend = Arc::new(Timeout::new(backend, config.timeout));
        Arc::new(Metered::new(backend, metrics.clone()))
    }

    /// Standing defects.
    pub(super) fn damage(&self) -> Vec<String> {
        match self {
            Self::Local(store) => store.damage(),
            Self::Remote(_) => Vec::new(),
        }
    }

    pub(super) fn probe_interval(&self) -> Duration {
        match self {
            Self::Local(_) => LOCAL_PROBE,
            Self::Remote(_) => REMOTE_PROBE,
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

fn options(config: &StorageConfig, remote: &RemoteConfig) -> s3::Options {
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
        prefix: config.namespace.prefix().to_owned(),
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
