//! Finds each setting's text (variable over file over default), has it parsed, and keeps every
//! mistake, so that one run shows them all.

use secrecy::{ExposeSecret, SecretString};

use super::environment::Environment;
use super::file::{BackendTable, FileText, FileValue, FileValues};
use super::keys::BackendKey;
use super::problems::Problems;
use super::settings::{Form, Setting};
use super::url;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// `--config`.
    CommandLine,
    /// The variable of the setting.
    Variable,
    /// The TOML file: key, file and line.
    File(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::CommandLine => f.write_str("command line"),
            Self::Variable => f.write_str("variable"),
            Self::File(place) => f.write_str(place),
        }
    }
}

/// A setting as it takes effect, fit to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// Name of the variable, which is the name of the setting.
    pub variable: &'static str,
    /// The text; `None` = unset, `(secret)` for secrets.
    pub value: Option<String>,
    /// Where it came from.
    pub source: Source,
}

/// A text that is found but not yet understood. Secret, because it may be one.
struct Found {
    text: SecretString,
    source: Source,
}

/// Reads settings one by one.
pub(super) struct Reader<'a> {
    pub(super) environment: &'a Environment,
    pub(super) file: &'a FileValues,
    pub(super) problems: &'a mut Problems,
    pub(super) warnings: &'a mut Vec<String>,
    pub(super) effective: Vec<Effective>,
}

impl<'a> Reader<'a> {
    /// A setting that always has a value. A mistaken one gives the default, and the mistake is
    /// reported at the end.
    pub(super) fn value<T>(
        &mut self,
        setting: &'static Setting,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T {
        if let Some(value) = self.option(setting, &parse) {
            return value;
        }
        let default = setting.default.expect("read as a value, so it has a default");
        parse(default).expect("every default is legal: a test reads them all")
    }

