//! Row 7: the backend is cut off under load, and comes back.
//!
//! Sixteen callers store, read and delete proofs through a service with its default settings. Then
//! the wire goes dark, at times so that connections are still taken, at times so that they are not.
//! The breaker must open soon, every call meanwhile end soon in a clean 503 or 504 that says when to
//! come again, health and readiness say so; and when the wire is lit again all must be as before,
//! by itself. Everything acknowledged is read back.
//!
//! Controls: a wire that does not go dark, and a service whose breaker does not listen for silence.

mod look;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fake_s3::Darkness;

use self::look::Look;
use super::{Context, Outcome};
use crate::Result;
use crate::caller::{Ask, CORRUPT, CUT, Caller, DONE, Kind, Told};
use crate::client::Client;
use crate::interrupt::{self, poll};
use crate::journal::{Findings, Ledger};
use crate::remote::{Mode, Stage};
use crate::verify::{Scope, verify};

const CALLERS: usize = 16;
/// From the last that came through the wire.
const OPENS_WITHIN: Duration = Duration::from_secs(2);
/// A call that meets the dark.
const ENDS_WITHIN: Duration = Duration::from_secs(4);
/// From the first light.
const RECOVERS_WITHIN: Duration = Duration::from_secs(10);
/// Until health and readiness, which are asked of a probe, say what the breaker knows.
const TOLD_WITHIN: Duration = Duration::from_secs(3);
/// Load before the dark, and behind the recovery.
const LIGHT: Duration = Duration::from_secs(1);
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
    for mode in Mode::ALL {
        let tally = rounds_of(context, "dark", mode, &[], rounds, dark)?;
        amiss.extend(
            tally.amiss(context, mode).into_iter().map(|what| format!("{}: {what}", mode.name())),
        );
        counts.push(format!("{}: {}; {}", mode.name(), tally.tell(), of_pools(mode)));
    }
    let (lit, deaf) = controls(context)?;
    let caught = !lit.is_empty() && !deaf.is_empty();
    let first = |amiss: &[String]| amiss.first().cloned().unwrap_or_else(|| "nothing amiss".into());
    let told = format!(
        "a wire that stays lit: {}; a breaker that does not listen for silence: {}",
        first(&lit),
        first(&deaf)
    );
    Ok(Outcome::judged(&amiss, counts.join("; "), caught, told))
}

/// What a call that meets the dark may end in.
fn excuses(mode: Mode) -> &'static [&'static str] {
    match mode {
        // Nobody stands in for it. A pool will have no excuse.
        Mode::Single => &["503 UNAVAILABLE", "504 BACKEND_TIMEOUT"],
    }
}

/// The goals that only a pool can have: no client errors, and repairs drained soon.
fn of_pools(mode: Mode) -> &'static str {
    match mode {
        Mode::Single => "0 client errors and drained repairs are not applicable",
    }
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
    one_round(&stage, cut, OPENS_WITHIN * 3 / 2, &mut ledgers, context.seed(), &mut tally)?;
    Ok(tally)
}

fn rounds_of(
    context: &Context,
    name: &str,
    mode: Mode,
    settings: &[(&str, &str)],
    rounds: u64,
    dark: Duration,
) -> Result<Tally> {
    let stage = Stage::start(context, name, mode, settings)?;
    let mut ledgers: Vec<Ledger> = (0..CALLERS).map(Ledger::new).collect();
    let mut tally = Tally::default();
    for round in 0..rounds {
        interrupt::check()?;
        let darkness = if round % 2 == 0 { Darkness::Silent } else { Darkness::Unreachable };
        let seed = context.seed() ^ (round << 8) ^ 7;
        one_round(&stage, Cut::As(darkness), dark, &mut ledgers, seed, &mut tally)?;
        tally.findings.merge(verify(stage.address(), &mut ledgers, Scope::Uncounted)?);
    }
    tally.acknowledged = ledgers.iter().map(Ledger::acknowledged).sum();
    if tally.findings.total() > 0 {
        for (number, ledger) in ledgers.iter().enumerate() {
            ledger.save(&context.work().join(format!("{name}-{number}.journal")))?;
        }
    }
    Ok(tally)
}

/// What was seen, the worst of all rounds.
#[derive(Debug, Default)]
struct Tally {
    rounds: u32,
    acknowledged: u64,
    /// Absent where it did not open while anybody looked.
    opened: Vec<Option<Duration>>,
    told_down: Vec<Option<Duration>>,
    /// Calls that met the dark, by how they ended.
    in_the_dark: BTreeMap<String, u64>,
    slowest_in_the_dark: Duration,
    /// Refusals that are no problems, or do not say when to come again.
    unclean: u64,
    succeeded_again: Vec<Option<Duration>>,
    closed: Vec<Option<Duration>>,
    failed_afterwards: BTreeMap<String, u64>,
    hashed: u64,
    corrupt: u64,
    health_not_200: u64,
    findings: Findings,
}

