//! A copy of the end of a file: everything after its data blocks, or all of a small file.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

/// A file up to this size is copied whole.
const WHOLE_BYTES: u64 = 64 << 10;
const CHECKSUM_BYTES: usize = 16;

/// The end of a file, and how long the file is.
#[derive(Debug)]
pub(super) struct Copy {
    offset: u64,
    bytes: Vec<u8>,
}

impl Copy {
    pub(super) fn whole(bytes: Vec<u8>) -> Self {
        Self { offset: 0, bytes }
    }

    /// Copies from behind the data of a file of sections.
    pub(super) fn of_end(path: &Path) -> io::Result<Self> {
        let length = fs::metadata(path)?.len();
        let offset = if length <= WHOLE_BYTES { 0 } else { end_of_data(path)?.min(length) };
        let mut bytes = vec![0; usize::try_from(length - offset).map_err(io::Error::other)?];
        File::open(path)?.read_exact_at(&mut bytes, offset)?;
        Ok(Self { offset, bytes })
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Keeps the copy. Not synced: a copy that a power cut spoils is known by its checksum.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = self.offset.to_le_bytes().to_vec();
        file.extend_from_slice(&self.bytes);
        file.extend_from_slice(&xxh3_128(&file).to_le_bytes());
        let fresh = path.with_extension("new");
        fs::write(&fresh, file)?;
        fs::rename(&fresh, path)
    }

    /// Reads a copy back; `None` where there is none, or it is damaged itself.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let file = fs::read(path).ok()?;
        let (content, sum) = file.split_last_chunk::<CHECKSUM_BYTES>()?;
        let (offset, bytes) = content.split_first_chunk()?;
        let intact = xxh3_128(content) == u128::from_le_bytes(*sum);
        let offset = u64::from_le_bytes(*offset);
        intact.then(|| Self { offset, bytes: bytes.to_vec() })
    }

    /// Whether a file ends in these bytes, at this place.
    pub(super) fn matches(&self, path: &Path) -> io::Result<bool> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(cause) => return Err(cause),
        };
        if file.metadata()?.len() != self.offset + self.bytes.len() as u64 {
            return Ok(false);
        }
        let mut found = vec![0; self.bytes.len()];
        file.read_exact_at(&mut found, self.offset)?;
        Ok(found == self.bytes)
    }

    /// The file with its end put right, if it then has this checksum.
    pub(super) fn applied_to(&self, path: &Path, checksum: u128) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(cause) => return Err(cause),
        };
        let start = usize::try_from(self.offset).map_err(io::Error::other)?;
        bytes.resize(start, 0);
        bytes.extend_from_slice(&self.bytes);
        Ok((xxh3_128(&bytes) == checksum).then_some(bytes))
    }
}

/// The checksum of a whole file, as manifests have it.
pub(super) fn checksum(path: &Path) -> io::Result<u128> {
    let mut file = File::open(path)?;
    let mut hasher = Xxh3Default::new();
    let mut block = vec![0; WHOLE_BYTES as usize];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hasher.digest128()),
            count => hasher.update(&block[..count]),
        }
    }
}

fn end_of_data(path: &Path) -> io::Result<u64> {
    let sections =
        sfa::Reader::new(path).map_err(|cause| io::Error::other(format!("{cause:?}")))?;
    let data = sections.toc().section(b"data");
    data.map(|data| data.pos() + data.len()).ok_or_else(|| io::Error::other("no data section"))
}
