//! Where large bodies wait, and whether a disk may see them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::veil::CounterVeil;
use crate::model::SpoolWriter;

/// Makes temporary files.
#[derive(Clone, Debug)]
pub struct Spooling {
    folder: PathBuf,
    veiled: bool,
}

impl Spooling {
    /// Files in a folder; `veiled` where what they hold is to be sealed, and so must not lie on a disk
    /// in plain.
    pub fn new(folder: &Path, veiled: bool) -> Self {
        Self { folder: folder.to_owned(), veiled }
    }

    /// Whether what waits is to be sealed.
    pub(super) fn is_veiled(&self) -> bool {
        self.veiled
    }

    /// A new file. Blocks.
    pub(super) fn create(&self) -> io::Result<SpoolWriter> {
        let writer = SpoolWriter::create_in(&self.folder)?;
        match self.veiled {
            true => {
                let veil = CounterVeil::random().map_err(io::Error::other)?;
                Ok(writer.veiled(Arc::new(veil)))
            }
            false => Ok(writer),
        }
    }
}
