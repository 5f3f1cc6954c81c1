//! The bucket's own object lock: what is asked of it with a write, what it tells of an object, and the
//! legal hold of a version that was replaced (`replaced`). See docs/RETENTION.md.
//!
//! ```text
//! write ─▶ says the object that it is held? ─▶ has the bucket locks? ─▶ headers ─▶ HEAD: what is locked
//!                    replace ─▶ HEAD: is what is there held? ─▶ write ─▶ its hold OFF, by version
//! ```
//! A lock is of one version. So the version that a change leaves behind is locked still: until its time,
//! which nobody shortens, or by a hold, which would be for ever, and which its successor has by then.

mod replaced;

use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object_lock_configuration::{
    GetObjectLockConfigurationError, GetObjectLockConfigurationOutput,
};
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ObjectLockEnabled, ObjectLockLegalHoldStatus, ObjectLockMode,
};

use super::meta::{Head, time};
use super::{Effect, S3, translate};
use crate::model::{
    Capabilities, ErrorKind, Lock, LockMode, MAX_RETENTION, ObjectKey, Provider, Retention,
    StoreError, Support, rfc3339_seconds,
};

type Answer = Result<
    GetObjectLockConfigurationOutput,
    SdkError<GetObjectLockConfigurationError, HttpResponse>,
>;

/// A time that is over sooner is not asked for: the backend refuses one that is over by its own clock.
const AHEAD: Duration = Duration::from_secs(60);

/// What a write asks of the bucket's locks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Locking {
    pub(super) mode: Option<ObjectLockMode>,
    pub(super) until: Option<DateTime>,
    pub(super) hold: Option<ObjectLockLegalHoldStatus>,
    /// Named, as a bucket with locks demands it, beside the checksum itself.
    pub(super) checksum: Option<ChecksumAlgorithm>,
}

impl Locking {
    /// Whether it asks for a lock.
    pub(super) fn is_asked(&self) -> bool {
        self.until.is_some() || self.hold.is_some()
    }

    fn of(mode: &ObjectLockMode, retention: Retention, now: SystemTime) -> Self {
        let until = retention.until.filter(|until| now + AHEAD < *until);
        // What others wrote into the bucket may say anything, and repair passes it on.
        let until = until.map(|until| until.min(now + MAX_RETENTION));
        Self {
            mode: until.map(|_| mode.clone()),
            until: until.map(date),
            hold: retention.legal_hold.then_some(ObjectLockLegalHoldStatus::On),
            checksum: Some(ChecksumAlgorithm::Sha256),
        }
    }

    /// The rights that it takes beside that to write.
    fn rights(&self) -> String {
        let until = self.until.map(|_| "s3:PutObjectRetention");
        let hold = self.hold.as_ref().map(|_| "s3:PutObjectLegalHold");
        let rights: Vec<_> = until.into_iter().chain(hold).collect();
        rights.join(" and ")
    }
}

