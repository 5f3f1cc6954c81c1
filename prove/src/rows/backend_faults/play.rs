//! One cell: its fault under load, a few times and then lasting, and what is left of it.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use fake_s3::{Darkness, Fault as StoreFault, WireFault};

use super::super::Context;
use super::cells::{Cell, Column, Doubts, Fault};
use crate::Result;
use crate::caller::{Ask, CORRUPT, CUT, Caller, DONE, Kind, Told};
use crate::client::Client;
use crate::interrupt::poll;
use crate::journal::{Findings, Ledger, Value};
use crate::remote::{Mode, PROOFS, Stage};
use crate::verify::{Scope, verify};

/// Longest that a call may take: 4 attempts of 3 s, a second more for the largest body, up to 3
/// looks of 2 s behind each that is in doubt, and what is slept in between.
pub(super) const BOUND: Duration = Duration::from_secs(40);
/// Longest until requests succeed again.
const RECOVERS_WITHIN: Duration = Duration::from_secs(10);
/// Short attempts, because the default of 30 s would only make the row longer; and patience with
/// silence, because many cells at once make one on a small machine (row 7 has the defaults).
const SETTINGS: [(&str, &str); 3] = [
    ("STORAGE_TIMEOUT", "3000"),
    ("STORAGE_DARK_AFTER", "2400"),
    ("STORAGE_PROBE_INTERVAL", "1000"),
];
/// Requests struck by a fault that does not last: fewer in a row than open a breaker, and so few of
/// all that the service's budget for further tries, a tenth of its calls, suffices.
const FEW: usize = 3;
/// How long a wire is out as a whole where it is so for a moment.
const MOMENT: Duration = Duration::from_millis(300);

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
    fn judge_few(
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
            self.amiss.push(format!("the fault was not met by every {ask:?}"));
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

/// Plays a cell.
///
/// # Errors
/// The harness could not come to an end.
pub(super) fn play(context: &Context, name: &str, mode: Mode, cell: &Cell) -> Result<Played> {
    let column = cell.column(mode);
    let stage = Stage::start(context, name, mode, &SETTINGS)?;
    let callers = context.count(8, 4);
    let mut ledgers: Vec<Ledger> = (0..callers).map(Ledger::new).collect();
    let mut played = Played::default();
    let seed = context.seed() ^ 6;

    let stock = stock_up(&stage, &mut ledgers, seed)?;
    played.judge("before the fault", &stock, &[]);
    for &(ask, seen) in column.once {
        for round in 0..context.count(2, 1) {
            let seed = seed.wrapping_add(round * 64 + ask as u64);
            let told = strike_a_few(&stage, cell, ask, &mut ledgers, seed, context.count(3, 1))?;
            played.judge_few(&stage, cell, ask, seen, &told)?;
        }
    }
    let time = context.count(Duration::from_secs(4), Duration::from_millis(1200));
    strike_all(&stage, cell, column, &mut ledgers, seed, time, &mut played)?;
    recover(&stage, &mut played)?;
    look_up_doubts(&stage, column.doubts, &ledgers, &mut played)?;
    played.findings.merge(verify(stage.address(), &mut ledgers, Scope::Uncounted)?);
    if played.findings.total() > 0 {
        let examples = played.findings.examples().join("; ");
        played.amiss.push(format!("broken promises: {examples}"));
        for (number, ledger) in ledgers.iter().enumerate() {
            ledger.save(&context.work().join(format!("{name}-{number}.journal")))?;
        }
    }
    Ok(played)
}

/// Stores what there is to read and to delete.
pub(super) fn stock_up(stage: &Stage, ledgers: &mut [Ledger], seed: u64) -> Result<Vec<Told>> {
    at_once(stage, ledgers, seed ^ 0xabc, |caller| {
        (0..2).flat_map(|_| Kind::ALL).map(|kind| caller.write(kind)).collect()
    })
}

/// What was told while a few requests were to be struck, and how many the wire struck.
struct Few {
    told: Vec<Told>,
    by_wire: u64,
}

/// Lets the fault strike a few requests of one kind, under calls of that kind: so many times each
/// kind of proof for each caller.
fn strike_a_few(
    stage: &Stage,
    cell: &Cell,
    ask: Ask,
    ledgers: &mut [Ledger],
    seed: u64,
    times: usize,
) -> Result<Few> {
    let (member, before) = (stage.struck(), stage.struck().wire.struck());
    match cell.fault {
        Fault::Wire(effect) => {
            let fault = WireFault::new(effect).on(method(ask)).path(PROOFS);
            member.wire.fault(fault.times(FEW));
        }
        Fault::Store(effect) => {
            let fault = StoreFault::new(effect()).on(operation(ask)).key("proofs/");
            member.store.fault(fault.times(FEW));
        }
        Fault::Unreachable => member.wire.go_dark(Darkness::Unreachable)?,
    }
    let told = thread::scope(|scope| -> Result<Vec<Told>> {
        let calling = scope.spawn(|| {
            at_once(stage, ledgers, seed, |caller| {
                let kinds = (0..times).flat_map(|_| Kind::ALL);
                kinds.map(|kind| caller.call(ask, kind)).collect()
            })
        });
        let lit = match cell.fault {
            Fault::Unreachable => {
                thread::sleep(MOMENT);
                member.wire.light_up()
            }
            Fault::Wire(_) | Fault::Store(_) => Ok(()),
        };
        let told = calling.join().map_err(|_| "a caller panicked")?;
        lit?;
        told
    })?;
    Ok(Few { told, by_wire: member.wire.struck() - before })
}

/// Lets the fault strike every request for a while, under calls of all kinds.
fn strike_all(
    stage: &Stage,
    cell: &Cell,
    column: &Column,
    ledgers: &mut [Ledger],
    seed: u64,
    time: Duration,
    played: &mut Played,
) -> Result<()> {
    let (member, before) = (stage.struck(), stage.struck().wire.struck());
    let requests = member.store.requests();
    match cell.fault {
        Fault::Wire(effect) => {
            let mut fault = WireFault::new(effect).times(usize::MAX);
            fault = cell.only.into_iter().fold(fault, WireFault::on);
            member.wire.fault(fault);
        }
        Fault::Store(effect) => {
            let mut fault = StoreFault::new(effect()).times(usize::MAX);
            fault = cell.only.into_iter().fold(fault, StoreFault::on);
            member.store.fault(fault);
        }
        Fault::Unreachable => member.wire.go_dark(Darkness::Unreachable)?,
    }
    let asks: Vec<Ask> = column.lasting.iter().map(|(ask, _)| *ask).collect();
    let until = Instant::now() + time;
    let told = at_once(stage, ledgers, seed ^ 0x123, |caller| {
        let mut told = Vec::new();
        // Each kind of call at least once, however long it takes.
        while Instant::now() < until || told.len() < asks.len() {
            let ask = asks[told.len() % asks.len()];
            let kind = Kind::ALL[told.len() / asks.len() % Kind::ALL.len()];
            if ask != Ask::Write && caller.stock() == 0 {
                break;
            }
            told.push(caller.call(ask, kind));
            // A refusal that costs nothing needs no ten thousand proofs.
            thread::sleep(Duration::from_millis(2));
        }
        told
    })?;
    let health = Client::new(stage.address()).call("GET", "/health", &[], b"");
    if !health.is_ok_and(|answer| answer.status() == 200) {
        played.amiss.push("/health is not 200".to_owned());
    }
    let came = match cell.only {
        Some(operation) => member.store.requests().since(&requests).of(operation),
        None => member.store.requests().since(&requests).total(),
    };
    let struck = struck(cell, member.wire.struck() - before, came);
    if struck == 0 {
        played.amiss.push("the lasting fault struck nothing".to_owned());
    }
    played.struck += struck;
    played.judge("while it lasts", &told, column.lasting);
    member.heal()
}

/// Waits until proofs are stored and read again.
fn recover(stage: &Stage, played: &mut Played) -> Result<()> {
    let began = Instant::now();
    let mut ledger = Ledger::new(90);
    let mut caller = Caller::new(Client::new(stage.address()), &mut ledger, 1);
    let back = poll(RECOVERS_WITHIN, || {
        let calls = [Ask::Write, Ask::Read, Ask::Delete].map(|ask| caller.call(ask, Kind::Json));
        calls.iter().all(|call| call.outcome == DONE).then_some(())
    })?;
    played.slowest_recovery = played.slowest_recovery.max(began.elapsed());
    if back.is_none() {
        played.amiss.push(format!("not back {} s after the fault", RECOVERS_WITHIN.as_secs()));
    }
    // What is in doubt must not be among what the listing shows and no journal knows.
    let doubtful: Vec<String> = ledger.keys(false);
    let mut client = Client::new(stage.address());
    for key in doubtful {
        client.delete(&key)?;
    }
    Ok(())
}

/// What became of the calls that nobody knew the outcome of.
fn look_up_doubts(
    stage: &Stage,
    expected: Doubts,
    ledgers: &[Ledger],
    played: &mut Played,
) -> Result<()> {
    let mut other = 0;
    for (key, before, after) in ledgers.iter().flat_map(Ledger::doubts) {
        played.doubts += 1;
        let found = stage.struck().holds(key)?.map_or(Value::Absent, Value::Present);
        let is_right = match expected {
            Doubts::Undone => found == before,
            Doubts::Done => found == after,
            Doubts::Either => found == before || found == after,
        };
        other += u64::from(!is_right);
    }
    if other > 0 {
        played.amiss.push(format!("{other} changes in doubt are not {expected:?} in the bucket"));
    }
    Ok(())
}

/// Runs one thread for each ledger.
fn at_once(
    stage: &Stage,
    ledgers: &mut [Ledger],
    seed: u64,
    calls: impl Fn(&mut Caller<'_>) -> Vec<Told> + Sync,
) -> Result<Vec<Told>> {
    let calls = &calls;
    thread::scope(|scope| {
        let handles: Vec<_> = ledgers
            .iter_mut()
            .enumerate()
            .map(|(number, ledger)| {
                let seed = seed.wrapping_mul(1_000_003).wrapping_add(number as u64);
                // Waits longer than the bound, so that a call which exceeds it is seen to end.
                let client = Client::new(stage.address()).with_timeout(BOUND * 2);
                scope.spawn(move || calls(&mut Caller::new(client, ledger, seed)))
            })
            .collect();
        let mut told = Vec::new();
        for handle in handles {
            told.extend(handle.join().map_err(|_| "a caller panicked")?);
        }
        Ok(told)
    })
}

/// The wire counts what it strikes; the store strikes what comes.
fn struck(cell: &Cell, by_wire: u64, by_store: u64) -> u64 {
    match cell.fault {
        Fault::Wire(_) => by_wire,
        Fault::Store(_) => by_store,
        // As a whole.
        Fault::Unreachable => 1,
    }
}

fn method(ask: Ask) -> &'static str {
    match ask {
        Ask::Write | Ask::Copy => "PUT",
        Ask::Read => "GET",
        Ask::Delete => "DELETE",
    }
}

fn operation(ask: Ask) -> &'static str {
    match ask {
        Ask::Write => "PutObject",
        Ask::Read => "GetObject",
        Ask::Delete => "DeleteObject",
        Ask::Copy => "CopyObject",
    }
}
