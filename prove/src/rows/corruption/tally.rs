//! What came of each damage, and how it is counted.
//!
//! A store may do three things with damage: show that it does no harm by reading back whole,
//! say so (a `Corrupt` read, a report at opening, a refusal to open that names the file), or,
//! where the end of the journal is hit, stand as it was a write or two earlier, because that is
//! all that a crash in the middle of a write leaves, too. Anything else is a failure.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::damage::{Damage, Kind};
use super::image::Image;
use super::observe::{Read, Seen};
use crate::Result;

/// Writes that the last 4 KiB of the journal can hold at most.
const LAST_WRITES: usize = 42;

static PANICS: AtomicU64 = AtomicU64::new(0);

/// Counts panics from now on, in place of printing them.
pub(super) fn count_panics() {
    std::panic::set_hook(Box::new(|panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        eprintln!("{panic}");
    }));
}

/// Panics so far, also those that the store fenced.
pub(super) fn panics() -> u64 {
    PANICS.load(Ordering::SeqCst)
}

/// What came of one damage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing is amiss: it hit what nobody reads.
    Harmless,
    /// Found: so many objects cannot be read, or the opening reported it.
    Found { unreadable: usize },
    /// Found, and nothing can be read until somebody mends it.
    Refused { named: bool, text: String },
    /// The store stands as it was so many writes earlier, and says nothing.
    Torn { writes: usize },
    /// An object is gone, old or back, and nothing was said.
    Silent(String),
    /// Bytes that nobody stored were given out.
    Wrong(String),
    /// A panic came out of the store.
    Panicked(String),
}

impl Verdict {
    /// Judges what was seen.
    pub(super) fn of(image: &Image, damage: &Damage, seen: &Seen) -> Self {
        let (reports, reads, listed) = match seen {
            Seen::Refused(text) => {
                let name = damage.file().to_string_lossy();
                return Self::Refused { named: text.contains(&*name), text: text.clone() };
            }
            Seen::Panicked(text) => return Self::Panicked(text.clone()),
            Seen::Opened { damage, reads, listed } => (damage, reads, listed),
        };
        let history = image.history();
        let expected = history.state_after(history.len());
        let mut unreadable = 0;
        let mut silent = Vec::new();
        for (key, read) in reads {
            match (read, expected.get(key)) {
                (Read::Bytes(found), _) if !history.ever(key, found) => {
                    return Self::Wrong(key.clone());
                }
                (Read::Bytes(found), Some(right)) if found == right => {}
                (Read::Absent, None) => {}
                (Read::Corrupt | Read::Failed(_), _) => unreadable += 1,
                (Read::Bytes(_), Some(_)) => silent.push(format!("{key} is old")),
                (Read::Bytes(_), None) => silent.push(format!("{key} is back")),
                (Read::Absent, Some(_)) => silent.push(format!("{key} is gone")),
            }
        }
        if let Ok(listed) = listed {
            let is_there = |key: &str| !matches!(reads.get(key), None | Some(Read::Absent));
            let hidden = expected.keys().filter(|k| is_there(k) && !listed.contains(k));
            silent.extend(hidden.map(|key| format!("{key} is not listed")));
            let extra = listed.iter().filter(|key| !is_there(key));
            silent.extend(extra.map(|key| format!("{key} is listed and not there")));
        }
        let said = !reports.is_empty() || listed.is_err();
        if silent.is_empty() {
            return match unreadable > 0 || said {
                true => Self::Found { unreadable },
                false => Self::Harmless,
            };
        }
        if said {
            return Self::Found { unreadable: unreadable + silent.len() };
        }
        let end_is_hit = match damage.kind() {
            Kind::Truncate { .. } => true,
            // Zeroes up to the end of the data are a truncation too.
            Kind::Zero if image.is_end(damage.file(), damage.end()) => true,
            _ => image.is_last_record(damage.file(), damage.offset()),
        };
        let earlier = (history.len().saturating_sub(LAST_WRITES)..history.len()).rev();
        let stands_at = |steps: &usize| {
            let state = history.state_after(*steps);
            reads.iter().all(|(key, read)| match read {
                Read::Bytes(found) => state.get(key) == Some(found),
                Read::Absent => !state.contains_key(key),
                Read::Corrupt | Read::Failed(_) => false,
            })
        };
        match earlier.into_iter().find(stands_at).filter(|_| end_is_hit) {
            Some(steps) => Self::Torn { writes: history.len() - steps },
            None => Self::Silent(format!("{} objects: {}", silent.len(), first_few(&silent))),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Harmless => "harmless",
            Self::Found { .. } => "found",
            Self::Refused { named: true, .. } => "refused",
            Self::Refused { named: false, .. } => "refused-unnamed",
            Self::Torn { .. } => "torn",
            Self::Silent(_) => "silent",
            Self::Wrong(_) => "wrong",
            Self::Panicked(_) => "panicked",
        }
    }

