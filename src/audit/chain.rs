//! The chain: each line has the hash of the one before it, and its own.
//!
//! ```text
//! {"audit":1,"seq":…,"time":…,"instance":…,"alg":…,["mac_key":…,]"prev":"…",  what the entry says  ,"hash":"…"}\n
//! └──────────────── the hash is over these bytes, exactly as they are ─────────────────┘
//! ```
//! The format is written down in docs/AUDIT.md; a test's reader in another language holds to that.

use std::time::SystemTime;

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretSlice};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::ascii;
use super::entry::Entry;
use crate::model::Digest;

/// Version of the format, and how a line of it begins.
const VERSION: u32 = 1;

/// How every line begins, also between lines of another kind.
pub const BEGINNING: &[u8] = b"{\"audit\":";

/// Fewest bytes of a key: the length of the hash.
pub const MIN_KEY_BYTES: usize = 32;

/// Longest line that is read; far above what is written.
pub const MAX_LINE: usize = 1 << 20;

const HASH_FIELD: &[u8] = b",\"hash\":\"";
const HASH_TAIL: usize = HASH_FIELD.len() + 64 + 2;

/// A key without which the chain cannot be made anew.
#[derive(Clone)]
pub struct ChainKey {
    secret: SecretSlice<u8>,
    id: String,
}

impl ChainKey {
    /// Takes the bytes as they are, which are at least [`MIN_KEY_BYTES`].
    pub fn new(secret: &[u8]) -> Self {
        let id = mac(secret, b"proof-storage audit key id 1").to_hex()[..16].to_owned();
        Self { secret: SecretSlice::from(secret.to_vec()), id }
    }

    /// Names the key in lines, and tells nothing of it.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl std::fmt::Debug for ChainKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChainKey({})", self.id)
    }
}

fn mac(secret: &[u8], bytes: &[u8]) -> Digest {
    // HMAC takes keys of any length (RFC 2104).
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { unreachable!() };
    mac.update(bytes);
    Digest::from_bytes(mac.finalize().into_bytes().into())
}

/// The hash of a line's bytes, by the algorithm of the line.
fn hash(key: Option<&ChainKey>, bytes: &[u8]) -> Digest {
    key.map_or_else(|| Digest::of(bytes), |key| mac(key.secret.expose_secret(), bytes))
}

/// How a line is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Alg {
    /// By anybody.
    #[serde(rename = "sha256")]
    Sha256,
    /// By who has the key.
    #[serde(rename = "hmac-sha256")]
    Hmac,
}

#[derive(Serialize)]
struct Line<'a> {
    audit: u32,
    seq: u64,
    time: String,
    instance: &'a str,
    alg: Alg,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac_key: Option<&'a str>,
    prev: Digest,
    #[serde(flatten)]
    entry: &'a Entry,
}

/// Where a chain stands: what the next line goes on from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Names the chain: each has its own.
    pub instance: String,
    /// Number of the last line; 0 before the first.
    pub seq: u64,
    /// Its hash; zeros before the first.
    pub hash: Digest,
}

impl Head {
    /// Of a chain without a line.
    pub fn fresh() -> Self {
        let instance = uuid::Uuid::new_v4().to_string();
        Self { instance, seq: 0, hash: Digest::from_bytes([0; 32]) }
    }

    /// Adds a line to the chain: its bytes with the line break.
    pub fn add(&mut self, entry: &Entry, key: Option<&ChainKey>, now: SystemTime) -> Vec<u8> {
        let line = Line {
            audit: VERSION,
            seq: self.seq + 1,
            time: humantime::format_rfc3339_micros(now).to_string(),
            instance: &self.instance,
            alg: if key.is_some() { Alg::Hmac } else { Alg::Sha256 },
            mac_key: key.map(ChainKey::id),
            prev: self.hash,
            entry,
        };
        let mut bytes = ascii::to_json(&line);
        bytes.pop();
        let hash = hash(key, &bytes);
        bytes.extend_from_slice(HASH_FIELD);
        bytes.extend_from_slice(hash.to_hex().as_bytes());
        bytes.extend_from_slice(b"\"}\n");
        self.seq += 1;
        self.hash = hash;
        bytes
    }
}

/// A line as it was read.
#[derive(Debug, Deserialize)]
pub struct Read {
    audit: u32,
    pub seq: u64,
    pub instance: String,
    pub alg: Alg,
    #[serde(default)]
    pub mac_key: Option<String>,
    pub prev: Digest,
    pub action: String,
    #[serde(default)]
    pub detail: serde_json::Map<String, serde_json::Value>,
    /// Its own hash.
    #[serde(skip, default = "no_digest")]
    pub hash: Digest,
}

