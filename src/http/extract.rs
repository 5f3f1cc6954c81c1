//! From a request to typed values, strictly: what is not understood is refused by name.

use axum::body::Body;
use axum::extract::Query;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Uri, header};
use bytes::{Bytes, BytesMut};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::admission::Reservation;
use super::arrival::Arrival;
use super::client::ClientAddress;
use super::gate::Call;
use super::problem::{Code, Problem};
use super::state::AppState;
use crate::model::{Key, KeyError, Namespace};

/// Largest JSON body: 10 000 keys of 1024 bytes, escaped, with room to spare.
const MAX_JSON_BYTES: usize = 16 << 20;

/// Routes whose remainder is a key.
pub const KEY_ROUTES: [&str; 3] = ["/v1/proofs/", "/v1/metadata/", "/v1/retention/"];

/// The proof that the path names, under any of the routes that end in a key.
///
/// # Errors
/// As [`decode_key`].
pub fn path_key(namespace: &Namespace, uri: &Uri) -> Result<Key, Problem> {
    let path = uri.path();
    let rest = KEY_ROUTES.iter().find_map(|route| path.strip_prefix(route)).unwrap_or_default();
    decode_key(namespace, rest)
}

/// Percent-decodes the rest of a path, exactly once, and checks it as a key.
///
/// # Errors
/// `INVALID_KEY` with the rule that is broken.
pub fn decode_key(namespace: &Namespace, rest: &str) -> Result<Key, Problem> {
    if has_stray_percent(rest) {
        let detail = "the key has a '%' that is not followed by two hexadecimal digits: send %25";
        return Err(Problem::new(Code::InvalidKey, detail));
    }
    let name = percent_decode_str(rest).decode_utf8().map_err(|_| KeyError::NotUtf8)?;
    Ok(namespace.key(&name)?)
}

/// Whether a `%` stands where no byte is encoded.
pub fn has_stray_percent(text: &str) -> bool {
    text.match_indices('%').any(|(at, _)| {
        !matches!(text.as_bytes().get(at + 1..at + 3), Some(hex) if hex.iter().all(u8::is_ascii_hexdigit))
    })
}

/// Takes any text for the rest of a path, and any way to read it: what a fuzzer calls. A key is what the path
/// says after decoding it once, to the byte, and the same when it is written and read again.
///
/// # Panics
/// It is not.
pub fn fuzz_key(namespace: &Namespace, rest: &str, read: impl Fn(&Namespace, &str) -> Option<Key>) {
    let Some(key) = read(namespace, rest) else { return };
    let mut decoded = Vec::new();
    let mut bytes = rest.bytes();
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        decoded.push(match byte {
            b'%' => match (digit(bytes.next()), digit(bytes.next())) {
                (Some(high), Some(low)) => (high * 16 + low) as u8,
                _ => panic!("'{rest}' is a key"),
            },
            byte => byte,
        });
    }
    assert_eq!(key.as_str().as_bytes(), decoded);
    assert_eq!(key.object().as_str(), format!("{}{}", namespace.prefix(), key.as_str()));
    assert!(!key.as_str().split('/').any(|segment| ["", ".", ".."].contains(&segment)));
    assert!(!key.as_str().chars().any(char::is_control));
    assert_eq!(namespace.key_of(key.object()).as_ref(), Some(&key));
    let written: String = key.as_str().bytes().map(|byte| format!("%{byte:02x}")).collect();
    assert_eq!(read(namespace, &written), Some(key));
}

/// A query string with known names only.
///
/// # Errors
/// Names what is not known or no text.
pub fn strict_query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    // The decoder below would put replacement characters where the bytes are no text.
    let query = uri.query().unwrap_or_default();
    if percent_decode_str(query).decode_utf8().is_err() {
        return Err(Problem::invalid("query: not UTF-8 after percent-decoding"));
    }
    match Query::try_from_uri(uri) {
        Ok(Query(value)) => Ok(value),
        Err(error) => Err(Problem::invalid(format!("query: {}", innermost(&error)))),
    }
}

/// For calls that take no query: a parameter would otherwise vanish unseen.
///
/// # Errors
/// Names the first parameter.
pub fn no_query(uri: &Uri) -> Result<(), Problem> {
    match uri.query() {
        None | Some("") => Ok(()),
        Some(query) => {
            let name = query.split(['=', '&']).next().unwrap_or_default();
            let name = percent_decode_str(name).decode_utf8_lossy();
            Err(Problem::invalid(format!("this call takes no query parameter, but got '{name}'")))
        }
    }
}

/// A JSON body with known fields only.
///
/// # Errors
/// Names the field that is not known, given twice, missing or of another kind.
pub async fn strict_json<T: DeserializeOwned>(call: &mut Call<'_>) -> Result<T, Problem> {
    let headers = &call.head.headers;
    let content_type = headers.get(header::CONTENT_TYPE);
    let essence = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = essence.split(';').next().unwrap_or_default().trim();
    // A browser form can send other types across sites without asking first; JSON it cannot.
    if !essence.eq_ignore_ascii_case("application/json") {
        let detail = "send the body with Content-Type: application/json";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let body = std::mem::take(call.body);
    let (body, _reservation) = read_json_body(call.head, body, call.state).await?;
    // Serde takes an array for a struct, its fields in order: no name would be checked.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::invalid("JSON body: send an object"));
    }
    let deserializer = &mut serde_json::Deserializer::from_slice(&body);
    let value = serde_path_to_error::deserialize(&mut *deserializer).map_err(|error| {
        // `.` and `?` are no field: the body as a whole.
        let field = match error.path().to_string() {
            path if error.inner().is_data() && !matches!(&*path, "." | "?") => path,
            _ => "JSON body".to_owned(),
        };
        Problem::invalid(format!("{field}: {}", error.inner()))
    })?;
    let end = deserializer.end();
    end.map_err(|error| Problem::invalid(format!("JSON body: {error}")))?;
    Ok(value)
}

async fn read_json_body(
    head: &Parts,
    body: Body,
    state: &AppState,
) -> Result<(Bytes, Reservation), Problem> {
    if content_length(&head.headers).is_some_and(|length| length > MAX_JSON_BYTES as u64) {
        return Err(json_too_large());
    }
    let mut reservation = state.budget.reserve(ClientAddress::of(&head.extensions), 0)?;
    let mut arrival = Arrival::new(body, state);
    let mut read = BytesMut::new();
    while let Some(bytes) = arrival.next().await? {
        if read.len() + bytes.len() > MAX_JSON_BYTES {
            return Err(json_too_large());
        }
        reservation.grow_to((read.len() + bytes.len()) as u64)?;
        read.extend_from_slice(&bytes);
    }
    // Parsed keys are held beside the text they came from.
    reservation.grow_to(2 * read.len() as u64)?;
    Ok((read.freeze(), reservation))
}

fn json_too_large() -> Problem {
    Problem::new(Code::TooLarge, format!("a JSON body may have {MAX_JSON_BYTES} bytes at most"))
}

/// `Content-Length`, where it is there and a number. Hyper has refused conflicting ones.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut current = error;
    while let Some(source) = current.source() {
        current = source;
    }
    current.to_string()
}
