//! What `meta` keeps for each key: where the body is, and everything said of the object.
//!
//! A row is a fixed-order [`Header`], then the attributes and, of what a pool wrote, its stamp, all in
//! postcard (of what is sealed or held, a stamp that is none, and then stamp, envelope and retention), and
//! eight bytes of xxh3 over key and row. The checksum covers the key so that a row that turns up under
//! another name is noticed too. The header comes first so that the committer, which only needs sizes and
//! versions, never decodes attributes. A test pins the bytes: a change of any type in here is a
//! change of the format version in `directory`.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::errors;
use crate::model::{
    Attributes, ETag, Encryption, Lock, NoRetention, NoVersion, ObjectKey, ObjectMeta, Provider,
    Retention, Stamp, StoreError, Version,
};

const CHECKSUM_BYTES: usize = 8;

/// The part of a row that every write has to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Header {
    /// Different for every write of any key: what the ETag spells.
    pub(super) version: u64,
    pub(super) body: BodyRef,
    /// Number of the caller's bytes, for the counters.
    pub(super) size: u64,
    /// When the write was accepted, in milliseconds since 1970.
    pub(super) modified_ms: u64,
}

/// A [`Stamp`] at the end of a row; older rows and those of no pool have none. Its two fields that are
/// no version share a byte: the lowest bit is `create`, the others number the encryption.
#[derive(PartialEq, serde::Serialize, serde::Deserialize)]
struct StampRow {
    millis: u64,
    counter: u16,
    writer: u32,
    flags: u8,
}

/// Stands where a stamp would, before what is said of sealed bytes. A version of this service that
/// cannot open them reads an unknown stamp in it, and calls the row damaged rather than send it.
const SEALED: StampRow = StampRow { millis: 0, counter: 0, writer: 0, flags: 0xfe };

/// Behind [`SEALED`].
#[derive(serde::Serialize, serde::Deserialize)]
struct SealedRow {
    stamp: Option<StampRow>,
    envelope: Bytes,
}

/// Stands in the same place before what is said of an object that is held, sealed or not.
const HELD: StampRow = StampRow { flags: 0xfc, ..SEALED };

/// Behind [`HELD`].
#[derive(serde::Serialize, serde::Deserialize)]
struct HeldRow {
    stamp: Option<StampRow>,
    envelope: Option<Bytes>,
    /// Seconds since 1970.
    until: Option<u64>,
    legal_hold: bool,
    /// Milliseconds since 1970.
    stored_ms: Option<u64>,
}

impl HeldRow {
    fn new(stamp: Option<StampRow>, attributes: &Attributes) -> Self {
        let Retention { until, legal_hold, stored } = attributes.retention;
        Self {
            stamp,
            envelope: attributes.envelope.clone(),
            // Not by way of milliseconds: those of the last times do not fit.
            until: until.map(|until| since_1970(until).as_secs()),
            legal_hold,
            stored_ms: stored.map(millis),
        }
    }

    /// Absent where the times are none.
    fn retention(&self) -> Option<Retention> {
        let time = |since| SystemTime::UNIX_EPOCH.checked_add(since);
        let until = match self.until {
            Some(seconds) => Some(time(Duration::from_secs(seconds))?),
            None => None,
        };
        let stored = match self.stored_ms {
            Some(ms) => Some(time(Duration::from_millis(ms))?),
            None => None,
        };
        Some(Retention { until, legal_hold: self.legal_hold, stored })
    }
}

/// In the order of their numbers, which are on disks.
const ENCRYPTIONS: [Encryption; 4] =
    [Encryption::None, Encryption::Aes256, Encryption::Kms, Encryption::Envelope];

impl From<Stamp> for StampRow {
    fn from(Stamp { version, create, encryption }: Stamp) -> Self {
        let Version { millis, counter, writer } = version;
        let number = ENCRYPTIONS.iter().position(|known| *known == encryption).unwrap_or_default();
        Self { millis, counter, writer, flags: (number as u8) << 1 | u8::from(create) }
    }
}

impl StampRow {
    /// Absent where a later version of this service wrote it.
    fn read(self) -> Option<Stamp> {
        let Self { millis, counter, writer, flags } = self;
        let encryption = *ENCRYPTIONS.get(usize::from(flags >> 1))?;
        let version = Version { millis, counter, writer };
        Some(Stamp { version, create: flags & 1 == 1, encryption })
    }
}

/// Where the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct BodyRef {
    /// Never used twice.
    pub(super) id: u64,
    /// Number of bytes at rest.
    pub(super) bytes: u64,
    /// Bytes in each chunk row but the last; 0 where the whole body is one unframed row.
    pub(super) chunk_bytes: u32,
    /// xxh3 of an unframed body; 0 for a chunked one, whose rows carry their own.
    pub(super) checksum: u64,
}

impl BodyRef {
    /// Number of rows in `body`.
    pub(super) fn chunks(&self) -> u64 {
        match (self.bytes, self.chunk_bytes) {
            (0, _) => 0,
            (_, 0) => 1,
            (bytes, chunk) => bytes.div_ceil(u64::from(chunk)),
        }
    }
}

