//! A service over a backend of the test's choosing, and one call to it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use bytes::Bytes;
use proof_storage::access::Authority;
use proof_storage::app::{self, Kept, Rights};
use proof_storage::audit::Audit;
use proof_storage::backend::Backend;
use proof_storage::backend::memory::Memory;
use proof_storage::config::Config;
use proof_storage::http::{Member, PoolState, PoolView, Service, Signer};
use proof_storage::layer::{Inventory, InventoryPolicy};
use proof_storage::model::{PoolMode, Role};
use proof_storage::pool::{MemberSetup, Pool, PoolPolicy};
use proof_storage::telemetry::Metrics;
use proof_storage::vault::{Holds, Monitor};

/// A service without a network, and the folder that its large bodies wait in.
pub struct Client {
    service: Service,
    _spool: Arc<tempfile::TempDir>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The body ended with an error: on a connection this is a cut.
    pub broken: bool,
}

impl Client {
    /// Over a fresh memory store, with default settings.
    pub async fn new() -> Self {
        Self::over(Arc::new(Memory::new()), Config::default()).await
    }

    pub async fn configured(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        Self::over(Arc::new(Memory::new()), config).await
    }

    pub async fn over(backend: Arc<dyn Backend>, config: Config) -> Self {
        let hour = Duration::from_secs(3600);
        let member = member("memory", Arc::clone(&backend), hour).await;
        Self::of(Kept { backend, members: vec![member], pool: None, holds: Holds::on() }, config)
            .await
    }

    /// Over one where nothing is held, as by default.
    pub async fn without_holds(backend: Arc<dyn Backend>, config: Config, audit: Audit) -> Self {
        let hour = Duration::from_secs(3600);
        let member = member("memory", Arc::clone(&backend), hour).await;
        let holds = Holds::unless_marked();
        holds.clone().settle(Arc::clone(&backend)).await;
        assert!(!holds.may_be(), "a store that was never marked");
        Self::with(Kept { backend, members: vec![member], pool: None, holds }, config, audit).await
    }

    /// Over a pool, which is counted when the test says so.
    pub async fn pool(members: Vec<MemberSetup>, mode: PoolMode) -> (Self, Arc<Inventory>) {
        let shown = shown(&members).await;
        let policy = PoolPolicy::new(mode, 1, "proofs/", std::env::temp_dir());
        let pool = Pool::new(members, policy);
        let view = Some(app::pool_view(Arc::clone(&pool)));
        let policy = InventoryPolicy::new("proofs/", Duration::from_secs(3600)).of_pool();
        let inventory = Arc::new(Inventory::new(pool, policy));
        let kept =
            Kept { backend: inventory.clone(), members: shown, pool: view, holds: Holds::on() };
        (Self::of(kept, Config::default()).await, inventory)
    }

    /// Over a pool that the test made of these members, and sees to itself.
    pub async fn over_pool(pool: Arc<Pool>, members: &[MemberSetup], holds: Holds) -> Self {
        let members = shown(members).await;
        let view = Some(app::pool_view(Arc::clone(&pool)));
        Self::of(Kept { backend: pool, members, pool: view, holds }, Config::default()).await
    }

    /// Over one store, beside a pool of two that stands as the test says.
    pub async fn standing(pool: PoolState) -> Self {
        let hour = Duration::from_secs(3600);
        let backend: Arc<dyn Backend> = Arc::new(Memory::new());
        let members = vec![
            member("far", Arc::clone(&backend), hour).await,
            member("near", Arc::clone(&backend), hour).await,
        ];
        let view: PoolView = Box::new(move || pool.clone());
        Self::of(Kept { backend, members, pool: Some(view), holds: Holds::on() }, Config::default())
            .await
    }

    /// Over a store, with an audit log.
    pub async fn audited(backend: Arc<dyn Backend>, config: Config, audit: Audit) -> Self {
        let hour = Duration::from_secs(3600);
        let member = member("memory", Arc::clone(&backend), hour).await;
        let kept = Kept { backend, members: vec![member], pool: None, holds: Holds::on() };
        Self::with(kept, config, audit).await
    }

    async fn of(kept: Kept, config: Config) -> Self {
        Self::with(kept, config, Audit::off()).await
    }

