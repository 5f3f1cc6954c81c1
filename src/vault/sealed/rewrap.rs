//! Rotation: headers under retired keys get new ones under the active key.
//!
//! Nothing is kept of how far it came: what is under the active key already is passed over, so a run
//! that was cut off is simply started again, and goes on behind a name where one is given. A header
//! stands in the object's metadata, and no call of a [`Backend`] changes that alone: the frames are read
//! and written back as they are, by a write that replaces exactly the version that was read. So what
//! others replace or delete meanwhile stays replaced or deleted, on a pool as on a single store.

use super::Sealed;
use crate::backend::Backend as _;
use crate::codec::envelope;
use crate::model::{ErrorKind, ListRequest, ObjectKey, PutMode, StoreError, Support};

/// How often a proof is looked at again that others write meanwhile.
const TRIES: u32 = 5;

/// What to do.
#[derive(Clone, Debug, Default)]
pub struct Rewrapping {
    /// Only names that begin so, in full.
    pub prefix: String,
    /// Only names behind this one, in full.
    pub after: Option<String>,
    /// Names to leave out: they begin so, in full.
    pub except: Option<String>,
    /// Count, and change nothing.
    pub dry_run: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Rewrapped {
    /// Names that were looked at.
    pub looked_at: u64,
    /// Not sealed.
    pub plain: u64,
    /// Under the active key before.
    pub current: u64,
    /// Under the active key now; of a dry run, to be brought there.
    pub rewrapped: u64,
    /// Deleted meanwhile.
    pub overtaken: u64,
    /// Sealed under a key that is not in the keyring.
    pub key_missing: u64,
    /// Damaged, or written by others again and again.
    pub failed: u64,
    /// The last name that was done with, in full: where to go on.
    pub last: Option<String>,
}

enum Done {
    Plain,
    Current,
    Rewrapped,
    Overtaken,
    /// Written by others again and again.
    Contended,
}

impl Sealed {
    /// Goes through all names and brings their headers under the active key.
    ///
    /// `turn` is waited for before a proof is looked at, and held until it is done with. `report` is told
    /// after each page, and last of all.
    ///
    /// # Errors
    /// There are no keys, a listing fails, a turn is refused, or the backend compares versions only within a
    /// process and this is not the one (`alone`): then a delete by another could be undone.
    pub async fn rewrap_all<T: Send, F: Future<Output = Result<T, StoreError>> + Send>(
        &self,
        what: Rewrapping,
        alone: bool,
        turn: impl Fn(ObjectKey) -> F + Send + Sync,
        mut report: impl FnMut(&Rewrapped) + Send,
    ) -> Result<Rewrapped, StoreError> {
        self.keyring()?;
        self.check_comparing(alone)?;
        let mut found = Rewrapped { last: what.after, ..Rewrapped::default() };
        loop {
            let request = ListRequest {
                prefix: what.prefix.clone(),
                delimiter: None,
                limit: 1000,
                after: found.last.clone(),
            };
            let page = self.inner.list(&request).await?;
            for item in page.items {
                let name = item.key.as_str();
                if !what.except.as_ref().is_some_and(|except| name.starts_with(except)) {
                    let _turn = turn(item.key.clone()).await?;
                    self.rewrap_counted(&item.key, what.dry_run, &mut found).await?;
                }
                found.last = Some(name.to_owned());
            }
            report(&found);
            match page.next {
                Some(next) => found.last = Some(next),
                None => return Ok(found),
            }
        }
    }

    fn check_comparing(&self, alone: bool) -> Result<(), StoreError> {
        let support = self.inner.capabilities().replace_if_match;
        support.require(self.provider(), "replace_if_match: replacing exactly one version")?;
        if support == Support::Native || alone {
            return Ok(());
        }
        let detail = "the backend does not compare versions itself, so what a running service deletes \
                      meanwhile could come back: stop all services and add --alone, or let the one \
                      service do it (STORAGE_REKEY_AT_START=true)";
        Err(self.error(ErrorKind::Unsupported, detail))
    }

    async fn rewrap_counted(
        &self,
        key: &ObjectKey,
        dry_run: bool,
        found: &mut Rewrapped,
    ) -> Result<(), StoreError> {
        found.looked_at += 1;
        match self.rewrap_one(key, dry_run).await {
            Ok(Done::Plain) => found.plain += 1,
            Ok(Done::Current) => found.current += 1,
            Ok(Done::Rewrapped) => found.rewrapped += 1,
            Ok(Done::Overtaken) => found.overtaken += 1,
            Ok(Done::Contended) => found.failed += 1,
            Err(error) if error.kind() == ErrorKind::KeyMissing => {
                tracing::warn!(%key, %error, "a proof was not rekeyed");
                found.key_missing += 1;
            }
            // Of this proof, and no reason to leave the others.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::Corrupt
                        | ErrorKind::Unsupported
                        | ErrorKind::Invalid
                        | ErrorKind::AccessDenied
                        | ErrorKind::Contended
                ) =>
            {
                tracing::error!(%key, %error, "a proof was not rekeyed");
                found.failed += 1;
            }
            // The store is away: whoever goes on later loses nothing.
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn rewrap_one(&self, key: &ObjectKey, dry_run: bool) -> Result<Done, StoreError> {
        let active = self.keyring()?.active().id().clone();
        for _ in 0..TRIES {
            let before = match self.inner.head(key).await {
                Ok(before) => before,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Done::Overtaken),
                Err(error) => return Err(error),
            };
            let Some(header) = &before.attributes.envelope else { return Ok(Done::Plain) };
            if envelope::key_id(header).is_ok_and(|id| id == active) {
                return Ok(Done::Current);
            }
            // Also of a dry run: what does not open cannot be rewrapped.
            let mut attributes = self.rewrapped(&before, key)?;
            // The same proof: it stays held, and its prefix goes on counting from when it was stored.
            attributes.retention = before.attributes.retention.rewritten(before.last_modified);
            if dry_run {
                return Ok(Done::Rewrapped);
            }
            let written = match self.frames_as_they_are(&before).await {
                Ok(payload) => {
                    let mode = PutMode::Replace(before.etag);
                    self.inner.put(key, payload, attributes, mode).await
                }
                Err(error) => Err(error),
            };
            match written {
                Ok(_) => return Ok(Done::Rewrapped),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::PreconditionFailed | ErrorKind::Contended | ErrorKind::NotFound
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Done::Contended)
    }
}
