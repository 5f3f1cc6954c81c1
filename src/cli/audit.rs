//! `audit verify` and `audit head`: whether an audit log is whole, and how far it goes.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{EXIT_MISTAKE, Report};
use crate::audit::ChainKey;
use crate::audit::verify::{Asked, Finding, Verified, Wrong, verify};
use crate::config::read_audit_key;
use crate::model::Digest;

/// Exit code where all is whole but for a last line that is cut off.
const EXIT_TRUNCATED: u8 = 3;

/// What to do with an audit log.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum AuditCommand {
    /// Check that an audit log is whole and in order.
    ///
    /// Tells the first line that was edited, dropped, put elsewhere or cut off. Exits with 0 where there
    /// is none, with 3 where only the last line is cut off (a crash does that, and so does reading while
    /// it is written), else with 1. That whole lines are missing at the end shows only with --head.
    Verify(AuditFiles),
    /// Print how far an audit log goes, to be kept elsewhere and given to `verify --head` later.
    Head(AuditFiles),
}

/// The files of a log.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct AuditFiles {
    /// Folder of the log, or its files from the oldest to the newest.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// File with the key of the chain (STORAGE_AUDIT_KEY_FILE). May be given several times.
    #[arg(long = "key-file", value_name = "FILE")]
    pub key_files: Vec<String>,
    /// Hash that a line must have, as `audit head` or the log said. May be given several times.
    #[arg(long = "head", value_name = "HASH")]
    pub heads: Vec<String>,
    /// Number of a line that says what was set aside, once you have looked at it.
    #[arg(long = "accept", value_name = "SEQ")]
    pub accepted: Vec<u64>,
    /// The files are logs with other lines in between (STORAGE_AUDIT=log).
    #[arg(long)]
    pub log: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Does it.
pub fn run_audit(command: &AuditCommand) -> ExitCode {
    let (files, only_head) = match command {
        AuditCommand::Verify(files) => (files, false),
        AuditCommand::Head(files) => (files, true),
    };
    let asked = match files.asked() {
        Ok(asked) => asked,
        Err(err) => return Report { out: String::new(), err, code: EXIT_MISTAKE }.print(),
    };
    match verify(&files.paths, &asked) {
        Ok(found) => report(&found, only_head, files.json).print(),
        Err(error) => {
            let err = format!("the audit log cannot be read: {error}\n");
            Report { out: String::new(), err, code: EXIT_MISTAKE }.print()
        }
    }
}

impl AuditFiles {
    fn asked(&self) -> Result<Asked, String> {
        let mut mistakes = String::new();
        let mut keys = Vec::new();
        for path in &self.key_files {
            match read_audit_key(path) {
                Ok(key) => keys.push(ChainKey::new(key.expose())),
                Err(text) => mistakes += &format!("--key-file: {text}\n"),
            }
        }
        let mut heads = Vec::new();
        for text in &self.heads {
            match Digest::from_hex(text) {
                Ok(head) => heads.push(head),
                Err(_) => mistakes += &format!("--head: `{text}` is not 64 hexadecimal digits\n"),
            }
        }
        let asked = Asked { keys, heads, accepted: self.accepted.clone(), stream: self.log };
        if mistakes.is_empty() { Ok(asked) } else { Err(mistakes) }
    }
}

fn report(found: &Verified, only_head: bool, json: bool) -> Report {
    let code = match &found.wrong {
        None => 0,
        Some(Finding { wrong: Wrong::Truncated, .. }) => EXIT_TRUNCATED,
        Some(_) => 1,
    };
    let mut err = String::new();
    if let Some(Finding { wrong, file, line, seq, detail }) = &found.wrong {
        let word = serde_json::to_value(wrong).unwrap_or_default();
        err += word.as_str().unwrap_or_default();
        if let (Some(file), Some(line)) = (file, line) {
            err += &format!(" at {file}:{line}");
        }
        if let Some(seq) = seq {
            err += &format!(", which should be line {seq} of the chain");
        }
        err += &format!(": {detail}\n");
    }
    let mut out = String::new();
    if json {
        let document = serde_json::to_string_pretty(found).unwrap_or_default();
        return Report { out: document + "\n", err: String::new(), code };
    }
    if let (Some(first), Some(last), Some(head)) = (found.first, found.last, &found.head) {
        // A `String` takes any text.
        let _ = if only_head {
            writeln!(out, "{last} {head}")
        } else {
            writeln!(out, "lines {first} to {last} are whole and in order\nhead {last} {head}")
        };
    }
    if !only_head {
        for note in &found.notes {
            out += &format!("note: {note}\n");
        }
    }
    Report { out, err, code }
}
