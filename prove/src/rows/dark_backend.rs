//! Row 7: the backend is cut off under load, and comes back.
//!
//! Sixteen callers store, read and delete proofs through a service with its default settings. Then
//! the wire goes dark, at times so that connections are still taken, at times so that they are not.
//! The breaker must open soon, every call meanwhile end soon in a clean 503 or 504 that says when to
//! come again, health and readiness say so; and when the wire is lit again all must be as before,
//! by itself. Everything acknowledged is read back.
//!
//! In a pool the first of two members is cut off, and callers must not notice: in a mirror no call
//! fails, in a fallback none but reads of proofs that only the dark member has. When it is back the
//! repairs must be drained soon, and each member have what belongs there.
//!
//! Controls: a wire that does not go dark, a service whose breaker does not listen for silence, a
//! single backend that is judged as a pool, and copies that are lost and planted behind a pool's back.

mod look;
mod tally;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fake_s3::Darkness;

use self::look::Look;
use self::tally::{Tally, Times};
use super::{Context, Outcome};
use crate::Result;
use crate::caller::{Ask, Caller, DONE, Kind, Told};
use crate::client::Client;
use crate::interrupt::{self, poll};
use crate::journal::{Ledger, Value};
use crate::remote::{Mode, Stage};
use crate::verify::{Scope, verify};

const CALLERS: usize = 16;
/// How long the control's wire is dark.
const MOMENT: Duration = Duration::from_secs(3);
/// Of a caller between two calls.
const PAUSE: Duration = Duration::from_millis(40);
/// Load before the dark, and behind the recovery.
const LIGHT: Duration = Duration::from_secs(1);
/// Until what came through the wire before the dark is told to its caller.
const UNDER_WAY: Duration = Duration::from_millis(200);
/// Longest look for anything.
const LIMIT: Duration = Duration::from_secs(12);

/// Runs the row.
///
/// # Errors
/// The harness could not come to an end.
pub(crate) fn run(context: &Context) -> Result<Outcome> {
    let (rounds, dark) = context.count((6, Duration::from_secs(8)), (2, Duration::from_secs(3)));
    let mut amiss = Vec::new();
    let mut counts = Vec::new();
    let mut as_pool = Vec::new();
    let mut planted = 0;
    for mode in Mode::ALL {
        let (stage, ledgers, tally) = rounds_of(context, mode, rounds, dark)?;
        let missed = tally.amiss(context, mode);
        amiss.extend(missed.into_iter().map(|what| format!("{}: {what}", mode.name())));
        counts.push(format!("**{}**: {}", mode.name(), tally.tell()));
        if mode == Mode::Single {
            as_pool = tally.failed_calls(Mode::Mirror);
        } else {
            planted += plant(&stage, &ledgers)?;
        }
    }
    let (lit, deaf) = controls(context)?;
    let caught = !lit.is_empty() && !deaf.is_empty() && !as_pool.is_empty() && planted == 4;
    let first = |amiss: &[String]| amiss.first().cloned().unwrap_or_else(|| "nothing amiss".into());
    let told = format!(
        "a wire that stays lit: {}; a breaker that does not listen for silence: {}; a single backend \
         judged as a mirror: {}; 2 copies lost and 2 planted in pools: {planted} found",
        first(&lit),
        first(&deaf),
        first(&as_pool)
    );
    Ok(Outcome::judged(&amiss, counts.join("; "), caught, told))
}

/// Takes a copy from the first member of a pool and puts one where none belongs; how many are noticed.
fn plant(stage: &Stage, ledgers: &[Ledger]) -> Result<usize> {
    let proof = ledgers.iter().find_map(|ledger| ledger.present().next());
    let (key, _) = proof.ok_or("nothing is stored that the control could take")?;
    stage.members[0].lose(key);
    // Of a key that was refused or deleted, so that it is in a ledger.
    let mut absent = ledgers.iter().flat_map(Ledger::values).filter(|(_, v)| *v == Value::Absent);
    let (gone, _) = absent.next().ok_or("nothing was deleted that the control could bring back")?;
    stage.members[1].bring(gone);
    Ok(stage.misplaced(ledgers)?.len())
}

/// How the wire is cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    As(Darkness),
    /// Not at all: a control.
    Never,
}

/// What is amiss with a wire that stays lit, and with a breaker that does not listen.
fn controls(context: &Context) -> Result<(Vec<String>, Vec<String>)> {
    let never = [("STORAGE_DARK_AFTER", "3600000")];
    thread::scope(|scope| {
        let lit = scope.spawn(|| control(context, "dark-control-lit", Cut::Never, &[]));
        let deaf = control(context, "dark-control-deaf", Cut::As(Darkness::Silent), &never)?;
        let lit = lit.join().map_err(|_| "a control panicked")??;
        Ok((lit.amiss(context, Mode::Single), deaf.amiss(context, Mode::Single)))
    })
}

fn control(context: &Context, name: &str, cut: Cut, settings: &[(&str, &str)]) -> Result<Tally> {
    let stage = Stage::start(context, name, Mode::Single, settings)?;
    let mut ledgers: Vec<Ledger> = (0..CALLERS).map(Ledger::new).collect();
    let mut tally = Tally::default();
    one_round(&stage, cut, MOMENT, &mut ledgers, context.seed(), &mut tally)?;
    Ok(tally)
}

