//! When a breaker opens and closes: the state machine, without calls, locks or a clock.
//!
//! ```text
//!     failures in a row, a bad window, silence           the time is over, a call comes
//!   Closed ─────────────────────────────────────▶ Open ◀──────────────────────────────▶ HalfOpen
//!      ▲                                             failure: open for twice as long       │
//!      └──────────────────────────── success ──────────────────────────────────────────────┘
//! ```
//!
//! What a half-open breaker admits is a probe. One that was closed by it is on probation: the first
//! failure opens it again, for twice as long, until a call has succeeded.
//!
//! Every admitted call has a [`Ticket`] of the state that admitted it. Results of calls from before
//! a transition say nothing about what came after it and are ignored.

use std::time::Duration;

use tokio::time::Instant;

use super::window::Window;
use crate::telemetry::BreakerState;

/// When to open, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerPolicy {
    /// Failures in a row that open it, each of a call that began after the one before had failed.
    pub failures_in_a_row: u32,
    /// Calls within 10 s from which their share of failures counts.
    pub window_calls: u32,
    /// Share of failures among them that opens it, 0 to 1.
    pub window_failures: f64,
    /// How long nothing need be heard of the backend while somebody waits for it, before it is
    /// asked; where that is not answered for as long, it opens.
    pub silence: Duration,
    /// How long it is open the first time; doubles with each failed probe.
    pub open_first: Duration,
    /// Longest that it is open.
    pub open_most: Duration,
    /// Largest share of the open time that chance takes off, 0 to 1, so that replicas which lost
    /// the same backend do not probe it together.
    pub jitter: f64,
    /// Makes chance repeatable.
    pub seed: Option<u64>,
}

impl Default for BreakerPolicy {
    /// 5 in a row, half of at least 20 within 10 s, or twice 0.9 s of silence; open for 1 s to
    /// 2 s, up to a fifth less: a probe every other second harms nobody, and whoever waits for the
    /// backend to come back waits no longer than that.
    fn default() -> Self {
        Self {
            failures_in_a_row: 5,
            window_calls: 20,
            window_failures: 0.5,
            silence: Duration::from_millis(900),
            open_first: Duration::from_secs(1),
            open_most: Duration::from_secs(2),
            jitter: 0.2,
            seed: None,
        }
    }
}

/// Names the call that a result is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    /// Number of the transitions before it.
    era: u64,
    /// Failures in a row before it.
    seen: u32,
}

#[derive(Clone, Copy, Debug)]
enum Condition {
    Closed,
    Open { until: Instant },
    HalfOpen { probing: bool },
}

/// The state of one breaker. Calls that change it say so by the new state.
#[derive(Debug)]
pub(super) struct State {
    policy: BreakerPolicy,
    condition: Condition,
    since: Instant,
    /// Transitions so far.
    era: u64,
    /// Failures since the last success.
    in_a_row: u32,
    window: Window,
    /// Times opened since a call last succeeded.
    openings: u32,
    chance: fastrand::Rng,
}

impl State {
    pub(super) fn new(policy: BreakerPolicy, now: Instant) -> Self {
        let chance = policy.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        Self {
            policy,
            condition: Condition::Closed,
            since: now,
            era: 0,
            in_a_row: 0,
            window: Window::new(now),
            openings: 0,
            chance,
        }
    }

    /// Whether the call that was admitted last is a probe, whose end decides.
    pub(super) fn is_trying(&self, ticket: Ticket) -> bool {
        ticket.era == self.era && matches!(self.condition, Condition::HalfOpen { .. })
    }

    /// Whether a call may go through; else the time until it makes sense to ask again.
    pub(super) fn admit(&mut self, now: Instant) -> Result<Ticket, Duration> {
        match &mut self.condition {
            Condition::Closed => {}
            Condition::Open { until } if now < *until => return Err(*until - now),
            Condition::Open { .. } => self.enter(Condition::HalfOpen { probing: true }, now),
            // How long the probe takes is unknown; if it fails, at least this long.
            Condition::HalfOpen { probing: true } => return Err(self.policy.open_first),
            Condition::HalfOpen { probing } => *probing = true,
        }
        Ok(self.ticket())
    }

