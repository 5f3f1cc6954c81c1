//! No more requests are worked on at once than the machine gets done in time.
//!
//! A request is *worked on* from its head until its answer's, but for the time in which its body is
//! waited for: a client that sends slowly takes no place. Who finds none waits in a short queue, in
//! the way of CoDel (RFC 8289): up to [`BURST_WAIT`] while the queue has been empty lately, [`TARGET`]
//! once it has not for that long. While the processors are busy nobody waits: it would only make all late,
//! and to have somebody wait costs as much as to refuse. Who finds no place in time gets 503 with
//! `Retry-After`, before its body is read or anybody asked who it is.
//!
//! How many places are right depends on what requests wait for: a slow backend bears thousands, while
//! of those that wait for a processor more only make all late. So while this process keeps all of its
//! processors busy there are fewer places, a little fewer each time it looks, and more again after.

mod processors;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior};

use super::problem::{Code, Problem};
use crate::telemetry::{Metrics, Refusal};

/// Longest wait for a place in a burst, and for how long one may last.
const BURST_WAIT: Duration = Duration::from_millis(100);

/// Longest wait while more come than are done.
const TARGET: Duration = Duration::from_millis(5);

/// How often it is looked whether the processors are busy.
const LOOK: Duration = Duration::from_millis(100);

/// All of them are, above this share of their time.
const BUSY: f64 = 0.9;

/// So many places are never too many, however busy the processors are.
const NEVER_TOO_MANY: usize = 256;

/// Gives out places. Cheap to clone.
#[derive(Clone)]
pub struct Shedder(Arc<Inner>);

struct Inner {
    /// Most and least places that there are.
    most: usize,
    least: usize,
    queue: Mutex<Queue>,
    metrics: Metrics,
}

struct Queue {
    /// That there are now.
    places: usize,
    /// Requests that are worked on; over `places` where bodies that were waited for came on.
    taken: usize,
    waiting: VecDeque<oneshot::Sender<()>>,
    /// When nobody waited.
    empty_at: Instant,
    /// Whether the processors were, at the last look.
    busy: bool,
}

impl Shedder {
    /// At most so many places, and at least a sixteenth of them, or [`NEVER_TOO_MANY`].
    pub fn new(most: usize, metrics: Metrics) -> Self {
        let (waiting, empty_at) = (VecDeque::new(), Instant::now());
        let queue = Queue { places: most, taken: 0, waiting, empty_at, busy: false };
        let least = (most / 16).max(NEVER_TOO_MANY).min(most);
        Self(Arc::new(Inner { most, least, queue: Mutex::new(queue), metrics }))
    }

