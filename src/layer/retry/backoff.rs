//! How long to wait before the next try.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Exponential with full jitter: any time up to a bound that doubles with each try, so that
/// callers who failed together do not come back together.
#[derive(Debug)]
pub(super) struct Backoff {
    base: Duration,
    cap: Duration,
    chance: Mutex<fastrand::Rng>,
}

impl Backoff {
    /// Bounds start at `base` and end at `cap`; a seed makes the waits repeatable.
    pub(super) fn new(base: Duration, cap: Duration, seed: Option<u64>) -> Self {
        let chance = seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
        Self { base, cap, chance: Mutex::new(chance) }
    }

    /// The wait before the retry of a number, from 0.
    pub(super) fn wait(&self, number: u32) -> Duration {
        // A generator is never half stepped, so a lock poisoned by a panic is usable.
        let share = self.chance.lock().unwrap_or_else(PoisonError::into_inner).f64();
        self.bound(number).mul_f64(share)
    }

    fn bound(&self, number: u32) -> Duration {
        // 2^20 times any sensible base is above any cap.
        self.base.saturating_mul(1 << number.min(20)).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_millis(50);
    const CAP: Duration = Duration::from_secs(5);

    #[test]
    fn bounds_double_up_to_the_cap() {
        let backoff = Backoff::new(BASE, CAP, Some(1));
        let bounds: Vec<_> = (0..8).map(|n| backoff.bound(n).as_millis()).collect();
        assert_eq!(bounds, [50, 100, 200, 400, 800, 1600, 3200, 5000]);
        assert_eq!(backoff.bound(u32::MAX), CAP);
        assert_eq!(Backoff::new(CAP * 2, CAP, None).bound(0), CAP);
    }

    #[test]
    fn waits_fill_the_whole_range_and_repeat_by_seed() {
        let waits = |seed| {
            let backoff = Backoff::new(BASE, CAP, Some(seed));
            (0..1000).map(|_| backoff.wait(1)).collect::<Vec<_>>()
        };
        let first = waits(7);
        assert_eq!(first, waits(7));
        assert_ne!(first, waits(8));
        assert!(first.iter().all(|wait| *wait <= BASE * 2));
        assert!(first.iter().any(|wait| *wait < BASE / 5));
        assert!(first.iter().any(|wait| *wait > BASE * 2 * 9 / 10));
    }
}
