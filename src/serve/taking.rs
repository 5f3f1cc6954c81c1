//! Whether a client takes its answers at the least rate.
//!
//! A limit on the time without any byte is no limit for who takes one byte just before it is over.
//! Time counts while the client is what is waited for: its socket takes nothing more, or over HTTP/2
//! its window leaves bytes of an answer behind in this process.

use std::time::Duration;

use tokio::time::Instant;

use super::activity::Activity;

/// Waiting over which a rate is an average, at the least.
const WINDOW: Duration = Duration::from_secs(10);

/// The rate of one connection, looked at every so often.
pub(super) struct Taking {
    window: Duration,
    /// Bytes of a whole window.
    least: u64,
    waited: Duration,
    written: u64,
    looked: Instant,
}

impl Taking {
    /// At the least so many bytes a second; 0: any rate will do. A pause that is allowed is no slowness.
    pub(super) fn new(rate: u64, pause: Duration) -> Self {
        let window = pause.max(WINDOW);
        let least = rate.saturating_mul(window.as_secs());
        Self { window, least, waited: Duration::ZERO, written: 0, looked: Instant::now() }
    }

    /// Whether it is too slow, after one more look.
    pub(super) fn is_too_slow(&mut self, activity: &Activity) -> bool {
        let now = Instant::now();
        let since = now - std::mem::replace(&mut self.looked, now);
        if self.least == 0 {
            return false;
        }
        if activity.waits_for_taker() {
            self.waited += since;
        }
        if self.waited < self.window {
            return false;
        }
        let written = activity.written();
        let took = written - std::mem::replace(&mut self.written, written);
        self.waited = Duration::ZERO;
        took < self.least
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);

    /// Looks every second for a while at a client that takes so many bytes each time.
    async fn cut_off_after(rate: u64, bytes: usize) -> Option<u64> {
        let (activity, mut taking) = (Activity::new(), Taking::new(rate, PAUSE));
        activity.request_started();
        activity.write_blocked(true);
        for second in 1..=60 {
            tokio::time::advance(Duration::from_secs(1)).await;
            // The socket takes a little and is full again.
            activity.write_blocked(false);
            activity.wrote(bytes);
            activity.write_blocked(true);
            if taking.is_too_slow(&activity) {
                return Some(second);
            }
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn one_byte_a_second_holds_no_connection() {
        assert_eq!(cut_off_after(1024, 1).await, Some(10));
        assert_eq!(cut_off_after(1024, 1023).await, Some(10));
        assert_eq!(cut_off_after(1024, 1024).await, None);
        assert_eq!(cut_off_after(0, 1).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_is_allowed_is_no_slowness() {
        let (activity, mut taking) = (Activity::new(), Taking::new(1024, Duration::from_secs(30)));
        activity.request_started();
        activity.write_blocked(true);
        for second in 1..=120 {
            tokio::time::advance(Duration::from_secs(1)).await;
            if second % 29 == 0 {
                activity.wrote(1 << 20);
            }
            assert!(!taking.is_too_slow(&activity), "after {second} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_nothing_is_to_be_taken_does_not_count() {
        let (activity, mut taking) = (Activity::new(), Taking::new(1024, PAUSE));
        activity.request_started();
        for _ in 0..100 {
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(!taking.is_too_slow(&activity));
        }
        let kept = activity.handed_over();
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(taking.is_too_slow(&activity), "bytes are left behind");
        drop(kept);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(!taking.is_too_slow(&activity));
    }
}
