//! How far the store had certainly come, in a file apart from the engine's.
//!
//! Written off the path of the answers, about once a second and at a clean end. An opening that
//! finds the store behind its witness knows that acknowledged writes are missing, which a store
//! that lost its last journal could not tell by itself.

use std::io;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::directory::write_durably;

/// What the file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Witness {
    /// Sequence of a commit that was durable.
    pub(super) sequence: u64,
    pub(super) epoch: u64,
    /// Whether the store was closed after that commit, and nothing came later.
    pub(super) clean: bool,
}

/// The file.
#[derive(Debug)]
pub(super) struct WitnessFile {
    path: PathBuf,
    salt: u64,
}

impl WitnessFile {
    pub(super) fn new(root: &Path, salt: u64) -> Self {
        Self { path: root.join("WITNESS"), salt }
    }

    /// What it says; `None` where it is damaged. A missing file is that of a new store.
    pub(super) fn read(&self) -> io::Result<Option<Witness>> {
        match std::fs::read(&self.path) {
            Ok(bytes) => Ok(self.parse(&bytes)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(Some(Witness::default())),
            Err(cause) => Err(cause),
        }
    }

    /// Replaces it, durably.
    pub(super) fn write(&self, witness: Witness) -> io::Result<()> {
        let text = text(witness);
        let sum = self.sum(&text);
        write_durably(&self.path, format!("{text} sum {sum:016x}\n").as_bytes())
    }

    fn parse(&self, bytes: &[u8]) -> Option<Witness> {
        let line = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
        let mut words = line.split(' ');
        let mut number = |name| {
            let word = words.next().filter(|word| *word == name);
            words.next().filter(|_| word.is_some())
        };
        let witness = Witness {
            sequence: number("sequence")?.parse().ok()?,
            epoch: number("epoch")?.parse().ok()?,
            clean: number("clean")?.parse().ok()?,
        };
        // Compared as a whole, so that another spelling of the same numbers is damage too.
        let text = text(witness);
        let sum = self.sum(&text);
        (line == format!("{text} sum {sum:016x}")).then_some(witness)
    }

    fn sum(&self, text: &str) -> u64 {
        xxh3_64_with_seed(text.as_bytes(), self.salt)
    }
}

fn text(witness: Witness) -> String {
    let Witness { sequence, epoch, clean } = witness;
    format!("sequence {sequence} epoch {epoch} clean {clean}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back_and_any_flip_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = WitnessFile::new(folder.path(), 7);
        assert_eq!(file.read().unwrap(), Some(Witness::default()));
        let witness = Witness { sequence: 12, epoch: 3, clean: true };
        file.write(witness).unwrap();
        assert_eq!(file.read().unwrap(), Some(witness));
        let bytes = std::fs::read(folder.path().join("WITNESS")).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(file.parse(&flipped), None, "bit {bit}");
        }
    }
}
