//! How long a member took of late, and the budget of second questions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Answers that are remembered.
const WINDOW: usize = 256;
/// Answers without which nothing is said.
const ENOUGH: usize = 16;
/// New answers after which the figures are computed anew.
const FRESH: usize = 32;

/// The latest answers' times.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    micros: Vec<u32>,
    /// Where they are put in order.
    window: Vec<u32>,
    next: usize,
    since: usize,
    summary: Option<(Duration, Duration)>,
}

impl Latencies {
    pub(super) fn record(&mut self, took: Duration) {
        let micros = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        if self.micros.len() < WINDOW {
            self.micros.push(micros);
        } else {
            self.micros[self.next] = micros;
            self.next = (self.next + 1) % WINDOW;
        }
        self.since += 1;
    }

    /// Median and 95th percentile; nothing before there were enough. Computed here, as most of what is
    /// recorded nobody asks for.
    pub(super) fn summary(&mut self) -> Option<(Duration, Duration)> {
        let is_due = self.summary.is_none() || self.since >= FRESH;
        if self.micros.len() >= ENOUGH && is_due {
            self.since = 0;
            self.window.clone_from(&self.micros);
            let mut at = |share: usize| {
                let nth = (self.window.len() - 1) * share / 100;
                Duration::from_micros(u64::from(*self.window.select_nth_unstable(nth).1))
            };
            self.summary = Some((at(50), at(95)));
        }
        self.summary
    }
}

/// Keeps second questions to a share of the first: an outage is not made worse by them.
///
/// Full, as it is nearly always, it is only read: cores do not take it from each other for each question.
#[derive(Debug)]
pub(super) struct HedgeBudget {
    share: u64,
    tokens: AtomicU64,
}

/// What one second question costs.
const TOKEN: u64 = 1_000_000;

/// Second questions that may come at once after a quiet time.
const BURST: u64 = 10 * TOKEN;

impl HedgeBudget {
    /// `share`: of the first questions, at most so many may be asked a second time.
    pub(super) fn new(share: f64) -> Self {
        let share = (share * TOKEN as f64).round() as u64;
        Self { share, tokens: AtomicU64::new(if share > 0 { BURST } else { 0 }) }
    }

    /// A first question was asked.
    pub(super) fn earn(&self) {
        let earned = |tokens| (tokens < BURST).then(|| BURST.min(tokens + self.share));
        // Nothing to add where it is full.
        let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earned);
    }

    /// Whether a second one may be.
    pub(super) fn spend(&self) -> bool {
        let spent = |tokens: u64| tokens.checked_sub(TOKEN);
        self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_follows_the_latest_answers() {
        let mut latencies = Latencies::default();
        for millis in 1..ENOUGH {
            latencies.record(Duration::from_millis(millis as u64));
        }
        assert_eq!(latencies.summary(), None);
        for millis in 1..=100 {
            latencies.record(Duration::from_millis(millis));
        }
        let (median, high) = latencies.summary().unwrap();
        assert!(median >= Duration::from_millis(30) && median <= Duration::from_millis(60));
        assert!(high >= Duration::from_millis(80));
        for _ in 0..2 * WINDOW {
            latencies.record(Duration::from_millis(7));
        }
        assert_eq!(latencies.summary(), Some((Duration::from_millis(7), Duration::from_millis(7))));
    }

    #[test]
    fn budget_is_a_share() {
        let budget = HedgeBudget::new(0.05);
        let mut sent = 0;
        for _ in 0..1000 {
            budget.earn();
            sent += u32::from(budget.spend());
        }
        assert!((50..=61).contains(&sent), "{sent} of 1000");
        assert!(!HedgeBudget::new(0.0).spend(), "none are none");
    }
}
