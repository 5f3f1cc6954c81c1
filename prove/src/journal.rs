//! The ack journal: what the service promised, written down outside it.
//!
//! Each writer owns one [`Ledger`] and the keys in it, so the order of its calls is the order of
//! their effects and a key has exactly one right value. A call that got no answer, or whose
//! answer came after a power cut began, is a *doubt*: its keys may be either way, all of them
//! alike where the call is atomic, and are left alone until somebody looks. What is seen then is
//! what must stay.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::client::Sha;

/// Order of all entries of all ledgers.
static SEQUENCE: AtomicU64 = AtomicU64::new(1);

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Nothing: never stored, or deleted.
    Absent,
    /// Bytes of this digest.
    Present(Sha),
}

/// One key's part of a call.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    key: String,
    after: Value,
}

impl Change {
    /// The key holds these bytes once the call is done.
    pub(crate) fn put(key: &str, sha: Sha) -> Self {
        Self { key: key.to_owned(), after: Value::Present(sha) }
    }

    /// The key.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The key is gone once the call is done.
    pub(crate) fn delete(key: &str) -> Self {
        Self { key: key.to_owned(), after: Value::Absent }
    }
}

/// A broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Breach {
    /// Acknowledged, not deleted since, and not there.
    Lost,
    /// There with other bytes: older ones, or ones that nobody stored.
    Altered,
    /// Deleted, acknowledged, and there again.
    Revived,
    /// A call that is all or nothing, half done.
    Torn,
}

/// Broken promises by kind, and the first few in words.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    counts: BTreeMap<Breach, u64>,
    examples: Vec<String>,
    /// Keys that were read back and compared.
    pub(crate) checked: u64,
    /// Doubtful calls that turned out to be done.
    pub(crate) happened: u64,
    /// Doubtful calls in all.
    pub(crate) doubts: u64,
}

impl Findings {
    /// How many promises of a kind were broken.
    pub(crate) fn count(&self, breach: Breach) -> u64 {
        self.counts.get(&breach).copied().unwrap_or_default()
    }

    /// How many promises were broken.
    pub(crate) fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Notes a broken promise.
    pub(crate) fn add(&mut self, breach: Breach, example: impl Into<String>) {
        *self.counts.entry(breach).or_default() += 1;
        if self.examples.len() < 5 {
            self.examples.push(format!("{breach:?}: {}", example.into()));
        }
    }

    /// Adds another's findings.
    pub(crate) fn merge(&mut self, other: Self) {
        for (breach, count) in other.counts {
            *self.counts.entry(breach).or_default() += count;
        }
        self.examples.extend(other.examples);
        self.examples.truncate(5);
        self.checked += other.checked;
        self.happened += other.happened;
        self.doubts += other.doubts;
    }

    /// The first few broken promises in words.
    pub(crate) fn examples(&self) -> &[String] {
        &self.examples
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} lost, {} altered, {} back from the dead, {} torn",
            self.count(Breach::Lost),
            self.count(Breach::Altered),
            self.count(Breach::Revived),
            self.count(Breach::Torn)
        )
    }
}

/// What one writer was promised.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Folder of its keys, with a slash at the end.
    prefix: String,
    /// Every key that was ever part of a call.
    entries: BTreeMap<String, Entry>,
    /// Calls without a certain outcome; each key is in at most one.
    doubts: Vec<Doubt>,
    history: Vec<Event>,
    acknowledged: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    value: Value,
    /// Part of a doubt: `value` may be outdated.
    in_doubt: bool,
    /// Written since the last look.
    fresh: bool,
}

#[derive(Debug)]
struct Doubt {
    changes: Vec<(Change, Value)>,
}

#[derive(Debug)]
struct Event {
    sequence: u64,
    what: &'static str,
    outcome: String,
    changes: Vec<Change>,
}

impl Ledger {
    /// An empty ledger of the writer that owns all keys below a folder.
    pub(crate) fn new(writer: usize) -> Self {
        Self { prefix: format!("w{writer:02}/"), ..Self::default() }
    }

    /// Folder of its keys, with a slash at the end.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Number of acknowledged calls.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Notes a call that was answered with 2xx: all its changes are promised.
    pub(crate) fn acknowledge(&mut self, what: &'static str, changes: Vec<Change>) {
        self.acknowledged += 1;
        for change in &changes {
            let entry = Entry { value: change.after, in_doubt: false, fresh: true };
            self.entries.insert(change.key.clone(), entry);
        }
        self.note(what, "acknowledged", changes);
    }