/// All rounds in one mode.
fn rounds_of(
    context: &Context,
    mode: Mode,
    rounds: u64,
    dark: Duration,
) -> Result<(Stage, Vec<Ledger>, Tally)> {
    let name = format!("dark-{}", mode.name());
    let stage = Stage::start(context, &name, mode, &[])?;
    let mut ledgers: Vec<Ledger> = (0..CALLERS).map(Ledger::new).collect();
    let mut tally = Tally::default();
    for round in 0..rounds {
        interrupt::check()?;
        let darkness = if round % 2 == 0 { Darkness::Silent } else { Darkness::Unreachable };
        let seed = context.seed() ^ (round << 8) ^ 7;
        one_round(&stage, Cut::As(darkness), dark, &mut ledgers, seed, &mut tally)?;
        // Without load nothing may be left at all.
        tally.at_rest.push(stage.drained(Instant::now(), LIMIT)?);
        tally.findings.merge(verify(stage.address(), &mut ledgers, Scope::Uncounted)?);
        tally.misplaced.extend(stage.misplaced(&ledgers)?);
    }
    tally.acknowledged = ledgers.iter().map(Ledger::acknowledged).sum();
    if tally.findings.total() > 0 || !tally.misplaced.is_empty() {
        for (number, ledger) in ledgers.iter().enumerate() {
            ledger.save(&context.work().join(format!("{name}-{number}.journal")))?;
        }
    }
    Ok((stage, ledgers, tally))
}

/// Light, dark, light again, under load throughout.
fn one_round(
    stage: &Stage,
    cut: Cut,
    dark: Duration,
    ledgers: &mut [Ledger],
    seed: u64,
    tally: &mut Tally,
) -> Result<()> {
    let stop = AtomicBool::new(false);
    let told = Mutex::new(Vec::new());
    let times = thread::scope(|scope| -> Result<Times> {
        let handles: Vec<_> = ledgers
            .iter_mut()
            .enumerate()
            .map(|(number, ledger)| {
                let seed = seed.wrapping_mul(1_000_003).wrapping_add(number as u64);
                let client = Client::new(stage.address()).with_timeout(LIMIT * 2);
                let (stop, told) = (&stop, &told);
                scope.spawn(move || converse(Caller::new(client, ledger, seed), stop, told))
            })
            .collect();
        let times = watch(stage, cut, dark, &told, tally);
        stop.store(true, Ordering::SeqCst);
        for handle in handles {
            handle.join().map_err(|_| "a caller panicked")?;
        }
        times
    });
    // Whatever became of it, the next round begins in the light.
    stage.struck().wire.light_up()?;
    let times = times?;
    tally.rounds += 1;
    let told = told.into_inner().map_err(|_| "a caller panicked")?;
    for call in &told {
        tally.judge(call, &times);
    }
    Ok(())
}

fn converse(mut caller: Caller<'_>, stop: &AtomicBool, told: &Mutex<Vec<Told>>) {
    let mut number = 0_usize;
    while !stop.load(Ordering::SeqCst) {
        // Two of five store, so that there is always something to read and to delete.
        let ask = [Ask::Write, Ask::Read, Ask::Write, Ask::Delete, Ask::Read][number % 5];
        // One in eight is large.
        let kind = Kind::ALL[if number % 8 == 7 { 2 + number / 8 % 2 } else { number % 2 }];
        let call = caller.call(ask, kind);
        // Harness, service and simulation share the cores: a load that fills them would leave it to
        // chance which of the three the goals are missed by.
        thread::sleep(PAUSE);
        if let Ok(mut told) = told.lock() {
            told.push(call);
        }
        number += 1;
    }
}

/// Puts the light out and on, and takes the times.
fn watch(
    stage: &Stage,
    cut: Cut,
    dark: Duration,
    told: &Mutex<Vec<Told>>,
    tally: &mut Tally,
) -> Result<Times> {
    let wire = &stage.struck().wire;
    thread::sleep(LIGHT);
    let went_dark = Instant::now();
    if let Cut::As(darkness) = cut {
        wire.go_dark(darkness)?;
    }
    let surely_dark = Instant::now() + UNDER_WAY;
    let mut look = Look::new(stage);
    tally.opened.push(until(went_dark, dark, || look.is_open())?);
    let is_told = || look.is_told(true, &mut tally.health_not_200);
    tally.told_down.push(until(went_dark, dark, is_told)?);
    thread::sleep(dark.saturating_sub(went_dark.elapsed()));
    tally.to_repair.extend(stage.repairs_pending());

    let lit = Instant::now();
    wire.light_up()?;
    let mut seen = 0;
    let succeeded = until(lit, LIMIT, || {
        let Ok(told) = told.lock() else { return false };
        let since = told[seen..].iter().any(|call| call.began > lit && call.outcome == DONE);
        seen = told.len();
        since
    })?;
    tally.succeeded_again.push(succeeded);
    let as_before = || look.is_closed() && look.is_told(false, &mut tally.health_not_200);
    let closed = until(lit, LIMIT, as_before)?;
    tally.closed.push(closed);
    let well = closed.map(|_| Instant::now());
    if stage.is_pool() {
        tally.drained.push(stage.caught_up(lit, LIMIT)?);
    }
    thread::sleep(LIGHT);
    Ok(Times { dark: went_dark, surely_dark, lit, well })
}

/// The time since an instant at which something was so; none where it was not within the limit.
fn until(
    since: Instant,
    limit: Duration,
    mut is_so: impl FnMut() -> bool,
) -> Result<Option<Duration>> {
    let left = limit.saturating_sub(since.elapsed());
    poll(left, || is_so().then(|| since.elapsed()))
}
