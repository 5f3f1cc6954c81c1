//! The TOML file's part: its text to values by `section.key`, every unknown name a mistake.
//!
//! Messages name a key and a line, and never quote the file: the line may hold a secret.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::problems::Problems;
use super::settings::{Form, REFUSED_SECTIONS, RESERVED, SECTIONS, SETTINGS, Setting};
use super::slip;

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

/// Every known key of a file.
#[derive(Default)]
pub(super) struct FileValues(BTreeMap<&'static str, FileValue>);

impl FileValues {
    pub(super) fn get(&self, key: &str) -> Option<&FileValue> {
        self.0.get(key)
    }

    pub(super) fn read(text: &str, name: &str, problems: &mut Problems) -> Self {
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut walk = Walk { text, name, problems, values: BTreeMap::new() };
        for error in &errors {
            let line = error.span().map_or(1, |span| walk.line(span.start));
            walk.problems.push(format!("{name}:{line}"), format!("not TOML: {}", error.message()));
        }
        // A file that was read in part would give mistakes that are none.
        if errors.is_empty() {
            walk.document(document.get_ref());
        }
        Self(walk.values)
    }
}

struct Walk<'a> {
    text: &'a str,
    name: &'a str,
    problems: &'a mut Problems,
    values: BTreeMap<&'static str, FileValue>,
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
            if REFUSED_SECTIONS.contains(&name) {
                self.problems.push(place, "is not in this version: remove it");
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
            if let Some(setting) = Setting::by_key(&key) {
                match text_of(setting, value) {
                    Ok(text) => {
                        let at = setting.key.expect("found by its key");
                        self.values.insert(at, FileValue { text, place });
                    }
                    Err(text) => self.problems.push(place, text),
                }
            } else if RESERVED.iter().any(|reserved| reserved.key == Some(key.as_str())) {
                self.problems.push(place, "is not in this version: remove it");
            } else {
                self.problems
                    .push(place, format!("is no key{}", meant_key(section, name.get_ref())));
            }
        }
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
    match home.or_else(|| slip::nearest(name, SECTIONS.iter().copied())) {
        Some(meant) => format!(": did you mean {meant}?"),
        None => format!(": sections are {}", SECTIONS.join(", ")),
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

fn bare(key: &'static str) -> &'static str {
    key.split_once('.').map_or(key, |(_, name)| name)
}

fn text_of(setting: &Setting, value: &Spanned<DeValue<'_>>) -> Result<FileText, String> {
    match value.get_ref() {
        DeValue::String(text) => Ok(FileText::Plain(text.to_string())),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map(|number| FileText::Plain(number.to_string()))
            .map_err(|_| "is too large a number".into()),
        DeValue::Array(parts) if setting.form == Form::List => {
            let texts: Option<Vec<_>> = parts.iter().map(|part| part.get_ref().as_str()).collect();
            match texts {
                Some(texts) => Ok(FileText::Plain(texts.join(","))),
                None => Err("is a list of something else than strings".into()),
            }
        }
        DeValue::Table(table) if setting.form == Form::Secret => reference(table),
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
