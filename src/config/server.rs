//! `[server]`: how the service is reached and how it stops.

use std::net::SocketAddr;
use std::time::Duration;

use super::parse;
use super::proxies::ProxiesConfig;
use super::reader::Reader;
use super::secret::SigningKey;
use super::settings as name;
use super::tls::TlsConfig;
use super::url::{BaseUrl, CorsOrigins};
use super::{DAY_MS, HOUR_MS};

/// How the service is reached and how it stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// `STORAGE_LISTEN`: address and port. Default 127.0.0.1:8080.
    pub listen: SocketAddr,
    /// `STORAGE_ADMIN_LISTEN`: address and port for metrics, stats, backends and health. Default:
    /// none, they are on the other one.
    pub admin_listen: Option<SocketAddr>,
    /// `STORAGE_PUBLIC_URL`: URL under which callers reach the service. Default: none, URLs are
    /// made from the listening address.
    pub public_url: Option<BaseUrl>,
    /// TLS on the listeners. Default: none, plain HTTP.
    pub tls: Option<TlsConfig>,
    /// Proxies in front, and what they say. Default: none is trusted.
    pub proxies: ProxiesConfig,
    /// `STORAGE_CORS_ORIGINS`: whose pages may read. Default `*`.
    pub cors_origins: CorsOrigins,
    /// `STORAGE_SIGNING_KEY`: signs URLs and checks them. Default: none, a key is made once in
    /// the data directory.
    pub signing_key: Option<SigningKey>,
    /// `STORAGE_SIGNING_KEY_PREVIOUS`: also accepted, never used to sign. Default: none.
    pub signing_key_previous: Option<SigningKey>,
    /// `STORAGE_DRAIN_DELAY` (ms): how long readiness is already 503 before the listener closes.
    /// Default 0.
    pub drain_delay: Duration,
    /// `STORAGE_DRAIN_TIMEOUT` (ms): how long running requests get to finish. Default 30 000.
    pub drain_timeout: Duration,
}

impl ServerConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let key = |text: &str| SigningKey::new(text.as_bytes());
        let config = Self {
            listen: reader.value(&name::LISTEN, parse::address),
            admin_listen: reader.option(&name::ADMIN_LISTEN, parse::address),
            public_url: reader.option(&name::PUBLIC_URL, BaseUrl::parse),
            tls: TlsConfig::read(reader),
            proxies: ProxiesConfig::read(reader),
            cors_origins: reader.value(&name::CORS_ORIGINS, CorsOrigins::parse),
            signing_key: reader.option(&name::SIGNING_KEY, key),
            signing_key_previous: reader.option(&name::SIGNING_KEY_PREVIOUS, key),
            drain_delay: reader.value(&name::DRAIN_DELAY, parse::milliseconds(0..=HOUR_MS)),
            drain_timeout: reader.value(&name::DRAIN_TIMEOUT, parse::milliseconds(0..=DAY_MS)),
        };
        if config.admin_listen == Some(config.listen) && config.listen.port() != 0 {
            reader.mistake(&name::ADMIN_LISTEN, "is STORAGE_LISTEN's too: give it another port");
        }
        let in_clear =
            config.public_url.as_ref().is_some_and(|url| url.as_str().starts_with("http:"));
        if config.tls.is_some() && in_clear {
            reader.warn("STORAGE_PUBLIC_URL is an http URL, and the service speaks https");
        }
        if config.signing_key.is_some() && config.signing_key == config.signing_key_previous {
            reader.warn("the previous signing key is the current one: remove it");
        }
        config
    }
}