    /// Looks how busy the processors are, for ever. To be spawned once beside the service.
    pub async fn upkeep(self) {
        let processors = processors::processors();
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut looked, mut worked) = (Instant::now(), processor_time());
        loop {
            ticks.tick().await;
            let (now, work) = (Instant::now(), processor_time());
            let time = (now - looked).as_secs_f64() * processors;
            if time > 0.0 {
                self.adapt((work - worked).as_secs_f64() / time);
            }
            (looked, worked) = (now, work);
        }
    }

    /// `busy`: the share of the processors' time that was used since the last look.
    fn adapt(&self, busy: f64) {
        let mut queue = self.0.queue();
        queue.busy = busy >= BUSY;
        queue.places = if queue.busy {
            // From what is there: what nobody takes can go at once.
            (queue.places.min(queue.taken) / 8 * 7).max(self.0.least)
        } else {
            (queue.places + queue.places / 8 + 1).min(self.0.most)
        };
        Inner::give_out(&mut queue);
    }

    /// Takes a place, or waits for one.
    ///
    /// # Errors
    /// 503 with `Retry-After` where there is none in time.
    pub async fn enter(&self) -> Result<Place, Problem> {
        let (given, wait) = {
            let mut queue = self.0.queue();
            if queue.taken < queue.places {
                queue.taken += 1;
                queue.empty_at = Instant::now();
                return Ok(Place::new(&self.0));
            }
            queue.waiting.retain(|waiting| !waiting.is_closed());
            if queue.waiting.is_empty() {
                queue.empty_at = Instant::now();
            }
            if queue.busy || queue.waiting.len() >= queue.places {
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
                Ok(Place::new(&self.0))
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

/// What this process has had of the processors so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
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
pub struct Place(Arc<Claim>);

/// A request's claim on its place, shared with its body, which may outlive it where it is read on.
struct Claim {
    inner: Arc<Inner>,
    stands: Mutex<Stands>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stands {
    Worked,
    Waits,
    Over,
}

impl Claim {
    fn change(&self, to: Stands) {
        let mut stands = self.stands.lock().unwrap_or_else(PoisonError::into_inner);
        match (*stands, to) {
            (Stands::Over, _) => return,
            (Stands::Worked, Stands::Waits | Stands::Over) => self.inner.leave(),
            (Stands::Waits, Stands::Worked) => self.inner.come_back(),
            _ => {}
        }
        *stands = to;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.change(Stands::Over);
    }
}

impl Place {
    fn new(inner: &Arc<Inner>) -> Self {
        let inner = Arc::clone(inner);
        Self(Arc::new(Claim { inner, stands: Mutex::new(Stands::Worked) }))
    }

    /// A request whose body does not take the place while it is waited for.
    pub fn lend(&self, body: Body) -> Body {
        Body::new(Lent { body, claim: Arc::clone(&self.0) })
    }
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a place back.
    fn leave(&self) {
        let mut queue = self.queue();
        queue.taken -= 1;
        Self::give_out(&mut queue);
    }

    /// Gives places to those who wait longest.
    fn give_out(queue: &mut Queue) {
        while queue.taken < queue.places
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
    claim: Arc<Claim>,
}

impl Drop for Lent {
    fn drop(&mut self) {
        // The request goes on without it.
        self.claim.change(Stands::Worked);
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
        self.claim.change(if frame.is_pending() { Stands::Waits } else { Stands::Worked });
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
    async fn busy_processors_leave_fewer_places_and_never_too_few() {
        let shedder = Shedder::new(4096, Metrics::new());
        let mut held = Vec::new();
        for _ in 0..1000 {
            held.push(shedder.enter().await.unwrap());
        }
        shedder.adapt(0.5);
        held.push(shedder.enter().await.unwrap());
        let mut places = 1001;
        for _ in 0..20 {
            shedder.adapt(1.0);
            let now = shedder.0.queue().places;
            assert!(now < places || now == 256, "{now} after {places}");
            places = now;
        }
        assert_eq!(places, 256);
        assert!(shedder.enter().await.is_err());
        held.truncate(255);
        shedder.adapt(1.0);
        held.push(shedder.enter().await.unwrap());
        assert!(shedder.enter().await.is_err());
        // Whoever waits, as the processors are not busy any more, gets a place that is there again.
        shedder.adapt(0.5);
        let places = shedder.0.queue().places;
        for _ in 256..places {
            held.push(shedder.enter().await.unwrap());
        }
        let waits = shedder.clone();
        let waiting = tokio::spawn(async move { waits.enter().await.is_ok() });
        tokio::task::yield_now().await;
        shedder.adapt(0.1);
        assert!(waiting.await.unwrap());
        for _ in 0..100 {
            shedder.adapt(0.1);
        }
        assert_eq!(shedder.0.queue().places, 4096);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_while_the_processors_are_busy() {
        let shedder = shedder();
        let _held = (shedder.enter().await.unwrap(), shedder.enter().await.unwrap());
        for (busy, wait) in [(1.0, Duration::ZERO), (0.5, BURST_WAIT)] {
            shedder.adapt(busy);
            // The queue was empty just now.
            tokio::time::advance(2 * BURST_WAIT).await;
            let before = Instant::now();
            assert!(shedder.enter().await.is_err());
            assert_eq!(before.elapsed(), wait);
        }
    }

    #[test]
    fn few_places_stay_as_many_as_they_are() {
        for (most, least) in [(2, 2), (256, 256), (1000, 256), (4096, 256), (1_000_000, 62_500)] {
            let shedder = Shedder::new(most, Metrics::new());
            for _ in 0..100 {
                shedder.adapt(1.0);
            }
            assert_eq!(shedder.0.queue().places, least);
        }
    }

    #[test]
    fn work_takes_time_of_a_processor() {
        let before = processor_time();
        let mut sum = 0_u64;
        while processor_time() == before {
            sum = std::hint::black_box(sum + 1);
        }
        assert!(processor_time() > before);
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

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_read_on_takes_no_place_after_its_request() {
        let shedder = shedder();
        for waits in [false, true] {
            let place = shedder.enter().await.unwrap();
            let mut body = place.lend(Body::from_stream(futures_util::stream::pending::<
                Result<Bytes, std::convert::Infallible>,
            >()));
            let second = Duration::from_secs(1);
            if waits {
                assert!(tokio::time::timeout(second, body.frame()).await.is_err());
            }
            drop(place);
            assert_eq!(taken(&shedder), 0);
            assert!(tokio::time::timeout(second, body.frame()).await.is_err());
            drop(body);
            assert_eq!(taken(&shedder), 0);
        }
    }
}
