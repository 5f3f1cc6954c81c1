//! Names: the caller's [`Key`], the backend's [`ObjectKey`], and the [`Namespace`] between them.
//!
//! A key is checked once, where it enters, and is never normalised: NFC and NFD forms of a name
//! are two keys, as they are on S3.

use std::fmt;
use std::sync::Arc;

/// Longest object key in bytes, prefix included (the limit of S3, so that any proof can move there).
pub const MAX_KEY_BYTES: usize = 1024;

/// Folder of the service's own records, closed to callers.
pub const RESERVED: &str = ".proof-storage";

/// Full name of an object inside a backend: prefix and key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Arc<str>);

impl ObjectKey {
    /// Wraps a name that came from a backend's own listing or from [`Namespace`].
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name as the backend knows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A proof's key: valid by construction, and knowing the object it names.
///
/// 1-1024 bytes of UTF-8 with the prefix; no empty, `.` or `..` segment, no `/` at either end,
/// no control character, not below [`RESERVED`].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    object: ObjectKey,
    prefix_bytes: usize,
}

impl Key {
    /// The key as the caller wrote it, percent-decoded.
    pub fn as_str(&self) -> &str {
        &self.object.as_str()[self.prefix_bytes..]
    }

    /// The object that holds the proof.
    pub fn object(&self) -> &ObjectKey {
        &self.object
    }

    /// The part after the last dot of the last segment, for guessing a media type.
    pub fn extension(&self) -> Option<&str> {
        let name = self.as_str().rsplit('/').next()?;
        let (stem, extension) = name.rsplit_once('.')?;
        (!stem.is_empty() && !extension.is_empty()).then_some(extension)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.as_str())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is no key. The message names the rule, so that the caller can mend the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nothing after `/v1/proofs/`.
    #[error("the key is empty: give 1 to {MAX_KEY_BYTES} bytes")]
    Empty,
    /// Longer than [`MAX_KEY_BYTES`] with the prefix.
    #[error("the key has {0} bytes with the storage prefix: at most {MAX_KEY_BYTES} are allowed")]
    TooLong(usize),
    /// Not UTF-8 after percent-decoding.
    #[error("the key is not UTF-8 after percent-decoding")]
    NotUtf8,
    /// `/` at the start or the end.
    #[error("the key starts or ends with '/': remove it")]
    OuterSlash,
    /// `a//b`, `a/./b` or `a/../b`.
    #[error("the key has an empty, '.' or '..' segment: segments must be names")]
    BadSegment,
    /// A character such as NUL, newline or DEL.
    #[error("the key has a control character (U+{0:04X}): remove it")]
    Control(u32),
    /// Below [`RESERVED`].
    #[error("keys below '{RESERVED}' are reserved for the service's own records")]
    Reserved,
}

/// Why a text is no key prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Leaves no room for keys.
    #[error("has {0} bytes: at most 512 are allowed")]
    TooLong(usize),
    /// Would make every key invalid.
    #[error("{0}")]
    Invalid(KeyError),
}

/// The part of a backend that belongs to one service: a key prefix such as `proofs/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    prefix: Arc<str>,
}

impl Namespace {
    /// Checks a prefix. The empty prefix is allowed.
    ///
    /// # Errors
    /// The prefix leads with `/`, has an empty, `.` or `..` segment or a control character, is
    /// longer than 512 bytes, or reaches into the reserved folder.
    pub fn new(prefix: &str) -> Result<Self, PrefixError> {
        if prefix.len() > 512 {
            return Err(PrefixError::TooLong(prefix.len()));
        }
        let name = prefix.strip_suffix('/').unwrap_or(prefix);
        if !prefix.is_empty() {
            check(name).map_err(PrefixError::Invalid)?;
            check_reserved(name).map_err(PrefixError::Invalid)?;
        }
        Ok(Self { prefix: prefix.into() })
    }

    /// The prefix as configured.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Checks a caller's key (already percent-decoded, exactly once).
    ///
    /// # Errors
    /// The first rule that the key breaks.
    pub fn key(&self, name: &str) -> Result<Key, KeyError> {
        let total = self.prefix.len() + name.len();
        if total > MAX_KEY_BYTES {
            return Err(KeyError::TooLong(total));
        }
        check(name)?;
        check_reserved(name)?;
        let mut object = String::with_capacity(total);
        object.push_str(&self.prefix);
        object.push_str(name);
        // A prefix such as `.proof-` and a key `storage/x` would meet in the reserved folder.
        check_reserved(&object)?;
        Ok(Key { object: ObjectKey::new(object), prefix_bytes: self.prefix.len() })
    }

    /// Whether a key can begin so. A listing of anything else would be empty for ever.
    ///
    /// # Errors
    /// The rule that every key with this beginning breaks.
    pub fn beginning(&self, beginning: &str) -> Result<(), KeyError> {
        match self.key(beginning) {
            Ok(_) => Ok(()),
            Err(error @ KeyError::TooLong(_)) => Err(error),
            // ``, `a/`, `a/..` and the reserved name are no keys, but with a letter more they are.
            Err(_) => self.key(&format!("{beginning}x")).map(drop),
        }
    }

