//! The API tokens that are taken now: those of the configuration and those of the file.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use subtle::ConstantTimeEq as _;

use super::{ApiToken, Caller, Issuer, Refused, Told, beginning, changed, seconds};
use crate::config::{AuthConfig, TokenEntry, read_tokens};
use crate::telemetry::{CredentialSource, Metrics};

/// The tokens. Shared by all requests.
pub struct Tokens {
    /// Of the configuration: these stay.
    named: Vec<TokenEntry>,
    file: Option<PathBuf>,
    /// What is taken, as of the last good reading.
    taken: RwLock<Arc<Taken>>,
    metrics: Metrics,
    told: OnceLock<Told>,
}

type Taken = HashMap<[u8; 16], TokenEntry>;

impl Tokens {
    /// As they were when the configuration was read.
    pub fn new(config: &AuthConfig, metrics: Metrics) -> Self {
        let listed = config.tokens_file.as_ref().map(|file| file.tokens.as_slice());
        let taken = table(&config.tokens, listed.unwrap_or_default());
        Self {
            named: config.tokens.clone(),
            file: config.tokens_file.as_ref().map(|file| file.path.clone()),
            taken: RwLock::new(Arc::new(taken)),
            metrics,
            told: OnceLock::new(),
        }
    }

    /// Who is told of each reading.
    pub(super) fn on_reading(&self, told: Told) {
        self.told.get_or_init(|| told);
    }

    /// The bearer of a token.
    ///
    /// # Errors
    /// Nobody, or not any more.
    pub fn caller(&self, text: &str, now: SystemTime) -> Result<Caller, Refused> {
        let sha256 = ApiToken::parse(text).ok_or(Refused::Unknown)?.sha256();
        let taken = self.taken();
        // Found by a digest that nobody can choose the beginning of, and then compared as a whole:
        // how long it takes tells nothing about a token.
        let entry = taken.get(&beginning(&sha256)).ok_or(Refused::Unknown)?;
        let same: bool = entry.sha256.as_bytes().ct_eq(sha256.as_bytes()).into();
        if same { caller(entry, now) } else { Err(Refused::Unknown) }
    }

    /// The bearer of a token that signed a URL.
    ///
    /// # Errors
    /// As [`Tokens::caller`].
    pub fn by_id(&self, id: [u8; 16], now: SystemTime) -> Result<Caller, Refused> {
        caller(self.taken().get(&id).ok_or(Refused::Unknown)?, now)
    }

