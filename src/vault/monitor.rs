//! Health from cached probes: who asks touches no backend.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::model::{Capabilities, ErrorKind, Provider, StoreError, Usage};

/// Longest wait for the first probe.
pub const FIRST_PROBE: Duration = Duration::from_secs(2);

/// Longest wait for any: what takes longer does not serve.
const LONGEST_PROBE: Duration = Duration::from_secs(5);

/// Between probes of a backend that is down: its breaker lets few of them through.
const WHILE_DOWN: Duration = Duration::from_secs(1);

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
    /// Probes `name` once, then about every `interval`, every second while it is down and at once
    /// when `news` come, until the task is aborted. A probe that takes longer than `timeout` counts
    /// as failed, the first one after [`FIRST_PROBE`] already: who starts waits for it. `notes` are
    /// standing defects, such as damage found when the store was opened: with any, a backend that
    /// serves is `degraded`.
    pub async fn start(
        name: Arc<str>,
        backend: Arc<dyn Backend>,
        notes: Vec<String>,
        interval: Duration,
        timeout: Duration,
        news: Arc<Notify>,
    ) -> (Arc<Self>, tokio::task::JoinHandle<()>) {
        let timeout = timeout.min(LONGEST_PROBE);
        let health = probe(&*backend, &notes, timeout.min(FIRST_PROBE)).await;
        let monitor = Arc::new(Self { name, backend, notes, health: RwLock::new(health) });
        let watched = Arc::clone(&monitor);
        let task = tokio::spawn(async move {
            loop {
                let down = watched.health().status == Status::Down;
                let pause = if down { interval.min(WHILE_DOWN) } else { interval };
                // Many replicas that were started together shall not ask together.
                let pause = pause.mul_f64(0.9 + 0.2 * fastrand::f64());
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = news.notified() => {}
                }
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
        // Full is not down: reads and deletes go on. Nor is a backend that answers: one that does
        // not let us list refuses to say that the probe's object is missing.
        Err(error)
            if matches!(error.kind(), ErrorKind::QuotaExceeded | ErrorKind::AccessDenied) =>
        {
            Status::Degraded
        }
        Err(_) => Status::Down,
    };
    Health {
        status,
        latency: started.elapsed(),
        checked_at: SystemTime::now(),
        error: result.err().map(|error| error.detail().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::faulty::{Chance, Fault, Faulty, Operation};
    use crate::backend::memory::Memory;

    const HOUR: Duration = Duration::from_secs(3600);
    const SECOND: Duration = Duration::from_secs(1);

    fn fail(store: &Faulty<Memory>, kind: ErrorKind) {
        let fault = Fault::Refuse(kind);
        store.set_chances([Chance { operation: Operation::Probe, fault, probability: 1.0 }]);
    }

    async fn monitor(
        store: Arc<Faulty<Memory>>,
        news: &Arc<Notify>,
    ) -> (Arc<Monitor>, tokio::task::JoinHandle<()>) {
        Monitor::start("west".into(), store, Vec::new(), HOUR, HOUR, Arc::clone(news)).await
    }

    #[tokio::test(start_paused = true)]
    async fn news_are_followed_at_once_and_what_is_down_is_looked_after() {
        let store = Arc::new(Faulty::new(Memory::new(), 1));
        let news = Arc::new(Notify::new());
        let (monitor, _task) = monitor(store.clone(), &news).await;
        assert_eq!(monitor.health().status, Status::Ok);
        fail(&store, ErrorKind::Failed);
        tokio::time::sleep(SECOND * 60).await;
        assert_eq!(monitor.health().status, Status::Ok, "nobody has asked again");
        news.notify_one();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(monitor.health().status, Status::Down);
        assert_eq!(monitor.health().error.as_deref(), Some("injected: not done"));

        store.set_chances([]);
        tokio::time::sleep(SECOND * 2).await;
        assert_eq!(monitor.health().status, Status::Ok, "and not in an hour");
    }

    #[tokio::test(start_paused = true)]
    async fn what_serves_in_part_is_degraded() {
        for kind in [ErrorKind::QuotaExceeded, ErrorKind::AccessDenied] {
            let store = Arc::new(Faulty::new(Memory::new(), 1));
            fail(&store, kind);
            let (monitor, _task) = monitor(store, &Arc::default()).await;
            assert_eq!(monitor.health().status, Status::Degraded, "{kind:?}");
        }
    }
}
