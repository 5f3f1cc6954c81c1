//! Attributes as S3 keeps them: native headers where there are any, metadata for the rest.
//!
//! ```text
//! Content-Type, Content-Encoding, Cache-Control, x-amz-storage-class   native
//! x-amz-meta-<name>                         Proof-Meta-<name>
//! x-amz-meta-proof-storage-sha256, -size    of what the caller stored
//! x-amz-meta-proof-storage-stored-sha256    of the bytes at rest, where they are others
//! x-amz-meta-proof-storage-tags             tags; beside the backend's own, where it has those
//! x-amz-meta-proof-storage-version          the pool's stamp, of what a pool wrote
//! x-amz-meta-proof-storage-envelope         header of sealed bytes, in base64; sha256 is then of these
//! x-amz-meta-proof-storage-retention        until when it stays, whether it is held, when it was stored
//! x-amz-object-lock-*                       the same, where the bucket has locks
//! ```
//! A value that is no plain ASCII is written as RFC 8187 has it. (RFC 2047, which S3 gives back for
//! such values, is decoded on the way by some servers, and what it protected is lost.) So any S3
//! client sees the same content and can read what is said of it.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::model::{Attributes, Digest, Encoding, Representation};

/// Names below this are the service's own.
const OWN: &str = "proof-storage-";
/// A caller's name that begins like one of ours is kept behind this.
const ESCAPED: &str = "proof-storage-meta-";
const SHA256: &str = "proof-storage-sha256";
const SIZE: &str = "proof-storage-size";
const STORED_SHA256: &str = "proof-storage-stored-sha256";
const TAGS: &str = "proof-storage-tags";
const STAMP: &str = "proof-storage-version";
const ENVELOPE: &str = "proof-storage-envelope";
const RETENTION: &str = "proof-storage-retention";

/// `Content-Encoding` of sealed bytes: no client takes them for what their media type says, and a
/// version of this service that cannot open them refuses to send them.
const SEALED: &str = "x-proof-storage-envelope";

/// RFC 8187 §3.2.1: character set, no language.
const EXTENDED: &str = "UTF-8''";

/// What form data leaves as it is.
const FORM: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// The metadata of an object with these attributes. `tags` says whether tags go in here.
pub(super) fn to_metadata(attributes: &Attributes, tags: bool) -> HashMap<String, String> {
    let mut metadata = HashMap::new();
    for (name, value) in &attributes.metadata {
        let name = if name.starts_with(OWN) { format!("{ESCAPED}{name}") } else { name.clone() };
        metadata.insert(name, encode_value(value));
    }
    if let Some(known) = attributes.representation {
        metadata.insert(SHA256.to_owned(), known.sha256.to_hex());
        metadata.insert(SIZE.to_owned(), known.size.to_string());
        if known.stored_sha256 != known.sha256 {
            metadata.insert(STORED_SHA256.to_owned(), known.stored_sha256.to_hex());
        }
    }
    if let Some(stamp) = attributes.stamp {
        metadata.insert(STAMP.to_owned(), stamp.to_string());
    }
    if let Some(envelope) = &attributes.envelope {
        metadata.insert(ENVELOPE.to_owned(), STANDARD.encode(envelope));
    }
    if !attributes.retention.is_empty() {
        metadata.insert(RETENTION.to_owned(), attributes.retention.to_string());
    }
    if tags && !attributes.tags.is_empty() {
        metadata.insert(TAGS.to_owned(), tags_to_form(&attributes.tags));
    }
    metadata
}

/// Bytes that count against the backend's limit.
pub(super) fn metadata_bytes(metadata: &HashMap<String, String>) -> usize {
    metadata.iter().map(|(name, value)| name.len() + value.len()).sum()
}

/// What the service itself wrote of an object cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Garbled;

