//! What is done to a file.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use super::history::Age;
use super::image::{Image, ImageFile};
use crate::Result;

const SECTOR: usize = 512;

/// Kinds of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// One bit.
    Flip,
    /// The journal ends so many bytes earlier.
    Truncate {
        /// Number of bytes before the end of its data.
        by: u64,
    },
    /// Two sectors, or two bodies, change places.
    Swap,
    /// A sector of zeroes.
    Zero,
}

impl Kind {
    /// Name in the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Flip => "flips",
            Self::Truncate { .. } => "truncations",
            Self::Swap => "swaps",
            Self::Zero => "zeroed sectors",
        }
    }
}

/// New bytes at an offset, or a new end: everything that can be done to a file.
#[derive(Debug)]
pub(super) struct Damage {
    file: PathBuf,
    kind: Kind,
    writes: Vec<(u64, Vec<u8>)>,
    length: Option<u64>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in {} at {}", self.kind, self.file.display(), self.offset())
    }
}

impl Damage {
    /// A random place for a kind of damage that changes something.
    ///
    /// # Errors
    /// The store has no file for it.
    pub(super) fn choose(kind: Kind, image: &Image, rng: &mut Rng) -> Result<Self> {
        for _ in 0..10_000 {
            let damage = match kind {
                Kind::Flip => Some(flip(image, rng)?),
                Kind::Truncate { by } => Some(truncate(image, by)?),
                Kind::Swap if rng.bool() => swap_bodies(image, rng),
                Kind::Swap => swap_sectors(pick(image, rng)?, rng),
                Kind::Zero => zero(pick(image, rng)?, rng),
            };
            if let Some(damage) = damage {
                return Ok(damage);
            }
        }
        Err(format!("no place for {kind:?} in the {} store", image.age()).into())
    }

    /// The file, below the data directory.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// What kind it is.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// First byte that is touched.
    pub(super) fn offset(&self) -> u64 {
        let first = self.writes.iter().map(|(offset, _)| *offset).min();
        first.or(self.length).unwrap_or_default()
    }

    /// First byte behind what is written.
    pub(super) fn end(&self) -> u64 {
        let ends = self.writes.iter().map(|(offset, bytes)| offset + bytes.len() as u64);
        ends.max().unwrap_or_default()
    }

    /// Damages the file in a restored store.
    ///
    /// # Errors
    /// The file is not there.
    pub(super) fn apply(&self, root: &Path) -> io::Result<()> {
        let file: File = OpenOptions::new().write(true).open(root.join(&self.file))?;
        if let Some(length) = self.length {
            file.set_len(length)?;
        }
        self.writes.iter().try_for_each(|(offset, bytes)| file.write_all_at(bytes, *offset))
    }

    /// Damages bytes in memory that lie at an offset of the file.
    pub(super) fn apply_to(&self, bytes: &mut [u8], at: u64) {
        for (offset, new) in &self.writes {
            for (byte, place) in new.iter().zip(*offset..) {
                let index = place.checked_sub(at).and_then(|index| usize::try_from(index).ok());
                if let Some(old) = index.and_then(|index| bytes.get_mut(index)) {
                    *old = *byte;
                }
            }
        }
    }
}

fn flip(image: &Image, rng: &mut Rng) -> Result<Damage> {
    let file = pick(image, rng)?;
    let offset = rng.usize(..file.bytes.len());
    let flipped = file.bytes[offset] ^ (1 << rng.u32(0..8));
    let writes = vec![(offset as u64, vec![flipped])];
    Ok(Damage { file: file.path.clone(), kind: Kind::Flip, writes, length: None })
}

fn truncate(image: &Image, by: u64) -> Result<Damage> {
    let journal = image.newest_journal()?;
    let length = (journal.bytes.len() as u64).checked_sub(by).ok_or("the journal is short")?;
    let kind = Kind::Truncate { by };
    Ok(Damage { file: journal.path.clone(), kind, writes: Vec::new(), length: Some(length) })
}

fn swap_sectors(file: &ImageFile, rng: &mut Rng) -> Option<Damage> {
    let sectors = file.bytes.len() / SECTOR;
    if sectors < 2 {
        return None;
    }
    let [a, b] = [rng.usize(..sectors) * SECTOR, rng.usize(..sectors) * SECTOR];
    swap(file, a, b, SECTOR)
}

/// Two records' bodies: each whole and sound, under the other's name.
fn swap_bodies(image: &Image, rng: &mut Rng) -> Option<Damage> {
    let places = image.bodies();
    let (a, b) = (rng.choice(&places)?, rng.choice(&places)?);
    let length = a.length.min(b.length);
    let apart = a.offset.abs_diff(b.offset) >= length;
    if a.file != b.file || !apart {
        return None;
    }
    swap(image.file(a.file), a.offset, b.offset, length)
}

fn swap(file: &ImageFile, a: usize, b: usize, length: usize) -> Option<Damage> {
    let (first, second) = (&file.bytes[a..a + length], &file.bytes[b..b + length]);
    if first == second {
        return None;
    }
    let writes = vec![(a as u64, second.to_vec()), (b as u64, first.to_vec())];
    Some(Damage { file: file.path.clone(), kind: Kind::Swap, writes, length: None })
}

fn zero(file: &ImageFile, rng: &mut Rng) -> Option<Damage> {
    let start = rng.usize(..file.bytes.len()) / SECTOR * SECTOR;
    let length = SECTOR.min(file.bytes.len() - start);
    if file.bytes[start..start + length].iter().all(|byte| *byte == 0) {
        return None;
    }
    let writes = vec![(start as u64, vec![0; length])];
    Some(Damage { file: file.path.clone(), kind: Kind::Zero, writes, length: None })
}

/// A file. Bytes of the files that hold the objects (the journal of the young store, the others
/// of the grown one) are hit most; one in ten hits any file whatever its size, so that the small
/// ones that rule the store have their share, and one in ten of the grown store's hits its spent
/// journal.
fn pick<'a>(image: &'a Image, rng: &mut Rng) -> Result<&'a ImageFile> {
    let choice = rng.u32(0..10);
    let wanted = |file: &&ImageFile| match (choice, image.age()) {
        (0, _) => true,
        (1, Age::Grown) | (_, Age::Young) => file.is_journal(),
        (_, Age::Grown) => !file.is_journal(),
    };
    let files: Vec<&ImageFile> = image.files().filter(wanted).collect();
    if choice == 0 {
        return rng.choice(files).ok_or_else(|| "an empty store".into());
    }
    let total: usize = files.iter().map(|file| file.bytes.len()).sum();
    let mut at = rng.usize(..total.max(1));
    for file in files {
        match at.checked_sub(file.bytes.len()) {
            Some(rest) => at = rest,
            None => return Ok(file),
        }
    }
    Err("an empty store".into())
}
