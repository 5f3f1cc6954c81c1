//! The bucket's own object lock: what is asked of it with a write, what it tells of an object, and the
//! legal hold of a version that was replaced. See docs/RETENTION.md.
//!
//! ```text
//! write ─▶ says the object that it is held? ─▶ has the bucket locks? ─▶ headers ─▶ HEAD: what is locked
//!                    replace ─▶ HEAD: is what is there held? ─▶ write ─▶ its hold OFF, by version
//! ```
//! A lock is of one version. So the version that a change leaves behind is locked still: until its time,
//! which nobody shortens, or by a hold, which would be for ever, and which its successor has by then.

use std::time::{Duration, SystemTime};

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_object_lock_configuration::{
    GetObjectLockConfigurationError, GetObjectLockConfigurationOutput,
};
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, ObjectLockEnabled, ObjectLockLegalHold, ObjectLockLegalHoldStatus,
    ObjectLockMode,
};

use super::error::chain;
use super::meta::{Head, time};
use super::write::Prepared;
use super::{Effect, S3, translate};
use crate::model::{
    Digest, ErrorKind, Lock, LockMode, ObjectKey, PutMode, RESERVED, Retention, StoreError, Stored,
    Support,
};

/// A time that is over sooner is not asked for: the backend refuses one that is over by its own clock.
const AHEAD: Duration = Duration::from_secs(60);
/// For the first try to clear the hold of a replaced version, which the caller waits for.
const FIRST_RELEASE: Duration = Duration::from_secs(2);
/// Further tries, which nobody waits for. The first one comes after this, each one four times as late.
const RELEASES: u32 = 4;
const RELEASE_AGAIN: Duration = Duration::from_secs(1);

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

/// What a bucket's lock configuration comes to, and why in words; unknown where it was not told.
pub(super) fn of_configuration(
    answer: &Result<
        GetObjectLockConfigurationOutput,
        SdkError<GetObjectLockConfigurationError, HttpResponse>,
    >,
) -> (Support, String) {
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
    match status {
        Some(404) => (Support::Gateway, WITHOUT.to_owned()),
        Some(403) => {
            let detail = format!(
                "not to be read ({said}): grant s3:GetBucketObjectLockConfiguration where the bucket \
                 has object lock; until then this service alone refuses"
            );
            (Support::Gateway, detail)
        }
        Some(400..=428 | 430..=499 | 501) => {
            (Support::Gateway, format!("refused ({said}): this service alone refuses"))
        }
        _ => (Support::Unknown, format!("not to be tried ({said})")),
    }
}

/// A version with a hold of ours that a write is about to replace.
#[derive(Clone, Debug)]
pub(super) struct Held {
    version: String,
    bytes: Digest,
}

