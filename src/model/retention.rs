//! What is said of an object that keeps it from being deleted or replaced: docs/RETENTION.md.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use super::right::KeyPrefix;

/// Name of the object that says that proofs of a store may be held. It is the service's own, and beside
/// the proofs of all prefixes.
pub const HOLDS_MARK: &str = ".proof-storage/holds";

/// What that object says to who finds it.
pub const HOLDS_MARK_TEXT: &[u8] = b"proofs of this store may be held\n";

/// How far ahead a time may lie: beyond it, it is a slip of the pen, and nobody could take it back.
pub const MAX_RETENTION: Duration = Duration::from_secs(100 * 366 * 86_400);

/// Kept with an object, and changed only by a write of the same bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// The object stays until then, in whole seconds.
    pub until: Option<SystemTime>,
    /// It stays for as long as this is set.
    pub legal_hold: bool,
    /// When its bytes were stored, in whole milliseconds, where it was written since then only to change
    /// what is said of it. Else that is its `last_modified`.
    pub stored: Option<SystemTime>,
}

impl Retention {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The same of bytes that are written again as they are, and were last written then.
    #[must_use]
    pub fn rewritten(self, last_modified: SystemTime) -> Self {
        Self { stored: self.stored.or(Some(last_modified)), ..self }
    }

    /// The stronger of each.
    #[must_use]
    pub fn raised(self, wanted: Self) -> Self {
        Self {
            until: self.until.max(wanted.until),
            legal_hold: self.legal_hold || wanted.legal_hold,
            ..self
        }
    }
}

/// What a store itself keeps an object's bytes by, whoever asks it to destroy them: S3's object lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// They stay until then.
    pub until: Option<SystemTime>,
    /// They stay for as long as this is set.
    pub legal_hold: bool,
}

impl Lock {
    /// Whether it keeps the bytes for at least as long as is demanded: up to a time, and beyond it where
    /// there is a legal hold. A time that is over demands nothing, unless nothing else does.
    pub fn covers(self, until: Option<SystemTime>, legal_hold: bool, now: SystemTime) -> bool {
        let running = until.filter(|until| now < *until);
        let demanded = if legal_hold { running } else { running.or(until) };
        let demands = demanded.is_some() || legal_hold;
        demands && self.until >= demanded && (self.legal_hold || !legal_hold)
    }
}

/// How held objects are locked by a store that has locks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LockMode {
    /// Whoever has a right of their own for that may undo it.
    #[default]
    Governance,
    /// Nobody can undo it, its owner neither.
    Compliance,
    /// Not at all.
    Off,
}

/// What the configuration says of every key with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionRule {
    /// Which keys.
    pub prefix: KeyPrefix,
    /// For how long after it was stored a proof stays.
    pub keep: Option<Duration>,
    /// Whether it stays for as long as the rule does.
    pub legal_hold: bool,
}

/// The text is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a retention")]
pub struct NoRetention;

/// `until=<seconds>;hold;stored=<milliseconds>`, each where it is said, in this order.
impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since =
            |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let until = self.until.map(|until| format!("until={}", since(until).as_secs()));
        let hold = self.legal_hold.then(|| "hold".to_owned());
        let stored = self.stored.map(|stored| format!("stored={}", since(stored).as_millis()));
        let parts: Vec<_> = [until, hold, stored].into_iter().flatten().collect();
        f.write_str(&parts.join(";"))
    }
}

impl FromStr for Retention {
    type Err = NoRetention;

    fn from_str(text: &str) -> Result<Self, NoRetention> {
        let mut found = Self::default();
        let number = |digits: &str| digits.parse::<u64>().map_err(|_| NoRetention);
        let time = |since| SystemTime::UNIX_EPOCH.checked_add(since).ok_or(NoRetention);
        for part in text.split(';') {
            match part.split_once('=') {
                Some(("until", digits)) => {
                    found.until = Some(time(Duration::from_secs(number(digits)?))?);
                }
                Some(("stored", digits)) => {
                    found.stored = Some(time(Duration::from_millis(number(digits)?))?);
                }
                None if part == "hold" => found.legal_hold = true,
                _ => return Err(NoRetention),
            }
        }
        // Nothing is said twice, in another order, or in other digits.
        if found.to_string() == text { Ok(found) } else { Err(NoRetention) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Option<SystemTime> {
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    #[test]
    fn no_caller_reaches_the_mark() {
        let rest = HOLDS_MARK.strip_prefix(crate::model::RESERVED);
        assert!(rest.is_some_and(|rest| rest.starts_with('/')));
    }

    #[test]
    fn texts_come_back_and_no_others_are_taken() {
        for until in [None, at(0), at(4_000_000_000)] {
            for legal_hold in [false, true] {
                for stored in [None, at(1)] {
                    let retention = Retention { until, legal_hold, stored };
                    if !retention.is_empty() {
                        assert_eq!(retention.to_string().parse(), Ok(retention));
                    }
                }
            }
        }
        for text in [
            "",
            "hold;hold",
            "hold;until=1",
            "until=",
            "until=01",
            "until=-1",
            "Hold",
            "hold;",
            "until=1;x",
        ] {
            assert_eq!(text.parse::<Retention>(), Err(NoRetention), "{text}");
        }
        assert_eq!(format!("until={}", u64::MAX).parse::<Retention>(), Err(NoRetention));
    }

    #[test]
    fn a_lock_covers_what_it_keeps_as_long_and_nothing_else() {
        let lock = |until: Option<u64>, legal_hold| Lock { until: until.and_then(at), legal_hold };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(5);
        for (kept, until, legal_hold, covered) in [
            (lock(Some(9), false), Some(9), false, true),
            (lock(Some(10), false), Some(9), false, true),
            (lock(Some(8), false), Some(9), false, false),
            (lock(None, false), Some(9), false, false),
            (lock(None, true), Some(9), false, false),
            (lock(Some(9), false), Some(9), true, false),
            (lock(Some(9), true), Some(9), true, true),
            (lock(None, true), None, true, true),
            (lock(Some(9), false), None, true, false),
            (lock(None, false), None, true, false),
            // The time is over: it is the hold that keeps it.
            (lock(None, true), Some(4), true, true),
            (lock(None, false), Some(4), false, false),
            (lock(Some(4), false), Some(4), false, true),
            (lock(Some(9), true), None, false, false),
        ] {
            let found = kept.covers(until.and_then(at), legal_hold, now);
            assert_eq!(found, covered, "{kept:?} of {until:?} {legal_hold}");
        }
    }

    #[test]
    fn raising_never_weakens() {
        let strong = Retention { until: at(9), legal_hold: true, stored: at(1) };
        assert_eq!(strong.raised(Retention { until: at(8), ..Retention::default() }), strong);
        let weak = Retention { until: at(8), ..Retention::default() };
        assert_eq!(weak.raised(strong), Retention { stored: None, ..strong });
    }
}
