//! The engine's journal, read by our own hand before the engine sees it.
//!
//! fjall cuts a journal off at the first frame that it cannot parse and refuses to open on a bad
//! checksum. Either would lose acknowledged writes *behind* one flipped bit. So every journal is
//! walked here first; where a damaged stretch was certainly acknowledged, the file is copied to
//! quarantine and written anew with every whole batch and with the undamaged rows of broken ones
//! ([`salvage`]). What was lost is named. An end that no sync had covered yet is normal after a
//! crash, also with whole batches in it: it is cut off, and only noted.
//!
//! Bound to the frame format of fjall 3.1, which a test pins.

mod frame;
mod salvage;

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;

use self::frame::Frame;
pub use self::frame::fuzz_journal;
use super::directory::write_durably;

/// What the walk over all journals found.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// One text for each damage: file, place, what is lost.
    pub(super) damage: Vec<String>,
    /// Sequence of the last batch in the journals.
    pub(super) last_sequence: Option<u64>,
}

/// Walks, and where needed mends, every journal of an engine.
///
/// `witnessed` is a sequence that is known to have been durable: damage up to it is damage to
/// acknowledged writes also where nothing follows it.
pub(super) fn guard(
    engine: &Path,
    quarantine: &Path,
    salt: u64,
    witnessed: u64,
) -> io::Result<Report> {
    let mut walk = Walk { quarantine, salt, witnessed, report: Report::default(), seqno: 0 };
    let journals = journals(engine)?;
    for (index, journal) in journals.iter().enumerate() {
        walk.journal(journal, index + 1 == journals.len())?;
    }
    Ok(walk.report)
}

/// The journals, oldest first.
fn journals(engine: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(engine)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "jnl") {
            continue;
        }
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        found.extend(number.map(|number| (number, path)));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

struct Walk<'a> {
    quarantine: &'a Path,
    salt: u64,
    witnessed: u64,
    report: Report,
    /// The engine's number of the last batch seen.
    seqno: u64,
}

