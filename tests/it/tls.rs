//! TLS on real sockets: the service as the command starts it, and a client of its own.

mod clients;
mod connections;
mod reload;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proof_storage::app::App;
use proof_storage::config::{Config, Sources};
use proof_storage::serve::Drained;
use proof_storage::telemetry::Metrics;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS12;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificates::{Authority, Pair};

/// How long a test waits for what the background is to do. Nothing is asserted about the time.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(100);

/// A service with a certificate, in a folder of its own.
struct Running {
    authority: Authority,
    folder: tempfile::TempDir,
    address: SocketAddr,
    admin: Option<SocketAddr>,
    metrics: Metrics,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Drained>,
}

impl Running {
    async fn start() -> Self {
        Self::with(|_| String::new()).await
    }

    /// With further lines of `[server]`, and after them other sections.
    async fn with(lines: impl FnOnce(&Path) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("servers");
        let (cert, key) = authority.server().write(folder.path());
        let lines = lines(folder.path());
        Self::over(authority, folder, &cert, &key, &lines).await
    }

    async fn over(
        authority: Authority,
        folder: tempfile::TempDir,
        cert: &Path,
        key: &Path,
        lines: &str,
    ) -> Self {
        let text = format!(
            "[storage]\ndata_dir = '{}'\n[server]\nlisten = '127.0.0.1:0'\n\
             tls_cert = '{}'\ntls_key = '{}'\n{lines}",
            folder.path().join("data").display(),
            cert.display(),
            key.display(),
        );
        let file = folder.path().join("proofs.toml");
        std::fs::write(&file, text).unwrap();
        let loaded = Config::load(Sources { environment: Vec::new(), file: Some(file) });
        let app = App::start(&loaded.unwrap().config).await.unwrap();
        let (address, admin) = (app.local_addr().unwrap(), app.admin_addr().unwrap());
        let metrics = app.metrics().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(app.run(async { drop(stopped.await) }));
        Self { authority, folder, address, admin, metrics, stop, serving }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A client that takes what the service's authority issued.
    fn client(&self) -> Client {
        Client::of(&[&self.authority.pem])
    }

    async fn stop(self) -> Drained {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap()
    }

    /// The value of a series, as it is scraped.
    fn series(&self, series: &str) -> Option<f64> {
        let text = self.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    async fn wait_for(&self, series: &str, value: f64) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while self.series(series) != Some(value) {
                tokio::time::sleep(PAUSE).await;
            }
        });
        assert!(waited.await.is_ok(), "{series} is {:?} and not {value}", self.series(series));
    }
}

/// How a client connects.
struct Client {
    roots: RootCertStore,
    protocols: Vec<Vec<u8>>,
    versions: &'static [&'static SupportedProtocolVersion],
    shows: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

type Connection = TlsStream<TcpStream>;

impl Client {
    fn of(authorities: &[&str]) -> Self {
        let mut roots = RootCertStore::empty();
        for pem in authorities {
            roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        }
        Self { roots, protocols: Vec::new(), versions: rustls::ALL_VERSIONS, shows: None }
    }

    fn offering(mut self, protocol: &str) -> Self {
        self.protocols.push(protocol.as_bytes().to_vec());
        self
    }

    fn of_tls12(mut self) -> Self {
        static ONLY: &[&SupportedProtocolVersion] = &[&TLS12];
        self.versions = ONLY;
        self
    }

    fn showing(mut self, pair: &Pair) -> Self {
        let cert = CertificateDer::from_pem_slice(pair.cert.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        self.shows = Some((vec![cert], key));
        self
    }

    async fn connect(self, to: SocketAddr) -> std::io::Result<Connection> {
        connect(&self.config(), to).await
    }

    /// What several connections may share, and with it their sessions.
    fn config(self) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(self.roots);
        let mut config = match self.shows {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.protocols;
        Arc::new(config)
    }

    /// Asks one thing, over whatever protocol was agreed on.
    async fn get(self, to: SocketAddr, path: &str) -> Result<(StatusCode, Bytes), String> {
        let stream = self.connect(to).await.map_err(|error| error.to_string())?;
        ask(stream, Request::get(path).body(Full::default()).unwrap()).await
    }
}

async fn connect(config: &Arc<ClientConfig>, to: SocketAddr) -> std::io::Result<Connection> {
    let stream = TcpStream::connect(to).await?;
    let connector = TlsConnector::from(Arc::clone(config));
    connector.connect("localhost".try_into().unwrap(), stream).await
}

async fn ask(
    stream: Connection,
    mut request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), String> {
    let text = |error: hyper::Error| format!("{error}: {:?}", std::error::Error::source(&error));
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let io = TokioIo::new(stream);
    let answer = if is_http2 {
        let path = request.uri().path().to_owned();
        *request.uri_mut() = format!("https://localhost{path}").parse().unwrap();
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), io).await.map_err(text)?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(text)?
    } else {
        request.headers_mut().insert("host", "localhost".parse().unwrap());
        let (mut sender, connection) = http1::handshake(io).await.map_err(text)?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(text)?
    };
    let (parts, body) = answer.into_parts();
    Ok((parts.status, body.collect().await.map_err(text)?.to_bytes()))
}
