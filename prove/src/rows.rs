//! The rows of the table: what each shows, and how its outcome is told.

mod backend_faults;
pub(crate) mod corruption;
mod dark_backend;
mod disk_faults;
mod drain;
mod kill;
mod memory;
mod overload;
mod pool_model;
mod power;
mod secrets;
mod slow_clients;
mod suites;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::server::Launch;
use crate::{Failure, Result, interrupt};

/// A row, by what it does to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// Power cuts on a real file system.
    Power,
    /// SIGKILL under load.
    Kill,
    /// Damaged files.
    Corruption,
    /// A full disk, and a disk that fails to sync.
    DiskFaults,
    /// Random histories of pools.
    PoolModel,
    /// Faults of a remote backend and of the wire to it.
    BackendFaults,
    /// A remote backend that is cut off and comes back.
    DarkBackend,
    /// Every call by whoever may and may not.
    Authorisation,
    /// Requests that nobody honest sends.
    Hostile,
    /// Ten times as many requests as can be done.
    Overload,
    /// Large uploads under a memory cap.
    Memory,
    /// Connections that are held and hardly used.
    SlowClients,
    /// SIGTERM with requests in flight.
    Drain,
    /// What must not be seen, and what must not be unpacked.
    Secrets,
}

impl Row {
    const ALL: [Self; 14] = [
        Self::Power,
        Self::Kill,
        Self::Corruption,
        Self::DiskFaults,
        Self::PoolModel,
        Self::BackendFaults,
        Self::DarkBackend,
        Self::Authorisation,
        Self::Hostile,
        Self::Overload,
        Self::Memory,
        Self::SlowClients,
        Self::Drain,
        Self::Secrets,
    ];

    /// Number in the table.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Power => 1,
            Self::Kill => 2,
            Self::Corruption => 3,
            Self::DiskFaults => 4,
            Self::PoolModel => 5,
            Self::BackendFaults => 6,
            Self::DarkBackend => 7,
            Self::Authorisation => 8,
            Self::Hostile => 9,
            Self::Overload => 10,
            Self::Memory => 11,
            Self::SlowClients => 12,
            Self::Drain => 13,
            Self::Secrets => 14,
        }
    }

    /// What the table asks for.
    pub(crate) fn goal(self) -> &'static str {
        match self {
            Self::Power => {
                "150 power cuts, ≥ 10 000 acknowledged: 0 lost, 0 altered, 0 back from the dead"
            }
            Self::Kill => {
                "200 kill -9 under 32 clients, ≥ 50 000 acknowledged, 0 lost; ready ≤ 0.5 s with \
                 100 000 objects"
            }
            Self::Corruption => {
                "10 000 flips + 4 096 truncations + 100 swaps: all found, undamaged records readable"
            }
            Self::DiskFaults => {
                "disk full, and EIO at fsync N = 1..50: 0 false acknowledgements, 507 / 503, reads \
                 and deletes go on"
            }
            Self::PoolModel => {
                "pool model: 1 000 seeds × 500 operations ≤ 60 s, 0 violations; a planted bug is found \
                 within 50 seeds"
            }
            Self::BackendFaults => {
                "24 backend faults × {single, fallback, mirror} = 72 cells as specified; 0 corrupt \
                 bytes accepted"
            }
            Self::DarkBackend => {
                "primary blackholed: 0 client errors in a pool; breaker opens ≤ 2 s; served again and \
                 repairs drained ≤ 10 s after it heals"
            }
            Self::Authorisation => {
                "≥ 2 000 authorisation cells and ≥ 2 000 signed-URL mutations: 0 wrongly allowed"
            }
            Self::Hostile => {
                "≥ 10 000 Schemathesis cases, 300 raw hostile requests, ≥ 1 M fuzz runs: 0 panics, 0 \
                 stray 5xx"
            }
            Self::Overload => {
                "10× overload for 60 s: goodput ≥ 90 % of peak, refusals ≤ 20 ms p99 with Retry-After, \
                 normal again ≤ 2 s"
            }
            Self::SlowClients => {
                "5 000 slow connections: a probe client sees 0 errors; survives `nofile=256`"
            }
            Self::Memory => {
                "64 PUTs of 256 MiB at once under a 256 MiB cap: right digests, RSS ≤ 192 MiB \
                 whatever the size"
            }
            Self::Drain => "50 SIGTERMs with 64 in flight: 0 cut answers",
            Self::Secrets => {
                "0 canary secrets in logs, metrics, errors, core dumps; 0 plaintext canaries at rest; a \
                 10 GiB bomb costs ≤ 32 MiB"
            }
        }
    }

    /// Reads `all` or numbers.
    ///
    /// # Errors
    /// A word that is neither, or the number of a row that is not measured here.
    pub(crate) fn select(words: &[String]) -> Result<Vec<Self>> {
        if words.iter().any(|word| word == "all") {
            return Ok(Self::ALL.to_vec());
        }
        words
            .iter()
            .map(|word| {
                let known = Self::ALL.into_iter().find(|row| row.number().to_string() == *word);
                known.ok_or_else(|| Failure::from(format!("no row `{word}`: 1 to 14 or all")))
            })
            .collect()
    }

    /// Runs the row and its control.
    ///
    /// # Errors
    /// The harness could not come to an end.
    pub(crate) fn run(self, context: &Context) -> Result<Outcome> {
        let start = Instant::now();
        let outcome = match self {
            Self::Power => power::run(context),
            Self::Kill => kill::run(context),
            Self::Corruption => corruption::run(context),
            Self::DiskFaults => disk_faults::run(context),
            Self::PoolModel => pool_model::run(context),
            Self::BackendFaults => backend_faults::run(context),
            Self::DarkBackend => dark_backend::run(context),
            Self::Authorisation => suites::authorisation(context),
            Self::Hostile => suites::hostile(context),
            Self::Overload => overload::run(context),
            Self::Memory => memory::run(context),
            Self::SlowClients => slow_clients::run(context),
            Self::Drain => drain::run(context),
            Self::Secrets => secrets::run(context),
        };
        interrupt::check()?;
        outcome.map(|outcome| outcome.with_time(start.elapsed()))
    }
}