/// A stretch of a journal.
enum Stretch<'a> {
    /// A whole batch, with the number it must have.
    Batch(Frame<'a>, u64),
    /// Bytes between whole batches that are none.
    Damaged(&'a [u8], usize),
}

impl Walk<'_> {
    fn journal(&mut self, path: &Path, newest: bool) -> io::Result<()> {
        let bytes = read_data(path)?;
        let before = self.seqno;
        let mut stretches = Vec::new();
        let mut at = 0;
        let mut sound = true;
        while at < bytes.len() {
            if let Some(frame) = frame::whole(&bytes, at, self.salt) {
                at = frame.end;
                sound &= self.accept(path, frame, &mut stretches);
                continue;
            }
            if is_zero(&bytes[at..]) {
                break;
            }
            let next = frame::next_whole(&bytes, at + 1, self.salt);
            if newest && !self.is_acknowledged(&bytes[at..]) {
                return self.finish(path, &bytes, &stretches, before, sound, Some(at));
            }
            let end = next.unwrap_or(bytes.len());
            stretches.push(Stretch::Damaged(&bytes[at..end], at));
            sound = false;
            at = end;
        }
        self.finish(path, &bytes, &stretches, before, sound, None)
    }

    /// Whether the batch after the last one seen is known to have been durable.
    ///
    /// Whole batches behind it do not show that by being there: pages of one sync reach the disk
    /// in any order, so that a power cut may keep the record of an upload and lose its chunks.
    /// What they say of the syncs before them does, and so does what is left of broken ones.
    fn is_acknowledged(&self, rest: &[u8]) -> bool {
        let mut known = self.witnessed;
        let mut at = 0;
        while let Some(start) = frame::next_whole(rest, at, self.salt) {
            let Some(frame) = frame::whole(rest, start, self.salt) else { break };
            known = known.max(frame.trailer.counters.synced);
            at = frame.end;
        }
        let salvaged = salvage::salvage(rest, self.salt);
        let broken = || salvaged.batches.iter().filter_map(|batch| batch.counters);
        known = broken().map(|counters| counters.synced).fold(known, u64::max);
        match self.report.last_sequence {
            Some(last) => last < known,
            None => broken().any(|counters| counters.sequence <= known),
        }
    }

    /// Takes a whole batch; `false` where its unprotected head has to be mended.
    fn accept<'b>(
        &mut self,
        path: &Path,
        frame: Frame<'b>,
        stretches: &mut Vec<Stretch<'b>>,
    ) -> bool {
        let sequence = frame.trailer.counters.sequence;
        if let Some(last) = self.report.last_sequence
            && sequence != last + 1
            && !matches!(stretches.last(), Some(Stretch::Damaged(..)))
            && !starts_epoch(&frame)
        {
            self.report.damage.push(format!(
                "{} at byte {}: commits {} to {} are missing",
                name(path),
                frame.start,
                last + 1,
                sequence.saturating_sub(1),
            ));
        }
        self.report.last_sequence = Some(sequence);
        let seqno = frame.seqno_within(self.seqno);
        self.seqno = seqno;
        let sound = seqno == frame.seqno && frame.count as usize == frame.items.len();
        if !sound {
            self.report.damage.push(format!(
                "{} at byte {}: the head of commit {sequence} was damaged and is mended; nothing \
                 is lost",
                name(path),
                frame.start,
            ));
        }
        stretches.push(Stretch::Batch(frame, seqno));
        sound
    }

    fn finish(
        &mut self,
        path: &Path,
        bytes: &[u8],
        stretches: &[Stretch<'_>],
        before: u64,
        sound: bool,
        torn_at: Option<usize>,
    ) -> io::Result<()> {
        if !sound {
            self.keep(path, bytes)?;
            return self.rewrite(path, stretches, before);
        }
        let Some(at) = torn_at else {
            return Ok(());
        };
        // Not acknowledged, as far as anybody knows; kept all the same.
        let torn = &bytes[at..];
        self.keep(&path.with_extension(format!("torn-at-{at}")), torn)?;
        tracing::info!(
            journal = name(path),
            at,
            bytes = torn.len(),
            "the journal ends in an incomplete write, as after a crash: cut off"
        );
        let file = File::options().write(true).open(path)?;
        file.set_len(at as u64)?;
        file.sync_all()
    }

    /// Copies to quarantine.
    fn keep(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::create_dir_all(self.quarantine)?;
        let mut number = 0;
        loop {
            let target = self.quarantine.join(format!("{}.{number}", name(path)));
            if !target.exists() {
                return write_durably(&target, bytes);
            }
            number += 1;
        }
    }

    /// Replaces a journal by what is whole in it and what can be saved.
    fn rewrite(&mut self, path: &Path, stretches: &[Stretch<'_>], before: u64) -> io::Result<()> {
        let mut fresh = Vec::new();
        let mut last = before;
        for (index, stretch) in stretches.iter().enumerate() {
            match stretch {
                Stretch::Batch(frame, seqno) => {
                    frame::encode(&mut fresh, *seqno, &frame.items);
                    last = *seqno;
                }
                Stretch::Damaged(bytes, at) => {
                    let following = stretches[index + 1..].iter().find_map(|next| match next {
                        Stretch::Batch(_, seqno) => Some(*seqno),
                        Stretch::Damaged(..) => None,
                    });
                    let saved = salvage::salvage(bytes, self.salt);
                    let mut kept = 0;
                    for batch in &saved.batches {
                        let seqno = batch.floor.max(last + 1);
                        // Without room before the next batch its order would be a guess.
                        if following.is_none_or(|next| seqno < next) && !batch.items.is_empty() {
                            frame::encode(&mut fresh, seqno, &batch.items);
                            last = seqno;
                            kept += batch.items.len();
                        }
                        let sequence = batch.counters.map(|counters| counters.sequence);
                        self.report.last_sequence = self.report.last_sequence.max(sequence);
                    }
                    self.report.damage.push(format!(
                        "{} at byte {at}: {} damaged bytes, {kept} rows saved, {} lost",
                        name(path),
                        bytes.len(),
                        saved.lost_text(kept),
                    ));
                }
            }
        }
        self.seqno = self.seqno.max(last);
        write_durably(path, &fresh)
    }
}

/// An opening leaves a gap where it had to skip lost commits.
fn starts_epoch(frame: &Frame<'_>) -> bool {
    frame.items.len() == 1
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A file up to the end of its last written part; the engine reserves 64 MiB beyond.
fn read_data(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let end = end_of_data(&file, length).unwrap_or(length);
    rustix::fs::seek(&file, SeekFrom::Start(0))?;
    let mut bytes = Vec::with_capacity(usize::try_from(end).unwrap_or(0));
    file.by_ref().take(end).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn end_of_data(file: &File, length: u64) -> Option<u64> {
    let mut end = 0;
    while end < length {
        match rustix::fs::seek(file, SeekFrom::Data(end)) {
            Ok(data) => end = rustix::fs::seek(file, SeekFrom::Hole(data)).ok()?,
            // No data behind this place.
            Err(rustix::io::Errno::NXIO) => return Some(end),
            Err(_) => return None,
        }
    }
    Some(end)
}

fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| *chunk == ZEROS[..chunk.len()])
}

#[cfg(test)]
mod tests;
