//! `[audit]`: whether it is written down who changed what, and how.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::parse;
use super::reader::Reader;
use super::secret::SigningKey;
use super::settings as name;
use super::{DAY_MS, TIB};

/// Where the audit log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditMode {
    /// Nowhere: there is none.
    Off,
    /// Between the lines of the service's log.
    Log,
    /// To files.
    File,
}

/// When a line counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditSync {
    /// When the disk has it.
    BeforeAnswer,
    /// When the operating system has it.
    EverySecond,
}

/// What happens to changes while lines cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditFailure {
    /// They are refused.
    Refuse,
    /// They go on.
    Serve,
}

/// Whether it is written down who changed what, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditConfig {
    /// `STORAGE_AUDIT`: `off`, `log` or `file`. Default `off`.
    pub mode: AuditMode,
    /// `STORAGE_AUDIT_DIR`: folder of the files. Default: `audit` in the data directory.
    pub dir: Option<PathBuf>,
    /// `STORAGE_AUDIT_SEGMENT_BYTES` (bytes): from which the next file begins. Default 64 MiB.
    pub segment_bytes: u64,
    /// `STORAGE_AUDIT_DAILY`: whether each day (UTC) begins a file. Default no.
    pub daily: bool,
    /// `STORAGE_AUDIT_KEEP`: files that stay. Default: all.
    pub keep: Option<usize>,
    /// `STORAGE_AUDIT_SYNC`: `before-answer` or `every-second`. Default `before-answer`.
    pub sync: AuditSync,
    /// `STORAGE_AUDIT_FAILURE`: `refuse` or `serve`. Default `refuse`.
    pub on_failure: AuditFailure,
    /// `STORAGE_AUDIT_KEY_FILE` or `STORAGE_AUDIT_KEY`: makes a chain that nobody else can make.
    /// Default: none.
    pub key: Option<SigningKey>,
    /// `STORAGE_AUDIT_HEAD_INTERVAL` (ms): between two notes of the chain's head in the log. Default
    /// 300 000.
    pub head_interval: Duration,
}

impl AuditConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let modes = &[("off", AuditMode::Off), ("log", AuditMode::Log), ("file", AuditMode::File)];
        let syncs =
            &[("before-answer", AuditSync::BeforeAnswer), ("every-second", AuditSync::EverySecond)];
        let failures = &[("refuse", AuditFailure::Refuse), ("serve", AuditFailure::Serve)];
        let config = Self {
            mode: reader.value(&name::AUDIT, parse::word(modes)),
            dir: reader.option(&name::AUDIT_DIR, parse::path),
            segment_bytes: reader.value(&name::AUDIT_SEGMENT_BYTES, parse::bytes(1024..=TIB)),
            daily: reader.value(&name::AUDIT_DAILY, parse::yes_or_no),
            keep: reader.option(&name::AUDIT_KEEP, parse::count(1..=1_000_000)),
            sync: reader.value(&name::AUDIT_SYNC, parse::word(syncs)),
            on_failure: reader.value(&name::AUDIT_FAILURE, parse::word(failures)),
            key: key(reader),
            head_interval: reader
                .value(&name::AUDIT_HEAD_INTERVAL, parse::milliseconds(1000..=DAY_MS)),
        };
        let of_file = [
            &name::AUDIT_DIR,
            &name::AUDIT_SEGMENT_BYTES,
            &name::AUDIT_DAILY,
            &name::AUDIT_KEEP,
            &name::AUDIT_SYNC,
        ];
        let of_all = [
            &name::AUDIT_FAILURE,
            &name::AUDIT_KEY,
            &name::AUDIT_KEY_FILE,
            &name::AUDIT_HEAD_INTERVAL,
        ];
        if config.mode != AuditMode::File {
            reader.warn_unused(&of_file, "without STORAGE_AUDIT=file");
        }
        if config.mode == AuditMode::Off {
            reader.warn_unused(&of_all, "without STORAGE_AUDIT");
        }
        config
    }
}

/// Reads a key's file: a line break at the end is not part of the key.
///
/// # Errors
/// It cannot be read, or is too short.
pub fn read_audit_key(path: &str) -> Result<SigningKey, String> {
    let text = std::fs::read_to_string(path);
    let text = SecretString::from(text.map_err(|error| format!("cannot read {path}: {error}"))?);
    SigningKey::new(text.expose_secret().trim_end_matches(['\r', '\n']).as_bytes())
}

fn key(reader: &mut Reader<'_>) -> Option<SigningKey> {
    let file = reader.option(&name::AUDIT_KEY_FILE, read_audit_key);
    let text = reader.option(&name::AUDIT_KEY, |text| SigningKey::new(text.as_bytes()));
    if file.is_some() && text.is_some() {
        reader
            .mistake(&name::AUDIT_KEY, "is said by STORAGE_AUDIT_KEY_FILE too: remove one of them");
    }
    file.or(text)
}
