//! Health from cached probes: who asks touches no backend.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::backend::Backend;
use crate::model::{Capabilities, ErrorKind, Provider, StoreError, Usage};

/// Longest wait for the first probe.
pub const FIRST_PROBE: Duration = Duration::from_secs(2);

/// Longest wait for any: what takes longer does not serve.
const LONGEST_PROBE: Duration = Duration::from_secs(5);

/// How well a backend serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Everything works.
    Ok,
    /// It serves, but something needs a person's attention.
    Degraded,
    /// It does not serve.
    Down,
}

/// The last probe's finding.
#[derive(Clone, Debug)]
pub struct Health {
    /// Verdict.
    pub status: Status,
    /// How long the probe took.
    pub latency: Duration,
    /// When it was made.
    pub checked_at: SystemTime,
    /// Why the probe failed.
    pub error: Option<String>,
}

/// Probes one backend in the background and remembers the finding.
#[derive(Debug)]
pub struct Monitor {
    name: Arc<str>,
    backend: Arc<dyn Backend>,
    notes: Vec<String>,
    health: RwLock<Health>,
}

impl Monitor {
    /// Probes `name` once, then about every `interval` until the task is aborted. A probe that takes
    /// longer than `timeout` counts as failed, the first one after [`FIRST_PROBE`] already: who
    /// starts waits for it. `notes` are standing defects, such as damage found when
    /// the store was opened: with any, a backend that serves is `degraded`.
    pub async fn start(
        name: Arc<str>,
        backend: Arc<dyn Backend>,
        notes: Vec<String>,
        interval: Duration,
        timeout: Duration,
    ) -> (Arc<Self>, tokio::task::JoinHandle<()>) {
        let timeout = timeout.min(LONGEST_PROBE);
        let health = probe(&*backend, &notes, timeout.min(FIRST_PROBE)).await;
        let monitor = Arc::new(Self { name, backend, notes, health: RwLock::new(health) });
        let watched = Arc::clone(&monitor);
        let task = tokio::spawn(async move {
            loop {
                // Many replicas that were started together shall not ask together.
                tokio::time::sleep(interval.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
                let health = probe(&*watched.backend, &watched.notes, timeout).await;
                watched.replace(health);
            }
        });
        (monitor, task)
    }

    /// The backend's name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Kind of the backend that is probed.
    pub fn provider(&self) -> Provider {
        self.backend.provider()
    }

    /// What it can do.
    pub fn capabilities(&self) -> Capabilities {
        self.backend.capabilities()
    }

    /// How much it holds, without walking it.
    ///
    /// # Errors
    /// It does not count, has not counted yet, or fails.
    pub async fn usage(&self) -> Result<Usage, StoreError> {
        self.backend.usage().await
    }

    /// The last finding.
    pub fn health(&self) -> Health {
        self.health.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Standing defects.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn replace(&self, health: Health) {
        let mut current = self.health.write().unwrap_or_else(PoisonError::into_inner);
        if current.status != health.status {
            let (from, to) = (current.status, health.status);
            let error = health.error.as_deref().unwrap_or("none");
            tracing::warn!(backend = %self.name, ?from, ?to, error, "backend health changed");
        }
        *current = health;
    }
}

async fn probe(backend: &dyn Backend, notes: &[String], timeout: Duration) -> Health {
    let started = Instant::now();
    let result = match tokio::time::timeout(timeout, backend.probe()).await {
        Ok(result) => result,
        Err(_) => Err(StoreError::new(
            ErrorKind::Timeout,
            backend.provider(),
            "the backend did not answer the health probe in time",
        )),
    };
    let status = match &result {
        Ok(()) if notes.is_empty() => Status::Ok,
        Ok(()) => Status::Degraded,
        // Full is not down: reads and deletes go on.
        Err(error) if error.kind() == ErrorKind::QuotaExceeded => Status::Degraded,
        Err(_) => Status::Down,
    };
    Health {
        status,
        latency: started.elapsed(),
        checked_at: SystemTime::now(),
        error: result.err().map(|error| error.detail().to_owned()),
    }
}
