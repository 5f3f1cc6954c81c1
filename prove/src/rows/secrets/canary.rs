//! What must not be found, and the looking for it.

use std::collections::BTreeSet;
use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use fastrand::Rng;
use memchr::memmem;

use crate::Result;

/// Where it may be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nowhere.
    Secret,
    /// In the answer to whom it belongs, and nowhere else.
    Sealed,
}

#[derive(Clone, Debug)]
struct Canary {
    name: String,
    kind: Kind,
    /// As it is, and as it may be written down.
    forms: Vec<Vec<u8>>,
    /// Whether it goes over the wire, rather than being given to the service.
    sent: bool,
    seen: bool,
}

/// Canaries, and what was found of them.
#[derive(Debug, Default)]
pub(super) struct Hunt {
    canaries: Vec<Canary>,
    /// By what they are.
    lures: Vec<(&'static str, Vec<u8>)>,
    found: Vec<String>,
    lured: BTreeSet<(&'static str, String)>,
    places: BTreeSet<String>,
    bytes: u64,
}

impl Hunt {
    /// A new canary of 48 letters.
    pub(super) fn canary(&mut self, name: &str, kind: Kind, rng: &mut Rng) -> String {
        let text = letters(rng);
        self.add(name, kind, text.as_bytes());
        text
    }

    /// Bytes that somebody else chose.
    pub(super) fn add(&mut self, name: &str, kind: Kind, bytes: &[u8]) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let forms =
            vec![bytes.to_vec(), hex.into_bytes(), BASE64_STANDARD.encode(bytes).into_bytes()];
        self.canaries.push(Canary { name: name.to_owned(), kind, forms, sent: false, seen: false });
    }

    /// The same of what a caller sends.
    pub(super) fn add_sent(&mut self, name: &str, kind: Kind, bytes: &[u8]) {
        self.add(name, kind, bytes);
        self.canaries.iter_mut().last().into_iter().for_each(|canary| canary.sent = true);
    }

    /// A text that has to be found.
    pub(super) fn lure(&mut self, name: &'static str, rng: &mut Rng) -> String {
        let text = letters(rng);
        self.lures.push((name, text.as_bytes().to_vec()));
        text
    }

    /// Looks for everything in some bytes of a place. `sealed`: also for what is stored sealed.
    pub(super) fn look(&mut self, place: &str, bytes: &[u8], sealed: bool) {
        self.places.insert(place.to_owned());
        self.bytes += bytes.len() as u64;
        let looked_for = |canary: &&mut Canary| sealed || canary.kind == Kind::Secret;
        for canary in self.canaries.iter_mut().filter(looked_for) {
            if canary.forms.iter().any(|form| memmem::find(bytes, form).is_some()) {
                canary.seen = true;
                let text = format!("{} is in the {place}", canary.name);
                if !self.found.contains(&text) {
                    self.found.push(text);
                }
            }
        }
        for (name, lure) in &self.lures {
            if memmem::find(bytes, lure).is_some() {
                self.lured.insert((name, place.to_owned()));
            }
        }
    }

    /// Looks into a file.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn file(&mut self, place: &str, path: &Path) -> Result<()> {
        let bytes = std::fs::read(path)?;
        self.look(place, &bytes, true);
        Ok(())
    }

    /// Looks into all files of a folder, and at their names.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub(super) fn folder(&mut self, place: &str, path: &Path) -> Result<()> {
        for entry in std::fs::read_dir(path)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            self.look(place, name.as_bytes(), true);
            if path.is_dir() {
                self.folder(place, &path)?;
            } else {
                self.file(place, &path)?;
            }
        }
        Ok(())
    }

    /// What was found where it must not be.
    pub(super) fn found(&self) -> &[String] {
        &self.found
    }

    /// Whether a lure was found in a place.
    pub(super) fn lured(&self, name: &'static str, place: &str) -> bool {
        self.lured.contains(&(name, place.to_owned()))
    }

    /// The same canaries, of which nothing was found yet.
    pub(super) fn again(&self) -> Self {
        let unseen = |canary: &Canary| Canary { seen: false, ..canary.clone() };
        Self { canaries: self.canaries.iter().map(unseen).collect(), ..Self::default() }
    }

    /// Names of canaries that were found nowhere.
    pub(super) fn missed(&self) -> Vec<String> {
        let missed = self.canaries.iter().filter(|canary| !canary.seen);
        missed.map(|canary| canary.name.clone()).collect()
    }

    /// Those that callers send, as they are.
    pub(super) fn sent(&self) -> impl Iterator<Item = &[u8]> {
        let sent = self.canaries.iter().filter(|canary| canary.sent);
        sent.filter_map(|canary| canary.forms.first().map(Vec::as_slice))
    }

    /// How many canaries there are.
    pub(super) fn canaries(&self) -> usize {
        self.canaries.len()
    }

    /// Kinds of places that were looked into.
    pub(super) fn places(&self) -> usize {
        self.places.len()
    }

    /// Bytes that were looked at.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// 48 letters.
pub(super) fn letters(rng: &mut Rng) -> String {
    std::iter::repeat_with(|| rng.alphanumeric()).take(48).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_found_in_any_form_and_a_sealed_one_only_where_it_must_not_be() {
        let mut hunt = Hunt::default();
        hunt.add("secret", Kind::Secret, b"abc");
        hunt.add("sealed", Kind::Sealed, b"xyz");
        hunt.look("log", b"nothing", true);
        hunt.look("answers", b"its owner gets xyz", false);
        assert_eq!(hunt.found(), [""; 0]);
        hunt.look("log", b"in hex: 616263", true);
        hunt.look("metrics", b"YWJj", true);
        hunt.look("bucket", b"xyz", true);
        assert_eq!(hunt.found().len(), 3);
        assert_eq!(hunt.missed(), [""; 0]);
        let mut again = hunt.again();
        again.look("control", b"abc", true);
        assert_eq!(again.missed(), ["sealed"]);
    }
}