    /// A setting that may be unset.
    pub(super) fn option<T>(
        &mut self,
        setting: &'static Setting,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Some(found) = self.find(setting) else {
            let value = setting.default.map(str::to_owned);
            self.note(setting, value, Source::Default);
            return None;
        };
        let text = found.text.expose_secret();
        match parse(text) {
            Ok(value) => {
                let shown = match setting.form {
                    Form::Secret => "(secret)".into(),
                    _ => url::without_query(text),
                };
                self.note(setting, Some(shown.into_owned()), found.source);
                Some(value)
            }
            Err(mistake) => {
                let place = match found.source {
                    Source::File(place) => place,
                    _ => setting.variable.to_owned(),
                };
                self.problems.push(place, mistake);
                None
            }
        }
    }

    /// Reports a setting that something else makes necessary.
    pub(super) fn missing(&mut self, setting: &'static Setting, why: &str) {
        // Where it was given and is mistaken, that is reported already.
        if self.find(setting).is_none() {
            self.problems.push(setting.variable, format!("is not set: {why}"));
        }
    }

    /// Reports a setting that does not go with another.
    pub(super) fn mistake(&mut self, setting: &'static Setting, text: &str) {
        let in_file = setting.key.and_then(|key| self.file.get(key));
        let place = match (self.environment.setting(setting.variable), in_file) {
            (None, Some(value)) => &value.place,
            _ => setting.variable,
        };
        self.problems.push(place, text);
    }

    /// Reports what is wrong at a place of the file.
    pub(super) fn problem(&mut self, place: &str, text: &str) {
        self.problems.push(place, text);
    }

    /// Whether anybody says anything of a setting.
    pub(super) fn says(&self, setting: &Setting) -> bool {
        let in_file = setting.key.and_then(|key| self.file.get(key));
        self.environment.setting(setting.variable).is_some() || in_file.is_some()
    }

    /// Whether a setting is said in exactly this way.
    pub(super) fn reads(&mut self, setting: &Setting, text: &str) -> bool {
        self.says(setting)
            && self.find(setting).is_some_and(|found| found.text.expose_secret() == text)
    }

    /// Reports settings that are said and must not be, and shows them all as unset. A variable
    /// that the file refers to is said for that reference.
    pub(super) fn supersede(&mut self, settings: &[&'static Setting], text: &str) {
        for setting in settings {
            if self.says(setting) && !self.file.refers_to(setting.variable) {
                self.mistake(setting, text);
            }
            self.note(setting, None, Source::Default);
        }
    }

    /// The `[[backend]]`s of the file.
    pub(super) fn tables(&self) -> &'a [BackendTable] {
        self.file.backends()
    }

    /// Reads one of them.
    pub(super) fn table<'r>(&'r mut self, table: &'a BackendTable) -> TableReader<'r, 'a> {
        TableReader { reader: self, table }
    }

    /// Warns of settings that are set and mean nothing.
    pub(super) fn warn_unused(&mut self, settings: &[&'static Setting], when: &str) {
        for setting in settings {
            let shown = self.effective.iter().find(|shown| shown.variable == setting.variable);
            let place = match shown.map(|shown| &shown.source) {
                Some(Source::Variable) => setting.variable.to_owned(),
                Some(Source::File(place)) => place.clone(),
                _ => continue,
            };
            self.warnings.push(format!("{place} has no effect {when}"));
        }
    }

    pub(super) fn warn(&mut self, text: &str) {
        self.warnings.push(text.to_owned());
    }

    fn note(&mut self, setting: &'static Setting, value: Option<String>, source: Source) {
        self.effective.push(Effective { variable: setting.variable, value, source });
    }

    fn find(&mut self, setting: &Setting) -> Option<Found> {
        if let Some(text) = self.environment.setting(setting.variable) {
            return Some(Found { text: text.into(), source: Source::Variable });
        }
        let value = self.file.get(setting.key?)?;
        self.resolve(value)
    }

    /// The text that the file gives or refers to.
    fn resolve(&mut self, value: &FileValue) -> Option<Found> {
        let source = Source::File(value.place.clone());
        match &value.text {
            FileText::Plain(text) => Some(Found { text: text.as_str().into(), source }),
            FileText::InVariable(name) => match self.environment.any(name) {
                Some(text) => Some(Found { text: text.into(), source }),
                None => {
                    self.problems.push(&value.place, format!("the variable {name} is not set"));
                    None
                }
            },
            FileText::InFile(path) => match std::fs::read_to_string(path) {
                Ok(text) => {
                    Some(Found { text: text.trim_end_matches(['\r', '\n']).into(), source })
                }
                Err(error) => {
                    let path = path.display();
                    self.problems.push(&value.place, format!("cannot read {path}: {error}"));
                    None
                }
            },
        }
    }
}

/// Reads the keys of one `[[backend]]`.
pub(super) struct TableReader<'r, 'a> {
    reader: &'r mut Reader<'a>,
    table: &'a BackendTable,
}

impl<'a> TableReader<'_, 'a> {
    /// A key that may be unset. A mistaken one counts as unset, and the mistake is reported.
    pub(super) fn option<T>(
        &mut self,
        key: &'static BackendKey,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.table.get(key.name)?;
        let found = self.reader.resolve(value)?;
        match parse(found.text.expose_secret()) {
            Ok(value) => Some(value),
            Err(mistake) => {
                self.reader.problems.push(&value.place, mistake);
                None
            }
        }
    }

    /// Whether the table has the key.
    pub(super) fn says(&self, key: &BackendKey) -> bool {
        self.table.get(key.name).is_some()
    }

    /// Where the table begins.
    pub(super) fn place(&self) -> &'a str {
        &self.table.place
    }

    /// Reports a key that is needed. Where it was given and is mistaken, that is reported already.
    pub(super) fn missing(&mut self, key: &'static BackendKey, why: &str) {
        if !self.says(key) {
            let text = format!("{} is not set: {why}", key.name);
            self.reader.problems.push(self.place(), text);
        }
    }

    /// Reports a key that does not go with another.
    pub(super) fn mistake(&mut self, key: &'static BackendKey, text: &str) {
        let place = self.table.get(key.name).map_or(self.place(), |value| &value.place);
        self.reader.problems.push(place, text);
    }

    /// Warns of a key.
    pub(super) fn warn(&mut self, key: &'static BackendKey, text: &str) {
        let place = self.table.get(key.name).map_or(self.place(), |value| &value.place);
        let warning = format!("{place} {text}");
        self.reader.warnings.push(warning);
    }
}