    /// The key of an object that a backend listed; `None` where the object is not a caller's.
    pub fn key_of(&self, object: &ObjectKey) -> Option<Key> {
        let name = object.as_str().strip_prefix(&*self.prefix)?;
        self.key(name).ok()
    }
}

fn check(name: &str) -> Result<(), KeyError> {
    if name.is_empty() {
        return Err(KeyError::Empty);
    }
    if name.starts_with('/') || name.ends_with('/') {
        return Err(KeyError::OuterSlash);
    }
    if let Some(control) = name.chars().find(|c| c.is_control()) {
        return Err(KeyError::Control(control.into()));
    }
    if name.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(KeyError::BadSegment);
    }
    Ok(())
}

fn check_reserved(name: &str) -> Result<(), KeyError> {
    match name.strip_prefix(RESERVED) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Err(KeyError::Reserved),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Result<Key, KeyError> {
        Namespace::new("proofs/").unwrap().key(name)
    }

    #[test]
    fn accepts_what_c2pa_uses() {
        for name in
            ["a/b.json", "urn:c2pa:5f1f6a2e-0000", "ü.c2pa", "a b?c#d%", "...", "a/.b", "..a/b.."]
        {
            let key = parse(name).unwrap();
            assert_eq!(key.as_str(), name);
            assert_eq!(key.object().as_str(), format!("proofs/{name}"));
        }
    }

    #[test]
    fn never_normalises() {
        assert_ne!(parse("\u{e9}").unwrap(), parse("e\u{301}").unwrap());
    }

    #[test]
    fn refuses_each_bad_form_by_its_rule() {
        let cases = [
            ("", KeyError::Empty),
            ("/a", KeyError::OuterSlash),
            ("a/", KeyError::OuterSlash),
            ("a//b", KeyError::BadSegment),
            ("a/./b", KeyError::BadSegment),
            ("..", KeyError::BadSegment),
            ("a\0b", KeyError::Control(0)),
            ("a\u{85}b", KeyError::Control(0x85)),
            (".proof-storage", KeyError::Reserved),
            (".proof-storage/x", KeyError::Reserved),
        ];
        for (name, expected) in cases {
            assert_eq!(parse(name).unwrap_err(), expected, "{name:?}");
        }
    }

    #[test]
    fn length_counts_the_prefix() {
        assert!(parse(&"k".repeat(1024 - 7)).is_ok());
        assert_eq!(parse(&"k".repeat(1024 - 6)).unwrap_err(), KeyError::TooLong(1025));
    }

    #[test]
    fn every_beginning_of_a_key_is_one_and_nothing_else() {
        let namespace = Namespace::new("proofs/").unwrap();
        for name in ["a/b.json", ".../..a/.b", ".proof-storage2/x", "é", &"k".repeat(1024 - 7)] {
            let ends = (0..=name.len()).filter(|end| name.is_char_boundary(*end));
            for beginning in ends.map(|end| &name[..end]) {
                assert_eq!(namespace.beginning(beginning), Ok(()), "{beginning:?}");
            }
        }
        for (beginning, expected) in [
            ("/", KeyError::OuterSlash),
            ("/a", KeyError::OuterSlash),
            ("a//", KeyError::BadSegment),
            ("a//b", KeyError::BadSegment),
            ("../", KeyError::BadSegment),
            ("a/./b", KeyError::BadSegment),
            ("a/../b", KeyError::BadSegment),
            ("\0", KeyError::Control(0)),
            (".proof-storage/", KeyError::Reserved),
            (&"k".repeat(1024 - 6), KeyError::TooLong(1025)),
            (&format!("{}/", "k".repeat(1024 - 8)), KeyError::TooLong(1025)),
        ] {
            assert_eq!(namespace.beginning(beginning), Err(expected), "{beginning:?}");
        }
        assert_eq!(Namespace::new(".proof-").unwrap().beginning("storage"), Ok(()));
        let meeting = Namespace::new(".proof-").unwrap().beginning("storage/");
        assert_eq!(meeting, Err(KeyError::Reserved));
    }

    #[test]
    fn prefix_and_key_cannot_meet_in_the_reserved_folder() {
        let namespace = Namespace::new(".proof-").unwrap();
        assert_eq!(namespace.key("storage/x").unwrap_err(), KeyError::Reserved);
        assert!(Namespace::new(".proof-storage/x/").is_err());
        assert!(Namespace::new("").unwrap().key("a").is_ok());
    }

    #[test]
    fn extension_is_of_the_last_segment() {
        assert_eq!(parse("a.b/c.c2pa").unwrap().extension(), Some("c2pa"));
        assert_eq!(parse("a.b/c").unwrap().extension(), None);
        assert_eq!(parse(".hidden").unwrap().extension(), None);
    }
}
