//! Whether a client takes its answers at the least rate.
//!
//! A limit on the time without any byte is no limit for who takes one byte just before it is over.
//! Time counts while it is the client's turn: its socket takes nothing more, or over HTTP/2 its window
//! leaves bytes of an answer behind in this process.

use std::time::Duration;

/// Waiting over which a rate is an average, at the least.
const WINDOW: Duration = Duration::from_secs(10);

/// The least that is to be taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Least {
    window: Duration,
    /// Bytes of a whole window; 0: any rate will do.
    bytes: u64,
}

/// What was taken of one thing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    waited: Duration,
    /// Bytes up to the beginning of this window.
    before: u64,
}

impl Least {
    /// At the least so many bytes a second; 0: any rate will do. A pause that is allowed is no slowness.
    pub(super) fn new(rate: u64, pause: Duration) -> Self {
        let window = pause.max(WINDOW);
        Self { window, bytes: rate.saturating_mul(window.as_secs()) }
    }

    /// Whether a window ended with less. `waits`: whether the client is waited for, as it is taken to
    /// have been since the last look, `since` ago; `taken`: bytes in all.
    pub(super) fn is_missed(
        &self,
        pace: &mut Pace,
        waits: bool,
        since: Duration,
        taken: u64,
    ) -> bool {
        if self.bytes == 0 || !waits {
            return false;
        }
        pace.waited += since;
        if pace.waited < self.window {
            return false;
        }
        let took = taken.saturating_sub(pace.before);
        *pace = Pace { waited: Duration::ZERO, before: taken };
        took < self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Looks every second for a while at a client that takes so many bytes each time.
    fn missed_after(rate: u64, bytes: u64) -> Option<u64> {
        let (least, mut pace) = (Least::new(rate, SECOND), Pace::default());
        (1..=60).find(|second| least.is_missed(&mut pace, true, SECOND, bytes * second))
    }

    #[test]
    fn one_byte_a_second_holds_no_connection() {
        assert_eq!(missed_after(1024, 0), Some(10));
        assert_eq!(missed_after(1024, 1), Some(10));
        assert_eq!(missed_after(1024, 1023), Some(10));
        assert_eq!(missed_after(1024, 1024), None);
        assert_eq!(missed_after(0, 1), None);
    }

    #[test]
    fn a_pause_that_is_allowed_is_no_slowness() {
        let (least, mut pace) = (Least::new(1024, Duration::from_secs(30)), Pace::default());
        for second in 1..=120 {
            let taken = second / 29 * (1 << 20);
            assert!(!least.is_missed(&mut pace, true, SECOND, taken), "after {second} s");
        }
    }

    #[test]
    fn time_in_which_nothing_is_to_be_taken_does_not_count() {
        let (least, mut pace) = (Least::new(1024, SECOND), Pace::default());
        for _ in 0..100 {
            assert!(!least.is_missed(&mut pace, false, SECOND, 0));
        }
        assert!(least.is_missed(&mut pace, true, 10 * SECOND, 0), "bytes are left behind");
        assert!(!least.is_missed(&mut pace, false, 10 * SECOND, 0));
    }
}
