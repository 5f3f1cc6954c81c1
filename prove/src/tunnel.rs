//! TLS for a client that speaks none: takes plain connections on this machine, and makes each private on its
//! way to the service. It trusts one authority, so whoever answers through it has the certificate of that one.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use crate::Result;

/// A tunnel, closed on drop.
#[derive(Debug)]
pub(crate) struct Tunnel {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Tunnel {
    /// To a service whose certificate is of the authority in this PEM and for `localhost`.
    ///
    /// # Errors
    /// The PEM is none, or there is no free port.
    pub(crate) fn to(service: SocketAddr, authority: &str) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = TlsConnector::from(Arc::new(config));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        runtime.spawn(async move {
            while let Ok((plain, _)) = listener.accept().await {
                // One that does not come through is closed: its caller sees no answer.
                tokio::spawn(carry(plain, service, connector.clone()));
            }
        });
        Ok(Self { address, _runtime: runtime })
    }

    /// Where it takes plain connections.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn carry(mut plain: TcpStream, to: SocketAddr, connector: TlsConnector) -> Result<()> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let mut private = connector.connect(ServerName::try_from("localhost")?, stream).await?;
    tokio::io::copy_bidirectional(&mut plain, &mut private).await?;
    Ok(())
}
