//! The hybrid logical clock of this process: see [`crate::model::Version`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    /// Planted: versions are what the wall says.
    bare: bool,
}

impl Clock {
    pub(super) fn new(wall: WallClock, writer: u32, bare: bool) -> Self {
        Self { wall, writer, last: AtomicU64::new(0), bare }
    }

    /// Name of this process in its versions.
    pub(super) fn writer(&self) -> u32 {
        self.writer
    }

    /// A version above all before it.
    pub(super) fn next(&self) -> Version {
        let wall = self.wall.millis();
        let following = |last: u64| match last as u16 {
            _ if wall > millis_of(last) => packed(wall, 0),
            counter if self.bare && counter < u16::MAX => packed(wall, counter + 1),
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

    /// A time that no version will be above for as long as `ahead`, by the wall; where that was set
    /// back, versions creep on by their counters and need little.
    pub(super) fn bound(&self, ahead: Duration) -> u64 {
        let ahead = u64::try_from(ahead.as_millis()).unwrap_or(0);
        (self.wall.millis() + ahead).max(self.last_millis() + ahead / 20)
    }

    /// Milliseconds by the wall, whatever was seen.
    pub(super) fn wall_millis(&self) -> u64 {
        self.wall.millis()
    }

    /// Milliseconds now, on the scale of versions.
    pub(super) fn now_millis(&self) -> u64 {
        self.wall.millis().max(self.last_millis())
    }

    fn last_millis(&self) -> u64 {
        millis_of(self.last.load(Ordering::Relaxed))
    }
}

/// Time and counter as one number, in the order of versions. A time has 48 bits.
fn packed(millis: u64, counter: u16) -> u64 {
    (millis << 16) | u64::from(counter)
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
}
