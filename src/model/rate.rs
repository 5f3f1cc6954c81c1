//! How many requests somebody may make: `100/s`, `100/s burst 200`.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// Longest until a burst may come again: nobody waits for that, and time is counted in nanoseconds of 64
/// bits.
const MAX_WINDOW: Duration = Duration::from_secs(366 * 24 * 3600);

/// A rate, and how much of it may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    per: Per,
    burst: NonZeroU32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Per {
    Second,
    Minute,
    Hour,
}

impl Per {
    const ALL: [(Self, &'static str, Duration); 3] = [
        (Self::Second, "s", Duration::from_secs(1)),
        (Self::Minute, "min", Duration::from_secs(60)),
        (Self::Hour, "h", Duration::from_secs(3600)),
    ];

    fn spec(self) -> (&'static str, Duration) {
        let [second, minute, hour] = Self::ALL.map(|(_, unit, time)| (unit, time));
        match self {
            Self::Second => second,
            Self::Minute => minute,
            Self::Hour => hour,
        }
    }
}

impl Rate {
    /// Reads `N/s`, `N/min` or `N/h`, with or without `burst M` behind; without, `N` may come at once.
    ///
    /// # Errors
    /// Says what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mistake = || {
            format!(
                "`{text}` is no rate: write a number and /s, /min or /h, such as `100/s` or \
                 `100/s burst 200`"
            )
        };
        let words: Vec<_> = text.split_ascii_whitespace().collect();
        let (rate, burst) = match words[..] {
            [rate] => (rate, None),
            [rate, "burst", burst] => (rate, Some(burst)),
            _ => return Err(mistake()),
        };
        let (count, unit) = rate.split_once('/').ok_or_else(mistake)?;
        let number = |digits: &str| digits.parse::<NonZeroU32>().map_err(|_| mistake());
        let count = number(count)?;
        let known = Per::ALL.into_iter().find(|(_, name, _)| *name == unit);
        let (per, ..) = known.ok_or_else(mistake)?;
        let rate = Self { count, per, burst: burst.map_or(Ok(count), number)? };
        if rate.interval().is_zero() {
            return Err(format!("`{text}` is more than can be counted: at most 1000000000/s"));
        }
        if rate.window() > MAX_WINDOW {
            return Err(format!(
                "`{text}`: it would take over a year until all of the burst may come again"
            ));
        }
        Ok(rate)
    }

    /// Most that may come at once.
    pub fn burst(&self) -> NonZeroU32 {
        self.burst
    }

    /// Time after which one more may come.
    pub fn interval(&self) -> Duration {
        self.per.spec().1 / self.count.get()
    }

    /// Time after which a burst that was used up may come again.
    pub fn window(&self) -> Duration {
        self.interval() * self.burst.get()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per.spec().0)?;
        if self.burst == self.count { Ok(()) } else { write!(f, " burst {}", self.burst) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        for text in ["1/s", "100/s burst 200", "30/min", "5/h burst 1"] {
            assert_eq!(Rate::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Rate::parse(" 100/s  burst 100 ").unwrap().to_string(), "100/s");
        let rate = Rate::parse("120/min burst 10").unwrap();
        assert_eq!(rate.interval(), Duration::from_millis(500));
        assert_eq!(rate.window(), Duration::from_secs(5));
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        for text in ["1/h burst 6000000", "1/s burst 4294967295", "1/h burst 8785"] {
            assert!(Rate::parse(text).unwrap_err().contains("over a year"), "{text}");
        }
        for text in ["1000000001/s", "4294967295/s"] {
            assert!(Rate::parse(text).unwrap_err().contains("1000000000/s"), "{text}");
        }
        for text in ["1/h burst 8784", "1000000000/s", "4294967295/min", "4294967295/h"] {
            assert!(Rate::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_is_no_rate_is_told_how_to_be_one() {
        for text in [
            "",
            "100",
            "0/s",
            "100/d",
            "-1/s",
            "1.5/s",
            "100/s burst",
            "100/s burst 0",
            "100/s 200",
        ] {
            assert!(Rate::parse(text).unwrap_err().contains("100/s burst 200"), "{text}");
        }
    }
}
