//! The SDK's client: one for each backend, made once, with every time limit said.
//!
//! One attempt a call: the retry layer is the only retrier, and the SDK's own budget is shared by
//! all clients of a region. Checksums are ours (sha-256 in a header), which also keeps the SDK
//! from chunked uploads with trailers that many stores refuse.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedCredentialsProvider, StalledStreamProtectionConfig, retry::RetryConfig,
    timeout::TimeoutConfig,
};
use aws_smithy_http_client::tls;
use secrecy::ExposeSecret as _;

use super::options::Options;

/// S3 closes idle connections after about 20 s; one that it closed must not be used again.
const POOL_IDLE: Duration = Duration::from_secs(15);
const CONNECT: Duration = Duration::from_secs(3);
/// What Amazon assumes where nobody names a region.
const DEFAULT_REGION: &str = "us-east-1";

/// The client for requests, and the one that signs URLs for callers.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    pub(super) calls: Client,
    pub(super) presigning: Client,
    /// For how long what signs is good.
    pub(super) credentials: Option<SharedCredentialsProvider>,
}

/// Makes the clients. Reads the environment where no credentials or region are given; sends
/// nothing.
pub(super) async fn connect(options: &Options) -> Clients {
    let http = aws_smithy_http_client::Builder::new()
        .pool_idle_timeout(POOL_IDLE)
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
        .build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone());
    if let Some(region) = &options.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let Some(given) = &options.credentials {
        let secret = given.secret_access_key.expose_secret();
        let credentials =
            Credentials::new(&given.access_key_id, secret, None, None, "configuration");
        loader = loader.credentials_provider(credentials);
    }
    let shared = loader.load().await;
    let region = shared.region().cloned().unwrap_or_else(|| Region::new(DEFAULT_REGION));
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT.min(options.timeout))
        .read_timeout(options.timeout)
        .build();
    let base = Builder::from(&shared)
        .region(region)
        .http_client(http)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        // The timeout layer watches bodies.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .force_path_style(options.path_style);
    let at = |endpoint: Option<&String>| {
        let builder = base.clone();
        let config = match endpoint {
            Some(url) => builder.endpoint_url(url).build(),
            None => builder.build(),
        };
        Client::from_conf(config)
    };
    Clients {
        credentials: shared.credentials_provider(),
        calls: at(options.endpoint.as_ref()),
        presigning: at(options.presign_endpoint.as_ref().or(options.endpoint.as_ref())),
    }
}
