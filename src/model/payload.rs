//! The bytes of one write, readable as often as needed.
//!
//! Retry, failover and fan-out all send the same bytes again, so a payload is never a one-way
//! stream: small ones are held in memory, larger ones in a temporary file that has no name and
//! vanishes with its last user, or with the process.

use std::any::Any;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};

/// Replayable bytes. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Payload {
    /// In memory.
    Bytes(Bytes),
    /// In an unnamed temporary file.
    File(Spool),
}

impl Payload {
    /// Number of bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(spool) => spool.len,
        }
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same bytes, with a count of its own of what is read of them.
    #[must_use]
    pub fn watched(&self) -> Self {
        match self {
            Self::Bytes(bytes) => Self::Bytes(bytes.clone()),
            Self::File(spool) => Self::File(Spool { reads: Arc::default(), ..spool.clone() }),
        }
    }

    /// How many pieces were read of it and its clones. What is in memory is taken at once and not
    /// counted.
    pub fn reads(&self) -> u64 {
        match self {
            Self::Bytes(_) => 0,
            // Nothing else is published with the figure.
            Self::File(spool) => spool.reads.load(Ordering::Relaxed),
        }
    }

    /// Reads up to `length` bytes from `offset`; fewer only at the end. Blocks on a file.
    ///
    /// # Errors
    /// The temporary file cannot be read.
    pub fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let rest = self.len().saturating_sub(offset);
        let length = usize::try_from(rest).unwrap_or(usize::MAX).min(length);
        match self {
            Self::Bytes(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
                Ok(bytes.slice(start..start + length))
            }
            Self::File(spool) => {
                spool.reads.fetch_add(1, Ordering::Relaxed);
                let mut buffer = BytesMut::zeroed(length);
                spool.file.read_exact_at(&mut buffer, offset)?;
                if let Some(veil) = &spool.veil {
                    veil.apply(offset, &mut buffer)?;
                }
                Ok(buffer.freeze())
            }
        }
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

/// Makes the bytes of a temporary file unreadable for everybody else, and readable again: the same
/// call does both, in place.
pub trait Veil: fmt::Debug + Send + Sync {
    /// Changes bytes that stand at this offset of the file.
    ///
    /// # Errors
    /// The cipher fails.
    fn apply(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
}

/// A finished temporary file.
#[derive(Clone, Debug)]
pub struct Spool {
    file: Arc<File>,
    veil: Option<Arc<dyn Veil>>,
    len: u64,
    reads: Arc<AtomicU64>,
    #[expect(dead_code, reason = "held for its drop")]
    held: Option<Arc<dyn Any + Send + Sync>>,
}

/// A temporary file that is being filled.
#[derive(Debug)]
pub struct SpoolWriter {
    file: File,
    veil: Option<Arc<dyn Veil>>,
    len: u64,
    held: Option<Arc<dyn Any + Send + Sync>>,
}

impl SpoolWriter {
    /// Opens an unnamed file in a folder. Blocks.
    ///
    /// # Errors
    /// The folder does not exist or cannot be written.
    pub fn create_in(folder: &Path) -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile_in(folder)?, veil: None, len: 0, held: None })
    }

    /// The same, with every byte veiled; before anything is appended.
    #[must_use]
    pub fn veiled(self, veil: Arc<dyn Veil>) -> Self {
        Self { veil: Some(veil), ..self }
    }

    /// The same, and what is given back when the file is gone.
    #[must_use]
    pub fn holding(self, held: Arc<dyn Any + Send + Sync>) -> Self {
        Self { held: Some(held), ..self }
    }

    /// Appends. Blocks.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &self.veil {
            None => self.file.write_all_at(bytes, self.len)?,
            Some(veil) => {
                let mut veiled = bytes.to_vec();
                veil.apply(self.len, &mut veiled)?;
                self.file.write_all_at(&veiled, self.len)?;
            }
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Number of bytes so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was appended yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes it a payload. Not synced: it lives no longer than the request.
    pub fn finish(self) -> Payload {
        let reads = Arc::default();
        let Self { file, veil, len, held } = self;
        Payload::File(Spool { file: Arc::new(file), veil, len, reads, held })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_and_memory_read_alike() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = SpoolWriter::create_in(folder.path()).unwrap();
        writer.append(b"hello ").unwrap();
        writer.append(b"world").unwrap();
        let payloads = [writer.finish(), Payload::from(Bytes::from_static(b"hello world"))];
        for payload in payloads {
            assert_eq!(payload.len(), 11);
            assert_eq!(payload.read_at(0, 5).unwrap(), "hello");
            assert_eq!(payload.read_at(6, 100).unwrap(), "world");
            assert_eq!(payload.read_at(11, 1).unwrap(), "");
            assert_eq!(payload.clone().read_at(4, 3).unwrap(), "o w");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
    }

    #[test]
    fn reads_are_counted_for_whoever_watches() {
        let mut writer = SpoolWriter::create_in(&std::env::temp_dir()).unwrap();
        writer.append(b"hello").unwrap();
        let payload = writer.finish();
        let watched = payload.watched();
        watched.clone().read_at(0, 2).unwrap();
        watched.read_at(2, 2).unwrap();
        assert_eq!((watched.reads(), payload.reads()), (2, 0));
    }
}
