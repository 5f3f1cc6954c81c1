//! The SDK's client: one for each backend, made once, with every time limit said.
//!
//! One attempt a call: the retry layer is the only retrier. The SDK's own budget of retries, which
//! clients of one region share, is a backend's own all the same. Checksums are ours (sha-256 in a
//! header), which also keeps the SDK from chunked uploads with trailers that many stores refuse.

mod endpoint;
mod frugal;
mod resolver;

use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::retry::{RetryConfig, RetryPartition};
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
    SharedCredentialsProvider, StalledStreamProtectionConfig,
};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_http_client::tls;
use secrecy::ExposeSecret as _;

use self::endpoint::OneBucket;
use self::frugal::Frugal;
pub(super) use self::frugal::HashedAnew;
use self::resolver::Resolver;
use super::S3;
use super::credentials::Lives;
use super::error::{Effect, late, translate};
use super::options::Options;
use crate::model::StoreError;

/// S3 closes idle connections after about 20 s; one that it closed must not be used again.
const POOL_IDLE: Duration = Duration::from_secs(15);
const CONNECT: Duration = Duration::from_secs(3);
/// Part of a call's time that its connection may take, in percent. Less than all of it: where
/// nobody answers, the call must end as one that was never sent, not as one whose answer is lost.
const CONNECT_PERCENT: u32 = 75;
/// What Amazon assumes where nobody names a region.
const DEFAULT_REGION: &str = "us-east-1";

/// Bytes per second that even a slow backend takes: the allowance for large bodies.
const SLOWEST_BYTES_PER_SECOND: u64 = 1 << 20;
/// Most bytes that one call moves.
const LARGEST: u64 = 5 << 30;

/// The clients of one backend, which share all but their time limits and endpoint.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    /// For requests that carry little.
    pub(super) calls: Client,
    /// For those whose time hangs on how much is moved: who calls limits each by its size.
    pub(super) transfers: Client,
    /// Signs URLs for callers.
    pub(super) presigning: Client,
    /// For how long what is signed is good.
    pub(super) lives: Lives,
}

/// Time that moving so many bytes may take beyond the usual.
pub(super) fn allowance(bytes: u64) -> Duration {
    Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND)
}

/// Makes the clients. Reads the environment where no credentials or region are given. Asks nobody,
/// but for Amazon's own endpoint without a region the instance's metadata.
pub(super) async fn connect(options: &Options) -> Clients {
    let http = aws_smithy_http_client::Builder::new()
        .pool_idle_timeout(POOL_IDLE)
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::AwsLc))
        .build_with_resolver(Resolver(options.reach));
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone());
    if let Some(region) = &options.region {
        loader = loader.region(Region::new(region.clone()));
    } else if options.endpoint.is_some() {
        // A cluster of one's own is not asked for at Amazon's.
        let said = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
            .or_else(ProfileFileRegionProvider::new());
        loader = loader.region(said.or_else(DEFAULT_REGION));
    }
    if let Some(given) = &options.credentials {
        let secret = given.secret_access_key.expose_secret();
        let credentials =
            Credentials::new(&given.access_key_id, secret, None, None, "configuration");
        loader = loader.credentials_provider(credentials);
    }
    let shared = loader.load().await;
    let provider = shared.credentials_provider();
    clients(options, &shared, provider, |builder| builder.http_client(http.clone()))
}

/// The clients over what the environment or a test gave.
pub(super) fn clients(
    options: &Options,
    shared: &SdkConfig,
    credentials: Option<SharedCredentialsProvider>,
    over: impl Fn(Builder) -> Builder,
) -> Clients {
    let lives = Lives::default();
    let region = shared.region().cloned().unwrap_or_else(|| Region::new(DEFAULT_REGION));
    let endpoint = options.endpoint.as_deref().unwrap_or("amazon");
    let partition = format!("{} {endpoint} {}", options.provider, options.bucket);
    let mut base = over(Builder::from(shared))
        .region(region)
        .retry_config(RetryConfig::disabled())
        .retry_partition(RetryPartition::custom(partition).build())
        // The timeout layer watches bodies.
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .force_path_style(options.path_style);
    if let Some(provider) = credentials {
        base = base.credentials_provider(lives.watch(provider));
    }
    let with = |read: Duration, endpoint: Option<&String>| {
        let limits = TimeoutConfig::builder()
            .connect_timeout(CONNECT.min(options.timeout * CONNECT_PERCENT / 100))
            .read_timeout(read);
        let builder = base.clone().timeout_config(limits.build());
        let builder = builder.endpoint_resolver(OneBucket::new(options.reach));
        match endpoint {
            Some(url) => builder.endpoint_url(url),
            None => builder,
        }
    };
    let frugal = |builder: Builder| Client::from_conf(builder.interceptor(Frugal).build());
    let (own, seen) = (options.endpoint.as_ref(), options.presign_endpoint.as_ref());
    Clients {
        calls: frugal(with(options.timeout, own)),
        transfers: frugal(with(options.timeout + allowance(LARGEST), own)),
        // Not frugal: a header that is signed is one that callers must send.
        presigning: Client::from_conf(with(options.timeout, seen.or(own)).build()),
        lives,
    }
}

impl S3 {
    /// Limits a call that may take longer than others, and translates its failure. The client has no
    /// such limits by itself: each would have connections of its own.
    pub(super) async fn in_time<T, E>(
        &self,
        extra: Duration,
        effect: Effect,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, StoreError>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let limit = self.shared.options.timeout + extra;
        match tokio::time::timeout(limit, call).await {
            Ok(answer) => answer.map_err(|e| translate(self.shared.options.provider, effect, e)),
            Err(_) => Err(late(self.shared.options.provider, effect)),
        }
    }
}
