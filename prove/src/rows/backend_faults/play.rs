//! One cell: its fault under load, a few times and then lasting, and what is left of it.

use std::thread;
use std::time::{Duration, Instant};

use fake_s3::{Darkness, Fault as StoreFault, WireEffect, WireFault};

use super::super::Context;
use super::cells::{Cell, Column, Doubts, Fault};
use super::played::{BOUND, FEW, Few, Played, struck};
use crate::Result;
use crate::caller::{Ask, Caller, DONE, Kind, Told};
use crate::client::Client;
use crate::interrupt::poll;
use crate::journal::{Ledger, Value};
use crate::remote::{Mode, PROOFS, Stage};
use crate::verify::{Scope, verify};

/// Longest until requests succeed again.
const RECOVERS_WITHIN: Duration = Duration::from_secs(10);
/// Short attempts, because the default of 30 s would only make the row longer; and patience with
/// silence, because many cells at once make one on a small machine (row 7 has the defaults).
const SETTINGS: [(&str, &str); 3] = [
    ("STORAGE_TIMEOUT", "3000"),
    ("STORAGE_DARK_AFTER", "2400"),
    ("STORAGE_PROBE_INTERVAL", "1000"),
];
/// How long a wire is out as a whole where it is so for a moment.
const MOMENT: Duration = Duration::from_millis(300);
/// Longest until a pool has nothing to repair any more.
const DRAINS_WITHIN: Duration = Duration::from_secs(20);
/// A mirror reads from its fastest member: the one that is not struck is held back by so much.
const HELD_BACK: Duration = Duration::from_millis(15);

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
    if stage.is_mirror() {
        let slow = WireFault::new(WireEffect::Delay(HELD_BACK)).on("GET").times(usize::MAX);
        stage.members[1].wire.fault(slow);
    }

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
    compare_members(&stage, &ledgers, &mut played)?;
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
    if (struck > 0) != column.is_met {
        played.amiss.push(format!("the lasting fault struck {struck} requests"));
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
    match stage.drained(began, DRAINS_WITHIN)? {
        Some(time) => played.slowest_drain = played.slowest_drain.max(time),
        None => {
            let (left, seconds) = (stage.repairs_pending(), DRAINS_WITHIN.as_secs());
            played.amiss.push(format!("{left:?} repairs are left {seconds} s after the fault"));
        }
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

/// Each member of a pool has what belongs there, and nothing else.
fn compare_members(stage: &Stage, ledgers: &[Ledger], played: &mut Played) -> Result<()> {
    let misplaced = stage.misplaced(ledgers)?;
    if let Some(first) = misplaced.first() {
        played.amiss.push(format!("{} copies are not as they should: {first}", misplaced.len()));
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
