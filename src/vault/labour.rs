//! Work of a processor that takes milliseconds, away from the threads that answer requests, and no more
//! of it at once than there are processors.
//!
//! Where those threads did it, nobody could even be refused meanwhile; where each piece had a thread of
//! its own, those that answer would be a few of many that want a processor.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::LazyLock;
use std::thread::available_parallelism;

use tokio::sync::Semaphore;
use tokio::task::JoinError;

static PROCESSORS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(available_parallelism().map_or(1, NonZero::get)));

/// Does it in its turn. A panic in it is one here.
pub(super) async fn done<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    done_among(&PROCESSORS, work).await
}

async fn done_among<T: Send + 'static>(
    turns: &'static Semaphore,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    // `Err` is a semaphore that is closed, which this one never is.
    let turn = turns.acquire().await.ok();
    let working = tokio::task::spawn_blocking(move || {
        let done = work();
        // Not when the request is dropped: the processor is busy until now.
        drop(turn);
        done
    });
    match working.await.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => resume_unwind(panic),
        // Never begun, because the runtime ends, and with it whoever asks.
        Err(Err(_)) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn no_more_at_once_than_processors_whoever_goes() {
        let most = available_parallelism().unwrap().get();
        // Of its own: other tests have work too.
        let turns: &'static Semaphore = Box::leak(Box::new(Semaphore::new(most)));
        let (at_once, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let all = (0..8 * most).map(|number| {
            let (at_once, peak) = (Arc::clone(&at_once), Arc::clone(&peak));
            let working = done_among(turns, move || {
                peak.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
                at_once.fetch_sub(1, Ordering::SeqCst);
                number
            });
            // Half of those who ask do not wait for it.
            let patience = Duration::from_millis(if number % 2 == 0 { 1 } else { 60_000 });
            async move { (number, tokio::time::timeout(patience, working).await) }
        });
        for (number, ended) in join_all(all).await {
            assert!(ended.map_or(number % 2 == 0, |done| done == number), "{number}");
        }
        assert_eq!(peak.load(Ordering::SeqCst), most);
    }

    #[tokio::test]
    async fn a_panic_is_the_callers() {
        let failed = tokio::spawn(done(|| panic!("planted"))).await.unwrap_err();
        assert!(failed.is_panic());
        assert_eq!(done(|| 7).await, 7, "its turn was given back");
    }
}
