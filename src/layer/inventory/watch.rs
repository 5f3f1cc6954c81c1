//! What was seen in the record, and when by our own clock: nobody's wall clock decides.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::record::{Taken, Walking};

/// What was done in less than this before a start is not worth a walk.
const LITTLE: Duration = Duration::from_secs(300);

pub(super) struct Watch {
    begun: Instant,
    /// A walk of somebody else, and when it was last seen to go on.
    walk: Option<(Walking, Instant)>,
    /// The last finished one, and when the next is due.
    taken: Option<(Taken, Instant)>,
}

impl Default for Watch {
    fn default() -> Self {
        Self { begun: Instant::now(), walk: None, taken: None }
    }
}

impl Watch {
    /// Whether a walk of another replica has not gone on for too long.
    pub(super) fn is_abandoned(&mut self, walk: &Walking, patience: Duration) -> bool {
        match &self.walk {
            Some((last, seen)) if last == walk => seen.elapsed() >= patience,
            _ => {
                self.walk = Some((walk.clone(), Instant::now()));
                false
            }
        }
    }

    /// How long until the walk after this one is to begin.
    pub(super) fn due_in(&mut self, taken: Taken, interval: Duration) -> Duration {
        let now = Instant::now();
        let due = match self.taken {
            Some((last, due)) if last == taken => due,
            _ => {
                let age = taken.age(SystemTime::now());
                // What a process that is gone did since then is in nobody's figures.
                let is_old = age > self.begun.elapsed() && age > LITTLE;
                now + if is_old { Duration::ZERO } else { interval.saturating_sub(age) }
            }
        };
        self.taken = Some((taken, due));
        due.saturating_duration_since(now)
    }
}
