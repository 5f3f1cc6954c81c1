//! The files that we ship, held against the table of settings.

use proof_storage::config::{Config, LogFormat, SETTINGS, Sources};

use super::{load_file, mistakes};

#[test]
fn default_toml_is_the_default_and_shows_every_setting() {
    let path = crate::project_file("config/default.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let loaded = Config::load(Sources { environment: vec![], file: Some(path) }).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(undocumented(&text), Vec::<String>::new());

    // The examples that are commented out are legal too.
    let examples: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if assignment(rest).is_some() => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let examples = examples.replace("/run/secrets/", "/no/such/folder/");
    let examples = examples.replace("/etc/proof-storage/tls/", "/no/such/folder/");
    let found = mistakes(load_file(&examples, &[]));
    assert_eq!(found.len(), 12, "only the twelve files of secrets are missing: {found:?}");
    assert!(found.iter().all(|text| text.contains("cannot read /no/such/folder/")), "{found:?}");
}

#[test]
fn a_setting_missing_from_default_toml_is_noticed() {
    let text = std::fs::read_to_string(crate::project_file("config/default.toml")).unwrap();
    for (from, to) in [
        ("\ndrain_delay = 0\n", "\n"),
        ("drain_timeout = 30000", "drain_timeout = 30001"),
        ("STORAGE_TIMEOUT", "STORAGE_TIMEOU"),
        ("# cdn_url =", "# cdn ="),
        ("key_prefix = \"proofs/\"", "# key_prefix = \"x/\""),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        assert_eq!(undocumented(&changed).len(), 1, "{from}");
    }
}

/// Settings that a file like `config/default.toml` fails to show with variable, comment and
/// default.
fn undocumented(text: &str) -> Vec<String> {
    let mut shown = Vec::new();
    let (mut section, mut comment) = ("", String::new());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
        }
        let hidden = line.strip_prefix("# ").and_then(assignment);
        if let Some((name, value)) = assignment(line).or(hidden) {
            let words: Vec<String> = comment.split_whitespace().map(str::to_owned).collect();
            shown.push((format!("{section}.{name}"), value, hidden.is_some(), words));
        }
        match line.strip_prefix('#') {
            Some(rest) if hidden.is_none() => comment.push_str(rest),
            _ => comment.clear(),
        }
    }
    let documented = |key: &str, variable: &str, default: Option<&str>| {
        shown.iter().any(|(at, value, hidden, words)| {
            let is_default = match default {
                Some(default) => value.trim_matches('"') == default,
                None => *hidden,
            };
            // A comment says more than the variable's name.
            at == key && is_default && words.len() > 3 && words.iter().any(|w| w == variable)
        })
    };
    SETTINGS
        .iter()
        .filter_map(|setting| Some((setting.key?, setting)))
        .filter(|(key, setting)| !documented(key, setting.variable, setting.default))
        .map(|(key, _)| key.to_owned())
        .collect()
}

/// `name = value`, where the line is one.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(" = ")?;
    let bare = |c: char| c.is_ascii_lowercase() || c == '_';
    (!name.is_empty() && name.chars().all(bare)).then_some((name, value))
}

#[test]
fn docker_toml_is_sound() {
    let file = Some(crate::project_file("config/docker.toml"));
    let sources = |auth: &str| {
        let environment = vec![("STORAGE_AUTH".into(), auth.into())];
        Sources { environment, file: file.clone() }
    };
    let found = mistakes(Config::load(sources("")));
    assert!(found.len() == 1 && found[0].starts_with("STORAGE_AUTH: "), "{found:?}");
    let loaded = Config::load(sources("anyone-may-do-anything")).unwrap();
    assert!(loaded.config.server.listen.ip().is_unspecified());
    assert_eq!(loaded.config.log.format, LogFormat::Json);
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn readme_shows_every_setting() {
    let readme = std::fs::read_to_string(crate::project_file("README.md")).unwrap();
    let table = proof_storage::cli::settings_table();
    assert_eq!(table.lines().count(), SETTINGS.len() + 2);
    for row in table.lines() {
        assert!(
            readme.lines().any(|line| line == row),
            "README.md lacks this row (`proof-storage reference` prints the table):\n{row}"
        );
    }
}
