//! No more requests are worked on at once than the machine gets done in time.
//!
//! A request is *worked on* from its head until its answer's, but for the time in which its body is
//! waited for: a client that sends slowly takes no place. Who finds none waits in a short queue, in
//! the way of CoDel (RFC 8289): up to [`BURST_WAIT`] while the queue has been empty lately, [`TARGET`]
//! once it has not for that long, because then waiting only makes all late. Who waited too long gets
//! 503 with `Retry-After`, before its body is read or anybody asked who it is.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::problem::{Code, Problem};
use crate::telemetry::{Metrics, Refusal};

/// Longest wait for a place in a burst, and for how long one may last.
const BURST_WAIT: Duration = Duration::from_millis(100);

/// Longest wait while more come than are done.
const TARGET: Duration = Duration::from_millis(5);

/// Gives out places. Cheap to clone.
#[derive(Clone)]
pub struct Shedder(Arc<Inner>);

struct Inner {
    places: usize,
    queue: Mutex<Queue>,
    metrics: Metrics,
}

struct Queue {
    /// Requests that are worked on; over `places` where bodies that were waited for came on.
    taken: usize,
    waiting: VecDeque<oneshot::Sender<()>>,
    /// When nobody waited.
    empty_at: Instant,
}

impl Shedder {
    /// So many places.
    pub fn new(places: usize, metrics: Metrics) -> Self {
        let queue = Queue { taken: 0, waiting: VecDeque::new(), empty_at: Instant::now() };
        Self(Arc::new(Inner { places, queue: Mutex::new(queue), metrics }))
    }

    /// Takes a place, or waits for one.
    ///
    /// # Errors
    /// 503 with `Retry-After` where there is none in time.
    pub async fn enter(&self) -> Result<Place, Problem> {
        let (given, wait) = {
            let mut queue = self.0.queue();
            if queue.taken < self.0.places {
                queue.taken += 1;
                queue.empty_at = Instant::now();
                return Ok(Place(Arc::clone(&self.0)));
            }
            queue.waiting.retain(|waiting| !waiting.is_closed());
            if queue.waiting.is_empty() {
                queue.empty_at = Instant::now();
            }
            if queue.waiting.len() >= self.0.places {
                drop(queue);
                return Err(self.refuse());
            }
            let (give, given) = oneshot::channel();
            queue.waiting.push_back(give);
            let standing = queue.empty_at.elapsed() > BURST_WAIT;
            (given, if standing { TARGET } else { BURST_WAIT })
        };
        let mut waiting = Waiting { given, taken: false, inner: &self.0 };
        match tokio::time::timeout(wait, &mut waiting.given).await {
            Ok(Ok(())) => {
                waiting.taken = true;
                Ok(Place(Arc::clone(&self.0)))
            }
            Ok(Err(_)) | Err(_) => Err(self.refuse()),
        }
    }

    fn refuse(&self) -> Problem {
        self.0.metrics.refused(Refusal::Overload);
        let detail = "the service works on as many requests as it may: try again shortly";
        Problem::new(Code::Unavailable, detail)
    }
}

/// Who waits for a place. Gone before it was given one, or just as it was: then it goes on.
struct Waiting<'a> {
    given: oneshot::Receiver<()>,
    taken: bool,
    inner: &'a Inner,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.given.close();
        if !self.taken && self.given.try_recv().is_ok() {
            self.inner.leave();
        }
    }
}

