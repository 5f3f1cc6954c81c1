//! `[auth]`: who may do what.
//!
//! Nothing said means: this machine only. Who listens elsewhere names tokens or an identity
//! provider, or says in so many words that anyone may do anything.

use std::path::PathBuf;
use std::time::Duration;

use http::Uri;

use super::parse;
use super::reader::Reader;
use super::server::ServerConfig;
use super::settings as name;
use super::tls::TlsConfig;
use super::tokens::{self, TokenEntry};
use super::{DAY_MS, HOUR_MS};
use crate::model::{KeyPrefix, Reach};

/// Whether callers have to say who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Nobody is asked.
    Anyone,
    /// Everybody is, but for what is public.
    Required,
}

const MODES: &[(&str, AuthMode)] =
    &[("required", AuthMode::Required), ("anyone-may-do-anything", AuthMode::Anyone)];

/// Words for who may use the second address.
const WATCHERS: &[(&str, bool)] = &[("required", true), ("anyone-may-watch", false)];

/// Who may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// `STORAGE_AUTH`: whether callers have to say who they are. Default: where there are tokens or
    /// an identity provider.
    pub mode: AuthMode,
    /// `[[auth.token]]`: tokens that the configuration itself names.
    pub tokens: Vec<TokenEntry>,
    /// `STORAGE_TOKENS_FILE`: further ones, read again when it changes. Default: none.
    pub tokens_file: Option<TokensFile>,
    /// `STORAGE_PUBLIC_READ`: keys that anybody may read. Default: none.
    pub public_read: Vec<KeyPrefix>,
    /// The identity provider. Default: none.
    pub jwt: Option<JwtConfig>,
    /// `STORAGE_ADMIN_AUTH`: whether whoever comes to the second address has to say who they are. Default: no,
    /// and it has to be said where other machines reach it.
    pub admin: bool,
    /// `STORAGE_BACKEND_URLS`: whether callers may ask for signed URLs of the backend's own, which outlive the
    /// right that they were asked for with. Default: only where nobody has to say who they are.
    pub backend_urls: bool,
}

/// A file of tokens, as it was when the configuration was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokensFile {
    /// Where.
    pub path: PathBuf,
    /// What was in it.
    pub tokens: Vec<TokenEntry>,
}

/// An identity provider whose JWTs are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// `STORAGE_JWT_JWKS`: where its keys are.
    pub jwks: JwksSource,
    /// `STORAGE_JWT_ISSUER`: what `iss` must be.
    pub issuer: String,
    /// `STORAGE_JWT_AUDIENCE`: one of which must be in `aud`; never empty.
    pub audience: Vec<String>,
    /// `STORAGE_JWT_LEEWAY` (ms): by which clocks may differ. Default 60 000.
    pub leeway: Duration,
    /// `STORAGE_JWT_SCOPE_CLAIM`: claim with the scopes. Default `scope`.
    pub scope_claim: String,
    /// `STORAGE_JWT_PREFIX_CLAIM`: claim with the prefixes. Default: none, scopes are for every key.
    pub prefix_claim: Option<String>,
    /// `STORAGE_JWT_REFRESH` (ms): between two readings of the keys. Default 300 000.
    pub refresh: Duration,
    /// `STORAGE_ALLOW_LINK_LOCAL`: where the keys may be fetched from.
    pub reach: Reach,
}

/// Where a key set is. Shown without the query of a URL, which may be a credential.
#[derive(Clone, PartialEq, Eq)]
pub enum JwksSource {
    /// In a file.
    File(PathBuf),
    /// Behind an http or https URL.
    Url(Uri),
}

impl AuthConfig {
    pub(super) fn read(reader: &mut Reader<'_>, server: &ServerConfig, reach: Reach) -> Self {
        let listen = server.listen;
        let said = reader.option(&name::AUTH, parse::word(MODES));
        let tokens = reader.file.tokens().to_vec();
        tokens::check_apart(&tokens, &[], "auth.token", reader.problems);
        let tokens_file = reader.option(&name::TOKENS_FILE, parse::path).map(|path| {
            let place = path.display().to_string();
            let listed = tokens::of_file(&path, &place, reader.problems);
            tokens::check_apart(&listed, &tokens, &place, reader.problems);
            TokensFile { path, tokens: listed }
        });
        let public_read = reader.option(&name::PUBLIC_READ, prefixes).unwrap_or_default();
        let jwt = JwtConfig::read(reader, reach);
        let named = reader.file.has_tokens()
            || [&name::TOKENS_FILE, &name::JWT_JWKS].iter().any(|setting| reader.says(setting));
        let mode = said.unwrap_or(if named { AuthMode::Required } else { AuthMode::Anyone });
        let backend_urls = reader.option(&name::BACKEND_URLS, parse::on_or_off);
        let backend_urls = backend_urls.unwrap_or(mode == AuthMode::Anyone);
        let admin = admin(reader, server, mode);
        let config = Self { mode, tokens, tokens_file, public_read, jwt, admin, backend_urls };
        match said {
            Some(AuthMode::Required) if !named => {
                reader.mistake(&name::AUTH, &format!("is `required`, and nobody is named: {NAME}"));
            }
            Some(AuthMode::Anyone) if named => {
                let text = "says that anyone may do anything, and there are tokens or an identity \
                            provider too: remove one or the other";
                reader.mistake(&name::AUTH, text);
            }
            None if !named && !reader.says(&name::AUTH) && !listen.ip().is_loopback() => {
                let text = format!(
                    "is not set, and {listen} can be reached from other machines: {NAME}; or say \
                     STORAGE_AUTH=anyone-may-do-anything where something in front decides who may"
                );
                reader.problem(name::AUTH.variable, &text);
            }
            _ => {}
        }
        let encrypted = reader.says(&name::TLS_CERT) || reader.says(&name::TRUSTED_PROXIES);
        if mode == AuthMode::Required && !listen.ip().is_loopback() && !encrypted {
            reader.warn(&format!(
                "tokens come to {listen} in the clear, and whoever is on their way can use them: set \
                 STORAGE_TLS_CERT and STORAGE_TLS_KEY, or name the proxies that end TLS in front with \
                 STORAGE_TRUSTED_PROXIES"
            ));
        }
        if mode == AuthMode::Anyone && reader.says(&name::PUBLIC_READ) {
            reader.warn("STORAGE_PUBLIC_READ has no effect while anyone may do anything");
        }
        config
    }
}

