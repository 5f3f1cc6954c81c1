//! The data directory: what it is called, who holds it, and whether it is ours.
//!
//! ```text
//! data/  FORMAT      format version and the store's salt, in plain text; with a copy
//!        WITNESS     how far the store had certainly come
//!        LOCK        held by the one process that has the directory open
//!        shadow/     second copies of the engine's vital parts
//!        engine/     fjall's files, mode 0700
//!        quarantine/ damaged files as they were found
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::open_error::OpenError;

/// A FORMAT file that differs from its copy in more bytes is not damaged but another's.
const DAMAGED_BYTES: usize = 1;
const LOCK_ATTEMPTS: u32 = 10;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Version of everything that this module and its siblings write.
const FORMAT_VERSION: u32 = 1;
const FORMAT_PREFIX: &str = "proof-storage format ";
/// What may lie in a directory that is not ours yet: a fresh ext4 volume has the first.
const HARMLESS: [&str; 3] = ["lost+found", "LOCK", "FORMAT.copy"];

/// A locked data directory. The lock goes with the value, or with the process.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
    salt: u64,
    _lock: File,
}

impl Directory {
    /// Locks a directory, and makes it ours if it is empty.
    pub(super) fn claim(root: &Path) -> Result<Self, OpenError> {
        let at = |cause| OpenError::io(root, cause);
        if !root.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(at)?;
        }
        let known = read_format(root)?;
        if known.is_none() && !is_vacant(root).map_err(at)? {
            return Err(OpenError::Foreign { path: root.to_owned() });
        }
        let lock = lock(root)?;
        let salt = match known {
            Some(salt) => salt,
            None => {
                let salt = uuid::Uuid::new_v4().as_u64_pair().1;
                let text = format_text(salt);
                write_durably(&root.join("FORMAT.copy"), text.as_bytes()).map_err(at)?;
                write_durably(&root.join("FORMAT"), text.as_bytes()).map_err(at)?;
                salt
            }
        };
        Ok(Self { root: root.to_owned(), salt, _lock: lock })
    }

    /// Random number of this store.
    pub(super) fn salt(&self) -> u64 {
        self.salt
    }

    /// The directory itself.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where fjall keeps its files.
    pub(super) fn engine(&self) -> PathBuf {
        self.root.join("engine")
    }

    /// Where damaged files are kept as they were found.
    pub(super) fn quarantine(&self) -> PathBuf {
        self.root.join("quarantine")
    }

    /// Where copies of the engine's vital parts are kept.
    pub(super) fn shadow(&self) -> PathBuf {
        self.root.join("shadow")
    }

    /// Clears what a crash in the very first opening left behind, and makes the engine's folder.
    /// `true` where it is new.
    ///
    /// The engine writes its version marker last, and the witness is written after the first
    /// opening succeeded: only without both was nothing ever acknowledged. A marker that is
    /// missing beside a witness is damage, to be mended and never a reason to clear.
    pub(super) fn prepare_engine(&self) -> io::Result<bool> {
        let engine = self.engine();
        let never_opened = !engine.join("version").exists() && !self.root.join("WITNESS").exists();
        if engine.is_dir() && never_opened {
            fs::remove_dir_all(&engine)?;
        }
        if engine.is_dir() {
            return Ok(false);
        }
        DirBuilder::new().mode(0o700).create(&engine)?;
        sync_folder(&self.root)?;
        Ok(true)
    }
}

