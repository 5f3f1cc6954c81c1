//! Reading a log back: whether it is one chain, whole and in order, and if not, where it first is not.
//!
//! Needs the files alone, and the key where there is one. What a chain cannot show by itself, that its
//! end was cut off, shows by a head that was noted elsewhere ([`Asked::heads`]).

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::chain::{Alg, BEGINNING, Bad, ChainKey, Head, MAX_LINE, Read};
use super::segment;
use crate::model::Digest;

/// What is to be verified, and how.
#[derive(Debug, Default)]
pub struct Asked {
    /// Every key that lines were made with.
    pub keys: Vec<ChainKey>,
    /// Hashes that must be among those of the lines.
    pub heads: Vec<Digest>,
    /// Lines that say that whole lines were set aside, and have been looked at by a person.
    pub accepted: Vec<u64>,
    /// The lines stand among others, and chains may follow one another.
    pub stream: bool,
}

/// What is wrong with a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wrong {
    /// A line is not as it was written, or one before it was written anew.
    Edited,
    /// Lines are missing.
    Dropped,
    /// Lines stand in another order, or twice.
    Reordered,
    /// The last line is cut off: by a crash, or while it was being written, or by somebody.
    Truncated,
    /// A line is of another chain.
    Foreign,
    /// A line needs a key that was not given.
    UnknownKey,
    /// A line has no key, and must have one.
    Unkeyed,
    /// Whole lines did not go on the chain when the service was started, and were set aside.
    SetAside,
    /// The line of a head that was noted is not there: the end was cut off, or all was made anew.
    HeadMissing,
    /// There is no line.
    Empty,
}

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub wrong: Wrong,
    /// In which file.
    pub file: Option<String>,
    /// At which of its lines, from 1.
    pub line: Option<u64>,
    /// Which line of the chain it should be.
    pub seq: Option<u64>,
    /// In words.
    pub detail: String,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Lines up to the first that is wrong.
    pub lines: u64,
    /// Number of the first one.
    pub first: Option<u64>,
    /// Number of the last one.
    pub last: Option<u64>,
    /// Its hash.
    pub head: Option<String>,
    /// The chain's name.
    pub instance: Option<String>,
    /// Lines that nobody without the key can have made.
    pub keyed: u64,
    /// What is to be known and is not wrong.
    pub notes: Vec<String>,
    /// The first thing that is wrong.
    pub wrong: Option<Finding>,
}

