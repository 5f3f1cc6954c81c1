//! Puts the parts together: the one place that sees them all.

mod audit;
mod command;
mod descriptors;
mod doctor;
mod member;
mod process;
mod reconcile;
mod rekey;
mod signing;
mod store;

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use self::store::Store;
pub use doctor::{Examined, Found, examine};
pub use process::serve;
pub use reconcile::{ReconcileError, reconcile};
pub use rekey::{Rekey, RekeyError, rekey};
pub use store::pool_view;
use tokio::task::JoinHandle;

use crate::access::Authority;
use crate::audit::{self as audit_log, Audit};
use crate::backend::Backend;
use crate::backend::embedded::OpenError;
use crate::config::{self, Config};
use crate::http::{
    AppState, BucketDomain, Budget, CorsOrigins, Guarded, Inner, Member, PoolView, Proxies,
    ProxyHeader, RateLimits, Rates, Service, Settings, Shedder, Signer,
};
use crate::serve::{ConnectionLimits, DrainPolicy, Drained, Server, Tls};
use crate::telemetry::Metrics;
use crate::vault::{Holding, Holds, Policy, Sealing, Vault};

const SPOOL_FOLDER: &str = "spool";

/// How often the files of the certificate are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// What a last scrape may take after everything else has stopped.
const ADMIN_DRAIN: Duration = Duration::from_secs(1);

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory or a file in it cannot be used.
    #[error("STORAGE_DATA_DIR: {path}: {cause}")]
    DataDirectory {
        /// What was tried.
        path: String,
        /// What the operating system says.
        cause: io::Error,
    },
    /// An embedded store cannot be opened.
    #[error("{setting}: {cause}")]
    Store {
        /// What names its folder.
        setting: String,
        /// Why not.
        cause: OpenError,
    },
    /// Nothing is configured to keep proofs.
    #[error("there is no backend: configure at least one")]
    NoBackend,
    /// The signing key in the data directory is damaged.
    #[error(
        "{path}: holds {found} bytes instead of at least {expected}: restore it, or remove it \
             to have a new one made (signed URLs that are out then stop working)"
    )]
    SigningKey {
        /// The file.
        path: String,
        /// Its length.
        found: usize,
        /// The shortest key.
        expected: usize,
    },
    /// The audit log cannot be opened.
    #[error("STORAGE_AUDIT: {0}")]
    Audit(audit_log::OpenError),
    /// Nor can a command's line be written.
    #[error("STORAGE_AUDIT: the audit log cannot be written: nothing was changed")]
    Unwritten,
    /// The certificate cannot be used.
    #[error("STORAGE_TLS_CERT: {0}")]
    Tls(String),
    /// The address cannot be listened on.
    #[error("{setting}: cannot listen on {address}: {cause}")]
    Listen {
        /// What names it.
        setting: &'static str,
        /// As configured.
        address: std::net::SocketAddr,
        /// What the operating system says.
        cause: io::Error,
    },
}

/// The service, ready to run.
pub struct App {
    service: Service,
    server: Server,
    /// For those who watch, where that is apart.
    admin: Option<Server>,
    drain: DrainPolicy,
    store: Store,
    metrics: Metrics,
    background: Vec<JoinHandle<()>>,
}

impl App {
    /// Opens the stores, binds the listener and wires everything.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        let data_dir = &config.storage.data_dir;
        create_folder(data_dir)?;
        let spool_folder = data_dir.join(SPOOL_FOLDER);
        let metrics = Metrics::new();
        let store = Store::open(config, &spool_folder, &metrics).await?;
        // After the stores: one refuses a folder that holds something else, and locks it.
        create_folder(&spool_folder)?;
        let signer = signing::signer(config, data_dir)?;
        let audit = audit::open(config, &metrics)?;

        let (limits, of_admin) = descriptors::limits(config);
        let listen = config.server.listen;
        let tls = config.server.tls.as_ref();
        let certificate = tls.map(|tls| Tls::new(tls, metrics.clone())).transpose();
        let certificate = certificate.map_err(StartError::Tls)?.map(Arc::new);
        let server = bind("STORAGE_LISTEN", listen, limits, certificate.clone(), &metrics).await?;
        let admin = match config.server.admin_listen {
            Some(listen) => {
                let certificate = certificate.clone().filter(|_| tls.is_some_and(|tls| tls.admin));
                Some(bind("STORAGE_ADMIN_LISTEN", listen, of_admin, certificate, &metrics).await?)
            }
            None => None,
        };
        let address = server.local_addr().map_err(|cause| StartError::Listen {
            setting: "STORAGE_LISTEN",
            address: listen,
            cause,
        })?;

