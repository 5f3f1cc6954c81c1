//! Objects as backends keep them, and what a call gives back.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};

use super::digest::Digest;
use super::envelope::sealed_size;
use super::error::StoreError;
use super::key::ObjectKey;
use super::options::ETag;
use super::retention::{Lock, Retention};
use super::version::Stamp;

/// Kind of backend, as in `STORAGE_PROVIDER` and in answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The embedded store on this machine's disk.
    Local,
    /// Amazon S3, or what speaks its language.
    S3,
    /// Cloudflare R2.
    R2,
    /// The in-memory model, for tests: keeps nothing.
    Memory,
}

impl Provider {
    /// The name in configuration, answers and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::S3 => "s3",
            Self::R2 => "r2",
            Self::Memory => "memory",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Form of the stored bytes relative to what the caller stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As they are.
    Identity,
    /// RFC 1952.
    Gzip,
}

impl Encoding {
    /// The content-coding's name (RFC 9110 §8.4.1).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Gzip => "gzip",
        }
    }
}

/// Encryption at rest, as in the `Proof-Encryption` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Encryption {
    /// None by the service.
    #[serde(rename = "none")]
    None,
    /// The backend's own key.
    #[serde(rename = "AES256")]
    Aes256,
    /// A key-management service.
    #[serde(rename = "aws:kms")]
    Kms,
    /// By the service, before the backend sees a byte.
    #[serde(rename = "envelope")]
    Envelope,
}

impl Encryption {
    /// The header's spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Aes256 => "AES256",
            Self::Kms => "aws:kms",
            Self::Envelope => "envelope",
        }
    }

    /// Reads the header's spelling, exactly.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Aes256, Self::Kms, Self::Envelope]
            .into_iter()
            .find(|e| e.as_str() == text)
    }
}

/// The bytes that the caller stored, whatever form they are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Representation {
    /// Of the caller's bytes.
    pub sha256: Digest,
    /// Number of the caller's bytes.
    pub size: u64,
    /// Of the bytes at rest; the same as `sha256` where they are kept as they are.
    pub stored_sha256: Digest,
}

impl Representation {
    /// Of bytes that are kept as they are.
    pub fn of(bytes: &[u8]) -> Self {
        let sha256 = Digest::of(bytes);
        Self { sha256, size: bytes.len() as u64, stored_sha256: sha256 }
    }
}

/// What the writer says of an object; travels with it unchanged, on copy and move too.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Attributes {
    /// Media type.
    pub content_type: String,
    /// Form of the stored bytes.
    pub encoding: Encoding,
    /// `Cache-Control` to send with the object.
    pub cache_control: Option<String>,
    /// `Proof-Meta-<name>`: lower-case name to value.
    pub metadata: BTreeMap<String, String>,
    /// `Proof-Tags`.
    pub tags: BTreeMap<String, String>,
    /// `Proof-Storage-Class`.
    pub storage_class: Option<String>,
    /// How the bytes are encrypted at rest.
    pub encryption: Encryption,
    /// Absent on objects that others put into the backend.
    pub representation: Option<Representation>,
    /// What it takes to open the bytes at rest, where the service sealed them: docs/FORMAT.md. Kept by
    /// backends as it is, and never shown above the vault.
    #[serde(skip)]
    pub envelope: Option<Bytes>,
    /// What keeps it from being deleted or replaced. Not inherited by copies that callers make.
    #[serde(skip)]
    pub retention: Retention,
    /// Set by a pool on what it writes, and never shown above it.
    #[serde(skip)]
    pub stamp: Option<Stamp>,
}

impl Attributes {
    /// Plain attributes of a media type and nothing else.
    pub fn new(content_type: impl Into<String>) -> Self {
        Self {
            content_type: content_type.into(),
            encoding: Encoding::Identity,
            cache_control: None,
            metadata: BTreeMap::new(),
            tags: BTreeMap::new(),
            storage_class: None,
            encryption: Encryption::None,
            representation: None,
            envelope: None,
            retention: Retention::default(),
            stamp: None,
        }
    }
}

/// Everything a backend knows of one object but its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Full name.
    pub key: ObjectKey,
    /// Version token.
    pub etag: ETag,
    /// Name of the version, on backends that keep old ones.
    pub version_id: Option<String>,
    /// Number of bytes at rest.
    pub stored_size: u64,
    /// When the write was accepted, in whole milliseconds.
    pub last_modified: SystemTime,
    /// What the writer said.
    pub attributes: Attributes,
    /// What the store itself keeps its bytes by, as far as it tells.
    pub lock: Lock,
    /// Who keeps it.
    pub provider: Provider,
}

impl ObjectMeta {
    /// Number of the caller's bytes, where known; else of those at rest.
    pub fn size(&self) -> u64 {
        self.attributes.representation.map_or(self.stored_size, |r| r.size)
    }

    /// Number of bytes at rest, frames of an envelope included. The vault opens those, and what it
    /// shows as `stored_size` is what was put into them.
    pub fn size_at_rest(&self) -> u64 {
        match self.attributes.encryption {
            Encryption::Envelope => sealed_size(self.stored_size),
            _ => self.stored_size,
        }
    }
}

/// Stream of an object's bytes. Ends early only with an error.
pub type BodyStream = Pin<Box<dyn Stream<Item = Result<Bytes, StoreError>> + Send>>;

/// An object's bytes: at hand where small, else to be streamed.
pub enum Body {
    /// All of them.
    Bytes(Bytes),
    /// In order, in pieces of the backend's choosing.
    Stream(BodyStream),
}

impl Body {
    /// All bytes, in memory.
    ///
    /// # Errors
    /// The stream's.
    pub async fn collect(self) -> Result<Bytes, StoreError> {
        let mut stream = match self {
            Self::Bytes(bytes) => return Ok(bytes),
            Self::Stream(stream) => stream,
        };
        let mut bytes = BytesMut::new();
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes.freeze())
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// Answer to a read.
#[derive(Debug)]
pub struct Retrieved {
    /// Of the whole object, also for a range.
    pub meta: ObjectMeta,
    /// The range asked for, or everything.
    pub body: Body,
    /// Whether the body is whole, in memory, and was compared with the digest of what was stored: nobody
    /// need do it again.
    pub checked: bool,
}

impl Retrieved {
    /// With a body that nobody has compared with its digest.
    pub fn new(meta: ObjectMeta, body: Body) -> Self {
        Self { meta, body, checked: false }
    }
}

/// Answer to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// As a head would now give it.
    pub meta: ObjectMeta,
    /// Whether an object was there before; `None` where the backend does not say.
    pub replaced: Option<bool>,
}

/// One entry of a listing. Backends that list without attributes leave them out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListItem {
    /// Full name.
    pub key: ObjectKey,
    /// Version token.
    pub etag: ETag,
    /// Number of bytes at rest.
    pub stored_size: u64,
    /// When the write was accepted.
    pub last_modified: SystemTime,
    /// What the writer said, where the listing has it.
    pub attributes: Option<Attributes>,
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListPage {
    /// In byte order of keys.
    pub items: Vec<ListItem>,
    /// In byte order; each ends with the delimiter.
    pub common_prefixes: Vec<String>,
    /// `after` of the next request; absent on the last page.
    pub next: Option<String>,
}

/// How much a backend holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Number of objects.
    pub objects: u64,
    /// Sum of the callers' bytes.
    pub bytes: u64,
    /// Sum of the bytes at rest.
    pub stored_bytes: u64,
    /// Whether the figures are exact as of `as_of`, or an estimate.
    pub exact: bool,
    /// When they were true.
    pub as_of: SystemTime,
}