    /// Notes a call that may have been done. `atomic`: if so, then all of it.
    pub(crate) fn doubt(
        &mut self,
        what: &'static str,
        changes: Vec<Change>,
        atomic: bool,
        why: &str,
    ) {
        let mut pairs = Vec::with_capacity(changes.len());
        for change in &changes {
            let absent = Entry { value: Value::Absent, in_doubt: false, fresh: true };
            let entry = self.entries.entry(change.key.clone()).or_insert(absent);
            entry.in_doubt = true;
            entry.fresh = true;
            pairs.push((change.clone(), entry.value));
        }
        if atomic {
            self.doubts.push(Doubt { changes: pairs });
        } else {
            self.doubts.extend(pairs.into_iter().map(|pair| Doubt { changes: vec![pair] }));
        }
        self.note(what, why, changes);
    }

    /// Notes a call that was refused for certain: its key holds what it held, which a look has to
    /// find.
    pub(crate) fn refuse(&mut self, what: &'static str, change: Change, answer: &str) {
        let absent = Entry { value: Value::Absent, in_doubt: false, fresh: true };
        self.entries.entry(change.key.clone()).or_insert(absent).fresh = true;
        self.note(what, answer, vec![change]);
    }

    /// Calls whose outcome is not known: what their keys held, and what they would hold.
    pub(crate) fn doubts(&self) -> impl Iterator<Item = (&str, Value, Value)> {
        let changes = self.doubts.iter().flat_map(|doubt| &doubt.changes);
        changes.map(|(change, before)| (change.key.as_str(), *before, change.after))
    }

    /// Notes a call that was refused: nothing changed. Kept for the evidence only.
    pub(crate) fn refused(&mut self, what: &'static str, answer: &str) {
        self.note(what, answer, Vec::new());
    }

    /// What each key holds, once everything was looked at.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&str, Value)> {
        self.entries.iter().map(|(key, entry)| (key.as_str(), entry.value))
    }

    /// Keys that certainly hold something and may be used in calls.
    pub(crate) fn present(&self) -> impl Iterator<Item = (&str, Sha)> {
        self.entries.iter().filter_map(|(key, entry)| match entry {
            Entry { value: Value::Present(sha), in_doubt: false, .. } => Some((key.as_str(), *sha)),
            _ => None,
        })
    }

    /// Every key that must be looked at: all of them, or those written since the last look.
    pub(crate) fn keys(&self, only_fresh: bool) -> Vec<String> {
        let wanted = |entry: &Entry| entry.fresh || !only_fresh;
        self.entries.iter().filter(|(_, e)| wanted(e)).map(|(key, _)| key.clone()).collect()
    }

    /// Compares what was seen with what was promised. All doubtful keys must be among `seen`.
    /// From now on the seen values are the right ones.
    pub(crate) fn settle(&mut self, seen: &BTreeMap<String, Value>) -> Findings {
        let mut findings = Findings { checked: seen.len() as u64, ..Findings::default() };
        for doubt in std::mem::take(&mut self.doubts) {
            findings.doubts += 1;
            doubt.settle(seen, &mut findings);
        }
        for (key, &found) in seen {
            let Some(entry) = self.entries.get_mut(key) else { continue };
            if !entry.in_doubt && entry.value != found {
                let text = format!("{key} was {:?}, is {found:?}", entry.value);
                findings.add(breach(entry.value, found), text);
            }
            *entry = Entry { value: found, in_doubt: false, fresh: false };
        }
        findings
    }

    /// Plants a promise that was never made: the control of every check.
    pub(crate) fn plant(&mut self, key: &str, value: Value) {
        self.entries.insert(key.to_owned(), Entry { value, in_doubt: false, fresh: true });
    }

    /// Writes every entry to a file, one a line.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        let mut text = String::new();
        for event in &self.history {
            let Event { sequence, what, outcome, changes } = event;
            // Writing into a string cannot fail.
            let _ = writeln!(text, "{sequence} {what} {outcome} {changes:?}");
        }
        std::fs::write(path, text)
    }

    fn note(&mut self, what: &'static str, outcome: &str, changes: Vec<Change>) {
        let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
        self.history.push(Event { sequence, what, outcome: outcome.to_owned(), changes });
    }
}

