//! How to open the store, and who hears of its commits.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How to open a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory; made where it is missing.
    pub data_dir: PathBuf,
    /// Bytes of memory for hot blocks and bodies.
    pub cache_bytes: u64,
    /// Bytes of the volume that writes leave free; at most an eighth of the volume counts.
    pub disk_reserve_bytes: u64,
    /// Told of every commit.
    pub observer: Arc<dyn CommitObserver>,
}

/// Hears of commits, on the committer's thread: must not block.
pub trait CommitObserver: Send + Sync + fmt::Debug {
    /// A group is durable and its callers are answered.
    fn committed(&self, group: CommitGroup);
}

/// One commit.
#[derive(Clone, Copy, Debug)]
pub struct CommitGroup {
    /// Callers that shared it.
    pub operations: usize,
    /// About how many bytes it wrote to the journal.
    pub bytes: u64,
    /// From the group's last arrival to the end of its sync.
    pub elapsed: Duration,
}

/// Observes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl CommitObserver for Unobserved {
    fn committed(&self, _: CommitGroup) {}
}
