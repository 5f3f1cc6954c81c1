//! JWTs (RFC 7519) of one identity provider.
//!
//! Asked for are a signature by a key of the provider's set, `exp`, `iss` and `aud`; `nbf` counts
//! where it is there. A token with a key that is not known makes the set be read again, at most
//! once a minute whatever anybody sends.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use serde_json::{Map, Value};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::fetch::Fetcher;
use super::jwks::{KeySet, VerifyingKey};
use super::{Caller, Issuer, Refused, Told, beginning, changed};
use crate::config::{JwksSource, JwtConfig};
use crate::model::{Digest, KeyPrefix, Rights, Scope, Scopes};
use crate::telemetry::{CredentialSource, Metrics};

/// Between two readings that tokens with unknown keys ask for.
const SHORTEST: Duration = Duration::from_secs(60);

/// Longest JWT: what is longer was made to cost time.
const MAX_BYTES: usize = 16 * 1024;

/// Longest subject that goes into a log: the longest that OpenID Connect has.
const MAX_NAME: usize = 255;

/// Takes JWTs.
pub struct Jwt {
    config: JwtConfig,
    keys: RwLock<Arc<KeySet>>,
    /// Asks the URL; `None` where the keys are in a file, or nobody can be asked.
    fetcher: Option<Fetcher>,
    /// When the set was last read; locked while it is.
    last: Mutex<Option<Instant>>,
    metrics: Metrics,
    told: OnceLock<Told>,
    /// What was read last; `None` where that failed.
    text: RwLock<Option<Option<Digest>>>,
}

impl Jwt {
    /// Reads the keys where they are in a file.
    pub async fn new(config: &JwtConfig, metrics: Metrics) -> Self {
        let fetcher = match &config.jwks {
            JwksSource::File(_) => None,
            JwksSource::Url(url) => Fetcher::new(url.clone(), config.reach)
                .map_err(|error| tracing::error!(error, "cannot ask for the keys of JWTs"))
                .ok(),
        };
        let jwt = Self {
            config: config.clone(),
            keys: RwLock::default(),
            fetcher,
            last: Mutex::new(None),
            metrics,
            told: OnceLock::new(),
            text: RwLock::default(),
        };
        if matches!(config.jwks, JwksSource::File(_)) {
            jwt.refresh().await;
        }
        jwt
    }

    /// `iss` of those that are taken.
    pub(super) fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// Who is told of each reading that brought something new.
    pub(super) fn on_reading(&self, told: Told) {
        self.told.get_or_init(|| told);
    }

