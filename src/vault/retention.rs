//! Whether a proof is held: what is said of it, what is said of its prefix, and what time it is.
//!
//! Pure decisions; [`super::retained`] holds calls against them. See docs/RETENTION.md.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::holds::Holds;
use crate::model::{Key, Lock, ObjectMeta, Retention, RetentionRule};

/// A time to compare holds with: never later than what the wall clock said when this was made, and
/// what has passed since. So a wall clock that is set forward ends nothing early.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// The machine's.
    pub fn system() -> Self {
        Self::over(SystemTime::now)
    }

    /// Over a wall clock.
    pub fn over(wall: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        let (started, at) = (Instant::now(), wall());
        Self(Arc::new(move || {
            let passed = at.checked_add(started.elapsed());
            passed.map_or_else(&wall, |passed| wall().min(passed))
        }))
    }

    /// One that says what it is told, for tests.
    pub fn told(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Now.
    pub fn now(&self) -> SystemTime {
        (self.0)()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::system()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// How proofs are held, beside what is said of each.
#[derive(Clone, Debug, Default)]
pub struct Holding {
    /// Of prefixes.
    pub rules: Arc<[RetentionRule]>,
    /// Whether there are any.
    pub holds: Holds,
    /// What time it is.
    pub clock: Clock,
    /// A check that is left out on purpose: the harness must notice.
    #[doc(hidden)]
    pub planted: Option<Unchecked>,
}

/// A way to destroy a proof, for tests that leave its check out.
#[doc(hidden)]
#[allow(missing_docs, reason = "each is the call of that name")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unchecked {
    Delete,
    DeleteMany,
    MoveSource,
    Replace,
    Overwrite,
    CopyOnto,
    MoveOnto,
    /// A change is acknowledged and not made.
    Change,
    /// Nobody waits for a turn.
    Turns,
}

/// By what a proof is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// By what is said of it alone.
    Object,
    /// By its prefix, more than by what is said of it.
    Prefix,
}

/// Who refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Strength {
    /// The backend too, whoever asks it, by a lock of its own.
    Native,
    /// This service alone.
    Gateway,
}

/// What holds a proof, all taken together; it need not hold it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Until when, in whole seconds.
    pub until: Option<SystemTime>,
    /// Whether it stays beyond that, for as long as this is set.
    pub legal_hold: bool,
    /// By what.
    pub source: Source,
}

impl Standing {
    /// Whether the proof has to stay.
    pub fn holds(&self, now: SystemTime) -> bool {
        self.legal_hold || self.until.is_some_and(|until| now < until)
    }

    /// Who refuses, where the backend says that it keeps the bytes by this lock. What a rule for a prefix
    /// adds, no backend knows of.
    pub fn strength(&self, lock: Lock, now: SystemTime) -> Strength {
        match lock.covers(self.until, self.legal_hold, now) {
            true => Strength::Native,
            false => Strength::Gateway,
        }
    }
}

impl Holding {
    /// Whether there is a rule for a key.
    pub fn has_rule(&self, key: Option<&Key>) -> bool {
        self.of(key).next().is_some()
    }

    fn of(&self, key: Option<&Key>) -> impl Iterator<Item = &RetentionRule> {
        self.rules.iter().filter(move |rule| key.is_some_and(|key| rule.prefix.has(key)))
    }

    /// What holds a proof; `None` where nothing does or ever did.
    pub fn standing(&self, key: Option<&Key>, meta: &ObjectMeta) -> Option<Standing> {
        let Retention { until, legal_hold, stored } = meta.attributes.retention;
        let stored = stored.unwrap_or(meta.last_modified);
        let ends = |rule: &RetentionRule| rule.keep.map(|keep| rounded_up(stored, keep));
        let of_prefix = self.of(key).filter_map(ends).max();
        let held_by_prefix = self.of(key).any(|rule| rule.legal_hold);
        let more = of_prefix > until || (held_by_prefix && !legal_hold);
        let standing = Standing {
            until: until.max(of_prefix),
            legal_hold: legal_hold || held_by_prefix,
            source: if more { Source::Prefix } else { Source::Object },
        };
        (standing.until.is_some() || standing.legal_hold).then_some(standing)
    }
}

