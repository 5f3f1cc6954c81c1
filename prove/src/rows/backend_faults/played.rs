//! What came of cells, and what of it is amiss.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cells::{Cell, Fault};
use crate::Result;
use crate::caller::{Ask, CORRUPT, CUT, DONE, Told};
use crate::journal::Findings;
use crate::remote::Stage;

/// Longest that a call may take: 4 attempts of 3 s, a second more for the largest body, up to 3
/// looks of 2 s behind each that is in doubt, and what is slept in between.
pub(super) const BOUND: Duration = Duration::from_secs(40);
/// Requests struck by a fault that does not last: fewer in a row than open a breaker, and so few of
/// all that the service's budget for further tries, a tenth of its calls, suffices.
pub(super) const FEW: usize = 3;

/// What came of cells.
#[derive(Debug, Default)]
pub(super) struct Played {
    pub(super) amiss: Vec<String>,
    pub(super) calls: u64,
    pub(super) struck: u64,
    pub(super) acknowledged: u64,
    pub(super) refusals: BTreeMap<String, u64>,
    pub(super) cut: u64,
    pub(super) doubts: u64,
    pub(super) hashed: u64,
    pub(super) corrupt: u64,
    pub(super) slowest: Duration,
    pub(super) slowest_recovery: Duration,
    pub(super) slowest_drain: Duration,
    pub(super) findings: Findings,
}

impl Played {
    pub(super) fn add(&mut self, other: Self) {
        self.calls += other.calls;
        self.struck += other.struck;
        self.acknowledged += other.acknowledged;
        for (refusal, count) in other.refusals {
            *self.refusals.entry(refusal).or_default() += count;
        }
        self.cut += other.cut;
        self.doubts += other.doubts;
        self.hashed += other.hashed;
        self.corrupt += other.corrupt;
        self.slowest = self.slowest.max(other.slowest);
        self.slowest_recovery = self.slowest_recovery.max(other.slowest_recovery);
        self.slowest_drain = self.slowest_drain.max(other.slowest_drain);
        self.findings.merge(other.findings);
    }

    /// Counts calls, and notes those that ended in a way that is not among the expected.
    pub(super) fn judge(&mut self, when: &str, told: &[Told], expected: &[(Ask, &[&str])]) {
        let mut unexpected: BTreeMap<String, u64> = BTreeMap::new();
        for call in told {
            self.count(call);
            let allowed = expected.iter().find(|(ask, _)| *ask == call.ask);
            let allowed = allowed.map_or(&[DONE][..], |(_, allowed)| allowed);
            if !allowed.contains(&call.outcome.as_str()) {
                let text = format!("{when} a {:?} ended in {}", call.ask, call.outcome);
                *unexpected.entry(text).or_default() += 1;
            }
            if !call.is_clean {
                let text = format!("{when} {} is no problem with Retry-After", call.outcome);
                *unexpected.entry(text).or_default() += 1;
            }
            if call.took > BOUND {
                let text = format!("{when} a {:?} took longer than its bound", call.ask);
                *unexpected.entry(text).or_default() += 1;
            }
        }
        self.amiss.extend(unexpected.into_iter().map(|(text, times)| format!("{text} ({times}×)")));
    }

    /// The same of calls of which a few were struck: no more may be refused, and exactly those where
    /// the table knows no success.
    pub(super) fn judge_few(
        &mut self,
        stage: &Stage,
        cell: &Cell,
        ask: Ask,
        seen: &[&str],
        few: &Few,
    ) -> Result<()> {
        let expected: Vec<&str> = seen.iter().copied().chain([DONE]).collect();
        self.judge("while a few are struck", &few.told, &[(ask, &expected)]);
        self.struck += struck(cell, few.by_wire, FEW as u64);
        let member = stage.struck();
        if member.wire.pending_faults() + member.store.pending_faults() > 0 {
            // A mirror may read all of them elsewhere.
            if !(stage.is_mirror() && ask == Ask::Read) {
                self.amiss.push(format!("the fault was not met by every {ask:?}"));
            }
            member.heal()?;
        }
        let refused = few.told.iter().filter(|call| call.outcome != DONE).count();
        let exactly = !seen.contains(&DONE);
        if refused > FEW || (exactly && refused != FEW) {
            let told = format!("{FEW} of them were struck, and {refused} callers were told");
            self.amiss.push(format!("{ask:?}: {told}"));
        }
        Ok(())
    }

    fn count(&mut self, call: &Told) {
        self.calls += 1;
        self.slowest = self.slowest.max(call.took);
        self.hashed += u64::from(call.hashed);
        match call.outcome.as_str() {
            DONE => self.acknowledged += u64::from(call.ask != Ask::Read),
            CUT => self.cut += 1,
            CORRUPT => self.corrupt += 1,
            other => *self.refusals.entry(other.to_owned()).or_default() += 1,
        }
    }
}

/// What was told while a few requests were to be struck, and how many the wire struck.
pub(super) struct Few {
    pub(super) told: Vec<Told>,
    pub(super) by_wire: u64,
}

/// The wire counts what it strikes; the store strikes what comes.
pub(super) fn struck(cell: &Cell, by_wire: u64, by_store: u64) -> u64 {
    match cell.fault {
        Fault::Wire(_) => by_wire,
        Fault::Store(_) => by_store,
        // As a whole.
        Fault::Unreachable => 1,
    }
}
