//! The headers of a store, read strictly: an unknown `Proof-` header or value is refused by name.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::percent_decode_str;

use super::extract::has_stray_percent;
use super::problem::{Code, Problem};
use super::retention::{LEGAL_HOLD, RETAIN_UNTIL};
use crate::model::{Attributes, Digest, Encoding, Encryption, Key};
use crate::vault::{Compression, UploadOptions, is_c2pa};

/// Names and values of `Proof-Meta-*` together, in bytes: the limit of S3.
const MAX_METADATA_BYTES: usize = 2048;
/// Tags, characters of a tag's name, characters of its value: the limits of S3.
const MAX_TAGS: usize = 10;
const MAX_TAG_NAME: usize = 128;
const MAX_TAG_VALUE: usize = 256;
/// Longest `Cache-Control` that is kept with a proof, in bytes.
const MAX_CACHE_CONTROL_BYTES: usize = 1024;
/// Storage classes whose objects cannot be read as they are.
const ARCHIVES: [&str; 2] = ["GLACIER", "DEEP_ARCHIVE"];

const META_PREFIX: &str = "proof-meta-";
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const TAGS: HeaderName = HeaderName::from_static("proof-tags");
const STORAGE_CLASS: HeaderName = HeaderName::from_static("proof-storage-class");
const COMPRESSION: HeaderName = HeaderName::from_static("proof-compression");
const ENCRYPTION: HeaderName = HeaderName::from_static("proof-encryption");

/// Reads everything that a store's headers say of the body, but for how long it stays (`retention`).
///
/// `extension` is that of the key, or of nothing where the key is still to be made.
///
/// # Errors
/// 400 naming the header; 415 for another `Content-Encoding` than gzip or identity.
pub fn upload_options(
    headers: &HeaderMap,
    key: Option<&Key>,
    max_bytes: u64,
) -> Result<UploadOptions, Problem> {
    refuse_unknown(headers)?;
    if headers.contains_key(header::CONTENT_RANGE) {
        return Err(Problem::invalid("Content-Range: a proof is stored whole"));
    }
    let content_type = match text(headers, &header::CONTENT_TYPE)? {
        Some(value) => media_type(value)?,
        None => guess(key.and_then(Key::extension)),
    };
    let compression = match text(headers, &COMPRESSION)? {
        None | Some("auto") => Compression::Auto,
        Some("gzip") if is_c2pa(&content_type) => {
            let detail = "Proof-Compression: application/c2pa is never sent coded; \
                          use auto or identity";
            return Err(Problem::invalid(detail));
        }
        Some("gzip") => Compression::Gzip,
        Some("identity") => Compression::Identity,
        Some(other) => {
            return Err(unknown_value("Proof-Compression", other, "auto, gzip, identity"));
        }
    };
    let attributes = Attributes {
        cache_control: cache_control(headers)?,
        metadata: metadata(headers)?,
        tags: tags(headers)?,
        storage_class: storage_class(headers)?,
        encryption: encryption(headers)?,
        ..Attributes::new(content_type)
    };
    Ok(UploadOptions {
        attributes,
        sent: content_encoding(headers)?,
        compression,
        content_digest: digest(headers, &CONTENT_DIGEST)?,
        repr_digest: digest(headers, &REPR_DIGEST)?,
        max_bytes,
    })
}

fn refuse_unknown(headers: &HeaderMap) -> Result<(), Problem> {
    let known = [&TAGS, &STORAGE_CLASS, &COMPRESSION, &ENCRYPTION, &RETAIN_UNTIL, &LEGAL_HOLD];
    let unknown = headers.keys().find(|name| {
        name.as_str().starts_with("proof-")
            && !name.as_str().starts_with(META_PREFIX)
            && !known.contains(name)
    });
    match unknown {
        Some(name) => Err(Problem::invalid(format!(
            "unknown header '{name}': known are Proof-Meta-<name>, Proof-Tags, \
             Proof-Storage-Class, Proof-Compression, Proof-Encryption, Proof-Retain-Until and \
             Proof-Legal-Hold"
        ))),
        None => Ok(()),
    }
}

/// The one value of a header, as text.
///
/// # Errors
/// 400 naming a header that is there more than once, or is no ASCII.
pub fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::invalid(format!("header '{name}' is there more than once")));
    }
    let text = value.to_str().map_err(|_| {
        Problem::invalid(format!("header '{name}' has a character outside visible ASCII"))
    })?;
    Ok(Some(text.trim()))
}