/// The first whole second that is not before a time's end.
fn rounded_up(from: SystemTime, keep: Duration) -> SystemTime {
    let since = from.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let end = since.saturating_add(keep);
    let seconds = end.as_secs() + u64::from(end.subsec_nanos() > 0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::model::{Attributes, ETag, KeyPrefix, Namespace, ObjectKey, Provider};

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn rule(prefix: &str, keep: Option<u64>, legal_hold: bool) -> RetentionRule {
        let keep = keep.map(Duration::from_secs);
        RetentionRule { prefix: KeyPrefix::parse(prefix).unwrap(), keep, legal_hold }
    }

    fn meta(retention: Retention) -> ObjectMeta {
        ObjectMeta {
            key: ObjectKey::new("proofs/x"),
            etag: ETag::new("1"),
            version_id: None,
            stored_size: 0,
            last_modified: SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_001),
            attributes: Attributes { retention, ..Attributes::new("text/plain") },
            lock: Lock::default(),
            provider: Provider::Memory,
        }
    }

    #[test]
    fn the_longest_holds_and_prefixes_count_from_the_store() {
        let rules = [
            rule("legal/", Some(10), false),
            rule("legal/long", Some(100), false),
            rule("case", None, true),
        ];
        let holding = Holding { rules: rules.into(), ..Holding::default() };
        let said = |until: Option<u64>, legal_hold, stored: Option<u64>| Retention {
            until: until.map(at),
            legal_hold,
            stored: stored.map(at),
        };
        let (object, prefix) = (Source::Object, Source::Prefix);
        for (name, retention, expected) in [
            ("other", said(None, false, None), None),
            ("other", said(None, false, Some(5)), None),
            ("other", said(Some(7), false, None), Some((Some(7), false, object))),
            ("other", said(None, true, None), Some((None, true, object))),
            // Not before 1000.001 s and ten.
            ("legal/a", said(None, false, None), Some((Some(1011), false, prefix))),
            ("legal", said(None, false, None), None),
            ("legality/a", said(None, false, None), None),
            ("legal/long", said(None, false, None), Some((Some(1101), false, prefix))),
            ("legal/a", said(Some(2000), false, None), Some((Some(2000), false, object))),
            ("legal/a", said(None, false, Some(500)), Some((Some(510), false, prefix))),
            ("case/1", said(Some(9), false, None), Some((Some(9), true, prefix))),
            ("case", said(None, true, None), Some((None, true, object))),
        ] {
            let key = Namespace::new("proofs/").unwrap().key(name).unwrap();
            let found = holding.standing(Some(&key), &meta(retention));
            let found = found.map(|s| (s.until, s.legal_hold, s.source));
            let expected =
                expected.map(|(until, hold, by): (Option<u64>, _, _)| (until.map(at), hold, by));
            assert_eq!(found, expected, "{name} {retention:?}");
        }
    }

    #[test]
    fn a_time_holds_up_to_its_end_and_a_legal_hold_without_one() {
        let standing = Standing { until: Some(at(9)), legal_hold: false, source: Source::Object };
        assert!(standing.holds(at(8)) && !standing.holds(at(9)));
        assert!(Standing { legal_hold: true, ..standing }.holds(at(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wall_clock_that_jumps_forward_ends_nothing() {
        let wall = Arc::new(Mutex::new(at(1000)));
        let clock = Clock::over({
            let wall = Arc::clone(&wall);
            move || *wall.lock().unwrap()
        });
        assert_eq!(clock.now(), at(1000));
        *wall.lock().unwrap() = at(9000);
        assert_eq!(clock.now(), at(1000), "nothing has passed");
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(clock.now(), at(1005));
        *wall.lock().unwrap() = at(990);
        assert_eq!(clock.now(), at(990), "late rather than early");
    }
}
