//! Who is calling, and what they may do: API tokens, JWTs, and what is public.
//!
//! ```text
//! Authorization ─▶ Authority::authenticate ─▶ Caller ─▶ rights: scopes × key prefixes
//! signed URL    ─▶ Authority::issuer       ─▶ Caller   of whom it was signed by, as of now
//! ```
//! Knows neither HTTP nor a backend: `http::gate` asks, and refuses. Files and key sets are read
//! again in the background; one that cannot be read leaves what was known before, is logged and
//! counted. No token is kept: only digests.

mod fetch;
mod jwks;
mod jwt;
mod token;
mod tokens;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::task::JoinHandle;
use tokio::time::Interval;

use crate::config::{AuthConfig, AuthMode};
use crate::model::{Digest, Key, KeyPrefix, Rights, Scopes};
use crate::telemetry::{CredentialSource, Metrics};

pub use jwt::Jwt;
pub use token::{ApiToken, PREFIX};
pub use tokens::Tokens;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Is told of a reading, and whether it was taken.
type Told = Arc<dyn Fn(CredentialSource, bool) + Send + Sync>;

/// What stands for the right by which a URL was signed. No secret: it is part of the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// Nobody had to say who they are.
    Anyone,
    /// An API token, by the beginning of its digest.
    Token([u8; 16]),
    /// A JWT, by the digest of who signed it and with which key. It cannot be asked again what it
    /// allowed, so that stands here.
    Jwt([u8; 16], Scopes),
}

/// Somebody who may do something.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Name of the token, or subject of the JWT.
    pub name: Arc<str>,
    /// What they may do.
    pub rights: Rights,
    /// What stands in URLs that they sign.
    pub issuer: Issuer,
    /// When it ends, in seconds since 1970.
    pub expires: Option<u64>,
}

impl Caller {
    /// Who has shown nothing, and may do nothing.
    pub fn nobody() -> Self {
        Self { name: "nobody".into(), rights: Rights::default(), ..Self::anyone() }
    }

    /// Where nobody is asked.
    pub fn anyone() -> Self {
        Self { name: "anyone".into(), rights: Rights::all(), issuer: Issuer::Anyone, expires: None }
    }
}

/// Why a credential is not taken. The texts are for the caller, and tell nothing about proofs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not one that is known.
    #[error("the token is not known here: it was mistyped, or it was withdrawn")]
    Unknown,
    /// Its time is over.
    #[error("the token has expired: ask for a new one")]
    Expired,
    /// A JWT before its time.
    #[error("the token is not valid yet")]
    Early,
    /// A JWT that does not verify.
    #[error(
        "the token does not verify: it needs RS256, ES256 or EdDSA with a key of the identity \
             provider, and the issuer and audience that this service takes"
    )]
    Invalid,
}

/// Decides who is calling.
pub struct Authority {
    known: Option<Known>,
    public: Vec<KeyPrefix>,
}

/// Those who may do something.
struct Known {
    tokens: Arc<Tokens>,
    jwt: Option<Arc<Jwt>>,
}

impl Authority {
    /// As configured. Reads the key set where it is a file; a URL is asked in the background.
    pub async fn new(config: &AuthConfig, metrics: &Metrics) -> Self {
        let known = match config.mode {
            AuthMode::Anyone => None,
            AuthMode::Required => {
                let tokens = Arc::new(Tokens::new(config, metrics.clone()));
                let jwt = match &config.jwt {
                    Some(jwt) => Some(Arc::new(Jwt::new(jwt, metrics.clone()).await)),
                    None => None,
                };
                Some(Known { tokens, jwt })
            }
        };
        Self { known, public: config.public_read.clone() }
    }

    /// What reads files and key sets again, for as long as the service runs.
    pub fn background(&self) -> Vec<JoinHandle<()>> {
        let Some(known) = &self.known else { return Vec::new() };
        let tokens = Arc::clone(&known.tokens);
        let mut tasks = vec![tokio::spawn(async move { tokens.watch(LOOK).await })];
        if let Some(jwt) = known.jwt.clone() {
            tasks.push(tokio::spawn(async move { jwt.watch(LOOK).await }));
        }
        tasks
    }

    /// `iss` of the JWTs that are taken.
    pub fn jwt_issuer(&self) -> Option<&str> {
        self.known.as_ref()?.jwt.as_ref().map(|jwt| jwt.issuer())
    }

    /// Has somebody told of each reading of tokens or keys that brought something new, or failed. To be
    /// called once, before [`Self::background`].
    pub fn on_reading(&self, told: impl Fn(CredentialSource, bool) + Send + Sync + 'static) {
        let Some(known) = &self.known else { return };
        let told: Told = Arc::new(told);
        known.tokens.on_reading(Arc::clone(&told));
        if let Some(jwt) = &known.jwt {
            jwt.on_reading(told);
        }
    }

    /// Whether callers have to say who they are.
    pub fn asks(&self) -> bool {
        self.known.is_some()
    }

    /// Whether anybody may read anything.
    pub fn has_public(&self) -> bool {
        !self.public.is_empty()
    }

    /// Whether anybody may read a key.
    pub fn is_public(&self, key: &Key) -> bool {
        self.public.iter().any(|prefix| prefix.has(key))
    }

    /// The bearer of a token.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn authenticate(&self, bearer: &str, now: SystemTime) -> Result<Caller, Refused> {
        let Some(known) = &self.known else { return Ok(Caller::anyone()) };
        if bearer.starts_with(PREFIX) {
            return known.tokens.caller(bearer, now);
        }
        match &known.jwt {
            Some(jwt) => jwt.caller(bearer).await,
            None => Err(Refused::Unknown),
        }
    }

    /// Who signed a URL, with the rights that they have now.
    ///
    /// # Errors
    /// They have none any more, or the right ended.
    pub fn issuer(&self, issuer: Issuer, now: SystemTime) -> Result<Caller, Refused> {
        let Some(known) = &self.known else { return Ok(Caller::anyone()) };
        match issuer {
            // Signed while nobody was asked: nobody answers for it now.
            Issuer::Anyone => Err(Refused::Unknown),
            Issuer::Token(id) => known.tokens.by_id(id, now),
            Issuer::Jwt(id, scopes) => match &known.jwt {
                Some(jwt) => jwt.signer(id, scopes),
                None => Err(Refused::Unknown),
            },
        }
    }
}

/// The beginning of a digest, which names what it is of.
fn beginning(digest: &Digest) -> [u8; 16] {
    let mut name = [0; 16];
    name.copy_from_slice(&digest.as_bytes()[..16]);
    name
}

/// Looks at a file until it has other content than was seen last, and notes that. The content itself is
/// compared: it is small, and a time stamp can stay the same.
async fn changed(path: &Path, looks: &mut Interval, seen: &mut Option<Digest>) {
    loop {
        looks.tick().await;
        let now = Digest::of(&tokio::fs::read(path).await.unwrap_or_default());
        if seen.replace(now) != Some(now) {
            return;
        }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