impl Doubt {
    fn settle(&self, seen: &BTreeMap<String, Value>, findings: &mut Findings) {
        let found = |change: &Change| seen.get(&change.key).copied().unwrap_or(Value::Absent);
        let done = self.changes.iter().all(|(change, _)| found(change) == change.after);
        let undone = self.changes.iter().all(|(change, before)| found(change) == *before);
        if done {
            findings.happened += 1;
        }
        if done || undone {
            return;
        }
        for (change, before) in &self.changes {
            let found = found(change);
            let text =
                format!("{} was {before:?}, in doubt {:?}, is {found:?}", change.key, change.after);
            match found == *before || found == change.after {
                true => findings.add(Breach::Torn, text),
                false => findings.add(breach(*before, found), text),
            }
        }
    }
}

fn breach(promised: Value, found: Value) -> Breach {
    match (promised, found) {
        (Value::Present(_), Value::Absent) => Breach::Lost,
        (Value::Absent, Value::Present(_)) => Breach::Revived,
        _ => Breach::Altered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha(text: &str) -> Sha {
        Sha::of(text.as_bytes())
    }

    fn seen(pairs: &[(&str, Value)]) -> BTreeMap<String, Value> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect()
    }

    #[test]
    fn each_breach_is_named() {
        let mut ledger = Ledger::new(0);
        for key in ["kept", "lost", "altered", "revived"] {
            ledger.acknowledge("put", vec![Change::put(key, sha("1"))]);
        }
        ledger.acknowledge("delete", vec![Change::delete("revived")]);
        let findings = ledger.settle(&seen(&[
            ("kept", Value::Present(sha("1"))),
            ("lost", Value::Absent),
            ("altered", Value::Present(sha("2"))),
            ("revived", Value::Present(sha("1"))),
        ]));
        let counts = [Breach::Lost, Breach::Altered, Breach::Revived].map(|b| findings.count(b));
        assert_eq!((counts, findings.total(), findings.checked), ([1, 1, 1], 3, 4));
    }

    #[test]
    fn a_doubt_is_either_but_not_both_and_not_other() {
        let outcomes = [
            (Value::Present(sha("1")), Value::Absent, 0),
            (Value::Absent, Value::Present(sha("1")), 0),
            (Value::Present(sha("1")), Value::Present(sha("1")), 2),
            (Value::Absent, Value::Absent, 2),
            (Value::Present(sha("2")), Value::Absent, 2),
        ];
        for (source, destination, breaches) in outcomes {
            let mut ledger = Ledger::new(0);
            ledger.acknowledge("put", vec![Change::put("a", sha("1"))]);
            let moved = vec![Change::delete("a"), Change::put("b", sha("1"))];
            ledger.doubt("move", moved, true, "unanswered");
            assert_eq!(ledger.present().count(), 0, "keys in doubt are left alone");
            let findings = ledger.settle(&seen(&[("a", source), ("b", destination)]));
            assert_eq!(findings.total(), breaches, "{source:?} {destination:?}");
        }
    }

    #[test]
    fn what_was_refused_must_not_have_happened() {
        let mut ledger = Ledger::new(0);
        ledger.acknowledge("put", vec![Change::put("a", sha("1"))]);
        ledger.refuse("delete", Change::delete("a"), "503");
        ledger.refuse("put", Change::put("b", sha("2")), "503");
        let undone = seen(&[("a", Value::Present(sha("1"))), ("b", Value::Absent)]);
        assert_eq!(ledger.settle(&undone).total(), 0);
        ledger.refuse("delete", Change::delete("a"), "503");
        ledger.refuse("put", Change::put("b", sha("2")), "503");
        let done = seen(&[("a", Value::Absent), ("b", Value::Present(sha("2")))]);
        let findings = ledger.settle(&done);
        assert_eq!((findings.count(Breach::Lost), findings.count(Breach::Revived)), (1, 1));
    }

    #[test]
    fn what_was_seen_must_stay() {
        let mut ledger = Ledger::new(0);
        ledger.doubt("put", vec![Change::put("a", sha("1"))], true, "unanswered");
        let present = seen(&[("a", Value::Present(sha("1")))]);
        assert_eq!(ledger.settle(&present).happened, 1);
        assert_eq!(ledger.settle(&present).total(), 0);
        assert_eq!(ledger.settle(&seen(&[("a", Value::Absent)])).count(Breach::Lost), 1);
    }
}
