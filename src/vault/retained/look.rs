//! Looking at a proof before it is destroyed, and what is said where it has to stay.

use std::time::Duration;

use super::{Retained, TRIES, Unchecked};
use crate::backend::Backend as _;
use crate::model::{
    ErrorKind, ObjectKey, ObjectMeta, PutMode, StoreError, Stored, rfc3339_seconds,
};
use crate::vault::retention::{Source, Standing};
use crate::vault::sight::Sight;

/// Until a caller is asked to come again where nobody can look.
const COME_AGAIN: Duration = Duration::from_secs(5);

impl Retained {
    /// Looks at what is to be destroyed: it is not held, or nothing is there.
    pub(super) async fn free(
        &self,
        key: &ObjectKey,
        check: Unchecked,
    ) -> Result<Option<ObjectMeta>, StoreError> {
        self.free_in_sight(key, check, &Sight::none()).await
    }

    /// The same, and tells what was seen, held or not.
    pub(super) async fn free_in_sight(
        &self,
        key: &ObjectKey,
        check: Unchecked,
        sight: &Sight,
    ) -> Result<Option<ObjectMeta>, StoreError> {
        let meta = match self.sealed.below().head(key).await {
            Ok(meta) => meta,
            Err(error) => return self.unread(key, error),
        };
        self.sealed.tell(&meta, sight);
        match self.standing(&meta) {
            Some(standing) if standing.holds(self.holding.clock.now()) && !self.omits(check) => {
                Err(self.held(standing))
            }
            _ if !self.holding.holds.is_seen() => Err(self.unseen()),
            _ => Ok(Some(meta)),
        }
    }

    /// Looks for whoever writes down what goes, where nothing else makes a look necessary. Of what the store
    /// does not say there is nothing to tell: what is wrong with it, the delete finds for itself.
    pub(super) async fn look_for(&self, sight: &Sight, key: &ObjectKey) {
        if sight.looks()
            && let Ok(meta) = self.sealed.below().head(key).await
        {
            self.sealed.tell(&meta, sight);
        }
    }

    /// Of what cannot be read because it is damaged, or because others stored it in a form that is not
    /// ours, only the rules of its prefix are known: it must be possible to get rid of it.
    fn unread(&self, key: &ObjectKey, error: StoreError) -> Result<Option<ObjectMeta>, StoreError> {
        match error.kind() {
            ErrorKind::NotFound => Ok(None),
            ErrorKind::Corrupt | ErrorKind::Unsupported if !self.has_rule(key) => Ok(None),
            _ => Err(error),
        }
    }

    pub(super) fn unseen(&self) -> StoreError {
        let detail = "a backend of the pool does not answer that may know of a hold, so nothing was \
                      changed: try again when it does";
        self.error(ErrorKind::Unavailable, detail).with_retry_after(COME_AGAIN)
    }

    fn held(&self, standing: Standing) -> StoreError {
        let by = match standing.source {
            Source::Object => "",
            Source::Prefix => " by the rules for its prefix",
        };
        let until = standing.until.filter(|until| self.holding.clock.now() < *until);
        let until = until.map(|until| format!("retained until {}", rfc3339_seconds(until)));
        let hold = standing.legal_hold.then(|| "under a legal hold".to_owned());
        let held: Vec<_> = until.into_iter().chain(hold).collect();
        let detail = format!(
            "the proof is {}{by}, and nothing was changed: it can be deleted or replaced once that is over",
            held.join(" and ")
        );
        self.error(ErrorKind::Retained, detail)
    }

    /// Whether something is said of a proof itself, be it over or not. Of one that is missing nothing is.
    pub(super) async fn says_something(&self, key: &ObjectKey) -> Result<bool, StoreError> {
        match self.sealed.below().head(key).await {
            Ok(meta) => Ok(!meta.attributes.retention.is_empty()),
            // A URL of what is not there tells nothing; without the right to list S3 says so.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AccessDenied) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Looks, and then writes over what was seen and nothing else: other processes take no turns with
    /// this one.
    pub(super) async fn over_what_is_free<F: Future<Output = Result<Stored, StoreError>> + Send>(
        &self,
        key: &ObjectKey,
        mode: PutMode,
        check: Unchecked,
        write: impl Fn(PutMode) -> F + Send + Sync,
    ) -> Result<Stored, StoreError> {
        for _ in 0..TRIES {
            let seen = self.free(key, check).await?;
            let compares = self.capabilities().replace_if_match.is_available();
            let Some(seen) = seen.filter(|_| compares && mode == PutMode::Overwrite) else {
                return write(mode).await;
            };
            match write(PutMode::Replace(seen.etag)).await {
                Err(error) if error.kind() == ErrorKind::PreconditionFailed => {}
                answer => return answer,
            }
        }
        let detail = "the proof was replaced again and again while it was to be replaced";
        Err(self.error(ErrorKind::Contended, detail))
    }
}
