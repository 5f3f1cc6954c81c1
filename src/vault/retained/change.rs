//! Changing what is said of a proof: the same bytes, written again in place of exactly what was read.

use std::time::SystemTime;

use super::{Retained, TRIES, Unchecked, Want};
use crate::backend::Backend as _;
use crate::model::{
    ETag, ErrorKind, ObjectKey, ObjectMeta, PutMode, Retention, StoreError, Support,
    rfc3339_seconds,
};

/// What is to be said of a proof from now on; what is not named stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// In whole seconds. No earlier than what is said already, unless that time is over.
    pub until: Option<SystemTime>,
    /// Whoever clears one has been asked whether they may.
    pub legal_hold: Option<bool>,
}

impl Retained {
    /// Changes what is said of a proof, where it still is the version that is named; gives it as it is
    /// kept then, unopened.
    ///
    /// # Errors
    /// `NotFound`, `PreconditionFailed` (another version), `Retained` (the time would be shortened),
    /// `Corrupt` (the bytes are not what was stored, and are not written again), `Contended`, or a failure.
    pub async fn retain(
        &self,
        key: &ObjectKey,
        change: Change,
        version: Option<ETag>,
    ) -> Result<ObjectMeta, StoreError> {
        let (this, key) = (self.clone(), key.clone());
        self.to_the_end(async move {
            let _turn = this.turns.one(&key, Want::Alone).await;
            this.retain_alone(&key, change, version).await
        })
        .await
    }

    async fn retain_alone(
        &self,
        key: &ObjectKey,
        change: Change,
        version: Option<ETag>,
    ) -> Result<ObjectMeta, StoreError> {
        self.check_settable()?;
        let can = self.capabilities();
        let feature = "replace_if_match: replacing exactly one version";
        can.replace_if_match.require(self.provider(), feature)?;
        let below = self.sealed.below();
        for _ in 0..TRIES {
            let before = below.head(key).await?;
            // A newer hold, unseen, would be replaced by this one.
            if !self.holding.holds.is_seen() {
                return Err(self.unseen());
            }
            if version.as_ref().is_some_and(|version| *version != before.etag) {
                let detail = "another version is there by now";
                return Err(self.error(ErrorKind::PreconditionFailed, detail));
            }
            let said = before.attributes.retention;
            let wanted = self.changed(said, change)?;
            if wanted == said {
                return Ok(before);
            }
            self.settable().await?;
            let wanted = wanted.rewritten(before.last_modified);
            let written = match self.sealed.frames_as_they_are(&before).await {
                Ok(payload) => {
                    let mut attributes = self.sealed.again(&before);
                    if !self.omits(Unchecked::Change) {
                        attributes.retention = wanted;
                    }
                    let mode = PutMode::Replace(before.etag);
                    below.put(key, payload, attributes, mode).await
                }
                Err(error) => Err(error),
            };
            match written {
                // Versions of the same bytes may have the same token: another process's write between
                // the look and this one's would not be noticed by it, and one after it can undo it.
                Ok(_) if can.unique_etags != Support::Native => {
                    let after = below.head(key).await?;
                    if after.attributes.retention == wanted {
                        return Ok(after);
                    }
                }
                Ok(stored) => return Ok(stored.meta),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::PreconditionFailed | ErrorKind::Contended
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        let detail = "others write this proof again and again: try again";
        Err(self.error(ErrorKind::Contended, detail))
    }

    fn changed(&self, said: Retention, change: Change) -> Result<Retention, StoreError> {
        let running = said.until.filter(|until| self.holding.clock.now() < *until);
        if let (Some(running), Some(wanted)) = (running, change.until)
            && wanted < running
        {
            let detail = format!(
                "retain_until: the proof is retained until {} already, and that can only be extended",
                rfc3339_seconds(running)
            );
            return Err(self.error(ErrorKind::Retained, detail));
        }
        Ok(Retention {
            until: change.until.or(said.until),
            legal_hold: change.legal_hold.unwrap_or(said.legal_hold),
            ..said
        })
    }
}