fn no_digest() -> Digest {
    Digest::from_bytes([0; 32])
}

/// Why a line is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Not of this format.
    NoLine,
    /// Its bytes are not those that were hashed.
    Hash,
    /// It was hashed with a key that is not at hand.
    UnknownKey(String),
}

impl Read {
    /// Reads a line without its line break, and checks its hash.
    ///
    /// # Errors
    /// See [`Bad`].
    pub fn check(line: &[u8], keys: &[ChainKey]) -> Result<Self, Bad> {
        let (read, said) = Self::parse(line)?;
        let key = match (read.alg, &read.mac_key) {
            (Alg::Sha256, _) => None,
            (Alg::Hmac, None) => return Err(Bad::NoLine),
            (Alg::Hmac, Some(id)) => match keys.iter().find(|key| key.id == *id) {
                Some(key) => Some(key),
                None => return Err(Bad::UnknownKey(id.clone())),
            },
        };
        if hash(key, said) == read.hash { Ok(read) } else { Err(Bad::Hash) }
    }

    /// Reads a line whose hash nobody here can check.
    pub fn unchecked(line: &[u8]) -> Option<Self> {
        Self::parse(line).ok().map(|(read, _)| read)
    }

    /// What a line says, and the bytes that its hash is over.
    fn parse(line: &[u8]) -> Result<(Self, &[u8]), Bad> {
        let split = line.len().checked_sub(HASH_TAIL).ok_or(Bad::NoLine)?;
        let (said, tail) = line.split_at(split);
        let digits = tail.strip_prefix(HASH_FIELD).and_then(|rest| rest.strip_suffix(b"\"}"));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.ok_or(Bad::NoLine)?;
        let found = Digest::from_hex(digits).map_err(|_| Bad::NoLine)?;
        // One way to write each line: capital digits are an edit.
        if found.to_hex() != digits {
            return Err(Bad::Hash);
        }
        let mut object = said.to_vec();
        object.push(b'}');
        let read: Self = serde_json::from_slice(&object).map_err(|_| Bad::NoLine)?;
        if read.audit != VERSION {
            return Err(Bad::NoLine);
        }
        Ok((Self { hash: found, ..read }, said))
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Action;
    use super::*;

    #[test]
    fn fields_stand_in_their_order_and_the_hash_is_over_the_bytes_before_it() {
        let mut head = Head { instance: "i".to_owned(), ..Head::fresh() };
        let entry = Entry::of_service(Action::Start).with("version", "1");
        let line = head.add(&entry, None, SystemTime::UNIX_EPOCH);
        let zeros = "0".repeat(64);
        let said = format!(
            "{{\"audit\":1,\"seq\":1,\"time\":\"1970-01-01T00:00:00.000000Z\",\"instance\":\"i\",\
             \"alg\":\"sha256\",\"prev\":\"{zeros}\",\"action\":\"start\",\"result\":\"done\",\
             \"actor\":{{\"kind\":\"service\"}},\"detail\":{{\"version\":\"1\"}}"
        );
        let hash = Digest::of(said.as_bytes());
        assert_eq!(String::from_utf8(line).unwrap(), format!("{said},\"hash\":\"{hash}\"}}\n"));
        assert_eq!((head.seq, head.hash), (1, hash));
    }

    #[test]
    fn a_key_is_needed_where_one_was_used_and_its_id_is_not_it() {
        let key = ChainKey::new(&[7; 32]);
        let mut head = Head::fresh();
        let line = head.add(&Entry::of_service(Action::Start), Some(&key), SystemTime::now());
        let line = line.strip_suffix(b"\n").unwrap();
        let other = ChainKey::new(&[8; 32]);
        assert!(Read::check(line, std::slice::from_ref(&key)).is_ok());
        let unknown = Bad::UnknownKey(key.id().to_owned());
        assert_eq!(Read::check(line, &[other]).unwrap_err(), unknown);
        // Nobody without the key makes such a line: hashed alone it is not taken.
        let said = &line[..line.len() - HASH_TAIL];
        let mut forged = said.to_vec();
        forged.extend_from_slice(HASH_FIELD);
        forged.extend_from_slice(Digest::of(said).to_hex().as_bytes());
        forged.extend_from_slice(b"\"}");
        assert_eq!(Read::check(&forged, &[key]).unwrap_err(), Bad::Hash);
    }
}
