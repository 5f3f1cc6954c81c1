//! The text of an API token: `pst_`, 32 random bytes and 4 of a checksum, in hexadecimal.
//!
//! The prefix lets scanners find one that leaked, the checksum keeps them from false alarms (and a
//! mistyped one from being looked up). What a token allows stands beside its SHA-256 in the
//! service's files: a digest of 256 random bits needs no salt and no slow hash.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

use crate::model::Digest;

/// What every API token begins with.
pub const PREFIX: &str = "pst_";

const RANDOM_DIGITS: usize = 64;
const CHECK_DIGITS: usize = 8;

/// An API token. Cannot print itself.
pub struct ApiToken(SecretString);

impl ApiToken {
    /// A new one, from the operating system's randomness.
    ///
    /// # Errors
    /// The operating system gives none.
    pub fn make() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        let body = format!("{PREFIX}{}", Digest::from_bytes(bytes).to_hex());
        Ok(Self(format!("{body}{}", checksum(&body)).into()))
    }

    /// Reads what a caller sent; `None` where it never was a token.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let fits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if digits.len() != RANDOM_DIGITS + CHECK_DIGITS || !digits.bytes().all(fits) {
            return None;
        }
        let (body, check) = text.split_at(text.len() - CHECK_DIGITS);
        (checksum(body) == check).then(|| Self(text.into()))
    }

    /// What is kept of it.
    pub fn sha256(&self) -> Digest {
        Digest::of(self.0.expose_secret().as_bytes())
    }

    /// The text, for the one it is made for.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken(redacted)")
    }
}

/// Of the prefix and the random part.
fn checksum(body: &str) -> String {
    let mut digits = Digest::of(body.as_bytes()).to_hex();
    digits.truncate(CHECK_DIGITS);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_are_read_back() {
        let (one, other) = (ApiToken::make().unwrap(), ApiToken::make().unwrap());
        assert_ne!(one.expose(), other.expose());
        assert_eq!(one.expose().len(), 76);
        assert_eq!(ApiToken::parse(one.expose()).unwrap().sha256(), one.sha256());
        assert_eq!(format!("{one:?}"), "ApiToken(redacted)");
    }

    #[test]
    fn every_changed_or_missing_character_is_noticed() {
        let token = ApiToken::make().unwrap().expose().to_owned();
        for at in 0..token.len() {
            for other in ['0', '1', 'f', 'A', '_'] {
                let mut changed: Vec<char> = token.chars().collect();
                changed[at] = other;
                let changed: String = changed.into_iter().collect();
                assert!(changed == token || ApiToken::parse(&changed).is_none(), "{at}");
            }
            assert!(ApiToken::parse(&token[..at]).is_none());
        }
        assert!(ApiToken::parse(&format!("{token}0")).is_none());
        assert!(ApiToken::parse(&token.to_uppercase()).is_none());
    }
}
