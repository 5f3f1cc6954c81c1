//! What the fuzzer calls: bytes to one piece of code that strangers' bytes reach, and what must hold of it.
//!
//! Each target panics where its property does not hold. The properties of what is private stand beside it,
//! as `fuzz_*`. `tests/it/fuzzing.rs` plays the kept corpus through the same functions in every test run.

use std::sync::OnceLock;
use std::time::UNIX_EPOCH;

use proof_storage::access::ApiToken;
use proof_storage::codec::{envelope, gzip};
use proof_storage::model::{Digest, Key, KeyPrefix, Keyring, Namespace};
use proof_storage::{backend, config, http};
use secrecy::SecretSlice;

/// Bytes in; it panics where what must hold of what comes out does not.
pub type Target = fn(&[u8]);

/// Every target by its name; the last one finds a bug that was planted.
pub const ALL: &[(&str, Target)] = &[
    ("key", key),
    ("range", range),
    ("tags", tags),
    ("token", token),
    ("envelope", envelope),
    ("record", record),
    ("journal", journal),
    ("config", config),
    ("gzip", gzip),
    ("credentials", credentials),
    ("planted", planted),
];

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}

fn namespace() -> &'static Namespace {
    static NAMESPACE: OnceLock<Namespace> = OnceLock::new();
    NAMESPACE.get_or_init(|| Namespace::new("proofs/").unwrap())
}

fn as_served(namespace: &Namespace, rest: &str) -> Option<Key> {
    http::decode_key(namespace, rest).ok()
}

/// The rest of a path is a key, or none.
pub fn key(data: &[u8]) {
    let Some(rest) = text(data) else { return };
    http::fuzz_key(namespace(), rest, as_served);
    prefix(rest);
}

/// A key prefix comes back as it is written, and lets nothing in but what is below it.
fn prefix(text: &str) {
    let (prefix, name) = text.split_once('\n').unwrap_or((text, "a/b"));
    let Ok(parsed) = KeyPrefix::parse(prefix) else { return };
    assert_eq!(parsed.to_string(), prefix);
    assert_eq!(KeyPrefix::parse(&parsed.to_string()), Ok(parsed.clone()));
    let Ok(key) = namespace().key(name) else { return };
    let folder = prefix.trim_end_matches('/');
    let below = name.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
    let itself = name == folder && !prefix.ends_with('/');
    assert_eq!(parsed.has(&key), prefix == "*" || below || itself);
    let ends = (0..=name.len()).filter(|end| name.is_char_boundary(*end));
    for beginning in ends.map(|end| &name[..end]) {
        assert_eq!(namespace().beginning(beginning), Ok(()), "{name} begins with {beginning}");
        assert!(!parsed.has_all(beginning) || parsed.has(&key), "{prefix} {name} {beginning}");
    }
}

/// The same as [`key`], with a reader that decodes twice: what the fuzzer has to find.
pub fn planted(data: &[u8]) {
    let twice = |namespace: &Namespace, rest: &str| {
        let key = as_served(namespace, rest)?;
        as_served(namespace, key.as_str()).or(Some(key))
    };
    if let Some(rest) = text(data) {
        http::fuzz_key(namespace(), rest, twice);
    }
}

/// A `Range` of a proof: eight bytes of size, then the text.
pub fn range(data: &[u8]) {
    let Some((size, rest)) = data.split_first_chunk() else { return };
    if let Some(text) = text(rest) {
        http::fuzz_range(text, u64::from_be_bytes(*size));
    }
}

/// `If-Match` and `If-None-Match`.
pub fn tags(data: &[u8]) {
    if let Some(text) = text(data) {
        http::fuzz_tags(text);
    }
}

/// A signed token: two bytes with the length of the payload, the payload, and a text. Where the text is
/// empty it is the genuine token of the payload, with the letter changed that the length names.
pub fn token(data: &[u8]) {
    static SIGNER: OnceLock<(http::Signer, Key)> = OnceLock::new();
    let (signer, key) = SIGNER.get_or_init(|| {
        let secret = |byte| SecretSlice::from(vec![byte; 32]);
        (http::Signer::new(secret(1), Some(secret(2))), namespace().key("a/b").unwrap())
    });
    let Some((length, rest)) = data.split_first_chunk() else { return };
    let length = usize::from(u16::from_be_bytes(*length));
    let (payload, rest) = rest.split_at(length.min(rest.len()));
    if let Some(text) = text(rest) {
        http::fuzz_token(signer, key, payload, text);
        assert!(signer.verify(key, text, UNIX_EPOCH).is_err(), "nobody signed it");
    }
}

