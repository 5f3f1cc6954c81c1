//! Envelope encryption: a key of its own for each object, wrapped by a key of the operator.
//!
//! ```text
//! header   PSE 1 │ id of the wrapping key │ salt │ commitment │ wrapped( data key, facts )      beside the object
//! body     frame 0 │ tag │ frame 1 │ tag │ … │ last frame │ tag                                 its bytes at rest
//! ```
//! AES-256-GCM and HKDF-SHA-256 of aws-lc. Format, key id and the object's full name are associated
//! data of the wrap; frames are the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár
//! ("Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", 2015): counter and last
//! flag in the nonce, so no frame can be dropped, swapped, repeated or added. AES-GCM does not commit
//! to its key, so the header does, and that is compared before any frame is opened. To the byte:
//! docs/FORMAT.md.

mod frames;
#[cfg(test)]
mod tests;

pub use frames::{FrameOpener, FrameSealer, frames_of, open_whole, seal_whole};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use bytes::Bytes;
use secrecy::{ExposeSecret, ExposeSecretMut, SecretBox};
use subtle::ConstantTimeEq as _;

use crate::model::{Digest, Encoding, KeyId, Keyring, Representation, TAG_BYTES, WrappingKey};

/// `PSE` and the version of the format.
const MAGIC: [u8; 4] = *b"PSE\x01";
const SALT_BYTES: usize = 32;
const COMMITMENT_BYTES: usize = 32;
const KEY_BYTES: usize = 32;
/// Flags, two sizes, two digests.
const FACTS_BYTES: usize = 1 + 8 + 8 + 32 + 32;
const WRAPPED_BYTES: usize = KEY_BYTES + FACTS_BYTES;

const FLAG_GZIP: u8 = 1;
const FLAG_KNOWN: u8 = 2;

/// The purposes of derived keys.
const WRAP: &[u8] = b"proof-storage envelope v1 wrap";
const FRAMES: &[u8] = b"proof-storage envelope v1 frames";
const COMMITMENT: &[u8] = b"proof-storage envelope v1 commitment";

/// What is known of the sealed bytes and is nobody's business who only holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Form of the bytes in the frames.
    pub encoding: Encoding,
    /// Number of bytes in the frames.
    pub form_size: u64,
    /// Of the caller's bytes, and of those in the frames as `stored_sha256`; absent where the writer
    /// said nothing.
    pub representation: Option<Representation>,
}

/// Why a header does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It is none.
    #[error("not an envelope's header")]
    Malformed,
    /// A later version made it.
    #[error(
        "the envelope has the format version {0}, which this version of the service cannot read"
    )]
    Version(u8),
    /// The key is not there.
    #[error("the key '{0}' is not in the keyring")]
    NoKey(KeyId),
    /// It was made for another name, under another key of that id, or changed.
    #[error("the header of the envelope under the key '{0}' is not genuine for this name")]
    Forged(KeyId),
}

/// A failure of the cryptographic library itself: no random numbers, no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library failed")]
pub struct CryptoFailed;

impl From<aws_lc_rs::error::Unspecified> for CryptoFailed {
    fn from(_: aws_lc_rs::error::Unspecified) -> Self {
        Self
    }
}

/// The key of one object. Never used for two bodies.
pub struct DataKey(SecretBox<[u8; KEY_BYTES]>);

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DataKey(redacted)")
    }
}

impl DataKey {
    /// A new one.
    ///
    /// # Errors
    /// There are no random numbers to be had.
    pub fn random() -> Result<Self, CryptoFailed> {
        let mut key = SecretBox::new(Box::new([0; KEY_BYTES]));
        aws_lc_rs::rand::fill(key.expose_secret_mut())?;
        Ok(Self(key))
    }

    fn from_slice(bytes: &[u8; KEY_BYTES]) -> Self {
        Self(SecretBox::init_with_mut(|key: &mut [u8; KEY_BYTES]| key.copy_from_slice(bytes)))
    }

    /// The key of the frames.
    fn frames(&self) -> Result<LessSafeKey, CryptoFailed> {
        derived(&[], self.0.expose_secret(), FRAMES)
    }

    fn commitment(&self) -> Result<[u8; COMMITMENT_BYTES], CryptoFailed> {
        let mut commitment = [0; COMMITMENT_BYTES];
        derive(&[], self.0.expose_secret(), COMMITMENT, &mut commitment)?;
        Ok(commitment)
    }
}

/// What a header held.
#[derive(Debug)]
pub struct Unwrapped {
    /// The object's key.
    pub key: DataKey,
    /// What is known of its bytes.
    pub facts: Facts,
}