    /// Reads the file again. Where that fails, what was taken before stays.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn reload(&self) -> Result<usize, String> {
        let Some(path) = &self.file else { return Ok(self.named.len()) };
        let listed = read_tokens(path).map_err(|problems| problems.to_string())?;
        // As at a start, which would refuse the file.
        let twice = |entry: &&TokenEntry| {
            self.named.iter().any(|n| n.sha256 == entry.sha256 || n.name == entry.name)
        };
        if let Some(entry) = listed.iter().find(twice) {
            return Err(format!("token `{}` is in the configuration too", entry.name));
        }
        let taken = table(&self.named, &listed);
        let count = taken.len();
        *self.taken.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(taken);
        Ok(count)
    }

    /// Looks at the file again and again, and reads it when it has changed.
    pub(super) async fn watch(&self, every: Duration) {
        let Some(path) = &self.file else { return };
        // Nothing was seen yet: the file may have changed since the configuration was read.
        let mut seen = None;
        let mut looks = tokio::time::interval(every);
        loop {
            let first = seen.is_none();
            changed(path, &mut looks, &mut seen).await;
            let outcome = self.reload();
            if first && outcome.is_ok() {
                continue;
            }
            self.metrics.credentials_read(CredentialSource::Tokens, outcome.is_ok());
            if let Some(told) = self.told.get() {
                told(CredentialSource::Tokens, outcome.is_ok());
            }
            let path = path.display();
            match outcome {
                Ok(tokens) => tracing::info!(%path, tokens, "read the tokens again"),
                Err(error) => {
                    tracing::error!(%path, error, "cannot read the tokens: those before stay");
                }
            }
        }
    }

    fn taken(&self) -> Arc<Taken> {
        Arc::clone(&self.taken.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn table(named: &[TokenEntry], listed: &[TokenEntry]) -> Taken {
    named.iter().chain(listed).map(|entry| (beginning(&entry.sha256), entry.clone())).collect()
}

fn caller(entry: &TokenEntry, now: SystemTime) -> Result<Caller, Refused> {
    if entry.expires.is_some_and(|expires| now >= expires) {
        return Err(Refused::Expired);
    }
    Ok(Caller {
        name: Arc::clone(&entry.name),
        rights: entry.rights.clone(),
        issuer: Issuer::Token(beginning(&entry.sha256)),
        expires: entry.expires.map(seconds),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::config::{Config, TokensFile};

    fn write(path: &Path, name: &str, token: &ApiToken, more: &str) {
        let sha256 = token.sha256().to_hex();
        let text =
            format!("[[token]]\nname = '{name}'\nsha256 = '{sha256}'\nscopes = ['read']\n{more}");
        std::fs::write(path, text).unwrap();
    }

    fn over(path: &Path) -> Tokens {
        let tokens = read_tokens(path).unwrap();
        let file = Some(TokensFile { path: path.to_owned(), tokens });
        let config = AuthConfig { tokens_file: file, ..Config::default().auth };
        Tokens::new(&config, Metrics::new())
    }

    #[test]
    fn a_changed_file_is_taken_and_a_bad_one_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (one, two) = (ApiToken::make().unwrap(), ApiToken::make().unwrap());
        write(file.path(), "one", &one, "");
        let tokens = over(file.path());
        let now = SystemTime::now();
        let known =
            |token: &ApiToken| tokens.caller(token.expose(), now).map(|c| c.name.to_string());
        assert_eq!(known(&one), Ok("one".to_owned()));
        assert_eq!(known(&two), Err(Refused::Unknown));
        let id = tokens.caller(one.expose(), now).unwrap().issuer;
        let Issuer::Token(id) = id else { panic!("{id:?}") };

        for bad in ["", "[[token]]", "not toml", "[[token]]\nname = 'x'\nsha256 = ''\nscopes = []"]
        {
            std::fs::write(file.path(), bad).unwrap();
            assert!(tokens.reload().is_err(), "{bad:?}");
            assert_eq!(known(&one), Ok("one".to_owned()), "what was known stays");
        }
        std::fs::remove_file(file.path()).unwrap();
        assert!(tokens.reload().is_err());

        write(file.path(), "two", &two, "");
        assert_eq!(tokens.reload(), Ok(1));
        assert_eq!(known(&one), Err(Refused::Unknown));
        assert_eq!(known(&two), Ok("two".to_owned()));
        assert_eq!(tokens.by_id(id, now).map(drop), Err(Refused::Unknown));
    }

    #[test]
    fn a_token_ends_when_it_says() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let token = ApiToken::make().unwrap();
        write(file.path(), "one", &token, "expires = 1970-01-01T00:10:00Z");
        let tokens = over(file.path());
        let at = |seconds| {
            let now = UNIX_EPOCH + Duration::from_secs(seconds);
            tokens.caller(token.expose(), now).map(|caller| caller.expires)
        };
        assert_eq!(at(599), Ok(Some(600)));
        assert_eq!(at(600), Err(Refused::Expired));
    }

    #[tokio::test(start_paused = true)]
    async fn the_file_is_watched() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (one, two) = (ApiToken::make().unwrap(), ApiToken::make().unwrap());
        write(file.path(), "one", &one, "");
        let tokens = Arc::new(over(file.path()));
        let watched = Arc::clone(&tokens);
        let task = tokio::spawn(async move { watched.watch(Duration::from_secs(2)).await });
        let known = |token: &ApiToken| tokens.caller(token.expose(), SystemTime::now()).is_ok();
        for (token, other) in [(&two, &one), (&one, &two)] {
            // Whether the first look comes before or after this does not matter: the second sees it.
            tokio::time::sleep(Duration::from_secs(5)).await;
            write(file.path(), "it", token, "");
            while !known(token) {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            assert!(!known(other));
        }
        task.abort();
    }
}