    /// The bearer of a JWT.
    ///
    /// # Errors
    /// It does not verify.
    pub async fn caller(&self, text: &str) -> Result<Caller, Refused> {
        if text.len() > MAX_BYTES {
            return Err(Refused::Invalid);
        }
        let header = decode_header(text).map_err(|_| Refused::Invalid)?;
        // What is critical to the sender and not known here must not be passed over (RFC 7515).
        if header.crit.is_some() {
            return Err(Refused::Invalid);
        }
        let kid = header.kid.as_deref();
        let mut keys = self.keys();
        if keys.find(kid).is_none() && self.fetcher.is_some() {
            self.refresh_if_due().await;
            keys = self.keys();
        }
        let key = keys.find(kid).ok_or(Refused::Invalid)?;
        let mut validation = Validation::new(key.algorithm);
        validation.leeway = self.config.leeway.as_secs();
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.config.issuer]);
        validation.set_audience(&self.config.audience);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        let claims: Map<String, Value> = match decode(text, &key.key, &validation) {
            Ok(token) => token.claims,
            Err(error) => {
                return Err(match error.kind() {
                    ErrorKind::ExpiredSignature => Refused::Expired,
                    ErrorKind::ImmatureSignature => Refused::Early,
                    _ => Refused::Invalid,
                });
            }
        };
        let expires = claims.get("exp").and_then(Value::as_f64).ok_or(Refused::Invalid)?;
        let rights = self.rights(&claims);
        Ok(Caller {
            name: name(claims.get("sub")),
            issuer: Issuer::Jwt(self.id_of(key), rights.scopes),
            rights,
            expires: Some(expires as u64),
        })
    }

    /// Whoever signed a URL with a JWT: it was checked then, and the URL ends with it. What can be
    /// asked now is whether the provider's key is still taken.
    ///
    /// # Errors
    /// It is not.
    pub fn signer(&self, id: [u8; 16], scopes: Scopes) -> Result<Caller, Refused> {
        if !self.keys().iter().any(|key| self.id_of(key) == id) {
            return Err(Refused::Unknown);
        }
        // All scopes of a JWT are for the same keys, and the URL's key was found among them.
        let rights = Rights { scopes, ..Rights::all() };
        let issuer = Issuer::Jwt(id, scopes);
        Ok(Caller { name: "signed with a JWT".into(), rights, issuer, expires: None })
    }

    /// What the claims allow: words that are no scope are another service's.
    fn rights(&self, claims: &Map<String, Value>) -> Rights {
        let words = texts(claims.get(&self.config.scope_claim));
        let scopes = words.iter().filter_map(|word| Scope::parse(word)).collect();
        let prefixes = match &self.config.prefix_claim {
            None => vec![KeyPrefix::every()],
            Some(claim) => texts(claims.get(claim))
                .iter()
                .filter_map(|text| KeyPrefix::parse(text).ok())
                .collect(),
        };
        Rights { scopes, prefixes: prefixes.into() }
    }

    /// Reads the keys again and again.
    pub(super) async fn watch(&self, look: Duration) {
        match &self.config.jwks {
            JwksSource::Url(_) => {
                let mut ticks = tokio::time::interval(self.config.refresh);
                loop {
                    ticks.tick().await;
                    self.refresh().await;
                }
            }
            JwksSource::File(path) => {
                // As it was read last: it may have changed since, and a key that was taken back then is
                // to end too.
                let mut seen = self.text.read().unwrap_or_else(PoisonError::into_inner).flatten();
                let mut looks = tokio::time::interval(look);
                loop {
                    changed(path, &mut looks, &mut seen).await;
                    self.refresh().await;
                }
            }
        }
    }

    /// Reads the keys unless somebody did, or does so just now.
    async fn refresh_if_due(&self) {
        // While nothing is known the first reading may be under way: that is worth waiting for.
        let mut last = match self.last.try_lock() {
            Ok(last) => last,
            Err(_) if self.keys().iter().next().is_none() => self.last.lock().await,
            Err(_) => return,
        };
        if last.is_some_and(|last| last.elapsed() < SHORTEST) {
            return;
        }
        *last = Some(Instant::now());
        self.read().await;
    }

    async fn refresh(&self) {
        let mut last = self.last.lock().await;
        *last = Some(Instant::now());
        self.read().await;
    }

    async fn read(&self) {
        let source = &self.config.jwks;
        let text = match (source, &self.fetcher) {
            (JwksSource::File(path), _) => {
                tokio::fs::read(path).await.map(Into::into).map_err(|error| error.to_string())
            }
            (JwksSource::Url(_), Some(fetcher)) => fetcher.get().await,
            (JwksSource::Url(_), None) => Err("nobody can be asked".to_owned()),
        };
        let digest = text.as_ref().ok().map(|text| Digest::of(text));
        let keys = text.and_then(|text| KeySet::read(&text));
        let seen = digest.filter(|_| keys.is_ok());
        let before = self.text.write().unwrap_or_else(PoisonError::into_inner).replace(seen);
        if before != Some(seen)
            && let Some(told) = self.told.get()
        {
            told(CredentialSource::Jwks, keys.is_ok());
        }
        self.metrics.credentials_read(CredentialSource::Jwks, keys.is_ok());
        match keys {
            Ok(keys) => {
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
            }
            Err(error) => {
                tracing::error!(%source, error, "cannot read the keys of JWTs: those before stay");
            }
        }
    }

    fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn id_of(&self, key: &VerifyingKey) -> [u8; 16] {
        let kid = key.kid.as_deref().unwrap_or_default();
        beginning(&Digest::of(format!("{}\0{kid}", self.config.issuer).as_bytes()))
    }
}

/// The words of a claim: of a text those between spaces, of a list its texts.
fn texts(claim: Option<&Value>) -> Vec<&str> {
    match claim {
        Some(Value::String(text)) => text.split_ascii_whitespace().collect(),
        Some(Value::Array(texts)) => texts.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// A subject that is harmless in a log.
fn name(subject: Option<&Value>) -> Arc<str> {
    let subject = subject.and_then(Value::as_str).unwrap_or("unnamed");
    let harmless = |c: char| if c.is_ascii_graphic() { c } else { '_' };
    subject.chars().take(MAX_NAME).map(harmless).collect::<String>().into()
}

#[cfg(test)]
mod tests;