/// Replaces a small file so that a crash leaves the old or the new one. Mode 0600.
pub(super) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The salt of a directory that is ours; an error where it is of a format that this program
/// cannot read.
fn read_format(root: &Path) -> Result<Option<u64>, OpenError> {
    let path = root.join("FORMAT");
    let read = |path: &Path| match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(OpenError::io(path, cause)),
    };
    let Some(bytes) = read(&path)? else {
        return Ok(None);
    };
    if let Some(salt) = parse_format(&bytes) {
        return Ok(Some(salt));
    }
    // Written by another version as a whole, or damaged: then its copy has this version's form.
    let copy = read(&root.join("FORMAT.copy"))?.unwrap_or_default();
    let differing = bytes.iter().zip(&copy).filter(|(a, b)| a != b).count();
    let nearly = bytes.len() == copy.len() && differing <= DAMAGED_BYTES;
    if let Some(salt) = parse_format(&copy).filter(|_| nearly) {
        tracing::error!("FORMAT was damaged and is mended from its copy");
        write_durably(&path, &copy).map_err(|cause| OpenError::io(&path, cause))?;
        return Ok(Some(salt));
    }
    let found = String::from_utf8_lossy(&bytes).trim_end().chars().take(60).collect();
    Err(OpenError::UnknownFormat { path, found, supported: FORMAT_VERSION })
}

fn format_text(salt: u64) -> String {
    let text = format!("{FORMAT_PREFIX}{FORMAT_VERSION} salt {salt:016x}");
    format!("{text} sum {:016x}\n", xxh3_64(text.as_bytes()))
}

fn parse_format(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let salt = text.strip_prefix(FORMAT_PREFIX)?.split(' ').nth(2)?;
    let salt = u64::from_str_radix(salt, 16).ok()?;
    (text == format_text(salt)).then_some(salt)
}

fn is_vacant(root: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(root)? {
        if !HARMLESS.iter().any(|name| entry.as_ref().is_ok_and(|e| e.file_name() == *name)) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn lock(root: &Path) -> Result<File, OpenError> {
    let path = root.join("LOCK");
    let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).clone();
    let file = options.open(&path).map_err(|cause| OpenError::io(&path, cause))?;
    // A process that is just ending may hold it a moment longer.
    for attempt in 1.. {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if attempt < LOCK_ATTEMPTS => sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked { path: root.to_owned() });
            }
            Err(TryLockError::Error(cause)) => return Err(OpenError::io(&path, cause)),
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_an_empty_directory_and_knows_it_again() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("a/b");
        let salt = Directory::claim(&root).unwrap().salt();
        let text = fs::read_to_string(root.join("FORMAT")).unwrap();
        assert!(text.starts_with("proof-storage format 1 salt "), "{text}");
        for bit in 0..text.len() * 8 {
            let mut flipped = text.clone().into_bytes();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(root.join("FORMAT"), flipped).unwrap();
            assert_eq!(Directory::claim(&root).unwrap().salt(), salt, "bit {bit}");
        }
        assert_eq!(Directory::claim(&root).unwrap().salt(), salt);
    }

    #[test]
    fn refuses_the_second_holder() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Directory::claim(folder.path()).unwrap();
        let second = Directory::claim(folder.path()).unwrap_err();
        assert!(matches!(second, OpenError::Locked { .. }), "{second}");
    }

    #[test]
    fn refuses_another_format_and_foreign_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("holiday.jpg"), b"x").unwrap();
        let foreign = Directory::claim(folder.path()).unwrap_err();
        assert!(matches!(foreign, OpenError::Foreign { .. }), "{foreign}");
        for text in [
            "proof-storage format 2 salt 0000000000000000\n",
            "",
            "proof-storage format 1",
            "\u{0}",
        ] {
            fs::write(folder.path().join("FORMAT"), text).unwrap();
            let unknown = Directory::claim(folder.path()).unwrap_err();
            assert!(matches!(unknown, OpenError::UnknownFormat { .. }), "{text:?}: {unknown}");
        }
        fs::write(folder.path().join("FORMAT"), [0xff]).unwrap();
        assert!(matches!(Directory::claim(folder.path()), Err(OpenError::UnknownFormat { .. })));
    }

    #[test]
    fn lost_and_found_does_not_make_a_directory_foreign() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("lost+found")).unwrap();
        assert!(Directory::claim(folder.path()).is_ok());
    }
}
