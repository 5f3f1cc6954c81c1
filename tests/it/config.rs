//! Configuration as a person gives it: variables, files, mistakes, and the files we ship.

mod auth;
mod buckets;
mod files;
mod mistakes;
mod pool;
mod proxies;
mod secrets;
mod tls;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use proof_storage::config::{Config, Loaded, Problems, Sources};

const CANARY: &str = "canary-of-thirty-two-bytes-and-more";

/// 32 bytes in base64.
const KEY: &str = "Y2FuYXJ5LWNhbmFyeS1jYW5hcnktY2FuYXJ5LWNhbmE=";

/// A folder with a configuration file in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn with(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("proofs.toml"), text).unwrap();
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("proofs.toml")
    }
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
}

fn load(pairs: &[(&str, &str)]) -> Result<Loaded, Problems> {
    Config::load(Sources { environment: variables(pairs), file: None })
}

fn load_file(text: &str, pairs: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let folder = Folder::with(text);
    Config::load(Sources { environment: variables(pairs), file: Some(folder.file()) })
}

/// The mistakes, each as `place: text` with the folder's name taken out.
fn mistakes(result: Result<Loaded, Problems>) -> Vec<String> {
    let problems = result.expect_err("a mistake was expected");
    problems
        .iter()
        .map(|problem| {
            let place = match problem.place.rsplit_once('/') {
                Some((before, name)) => {
                    let key = before.split_once('(').map_or("", |(key, _)| key);
                    if key.is_empty() { name.to_owned() } else { format!("{key}({name}") }
                }
                None => problem.place.clone(),
            };
            format!("{place}: {}", problem.text)
        })
        .collect()
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}
