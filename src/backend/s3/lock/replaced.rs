//! The legal hold of a version that a write has replaced: it is put `OFF` once what took its place is there
//! with all that is said now, and locked itself.

use std::time::Duration;

use aws_sdk_s3::types::{ObjectLockLegalHold, ObjectLockLegalHoldStatus};

use crate::backend::s3::error::chain;
use crate::backend::s3::meta::Head;
use crate::backend::s3::write::Prepared;
use crate::backend::s3::{Effect, S3, translate};
use crate::model::{
    Digest, ErrorKind, ObjectKey, PutMode, RESERVED, Retention, StoreError, Stored, Support,
};

/// For the first try to clear the hold of a replaced version, which the caller waits for.
const FIRST_RELEASE: Duration = Duration::from_secs(2);
/// Further tries, which nobody waits for. The first one comes after this, each one four times as late.
const RELEASES: u32 = 4;
const RELEASE_AGAIN: Duration = Duration::from_secs(1);

/// A version with a hold of ours that a write is about to replace.
#[derive(Clone, Debug)]
pub(in crate::backend::s3) struct Held {
    version: String,
    bytes: Digest,
}

impl S3 {
    /// What is there with a hold of ours, before it is replaced by the same bytes.
    pub(in crate::backend::s3) async fn held(
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
            // Who may write and not read has no hold to let go of: holds are looked for by reading.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AccessDenied) => {
                return Ok(None);
            }
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
    pub(in crate::backend::s3) async fn let_go(
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