/// A whole row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) header: Header,
    pub(super) attributes: Attributes,
}

impl Record {
    /// The row for a key.
    pub(super) fn encode(&self, key: &ObjectKey) -> Result<Bytes, StoreError> {
        let stamp = self.attributes.stamp.map(StampRow::from);
        let row = postcard::to_extend(&self.header, Vec::with_capacity(256))
            .and_then(|row| postcard::to_extend(&self.attributes, row))
            .and_then(|row| match (&self.attributes.envelope, stamp) {
                (_, stamp) if !self.attributes.retention.is_empty() => {
                    postcard::to_extend(&(HELD, HeldRow::new(stamp, &self.attributes)), row)
                }
                (Some(envelope), stamp) => {
                    let sealed = SealedRow { stamp, envelope: envelope.clone() };
                    postcard::to_extend(&(SEALED, sealed), row)
                }
                (None, Some(stamp)) => postcard::to_extend(&stamp, row),
                (None, None) => Ok(row),
            })
            .map_err(|error| errors::invalid("the attributes cannot be stored", error))?;
        Ok(seal(key, row))
    }

    /// Reads and checks a row.
    pub(super) fn decode(key: &ObjectKey, row: &[u8]) -> Result<Self, StoreError> {
        let (header, rest) = Header::split(key, row)?;
        let (mut attributes, rest): (Attributes, _) =
            postcard::take_from_bytes(rest).map_err(|error| damaged(key, error))?;
        if rest.is_empty() {
            return Ok(Self { header, attributes });
        }
        let (stamp, rest): (StampRow, _) =
            postcard::take_from_bytes(rest).map_err(|error| damaged(key, error))?;
        let stamp = if stamp == SEALED {
            let sealed: SealedRow =
                postcard::from_bytes(rest).map_err(|error| damaged(key, error))?;
            attributes.envelope = Some(sealed.envelope);
            sealed.stamp
        } else if stamp == HELD {
            let held: HeldRow = postcard::from_bytes(rest).map_err(|error| damaged(key, error))?;
            attributes.retention = held.retention().ok_or_else(|| damaged(key, NoRetention))?;
            attributes.envelope = held.envelope;
            held.stamp
        } else {
            Some(stamp)
        };
        let read = |stamp: StampRow| stamp.read().ok_or_else(|| damaged(key, NoVersion));
        attributes.stamp = stamp.map(read).transpose()?;
        Ok(Self { header, attributes })
    }

    /// What a head answers.
    pub(super) fn into_meta(self, key: ObjectKey) -> ObjectMeta {
        ObjectMeta {
            key,
            etag: etag(self.header.version),
            version_id: None,
            stored_size: self.header.body.bytes,
            last_modified: self.header.modified(),
            attributes: self.attributes,
            lock: Lock::default(),
            provider: Provider::Local,
        }
    }
}

impl Header {
    /// Checks a row and reads its header; the rest are the attributes.
    fn split<'a>(key: &ObjectKey, row: &'a [u8]) -> Result<(Self, &'a [u8]), StoreError> {
        let Some((row, sum)) = row.split_last_chunk::<CHECKSUM_BYTES>() else {
            return Err(damaged(key, "too short"));
        };
        if checksum(key, row) != u64::from_le_bytes(*sum) {
            return Err(damaged(key, "checksum mismatch"));
        }
        postcard::take_from_bytes(row).map_err(|error| damaged(key, error))
    }

    /// Checks a row and reads its header alone.
    pub(super) fn decode(key: &ObjectKey, row: &[u8]) -> Result<Self, StoreError> {
        Self::split(key, row).map(|(header, _)| header)
    }

    /// The row of the same object under another name, version and time: a rename.
    pub(super) fn transplant(
        self,
        source: (&ObjectKey, &[u8]),
        destination: &ObjectKey,
    ) -> Result<Bytes, StoreError> {
        let (_, attributes) = Self::split(source.0, source.1)?;
        let mut row = postcard::to_extend(&self, Vec::with_capacity(source.1.len() + 16))
            .map_err(|error| damaged(source.0, error))?;
        row.extend_from_slice(attributes);
        Ok(seal(destination, row))
    }

    /// When the write was accepted.
    pub(super) fn modified(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.modified_ms)
    }
}

/// The token for a version.
pub(super) fn etag(version: u64) -> ETag {
    ETag::new(format!("{version:016x}"))
}

/// The version that a token names; `None` for a token that this store never made.
pub(super) fn version_of(etag: &ETag) -> Option<u64> {
    let token = etag.as_str();
    let canonical =
        token.len() == 16 && token.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if canonical { u64::from_str_radix(token, 16).ok() } else { None }
}

/// Now, in the unit of [`Header::modified_ms`].
pub(super) fn now_ms() -> u64 {
    millis(SystemTime::now())
}

fn millis(time: SystemTime) -> u64 {
    u64::try_from(since_1970(time).as_millis()).unwrap_or(u64::MAX)
}

fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn seal(key: &ObjectKey, mut row: Vec<u8>) -> Bytes {
    let sum = checksum(key, &row);
    row.extend_from_slice(&sum.to_le_bytes());
    row.into()
}

fn checksum(key: &ObjectKey, row: &[u8]) -> u64 {
    xxh3_64_with_seed(row, xxh3_64(key.as_str().as_bytes()))
}

fn damaged(key: &ObjectKey, cause: impl std::fmt::Display) -> StoreError {
    errors::corrupt(format!("the record of '{key}' is damaged"), cause)
}

/// Takes any bytes for a row, as they are and under a right checksum: what a fuzzer calls. No row is read
/// under a wrong checksum or another key's, and one that is read says the same when it is written again.
///
/// # Panics
/// It is, or it does not.
pub fn fuzz_record(bytes: &[u8]) {
    let (key, other) = (ObjectKey::new("proofs/a"), ObjectKey::new("proofs/b"));
    if Record::decode(&key, bytes).is_ok() {
        let (row, sum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
        assert_eq!(checksum(&key, row).to_le_bytes(), sum);
    }
    let sealed = seal(&key, bytes.to_vec());
    assert!(Record::decode(&other, &sealed).is_err(), "another key's row");
    let Ok(record) = Record::decode(&key, &sealed) else { return };
    assert_eq!(Header::decode(&key, &sealed).ok(), Some(record.header));
    let again = record.encode(&key).and_then(|row| Record::decode(&key, &row));
    assert_eq!(again.ok(), Some(record));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Digest, Representation};

    fn record() -> Record {
        let mut attributes = Attributes::new("application/c2pa");
        attributes.cache_control = Some("no-store".into());
        attributes.metadata.insert("a".into(), "b".into());
        attributes.representation = Some(Representation {
            sha256: Digest::of(b"abc"),
            size: 3,
            stored_sha256: Digest::of(b"abc"),
        });
        let body = BodyRef { id: 7, bytes: 3, chunk_bytes: 0, checksum: 99 };
        Record { header: Header { version: 300, body, size: 3, modified_ms: 1 }, attributes }
    }

    fn stamped() -> Record {
        let version = Version { millis: 1 << 40, counter: 2, writer: 3 };
        let mut record = record();
        record.attributes.stamp =
            Some(Stamp { encryption: Encryption::Kms, ..Stamp::new(version, true) });
        record
    }

    #[test]
    fn row_comes_back_and_every_flip_is_noticed() {
        let key = ObjectKey::new("proofs/a");
        let stamped = stamped();
        assert_eq!(Record::decode(&key, &stamped.encode(&key).unwrap()).unwrap(), stamped);
        for mut sealed in [record(), self::stamped()] {
            sealed.attributes.envelope = Some(Bytes::from_static(b"header"));
            let row = sealed.encode(&key).unwrap();
            assert_eq!(Record::decode(&key, &row).unwrap(), sealed);
            assert_eq!(SEALED.read(), None, "an older version finds no stamp in it");
        }
        let until = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000));
        for envelope in [None, Some(Bytes::from_static(b"header"))] {
            for mut held in [record(), self::stamped()] {
                held.attributes.envelope = envelope.clone();
                held.attributes.retention = Retention { until, legal_hold: true, stored: until };
                let row = held.encode(&key).unwrap();
                assert_eq!(Record::decode(&key, &row).unwrap(), held);
                assert_eq!(HELD.read(), None, "an older version finds no stamp in it");
            }
        }
        let row = record().encode(&key).unwrap();
        assert_eq!(Record::decode(&key, &row).unwrap(), record());
        for bit in 0..row.len() * 8 {
            let mut flipped = row.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(&key, &flipped).is_err(), "bit {bit}");
        }
        assert!(Record::decode(&ObjectKey::new("proofs/b"), &row).is_err(), "another key's row");
        assert!(Record::decode(&key, b"").is_err());
    }

    /// A change here means that stores written before can no longer be read.
    #[test]
    fn bytes_of_a_row_are_pinned() {
        let row = record().encode(&ObjectKey::new("proofs/a")).unwrap();
        assert_eq!(
            (row.len(), Digest::of(&row).to_hex().as_str()),
            (118, "44cf76b13e5b374965d75f2e0cd525974b8b2c42737fc9b04fbe431e5d70b7ee"),
        );
    }

    #[test]
    fn transplant_keeps_attributes_under_the_new_name() {
        let (from, to) = (ObjectKey::new("a"), ObjectKey::new("b"));
        let row = record().encode(&from).unwrap();
        let header = Header { version: 301, ..record().header };
        let moved = header.transplant((&from, &row), &to).unwrap();
        let expected = Record { header, ..record() };
        assert_eq!(Record::decode(&to, &moved).unwrap(), expected);
    }

    #[test]
    fn only_canonical_tokens_name_versions() {
        assert_eq!(version_of(&etag(0xabc)), Some(0xabc));
        for foreign in ["", "abc", "0000000000000ABC", "+000000000000abc", "00000000000000abc"] {
            assert_eq!(version_of(&ETag::new(foreign)), None, "{foreign}");
        }
    }
}