    /// The call was answered, whatever the answer.
    pub(super) fn succeeded(&mut self, ticket: Ticket, now: Instant) {
        if ticket.era != self.era {
            return;
        }
        match self.condition {
            Condition::Closed => {
                self.in_a_row = 0;
                self.openings = 0;
                self.window.record(now, false);
            }
            Condition::HalfOpen { .. } => {
                self.in_a_row = self.policy.failures_in_a_row.saturating_sub(1);
                self.window = Window::new(now);
                self.enter(Condition::Closed, now);
            }
            // Whoever was admitted by an earlier state has another ticket.
            Condition::Open { .. } => {}
        }
    }

    fn ticket(&self) -> Ticket {
        Ticket { era: self.era, seen: self.in_a_row }
    }

    /// The call failed by the backend's fault. What was under way together and fails together goes
    /// on with a row once only: one node of a cluster that dies cuts off all calls it had, and the
    /// next ones reach another.
    pub(super) fn failed(&mut self, ticket: Ticket, now: Instant) {
        if ticket.era != self.era {
            return;
        }
        match self.condition {
            Condition::Closed => {
                if ticket.seen == self.in_a_row {
                    self.in_a_row = self.in_a_row.saturating_add(1);
                }
                self.window.record(now, true);
                if self.is_bad(now) {
                    self.open(now);
                }
            }
            Condition::HalfOpen { .. } => self.open(now),
            Condition::Open { .. } => {}
        }
    }

    /// The backend answered that it takes no more for now. It is there, so only the share counts:
    /// five who write one key too fast must not keep all others away.
    pub(super) fn slowed(&mut self, ticket: Ticket, now: Instant) {
        if ticket.era != self.era {
            return;
        }
        match self.condition {
            Condition::Closed => {
                self.window.record(now, true);
                if self.is_share_bad(now) {
                    self.open(now);
                }
            }
            Condition::HalfOpen { .. } => self.open(now),
            Condition::Open { .. } => {}
        }
    }

    /// Nothing is heard of the backend any more. A probe under way finds out by itself.
    pub(super) fn darkened(&mut self, now: Instant) {
        if matches!(self.condition, Condition::Closed) {
            self.open(now);
        }
    }

    /// The call was given up by its caller: nothing is known, and a probe's place is free again.
    pub(super) fn released(&mut self, ticket: Ticket) {
        if ticket.era == self.era
            && let Condition::HalfOpen { probing } = &mut self.condition
        {
            *probing = false;
        }
    }

    /// A ticket for what happens to an admitted call after it was answered, such as its body's end.
    /// Never a probe's: the answer has decided that.
    pub(super) fn afterwards(&self) -> Option<Ticket> {
        matches!(self.condition, Condition::Closed).then_some(self.ticket())
    }

    pub(super) fn state(&self) -> BreakerState {
        match self.condition {
            Condition::Closed => BreakerState::Closed,
            Condition::Open { .. } => BreakerState::Open,
            Condition::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// When the state was entered.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Time until a probe may go through; zero where one is due, absent unless open.
    pub(super) fn retry_in(&self, now: Instant) -> Option<Duration> {
        match self.condition {
            Condition::Open { until } => Some(until.saturating_duration_since(now)),
            Condition::Closed | Condition::HalfOpen { .. } => None,
        }
    }

    fn is_bad(&self, now: Instant) -> bool {
        self.in_a_row >= self.policy.failures_in_a_row || self.is_share_bad(now)
    }

    fn is_share_bad(&self, now: Instant) -> bool {
        let (calls, failures) = self.window.count(now);
        let share = f64::from(failures) / f64::from(calls.max(1));
        calls >= self.policy.window_calls && share >= self.policy.window_failures
    }

    fn open(&mut self, now: Instant) {
        let doubled = self.policy.open_first.saturating_mul(1 << self.openings.min(20));
        let longest = doubled.min(self.policy.open_most);
        let time = longest.mul_f64(1.0 - self.policy.jitter * self.chance.f64());
        self.openings = self.openings.saturating_add(1);
        self.enter(Condition::Open { until: now + time }, now);
    }

    fn enter(&mut self, condition: Condition, now: Instant) {
        self.condition = condition;
        self.since = now;
        self.era += 1;
    }
}

#[cfg(test)]
mod tests;