/// The files of a log: of a folder its segments, else what is named, in this order.
///
/// # Errors
/// A folder cannot be read.
pub fn files(paths: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(segment::list(path)?.into_iter().map(|segment| segment.path));
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// Reads a log to its end, or to the first line that is wrong.
///
/// # Errors
/// A file cannot be read.
pub fn verify(paths: &[PathBuf], asked: &Asked) -> io::Result<Verified> {
    let mut run = Run {
        asked,
        head: None,
        found: Verified::default(),
        pruned: BTreeMap::new(),
        missing: asked.heads.clone(),
    };
    let files = files(paths)?;
    for (at, path) in files.iter().enumerate() {
        let wrong = run.file(path)?;
        if let Some(mut finding) = wrong {
            let missing = finding.seq.filter(|_| finding.wrong == Wrong::Dropped);
            if let Some(seq) = missing
                && stands_in(&files[at..], seq, asked)?
            {
                finding.wrong = Wrong::Reordered;
                finding.detail = format!("line {seq} of the chain comes later than its place");
            }
            run.found.wrong = Some(finding);
            return Ok(run.found);
        }
    }
    Ok(run.end())
}

/// Whether a line of the chain is anywhere in these files.
fn stands_in(files: &[PathBuf], seq: u64, asked: &Asked) -> io::Result<bool> {
    for path in files {
        let mut reader = io::BufReader::new(std::fs::File::open(path)?);
        while let Some(line) = next_line(&mut reader)? {
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            if Read::check(text, &asked.keys).is_ok_and(|read| read.seq == seq) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// A line with its break, of no more bytes than a line may have.
fn next_line(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line)?;
    Ok((!line.is_empty()).then_some(line))
}

struct Run<'a> {
    asked: &'a Asked,
    head: Option<Head>,
    found: Verified,
    /// Last line that was removed by the service, and the line that says so.
    pruned: BTreeMap<u64, u64>,
    /// Heads that were not met yet.
    missing: Vec<Digest>,
}

impl Run<'_> {
    fn file(&mut self, path: &Path) -> io::Result<Option<Finding>> {
        let name = path.display().to_string();
        let mut reader = io::BufReader::new(std::fs::File::open(path)?);
        let mut number = 0;
        while let Some(line) = next_line(&mut reader)? {
            number += 1;
            if self.asked.stream && !line.starts_with(BEGINNING) {
                continue;
            }
            let wrong = match line.strip_suffix(b"\n") {
                Some(text) => self.line(text).err(),
                None => Some((Wrong::Truncated, "the last line is cut off".to_owned())),
            };
            if let Some((wrong, detail)) = wrong {
                let seq = self.head.as_ref().map(|head| head.seq + 1);
                let (file, line) = (Some(name), Some(number));
                return Ok(Some(Finding { wrong, file, line, seq, detail }));
            }
        }
        Ok(None)
    }

    fn line(&mut self, text: &[u8]) -> Result<(), (Wrong, String)> {
        let read = Read::check(text, &self.asked.keys).map_err(|bad| match bad {
            Bad::NoLine => (Wrong::Edited, "this is no line of an audit log".to_owned()),
            Bad::Hash => (Wrong::Edited, "the line is not as it was written".to_owned()),
            Bad::UnknownKey(id) => {
                (Wrong::UnknownKey, format!("the line was made with the key {id}: give its file"))
            }
        })?;
        self.place(&read)?;
        self.key(&read)?;
        let number = |name: &str| read.detail.get(name).and_then(serde_json::Value::as_u64);
        match read.action.as_str() {
            "prune" => drop(number("through").map(|last| self.pruned.insert(last, read.seq))),
            "set-aside"
                if number("lines") != Some(0) && !self.asked.accepted.contains(&read.seq) =>
            {
                let detail = format!(
                    "line {} says that whole lines were set aside when the service started: look \
                     at the file that it names, then give --accept {}",
                    read.seq, read.seq
                );
                return Err((Wrong::SetAside, detail));
            }
            "set-aside" => {
                self.note(format!("line {}: what a crash had cut off was set aside", read.seq));
            }
            "resume" => {
                let lost = number("lost").unwrap_or_default();
                self.note(format!(
                    "line {}: {lost} lines could not be written before it",
                    read.seq
                ));
            }
            _ => {}
        }
        self.missing.retain(|head| *head != read.hash);
        self.found.lines += 1;
        self.found.first.get_or_insert(read.seq);
        self.found.last = Some(read.seq);
        self.found.head = Some(read.hash.to_hex());
        self.found.instance = Some(read.instance.clone());
        self.head = Some(Head { instance: read.instance, seq: read.seq, hash: read.hash });
        Ok(())
    }

    /// Whether it goes on from the line before.
    fn place(&mut self, read: &Read) -> Result<(), (Wrong, String)> {
        let begins = read.seq == 1 && read.prev == Digest::from_bytes([0; 32]);
        let Some(head) = &self.head else {
            if read.seq == 1 && !begins {
                return Err((Wrong::Edited, "the first line names one before it".to_owned()));
            }
            return Ok(());
        };
        let expected = head.seq + 1;
        if read.instance != head.instance {
            if self.asked.stream && begins {
                let (instance, seq) = (head.instance.clone(), head.seq);
                self.note(format!("the chain {instance} ends at line {seq}, and another begins"));
                return Ok(());
            }
            return Err((Wrong::Foreign, format!("the line is of the chain {}", read.instance)));
        }
        if read.seq > expected {
            let text = format!("lines {expected} to {} are missing before it", read.seq - 1);
            return Err((Wrong::Dropped, text));
        }
        if read.seq < expected {
            let text = format!("line {} stands where line {expected} should be", read.seq);
            return Err((Wrong::Reordered, text));
        }
        if read.prev != head.hash {
            return Err((Wrong::Edited, "the line before it was written anew".to_owned()));
        }
        Ok(())
    }

    /// Lines before the first with a key are held by that one; behind it there is none without.
    fn key(&mut self, read: &Read) -> Result<(), (Wrong, String)> {
        match read.alg {
            Alg::Hmac => self.found.keyed += 1,
            Alg::Sha256 if self.found.keyed > 0 => {
                let text =
                    "the line has no key, and those before it have: anybody can have made it";
                return Err((Wrong::Unkeyed, text.to_owned()));
            }
            Alg::Sha256 => {}
        }
        Ok(())
    }

    fn note(&mut self, text: String) {
        self.found.notes.push(text);
    }

    /// What shows only at the end.
    fn end(mut self) -> Verified {
        let first = self.found.first;
        let removed = first.filter(|first| *first > 1).map(|first| first - 1);
        let said = removed.and_then(|last| self.pruned.get(&last)).copied();
        let wrong = if first.is_none() {
            Some((Wrong::Empty, "there is no line".to_owned()))
        } else if !self.asked.keys.is_empty() && self.found.keyed == 0 {
            Some((Wrong::Unkeyed, "a key was given, and no line has one".to_owned()))
        } else if let (Some(last), None) = (removed, said) {
            let text =
                format!("lines 1 to {last} are missing, and no line says that they were removed");
            Some((Wrong::Dropped, text))
        } else {
            self.missing.first().map(|head| {
                (
                    Wrong::HeadMissing,
                    format!(
                        "no line has the hash {head}: the end was cut off, or all was made anew"
                    ),
                )
            })
        };
        if let (Some(last), Some(said)) = (removed, said) {
            self.note(format!(
                "lines 1 to {last} were removed by the service, as line {said} says"
            ));
        }
        if self.found.keyed == 0 {
            self.note(
                "no line has a key: who can write the files can make the chain anew".to_owned(),
            );
        }
        let at_end = |(wrong, detail)| Finding { wrong, file: None, line: None, seq: None, detail };
        self.found.wrong = wrong.map(at_end);
        self.found
    }
}
