//! The environment's part: our variables, read with envy, and the names that are nobody's.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::problems::Problems;
use super::settings::SETTINGS;
use super::slip;

const PREFIX: &str = "STORAGE_";

/// The process's variables, checked for slips of the hand.
#[derive(Default)]
pub(super) struct Environment {
    /// Ours, by the name without prefix in lower case, as envy gives them; no empty one.
    ours: BTreeMap<String, String>,
    /// All of them, for `{ env = "…" }` of the file.
    all: BTreeMap<String, String>,
}

impl Environment {
    pub(super) fn read(
        variables: Vec<(OsString, OsString)>,
        problems: &mut Problems,
        warnings: &mut Vec<String>,
    ) -> Self {
        let mut all = BTreeMap::new();
        for (name, value) in variables {
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                // `NAME=` in a manifest means that nobody filled it in.
                Ok(value) if value.is_empty() => {}
                Ok(value) => drop(all.insert(name, value)),
                Err(_) if is_known(&name) => problems.push(name, "is not UTF-8"),
                Err(_) => {}
            }
        }
        for name in all.keys() {
            check_name(name, problems, warnings);
        }
        // envy ignores case, and would take `storage_log` for a second `STORAGE_LOG`.
        let exact = all.iter().filter(|(name, _)| name.starts_with(PREFIX));
        let exact = exact.map(|(name, value)| (name.clone(), value.clone()));
        let ours =
            envy::prefixed(PREFIX).from_iter(exact).expect("any map of texts is a map of texts");
        Self { ours, all }
    }

    /// The text of one of our variables.
    pub(super) fn setting(&self, variable: &str) -> Option<&str> {
        match variable.strip_prefix(PREFIX) {
            Some(name) => self.ours.get(&name.to_ascii_lowercase()).map(String::as_str),
            // Those of R2 have a prefix of their own.
            None => self.any(variable),
        }
    }

    /// The text of any variable.
    pub(super) fn any(&self, variable: &str) -> Option<&str> {
        self.all.get(variable).map(String::as_str)
    }
}

fn known() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|setting| setting.variable)
}

fn is_known(name: &str) -> bool {
    known().any(|variable| variable == name)
}

fn check_name(name: &str, problems: &mut Problems, warnings: &mut Vec<String>) {
    let upper = name.to_ascii_uppercase();
    let Some(suffix) = upper.strip_prefix(PREFIX).filter(|_| !is_known(name)) else { return };
    let suffixes = known().filter_map(|variable| variable.strip_prefix(PREFIX));
    match slip::nearest(suffix, suffixes) {
        Some(meant) if !slip::is_service_link(&upper) => {
            problems.push(name, format!("is no setting: did you mean {PREFIX}{meant}?"));
        }
        _ => warnings.push(format!("{name} is no setting of this service and has no effect")),
    }
}