/// A 400 that names what is known.
pub fn unknown_value(name: &str, value: &str, known: &str) -> Problem {
    Problem::invalid(format!("{name}: unknown value '{value}'; known are {known}"))
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn media_type(value: &str) -> Result<String, Problem> {
    let essence = value.split(';').next().unwrap_or_default().trim();
    let valid = value.len() <= 255
        && essence.split_once('/').is_some_and(|(kind, sub)| is_token(kind) && is_token(sub));
    if !valid {
        return Err(Problem::invalid(format!(
            "Content-Type: '{value}' is no media type; send one such as application/json"
        )));
    }
    Ok(value.to_owned())
}

/// Media type of what is stored under a key without saying one.
pub fn content_type_of(key: &Key) -> String {
    guess(key.extension())
}

/// Media type by the key's extension.
fn guess(extension: Option<&str>) -> String {
    let extension = extension.map(str::to_ascii_lowercase);
    match extension.as_deref() {
        Some("c2pa") => "application/c2pa".to_owned(),
        Some(extension) => {
            mime_guess::from_ext(extension).first_or_octet_stream().essence_str().to_owned()
        }
        None => "application/octet-stream".to_owned(),
    }
}

/// Extension for a key of our making, by media type; with its dot, or empty.
pub fn extension_of(content_type: &str) -> &'static str {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/c2pa" => ".c2pa",
        "application/json" | "application/c2pa+json" => ".json",
        "application/ld+json" => ".jsonld",
        "application/cbor" => ".cbor",
        "application/xml" | "text/xml" => ".xml",
        "application/pdf" => ".pdf",
        "text/plain" => ".txt",
        "text/html" => ".html",
        "image/png" => ".png",
        "image/jpeg" => ".jpg",
        "image/webp" => ".webp",
        "image/avif" => ".avif",
        "image/svg+xml" => ".svg",
        "video/mp4" => ".mp4",
        "application/octet-stream" => ".bin",
        _ => "",
    }
}

fn content_encoding(headers: &HeaderMap) -> Result<Encoding, Problem> {
    match text(headers, &header::CONTENT_ENCODING)?.map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "identity") => Ok(Encoding::Identity),
        Some("gzip" | "x-gzip") => Ok(Encoding::Gzip),
        Some(other) => Err(Problem::new(
            Code::UnsupportedMediaType,
            format!("Content-Encoding: '{other}' is not taken; send gzip or identity"),
        )
        .with_header(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, identity"))),
    }
}

