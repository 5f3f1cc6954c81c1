//! Fetches a key set: one GET, to the URL that the configuration names and to no other.
//!
//! No redirect is followed and no proxy asked, so that the provider cannot send the service somewhere
//! else; nor can its name server, to an address that only this machine answers: each time that the
//! name is resolved, those are left out.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use tower::Service;

use crate::model::Reach;

/// Longest wait for an answer, bytes and all.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Largest key set.
const MAX_BYTES: usize = 1 << 20;

/// Asks one URL.
pub struct Fetcher {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Empty<Bytes>>,
    url: Uri,
}

impl Fetcher {
    /// For a URL, with the certificate authorities of this machine; `reach` says where it may be.
    ///
    /// # Errors
    /// There are none.
    pub fn new(url: Uri, reach: Reach) -> Result<Self, String> {
        // The algorithms are named: a second provider in the process must not make this one fail.
        let builder = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
            .map_err(|error| format!("no certificate authorities on this machine: {error}"))?;
        let mut http = HttpConnector::new_with_resolver(Resolver(reach));
        http.enforce_http(false);
        let connector = builder.https_or_http().enable_http1().wrap_connector(http);
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector), url })
    }

    /// What is there now.
    ///
    /// # Errors
    /// No answer in time, another than 200, or one that is too large.
    pub async fn get(&self) -> Result<Bytes, String> {
        let asking = async {
            let answer = self.client.get(self.url.clone()).await;
            let answer = answer.map_err(|error| innermost(&error))?;
            if answer.status() != http::StatusCode::OK {
                return Err(format!("answered {}", answer.status()));
            }
            let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
            Ok(body.map_err(|error| innermost(&*error))?.to_bytes())
        };
        match tokio::time::timeout(TIMEOUT, asking).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
        }
    }
}

/// Asks the machine's name service, and leaves out what may not be called.
#[derive(Clone, Copy)]
struct Resolver(Reach);

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self(reach) = *self;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found = found.map(|address| address.ip()).collect();
            let allowed = reach.filter(name.as_str(), found).map_err(io::Error::other)?;
            let addresses: Vec<_> = allowed.into_iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            Ok(addresses.into_iter())
        })
    }
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut current = error;
    while let Some(source) = current.source() {
        current = source;
    }
    current.to_string()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Answers one request with what is given.
    async fn answers(answer: &'static str) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let _read = stream.read(&mut head).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        address
    }

    fn fetcher(url: &str, reach: Reach) -> Fetcher {
        Fetcher::new(url.parse().unwrap(), reach).unwrap()
    }

    #[tokio::test]
    async fn a_name_is_asked_at_its_address() {
        let address = answers("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nkeys").await;
        let url = format!("http://localhost:{}/", address.port());
        assert_eq!(fetcher(&url, Reach::Guarded).get().await.unwrap(), "keys");
    }

    /// The name service takes old ways of writing an address for a name of it.
    #[tokio::test]
    async fn a_name_of_a_metadata_service_is_not_called() {
        for host in ["2852039166", "0xa9.0xfe.0xa9.0xfe", "169.254.43518"] {
            let refused = fetcher(&format!("http://{host}:9/"), Reach::Guarded).get().await;
            let refused = refused.unwrap_err();
            assert!(refused.contains("STORAGE_ALLOW_LINK_LOCAL"), "{host}: {refused}");
        }
        // The control: names written so are resolved, and called where that is allowed.
        let address = answers("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nkeys").await;
        let url = format!("http://2130706433:{}/", address.port());
        assert_eq!(fetcher(&url, Reach::Guarded).get().await.unwrap(), "keys");
    }

    #[tokio::test]
    async fn no_redirect_is_followed() {
        let elsewhere = "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\n\
                         content-length: 0\r\n\r\n";
        let address = answers(elsewhere).await;
        let refused = fetcher(&format!("http://{address}/"), Reach::Guarded).get().await;
        assert!(refused.unwrap_err().contains("302"));
    }
}
