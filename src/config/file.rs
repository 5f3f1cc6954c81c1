//! The TOML file's part: its text to values by `section.key`, every unknown name a mistake.
//!
//! Messages name a key and a line, and never quote the file: the line may hold a secret.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::keys::{BACKEND_KEYS, BackendKey};
use super::problems::Problems;
use super::settings::{BACKEND_SECTION, Form, SECTIONS, SETTINGS, Setting};
use super::slip;
use super::tokens::{self, Place, TokenEntry};

/// The one key of a section that is a list of tables.
const TOKENS: &str = "auth.token";

/// What the file says of one setting.
pub(super) enum FileText {
    /// The text itself.
    Plain(String),
    /// `{ file = "…" }`: the text is in another file.
    InFile(PathBuf),
    /// `{ env = "…" }`: the text is in a variable.
    InVariable(String),
}

/// One key of the file.
pub(super) struct FileValue {
    pub(super) text: FileText,
    /// `server.listen (proofs.toml:3)`.
    pub(super) place: String,
}

/// Known keys, by their names.
type Values = BTreeMap<&'static str, FileValue>;

/// One `[[backend]]`.
pub(super) struct BackendTable {
    values: Values,
    /// `backend 2 (proofs.toml:7)`.
    pub(super) place: String,
}

impl BackendTable {
    pub(super) fn get(&self, key: &str) -> Option<&FileValue> {
        self.values.get(key)
    }
}

/// Every known key of a file.
#[derive(Default)]
pub(super) struct FileValues {
    /// By `section.key`.
    settings: Values,
    backends: Vec<BackendTable>,
    /// `[[auth.token]]`; with mistakes in them there are fewer than are written.
    tokens: Vec<TokenEntry>,
    has_tokens: bool,
}

impl FileValues {
    pub(super) fn get(&self, key: &str) -> Option<&FileValue> {
        self.settings.get(key)
    }

    /// In their order.
    pub(super) fn backends(&self) -> &[BackendTable] {
        &self.backends
    }

    /// Those that could be read.
    pub(super) fn tokens(&self) -> &[TokenEntry] {
        &self.tokens
    }

    /// Whether any are written.
    pub(super) fn has_tokens(&self) -> bool {
        self.has_tokens
    }

    /// Whether some `{ env = "…" }` names the variable.
    pub(super) fn refers_to(&self, variable: &str) -> bool {
        let of_backends = self.backends.iter().flat_map(|table| table.values.values());
        self.settings.values().chain(of_backends).any(|value| match &value.text {
            FileText::InVariable(name) => name == variable,
            FileText::Plain(_) | FileText::InFile(_) => false,
        })
    }

    pub(super) fn read(text: &str, name: &str, problems: &mut Problems) -> Self {
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut walk = Walk { text, name, problems, found: Self::default() };
        for error in &errors {
            let line = error.span().map_or(1, |span| walk.line(span.start));
            walk.problems.push(format!("{name}:{line}"), format!("not TOML: {}", error.message()));
        }
        // A file that was read in part would give mistakes that are none.
        if errors.is_empty() {
            walk.document(document.get_ref());
        }
        walk.found
    }
}

struct Walk<'a> {
    text: &'a str,
    name: &'a str,
    problems: &'a mut Problems,
    found: FileValues,
}