impl Tally {
    /// Each goal that was missed.
    fn amiss(&self, context: &Context, mode: Mode) -> Vec<String> {
        let mut amiss = Vec::new();
        // A goal for a quiet machine: what CI has to spare is not known.
        let opens = if context.is_cut() { OPENS_WITHIN * 2 } else { OPENS_WITHIN };
        late(&mut amiss, "the breaker opened", &self.opened, opens);
        late(&mut amiss, "health and readiness told of it", &self.told_down, opens + TOLD_WITHIN);
        late(&mut amiss, "calls succeeded again", &self.succeeded_again, RECOVERS_WITHIN);
        late(
            &mut amiss,
            "breaker, health and readiness were as before",
            &self.closed,
            RECOVERS_WITHIN,
        );
        let allowed = excuses(mode);
        let other = self.in_the_dark.iter().filter(|(how, _)| !allowed.contains(&how.as_str()));
        for (how, count) in other {
            amiss.push(format!("{count} calls in the dark ended in {how}"));
        }
        if self.slowest_in_the_dark > ENDS_WITHIN {
            let seconds = self.slowest_in_the_dark.as_secs_f32();
            amiss.push(format!("a call in the dark took {seconds:.1} s"));
        }
        if self.unclean > 0 {
            amiss.push(format!("{} refusals without a problem or Retry-After", self.unclean));
        }
        for (how, count) in &self.failed_afterwards {
            amiss.push(format!("{count} calls after the recovery ended in {how}"));
        }
        if self.corrupt > 0 {
            amiss.push(format!("{} bodies with wrong bytes accepted", self.corrupt));
        }
        if self.health_not_200 > 0 {
            amiss.push(format!("/health was {} times not 200", self.health_not_200));
        }
        if self.findings.total() > 0 {
            amiss.push(format!("broken promises: {}", self.findings.examples().join("; ")));
        }
        amiss
    }

    fn tell(&self) -> String {
        format!(
            "{} times dark under {CALLERS} callers, {} acknowledged; breaker open after {}, health \
             and readiness down after {}; {} calls in the dark {:?}, slowest {:.1} s; calls again \
             after {}, all as before after {}; {} maybes ({} had happened), {} bodies hashed, {} \
             corrupt bytes accepted; {}",
            self.rounds,
            self.acknowledged,
            slowest(&self.opened),
            slowest(&self.told_down),
            self.in_the_dark.values().sum::<u64>(),
            self.in_the_dark,
            self.slowest_in_the_dark.as_secs_f32(),
            slowest(&self.succeeded_again),
            slowest(&self.closed),
            self.findings.doubts,
            self.findings.happened,
            self.hashed,
            self.corrupt,
            self.findings,
        )
    }
}

fn late(amiss: &mut Vec<String>, what: &str, times: &[Option<Duration>], goal: Duration) {
    if times.iter().any(Option::is_none) {
        amiss.push(format!("{what} not while anybody looked"));
    } else if times.iter().flatten().any(|time| *time > goal) {
        amiss.push(format!("{what} only after {}", slowest(times)));
    }
}

fn slowest(times: &[Option<Duration>]) -> String {
    match times.iter().flatten().max() {
        Some(time) => format!("{:.2} s", time.as_secs_f32()),
        None => "never".to_owned(),
    }
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
        times.judge(call, tally);
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
        if call.outcome != DONE {
            // As one does who is told to come again later, only sooner.
            thread::sleep(Duration::from_millis(20));
        }
        if let Ok(mut told) = told.lock() {
            told.push(call);
        }
        number += 1;
    }
}

/// When what happened.
#[derive(Clone, Copy, Debug)]
struct Times {
    dark: Instant,
    lit: Instant,
    /// From when on no call may fail.
    well: Option<Instant>,
}

impl Times {
    fn judge(&self, call: &Told, tally: &mut Tally) {
        tally.hashed += u64::from(call.hashed);
        tally.corrupt += u64::from(call.outcome == CORRUPT);
        tally.unclean += u64::from(!call.is_clean);
        let ended = call.began + call.took;
        if ended <= self.dark {
            if call.outcome != DONE {
                let how = format!("{} before the dark", call.outcome);
                *tally.in_the_dark.entry(how).or_default() += 1;
            }
            return;
        }
        if call.began < self.lit {
            tally.slowest_in_the_dark = tally.slowest_in_the_dark.max(call.took);
            // An answer may have been under way when it went dark, or be when it is lit.
            let crosses = call.began < self.dark || ended > self.lit;
            if !(crosses && [DONE, CUT].contains(&call.outcome.as_str())) {
                *tally.in_the_dark.entry(call.outcome.clone()).or_default() += 1;
            }
        } else if self.well.is_some_and(|well| call.began > well) && call.outcome != DONE {
            *tally.failed_afterwards.entry(call.outcome.clone()).or_default() += 1;
        }
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
    let mut look = Look::new(stage);
    tally.opened.push(until(went_dark, dark, || look.is_open())?);
    let is_told = || look.is_told(true, &mut tally.health_not_200);
    tally.told_down.push(until(went_dark, dark, is_told)?);
    thread::sleep(dark.saturating_sub(went_dark.elapsed()));

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
    thread::sleep(LIGHT);
    Ok(Times { dark: went_dark, lit, well })
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
