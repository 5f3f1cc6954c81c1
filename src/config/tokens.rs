//! API tokens as they are written down: `[[token]]` in a file of their own, `[[auth.token]]` in the
//! configuration. Only digests: who reads the file cannot call the service.
//!
//! Read at the start with everything else, and again by `access` when the file changes. Messages
//! name a key and a line, and never quote a value: somebody may have put a token where its digest
//! belongs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problems::Problems;
use super::slip;
use crate::model::{Digest, KeyPrefix, Rights, Scope};

/// A token, as far as the service knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenEntry {
    /// Whose it is: stands in the log.
    pub name: Arc<str>,
    /// SHA-256 of the token's text.
    pub sha256: Digest,
    /// What it allows.
    pub rights: Rights,
    /// From when on it is refused.
    pub expires: Option<SystemTime>,
}

const KEYS: &[&str] = &["name", "sha256", "scopes", "prefixes", "expires"];

const MAX_NAME: usize = 64;

/// Reads a file of tokens.
///
/// # Errors
/// All mistakes, each with its key and line.
pub fn read_tokens(path: &Path) -> Result<Vec<TokenEntry>, Problems> {
    let mut problems = Problems::default();
    let place = path.display().to_string();
    let tokens = of_file(path, &place, &mut problems);
    check_apart(&tokens, &[], &place, &mut problems);
    if problems.is_empty() { Ok(tokens) } else { Err(problems) }
}

/// Reads a time such as `2027-01-31`, which is its first moment in UTC, or `2027-01-31T18:00:00Z`.
///
/// # Errors
/// Says how to write one.
pub fn parse_expiry(text: &str) -> Result<SystemTime, String> {
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    let time = humantime::parse_rfc3339(&whole).ok();
    // Before 1970 a number of seconds would have a sign.
    time.filter(|time| *time >= SystemTime::UNIX_EPOCH + Duration::from_secs(1)).ok_or_else(|| {
        "is no date: write for example 2027-01-31, or 2027-01-31T18:00:00Z".to_owned()
    })
}

/// Reads the name of a token.
///
/// # Errors
/// Says which names there are.
pub fn parse_token_name(text: &str) -> Result<Arc<str>, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@:/".contains(&byte);
    // What looks like a token may be one, and names are shown.
    let short = (1..=MAX_NAME).contains(&text.len());
    if short && text.bytes().all(fits) {
        return Ok(text.into());
    }
    Err(format!("is no name: write 1 to {MAX_NAME} letters, digits and -_.@:/"))
}

/// Reads the words for some scopes.
///
/// # Errors
/// Names the word that is none, or says that there is none at all.
pub fn parse_scopes<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Vec<Scope>, String> {
    let all = Scope::ALL.map(Scope::as_str).join(", ");
    let scope = |word: &str| {
        Scope::parse(word).ok_or_else(|| format!("`{word}` is no scope: write some of {all}"))
    };
    let scopes: Vec<_> = words.into_iter().map(scope).collect::<Result<_, _>>()?;
    if scopes.is_empty() { Err(format!("has no scope: write some of {all}")) } else { Ok(scopes) }
}

/// The tokens of a file that has nothing else.
pub(super) fn of_file(path: &Path, name: &str, problems: &mut Problems) -> Vec<TokenEntry> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            problems.push(
                super::settings::TOKENS_FILE.variable,
                format!("cannot read {name}: {error}"),
            );
            return Vec::new();
        }
    };
    let (document, errors) = DeTable::parse_recoverable(&text);
    let at = Place { text: &text, file: name };
    for error in &errors {
        let line = error.span().map_or(1, |span| at.line(span.start));
        problems.push(format!("{name}:{line}"), format!("not TOML: {}", error.message()));
    }
    if !errors.is_empty() {
        return Vec::new();
    }
    let mut tokens = None;
    for (key, value) in document.get_ref() {
        if key.get_ref() == "token" {
            tokens = Some(of_array("token", value, &at, problems));
        } else {
            let place = at.of("a key", key.span().start);
            problems.push(place, "is not known here: the file has [[token]] tables only");
        }
    }
    // An empty file is more likely one that is just being written than one that revokes them all.
    tokens.unwrap_or_else(|| {
        problems.push(name, "has no [[token]]: write `token = []` where nobody is to have one");
        Vec::new()
    })
}