impl Walk<'_> {
    fn line(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
    }

    fn place(&self, key: &str, offset: usize) -> String {
        format!("{key} ({}:{})", self.name, self.line(offset))
    }

    fn document(&mut self, document: &DeTable<'_>) {
        for (section, value) in in_order(document) {
            let name = section.get_ref().as_ref();
            let place = self.place(name, section.span().start);
            if name == BACKEND_SECTION {
                self.backends(place, value);
            } else if !SECTIONS.contains(&name) {
                self.problems.push(place, format!("is no section{}", meant_section(name)));
            } else if let DeValue::Table(table) = value.get_ref() {
                self.section(name, table);
            } else {
                self.problems.push(place, format!("is a section: write [{name}]"));
            }
        }
    }

    fn section(&mut self, section: &str, table: &DeTable<'_>) {
        for (name, value) in in_order(table) {
            let key = format!("{section}.{}", name.get_ref());
            let place = self.place(&key, name.span().start);
            if key == TOKENS {
                let at = Place { text: self.text, file: self.name };
                self.found.tokens = tokens::of_array(TOKENS, value, &at, self.problems);
                self.found.has_tokens = true;
            } else if let Some(setting) = Setting::by_key(&key) {
                match text_of(setting.form, value) {
                    Ok(text) => {
                        let at = setting.key.expect("found by its key");
                        self.found.settings.insert(at, FileValue { text, place });
                    }
                    Err(text) => self.problems.push(place, text),
                }
            } else {
                self.problems
                    .push(place, format!("is no key{}", meant_key(section, name.get_ref())));
            }
        }
    }

    fn backends(&mut self, place: String, value: &Spanned<DeValue<'_>>) {
        const REMEDY: &str = "is a list of tables: write [[backend]] above each";
        let DeValue::Array(tables) = value.get_ref() else {
            self.problems.push(place, REMEDY);
            return;
        };
        for (index, table) in tables.iter().enumerate() {
            let place = self.place(&format!("backend {}", index + 1), table.span().start);
            let DeValue::Table(table) = table.get_ref() else {
                self.problems.push(place, REMEDY);
                continue;
            };
            let values = self.backend(table);
            self.found.backends.push(BackendTable { values, place });
        }
    }

    fn backend(&mut self, table: &DeTable<'_>) -> Values {
        let mut values = Values::new();
        for (name, value) in in_order(table) {
            let place = self.place(&format!("backend.{}", name.get_ref()), name.span().start);
            let Some(key) = BackendKey::by_name(name.get_ref()) else {
                let text = format!("is no key{}", meant_backend_key(name.get_ref()));
                self.problems.push(place, text);
                continue;
            };
            match text_of(key.form, value) {
                Ok(text) => drop(values.insert(key.name, FileValue { text, place })),
                Err(text) => self.problems.push(place, text),
            }
        }
        values
    }
}

/// The entries as they stand in the file, so that mistakes are told in that order.
fn in_order<'a, 'i>(
    table: &'a DeTable<'i>,
) -> Vec<(&'a Spanned<DeString<'i>>, &'a Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

fn meant_section(name: &str) -> String {
    // A key outside of any section is the commonest slip of all.
    let home = SETTINGS.iter().filter_map(|setting| setting.key).find(|key| bare(key) == name);
    let sections = SECTIONS.iter().copied().chain([BACKEND_SECTION]);
    match home.or_else(|| slip::nearest(name, sections)) {
        Some(meant) => format!(": did you mean {meant}?"),
        None => format!(": sections are {} and [[backend]]", SECTIONS.join(", ")),
    }
}

fn meant_key(section: &str, name: &str) -> String {
    let keys = || SETTINGS.iter().filter_map(|setting| setting.key);
    let elsewhere = keys().find(|key| bare(key) == name);
    let here = keys().filter(|key| key.split_once('.').is_some_and(|(first, _)| first == section));
    let nearest = || slip::nearest(name, here.map(bare)).map(|meant| format!("{section}.{meant}"));
    match elsewhere.map(str::to_owned).or_else(nearest) {
        Some(meant) => format!(": did you mean {meant}?"),
        None => ": remove it".into(),
    }
}

fn meant_backend_key(name: &str) -> String {
    match slip::nearest(name, BACKEND_KEYS.iter().map(|key| key.name)) {
        Some(meant) => format!(": did you mean {meant}?"),
        None => ": remove it".into(),
    }
}

fn bare(key: &'static str) -> &'static str {
    key.split_once('.').map_or(key, |(_, name)| name)
}

fn text_of(form: Form, value: &Spanned<DeValue<'_>>) -> Result<FileText, String> {
    match value.get_ref() {
        DeValue::String(text) => Ok(FileText::Plain(text.to_string())),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map(|number| FileText::Plain(number.to_string()))
            .map_err(|_| "is too large a number".into()),
        DeValue::Boolean(truth) => Ok(FileText::Plain(truth.to_string())),
        DeValue::Array(parts) if form == Form::List => {
            let texts: Option<Vec<_>> = parts.iter().map(|part| part.get_ref().as_str()).collect();
            match texts {
                Some(texts) => Ok(FileText::Plain(texts.join(","))),
                None => Err("is a list of something else than strings".into()),
            }
        }
        DeValue::Table(table) if form == Form::Secret => reference(table),
        other => Err(format!("is a {}: write a string or a number", other.type_str())),
    }
}

fn reference(table: &DeTable<'_>) -> Result<FileText, String> {
    const REMEDY: &str = "write a string, { file = \"path\" } or { env = \"NAME\" }";
    let mut entries = table.iter().map(|(name, value)| (name.get_ref().as_ref(), value.get_ref()));
    match (entries.next(), entries.next()) {
        (Some(("file", DeValue::String(path))), None) => {
            Ok(FileText::InFile(PathBuf::from(path.as_ref())))
        }
        (Some(("env", DeValue::String(name))), None) => Ok(FileText::InVariable(name.to_string())),
        _ => Err(format!("is neither a text nor one reference: {REMEDY}")),
    }
}
