//! Whether anything is heard of the backend, and the question where nothing is.
//!
//! A backend that is cut off does not fail. It falls silent, and every call hangs for the whole of
//! its time limit. So a call that has waited for a while in which nobody heard anything has the
//! backend asked, by one probe for all who wait. Where that is not answered either, the backend is
//! dark: who waits is told so, and the breaker opens. A backend that is slow answers somebody, or the
//! probe at least, and is left in peace. Nothing is asked where nobody waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// When something was heard last, and when the backend was asked.
#[derive(Debug)]
pub(super) struct Silence {
    bearable: Duration,
    start: Instant,
    /// Nanoseconds since the start.
    heard: AtomicU64,
    asked: Mutex<Option<Instant>>,
}

impl Silence {
    /// `bearable`: how long nothing need be heard, and how long the question may stay unanswered.
    pub(super) fn new(bearable: Duration, now: Instant) -> Self {
        Self { bearable, start: now, heard: AtomicU64::new(0), asked: Mutex::new(None) }
    }

    /// How long nothing need be heard.
    pub(super) fn bearable(&self) -> Duration {
        self.bearable
    }

    /// The backend has answered somebody.
    pub(super) fn broken(&self, now: Instant) {
        let nanos = now.saturating_duration_since(self.start).as_nanos();
        // Nothing else is published with the figure, so its own order suffices.
        self.heard.fetch_max(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Waits until the backend is dark. `patience`: for how long this caller does not wonder.
    /// `question` sends a probe whose answer is told by [`Self::broken`].
    pub(super) async fn unbearable(&self, patience: Duration, question: impl Fn()) {
        let began = Instant::now();
        loop {
            let quiet_until = (began + patience).max(self.heard() + self.bearable);
            if Instant::now() < quiet_until {
                tokio::time::sleep_until(quiet_until).await;
                continue;
            }
            let asked = self.ask(&question);
            tokio::time::sleep_until(asked + self.bearable).await;
            if self.heard() < asked {
                return;
            }
        }
    }

    fn heard(&self) -> Instant {
        self.start + Duration::from_nanos(self.heard.load(Ordering::Relaxed))
    }

    /// When the question was put that is still open: now, where none is.
    fn ask(&self, question: impl Fn()) -> Instant {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_open = |at: &Instant| self.heard() < *at && now < *at + self.bearable;
        if let Some(at) = asked.filter(is_open) {
            return at;
        }
        *asked = Some(now);
        question();
        now
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn silence_is_asked_about_once_and_then_told_to_all() {
        let (silence, asked) = (Silence::new(SECOND, Instant::now()), Cell::new(0));
        let question = || asked.set(asked.get() + 1);
        let started = Instant::now();
        let wait = || silence.unbearable(SECOND, question);
        tokio::join!(wait(), wait(), wait());
        assert_eq!((asked.get(), started.elapsed()), (1, SECOND * 2));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_hears_something_hears_it_for_all() {
        let silence = Silence::new(SECOND, Instant::now());
        let asked = Cell::new(0);
        let noise = async {
            for _ in 0..10 {
                tokio::time::sleep(SECOND * 9 / 10).await;
                silence.broken(Instant::now());
            }
        };
        let started = Instant::now();
        tokio::join!(silence.unbearable(SECOND, || asked.set(asked.get() + 1)), noise);
        assert_eq!((asked.get(), started.elapsed()), (1, SECOND * 11));
    }

    #[tokio::test(start_paused = true)]
    async fn answered_questions_put_it_off() {
        let silence = Silence::new(SECOND, Instant::now());
        let asked = Cell::new(0);
        let answered_thrice = || {
            asked.set(asked.get() + 1);
            if asked.get() <= 3 {
                silence.broken(Instant::now());
            }
        };
        let started = Instant::now();
        silence.unbearable(SECOND, answered_thrice).await;
        assert_eq!((asked.get(), started.elapsed()), (4, SECOND * 5));
    }

    #[tokio::test(start_paused = true)]
    async fn who_expects_to_wait_does_not_wonder() {
        let silence = Silence::new(SECOND, Instant::now());
        let started = Instant::now();
        silence.unbearable(SECOND * 7, || ()).await;
        assert_eq!(started.elapsed(), SECOND * 8);
    }
}