/// An envelope's header, or, behind a zero byte, what is done to a genuine one: bytes to be changed, each by
/// place and mask, and what is put behind it.
pub fn envelope(data: &[u8]) {
    const NAME: &str = "proofs/a";
    static SEALED: OnceLock<(Keyring, Vec<u8>, envelope::DataKey, Vec<u8>)> = OnceLock::new();
    let (keyring, genuine, key, body) = SEALED.get_or_init(|| {
        let text = "one:active:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
        let keyring = Keyring::parse(text).unwrap();
        let key = envelope::DataKey::random().unwrap();
        let facts = envelope::Facts {
            encoding: proof_storage::model::Encoding::Gzip,
            form_size: 9,
            representation: None,
        };
        let header = envelope::wrap(&keyring, NAME, &key, &facts).unwrap().to_vec();
        let body = envelope::seal_whole(&key, b"nine byte").unwrap().to_vec();
        (keyring, header, key, body)
    });
    let [0, changes @ ..] = data else {
        envelope::fuzz_header(genuine, keyring, NAME, data);
        return;
    };
    let change = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        for pair in changes.chunks(2) {
            match *pair {
                [place, 0] => bytes.truncate(usize::from(place)),
                [place, mask] if !bytes.is_empty() => {
                    let at = usize::from(place) % bytes.len();
                    bytes[at] ^= mask;
                }
                _ => bytes.extend_from_slice(pair),
            }
        }
        bytes
    };
    envelope::fuzz_header(genuine, keyring, NAME, &change(genuine));
    let sealed = change(body);
    if envelope::open_whole(key, 9, &sealed).is_ok() {
        assert_eq!(&sealed, body, "a body that nobody sealed opens");
    }
}

/// A row of the embedded store.
pub fn record(data: &[u8]) {
    backend::embedded::fuzz_record(data);
}

/// A journal of the embedded store.
pub fn journal(data: &[u8]) {
    backend::embedded::fuzz_journal(data);
}

/// A configuration: `NAME=value` lines, an empty one, and the TOML file.
pub fn config(data: &[u8]) {
    let Some(text) = text(data) else { return };
    // What a path names would be read: nothing that has no end.
    if ["/dev", "/proc", "/sys", "\\u"].iter().any(|path| text.contains(path)) {
        return;
    }
    let (variables, file) = text.split_once("\n\n").unwrap_or((text, ""));
    let variables: Vec<_> = variables.lines().filter_map(|line| line.split_once('=')).collect();
    if !variables.iter().any(|(name, value)| name.contains('\0') || value.contains('\0')) {
        config::fuzz_config(file, &variables);
    }
}

/// A body that is said to be gzip: what it inflates to is within the limit and comes back.
pub fn gzip(data: &[u8]) {
    const LIMIT: u64 = 1 << 16;
    if let Ok(plain) = gzip::inflate(data, LIMIT) {
        assert!(plain.len() as u64 <= LIMIT);
        let again = gzip::inflate(&gzip::compress(&plain), LIMIT);
        assert_eq!(again.unwrap(), plain);
        assert!(plain.is_empty() || gzip::inflate(data, plain.len() as u64 - 1).is_err());
    }
    assert_eq!(gzip::inflate(&gzip::compress(data), data.len() as u64).unwrap(), data);
}

/// An API token, and a keyring: what is taken has the form that is written down.
pub fn credentials(data: &[u8]) {
    let Some(text) = text(data) else { return };
    if let Some(token) = ApiToken::parse(text) {
        assert_eq!((token.expose(), text.len()), (text, 76));
        assert_eq!(token.sha256(), Digest::of(data));
        assert!(text.starts_with("pst_") && text[4..].bytes().all(|b| b.is_ascii_hexdigit()));
    }
    match Keyring::parse(text) {
        Ok(keyring) => {
            // Blanks may stand around every part of an entry, and `#` begins a comment.
            let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
            let active = lines.flat_map(|line| line.split(',')).filter_map(|entry| {
                let mut parts = entry.split(':').map(str::trim);
                parts.next().filter(|_| parts.next() == Some("active"))
            });
            assert_eq!(active.collect::<Vec<_>>(), [keyring.active().id().as_str()]);
        }
        Err(mistake) => {
            let told = mistake.to_string();
            // Of the letters of a key: the message has words of its own, and a fuzzer learns them.
            let is_key = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
            let words = text.split([':', ',', '\n']).map(str::trim);
            for word in words.filter(|word| word.len() > 20 && word.chars().all(is_key)) {
                assert!(!told.contains(word), "a part of the keyring is told");
            }
        }
    }
}
