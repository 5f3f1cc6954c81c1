//! Rights: what a caller may do ([`Scope`]) below which keys ([`KeyPrefix`]).
//!
//! A prefix is matched by whole segments on the bytes of a key as it is stored: percent-decoded
//! once, never normalised. `photos` is that key and what lies below it, `photos/` only what lies
//! below; neither is `photos2`.

use std::fmt;
use std::sync::Arc;

use super::{Key, Namespace};

/// One kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Retrieve proofs and their metadata.
    Read,
    /// Store proofs, also as the destination of a copy or a move.
    Write,
    /// Delete, also as the source of a move, and replace what is stored.
    Delete,
    /// List keys.
    List,
    /// Make signed URLs, for what the caller may do itself.
    Sign,
    /// Look at backends, figures and metrics.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 6] =
        [Self::Read, Self::Write, Self::Delete, Self::List, Self::Sign, Self::Admin];

    /// The word for it in tokens and claims.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Sign => "sign",
            Self::Admin => "admin",
        }
    }

    /// The scope of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Every scope.
    pub fn all() -> Self {
        Scope::ALL.into_iter().collect()
    }

    /// Whether it is among them.
    pub fn has(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// One bit for each, to be written down.
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Those of bits that were written down; `None` where one stands for nothing.
    pub fn from_bits(bits: u8) -> Option<Self> {
        (bits & !Self::all().0 == 0).then_some(Self(bits))
    }

    /// Each of them, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | (1 << scope as u8)))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// What keys begin with, in whole segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPrefix {
    /// Without a slash at its end; empty is every key.
    name: Box<str>,
    /// The key of that very name does not count.
    below_only: bool,
}

impl KeyPrefix {
    /// Reads a prefix; `*` is every key.
    ///
    /// # Errors
    /// No key could begin so; the text says why.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::every());
        }
        if text.is_empty() {
            return Err("a prefix is empty: write `*` for every key".to_owned());
        }
        Namespace::new(text).map_err(|error| format!("`{text}` is no prefix of keys: {error}"))?;
        let name = text.strip_suffix('/');
        Ok(Self { name: name.unwrap_or(text).into(), below_only: name.is_some() })
    }

    /// Every key.
    pub fn every() -> Self {
        Self { name: "".into(), below_only: false }
    }

    /// Whether a key is meant.
    pub fn has(&self, key: &Key) -> bool {
        match key.as_str().strip_prefix(&*self.name) {
            _ if self.name.is_empty() => true,
            Some("") => !self.below_only,
            Some(rest) => rest.starts_with('/'),
            None => false,
        }
    }

    /// Whether every key that begins with these bytes is meant.
    pub fn has_all(&self, beginning: &str) -> bool {
        let rest = beginning.strip_prefix(&*self.name);
        self.name.is_empty() || rest.is_some_and(|rest| rest.starts_with('/'))
    }
}

impl fmt::Display for KeyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&*self.name, self.below_only) {
            ("", _) => f.write_str("*"),
            (name, true) => write!(f, "{name}/"),
            (name, false) => f.write_str(name),
        }
    }
}

/// What somebody may do: these scopes, of keys with these prefixes. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// What.
    pub scopes: Scopes,
    /// Of which keys.
    pub prefixes: Arc<[KeyPrefix]>,
}

impl Rights {
    /// Everything.
    pub fn all() -> Self {
        Self { scopes: Scopes::all(), prefixes: [KeyPrefix::every()].into() }
    }

    /// Whether they reach to a key.
    pub fn allow(&self, scope: Scope, key: &Key) -> bool {
        self.scopes.has(scope) && self.prefixes.iter().any(|prefix| prefix.has(key))
    }

    /// Whether they reach to every key that begins with these bytes; `""` is all there are.
    pub fn allow_all(&self, scope: Scope, beginning: &str) -> bool {
        self.scopes.has(scope) && self.prefixes.iter().any(|prefix| prefix.has_all(beginning))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Namespace::new("proofs/").unwrap().key(name).unwrap()
    }

    #[test]
    fn prefixes_match_whole_segments() {
        for (prefix, name, expected) in [
            ("photos", "photos", true),
            ("photos", "photos/a/b", true),
            ("photos", "photos2", false),
            ("photos", "photos2/a", false),
            ("photos", "photo", false),
            ("photos", "a/photos", false),
            ("photos", "Photos/a", false),
            ("photos/", "photos/a", true),
            ("photos/", "photos", false),
            ("photos/a", "photos/a/b", true),
            ("photos/a", "photos/ab", false),
            ("e\u{301}", "\u{e9}/a", false),
            ("*", "anything", true),
            ("proofs", "a", false),
        ] {
            assert_eq!(
                KeyPrefix::parse(prefix).unwrap().has(&key(name)),
                expected,
                "{prefix} {name}"
            );
        }
    }

    #[test]
    fn a_listing_must_lie_inside_of_the_prefix() {
        for (prefix, beginning, expected) in [
            ("photos", "photos/", true),
            ("photos", "photos/a", true),
            ("photos", "photos", false),
            ("photos", "pho", false),
            ("photos", "", false),
            ("photos", "photos2/", false),
            ("photos/", "photos/", true),
            ("*", "", true),
        ] {
            let prefix = KeyPrefix::parse(prefix).unwrap();
            assert_eq!(prefix.has_all(beginning), expected, "{prefix} {beginning}");
        }
    }

    #[test]
    fn what_no_key_can_begin_with_is_refused() {
        for text in ["", "/", "/a", "a//b", "a/../b", "..", "a\n", ".proof-storage", "a//"] {
            assert!(KeyPrefix::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn nothing_is_the_default() {
        for scope in Scope::ALL {
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
            assert!(!Rights::default().allow(scope, &key("a")));
            assert!(!Rights::default().allow_all(scope, ""));
            assert!(Rights::all().allow(scope, &key("a")) && Rights::all().allow_all(scope, ""));
            let other = Scope::ALL.into_iter().filter(|other| *other != scope).collect();
            let rights = Rights { scopes: other, ..Rights::all() };
            assert!(!rights.allow(scope, &key("a")) && !rights.allow_all(scope, "a/"));
        }
    }
}
