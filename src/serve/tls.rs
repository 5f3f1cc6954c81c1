//! TLS: the handshake, and certificates that are exchanged while the service runs.
//!
//! TLS 1.2 and 1.3, HTTP/2 by ALPN. Each handshake takes the configuration that is current when it
//! begins. A new one has its own memory of sessions, so that nobody resumes what a withdrawn authority
//! allowed. There is no early data: what it carries can be sent again by somebody else.

mod client;

use std::io;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, Error, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::client::OwnToo;
use crate::config::{TlsConfig, TlsFiles, TlsIdentity};
use crate::telemetry::{CredentialSource, HandshakeFailure, Metrics};

const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// The certificate that is shown now, and where the next one comes from.
pub struct Tls {
    files: TlsFiles,
    current: RwLock<Current>,
    metrics: Metrics,
    told: OnceLock<Told>,
}

/// Gets to know of each exchange of whose certificates are taken from clients, and whether it was taken.
type Told = Box<dyn Fn(bool) + Send + Sync>;

#[derive(Clone)]
struct Current {
    identity: TlsIdentity,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// With the certificate that the configuration read.
    ///
    /// # Errors
    /// What the library says that cannot be used together.
    pub fn new(config: &TlsConfig, metrics: Metrics) -> Result<Self, String> {
        let identity = config.identity.clone();
        let current = Current { config: Arc::new(server_config(&identity)?), identity };
        metrics.certificate_ends(current.identity.not_after);
        let (files, current) = (config.files.clone(), RwLock::new(current));
        Ok(Self { files, current, metrics, told: OnceLock::new() })
    }

    /// Has somebody told of each file of clients' authorities that is another one than the one in force: whether
    /// it was taken. To be called once, before [`Self::watch`].
    pub fn on_authorities(&self, told: impl Fn(bool) + Send + Sync + 'static) {
        self.told.get_or_init(|| Box::new(told));
    }

    /// Looks at the files again and again, for ever, and takes what is new and sound. What is not
    /// sound leaves the certificate as it was, and is told when it is seen a second time: files that
    /// are being written are no failure.
    pub async fn watch(&self, every: Duration) {
        let mut seen = self.current().identity.digest;
        let mut unsound = None;
        let mut looks = tokio::time::interval(every);
        loop {
            looks.tick().await;
            let files = self.files.clone();
            let read = tokio::task::spawn_blocking(move || {
                let contents = files.contents();
                (contents.digest(), contents.client_ca(), contents.identity())
            });
            let Ok((digest, client_ca, identity)) = read.await else { continue };
            if digest == seen {
                unsound = None;
                continue;
            }
            let others = client_ca != self.current().identity.client_ca;
            let taken = identity.map_err(|problems| problems.to_string());
            let taken = taken.and_then(|identity| self.not_worse(identity));
            let taken = taken.and_then(|identity| self.take(identity.clone()).map(|()| identity));
            let path = self.files.cert.display();
            match &taken {
                Ok(identity) => {
                    let ends = humantime::format_rfc3339_seconds(identity.not_after);
                    tracing::info!(%path, %ends, "took the new certificate");
                    if let Some(warning) = identity.warning(SystemTime::now()) {
                        tracing::warn!(%path, "{warning}");
                    }
                }
                Err(_) if unsound != Some(digest) => {
                    unsound = Some(digest);
                    continue;
                }
                Err(error) => {
                    tracing::error!(%path, error, "cannot use the new certificate: the old one stays");
                }
            }
            self.metrics.credentials_read(CredentialSource::Certificate, taken.is_ok());
            if let Some(told) = self.told.get().filter(|_| others) {
                told(taken.is_ok());
            }
            (seen, unsound) = (digest, None);
        }
    }

    fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One that clients refuse for its time does not replace one that they take.
    fn not_worse(&self, identity: TlsIdentity) -> Result<TlsIdentity, String> {
        let now = SystemTime::now();
        match identity.warning(now) {
            Some(warning) if self.current().identity.warning(now).is_none() => Err(warning),
            _ => Ok(identity),
        }
    }

    fn take(&self, identity: TlsIdentity) -> Result<(), String> {
        let config = Arc::new(server_config(&identity)?);
        self.metrics.certificate_ends(identity.not_after);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) =
            Current { identity, config };
        Ok(())
    }

    /// Makes a connection private. `true`: HTTP/2 was agreed on.
    ///
    /// # Errors
    /// The client's, which are counted here.
    pub(super) async fn accept<S>(&self, stream: S) -> io::Result<(TlsStream<S>, bool)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match TlsAcceptor::from(self.current().config).accept(stream).await {
            Ok(stream) => {
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
                Ok((stream, is_http2))
            }
            Err(error) => {
                self.failed(cause(&error));
                Err(error)
            }
        }
    }

    /// Counts a handshake that came to nothing.
    pub(super) fn failed(&self, cause: HandshakeFailure) {
        self.metrics.handshake_failed(cause);
    }
}

fn server_config(identity: &TlsIdentity) -> Result<ServerConfig, String> {
    let text = |error: &dyn std::error::Error| error.to_string();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| text(&error))?;
    let builder = match &identity.client_roots {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let issued = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider);
            let issued = issued.build().map_err(|error| text(&error))?;
            let own = identity.key.end_entity_cert().map_err(|error| text(&error))?;
            builder
                .with_client_cert_verifier(Arc::new(OwnToo::new(own.clone().into_owned(), issued)))
        }
    };
    let key = SingleCertAndKey::from(Arc::clone(&identity.key));
    let mut config = builder.with_cert_resolver(Arc::new(key));
    config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    if identity.client_roots.is_some() {
        // A session that is resumed does not look at the client's certificate again, which may have ended.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

fn cause(error: &io::Error) -> HandshakeFailure {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return HandshakeFailure::Closed;
    };
    match error {
        Error::NoCertificatesPresented => HandshakeFailure::NoCertificate,
        Error::InvalidCertificate(_) => HandshakeFailure::BadCertificate,
        Error::PeerIncompatible(_)
        | Error::NoApplicationProtocol
        | Error::AlertReceived(AlertDescription::ProtocolVersion) => HandshakeFailure::Incompatible,
        Error::AlertReceived(_) => HandshakeFailure::Refused,
        _ => HandshakeFailure::Protocol,
    }
}
