//! What was seen of the dark, and what of it is amiss.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::super::Context;
use super::CALLERS;
use crate::caller::{Ask, CORRUPT, CUT, DONE, Told};
use crate::journal::Findings;
use crate::remote::Mode;

/// From the last that came through the wire.
const OPENS_WITHIN: Duration = Duration::from_secs(2);
/// A call that meets the dark.
const ENDS_WITHIN: Duration = Duration::from_secs(4);
/// From the first light: calls succeed, and repairs are done.
const RECOVERS_WITHIN: Duration = Duration::from_secs(10);
/// Until health and readiness, which are asked of a probe, say what the breaker knows.
const TOLD_WITHIN: Duration = Duration::from_secs(3);
/// A read in a fallback of what only the dark member has.
const UNREADABLE: &str = "503 UNAVAILABLE of what only the dark member has";

/// What was seen, the worst of all rounds.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) rounds: u32,
    pub(super) acknowledged: u64,
    /// Absent where it did not open while anybody looked.
    pub(super) opened: Vec<Option<Duration>>,
    pub(super) told_down: Vec<Option<Duration>>,
    /// Calls that met the dark, by how they ended.
    in_the_dark: BTreeMap<String, u64>,
    slowest_in_the_dark: Duration,
    /// Refusals that are no problems, or do not say when to come again.
    unclean: u64,
    pub(super) succeeded_again: Vec<Option<Duration>>,
    pub(super) closed: Vec<Option<Duration>>,
    failed_afterwards: BTreeMap<String, u64>,
    hashed: u64,
    corrupt: u64,
    pub(super) health_not_200: u64,
    /// Keys that waited for repair at the end of each dark, where there are members to repair.
    pub(super) to_repair: Vec<u64>,
    /// Until none of them waited.
    pub(super) drained: Vec<Option<Duration>>,
    /// From the end of the load until nothing waited.
    pub(super) at_rest: Vec<Option<Duration>>,
    /// Copies that are not where they belong.
    pub(super) misplaced: Vec<String>,
    pub(super) findings: Findings,
}

impl Tally {
    /// Each goal that was missed.
    pub(super) fn amiss(&self, context: &Context, mode: Mode) -> Vec<String> {
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
        late(&mut amiss, "repairs were done", &self.drained, RECOVERS_WITHIN);
        late(&mut amiss, "nothing waited without load", &self.at_rest, RECOVERS_WITHIN);
        if self.to_repair.contains(&0) {
            amiss.push("the dark left nothing to repair".to_owned());
        }
        if let Some(first) = self.misplaced.first() {
            amiss.push(format!("{} copies are not as they should: {first}", self.misplaced.len()));
        }
        amiss.extend(self.failed_calls(mode));
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

    /// Calls in the dark that ended in a way for which there is no excuse.
    pub(super) fn failed_calls(&self, mode: Mode) -> Vec<String> {
        let allowed = excuses(mode);
        let other = self.in_the_dark.iter().filter(|(how, _)| !allowed.contains(&how.as_str()));
        other.map(|(how, count)| format!("{count} calls in the dark ended in {how}")).collect()
    }

    /// Counts a call by when it was made.
    pub(super) fn judge(&mut self, call: &Told, times: &Times) {
        self.hashed += u64::from(call.hashed);
        self.corrupt += u64::from(call.outcome == CORRUPT);
        self.unclean += u64::from(!call.is_clean);
        let ended = call.began + call.took;
        if ended <= times.dark {
            if call.outcome != DONE {
                let how = format!("{} before the dark", call.outcome);
                *self.in_the_dark.entry(how).or_default() += 1;
            }
            return;
        }
        if call.began < times.lit {
            self.slowest_in_the_dark = self.slowest_in_the_dark.max(call.took);
            // An answer may have been under way when it went dark, or be when it is lit.
            let crosses = call.began < times.surely_dark || ended > times.lit;
            let how = match (crosses, call.outcome.as_str()) {
                (true, DONE | CUT) => format!("{} across the edge", call.outcome),
                (_, "503 UNAVAILABLE") if times.is_older(call) => UNREADABLE.to_owned(),
                (_, outcome) => outcome.to_owned(),
            };
            *self.in_the_dark.entry(how).or_default() += 1;
        } else if times.well.is_some_and(|well| call.began > well) && call.outcome != DONE {
            *self.failed_afterwards.entry(call.outcome.clone()).or_default() += 1;
        }
    }

    pub(super) fn tell(&self) -> String {
        let repairs = match self.to_repair.iter().max() {
            Some(most) => format!("{most} repairs at most, done {} after", slowest(&self.drained)),
            None => "nobody to repair".to_owned(),
        };
        format!(
            "{} times dark under {CALLERS} callers, {} acknowledged; breaker open after {}, health told \
             after {}; calls in the dark {:?}, slowest {:.1} s; calls again after {}, all as before after \
             {}; {repairs}; {} maybes ({} had happened), {} bodies hashed, {} corrupt bytes accepted; {}",
            self.rounds,
            self.acknowledged,
            slowest(&self.opened),
            slowest(&self.told_down),
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

/// What a call that meets the dark may end in.
fn excuses(mode: Mode) -> &'static [&'static str] {
    const DONE_ACROSS: &str = "done across the edge";
    const CUT_ACROSS: &str = "cut across the edge";
    match mode {
        // Nobody stands in for it.
        Mode::Single => {
            &["503 UNAVAILABLE", "504 BACKEND_TIMEOUT", UNREADABLE, DONE_ACROSS, CUT_ACROSS]
        }
        Mode::Fallback => &[DONE, UNREADABLE, DONE_ACROSS, CUT_ACROSS],
        Mode::Mirror => &[DONE, DONE_ACROSS],
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

/// When what happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) dark: Instant,
    /// Nothing that came through before is told any more.
    pub(super) surely_dark: Instant,
    pub(super) lit: Instant,
    /// From when on no call may fail.
    pub(super) well: Option<Instant>,
}

impl Times {
    /// Whether a call reads what was stored before the dark.
    fn is_older(&self, call: &Told) -> bool {
        call.ask == Ask::Read && call.stored.is_none_or(|stored| stored < self.surely_dark)
    }
}
