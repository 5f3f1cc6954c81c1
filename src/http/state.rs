//! What every handler can reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::access::Authority;
use crate::audit::Audit;
use crate::http::admission::Budget;
use crate::http::client::Proxies;
use crate::http::gate::Guarded;
use crate::http::rate::RateLimits;
use crate::http::shed::Shedder;
use crate::http::signing::Signer;
use crate::model::{PoolMode, Provider, Role};
use crate::telemetry::{BreakerState, Metrics, PoolFigures};
use crate::vault::{Health, Monitor, Status};

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

/// One of the backends, as answers show it.
pub struct Member {
    /// What it is used for.
    pub role: Role,
    /// Most bytes at rest, where there is a limit.
    pub quota_bytes: Option<u64>,
    /// Its name, its cached health, and the way to ask for more.
    pub monitor: Arc<Monitor>,
    /// How the breaker before it stands, where there is one.
    pub breaker: Option<BreakerView>,
}

impl Member {
    /// The last probe's finding and how the breaker stands. An open breaker refuses probes too, and
    /// knows what opened it: that is the error then.
    pub fn health(&self) -> (Health, Option<BreakerState>) {
        let mut health = self.monitor.health();
        let breaker = self.breaker.as_ref().map(|stands| stands());
        if let Some(BreakerStands { state, last_error: Some(cause) }) = &breaker
            && *state != BreakerState::Closed
            && health.error.is_some()
        {
            health.error = Some(cause.clone());
        }
        (health, breaker.map(|stands| stands.state))
    }
}

/// How several backends work together.
#[derive(Clone, Debug)]
pub struct PoolState {
    /// What the pool makes of its members.
    pub mode: PoolMode,
    /// Copies before a mirror acknowledges a write.
    pub min_copies: usize,
    /// Copies and deletes that did not reach every member they belong to.
    pub repairs_pending: u64,
    /// What it counted.
    pub figures: PoolFigures,
}

/// Asks a pool how it stands.
pub type PoolView = Box<dyn Fn() -> PoolState + Send + Sync>;

/// The parts; made once by the application.
pub struct Inner {
    /// The proofs, behind the gate.
    pub vault: Guarded,
    /// Says who is calling.
    pub authority: Authority,
    /// The backends, in the order of the configuration; never none.
    pub members: Vec<Member>,
    /// How they work together, where there are several.
    pub pool: Option<PoolView>,
    /// Series for `/metrics`.
    pub metrics: Metrics,
    /// Bytes of bodies that may be in memory at once.
    pub budget: Budget,
    /// How often somebody may ask.
    pub rates: Arc<RateLimits>,
    /// Places of requests that are worked on.
    pub shedder: Shedder,
    /// Makes and checks signed URLs.
    pub signer: Signer,
    /// Where it is written down who changed what.
    pub audit: Audit,
    /// What the configuration says of the HTTP side.
    pub settings: Settings,
    /// Set once when the service begins to stop.
    pub draining: AtomicBool,
}

/// Settings that handlers need.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Base of absolute URLs, without a slash at the end.
    pub public_url: String,
    /// Base of proof URLs in results where a CDN in front of the service gives proofs out.
    pub cdn_url: Option<String>,
    /// The same of what one backend has, where that one's bucket gives it out.
    pub bucket_domain: Option<BucketDomain>,
    /// Sent with proofs that were stored without a `Cache-Control` of their own.
    pub default_cache_control: Option<String>,
    /// What keys begin with whose downloads are sent on to the backend.
    pub redirect_downloads: Vec<String>,
    /// Bytes a second that a request body must bring; 0: any.
    pub min_upload_rate: u64,
    /// Longest wait for the next bytes of a request body.
    pub body_timeout: Duration,
    /// Requests that take longer are logged as warnings.
    pub slow_request: Duration,
    /// Metrics, stats and backends are on a listener of their own.
    pub admin_apart: bool,
    /// And there they ask who comes.
    pub admin_asks: bool,
    /// Callers may ask for signed URLs of the backend's own.
    pub backend_urls: bool,
    /// Origins that may read across sites.
    pub cors_origins: CorsOrigins,
    /// Whose word is taken for where a request comes from.
    pub proxies: Proxies,
}

/// Under which a bucket gives out what is in it, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketDomain {
    /// The backend's name.
    pub backend: Arc<str>,
    /// What it is.
    pub provider: Provider,
    /// Base of the URLs, without a slash at the end.
    pub url: String,
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

    /// Whether a backend does not serve, as far as is known.
    pub fn is_down(&self, backend: &str) -> bool {
        let member = self.members.iter().find(|member| member.monitor.name() == backend);
        member.is_some_and(|member| member.health().0.status == Status::Down)
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
