//! Where large bodies wait, how many of them, and whether a disk may see them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::codec::veil::CounterVeil;
use crate::model::SpoolWriter;

/// Makes temporary files.
#[derive(Clone, Debug)]
pub struct Spooling {
    folder: PathBuf,
    veiled: bool,
    files: Arc<Semaphore>,
}

impl Spooling {
    /// Files in a folder, of which there are as many at once as `files` has permits for: the process
    /// needs descriptors for other things too. `veiled` where what they hold is to be sealed, and so
    /// must not lie on a disk in plain.
    pub fn new(folder: &Path, veiled: bool, files: Arc<Semaphore>) -> Self {
        Self { folder: folder.to_owned(), veiled, files }
    }

    /// Whether what waits is to be sealed.
    pub(super) fn is_veiled(&self) -> bool {
        self.veiled
    }

    /// A new file; `ResourceBusy` where there are as many as may be. Blocks.
    pub(super) fn create(&self) -> io::Result<SpoolWriter> {
        let permit = Arc::clone(&self.files).try_acquire_owned();
        let permit = permit.map_err(|cause| io::Error::new(io::ErrorKind::ResourceBusy, cause))?;
        let writer = SpoolWriter::create_in(&self.folder)?.holding(Arc::new(permit));
        match self.veiled {
            true => {
                let veil = CounterVeil::random().map_err(io::Error::other)?;
                Ok(writer.veiled(Arc::new(veil)))
            }
            false => Ok(writer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_files_than_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let spooling = Spooling::new(folder.path(), false, Arc::new(Semaphore::new(1)));
        let mut first = spooling.create().unwrap();
        first.append(b"x").unwrap();
        let body = first.finish();
        let also = body.clone();
        drop(body);
        let refused = || spooling.create().err().map(|error| error.kind());
        assert_eq!(refused(), Some(io::ErrorKind::ResourceBusy));
        drop(also);
        assert_eq!(refused(), None);
    }
}
