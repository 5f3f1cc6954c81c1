//! How a pool behaves.

use std::path::PathBuf;
use std::time::Duration;

use super::clock::WallClock;
use crate::model::PoolMode;

/// How a pool behaves; [`PoolPolicy::new`] has the usual figures.
#[derive(Clone, Debug)]
pub struct PoolPolicy {
    /// What the members are to each other.
    pub mode: PoolMode,
    /// Copies before a write to a mirror is acknowledged; at least 1.
    pub min_copies: usize,
    /// What the names of this service's objects begin with: it names the pool's records.
    pub namespace: String,
    /// Folder for temporary files of large copies.
    pub spool_folder: PathBuf,
    /// For how long what failed may still land at a member: tombstones live at least as long.
    pub grace: Duration,
    /// Between readings of the members' records while nothing is to be done.
    pub refresh_idle: Duration,
    /// The same while something is.
    pub refresh_busy: Duration,
    /// Keys that are repaired at once.
    pub repair_lanes: usize,
    /// Most keys that the background looks at in a second, to repair or to compare them.
    pub repair_rate: u32,
    /// Most MiB of proofs that repairs move at once: large ones lie in temporary files meanwhile.
    pub repair_mib: u32,
    /// Second questions to a slow member, as a share of all reads of a mirror; 0 for none.
    pub hedge_share: f64,
    /// Where versions get their time.
    pub wall: WallClock,
    /// Name of this process in its versions; different for every one that runs at the same time.
    pub writer: u32,
    /// Mistakes that tests plant, to show that they would be found.
    #[doc(hidden)]
    pub planted: Option<Planted>,
}

/// A promise that is broken on purpose: the harness must notice.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// A delete that did not reach every member is acknowledged without a tombstone.
    DropTombstone,
    /// A write that did not reach its home is acknowledged without a repair record.
    DropRepairRecord,
    /// Versions are bare wall-clock times.
    OrderByWallClock,
    /// What takes the place of another at several homes is not announced.
    DropAnnouncement,
}

impl PoolPolicy {
    /// The usual policy.
    pub fn new(
        mode: PoolMode,
        min_copies: usize,
        namespace: impl Into<String>,
        spool_folder: impl Into<PathBuf>,
    ) -> Self {
        Self {
            mode,
            min_copies: min_copies.max(1),
            namespace: namespace.into(),
            spool_folder: spool_folder.into(),
            grace: Duration::from_secs(15 * 60),
            refresh_idle: Duration::from_secs(30),
            refresh_busy: Duration::from_secs(5),
            repair_lanes: 16,
            repair_rate: 500,
            repair_mib: 256,
            hedge_share: 0.05,
            wall: WallClock::system(),
            writer: fastrand::u32(..),
            planted: None,
        }
    }
}
