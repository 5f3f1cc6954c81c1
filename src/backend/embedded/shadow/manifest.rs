//! The engine's manifest of a tree: which files it has, and their checksums.
//!
//! ```text
//! current      version u64  xxh3-128 of v<version> u128  kind of checksum u8 (0)
//! v<version>   a file of sections, of these:
//!   tables      levels u8 [ runs u8 [ tables u32 [ id u64  kind u8  xxh3-128 u128  seqno u64 ]]]
//!   blob_files  files u32 [ id u64  kind u8  xxh3-128 u128 ]
//! ```

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

pub(super) const CURRENT_BYTES: usize = 25;

/// The pointer to the manifest in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct Current {
    id: u64,
    checksum: u128,
}

impl Current {
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; CURRENT_BYTES] = bytes.try_into().ok()?;
        let id = u64::from_le_bytes(bytes[..8].try_into().ok()?);
        let checksum = u128::from_le_bytes(bytes[8..24].try_into().ok()?);
        (bytes[24] == 0).then_some(Self { id, checksum })
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn file_name(&self) -> String {
        format!("v{}", self.id)
    }

    /// Whether these are the bytes of the manifest that is pointed to.
    pub(super) fn is_of(&self, bytes: &[u8]) -> bool {
        xxh3_128(bytes) == self.checksum
    }
}

/// Version of the newest manifest in a tree's folder.
pub(super) fn newest(root: &Path) -> io::Result<Option<u64>> {
    let mut newest = None;
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name();
        let version = name.to_str().and_then(|name| name.strip_prefix('v')?.parse().ok());
        newest = newest.max(version);
    }
    Ok(newest)
}

/// What a file of a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Table,
    Blob,
}

impl Kind {
    fn folder(self) -> &'static str {
        match self {
            Self::Table => "tables",
            Self::Blob => "blobs",
        }
    }

    pub(super) fn path(self, root: &Path, id: u64) -> PathBuf {
        root.join(self.folder()).join(id.to_string())
    }

    pub(super) fn copy_name(self, id: u64) -> String {
        format!("{}-{id}", self.folder())
    }
}

/// The files of a tree: kind, number, xxh3-128 of the whole file.
#[derive(Debug)]
pub(super) struct Manifest(Vec<(Kind, u64, u128)>);

impl Manifest {
    /// Reads a manifest; `None` where it makes no sense.
    pub(super) fn parse(path: &Path) -> Option<Self> {
        let sections = sfa::Reader::new(path).ok()?;
        let section = |name: &[u8]| {
            let section = sections.toc().section(name)?;
            let mut bytes = Vec::new();
            section.buf_reader(path).ok()?.read_to_end(&mut bytes).ok()?;
            Some(bytes)
        };
        let mut files = Vec::new();
        let tables = section(b"tables")?;
        let mut rest = Fields(&tables);
        for _ in 0..rest.byte()? {
            for _ in 0..rest.byte()? {
                for _ in 0..rest.u32()? {
                    files.push((Kind::Table, rest.u64()?, rest.checksum()?));
                    let _seqno = rest.u64()?;
                }
            }
        }
        let blobs = section(b"blob_files")?;
        let mut rest = Fields(&blobs);
        for _ in 0..rest.u32()? {
            files.push((Kind::Blob, rest.u64()?, rest.checksum()?));
        }
        Some(Self(files))
    }

    pub(super) fn files(&self) -> impl Iterator<Item = (Kind, u64, u128)> {
        self.0.iter().copied()
    }
}

/// Little-endian fields, one after the other.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn checksum(&mut self) -> Option<u128> {
        let kind = self.byte()?;
        self.take().map(u128::from_le_bytes).filter(|_| kind == 0)
    }
}