/// What every row is given.
#[derive(Debug)]
pub(crate) struct Context {
    binary: PathBuf,
    work: PathBuf,
    seed: u64,
    cut: bool,
}

impl Context {
    /// The service's binary, a folder for everything, the seed, and whether counts are reduced.
    pub(crate) fn new(binary: PathBuf, work: &Path, seed: u64, cut: bool) -> Self {
        Self { binary, work: work.to_owned(), seed, cut }
    }

    /// Folder for everything.
    pub(crate) fn work(&self) -> &Path {
        &self.work
    }

    /// Seed of every random choice.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    /// Whether counts are reduced.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }

    /// One of two counts: the table's, or the reduced one.
    pub(crate) fn count<T>(&self, full: T, cut: T) -> T {
        if self.cut { cut } else { full }
    }

    /// The service on a data directory, with its log in the work folder.
    pub(crate) fn service(&self, data: &Path, name: &str) -> Launch {
        Launch::service(&self.binary, data, self.log(name))
    }

    /// The broken stand-in on a data directory, with its log in the work folder.
    pub(crate) fn stand_in(&self, fault: &str, data: &Path, name: &str) -> Result<Launch> {
        Launch::stand_in(fault, data, self.log(name))
    }

    fn log(&self, name: &str) -> PathBuf {
        self.work.join(format!("{name}.log"))
    }
}

/// What a row came to.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    verdict: Verdict,
    counts: String,
    control: String,
    took: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

impl Outcome {
    /// Passed if nothing is amiss and the control was caught. `amiss`: each goal that was
    /// missed, in words.
    pub(crate) fn judged(
        amiss: &[String],
        counts: impl Into<String>,
        control_caught: bool,
        control: impl Into<String>,
    ) -> Self {
        let mut reasons = amiss.to_vec();
        if !control_caught {
            reasons.push("the negative control did not fail: the row proves nothing".into());
        }
        let verdict = match reasons.is_empty() {
            true => Verdict::Passed,
            false => Verdict::Failed(reasons.join("; ")),
        };
        Self { verdict, counts: counts.into(), control: control.into(), took: Duration::ZERO }
    }

    /// Not run, which is no pass.
    pub(crate) fn skipped(why: impl Into<String>) -> Self {
        let (counts, control) = ("-".into(), "-".into());
        Self { verdict: Verdict::Skipped(why.into()), counts, control, took: Duration::ZERO }
    }

    /// The harness itself failed.
    pub(crate) fn broken(why: &str) -> Self {
        Self::judged(&[format!("could not be measured: {why}")], "-", true, "-")
    }

    /// As in the table.
    pub(crate) fn verdict(&self) -> String {
        match &self.verdict {
            Verdict::Passed => "**PASSED**".into(),
            Verdict::Failed(why) => format!("**FAILED**: {}", cell(why)),
            Verdict::Skipped(why) => format!("SKIPPED ({})", cell(why)),
        }
    }

    /// What was counted.
    pub(crate) fn counts(&self) -> String {
        cell(&self.counts)
    }

    /// What the control showed.
    pub(crate) fn control(&self) -> String {
        cell(&self.control)
    }

    /// How long it took.
    pub(crate) fn took(&self) -> Duration {
        self.took
    }

    /// Whether it failed.
    pub(crate) fn failed(&self) -> bool {
        matches!(self.verdict, Verdict::Failed(_))
    }

    fn with_time(mut self, took: Duration) -> Self {
        self.took = took;
        self
    }
}

/// Text that does not break a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "/").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_that_does_not_fail_fails_the_row() {
        assert!(!Outcome::judged(&[], "", true, "").failed());
        assert!(Outcome::judged(&[], "", false, "").failed());
        assert!(Outcome::judged(&["1 lost".into()], "", true, "").failed());
        assert!(!Outcome::skipped("not root").failed());
    }
}
