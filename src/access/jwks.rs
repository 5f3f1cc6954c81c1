//! The keys of an identity provider (RFC 7517), as far as they are taken: RSA for RS256, P-256 for
//! ES256, Ed25519 for EdDSA, and only for signatures.
//!
//! The algorithm is the key's and never the token's, so that no token chooses how it is checked.

use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// One key.
pub struct VerifyingKey {
    /// Its name, where it has one.
    pub kid: Option<String>,
    /// What it is for.
    pub algorithm: Algorithm,
    /// The key.
    pub key: DecodingKey,
}

/// All keys that can be used.
#[derive(Default)]
pub struct KeySet(Vec<VerifyingKey>);

/// A set whose keys are looked at one by one: one of a kind that nobody knows spoils no other.
#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Reads a set.
    ///
    /// # Errors
    /// It is none, or has no key that can be used.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        let document: Document =
            serde_json::from_slice(text).map_err(|_| "is no JWKS (RFC 7517)".to_owned())?;
        let keys = document
            .keys
            .into_iter()
            .filter_map(|key| VerifyingKey::of(&serde_json::from_value(key).ok()?));
        let keys: Vec<_> = keys.collect();
        if keys.is_empty() {
            return Err("has no key for RS256, ES256 or EdDSA".to_owned());
        }
        Ok(Self(keys))
    }

    /// The key of that name; of a token that names none, the only one.
    pub fn find(&self, kid: Option<&str>) -> Option<&VerifyingKey> {
        match (kid, &*self.0) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(kid), keys) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)),
        }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &VerifyingKey> {
        self.0.iter()
    }
}

impl VerifyingKey {
    fn of(jwk: &Jwk) -> Option<Self> {
        let (algorithm, named) = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                (Algorithm::ES256, KeyAlgorithm::ES256)
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
            }
            _ => return None,
        };
        let common = &jwk.common;
        let other_use =
            common.public_key_use.as_ref().is_some_and(|use_| *use_ != PublicKeyUse::Signature);
        let other_operation = common
            .key_operations
            .as_ref()
            .is_some_and(|operations| !operations.contains(&KeyOperations::Verify));
        let other_algorithm = common.key_algorithm.as_ref().is_some_and(|alg| *alg != named);
        if other_use || other_operation || other_algorithm {
            return None;
        }
        let key = DecodingKey::from_jwk(jwk).ok()?;
        Some(Self { kid: common.key_id.clone(), algorithm, key })
    }
}
