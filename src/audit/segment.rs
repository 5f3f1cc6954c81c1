//! Segment files: `audit-00000001.jsonl` and so on, and their folder.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const PREFIX: &str = "audit-";
const SUFFIX: &str = ".jsonl";

/// One file of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// From 1.
    pub number: u64,
    /// Where.
    pub path: PathBuf,
}

impl Segment {
    /// The place of a segment in a folder.
    pub fn of(folder: &Path, number: u64) -> Self {
        Self { number, path: folder.join(format!("{PREFIX}{number:08}{SUFFIX}")) }
    }

    /// Its file name.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Makes the file, which is not there yet, and its name durable.
    pub fn create(&self, folder: &Path) -> io::Result<File> {
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&self.path)?;
        sync_folder(folder)?;
        Ok(file)
    }
}

/// The segments of a folder, by number.
pub fn list(folder: &Path) -> io::Result<Vec<Segment>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| {
            let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
            let plain = digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
            plain.then(|| digits.parse().ok()).flatten()
        });
        found.extend(number.map(|number| Segment { number, path: folder.join(&name) }));
    }
    found.sort_by_key(|segment| segment.number);
    Ok(found)
}

/// Makes names in a folder durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
