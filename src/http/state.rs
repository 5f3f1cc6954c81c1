//! What every handler can reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::http::admission::Budget;
use crate::http::signing::Signer;
use crate::telemetry::{BreakerState, Metrics};
use crate::vault::{Monitor, Vault};

/// Shared by all requests. Cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Inner>);

/// How the breaker before the backend stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerStands {
    /// Whether calls reach the backend.
    pub state: BreakerState,
    /// Text for clients of the latest failure that counted.
    pub last_error: Option<String>,
}

/// Asks a breaker how it stands.
pub type BreakerView = Box<dyn Fn() -> BreakerStands + Send + Sync>;

/// The parts; made once by the application.
pub struct Inner {
    /// The proofs.
    pub vault: Arc<Vault>,
    /// Cached health of the backend.
    pub monitor: Arc<Monitor>,
    /// Series for `/metrics`.
    pub metrics: Metrics,
    /// Bytes of bodies that may be in memory at once.
    pub budget: Budget,
    /// Makes and checks signed URLs.
    pub signer: Signer,
    /// What the configuration says of the HTTP side.
    pub settings: Settings,
    /// How the breaker before the backend stands, where there is one.
    pub breaker: Option<BreakerView>,
    /// Set once when the service begins to stop.
    pub draining: AtomicBool,
}

/// Settings that handlers need.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Base of absolute URLs, without a slash at the end.
    pub public_url: String,
    /// Base of proof URLs in results where a CDN serves them.
    pub cdn_url: Option<String>,
    /// Sent with proofs that were stored without a `Cache-Control` of their own.
    pub default_cache_control: Option<String>,
    /// What keys begin with whose downloads are sent on to the backend.
    pub redirect_downloads: Vec<String>,
    /// Longest wait for the next bytes of a request body.
    pub body_timeout: Duration,
    /// Requests that take longer are logged as warnings.
    pub slow_request: Duration,
    /// Origins that may read across sites.
    pub cors_origins: CorsOrigins,
}

/// Who may read proofs from a browser page of another origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CorsOrigins {
    /// `*`.
    Any,
    /// Nobody.
    None,
    /// These, exactly.
    List(Vec<String>),
}

impl AppState {
    /// Wraps the parts.
    pub fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Makes readiness fail and answers close their connections.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// Whether the service is stopping.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Acquire)
    }
}

impl std::ops::Deref for AppState {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}