    async fn with(kept: Kept, config: Config, audit: Audit) -> Self {
        let spool = tempfile::tempdir().unwrap();
        let signer = Signer::new(vec![7; 32].into(), None);
        let settings = app::settings(&config, ([127, 0, 0, 1], 8080).into());
        let folder = spool.path().to_owned();
        let metrics = Metrics::new();
        let authority = Authority::new(&config.auth, &metrics).await;
        let rights = Rights { authority, signer, audit };
        let vault = app::vault(&config, &kept, folder);
        let state = app::assemble(&config, kept, vault, metrics, rights, settings);
        Self { service: Service::new(state), _spool: Arc::new(spool) }
    }

    /// The same service, as those reach it who watch it.
    pub fn admin(&self) -> Self {
        let service = Service::admin(self.service.state().clone());
        Self { service, _spool: Arc::clone(&self._spool) }
    }

    /// An answer whose body is not read yet.
    pub async fn open(&self, path: &str) -> Response<Body> {
        self.service.call(Request::get(path).body(Body::empty()).unwrap()).await
    }

    /// What a server hands its requests to.
    pub fn service(&self) -> Service {
        self.service.clone()
    }

    /// Begins to stop.
    pub fn drain(&self) {
        self.service.state().drain();
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, mut body) = self.service.call(request).await.into_parts();
        let mut bytes = Vec::new();
        let mut broken = false;
        while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
            match frame {
                Ok(frame) => bytes.extend_from_slice(frame.data_ref().unwrap()),
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
        Answer { status: parts.status, headers: parts.headers, body: bytes.into(), broken }
    }

    pub async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let body = body.into();
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, value.as_bytes());
        }
        if !body.is_empty() {
            request = request.header("content-length", body.len());
        }
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], "").await
    }

    pub async fn put(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.call("PUT", path, &[], body).await
    }

    pub async fn post_json(&self, path: &str, body: serde_json::Value) -> Answer {
        let headers = [("content-type", "application/json")];
        self.call("POST", path, &headers, body.to_string()).await
    }

    /// A body of unknown length, in pieces.
    pub async fn put_stream(
        &self,
        path: &str,
        pieces: Vec<Result<Bytes, std::io::Error>>,
    ) -> Answer {
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        self.send(Request::put(path).body(body).unwrap()).await
    }
}

/// Members as answers show them.
async fn shown(members: &[MemberSetup]) -> Vec<Member> {
    let shown = members.iter().map(async |setup| {
        let hour = Duration::from_secs(3600);
        let member = member(&setup.name, Arc::clone(&setup.backend), hour).await;
        Member { role: setup.role, quota_bytes: setup.quota_bytes, ..member }
    });
    futures_util::future::join_all(shown).await
}

/// Probed once, now.
async fn member(name: &str, backend: Arc<dyn Backend>, interval: Duration) -> Member {
    let (monitor, _task) =
        Monitor::start(name.into(), backend, Vec::new(), interval, interval, Arc::default()).await;
    Member { role: Role::ReadWrite, quota_bytes: None, monitor, breaker: None }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The problem's code, after checking that it is a well-formed problem of that status.
    #[track_caller]
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        for field in ["type", "title", "detail", "instance", "code"] {
            assert!(problem[field].is_string(), "{field} is missing: {problem}");
        }
        problem["code"].as_str().unwrap().to_owned()
    }

    /// Asserts a problem of this status and code whose detail has this text.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str, text: &str) {
        assert_eq!((self.status.as_u16(), self.problem().as_str()), (status, code));
        let detail = self.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(text), "{detail:?} does not name {text:?}");
    }
}

/// Compresses as a client would.
pub fn gzip(bytes: &[u8]) -> Bytes {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap().into()
}

/// Inflates as a client would.
pub fn gunzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Read as _;
    let mut output = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut output).unwrap();
    output
}

/// JSON that compresses, of about this many bytes.
pub fn sample_json(bytes: usize) -> Vec<u8> {
    let mut text = b"{\"assertions\":[".to_vec();
    let mut number = 0_u64;
    while text.len() < bytes {
        let line = format!("{{\"label\":\"c2pa.hash.data\",\"n\":{}}},", number * 7919 % 10_007);
        text.extend_from_slice(line.as_bytes());
        number += 1;
    }
    text.extend_from_slice(b"null]}");
    text
}
