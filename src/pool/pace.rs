//! How fast the background goes: callers' calls come first.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Turns at even distances. What was not taken in time is not caught up on.
#[derive(Debug)]
pub(super) struct Pace {
    every: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    pub(super) fn new(per_second: u32) -> Self {
        Self { every: Duration::from_secs(1) / per_second.max(1), next: Mutex::default() }
    }

    /// Waits for the next turn, behind all who wait already.
    pub(super) async fn turn(&self) {
        let now = Instant::now();
        let at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let at = next.map_or(now, |next| next.max(now));
            *next = Some(at + self.every);
            at
        };
        if at > now {
            sleep_until(at).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_are_even_and_none_is_saved_up() {
        let pace = Pace::new(10);
        let began = Instant::now();
        pace.turn().await;
        assert_eq!(began.elapsed(), Duration::ZERO, "the first one is free");
        futures_util::future::join_all((0..4).map(|_| pace.turn())).await;
        assert_eq!(began.elapsed(), Duration::from_millis(400));
        tokio::time::sleep(Duration::from_secs(5)).await;
        let began = Instant::now();
        futures_util::future::join_all((0..3).map(|_| pace.turn())).await;
        assert_eq!(began.elapsed(), Duration::from_millis(200));
    }
}