/// The sha-256 of a digest field (RFC 9530): `sha-256=:<base64>:`, among others.
fn digest(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Digest>, Problem> {
    let Some(value) = text(headers, name)? else { return Ok(None) };
    let malformed = || Problem::invalid(format!("{name}: send sha-256=:<base64 of 32 bytes>:"));
    for member in value.split(',') {
        let (algorithm, bytes) = member.trim().split_once('=').ok_or_else(malformed)?;
        if algorithm.eq_ignore_ascii_case("sha-256") {
            let base64 = bytes.strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
            let digest = base64.and_then(|text| Digest::from_base64(text).ok());
            return digest.map(Some).ok_or_else(malformed);
        }
    }
    Err(Problem::invalid(format!("{name}: only sha-256 is understood; send it too")))
}

fn metadata(headers: &HeaderMap) -> Result<BTreeMap<String, String>, Problem> {
    let mut metadata = BTreeMap::new();
    let mut bytes = 0;
    for name in headers.keys() {
        let Some(short) = name.as_str().strip_prefix(META_PREFIX) else { continue };
        if short.is_empty() {
            return Err(Problem::invalid("Proof-Meta-: a name must follow"));
        }
        let mut values = headers.get_all(name).iter();
        let value = values.next().and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
        let Some(value) = value else {
            return Err(Problem::invalid(format!("header '{name}' is not UTF-8")));
        };
        if values.next().is_some() {
            return Err(Problem::invalid(format!("header '{name}' is there more than once")));
        }
        bytes += short.len() + value.len();
        metadata.insert(short.to_owned(), value.trim().to_owned());
    }
    if bytes > MAX_METADATA_BYTES {
        return Err(Problem::invalid(format!(
            "Proof-Meta-*: names and values have {bytes} bytes, at most {MAX_METADATA_BYTES} are allowed"
        )));
    }
    Ok(metadata)
}

fn tags(headers: &HeaderMap) -> Result<BTreeMap<String, String>, Problem> {
    let Some(value) = text(headers, &TAGS)? else { return Ok(BTreeMap::new()) };
    // The decoder below would keep a stray `%`, and put replacement characters where the bytes are no text.
    if has_stray_percent(value) || percent_decode_str(value).decode_utf8().is_err() {
        let detail = "Proof-Tags: not UTF-8 in percent-encoding; '%' itself is sent as %25";
        return Err(Problem::invalid(detail));
    }
    let mut tags = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(value.as_bytes()) {
        let (name_length, value_length) = (name.chars().count(), value.chars().count());
        if name_length == 0 || name_length > MAX_TAG_NAME || value_length > MAX_TAG_VALUE {
            return Err(Problem::invalid(format!(
                "Proof-Tags: '{name}': names have 1 to {MAX_TAG_NAME} characters, \
                 values up to {MAX_TAG_VALUE}"
            )));
        }
        if name.chars().chain(value.chars()).any(char::is_control) {
            return Err(Problem::invalid("Proof-Tags: a tag has a control character"));
        }
        if tags.insert(name.clone().into_owned(), value.into_owned()).is_some() {
            return Err(Problem::invalid(format!("Proof-Tags: '{name}' is there more than once")));
        }
    }
    if tags.len() > MAX_TAGS {
        return Err(Problem::invalid(format!(
            "Proof-Tags: {} tags, at most {MAX_TAGS} are allowed",
            tags.len()
        )));
    }
    Ok(tags)
}

fn cache_control(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    match text(headers, &header::CACHE_CONTROL)? {
        Some(value) if value.len() > MAX_CACHE_CONTROL_BYTES => Err(Problem::invalid(format!(
            "Cache-Control: has {} bytes, at most {MAX_CACHE_CONTROL_BYTES} are kept with a proof",
            value.len()
        ))),
        value => Ok(value.map(str::to_owned)),
    }
}

fn storage_class(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    match text(headers, &STORAGE_CLASS)? {
        None => Ok(None),
        Some(class) if ARCHIVES.iter().any(|archive| archive.eq_ignore_ascii_case(class)) => {
            Err(Problem::invalid(format!(
                "Proof-Storage-Class: what is stored as {class} has to be restored before it can be \
                 read, and a proof is read at any time; use another, such as GLACIER_IR"
            )))
        }
        Some(class) if is_token(class) && class.len() <= 64 => Ok(Some(class.to_owned())),
        Some(other) => Err(unknown_value("Proof-Storage-Class", other, "names such as STANDARD")),
    }
}

fn encryption(headers: &HeaderMap) -> Result<Encryption, Problem> {
    match text(headers, &ENCRYPTION)? {
        None => Ok(Encryption::None),
        Some(value) => Encryption::parse(value).ok_or_else(|| {
            unknown_value("Proof-Encryption", value, "none, AES256, aws:kms, envelope")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&'static str, &str)]) -> Result<UploadOptions, Problem> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        upload_options(&headers, None, 1)
    }

    #[test]
    fn reads_everything() {
        let options = parse(&[
            ("content-type", "application/json; charset=utf-8"),
            ("content-encoding", "GZIP"),
            ("cache-control", "max-age=60"),
            ("proof-meta-signer", "Zoë"),
            ("proof-tags", "type=proof&version=1.0&a+b=c%26d"),
            ("proof-compression", "identity"),
            (
                "repr-digest",
                "sha-512=:AA==:, sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:",
            ),
        ])
        .unwrap();
        assert_eq!(options.attributes.metadata["signer"], "Zoë");
        assert_eq!(options.attributes.tags["a b"], "c&d");
        assert_eq!(options.sent, Encoding::Gzip);
        assert_eq!(options.compression, Compression::Identity);
        assert_eq!(options.repr_digest, Some(Digest::of(b"abc")));
    }

    #[test]
    fn each_refusal_names_its_header() {
        let long = "x".repeat(3000);
        let cases: &[(&'static str, &str)] = &[
            ("content-type", "json"),
            ("cache-control", &long),
            ("proof-compression", "br"),
            ("proof-encryption", "aes256"),
            ("proof-tags", "=x"),
            ("proof-tags", "a=1&a=2"),
            ("proof-tags", "a=%ff"),
            ("proof-tags", "a=%c3&%a9=b"),
            ("proof-tags", "a=100%"),
            ("proof-tags", "a=%zz"),
            ("proof-tags", "a&b&c&d&e&f&g&h&i&j&k"),
            ("proof-storage-class", "a b"),
            ("proof-storage-class", "GLACIER"),
            ("proof-storage-class", "deep_archive"),
            ("proof-meta-x", &long),
            ("proof-tag", "a=b"),
            ("repr-digest", "sha-256=ungWv48"),
            ("content-digest", "md5=:AA==:"),
            ("content-range", "bytes 0-1/2"),
        ];
        for (name, value) in cases {
            let problem = parse(&[(name, value)]).unwrap_err();
            let detail = problem.to_json("x")["detail"].as_str().unwrap().to_ascii_lowercase();
            let stem = name.trim_end_matches("-x");
            assert!(detail.contains(stem), "{name}: {detail}");
        }
        assert_eq!(
            parse(&[("content-encoding", "br")]).unwrap_err().code(),
            Code::UnsupportedMediaType
        );
    }

    #[test]
    fn only_what_can_be_read_at_any_time_is_a_storage_class() {
        let class = |name| parse(&[("proof-storage-class", name)]);
        assert!(
            class("GLACIER").unwrap_err().to_json("x")["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains("GLACIER_IR"))
        );
        for name in ["GLACIER_IR", "STANDARD", "INTELLIGENT_TIERING"] {
            assert_eq!(class(name).unwrap().attributes.storage_class.as_deref(), Some(name));
        }
    }

    #[test]
    fn guesses_by_extension() {
        for (extension, expected) in [
            (Some("C2PA"), "application/c2pa"),
            (Some("json"), "application/json"),
            (Some("nothing-known"), "application/octet-stream"),
            (None, "application/octet-stream"),
        ] {
            assert_eq!(guess(extension), expected);
        }
    }
}
