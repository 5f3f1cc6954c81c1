//! How many of the last seconds' calls failed.

use tokio::time::Instant;

/// Seconds looked back on.
const SECONDS: u64 = 10;

/// Counts by second; a second is forgotten as a whole.
#[derive(Debug)]
pub(super) struct Window {
    start: Instant,
    seconds: [Second; SECONDS as usize],
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    /// Since the start.
    number: u64,
    calls: u32,
    failures: u32,
}

impl Window {
    pub(super) fn new(now: Instant) -> Self {
        Self { start: now, seconds: [Second::default(); SECONDS as usize] }
    }

    pub(super) fn record(&mut self, now: Instant, failed: bool) {
        let number = self.second(now);
        let second = &mut self.seconds[(number % SECONDS) as usize];
        if second.number != number {
            *second = Second { number, ..Second::default() };
        }
        second.calls = second.calls.saturating_add(1);
        second.failures = second.failures.saturating_add(u32::from(failed));
    }

    /// Calls and failures.
    pub(super) fn count(&self, now: Instant) -> (u32, u32) {
        let number = self.second(now);
        let recent = self.seconds.iter().filter(|second| second.number + SECONDS > number);
        recent.fold((0, 0), |(calls, failures), second| {
            (calls.saturating_add(second.calls), failures.saturating_add(second.failures))
        })
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs()
    }
}
