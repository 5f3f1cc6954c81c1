//! How much room the volume has.

use std::io;
use std::path::Path;

/// Sizes of a file system in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Volume {
    pub(super) total: u64,
    /// What a process without privileges can still write.
    pub(super) free: u64,
}

/// Asks the file system that holds a path.
pub(super) fn volume(path: &Path) -> io::Result<Volume> {
    let stat = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Volume { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) })
}