fn date(time: SystemTime) -> DateTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    DateTime::from_secs(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// What an answer's headers tell of an object's lock. Whoever may not see locks is told none.
pub(super) fn told(
    mode: Option<&ObjectLockMode>,
    until: Option<DateTime>,
    hold: Option<&ObjectLockLegalHoldStatus>,
) -> Lock {
    Lock {
        until: mode.and_then(|_| time(until)),
        legal_hold: hold == Some(&ObjectLockLegalHoldStatus::On),
    }
}

/// What a bucket's lock configuration comes to, and why in words. Only an answer that will be the same
/// tomorrow says that there are no locks: nobody asks again.
fn of_configuration(provider: Provider, answer: Answer) -> (Support, String) {
    const WITHOUT: &str = "the bucket has no object lock: this service alone refuses";
    let error = match answer {
        Ok(found) => {
            let configured = found.object_lock_configuration();
            let enabled = configured.and_then(|found| found.object_lock_enabled());
            return match enabled == Some(&ObjectLockEnabled::Enabled) {
                true => (Support::Native, "the bucket has object lock".to_owned()),
                false => (Support::Gateway, WITHOUT.to_owned()),
            };
        }
        Err(error) => error,
    };
    let status = error.raw_response().map(|answer| answer.status().as_u16());
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
    let said = match (status, code) {
        (Some(status), Some(code)) => format!("{status} {code}"),
        (Some(status), None) => status.to_string(),
        (None, _) => "no answer".to_owned(),
    };
    let unknown = (Support::Unknown, format!("not to be tried ({said})"));
    let detail = match (status, translate(provider, Effect::Read, error).kind()) {
        // 408: too slow, 425: too early.
        (None | Some(408 | 425), _) => return unknown,
        (Some(200..=299), _) => {
            format!("answered with something else ({said}): this service alone refuses")
        }
        (_, ErrorKind::NotFound) => WITHOUT.to_owned(),
        (_, ErrorKind::AccessDenied) => format!(
            "not to be read ({said}): grant s3:GetBucketObjectLockConfiguration where the bucket has \
             object lock, and start again; until then this service alone refuses"
        ),
        (_, ErrorKind::Unsupported | ErrorKind::Invalid) => {
            format!("refused ({said}): this service alone refuses")
        }
        _ => return unknown,
    };
    (Support::Gateway, detail)
}

impl S3 {
    /// Whether the bucket has locks, by its own word.
    pub(super) async fn lock_configuration(&self) -> (Support, String) {
        let request = self.client().get_object_lock_configuration().bucket(self.bucket());
        of_configuration(self.shared.options.provider, request.send().await)
    }

    /// What to ask of the bucket's locks with a write of something of which this is said.
    ///
    /// # Errors
    /// `Unavailable` as long as it is not known whether there are any: without a lock that there is,
    /// nothing would ever add it.
    pub(super) async fn locking(&self, retention: Retention) -> Result<Locking, StoreError> {
        let says = retention.until.is_some() || retention.legal_hold;
        let mode = match self.shared.options.object_lock {
            LockMode::Governance => ObjectLockMode::Governance,
            LockMode::Compliance => ObjectLockMode::Compliance,
            LockMode::Off => return Ok(self.unlocked()),
        };
        if !says {
            return Ok(self.unlocked());
        }
        if self.can().object_lock == Support::Unknown {
            let (support, detail) = self.lock_configuration().await;
            tracing::info!(?support, detail, "asked for the bucket's object lock");
            self.unlearn(|can| can.object_lock = support);
        }
        let support = self.can().object_lock;
        support.require(self.shared.options.provider, "object_lock: a lock for what is held")?;
        match support {
            Support::Native => Ok(Locking::of(&mode, retention, SystemTime::now())),
            _ => Ok(Locking::default()),
        }
    }

    /// What is told of this backend to others: where no lock is asked for, there is none to rely on.
    pub(super) fn outward(&self) -> Capabilities {
        let can = self.can();
        match (self.shared.options.object_lock, can.object_lock) {
            (LockMode::Off, Support::Native) => {
                Capabilities { object_lock: Support::Gateway, ..can }
            }
            _ => can,
        }
    }

    /// A bucket with locks may lock everything by a rule of its own, and then demands as much.
    fn unlocked(&self) -> Locking {
        let named = self.can().object_lock == Support::Native;
        Locking { checksum: named.then_some(ChecksumAlgorithm::Sha256), ..Locking::default() }
    }

    /// What the bucket says of the lock of the version that was just written. Who cannot tell says none.
    pub(super) async fn lock_of(
        &self,
        key: &ObjectKey,
        version: Option<&str>,
        asked: &Locking,
    ) -> Lock {
        match self.head_of(key).await {
            Ok(head) if head.version_id.as_deref() == version => {
                let lock = Head::from(head).lock;
                let dropped =
                    time(asked.until) > lock.until || (asked.hold.is_some() && !lock.legal_hold);
                if dropped {
                    tracing::warn!(
                        %key,
                        "the bucket does not say that it locked what it was asked to lock: its locks may \
                         not be seen without s3:GetObjectRetention and s3:GetObjectLegalHold"
                    );
                }
                lock
            }
            // Somebody else wrote since.
            Ok(_) => Lock::default(),
            Err(error) => {
                tracing::debug!(%error, "it cannot be told whether what was written is locked");
                Lock::default()
            }
        }
    }

    /// A refused write in words that say what it takes, where a lock was asked for.
    pub(super) fn of_locking(&self, locking: &Locking, error: StoreError) -> StoreError {
        let detail = match error.kind() {
            _ if !locking.is_asked() => return error,
            ErrorKind::AccessDenied => format!(
                "{}: to lock what is held in the bucket takes {} beside the right to write; grant it, \
                 or set STORAGE_OBJECT_LOCK=off; nothing was stored",
                error.detail(),
                locking.rights()
            ),
            ErrorKind::Invalid => format!(
                "{}: it was asked to lock what is held: see that its clock and this machine's agree, \
                 and that the bucket has object lock; nothing was stored",
                error.detail()
            ),
            _ => return error,
        };
        self.error(error.kind(), detail).with_source(error)
    }

    /// A refused delete, where it is a lock that the backend refuses it for.
    pub(super) async fn of_locked(&self, key: &ObjectKey, error: StoreError) -> StoreError {
        let may_be = self.can().object_lock == Support::Native;
        if error.kind() != ErrorKind::AccessDenied || !may_be {
            return error;
        }
        let Ok(head) = self.head_of(key).await else { return error };
        let Lock { until, legal_hold } = Head::from(head).lock;
        let until = until.filter(|until| SystemTime::now() < *until);
        let until = until.map(|until| format!("until {}", rfc3339_seconds(until)));
        let hold = legal_hold.then(|| "under a legal hold".to_owned());
        let held: Vec<_> = until.into_iter().chain(hold).collect();
        if held.is_empty() {
            return error;
        }
        let detail = format!(
            "the bucket's own object lock keeps this object {}: it can be removed once that is over",
            held.join(" and ")
        );
        self.error(ErrorKind::AccessDenied, detail).with_source(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_over_or_nearly_is_not_asked_for() {
        let now = at(1000);
        let said = |until: Option<u64>, legal_hold| Retention {
            until: until.map(at),
            legal_hold,
            stored: Some(at(1)),
        };
        let mode = ObjectLockMode::Compliance;
        for (until, asked) in [(None, None), (Some(999), None), (Some(1060), None)] {
            let locking = Locking::of(&mode, said(until, true), now);
            assert_eq!((locking.mode.clone(), locking.until), (None, asked), "{until:?}");
            assert_eq!(locking.hold, Some(ObjectLockLegalHoldStatus::On));
            assert_eq!(locking.rights(), "s3:PutObjectLegalHold");
            assert!(!Locking::of(&mode, said(until, false), now).is_asked(), "{until:?}");
        }
        let locking = Locking::of(&mode, said(Some(1061), false), now);
        assert_eq!(locking.mode, Some(ObjectLockMode::Compliance));
        assert_eq!(locking.until, Some(DateTime::from_secs(1061)));
        assert_eq!(locking.rights(), "s3:PutObjectRetention");
        let latest = Locking::of(&mode, said(Some(u64::from(u32::MAX) * 4), false), now);
        assert_eq!(latest.until, Some(date(now + MAX_RETENTION)), "planted: nobody stores that");
        let both = Locking::of(&mode, said(Some(1061), true), now);
        assert_eq!(both.rights(), "s3:PutObjectRetention and s3:PutObjectLegalHold");
    }

    #[test]
    fn a_date_without_a_mode_locks_nothing() {
        let until = Some(DateTime::from_secs(9));
        let none = Lock::default();
        assert_eq!(told(None, until, None), none);
        assert_eq!(told(None, None, Some(&ObjectLockLegalHoldStatus::Off)), none);
        let on = Some(&ObjectLockLegalHoldStatus::On);
        let governed = Some(&ObjectLockMode::Governance);
        assert_eq!(told(governed, until, on), Lock { until: Some(at(9)), legal_hold: true });
    }
}
