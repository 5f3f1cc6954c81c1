//! The files of a store, held in memory to be restored thousands of times.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use proof_storage::model::Digest;

use super::damage::Damage;
use super::history::{Age, History};
use crate::Result;

/// Of the zeroes at a journal's end so many are restored: reading all 64 MB of them thousands of
/// times would show nothing more.
const ZEROES_KEPT: u64 = 1 << 20;

/// The files of a store, held in memory to be restored again and again.
#[derive(Debug)]
pub(super) struct Image {
    age: Age,
    history: History,
    files: Vec<ImageFile>,
    /// Where the journal's last record begins.
    last_record_at: u64,
}

/// One file. Journals are allocated ahead: the zeroes at their end are not kept.
#[derive(Debug)]
pub(super) struct ImageFile {
    /// Below the data directory.
    pub(super) path: PathBuf,
    /// Up to the last byte that is not zero.
    pub(super) bytes: Vec<u8>,
    length: u64,
}

impl ImageFile {
    /// Whether it is a journal of the engine.
    pub(super) fn is_journal(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "jnl")
    }
}

impl Image {
    /// Reads a store made by [`History::write`].
    pub(super) fn read(folder: &Path, age: Age) -> Result<Self> {
        let seed = fs::read_to_string(folder.join("seed"))?.parse()?;
        let mut image = Self::of_folder(&folder.join(age.to_string()), age, seed)?;
        image.last_record_at = fs::read_to_string(folder.join(format!("{age}.last")))?.parse()?;
        Ok(image)
    }

    /// Reads the files of any data directory of this history.
    pub(super) fn of_folder(root: &Path, age: Age, seed: u64) -> Result<Self> {
        let mut files = Vec::new();
        collect(root, Path::new(""), &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        if let Some(folder) = root.parent() {
            fs::write(folder.join("seed"), seed.to_string())?;
        }
        Ok(Self { age, history: History::new(seed), files, last_record_at: 0 })
    }

    /// Which store.
    pub(super) fn age(&self) -> Age {
        self.age
    }

    /// How it came to be.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Its files that hold anything.
    pub(super) fn files(&self) -> impl Iterator<Item = &ImageFile> {
        self.files.iter().filter(|file| !file.bytes.is_empty())
    }

    /// The file that a [`Place`] names.
    pub(super) fn file(&self, index: usize) -> &ImageFile {
        &self.files[index]
    }

    /// Whether a byte of a journal belongs to its last record (or comes after it).
    pub(super) fn is_last_record(&self, file: &Path, offset: u64) -> bool {
        let newest = self.newest_journal().is_ok_and(|journal| journal.path == file);
        newest && self.age == Age::Young && offset >= self.last_record_at
    }

    /// Whether a place is behind the last byte of the journal that is written to.
    pub(super) fn is_end(&self, file: &Path, end: u64) -> bool {
        let newest = self.newest_journal();
        newest.is_ok_and(|j| j.path == file && end >= j.bytes.len() as u64)
    }

    /// The journal that is written to.
    pub(super) fn newest_journal(&self) -> Result<&ImageFile> {
        let number = |file: &&ImageFile| {
            let name = file.path.file_stem().and_then(|stem| stem.to_str());
            name.and_then(|name| name.parse::<u64>().ok())
        };
        let journals = self.files().filter(|file| file.is_journal());
        journals.max_by_key(number).ok_or_else(|| "no journal".into())
    }

    /// Number of bytes in the journal that is written to.
    pub(super) fn journal_end(&self) -> Result<u64> {
        Ok(self.newest_journal()?.bytes.len() as u64)
    }

    /// Writes all files into a folder, which is emptied first.
    pub(super) fn restore(&self, root: &Path) -> Result<()> {
        if root.exists() {
            fs::remove_dir_all(root)?;
        }
        fs::create_dir_all(root)?;
        for file in &self.files {
            let path = root.join(&file.path);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut restored = File::create(path)?;
            restored.write_all(&file.bytes)?;
            restored.set_len(file.length.min(file.bytes.len() as u64 + ZEROES_KEPT))?;
        }
        Ok(())
    }

    /// Where the current bodies of up to 300 kB lie.
    pub(super) fn bodies(&self) -> Vec<Place> {
        let state = self.history.state_after(self.history.len());
        let mut places = Vec::new();
        for step in &self.history.steps {
            let Some(body) = step.body.as_ref().filter(|body| body.len() <= 300_000) else {
                continue;
            };
            let digest = Digest::of(body);
            if state.get(&step.key) != Some(&digest) {
                continue;
            }
            let found = self.files.iter().enumerate().find_map(|(file, image)| {
                let mut starts = memchr::memmem::find_iter(&image.bytes, &body[..64]);
                let offset = starts.find(|o| image.bytes[*o..].starts_with(body))?;
                Some(Place { file, offset, length: body.len(), digest })
            });
            places.extend(found);
        }
        places
    }

    /// Whether a reader that trusts the disk would take wrong bytes for one of these bodies.
    pub(super) fn fools_raw_reader(&self, places: &[Place], damage: &Damage) -> bool {
        places.iter().any(|place| {
            let file = &self.files[place.file];
            if file.path != damage.file() {
                return false;
            }
            let end = place.offset + place.length;
            let mut bytes = file.bytes[place.offset..end].to_vec();
            damage.apply_to(&mut bytes, place.offset as u64);
            Digest::of(&bytes) != place.digest
        })
    }
}

/// Where a body lies in the files.
#[derive(Debug)]
pub(super) struct Place {
    /// Index among all files.
    pub(super) file: usize,
    /// First byte.
    pub(super) offset: usize,
    /// Number of bytes.
    pub(super) length: usize,
    digest: Digest,
}

fn collect(root: &Path, below: &Path, files: &mut Vec<ImageFile>) -> Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(root, &path, files)?;
            continue;
        }
        let mut bytes = fs::read(entry.path())?;
        let length = bytes.len() as u64;
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(end);
        files.push(ImageFile { path, bytes, length });
    }
    Ok(())
}