        let settings = settings(config, address);
        let (members, mut background) = store.watched().await;
        background.extend(store.background());
        let authority = Authority::new(&config.auth, &metrics).await;
        audit::watch(&audit, &authority, certificate.as_deref());
        background.extend(authority.background());
        background.push(tokio::spawn(metrics.clone().upkeep()));
        if let Some(certificate) = certificate {
            background.push(tokio::spawn(async move { certificate.watch(LOOK).await }));
        }
        let holds = store.seen_by(holds(config));
        background.push(tokio::spawn(holds.clone().keep(store.backend())));
        // So that the first delete need not be looked at as if it might be one of what is held.
        drop(tokio::time::timeout(LOOK, holds.are_known()).await);
        let kept = Kept { backend: store.backend(), members, pool: store.pool_view(), holds };
        audit::start(&audit);
        let rights = Rights { authority, signer, audit: audit.clone() };
        let vault = vault(config, &kept, spool_folder);
        if config.storage.rekey_at_start {
            // The one that serves: its turns are what keeps a rekeying and a new hold apart.
            background.push(tokio::spawn(rekey::in_background(Arc::clone(&vault), audit)));
        }
        let state = assemble(config, kept, vault, metrics.clone(), rights, settings);
        background.push(tokio::spawn(Arc::clone(&state.rates).upkeep()));
        background.push(tokio::spawn(state.shedder.clone().upkeep()));
        let drain =
            DrainPolicy { delay: config.server.drain_delay, timeout: config.server.drain_timeout };
        Ok(Self { service: Service::new(state), server, admin, drain, store, metrics, background })
    }

    /// The address that is listened on.
    ///
    /// # Errors
    /// The operating system does not tell.
    pub fn local_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.server.local_addr()
    }

    /// The address of those who watch, where that is apart.
    ///
    /// # Errors
    /// The operating system does not tell.
    pub fn admin_addr(&self) -> io::Result<Option<std::net::SocketAddr>> {
        self.admin.as_ref().map(Server::local_addr).transpose()
    }

    /// The series that `/metrics` shows.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Serves until `stop` completes, drains, and closes the stores.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Drained {
        let state = self.service.state().clone();
        let audit = state.audit.clone();
        let (stopped, stopping) = tokio::sync::oneshot::channel::<()>();
        let serving = async {
            let drained = self.server.run(self.service, self.drain, stop).await;
            // Whoever watches sees the other one drain, and is sent away last.
            drop(stopped);
            drained
        };
        let watching = async {
            let Some(admin) = self.admin else { return };
            let drain = DrainPolicy { delay: Duration::ZERO, timeout: ADMIN_DRAIN };
            admin.run(Service::admin(state), drain, async { drop(stopping.await) }).await;
        };
        let (drained, ()) = tokio::join!(serving, watching);
        for task in self.background {
            task.abort();
        }
        self.store.close().await;
        audit::stop(&audit).await;
        drained
    }
}

async fn bind(
    setting: &'static str,
    address: std::net::SocketAddr,
    limits: ConnectionLimits,
    tls: Option<Arc<Tls>>,
    metrics: &Metrics,
) -> Result<Server, StartError> {
    let bound = Server::bind(address, limits, tls, metrics.clone()).await;
    bound.map_err(|cause| StartError::Listen { setting, address, cause })
}

/// Who may do what, and where it is written down that they did.
pub struct Rights {
    /// Says who is calling.
    pub authority: Authority,
    /// Makes and checks signed URLs.
    pub signer: Signer,
    /// The audit log.
    pub audit: Audit,
}

/// What keeps the proofs of a service.
pub struct Kept {
    /// All of it as one.
    pub backend: Arc<dyn Backend>,
    /// Each member, in the order of the configuration; never none.
    pub members: Vec<Member>,
    /// How they work together, where there are several.
    pub pool: Option<PoolView>,
    /// Whether proofs may be held in it.
    pub holds: Holds,
}