/// Puts what the metadata says into attributes that have the native part already.
///
/// # Errors
/// There is a digest, a size, an envelope or a retention of ours that cannot be read: without it the bytes would be
/// taken for somebody else's, which nobody compares with anything, or for free to be deleted.
pub(super) fn read_metadata(
    attributes: &mut Attributes,
    metadata: &HashMap<String, String>,
) -> Result<(), Garbled> {
    for (name, value) in metadata {
        let name = name.to_ascii_lowercase();
        if let Some(escaped) = name.strip_prefix(ESCAPED) {
            attributes.metadata.insert(escaped.to_owned(), decode_value(value));
        } else if name == TAGS {
            attributes.tags = tags_from_form(value);
        } else if !name.starts_with(OWN) {
            attributes.metadata.insert(name, decode_value(value));
        }
    }
    attributes.representation = representation(metadata)?;
    attributes.stamp =
        metadata.get(STAMP).map(|text| text.parse().map_err(|_| Garbled)).transpose()?;
    let envelope = metadata.get(ENVELOPE).map(|text| STANDARD.decode(text).map_err(|_| Garbled));
    attributes.envelope = envelope.transpose()?.map(Into::into);
    let retention = metadata.get(RETENTION).map(|text| text.parse().map_err(|_| Garbled));
    attributes.retention = retention.transpose()?.unwrap_or_default();
    Ok(())
}

/// Of an object that others put there: none.
fn representation(metadata: &HashMap<String, String>) -> Result<Option<Representation>, Garbled> {
    let said = [SHA256, SIZE, STORED_SHA256].map(|name| metadata.get(name));
    let digest = |text: &String| Digest::from_hex(text).map_err(|_| Garbled);
    match said {
        [None, None, None] => Ok(None),
        [Some(sha256), Some(size), stored] => {
            let sha256 = digest(sha256)?;
            let size = size.parse().map_err(|_| Garbled)?;
            let stored_sha256 = stored.map_or(Ok(sha256), digest)?;
            Ok(Some(Representation { sha256, size, stored_sha256 }))
        }
        _ => Err(Garbled),
    }
}

/// The `Content-Encoding` of bytes with these attributes.
pub(super) fn content_encoding(attributes: &Attributes) -> Option<&'static str> {
    match attributes.encoding {
        _ if attributes.envelope.is_some() => Some(SEALED),
        Encoding::Gzip => Some("gzip"),
        Encoding::Identity => None,
    }
}

/// Whether the header says that the bytes are sealed.
pub(super) fn says_sealed(header: Option<&str>) -> bool {
    header.unwrap_or_default().split(',').any(|coding| coding.trim() == SEALED)
}

/// `Content-Encoding` to what the vault knows; `Err` is a coding that it does not.
pub(super) fn encoding(header: Option<&str>) -> Result<Encoding, String> {
    // Some stores keep the transfer's own coding in the list. What is in an envelope, that says.
    const NO_CODING: [&str; 3] = ["aws-chunked", "identity", SEALED];
    let codings = header.unwrap_or_default().split(',').map(str::trim);
    let mut known: Vec<_> = codings.filter(|c| !c.is_empty() && !NO_CODING.contains(c)).collect();
    match (known.pop(), known.is_empty()) {
        (None, _) => Ok(Encoding::Identity),
        (Some("gzip" | "x-gzip"), true) => Ok(Encoding::Gzip),
        _ => Err(header.unwrap_or_default().to_owned()),
    }
}

/// Tags as the `x-amz-tagging` header has them.
pub(super) fn tags_to_form(tags: &BTreeMap<String, String>) -> String {
    let pair = |(name, value): (&String, &String)| {
        format!("{}={}", utf8_percent_encode(name, FORM), utf8_percent_encode(value, FORM))
    };
    tags.iter().map(pair).collect::<Vec<_>>().join("&")
}

fn tags_from_form(form: &str) -> BTreeMap<String, String> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

/// A value as a header can carry it. Signing folds spaces, so only single inner ones stay.
fn encode_value(value: &str) -> String {
    let plain = value.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        && !value.is_empty()
        && !value.starts_with(' ')
        && !value.ends_with(' ')
        && !value.contains("  ")
        && !value.contains("=?")
        && !value.starts_with(EXTENDED);
    match plain {
        true => value.to_owned(),
        false => format!("{EXTENDED}{}", utf8_percent_encode(value, FORM)),
    }
}

