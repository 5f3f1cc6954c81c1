//! Finding the end of a log that may have been cut off in the middle of a line.
//!
//! What does not go on the chain, from the first such byte to the end of the file, is moved to a file
//! beside it and never thrown away; a line says so. A crash leaves that behind, but so does somebody
//! who edits the last segment while the service is stopped: the line says whether whole lines were
//! among it, and `audit verify` does not pass over them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::chain::{BEGINNING, Bad, ChainKey, Head, Read};
use super::entry::{Action, Entry};
use super::segment::{self, Segment};
use crate::model::Digest;

/// Where writing goes on.
pub struct Found {
    /// The chain so far.
    pub head: Head,
    /// The last segment, open at its end, and its length.
    pub last: Option<(Segment, File, u64)>,
    /// What is to be said of it first.
    pub said: Vec<Entry>,
}

/// Reads the last segment, and those before it for as long as there is no line in it.
pub fn recover(folder: &Path, key: Option<&ChainKey>) -> io::Result<Found> {
    let segments = segment::list(folder)?;
    let mut said = Vec::new();
    let mut newest = None;
    for segment in segments.iter().rev() {
        let bytes = fs::read(&segment.path)?;
        let (good, head) = good_part(&bytes, key);
        if good < bytes.len() {
            said.push(set_aside(folder, segment, &bytes[good..])?);
            let file = OpenOptions::new().write(true).open(&segment.path)?;
            file.set_len(good as u64)?;
            file.sync_all()?;
        }
        if newest.is_none() {
            newest = Some((segment.clone(), good as u64));
        }
        if head.is_some() || good > 0 {
            let head = head.unwrap_or_else(Head::fresh);
            return Ok(Found { head, last: opened(newest)?, said });
        }
    }
    Ok(Found { head: Head::fresh(), last: opened(newest)?, said })
}

fn opened(newest: Option<(Segment, u64)>) -> io::Result<Option<(Segment, File, u64)>> {
    let Some((segment, length)) = newest else { return Ok(None) };
    let file = OpenOptions::new().append(true).open(&segment.path)?;
    Ok(Some((segment, file, length)))
}

/// Length of the part that is one chain, and where that stands.
fn good_part(bytes: &[u8], key: Option<&ChainKey>) -> (usize, Option<Head>) {
    let keys: Vec<_> = key.into_iter().cloned().collect();
    let mut good = 0;
    let mut head: Option<Head> = None;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(text) = line.strip_suffix(b"\n") else { break };
        let read = match Read::check(text, &keys) {
            Ok(read) => read,
            // Of another key: whole, as far as can be seen, so the chain goes on from it.
            Err(Bad::UnknownKey(_)) => match Read::unchecked(text) {
                Some(read) => read,
                None => break,
            },
            Err(_) => break,
        };
        let follows = head.as_ref().is_none_or(|head| {
            read.prev == head.hash && read.seq == head.seq + 1 && read.instance == head.instance
        });
        if !follows {
            break;
        }
        good += line.len();
        head = Some(Head { instance: read.instance, seq: read.seq, hash: read.hash });
    }
    (good, head)
}

/// Keeps bytes that do not go on the chain, and says so.
fn set_aside(folder: &Path, segment: &Segment, bytes: &[u8]) -> io::Result<Entry> {
    let sha256 = Digest::of(bytes);
    let name = format!("{}.set-aside-{}", segment.name(), &sha256.to_hex()[..16]);
    let path = folder.join(&name);
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    segment::sync_folder(folder)?;
    let whole = |line: &&[u8]| line.starts_with(BEGINNING) && line.ends_with(b"\"}\n");
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').filter(whole).count();
    let length = bytes.len();
    tracing::warn!(file = name, bytes = length, lines, "set aside what ended the audit log");
    Ok(Entry::of_service(Action::SetAside)
        .with("segment", segment.name())
        .with("file", name)
        .with("bytes", length)
        .with("lines", lines)
        .with("sha256", sha256.to_hex()))
}
