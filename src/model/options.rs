//! What a call may ask of a backend.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// A backend's own version token of an object: opaque, different for every write.
///
/// Not the ETag of HTTP, which the vault derives from the proof's digest.
#[derive(Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct ETag(Arc<str>);

impl ETag {
    /// Wraps a token as the backend spells it, without quotes.
    pub fn new(token: impl Into<Arc<str>>) -> Self {
        Self(token.into())
    }

    /// The token.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ETag({})", self.0)
    }
}

/// When a write may take place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PutMode {
    /// Only where nothing is; else `AlreadyExists`.
    Create,
    /// Only over exactly this version; else `PreconditionFailed`.
    Replace(ETag),
    /// Always.
    Overwrite,
}

/// What a PUT without a condition does where the key is taken: `STORAGE_WRITE_MODE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WriteMode {
    /// The first bytes stay; others are refused.
    #[default]
    WriteOnce,
    /// The last bytes win.
    Overwrite,
}

/// A non-empty range of stored bytes, end exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    /// First byte.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
}

impl ByteRange {
    /// Number of bytes.
    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// Whether the range has no byte.
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }
}

/// What a URL that the backend signs is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PresignMethod {
    /// Reading.
    Get,
    /// Reading the headers.
    Head,
    /// Storing.
    Put {
        /// Only where nothing is.
        create_only: bool,
        /// Media type that the caller must send.
        content_type: Option<String>,
    },
}

/// A URL that the backend itself honours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presigned {
    /// With the signature in its query.
    pub url: String,
    /// Headers that must be sent with it.
    pub headers: Vec<(String, String)>,
    /// When it stops working; earlier than asked for where the credentials end earlier.
    pub expires_at: SystemTime,
}

/// How to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetOptions {
    /// Part of the stored bytes; all of them where absent. A range that reaches past the end is
    /// an `Invalid` error: the caller knows the size from the head it pinned.
    pub range: Option<ByteRange>,
    /// Read exactly this version; else `PreconditionFailed`.
    pub if_match: Option<ETag>,
}

/// One page of a listing, in byte order of object keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRequest {
    /// Only names that start so.
    pub prefix: String,
    /// Names that share the part up to and including the first delimiter after the prefix are
    /// rolled up into one common prefix. Never the empty string.
    pub delimiter: Option<String>,
    /// Most entries (items and common prefixes together), 1 to 1000.
    pub limit: usize,
    /// Only entries after this one (an item's key or a common prefix of the page before).
    /// After a common prefix comes the first name that does not start with it.
    pub after: Option<String>,
}
