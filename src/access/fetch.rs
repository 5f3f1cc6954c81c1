//! Fetches a key set: one GET, to the URL that the configuration names and to no other.
//!
//! No redirect is followed, so that the provider cannot send the service somewhere else.

use std::time::Duration;

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// Longest wait for an answer, bytes and all.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Largest key set.
const MAX_BYTES: usize = 1 << 20;

/// Asks one URL.
pub struct Fetcher {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    url: Uri,
}

impl Fetcher {
    /// For a URL, with the certificate authorities of this machine.
    ///
    /// # Errors
    /// There are none.
    pub fn new(url: Uri) -> Result<Self, String> {
        // The algorithms are named: a second provider in the process must not make this one fail.
        let builder = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::aws_lc_rs::default_provider())
            .map_err(|error| format!("no certificate authorities on this machine: {error}"))?;
        let connector = builder.https_or_http().enable_http1().build();
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

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut current = error;
    while let Some(source) = current.source() {
        current = source;
    }
    current.to_string()
}
