//! The JSON bodies and response headers that describe a proof.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::gate::Pass;
use super::retention;
use super::state::AppState;
use crate::model::{
    Digest, Encoding, Encryption, Key, ListItem, Lock, ObjectMeta, Provider, http_date,
    rfc3339_millis,
};
use crate::vault::{etag_of, is_c2pa};

/// Unreserved characters (RFC 3986 §2.3), and those of keys that need no escape in a path.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b':');

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// Stored HTML and SVG must not run as if it were ours.
const SANDBOX: HeaderValue = HeaderValue::from_static("default-src 'none'; sandbox");

/// Result of a store, a copy or a move.
#[derive(Serialize)]
pub struct StoreResult {
    key: String,
    url: String,
    etag: String,
    version_id: Option<String>,
    size: u64,
    stored_size: u64,
    sha256: Option<Digest>,
    content_type: String,
    encoding: Encoding,
    encryption: Encryption,
    /// Absent where nothing ever held the proof, and for who has not said who they are.
    retention: Option<retention::Shown>,
    timestamp: String,
    provider: Provider,
}

/// Everything known of a proof.
#[derive(Serialize)]
pub struct Metadata {
    #[serde(flatten)]
    result: StoreResult,
    cache_control: Option<String>,
    metadata: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
    storage_class: Option<String>,
    last_modified: String,
}

/// One entry of a listing.
#[derive(Serialize)]
pub struct Item {
    key: String,
    /// Absent where the listing tells the bytes at rest only.
    size: Option<u64>,
    stored_size: u64,
    etag: Option<String>,
    sha256: Option<Digest>,
    content_type: Option<String>,
    encoding: Option<Encoding>,
    last_modified: String,
}

/// Describes a proof as the result of a store.
pub fn store_result(pass: &Pass, key: &Key, meta: &ObjectMeta) -> StoreResult {
    let attributes = &meta.attributes;
    StoreResult {
        key: key.as_str().to_owned(),
        url: proof_url(pass, key, meta),
        // The identity's tag, whatever form is at rest.
        etag: etag_of(meta, Encoding::Identity),
        version_id: meta.version_id.clone(),
        size: meta.size(),
        stored_size: meta.size_at_rest(),
        sha256: attributes.representation.map(|r| r.sha256),
        content_type: attributes.content_type.clone(),
        encoding: attributes.encoding,
        encryption: attributes.encryption,
        retention: retention::shown(pass, meta),
        timestamp: timestamp(meta.last_modified),
        provider: meta.provider,
    }
}

/// Describes a proof in full.
pub fn metadata(pass: &Pass, key: &Key, meta: &ObjectMeta) -> Metadata {
    let attributes = &meta.attributes;
    Metadata {
        result: store_result(pass, key, meta),
        cache_control: attributes
            .cache_control
            .clone()
            .or_else(|| pass.settings.default_cache_control.clone()),
        metadata: attributes.metadata.clone(),
        tags: attributes.tags.clone(),
        storage_class: attributes.storage_class.clone(),
        last_modified: timestamp(meta.last_modified),
    }
}

/// Describes an entry of a listing.
pub fn item(provider: Provider, key: &Key, entry: ListItem) -> Item {
    let last_modified = timestamp(entry.last_modified);
    let at_rest = entry.stored_size;
    let meta = entry.attributes.map(|attributes| ObjectMeta {
        key: entry.key,
        etag: entry.etag,
        version_id: None,
        stored_size: entry.stored_size,
        last_modified: entry.last_modified,
        attributes,
        lock: Lock::default(),
        provider,
    });
    Item {
        key: key.as_str().to_owned(),
        size: meta.as_ref().map(ObjectMeta::size),
        stored_size: meta.as_ref().map_or(at_rest, ObjectMeta::size_at_rest),
        etag: meta.as_ref().map(|meta| etag_of(meta, Encoding::Identity)),
        sha256: meta.as_ref().and_then(|meta| meta.attributes.representation).map(|r| r.sha256),
        encoding: meta.as_ref().map(|meta| meta.attributes.encoding),
        content_type: meta.map(|meta| meta.attributes.content_type),
        last_modified,
    }
}

/// RFC 3339 in UTC with milliseconds.
pub fn timestamp(time: SystemTime) -> String {
    rfc3339_millis(time)
}

/// A duration in answers.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Percent-encodes a key for the path of a URL.
pub fn path_of(name: &str) -> String {
    utf8_percent_encode(name, PATH).to_string()
}

