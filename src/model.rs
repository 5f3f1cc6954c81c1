//! The nouns of the service: keys, objects, payloads, options and errors.
//!
//! Value types only: nothing here does I/O except [`Payload`], which may be a spooled file.
//! Everybody imports this module; it imports nobody.

mod capability;
mod digest;
mod envelope;
mod error;
mod key;
mod keyring;
mod object;
mod options;
mod outward;
mod payload;
mod pool;
mod rate;
mod retention;
mod right;
mod times;
mod version;

pub use capability::{Capabilities, Support};
pub use digest::{Digest, DigestError, Hasher};
pub use envelope::{FRAME_BYTES, SEALED_FRAME_BYTES, TAG_BYTES, form_size, sealed_size};
pub use error::{Class, ErrorKind, StoreError};
pub use key::{Key, KeyError, MAX_KEY_BYTES, Namespace, ObjectKey, PrefixError, RESERVED};
pub use keyring::{KeyId, Keyring, KeyringMistake, WrappingKey};
pub use object::{
    Attributes, Body, BodyStream, Encoding, Encryption, ListItem, ListPage, ObjectMeta, Provider,
    Representation, Retrieved, Stored, Usage,
};
pub use options::{
    ByteRange, ETag, GetOptions, ListRequest, PresignMethod, Presigned, PutMode, WriteMode,
};
pub use outward::Reach;
pub use payload::{Payload, Spool, SpoolWriter, Veil};
pub use pool::{PoolMode, Role};
pub use rate::Rate;
pub use retention::{
    HOLDS_MARK, HOLDS_MARK_TEXT, Lock, LockMode, MAX_RETENTION, NoRetention, Retention,
    RetentionRule,
};
pub use right::{KeyPrefix, Rights, Scope, Scopes};
pub use times::{http_date, rfc3339_millis, rfc3339_seconds};
pub use version::{NoVersion, Stamp, Version};