/// The vault of a service: one for all that it does, as turns of keys hold within it.
pub fn vault(config: &Config, kept: &Kept, spool_folder: std::path::PathBuf) -> Arc<Vault> {
    let policy = policy(config, spool_folder, kept.holds.clone());
    Arc::new(Vault::new(Arc::clone(&kept.backend), policy))
}

/// The state of a service over any backend.
pub fn assemble(
    config: &Config,
    kept: Kept,
    vault: Arc<Vault>,
    metrics: Metrics,
    rights: Rights,
    settings: Settings,
) -> AppState {
    AppState::new(Inner {
        vault: Guarded::new(vault),
        authority: rights.authority,
        members: kept.members,
        pool: kept.pool,
        budget: Budget::new(config.limits.memory_budget_bytes, metrics.clone()),
        rates: Arc::new(RateLimits::new(&rates(config), metrics.clone())),
        shedder: Shedder::new(config.limits.max_requests, metrics.clone()),
        metrics,
        signer: rights.signer,
        audit: rights.audit,
        settings,
        draining: AtomicBool::new(false),
    })
}

fn rates(config: &Config) -> Rates {
    let config::RateConfig { address, address_writes, token, token_writes } = config.limits.rates;
    Rates { address, address_writes, token, token_writes }
}

/// What the configuration says of holds; the store may know more.
fn holds(config: &Config) -> Holds {
    if config.storage.holds { Holds::on() } else { Holds::unless_marked() }
}

fn policy(config: &Config, spool_folder: std::path::PathBuf, holds: Holds) -> Policy {
    Policy {
        namespace: config.storage.namespace.clone(),
        write_mode: config.storage.write_mode,
        max_object_bytes: config.limits.max_object_bytes,
        spool_folder,
        spool_files: descriptors::spool_files(),
        sealing: sealing(config),
        holding: Holding {
            rules: config.storage.retention.clone().into(),
            holds,
            ..Holding::default()
        },
    }
}

/// The keys of a configuration, and what is sealed with them.
pub fn sealing(config: &Config) -> Sealing {
    Sealing { keyring: config.storage.keyring.clone(), by_default: config.storage.seals }
}

/// The HTTP side of a configuration; `address` is where callers reach us if nothing else is said.
pub fn settings(config: &Config, address: std::net::SocketAddr) -> Settings {
    let scheme = if config.server.tls.is_some() { "https" } else { "http" };
    let public_url = match &config.server.public_url {
        Some(url) => url.as_str().to_owned(),
        // An unspecified address is no destination.
        None if address.ip().is_unspecified() => format!("{scheme}://localhost:{}", address.port()),
        None => format!("{scheme}://{address}"),
    };
    let bucket_domain = config.home().and_then(|home| {
        let url = home.cdn_url.as_ref()?.as_str().to_owned();
        Some(BucketDomain { backend: Arc::clone(&home.name), provider: home.provider(), url })
    });
    Settings {
        public_url,
        cdn_url: config.storage.cdn_url.as_ref().map(|url| url.as_str().to_owned()),
        bucket_domain,
        default_cache_control: config.storage.default_cache_control.clone(),
        redirect_downloads: config.storage.redirect_downloads.clone(),
        min_upload_rate: config.limits.min_upload_rate,
        body_timeout: config.limits.body_idle_timeout,
        slow_request: config.log.slow_request,
        admin_apart: config.server.admin_listen.is_some(),
        admin_asks: config.auth.admin,
        backend_urls: config.auth.backend_urls,
        cors_origins: match &config.server.cors_origins {
            config::CorsOrigins::Any => CorsOrigins::Any,
            config::CorsOrigins::None => CorsOrigins::None,
            config::CorsOrigins::List(list) => CorsOrigins::List(list.clone()),
        },
        proxies: Proxies {
            trusted: config.server.proxies.trusted.clone(),
            header: match config.server.proxies.header {
                config::ProxyHeader::XForwardedFor => ProxyHeader::XForwardedFor,
                config::ProxyHeader::Forwarded => ProxyHeader::Forwarded,
            },
        },
    }
}

fn create_folder(path: &Path) -> Result<(), StartError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
        .create(path)
        .map_err(|cause| StartError::DataDirectory { path: path.display().to_string(), cause })
}