impl S3 {
    /// Whether the bucket has locks, by its own word.
    pub(super) async fn lock_configuration(&self) -> (Support, String) {
        let request = self.client().get_object_lock_configuration().bucket(self.bucket());
        of_configuration(&request.send().await)
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

    /// A bucket with locks may lock everything by a rule of its own, and then demands as much.
    fn unlocked(&self) -> Locking {
        let named = self.can().object_lock == Support::Native;
        Locking { checksum: named.then_some(ChecksumAlgorithm::Sha256), ..Locking::default() }
    }

    /// What is there with a hold of ours, before it is replaced by the same bytes.
    pub(super) async fn held(
        &self,
        key: &ObjectKey,
        mode: &PutMode,
        prepared: &Prepared,
    ) -> Result<Option<Held>, StoreError> {
        let locks = self.can().object_lock == Support::Native;
        if !locks || *mode == PutMode::Create || key.as_str().starts_with(RESERVED) {
            return Ok(None);
        }
        let Some(ours) = prepared.attributes.representation else { return Ok(None) };
        let head = match self.head_of(key).await {
            Ok(head) => head,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let off = head.object_lock_legal_hold_status == Some(ObjectLockLegalHoldStatus::Off);
        let version = head.version_id.clone();
        // Whoever cannot read what is said there did not set it.
        let Ok(before) = self.meta(key, Head::from(head)) else { return Ok(None) };
        let bytes = before.attributes.representation.map(|known| known.stored_sha256);
        // Other bytes keep their hold, and so does what others hold.
        let is_ours = before.attributes.retention.legal_hold && bytes == Some(ours.stored_sha256);
        let held = version.filter(|_| is_ours && !off);
        Ok(held.map(|version| Held { version, bytes: ours.stored_sha256 }))
    }

    /// Clears the hold of the version that was replaced, once another one with the same bytes and all that
    /// is said of them now is there. Nothing that fails here undoes the write.
    pub(super) async fn let_go(
        &self,
        key: &ObjectKey,
        held: Held,
        wanted: Retention,
        outcome: &Result<Stored, StoreError>,
    ) {
        match outcome {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Indeterminate => {}
            Err(error) if error.kind() == ErrorKind::Timeout => {}
            // Nothing was written.
            Err(_) => return,
        }
        let Ok(head) = self.head_of(key).await else {
            return stays(key, &held, "it cannot be told what took its place");
        };
        let version = head.version_id.clone();
        let after = self.meta(key, Head::from(head)).ok();
        let is_locked = after.as_ref().is_some_and(|after| after.lock.legal_hold);
        let same = after.map(|after| after.attributes).is_some_and(|after| {
            let bytes = after.representation.map(|known| known.stored_sha256);
            bytes == Some(held.bytes) && after.retention == wanted
        });
        if !same || version.is_none_or(|version| version == held.version) {
            // Where the write is known to have happened, another one came behind it.
            if outcome.is_ok() {
                stays(key, &held, "something else took its place");
            }
            return;
        }
        // Locks may be off by now, or this one was dropped: then the old version is the one that is locked.
        if wanted.legal_hold && !is_locked {
            return stays(key, &held, "what took its place is held and not locked");
        }
        let first = tokio::time::timeout(FIRST_RELEASE, self.release(key, &held)).await;
        if matches!(first, Ok(Ok(()))) {
            return;
        }
        let (this, key) = (self.clone(), key.clone());
        tokio::spawn(async move { this.release_later(&key, &held).await });
    }

    async fn release_later(&self, key: &ObjectKey, held: &Held) {
        let mut wait = RELEASE_AGAIN;
        for tries_left in (0..RELEASES).rev() {
            tokio::time::sleep(wait).await;
            match self.release(key, held).await {
                Ok(()) => return,
                Err(error) if tries_left == 0 || error.kind() == ErrorKind::AccessDenied => {
                    return stays(key, held, &error.to_string());
                }
                Err(_) => wait *= 4,
            }
        }
    }

    async fn release(&self, key: &ObjectKey, held: &Held) -> Result<(), StoreError> {
        let off = ObjectLockLegalHold::builder().status(ObjectLockLegalHoldStatus::Off).build();
        let request = self.client().put_object_legal_hold().bucket(self.bucket());
        let request = request.key(key.as_str()).version_id(&held.version).legal_hold(off);
        match request.send().await {
            Ok(_) => Ok(()),
            // Somebody removed it.
            Err(error) if error.raw_response().is_some_and(|it| it.status().as_u16() == 404) => {
                Ok(())
            }
            Err(error) => {
                tracing::debug!(error = chain(&error), "a legal hold could not be cleared");
                // To clear it twice is no harm.
                Err(translate(self.shared.options.provider, Effect::Read, error))
            }
        }
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
        let until =
            until.map(|until| format!("until {}", humantime::format_rfc3339_seconds(until)));
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

fn stays(key: &ObjectKey, held: &Held, why: &str) {
    tracing::warn!(
        %key,
        version = held.version,
        why,
        "an old version stays under the bucket's legal hold and cannot be removed: set its hold OFF by \
         hand, which takes s3:PutObjectLegalHold"
    );
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