/// Reads a value; what is not in that form stays as it is.
fn decode_value(value: &str) -> String {
    let encoded = value.strip_prefix(EXTENDED);
    let decoded = encoded.and_then(|text| percent_decode_str(text).decode_utf8().ok());
    decoded.map_or_else(|| value.to_owned(), std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Retention, Stamp, Version};

    fn there_and_back(attributes: &Attributes) -> Attributes {
        let mut found = Attributes::new(attributes.content_type.clone());
        found.encoding = attributes.encoding;
        let metadata = to_metadata(attributes, true);
        assert!(metadata.values().all(|v| v.is_ascii() && v.trim() == v), "{metadata:?}");
        read_metadata(&mut found, &metadata).unwrap();
        found
    }

    #[test]
    fn values_come_back_to_the_letter() {
        let mut attributes = Attributes::new("text/plain");
        for (name, value) in [
            ("plain", "proofs inc."),
            ("empty", ""),
            ("spaces", "  inner  and outer  "),
            ("tab", "a\tb"),
            ("unicode", "Beweis für 写真"),
            ("imitation", "=?UTF-8?B?eA==?="),
            ("another imitation", "UTF-8''%41"),
            ("proof-storage-sha256", "not ours"),
            ("proof-storage-meta-x", "not ours either"),
        ] {
            attributes.metadata.insert(name.into(), value.into());
        }
        attributes.tags.insert("owner".into(), "größe + 1 = a/b&c".into());
        attributes.representation = Some(Representation {
            sha256: Digest::of(b"a"),
            size: 7,
            stored_sha256: Digest::of(b"b"),
        });
        let version = Version { millis: 1, counter: 2, writer: 3 };
        attributes.stamp = Some(Stamp::new(version, false));
        assert_eq!(there_and_back(&attributes), attributes);
        attributes.envelope = Some(bytes::Bytes::from_static(b"\0header\xff"));
        assert_eq!(there_and_back(&attributes), attributes);
        assert!(says_sealed(content_encoding(&attributes)));
        let until = Some(std::time::UNIX_EPOCH + std::time::Duration::from_secs(4_000_000_000));
        attributes.retention = Retention { until, legal_hold: true, stored: until };
        assert_eq!(there_and_back(&attributes), attributes);
    }

    #[test]
    fn an_envelope_that_cannot_be_read_is_not_taken_for_none() {
        let metadata = [(ENVELOPE.to_owned(), "*".to_owned())].into();
        assert_eq!(read_metadata(&mut Attributes::new("text/plain"), &metadata), Err(Garbled));
    }

    #[test]
    fn a_retention_that_cannot_be_read_is_not_taken_for_none() {
        let metadata = [(RETENTION.to_owned(), "until=soon".to_owned())].into();
        assert_eq!(read_metadata(&mut Attributes::new("text/plain"), &metadata), Err(Garbled));
    }

    #[test]
    fn a_digest_that_cannot_be_read_is_not_taken_for_none() {
        let mut attributes = Attributes::new("text/plain");
        let digest = Digest::of(b"a");
        attributes.representation =
            Some(Representation { sha256: digest, size: 1, stored_sha256: digest });
        let mut metadata = to_metadata(&attributes, false);
        assert_eq!(representation(&metadata), Ok(attributes.representation));
        for (name, value) in [
            (SHA256, Some("abc")),
            (SHA256, None),
            (SIZE, Some("-1")),
            (SIZE, None),
            (STORED_SHA256, Some("")),
        ] {
            let mut damaged = metadata.clone();
            damaged.remove(name);
            damaged.extend(value.map(|value| (name.to_owned(), value.to_owned())));
            assert_eq!(representation(&damaged), Err(Garbled), "{name} {value:?}");
        }
        metadata.clear();
        assert_eq!(representation(&metadata), Ok(None), "somebody else's");
    }

    #[test]
    fn codings() {
        for (header, wanted) in [
            (None, Some(Encoding::Identity)),
            (Some(""), Some(Encoding::Identity)),
            (Some("gzip"), Some(Encoding::Gzip)),
            (Some("aws-chunked"), Some(Encoding::Identity)),
            (Some("gzip,aws-chunked"), Some(Encoding::Gzip)),
            (Some(SEALED), Some(Encoding::Identity)),
            (Some("br"), None),
            (Some("gzip, gzip"), None),
        ] {
            assert_eq!(encoding(header).ok(), wanted, "{header:?}");
        }
    }
}
