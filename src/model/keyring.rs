//! The keys that wrap the keys of proofs: one active, the others for what they wrapped before.
//!
//! As text one entry a line, or with commas between: `id:active:key` or `id:retired:key`, the key 32
//! bytes in base64. What is behind a `#` is a comment. No mistake in it is told with its text, which
//! may be a secret.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretBox};
use subtle::ConstantTimeEq as _;

/// Longest name of a key.
const MAX_ID_BYTES: usize = 64;

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// The name of a key: 1 to 64 of letters, digits, `.`, `_` and `-`. No secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyId(Arc<str>);

impl KeyId {
    /// Checks a name.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fine = (1..=MAX_ID_BYTES).contains(&text.len()) && text.bytes().all(fits);
        fine.then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key that wraps others.
#[derive(Clone)]
pub struct WrappingKey {
    id: KeyId,
    secret: Arc<SecretBox<[u8; KEY_BYTES]>>,
}

impl WrappingKey {
    /// Its name.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// Its bytes, for the one who wraps.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        self.secret.expose_secret()
    }
}

impl fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappingKey({}, redacted)", self.id)
    }
}

impl PartialEq for WrappingKey {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && bool::from(self.expose().ct_eq(other.expose()))
    }
}

impl Eq for WrappingKey {}

/// All keys that a service was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyring {
    active: WrappingKey,
    retired: Vec<WrappingKey>,
}

/// What is wrong with a keyring's text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringMistake {
    /// An entry has another form.
    #[error(
        "entry {0} is not `id:active:key` or `id:retired:key`, with an id of 1 to 64 letters, digits, \
         `.`, `_` and `-`"
    )]
    Form(usize),
    /// An entry's key is none.
    #[error(
        "entry {0}: the key is not 32 bytes in base64: make one with `openssl rand -base64 32`"
    )]
    Key(usize),
    /// Two entries have one name.
    #[error("entry {0} has the id of an earlier one: each key has its own")]
    Twice(usize),
    /// There is not exactly one to wrap with.
    #[error("{0} keys are `active`: exactly one wraps what is stored, the others are `retired`")]
    Active(usize),
}

impl Keyring {
    /// Reads a keyring's text.
    ///
    /// # Errors
    /// The first mistake, by the number of its entry.
    pub fn parse(text: &str) -> Result<Self, KeyringMistake> {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let entries = lines.flat_map(|line| line.split(',')).map(str::trim);
        let (mut active, mut retired) = (Vec::new(), Vec::new());
        for (index, entry) in entries.filter(|entry| !entry.is_empty()).enumerate() {
            let number = index + 1;
            let form = || KeyringMistake::Form(number);
            let mut parts = entry.splitn(3, ':').map(str::trim);
            let id = parts.next().and_then(KeyId::parse).ok_or_else(form)?;
            let keys = match parts.next() {
                Some("active") => &mut active,
                Some("retired") => &mut retired,
                _ => return Err(form()),
            };
            let secret = secret(parts.next().unwrap_or_default());
            let secret = Arc::new(secret.ok_or(KeyringMistake::Key(number))?);
            keys.push((number, WrappingKey { id, secret }));
        }
        let mut ids: Vec<_> =
            active.iter().chain(&retired).map(|(n, key)| (*n, key.id())).collect();
        ids.sort_unstable_by_key(|(number, _)| *number);
        for (index, (number, id)) in ids.iter().enumerate() {
            if ids[..index].iter().any(|(_, earlier)| earlier == id) {
                return Err(KeyringMistake::Twice(*number));
            }
        }
        let retired = retired.into_iter().map(|(_, key)| key).collect();
        match <[_; 1]>::try_from(active) {
            Ok([(_, active)]) => Ok(Self { active, retired }),
            Err(active) => Err(KeyringMistake::Active(active.len())),
        }
    }

    /// The key that wraps what is stored now.
    pub fn active(&self) -> &WrappingKey {
        &self.active
    }

    /// The key of a name.
    pub fn get(&self, id: &str) -> Option<&WrappingKey> {
        std::iter::once(&self.active).chain(&self.retired).find(|key| key.id.as_str() == id)
    }

    /// Whether there are keys that only unwrap.
    pub fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }
}

fn secret(text: &str) -> Option<SecretBox<[u8; KEY_BYTES]>> {
    let bytes = secrecy::SecretSlice::from(STANDARD.decode(text).ok()?);
    let bytes: &[u8; KEY_BYTES] = bytes.expose_secret().try_into().ok()?;
    Some(SecretBox::init_with_mut(|secret: &mut [u8; KEY_BYTES]| secret.copy_from_slice(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    const TWO: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

    #[test]
    fn lines_and_commas_are_read_and_nothing_is_shown() {
        let lines = format!("# keys\n2026 : active : {ONE} # made in May\n\n2025:retired:{TWO}\n");
        let ring = Keyring::parse(&lines).unwrap();
        assert_eq!(ring.active().expose(), &[1; 32]);
        assert_eq!(ring.get("2025").unwrap().expose(), &[2; 32]);
        assert!(ring.get("2024").is_none() && ring.has_retired());
        let commas = format!("2026:active:{ONE},2025:retired:{TWO}");
        assert_eq!(Keyring::parse(&commas), Ok(ring.clone()));
        let swapped = format!("2026:active:{TWO},2025:retired:{ONE}");
        assert_ne!(Keyring::parse(&swapped), Ok(ring.clone()));
        let shown = format!("{ring:?}");
        assert!(shown.contains("2026") && !shown.contains("1, 1") && !shown.contains("AQEB"));
    }

    #[test]
    fn mistakes_are_told_by_number_and_without_their_text() {
        for (text, mistake) in [
            (String::new(), KeyringMistake::Active(0)),
            (format!("a:retired:{ONE}"), KeyringMistake::Active(0)),
            (format!("a:active:{ONE},b:active:{TWO}"), KeyringMistake::Active(2)),
            (format!("a:active:{ONE}\na:retired:{TWO}"), KeyringMistake::Twice(2)),
            (format!("a:active:{ONE},b:old:{TWO}"), KeyringMistake::Form(2)),
            (format!("a b:active:{ONE}"), KeyringMistake::Form(1)),
            (ONE.to_owned(), KeyringMistake::Form(1)),
            ("a:active".to_owned(), KeyringMistake::Key(1)),
            ("a:active:c2hvcnQ=".to_owned(), KeyringMistake::Key(1)),
            (format!("a:active:{ONE}:x"), KeyringMistake::Key(1)),
        ] {
            let found = Keyring::parse(&text).unwrap_err();
            assert_eq!(found, mistake, "{text}");
            assert!(!found.to_string().contains("AQEB"), "{found}");
        }
    }
}
