//! Signed URLs: a token in the path that lets its bearer do one thing for a while.
//!
//! ```text
//! token = base64url( version ‖ method ‖ expiry ‖ issuer ‖ pins ‖ tag )      tag = HMAC-SHA-256 (RFC 2104)
//! ```
//! The tag covers method, key, expiry, issuer and every pin, each with its length in front, so that no two
//! different requests have the same input. The token never holds the key: that stands in the path.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

use crate::access::Issuer;
use crate::model::{Digest, Key, Scopes};

/// Longest life of a signed URL: a week, as on S3.
pub const MAX_EXPIRY: Duration = Duration::from_secs(604_800);

/// Shortest secret: as long as the tag it makes.
pub const MIN_SECRET_BYTES: usize = 32;

const VERSION: u8 = 2;
const TAG_BYTES: usize = 32;
const CONTEXT: &[u8] = b"proof-storage signed url 2";

/// What a URL allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SignedMethod {
    /// Retrieve.
    Get,
    /// Look whether it exists.
    Head,
    /// Store.
    Put,
}

impl SignedMethod {
    const ALL: [Self; 3] = [Self::Get, Self::Head, Self::Put];

    /// The HTTP method.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Put => "PUT",
        }
    }
}

/// What a signed PUT must bring.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// Most bytes of the body.
    pub max_bytes: Option<u64>,
    /// Exactly so many bytes.
    pub length: Option<u64>,
    /// Exactly this `Content-Type`.
    pub content_type: Option<String>,
    /// Exactly these bytes.
    pub sha256: Option<Digest>,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What may be done.
    pub method: SignedMethod,
    /// Until when, in seconds since 1970.
    pub expires: u64,
    /// By whose right.
    pub issuer: Issuer,
    /// What a PUT must bring.
    pub pins: Pins,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token of ours, changed, for another key, or signed with a retired secret.
    #[error("the signature of this URL is not valid for this key")]
    Invalid,
    /// Its time is over.
    #[error("this URL has expired: ask for a new one")]
    Expired,
}

/// Makes tokens with one secret and accepts those of two, so that secrets can be rotated
/// without breaking URLs that are out.
pub struct Signer {
    current: SecretSlice<u8>,
    previous: Option<SecretSlice<u8>>,
}

impl Signer {
    /// A signer. Secrets have at least [`MIN_SECRET_BYTES`]; the configuration checks that.
    pub fn new(current: SecretSlice<u8>, previous: Option<SecretSlice<u8>>) -> Self {
        Self { current, previous }
    }

    /// Makes the token of a grant for a key.
    pub fn sign(&self, key: &Key, grant: &Grant) -> String {
        let mut token = encode(grant);
        let tag = mac(&self.current, key, &token).finalize().into_bytes();
        token.extend_from_slice(&tag);
        URL_SAFE_NO_PAD.encode(token)
    }

    /// Checks a token for a key.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn verify(&self, key: &Key, token: &str, now: SystemTime) -> Result<Grant, TokenError> {
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| TokenError::Invalid)?;
        let split = bytes.len().checked_sub(TAG_BYTES).ok_or(TokenError::Invalid)?;
        let (payload, tag) = bytes.split_at(split);
        let secrets = std::iter::once(&self.current).chain(&self.previous);
        // `verify_slice` takes the same time for every wrong tag.
        let genuine = secrets.map(|secret| mac(secret, key, payload).verify_slice(tag).is_ok());
        if !genuine.fold(false, |any, one| any | one) {
            return Err(TokenError::Invalid);
        }
        let grant = decode(payload).ok_or(TokenError::Invalid)?;
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if now >= grant.expires { Err(TokenError::Expired) } else { Ok(grant) }
    }
}

fn mac(secret: &SecretSlice<u8>, key: &Key, payload: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret()).expect("any key length");
    for field in [CONTEXT, key.object().as_str().as_bytes(), payload] {
        mac.update(&(field.len() as u64).to_be_bytes());
        mac.update(field);
    }
    mac
}