/// Where a proof can be had: at the bucket's own domain where it is in that bucket, else at the CDN
/// where one is configured, else here. A bucket that another backend stands in for has it only
/// later, and a CDN would remember until then that it is missing. What is sealed can be had here alone.
fn proof_url(state: &AppState, key: &Key, meta: &ObjectMeta) -> String {
    let settings = &state.settings;
    let sealed = meta.attributes.encryption == Encryption::Envelope;
    let domain = settings.bucket_domain.as_ref();
    let domain = domain.filter(|one| one.provider == meta.provider && !state.is_down(&one.backend));
    match domain.map(|one| &one.url).or(settings.cdn_url.as_ref()).filter(|_| !sealed) {
        Some(cdn) => format!("{cdn}/{}", path_of(key.object().as_str())),
        None => format!("{}/v1/proofs/{}", settings.public_url, path_of(key.as_str())),
    }
}

/// The headers that every retrieval of a proof carries, also without its body.
pub fn retrieve_headers(pass: &Pass, meta: &ObjectMeta, form: Encoding) -> HeaderMap {
    let attributes = &meta.attributes;
    let mut headers = HeaderMap::with_capacity(16);
    let mut set = |name: HeaderName, value: &str| {
        // Every text was checked when it came in; a foreign object's may still be no header.
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            headers.insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, &attributes.content_type);
    set(header::ETAG, &etag_of(meta, form));
    set(header::LAST_MODIFIED, &http_date(meta.last_modified));
    if let Some(representation) = attributes.representation {
        set(REPR_DIGEST, &format!("sha-256=:{}:", representation.sha256.to_base64()));
    }
    let cache_control =
        attributes.cache_control.as_ref().or(pass.settings.default_cache_control.as_ref());
    if let Some(cache_control) = cache_control {
        set(header::CACHE_CONTROL, cache_control);
    }
    for (name, value) in &attributes.metadata {
        if let Ok(name) = HeaderName::from_bytes(format!("proof-meta-{name}").as_bytes()) {
            set(name, value);
        }
    }
    retention::add_headers(pass, meta, &mut headers);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
    if attributes.encoding == Encoding::Gzip {
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    if form == Encoding::Gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers
}

/// The form to send: gzip only where it is kept so, the client takes it and prefers it no less,
/// and never for C2PA manifest stores, whose readers do not look at `Content-Encoding`.
pub fn negotiate(headers: &HeaderMap, meta: &ObjectMeta) -> Encoding {
    let kept = meta.attributes.encoding;
    if kept == Encoding::Gzip && !is_c2pa(&meta.attributes.content_type) && takes_gzip(headers) {
        Encoding::Gzip
    } else {
        Encoding::Identity
    }
}

/// Reads `Accept-Encoding` (RFC 9110 §12.5.3). Without it, identity is what every client takes.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut any, mut identity) = (None, None, None);
    for value in headers.get_all(header::ACCEPT_ENCODING) {
        for coding in value.to_str().unwrap_or_default().split(',') {
            let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
            let weight = weight(parameters);
            match name.trim().to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => gzip = Some(weight),
                "identity" => identity = Some(weight),
                "*" => any = Some(weight),
                _ => {}
            }
        }
    }
    let gzip = gzip.or(any).unwrap_or(0);
    gzip > 0 && gzip >= identity.unwrap_or(0)
}

/// The `q` of a coding in thousandths; malformed weights count as none.
fn weight(parameters: &str) -> u16 {
    let Some((name, value)) = parameters.split_once('=') else { return 1000 };
    if !name.trim().eq_ignore_ascii_case("q") {
        return 1000;
    }
    match value.trim().parse::<f32>() {
        Ok(q) if (0.0..=1.0).contains(&q) => (q * 1000.0) as u16,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_encoding() {
        for (value, expected) in [
            ("gzip", true),
            ("GZIP;q=0.5", true),
            ("br, *", true),
            ("*;q=0", false),
            ("gzip;q=0", false),
            ("gzip;q=0, *", false),
            ("identity;q=1, gzip;q=0.5", false),
            ("identity, gzip", true),
            ("br", false),
            ("", false),
            ("gzip;q=nonsense", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(takes_gzip(&headers), expected, "{value}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn paths_keep_what_c2pa_needs_and_hide_what_breaks() {
        assert_eq!(path_of("urn:c2pa:a-1/b.c2pa"), "urn:c2pa:a-1/b.c2pa");
        assert_eq!(path_of("a b&c?d#é%"), "a%20b%26c%3Fd%23%C3%A9%25");
    }
}
