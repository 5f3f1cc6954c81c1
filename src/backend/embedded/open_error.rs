//! Why a data directory cannot be opened. Each text names the remedy.

use std::io;
use std::path::{Path, PathBuf};

/// Why the embedded store does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "{} is in use by another process: stop that process, or give this one a directory of its \
         own", path.display()
    )]
    Locked {
        /// The data directory.
        path: PathBuf,
    },
    /// Written by another version of this program.
    #[error(
        "{} says '{found}', and this program reads format {supported} only: start the version of \
         proof-storage that wrote it, or restore the file if it is damaged", path.display()
    )]
    UnknownFormat {
        /// The file that says so.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What could be read.
        supported: u32,
    },
    /// Somebody else's files are in it.
    #[error(
        "{} is not empty and not a data directory of proof-storage (it has no FORMAT file): give \
         an empty directory, or restore the missing file", path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// The engine cannot make sense of its files.
    #[error(
        "the store in {} is damaged and cannot be opened ({detail}): keep a copy of the directory, \
         then restore it from a backup", path.display()
    )]
    Damaged {
        /// The data directory.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The operating system refuses.
    #[error("{}: {cause}: check that it exists, is writable and has free space", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it says.
        cause: io::Error,
    },
}

impl OpenError {
    pub(super) fn io(path: &Path, cause: io::Error) -> Self {
        Self::Io { path: path.to_owned(), cause }
    }
}