/// Version, method, expiry, issuer, and each pin behind a presence byte and, where it varies, a length.
fn encode(grant: &Grant) -> Vec<u8> {
    let mut bytes = vec![VERSION, grant.method as u8];
    bytes.extend_from_slice(&grant.expires.to_be_bytes());
    let (kind, id, scopes) = match grant.issuer {
        Issuer::Anyone => (0, [0; 16], 0),
        Issuer::Token(id) => (1, id, 0),
        Issuer::Jwt(id, scopes) => (2, id, scopes.bits()),
    };
    bytes.push(kind);
    bytes.extend_from_slice(&id);
    bytes.push(scopes);
    let mut pin = |value: Option<&[u8]>| match value {
        None => bytes.push(0),
        Some(value) => {
            bytes.push(1);
            bytes.extend_from_slice(&(value.len() as u16).to_be_bytes());
            bytes.extend_from_slice(value);
        }
    };
    pin(grant.pins.max_bytes.map(u64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
    pin(grant.pins.length.map(u64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
    pin(grant.pins.content_type.as_deref().map(str::as_bytes));
    pin(grant.pins.sha256.as_ref().map(|digest| digest.as_bytes().as_slice()));
    bytes
}

fn decode(bytes: &[u8]) -> Option<Grant> {
    let mut rest = bytes;
    let mut take = |count: usize| {
        let (taken, left) = rest.split_at_checked(count)?;
        rest = left;
        Some(taken)
    };
    if take(1)? != [VERSION] {
        return None;
    }
    let method = *take(1)?.first()?;
    let method = SignedMethod::ALL.into_iter().find(|known| *known as u8 == method)?;
    let expires = u64::from_be_bytes(take(8)?.try_into().ok()?);
    let kind = *take(1)?.first()?;
    let id: [u8; 16] = take(16)?.try_into().ok()?;
    let scopes = *take(1)?.first()?;
    let issuer = match (kind, scopes) {
        (0, 0) if id == [0; 16] => Issuer::Anyone,
        (1, 0) => Issuer::Token(id),
        (2, scopes) => Issuer::Jwt(id, Scopes::from_bits(scopes)?),
        _ => return None,
    };
    let mut pin = || -> Option<Option<Vec<u8>>> {
        match take(1)? {
            [0] => Some(None),
            [1] => {
                let length = u16::from_be_bytes(take(2)?.try_into().ok()?);
                Some(Some(take(length.into())?.to_vec()))
            }
            _ => None,
        }
    };
    let (max_bytes, length, content_type, sha256) = (pin()?, pin()?, pin()?, pin()?);
    let number = |b: Vec<u8>| b.try_into().map(u64::from_be_bytes);
    let pins = Pins {
        max_bytes: max_bytes.map(number).transpose().ok()?,
        length: length.map(number).transpose().ok()?,
        content_type: content_type.map(String::from_utf8).transpose().ok()?,
        sha256: sha256.map(|b| b.try_into().map(Digest::from_bytes)).transpose().ok()?,
    };
    rest.is_empty().then_some(Grant { method, expires, issuer, pins })
}

/// Takes any bytes for what a token says, and any text for a token: what a fuzzer calls. No two byte strings
/// say the same, and no token is accepted but the one that was made, letter by letter.
///
/// # Panics
/// Two do, or another is.
pub fn fuzz_token(signer: &Signer, key: &Key, payload: &[u8], text: &str) {
    let Some(grant) = decode(payload) else {
        assert_eq!(signer.verify(key, text, UNIX_EPOCH), Err(TokenError::Invalid));
        return;
    };
    assert_eq!(encode(&grant), payload, "another way to say the same");
    let genuine = signer.sign(key, &grant);
    let before = UNIX_EPOCH + Duration::from_secs(grant.expires.saturating_sub(1).min(1 << 40));
    let accepted = signer.verify(key, &genuine, before);
    assert_eq!(accepted, if grant.expires == 0 { Err(TokenError::Expired) } else { Ok(grant) });
    assert!(text == genuine || signer.verify(key, text, before) == Err(TokenError::Invalid));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Namespace;

    fn secret(byte: u8) -> SecretSlice<u8> {
        SecretSlice::from(vec![byte; 32])
    }

    fn key(name: &str) -> Key {
        Namespace::new("proofs/").unwrap().key(name).unwrap()
    }

    fn grant() -> Grant {
        Grant {
            method: SignedMethod::Put,
            expires: 1_000,
            issuer: Issuer::Token([7; 16]),
            pins: Pins {
                max_bytes: Some(77),
                length: Some(70),
                content_type: Some("application/c2pa".to_owned()),
                sha256: Some(Digest::of(b"abc")),
            },
        }
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn round_trip_until_expiry_and_for_its_key_only() {
        let signer = Signer::new(secret(1), None);
        let jwt = Issuer::Jwt([8; 16], Scopes::all());
        for (pins, issuer) in [
            (grant().pins, Issuer::Anyone),
            (Pins::default(), Issuer::Token([9; 16])),
            (Pins::default(), jwt),
        ] {
            let grant = Grant { pins, issuer, ..grant() };
            let token = signer.sign(&key("a/b"), &grant);
            assert_eq!(signer.verify(&key("a/b"), &token, at(999)), Ok(grant));
            assert_eq!(signer.verify(&key("a/b"), &token, at(1_000)), Err(TokenError::Expired));
            assert_eq!(signer.verify(&key("a/c"), &token, at(1)), Err(TokenError::Invalid));
        }
    }

    #[test]
    fn every_changed_bit_is_refused() {
        let signer = Signer::new(secret(1), None);
        let token = URL_SAFE_NO_PAD.decode(signer.sign(&key("a"), &grant())).unwrap();
        for bit in 0..token.len() * 8 {
            let mut changed = token.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let changed = URL_SAFE_NO_PAD.encode(changed);
            assert_eq!(signer.verify(&key("a"), &changed, at(1)), Err(TokenError::Invalid));
        }
        for length in 0..token.len() {
            let cut = URL_SAFE_NO_PAD.encode(&token[..length]);
            assert_eq!(signer.verify(&key("a"), &cut, at(1)), Err(TokenError::Invalid));
        }
    }

    #[test]
    fn rotation_accepts_two_secrets_and_no_third() {
        let old = Signer::new(secret(1), None).sign(&key("a"), &grant());
        let verify = |signer: Signer| signer.verify(&key("a"), &old, at(1)).map(drop);
        assert_eq!(verify(Signer::new(secret(2), Some(secret(1)))), Ok(()));
        assert_eq!(verify(Signer::new(secret(3), Some(secret(2)))), Err(TokenError::Invalid));
    }
}
