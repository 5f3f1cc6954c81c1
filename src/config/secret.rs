//! Secrets: what cannot print itself.

use std::fmt;

use secrecy::{ExposeSecret, SecretSlice, SecretString};
use subtle::ConstantTimeEq;

/// Fewest bytes of a signing key: the block of HMAC-SHA256's security level.
pub const MIN_SIGNING_KEY_BYTES: usize = 32;

/// Secret that signs URLs; at least [`MIN_SIGNING_KEY_BYTES`], wiped from memory when dropped.
#[derive(Clone)]
pub struct SigningKey(SecretSlice<u8>);

impl SigningKey {
    /// Takes the bytes as they are.
    ///
    /// # Errors
    /// There are too few; the message tells how many, not which.
    pub fn new(bytes: &[u8]) -> Result<Self, String> {
        let length = bytes.len();
        if length < MIN_SIGNING_KEY_BYTES {
            return Err(format!(
                "the secret has {length} bytes: give at least {MIN_SIGNING_KEY_BYTES}, for example \
                 from `openssl rand -base64 48`"
            ));
        }
        Ok(Self(SecretSlice::from(bytes.to_vec())))
    }

    /// The bytes, for the one who signs.
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }
}

/// A text that cannot print itself.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes the text as it is.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text, for the one who signs.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose().as_bytes().ct_eq(other.expose().as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

impl PartialEq for SigningKey {
    fn eq(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

impl Eq for SigningKey {}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(redacted)")
    }
}