/// Where something stands in a file.
pub(super) struct Place<'a> {
    pub(super) text: &'a str,
    pub(super) file: &'a str,
}

impl Place<'_> {
    fn line(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
    }

    fn of(&self, what: &str, offset: usize) -> String {
        format!("{what} ({}:{})", self.file, self.line(offset))
    }
}

/// The tokens of an array of tables.
pub(super) fn of_array(
    name: &str,
    value: &Spanned<DeValue<'_>>,
    at: &Place<'_>,
    problems: &mut Problems,
) -> Vec<TokenEntry> {
    let remedy = format!("is a list of tables: write [[{name}]] above each");
    let DeValue::Array(tables) = value.get_ref() else {
        problems.push(at.of(name, value.span().start), remedy);
        return Vec::new();
    };
    let token = |(index, table): (usize, &Spanned<DeValue<'_>>)| {
        let place = at.of(&format!("{name} {}", index + 1), table.span().start);
        let DeValue::Table(table) = table.get_ref() else {
            problems.push(place, remedy.as_str());
            return None;
        };
        let (entry, mistakes) = Entry { table, mistakes: Vec::new() }.read();
        mistakes.into_iter().for_each(|mistake| problems.push(place.as_str(), mistake));
        entry
    };
    tables.iter().enumerate().filter_map(token).collect()
}

/// Reports tokens that are there twice, among themselves or beside others.
pub(super) fn check_apart(
    tokens: &[TokenEntry],
    others: &[TokenEntry],
    place: &str,
    problems: &mut Problems,
) {
    for (index, token) in tokens.iter().enumerate() {
        let name = &token.name;
        let mut earlier = tokens[..index].iter().chain(others);
        if earlier.clone().any(|other| other.name == *name) {
            problems.push(place, format!("two tokens have the name `{name}`: give each its own"));
        } else if let Some(other) = earlier.find(|other| other.sha256 == token.sha256) {
            let text = format!("tokens `{}` and `{name}` are the same one: remove one", other.name);
            problems.push(place, text);
        }
    }
}

/// One table, and what is wrong in it.
struct Entry<'a, 'i> {
    table: &'a DeTable<'i>,
    mistakes: Vec<String>,
}

impl Entry<'_, '_> {
    fn read(mut self) -> (Option<TokenEntry>, Vec<String>) {
        for (key, _) in self.table {
            let key = key.get_ref();
            if !KEYS.contains(&key.as_ref()) {
                let meant = slip::nearest(key, KEYS.iter().copied());
                let meant =
                    meant.map_or("remove it".into(), |meant| format!("did you mean {meant}?"));
                // Not quoted: it may be anything.
                self.mistakes.push(format!("has a key that is none of a token's: {meant}"));
            }
        }
        let name = self.text("name", parse_token_name);
        let sha256 = self.text("sha256", |text| {
            let remedy = "is not 64 hexadecimal digits: write the token's SHA-256, as `proof-storage \
                          token create` prints it";
            Digest::from_hex(text).map_err(|_| remedy.to_owned())
        });
        let scopes = self.list("scopes", |words| parse_scopes(words.iter().copied()));
        let prefixes = self.list("prefixes", |texts| {
            if texts.is_empty() {
                return Err("is an empty list: leave it out for every key".to_owned());
            }
            texts.iter().map(|text| KeyPrefix::parse(text)).collect::<Result<Vec<_>, _>>()
        });
        let expires = self.text("expires", parse_expiry);
        for key in ["name", "sha256", "scopes"] {
            if self.value(key).is_none() {
                self.mistakes.push(format!("{key} is missing"));
            }
        }
        let entry = (|| {
            let prefixes = prefixes.unwrap_or_else(|| vec![KeyPrefix::every()]).into();
            let rights = Rights { scopes: scopes?.into_iter().collect(), prefixes };
            Some(TokenEntry { name: name?, sha256: sha256?, rights, expires })
        })();
        (entry.filter(|_| self.mistakes.is_empty()), self.mistakes)
    }

