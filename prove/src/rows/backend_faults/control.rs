//! What row 6 has to catch.
//!
//! Wrong bytes that nobody can detect: flipped between the service and its caller, and in an object
//! that a stranger put into the bucket, which has no digest of ours. Promises that were never made.
//! A cell whose caller is told something else than its table says, and one whose fault never comes.

use std::time::Duration;

use fake_s3::{Effect, FaultProxy, Headers, WireEffect, WireFault};
use fastrand::Rng;

use super::super::Context;
use super::cells::{Cell, Fault};
use super::play::stock_up;
use super::played::Played;
use crate::Result;
use crate::caller::{CORRUPT, Caller};
use crate::client::{Client, Sha};
use crate::corpus;
use crate::journal::{Breach, Ledger, Value};
use crate::remote::{Mode, PROOFS, Stage};
use crate::verify::{Scope, verify};

/// Answers that are damaged on their way.
const FLIPS: usize = 5;

/// What the controls showed.
pub(super) struct Control {
    pub(super) caught: bool,
    pub(super) told: String,
}

/// Runs those that are no cells; `swapped` are what came of those that are.
///
/// # Errors
/// The harness could not come to an end.
pub(super) fn run(context: &Context, swapped: &[Played]) -> Result<Control> {
    let stage = Stage::start(context, "fault-control", Mode::Single, &[])?;
    let mut ledgers = [Ledger::new(0)];
    stock_up(&stage, &mut ledgers, context.seed())?;
    let on_the_way = flipped_before_the_caller(&stage, &mut ledgers[0])?;
    let undigested = flipped_without_a_digest(&stage)?;
    let planted = plant(&stage, &mut ledgers)?;
    let noticed = swapped.iter().filter(|played| !played.amiss.is_empty()).count();

    let breaches = [Breach::Lost, Breach::Altered, Breach::Revived];
    let caught = on_the_way == FLIPS
        && undigested == 1
        && breaches.into_iter().all(|breach| planted.count(breach) == 1)
        && noticed == swapped.len();
    let told = format!(
        "{FLIPS} bits flipped behind the service: {on_the_way} corrupt bodies accepted; 1 in an \
         object without a digest: {undigested}; 3 planted promises: {planted}; {} cells with other \
         cells' expectations: {noticed} not as specified",
        swapped.len(),
    );
    Ok(Control { caught, told })
}

fn flipped_before_the_caller(stage: &Stage, ledger: &mut Ledger) -> Result<usize> {
    let wire = FaultProxy::start(stage.address())?;
    wire.fault(WireFault::new(WireEffect::Flip(1000)).on("GET").times(FLIPS));
    let proofs: Vec<(String, Sha)> = ledger.present().map(|(k, sha)| (k.to_owned(), sha)).collect();
    let mut caller = Caller::new(Client::new(wire.address()), ledger, 1);
    let read = proofs.iter().map(|(key, sha)| caller.read(key, *sha));
    Ok(read.filter(|told| told.outcome == CORRUPT).count())
}

/// A stranger's object is served as it is: there is nothing to compare it with.
fn flipped_without_a_digest(stage: &Stage) -> Result<usize> {
    let body = corpus::binary(&mut Rng::with_seed(1), 5_000).body;
    let (key, sha) = ("w00/stranger.c2pa", Sha::of(&body));
    let member = stage.struck();
    member.store.put_raw(&format!("proofs/{key}"), body, Headers::default());
    member.wire.fault(WireFault::new(WireEffect::Flip(1000)).on("GET").path(PROOFS));
    let mut ledger = Ledger::new(0);
    let told = Caller::new(Client::new(stage.address()), &mut ledger, 1).read(key, sha);
    // No journal knows it.
    Client::new(stage.address()).delete(key)?;
    Ok(usize::from(told.outcome == CORRUPT))
}

fn plant(stage: &Stage, ledgers: &mut [Ledger]) -> Result<crate::journal::Findings> {
    let ledger = &mut ledgers[0];
    let present: Vec<String> = ledger.present().take(2).map(|(key, _)| key.to_owned()).collect();
    let [altered, revived] = present.as_slice() else {
        return Err("too little is stored for the control".into());
    };
    ledger.plant("w00/never-stored", Value::Present(Sha::of(b"never stored")));
    ledger.plant(altered, Value::Present(Sha::of(b"other bytes")));
    ledger.plant(revived, Value::Absent);
    verify(stage.address(), ledgers, Scope::Fresh)
}

/// Cells whose fault is judged by the table of a milder one, or never comes.
///
/// # Errors
/// The table has no cell of such a name.
pub(super) fn swapped() -> Result<[Cell; 4]> {
    let named = |name: &str| super::CELLS.into_iter().find(|cell| cell.name == name);
    let cell = |name: &str| named(name).ok_or_else(|| format!("there is no cell `{name}`"));
    let delay = cell("delay")?;
    Ok([
        delay.with(Fault::Store(Effect::access_denied)),
        delay.with(Fault::Wire(WireEffect::Flip(1000))),
        cell("403")?.with(Fault::Wire(WireEffect::Delay(Duration::ZERO))),
        // What is done is not undone.
        cell("reset")?.with(Fault::Wire(WireEffect::LoseAnswer)),
    ])
}