/// What to do where nobody is named.
const NAME: &str = "make a token with `proof-storage token create` and name its file in \
                    STORAGE_TOKENS_FILE, or an identity provider with STORAGE_JWT_JWKS";

/// Whether whoever comes to the second address has to say who they are.
fn admin(reader: &mut Reader<'_>, server: &ServerConfig, mode: AuthMode) -> bool {
    let said = reader.option(&name::ADMIN_AUTH, parse::word(WATCHERS));
    let Some(address) = server.admin_listen else {
        if said.is_some() {
            reader.warn("STORAGE_ADMIN_AUTH has no effect without STORAGE_ADMIN_LISTEN");
        }
        return false;
    };
    let shows = |tls: &TlsConfig| tls.admin && tls.files.client_ca.is_some();
    let is_told = mode == AuthMode::Anyone && reader.says(&name::AUTH)
        || server.tls.as_ref().is_some_and(shows)
        || address.ip().is_loopback();
    match said {
        Some(true) if mode == AuthMode::Anyone => {
            reader
                .mistake(&name::ADMIN_AUTH, &format!("is `required`, and nobody is named: {NAME}"));
        }
        None if !is_told && !reader.says(&name::ADMIN_AUTH) => {
            let text = format!(
                "is not set, and other machines reach the metrics, stats and backends on {address}: say \
                 `required` to have them asked for a token with `admin`, or `anyone-may-watch` where \
                 the network decides who comes there"
            );
            reader.problem(name::ADMIN_AUTH.variable, &text);
        }
        _ => {}
    }
    said.unwrap_or(false)
}

/// Prefixes of keys, with commas between.
fn prefixes(text: &str) -> Result<Vec<KeyPrefix>, String> {
    text.split(',').map(|part| KeyPrefix::parse(part.trim())).collect()
}

impl JwtConfig {
    /// `None` where there is no provider, or mistakes in what is said of it.
    fn read(reader: &mut Reader<'_>, reach: Reach) -> Option<Self> {
        let jwks = reader.option(&name::JWT_JWKS, |text| JwksSource::parse(text, reach));
        let issuer = reader.option(&name::JWT_ISSUER, text);
        let audience = reader.option(&name::JWT_AUDIENCE, list);
        let leeway = reader.value(&name::JWT_LEEWAY, parse::milliseconds(0..=HOUR_MS));
        let scope_claim = reader.value(&name::JWT_SCOPE_CLAIM, text);
        let prefix_claim = reader.option(&name::JWT_PREFIX_CLAIM, text);
        let refresh = reader.value(&name::JWT_REFRESH, parse::milliseconds(10_000..=DAY_MS));
        if !reader.says(&name::JWT_JWKS) {
            for setting in [&name::JWT_ISSUER, &name::JWT_AUDIENCE, &name::JWT_PREFIX_CLAIM] {
                if reader.says(setting) {
                    reader.mistake(setting, "means nothing without STORAGE_JWT_JWKS: set that too");
                }
            }
            return None;
        }
        // A mistaken place of the keys is reported already, and mended first.
        if jwks.is_some() {
            let why = "a JWT of anybody else, or for anything else, would be taken";
            reader.missing(&name::JWT_ISSUER, why);
            reader.missing(&name::JWT_AUDIENCE, why);
        }
        if let Some(JwksSource::Url(url)) = &jwks
            && url.scheme_str() == Some("http")
        {
            let text = "STORAGE_JWT_JWKS is fetched without TLS: who is between may add keys of \
                        their own";
            reader.warn(text);
        }
        let (jwks, issuer, audience) = (jwks?, issuer?, audience?);
        Some(Self { jwks, issuer, audience, leeway, scope_claim, prefix_claim, refresh, reach })
    }
}

impl JwksSource {
    /// Reads a path, or a URL where it begins so.
    fn parse(text: &str, reach: Reach) -> Result<Self, String> {
        if !text.contains("://") {
            return parse::path(text).map(Self::File);
        }
        const REMEDY: &str = "write a path, or an http or https URL without a user name";
        let uri: Uri = text.parse().map_err(|_| format!("is not a URL: {REMEDY}"))?;
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let fits = matches!(uri.scheme_str(), Some("http" | "https")) && !authority.contains('@');
        if !fits {
            return Err(format!("is not such a URL: {REMEDY}"));
        }
        reach.check_host(uri.host().unwrap_or_default())?;
        Ok(Self::Url(uri))
    }
}

impl std::fmt::Display for JwksSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Url(url) => f.write_str(&super::url::without_query(&url.to_string())),
        }
    }
}

impl std::fmt::Debug for JwksSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

fn text(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("is empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}

fn list(all: &str) -> Result<Vec<String>, String> {
    all.split(',').map(text).collect()
}
