//! The hybrid logical clock of this process: see [`crate::model::Version`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::model::Version;

/// Where the physical part comes from; tests let it jump.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl WallClock {
    /// The machine's.
    pub fn system() -> Self {
        Self::new(SystemTime::now)
    }

    /// Any.
    pub fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    fn millis(&self) -> u64 {
        let since = (self.0)().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl std::fmt::Debug for WallClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WallClock")
    }
}

/// Gives versions, each above all that were given or seen before.
#[derive(Debug)]
pub(super) struct Clock {
    wall: WallClock,
    writer: u32,
    /// Time and counter of the highest version that was given or seen, see [`packed`]. Most reads see an older
    /// one, and then cores need not take it from each other.
    last: AtomicU64,
    began: Instant,
    /// Milliseconds from the beginning of this process, on a clock that nobody sets, to the clock of the
    /// replica that is furthest ahead. 0 where none was heard of.
    others: AtomicU64,
    /// Planted: versions are what the wall says.
    bare: bool,
}

impl Clock {
    pub(super) fn new(wall: WallClock, writer: u32, bare: bool) -> Self {
        let (last, others) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { wall, writer, last, began: Instant::now(), others, bare }
    }

    /// Name of this process in its versions.
    pub(super) fn writer(&self) -> u32 {
        self.writer
    }

    /// A version above all before it.
    pub(super) fn next(&self) -> Version {
        let now = self.physical();
        let following = |last: u64| match last as u16 {
            _ if now > millis_of(last) => packed(now, 0),
            counter if self.bare && counter < u16::MAX => packed(now, counter + 1),
            // After the last one of a millisecond comes the first one of the next.
            // Planted in a bucket, a stamp can be the very last one there is.
            _ => last.saturating_add(1),
        };
        let update = |last| Some(following(last));
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
        let given = following(last.unwrap_or_else(|last| last));
        Version { millis: millis_of(given), counter: given as u16, writer: self.writer }
    }

    /// Never again gives a version below one that was seen.
    pub(super) fn observe(&self, seen: Version) {
        let seen = packed(seen.millis, seen.counter);
        if !self.bare && self.last.load(Ordering::Relaxed) < seen {
            self.last.fetch_max(seen, Ordering::Relaxed);
        }
    }

    /// Another replica's clock was at least so far just now, in milliseconds: this one goes on from there.
    /// Nobody's clock is taken for later than it is, so that replicas that hear of each other do not drive
    /// each other on.
    pub(super) fn hear(&self, millis: u64) {
        if !self.bare {
            self.others.fetch_max(millis.saturating_sub(self.running()), Ordering::Relaxed);
        }
    }

    /// The wall, or the clock of a replica that is ahead of it.
    fn physical(&self) -> u64 {
        let wall = self.wall.millis();
        match self.others.load(Ordering::Relaxed) {
            0 => wall,
            others => wall.max(others.saturating_add(self.running())),
        }
    }

    /// Milliseconds for which this process has been running.
    fn running(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(0)
    }

    /// A time that no version will be above for as long as `ahead`; where the wall was set back,
    /// versions creep on by their counters and need little.
    pub(super) fn bound(&self, ahead: Duration) -> u64 {
        let ahead = u64::try_from(ahead.as_millis()).unwrap_or(0);
        (self.physical() + ahead).max(self.last_millis() + ahead / 20)
    }

    /// Milliseconds by the wall, whatever was seen.
    pub(super) fn wall_millis(&self) -> u64 {
        self.wall.millis()
    }

    /// Milliseconds now, on the scale of versions.
    pub(super) fn now_millis(&self) -> u64 {
        self.physical().max(self.last_millis())
    }

    fn last_millis(&self) -> u64 {
        millis_of(self.last.load(Ordering::Relaxed))
    }
}

/// Time and counter as one number, in the order of versions. A time has 48 bits; what is planted in a bucket
/// can say more.
fn packed(millis: u64, counter: u16) -> u64 {
    (millis.min(u64::MAX >> 16) << 16) | u64::from(counter)
}

fn millis_of(packed: u64) -> u64 {
    packed >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_goes_back_whatever_the_wall_says() {
        let wall = Arc::new(AtomicU64::new(1_000));
        let read = Arc::clone(&wall);
        let at = move || UNIX_EPOCH + Duration::from_millis(read.load(Ordering::Relaxed));
        let clock = Clock::new(WallClock::new(at), 7, false);
        let first = clock.next();
        assert_eq!(first, Version { millis: 1_000, counter: 0, writer: 7 });
        wall.store(10, Ordering::Relaxed);
        let second = clock.next();
        assert!(second > first);
        clock.observe(Version { millis: 5_000, counter: u16::MAX, writer: 0 });
        let third = clock.next();
        assert!(third > second && third.millis == 5_001);
        wall.store(9_000, Ordering::Relaxed);
        assert_eq!(clock.next(), Version { millis: 9_000, counter: 0, writer: 7 });
    }

    #[tokio::test(start_paused = true)]
    async fn goes_on_with_the_clock_that_is_furthest_ahead_and_no_further() {
        let wall = Arc::new(AtomicU64::new(1_000));
        let read = Arc::clone(&wall);
        let at = move || UNIX_EPOCH + Duration::from_millis(read.load(Ordering::Relaxed));
        let clock = Clock::new(WallClock::new(at), 7, false);
        clock.hear(4_000);
        clock.hear(3_000);
        assert_eq!(clock.next().millis, 4_000);
        tokio::time::advance(Duration::from_millis(500)).await;
        wall.fetch_add(500, Ordering::Relaxed);
        assert_eq!(clock.next().millis, 4_500);
        // Its own wall is set to what the others show, and back again: nothing is added up.
        wall.store(4_500, Ordering::Relaxed);
        assert_eq!((clock.next().millis, clock.bound(Duration::from_secs(1))), (4_500, 5_500));
        wall.store(9_000, Ordering::Relaxed);
        assert_eq!(clock.next().millis, 9_000);
    }
}