/// A header's parts, none of them checked but for their lengths.
struct Parts<'h> {
    id: KeyId,
    /// Format, length of the id, id: the beginning of the associated data.
    front: &'h [u8],
    salt: &'h [u8],
    commitment: &'h [u8],
    wrapped: &'h [u8],
}

/// Length of HKDF's output.
#[derive(Clone, Copy)]
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// HKDF-SHA-256 (RFC 5869).
fn derive(salt: &[u8], secret: &[u8], purpose: &[u8], out: &mut [u8]) -> Result<(), CryptoFailed> {
    let length = Length(out.len());
    let prk = Salt::new(HKDF_SHA256, salt).extract(secret);
    Ok(prk.expand(&[purpose], length)?.fill(out)?)
}

fn derived(salt: &[u8], secret: &[u8], purpose: &[u8]) -> Result<LessSafeKey, CryptoFailed> {
    let mut bytes = SecretBox::new(Box::new([0; KEY_BYTES]));
    derive(salt, secret, purpose, bytes.expose_secret_mut())?;
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes.expose_secret())?))
}

/// The key that wraps one header: with the salt it is of that header alone, so its nonce may be zero.
fn wrapping(key: &WrappingKey, salt: &[u8]) -> Result<LessSafeKey, CryptoFailed> {
    derived(salt, key.expose(), WRAP)
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

/// Everything that the wrap holds to: format, key id, commitment, name of the object.
fn bound(front: &[u8], commitment: &[u8], name: &str) -> Vec<u8> {
    [front, commitment, name.as_bytes()].concat()
}

/// Makes the header of an object: its key and facts, wrapped by the keyring's active key for this name.
///
/// # Errors
/// The library's.
pub fn wrap(
    keyring: &Keyring,
    name: &str,
    key: &DataKey,
    facts: &Facts,
) -> Result<Bytes, CryptoFailed> {
    let mut salt = [0; SALT_BYTES];
    aws_lc_rs::rand::fill(&mut salt)?;
    wrap_with(keyring.active(), &salt, name, key, facts)
}

fn wrap_with(
    wrapping_key: &WrappingKey,
    salt: &[u8; SALT_BYTES],
    name: &str,
    key: &DataKey,
    facts: &Facts,
) -> Result<Bytes, CryptoFailed> {
    let id = wrapping_key.id().as_str();
    let mut header = MAGIC.to_vec();
    header.push(u8::try_from(id.len()).map_err(|_| CryptoFailed)?);
    header.extend_from_slice(id.as_bytes());
    let commitment = key.commitment()?;
    let bound = bound(&header, &commitment, name);
    header.extend_from_slice(salt);
    header.extend_from_slice(&commitment);
    let mut wrapped = SecretBox::new(Box::new([0; WRAPPED_BYTES]));
    let plain = wrapped.expose_secret_mut();
    plain[..KEY_BYTES].copy_from_slice(key.0.expose_secret());
    plain[KEY_BYTES..].copy_from_slice(&encode(facts));
    let tag = wrapping(wrapping_key, salt)?.seal_in_place_separate_tag(
        zero_nonce(),
        Aad::from(bound),
        plain,
    )?;
    header.extend_from_slice(plain);
    header.extend_from_slice(tag.as_ref());
    Ok(header.into())
}

/// The name of the key that wrapped a header.
///
/// # Errors
/// It is no header of a version that is known.
pub fn key_id(header: &[u8]) -> Result<KeyId, HeaderError> {
    Parts::split(header).map(|parts| parts.id)
}

/// Opens the header of an object of this name.
///
/// # Errors
/// See [`HeaderError`].
pub fn unwrap(keyring: &Keyring, name: &str, header: &[u8]) -> Result<Unwrapped, HeaderError> {
    let Parts { id, front, salt, commitment, wrapped } = Parts::split(header)?;
    let Some(wrapping_key) = keyring.get(id.as_str()) else { return Err(HeaderError::NoKey(id)) };
    let forged = || HeaderError::Forged(id.clone());
    let bound = bound(front, commitment, name);
    let mut plain = SecretBox::new(Box::new([0; WRAPPED_BYTES + TAG_BYTES]));
    plain.expose_secret_mut().copy_from_slice(wrapped);
    wrapping(wrapping_key, salt)
        .map_err(|_| forged())?
        .open_in_place(zero_nonce(), Aad::from(bound), plain.expose_secret_mut())
        .map_err(|_| forged())?;
    let (key, rest) = plain.expose_secret().split_first_chunk().ok_or_else(forged)?;
    let key = DataKey::from_slice(key);
    let committed = key.commitment().map_err(|_| forged())?;
    if !bool::from(committed.ct_eq(commitment)) {
        return Err(forged());
    }
    let facts = decode(&rest[..FACTS_BYTES]).ok_or_else(forged)?;
    Ok(Unwrapped { key, facts })
}

impl<'h> Parts<'h> {
    fn split(header: &'h [u8]) -> Result<Self, HeaderError> {
        let malformed = HeaderError::Malformed;
        let (magic, rest) = header.split_first_chunk::<4>().ok_or(malformed.clone())?;
        if magic[..3] != MAGIC[..3] {
            return Err(malformed);
        }
        if magic[3] != MAGIC[3] {
            return Err(HeaderError::Version(magic[3]));
        }
        let (length, rest) = rest.split_first().ok_or(malformed.clone())?;
        let (id, rest) = rest.split_at_checked(usize::from(*length)).ok_or(malformed.clone())?;
        let front = &header[..MAGIC.len() + 1 + id.len()];
        let id = std::str::from_utf8(id).ok().and_then(KeyId::parse).ok_or(malformed.clone())?;
        let (salt, rest) = rest.split_at_checked(SALT_BYTES).ok_or(malformed.clone())?;
        let (commitment, wrapped) =
            rest.split_at_checked(COMMITMENT_BYTES).ok_or(malformed.clone())?;
        if wrapped.len() != WRAPPED_BYTES + TAG_BYTES {
            return Err(malformed);
        }
        Ok(Self { id, front, salt, commitment, wrapped })
    }
}

fn encode(facts: &Facts) -> [u8; FACTS_BYTES] {
    let zero = Digest::from_bytes([0; 32]);
    let unknown = Representation { sha256: zero, size: 0, stored_sha256: zero };
    let known = facts.representation.unwrap_or(unknown);
    let mut flags = if facts.encoding == Encoding::Gzip { FLAG_GZIP } else { 0 };
    flags |= if facts.representation.is_some() { FLAG_KNOWN } else { 0 };
    let mut bytes = [0; FACTS_BYTES];
    bytes[0] = flags;
    bytes[1..9].copy_from_slice(&facts.form_size.to_be_bytes());
    bytes[9..17].copy_from_slice(&known.size.to_be_bytes());
    bytes[17..49].copy_from_slice(known.sha256.as_bytes());
    bytes[49..].copy_from_slice(known.stored_sha256.as_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Facts> {
    let (flags, rest) = bytes.split_first()?;
    let (form_size, rest) = rest.split_first_chunk()?;
    let (size, rest) = rest.split_first_chunk()?;
    let (sha256, rest) = rest.split_first_chunk()?;
    let stored_sha256 = Digest::from_bytes(rest.try_into().ok()?);
    if flags & !(FLAG_GZIP | FLAG_KNOWN) != 0 {
        return None;
    }
    let known = Representation {
        sha256: Digest::from_bytes(*sha256),
        size: u64::from_be_bytes(*size),
        stored_sha256,
    };
    let facts = Facts {
        encoding: if flags & FLAG_GZIP != 0 { Encoding::Gzip } else { Encoding::Identity },
        form_size: u64::from_be_bytes(*form_size),
        representation: (flags & FLAG_KNOWN != 0).then_some(known),
    };
    // What is not said is zeros: one way to say each thing.
    (encode(&facts) == bytes).then_some(facts)
}

/// Takes any bytes for a header, and what can be read of it for what it says: what a fuzzer calls. A
/// header that opens must be the one that was made, byte for byte; what is read without a key is where the
/// format has it, and no two byte strings are the same facts.
///
/// # Panics
/// It is not, or they are.
pub fn fuzz_header(genuine: &[u8], keyring: &Keyring, name: &str, bytes: &[u8]) {
    if let Ok(id) = key_id(bytes) {
        let length = id.as_str().len();
        assert_eq!(bytes[..5], [b'P', b'S', b'E', 1, length as u8]);
        assert_eq!(&bytes[5..5 + length], id.as_str().as_bytes());
        let rest = SALT_BYTES + COMMITMENT_BYTES + WRAPPED_BYTES + TAG_BYTES;
        assert_eq!(bytes.len(), 5 + length + rest);
    }
    if let Some(facts) = bytes.get(..FACTS_BYTES).and_then(decode) {
        assert_eq!(encode(&facts), bytes[..FACTS_BYTES]);
    }
    if unwrap(keyring, name, bytes).is_ok() {
        assert_eq!(bytes, genuine, "a header that nobody made opens");
    }
}