    fn value(&self, key: &str) -> Option<&DeValue<'_>> {
        let mut entries = self.table.iter();
        entries.find(|(name, _)| name.get_ref() == key).map(|(_, value)| value.get_ref())
    }

    fn text<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let parsed = match self.value(key)? {
            DeValue::String(text) => parse(text),
            DeValue::Datetime(time) => parse(&time.to_string()),
            _ => Err("is not a text: put it into quotes".to_owned()),
        };
        self.keep(key, parsed)
    }

    fn list<T>(&mut self, key: &str, parse: impl Fn(&[&str]) -> Result<T, String>) -> Option<T> {
        const REMEDY: &str = "is not a list of texts: write for example [\"a\", \"b\"]";
        let parsed = match self.value(key)? {
            DeValue::Array(parts) => {
                let texts: Option<Vec<_>> =
                    parts.iter().map(|part| part.get_ref().as_str()).collect();
                texts.ok_or_else(|| REMEDY.to_owned()).and_then(|texts| parse(&texts))
            }
            _ => Err(REMEDY.to_owned()),
        };
        self.keep(key, parsed)
    }

    fn keep<T>(&mut self, key: &str, parsed: Result<T, String>) -> Option<T> {
        parsed.map_err(|mistake| self.mistakes.push(format!("{key} {mistake}"))).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn read(text: &str) -> Result<Vec<TokenEntry>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read_tokens(file.path()).map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_token_is_what_is_written() {
        let text = format!(
            "[[token]]\nname = 'ci'\nsha256 = '{SHA256}'\nscopes = ['read', 'list']\n\
             prefixes = ['a/b/', 'c']\nexpires = 2027-01-31\n\
             [[token]]\nname = 'all'\nsha256 = '{}'\nscopes = ['admin']\n",
            "0".repeat(64)
        );
        let tokens = read(&text).unwrap();
        let scopes: Vec<_> = tokens[0].rights.scopes.iter().collect();
        assert_eq!(scopes, [Scope::Read, Scope::List]);
        assert_eq!(tokens[0].rights.prefixes.len(), 2);
        assert_eq!(tokens[0].expires, Some(parse_expiry("2027-01-31T00:00:00Z").unwrap()));
        assert_eq!((&*tokens[1].name, tokens[1].expires), ("all", None));
        assert_eq!(*tokens[1].rights.prefixes, [KeyPrefix::every()]);
        assert_eq!(read("token = []").unwrap(), []);
    }

    #[test]
    fn mistakes_are_named_with_their_line_and_quote_no_secret() {
        let valid = format!("[[token]]\nname = 'a'\nsha256 = '{SHA256}'\nscopes = ['read']\n");
        for (text, named) in [
            (String::new(), "write `token = []`"),
            ("[[token".to_owned(), "not TOML"),
            ("token = 1".to_owned(), "[[token]] above each"),
            (format!("{valid}{valid}"), "two tokens have the name `a`"),
            (format!("{valid}{}", valid.replace("'a'", "'b'")), "are the same one"),
            (format!("other = 1\n{valid}"), "[[token]] tables only"),
            (valid.replace("name = 'a'\n", ""), "name is missing"),
            (valid.replace("scopes = ['read']", "scopes = []"), "scopes has no scope"),
            (valid.replace("'read'", "'reed'"), "`reed` is no scope"),
            (valid.replace(SHA256, "pst_canary"), "sha256 is not 64"),
            (format!("{valid}expires = 'soon'"), "expires is no date"),
            (format!("{valid}prefixes = []"), "empty list"),
            (format!("{valid}prefixes = ['/a']"), "is no prefix of keys"),
            (format!("{valid}prefix = ['a']"), "did you mean prefixes?"),
            (format!("{valid}canary = 1"), "none of a token's"),
        ] {
            let found = read(&text).unwrap_err();
            assert!(found.contains(named), "{named:?} is not in {found}");
            assert!(!found.contains("canary"), "{found}");
        }
        assert!(read(&valid.replace("'a'", "'a b'")).unwrap_err().contains(":1)"));
    }
}