    fn figure(&self) -> usize {
        match self {
            Self::Found { unreadable } => *unreadable,
            Self::Torn { writes } => *writes,
            _ => 0,
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Refused { text, .. }
            | Self::Silent(text)
            | Self::Wrong(text)
            | Self::Panicked(text) => text,
            _ => "",
        }
    }
}

fn first_few(texts: &[String]) -> String {
    texts.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// One case's outcome as a line for [`Tally::add_line`].
pub(super) fn line(kind: Kind, verdict: &Verdict, panics: u64) -> String {
    let text = verdict.text().replace(['\n', '\t'], " ");
    let (name, figure) = (verdict.name(), verdict.figure());
    format!("{}\t{name}\t{figure}\t{panics}\t{text}", kind.name())
}

/// All outcomes.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// By kind of damage and outcome.
    counts: BTreeMap<(String, String), u64>,
    /// Unreadable objects of each case that was found and opened.
    unreadable: Vec<u64>,
    most_torn: u64,
    fenced_panics: u64,
    failures: Vec<String>,
}

impl Tally {
    /// Adds a line of [`line`] about a case.
    pub(super) fn add_line(&mut self, case: &str, line: &str) -> Result<()> {
        let fields: Vec<&str> = line.splitn(5, '\t').collect();
        let [kind, name, figure, panics, text] = fields.as_slice() else {
            return Err(format!("a sweep said {line:?}").into());
        };
        let figure: u64 = figure.parse()?;
        *self.counts.entry(((*kind).to_owned(), (*name).to_owned())).or_default() += 1;
        self.fenced_panics += panics.parse::<u64>()?;
        match *name {
            "found" => self.unreadable.push(figure),
            "torn" => self.most_torn = self.most_torn.max(figure),
            "harmless" | "refused" => {}
            _ => self.failures.push(format!("{name} ({case}): {text}")),
        }
        Ok(())
    }

    /// Notes that the process died in a case.
    pub(super) fn died(&mut self, case: &str, status: &str) {
        let kind = ("all".to_owned(), "died".to_owned());
        *self.counts.entry(kind).or_default() += 1;
        self.failures.push(format!("died of {status} ({case})"));
    }

    /// Adds another's counts.
    pub(super) fn merge(&mut self, other: Self) {
        for (key, count) in other.counts {
            *self.counts.entry(key).or_default() += count;
        }
        self.unreadable.extend(other.unreadable);
        self.most_torn = self.most_torn.max(other.most_torn);
        self.fenced_panics += other.fenced_panics;
        self.failures.extend(other.failures);
    }

    /// Number of cases.
    pub(super) fn cases(&self) -> u64 {
        self.counts.values().sum()
    }

    /// What breaks the promise, in words.
    pub(super) fn amiss(&self) -> Vec<String> {
        let mut amiss = Vec::new();
        for name in ["wrong", "silent", "panicked", "died", "refused-unnamed"] {
            let count: u64 =
                self.counts.iter().filter(|((_, n), _)| n == name).map(|(_, count)| count).sum();
            if count > 0 {
                let example = self.failures.iter().find(|f| f.starts_with(name));
                let example = example.map(String::as_str).unwrap_or_default();
                amiss.push(format!("{count} {name}, such as {example}"));
            }
        }
        amiss
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kind in ["flips", "truncations", "swaps", "zeroed sectors"] {
            let of_kind = self.counts.iter().filter(|((k, _), _)| k == kind);
            let total: u64 = of_kind.clone().map(|(_, count)| count).sum();
            let parts: Vec<String> =
                of_kind.map(|((_, n), count)| format!("{count} {n}")).collect();
            write!(f, "{total} {kind} ({}); ", parts.join(", "))?;
        }
        let mut unreadable = self.unreadable.clone();
        unreadable.sort_unstable();
        let median = unreadable.get(unreadable.len() / 2).copied().unwrap_or_default();
        let most = unreadable.last().copied().unwrap_or_default();
        write!(
            f,
            "objects unreadable where it was found and the store opened: {median} (median), {most} \
             (most) of 230; a torn end cost at most {} writes; {} panics of the engine fenced",
            self.most_torn, self.fenced_panics
        )
    }
}
