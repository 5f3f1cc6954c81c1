//! An identity provider of the tests: its keys, the file that they are published in, and what it signs.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use proof_storage::access::Issuer;
use proof_storage::config::{JwksSource, JwtConfig};
use proof_storage::model::{Digest, Reach, Scopes};
use serde_json::{Value, json};

pub const ISSUER: &str = "https://login.example";
pub const AUDIENCE: &str = "proofs";
/// By which clocks may differ.
pub const LEEWAY: Duration = Duration::from_secs(60);
/// The claim that has the prefixes.
pub const WHERE: &str = "where";

/// One key, by its name.
pub struct ProviderKey {
    kid: &'static str,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl ProviderKey {
    pub fn es256(kid: &'static str) -> Self {
        let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let der = EcdsaKeyPair::generate_pkcs8(signing, &SystemRandom::new()).unwrap();
        Self { kid, algorithm: Algorithm::ES256, key: EncodingKey::from_ec_der(der.as_ref()) }
    }

    pub fn ed25519(kid: &'static str) -> Self {
        let der = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        Self { kid, algorithm: Algorithm::EdDSA, key: EncodingKey::from_ed_der(der.as_ref()) }
    }

    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(self.kid.to_owned()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.key).unwrap()
    }

    fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.kid.to_owned());
        serde_json::to_value(jwk).unwrap()
    }

    /// The first 16 bytes of what a URL or a line of the audit log names this key by: written down here
    /// once more, as docs/AUDIT.md says it.
    pub fn id(&self) -> [u8; 16] {
        let digest = Digest::of(format!("{ISSUER}\0{}", self.kid).as_bytes());
        digest.as_bytes()[..16].try_into().unwrap()
    }

    /// What stands in a URL that was signed by a JWT of this key.
    pub fn issuer(&self, scopes: Scopes) -> Issuer {
        Issuer::Jwt(self.id(), scopes)
    }
}

/// Writes the file anew, with these keys in it. In one step, so that nobody reads a half of it.
pub fn publish(file: &Path, keys: &[&ProviderKey]) {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    let new = file.with_extension("new");
    std::fs::write(&new, json!({ "keys": keys }).to_string()).unwrap();
    std::fs::rename(new, file).unwrap();
}

/// The service's side of it.
pub fn config(file: &Path) -> JwtConfig {
    JwtConfig {
        jwks: JwksSource::File(file.to_owned()),
        issuer: ISSUER.to_owned(),
        audience: vec![AUDIENCE.to_owned()],
        leeway: LEEWAY,
        scope_claim: "scope".to_owned(),
        prefix_claim: Some(WHERE.to_owned()),
        refresh: Duration::from_secs(300),
        reach: Reach::Guarded,
    }
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Claims of an hour, for a subject, scopes with spaces between and prefixes.
pub fn claims(subject: &str, scopes: &str, prefixes: &[&str]) -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "exp": now() + 3600, "sub": subject, "scope": scopes,
        WHERE: prefixes,
    })
}
