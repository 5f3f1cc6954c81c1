//! The lists of settings for people: in `--help`, and as the README's tables.

use std::fmt::Write as _;
use std::process::ExitCode;

use super::Report;
use crate::config::{BACKEND_KEYS, BackendKey, SETTINGS, Setting};

/// The tail of `--help`.
pub(super) fn help() -> String {
    let mut text = String::from(
        "Settings: environment variable, key of the TOML file, default, and meaning. Durations are \
         in milliseconds; bytes may be written as 64MiB; an empty variable counts as unset.\n",
    );
    for Setting { variable, key, default, help, .. } in SETTINGS {
        let key = key.map(|key| format!("{key}, ")).unwrap_or_default();
        let default = default.map_or("unset".into(), |value| format!("default {value}"));
        // A `String` takes any text.
        let _ = write!(text, "\n  {variable} ({key}{default})\n      {help}");
    }
    text.push_str(
        "\n\nKeys of a [[backend]], of which the TOML file may have several: default, and meaning.\n",
    );
    for BackendKey { name, default, help, .. } in BACKEND_KEYS {
        let default = default.map_or("unset".into(), |value| format!("default {value}"));
        let _ = write!(text, "\n  {name} ({default})\n      {help}");
    }
    text
}

/// One Markdown row for each setting, under a head of two rows.
pub fn settings_table() -> String {
    let mut text = String::from("| variable | TOML key | default | meaning |\n|---|---|---|---|\n");
    for Setting { variable, key, default, help, .. } in SETTINGS {
        let key = key.map(|key| format!("`{key}`")).unwrap_or_default();
        let default = default.map_or("unset".into(), |value| format!("`{value}`"));
        let _ = writeln!(text, "| `{variable}` | {key} | {default} | {help} |");
    }
    text
}

/// The same for each key of a `[[backend]]`.
pub fn backend_keys_table() -> String {
    let mut text = String::from("| key of a `[[backend]]` | default | meaning |\n|---|---|---|\n");
    for BackendKey { name, default, help, .. } in BACKEND_KEYS {
        let default = default.map_or("unset".into(), |value| format!("`{value}`"));
        let _ = writeln!(text, "| `{name}` | {default} | {help} |");
    }
    text
}

/// Prints the README's tables.
pub fn run_reference() -> ExitCode {
    let out = format!("{}\n{}", settings_table(), backend_keys_table());
    Report { out, err: String::new(), code: 0 }.print()
}