/// A place among those that are worked on; given back on drop.
pub struct Place(Arc<Inner>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Place {
    /// A request whose body does not take the place while it is waited for.
    pub fn lend(&self, body: Body) -> Body {
        Body::new(Lent { body, inner: Arc::clone(&self.0), waits: false })
    }
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a place to who waits longest.
    fn leave(&self) {
        let mut queue = self.queue();
        queue.taken -= 1;
        while queue.taken < self.places
            && let Some(next) = queue.waiting.pop_front()
        {
            if next.send(()).is_ok() {
                queue.taken += 1;
            }
        }
        if queue.waiting.is_empty() {
            queue.empty_at = Instant::now();
        }
    }

    /// Takes a place back that was left for a while: whoever has begun is not sent away.
    fn come_back(&self) {
        self.queue().taken += 1;
    }
}

/// A body that leaves its request's place while it is waited for.
struct Lent {
    body: Body,
    inner: Arc<Inner>,
    waits: bool,
}

impl Lent {
    fn wait(&mut self, waits: bool) {
        match (self.waits, waits) {
            (false, true) => self.inner.leave(),
            (true, false) => self.inner.come_back(),
            _ => {}
        }
        self.waits = waits;
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // The request goes on without it.
        self.wait(false);
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.wait(frame.is_pending());
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn shedder() -> Shedder {
        Shedder::new(2, Metrics::new())
    }

    fn taken(shedder: &Shedder) -> usize {
        shedder.0.queue().taken
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_a_burst_gets_the_next_place() {
        let shedder = shedder();
        let (first, _second) = (shedder.enter().await.unwrap(), shedder.enter().await.unwrap());
        let waits = shedder.clone();
        let third = tokio::spawn(async move { waits.enter().await.is_ok() });
        tokio::time::sleep(BURST_WAIT / 2).await;
        drop(first);
        assert!(third.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_refused_and_soon_once_the_queue_stands() {
        let shedder = shedder();
        let held = (shedder.enter().await.unwrap(), shedder.enter().await.unwrap());
        let before = Instant::now();
        assert_eq!(shedder.enter().await.err().unwrap().code(), Code::Unavailable);
        assert_eq!(before.elapsed(), BURST_WAIT);
        // The queue does not empty any more.
        let enter = || {
            let shedder = shedder.clone();
            tokio::spawn(async move {
                let before = Instant::now();
                (shedder.enter().await.is_err(), before.elapsed())
            })
        };
        let first = enter();
        tokio::time::sleep(BURST_WAIT - TARGET).await;
        let second = enter();
        tokio::time::sleep(TARGET + Duration::from_millis(1)).await;
        let third = enter();
        assert_eq!(first.await.unwrap(), (true, BURST_WAIT));
        assert!(second.await.unwrap().0);
        assert_eq!(third.await.unwrap(), (true, TARGET));
        drop(held);
        assert!(shedder.enter().await.is_ok());
        assert_eq!(taken(&shedder), 0, "nobody who was refused took a place along");
    }

    #[tokio::test(start_paused = true)]
    async fn a_longer_queue_than_places_is_refused_at_once() {
        let shedder = shedder();
        let _held = (shedder.enter().await.unwrap(), shedder.enter().await.unwrap());
        for _ in 0..2 {
            let shedder = shedder.clone();
            tokio::spawn(async move { shedder.enter().await.is_ok() });
        }
        tokio::task::yield_now().await;
        let before = Instant::now();
        assert!(shedder.enter().await.is_err());
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_waited_for_takes_no_place() {
        let shedder = shedder();
        let place = shedder.enter().await.unwrap();
        let (send, pieces) = tokio::sync::mpsc::channel::<Bytes>(1);
        let pieces = futures_util::stream::unfold(pieces, |mut pieces| async {
            let piece = pieces.recv().await?;
            Some((Ok::<_, std::convert::Infallible>(piece), pieces))
        });
        let mut body = place.lend(Body::from_stream(pieces));
        assert_eq!(taken(&shedder), 1);
        let waited = tokio::time::timeout(Duration::from_secs(1), body.frame()).await;
        assert!(waited.is_err());
        assert_eq!(taken(&shedder), 0);
        send.send(Bytes::from_static(b"more")).await.unwrap();
        assert!(body.frame().await.is_some());
        assert_eq!(taken(&shedder), 1);
        let _ = tokio::time::timeout(Duration::from_secs(1), body.frame()).await;
        drop(body);
        assert_eq!(taken(&shedder), 1);
        drop(place);
        assert_eq!(taken(&shedder), 0);
    }
}
