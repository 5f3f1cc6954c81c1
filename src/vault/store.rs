//! Writing a proof: which condition the caller set, and what the backend must then compare.

use super::error::VaultError;
use super::upload::Prepared;
use super::{Change, Vault, etag};
use crate::backend::Backend as _;
use crate::model::{ErrorKind, Key, ObjectMeta, PutMode, Stored, WriteMode};

/// The caller's precondition on a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// None: the configured write mode decides.
    None,
    /// `If-None-Match: *`.
    Absent,
    /// `If-Match` with these strong ETags, quotes included.
    Matches(Vec<String>),
    /// `If-Match: *`.
    Present,
}

/// What a write did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The key is new.
    Created,
    /// The same bytes were there already; nothing changed.
    Unchanged,
    /// The same bytes were there already; what holds them was extended.
    Extended,
    /// Another version was there.
    Replaced,
}

const EXISTS: &str = "other bytes are stored under this key, and this service is write-once: \
                      use another key, or replace this version by If-Match with its ETag";
const NOT_ABSENT: &str = "If-None-Match is * and the key exists";
const NO_MATCH: &str = "If-Match names none of the current ETags";

impl Vault {
    /// Stores a prepared body.
    ///
    /// # Errors
    /// `AlreadyExists` (write-once, other bytes), `PreconditionFailed`, or the backend's error.
    pub async fn store(
        &self,
        key: &Key,
        body: Prepared,
        condition: Condition,
    ) -> Result<(Stored, Outcome), VaultError> {
        match condition {
            Condition::None if self.policy.write_mode == WriteMode::Overwrite => {
                self.overwrite(key, body).await
            }
            Condition::None => self.create_or_confirm(key, body).await,
            Condition::Absent => match self.put(key, body, PutMode::Create).await {
                Ok(stored) => Ok((stored, Outcome::Created)),
                Err(error) if error.store_kind() == Some(ErrorKind::AlreadyExists) => {
                    Err(VaultError::precondition(self.backend.provider(), NOT_ABSENT))
                }
                Err(error) => Err(error),
            },
            Condition::Matches(tags) => self.replace(key, body, Some(&tags)).await,
            Condition::Present if self.policy.write_mode == WriteMode::WriteOnce => {
                Err(VaultError::Invalid(
                    "If-Match: * would replace whatever is there, and this service is write-once: \
                     name the ETag of the version to replace"
                        .to_owned(),
                ))
            }
            Condition::Present => self.replace(key, body, None).await,
        }
    }

    async fn put(&self, key: &Key, body: Prepared, mode: PutMode) -> Result<Stored, VaultError> {
        let Prepared { payload, mut attributes } = body;
        attributes.encryption = self.backend.sealed().encryption_for(attributes.encryption);
        Ok(self.backend.put(key.object(), payload, attributes, mode).await?)
    }

    /// Held bytes stay; the same ones again are no attempt to replace them.
    async fn overwrite(&self, key: &Key, body: Prepared) -> Result<(Stored, Outcome), VaultError> {
        let held = match self.put(key, body.clone(), PutMode::Overwrite).await {
            Err(error) if error.store_kind() == Some(ErrorKind::Retained) => error,
            stored => {
                let stored = stored?;
                let replaced = stored.replaced == Some(true);
                return Ok((stored, if replaced { Outcome::Replaced } else { Outcome::Created }));
            }
        };
        match self.head(key).await {
            Ok(meta) if same_bytes(&meta, &body) => self.confirm(key, meta, &body).await,
            _ => Err(held),
        }
    }

    /// The same bytes are there. What this store asks for beyond what holds them is granted: a success
    /// that drops it would be a lie.
    async fn confirm(
        &self,
        key: &Key,
        mut meta: ObjectMeta,
        body: &Prepared,
    ) -> Result<(Stored, Outcome), VaultError> {
        let said = meta.attributes.retention;
        let wanted = said.raised(body.attributes.retention);
        let extends = wanted != said;
        if extends {
            let change =
                Change { until: wanted.until, legal_hold: wanted.legal_hold.then_some(true) };
            let version = Some(meta.etag.clone());
            self.backend.retain(key.object(), change, version).await?;
            meta = self.head(key).await?;
        }
        let outcome = if extends { Outcome::Extended } else { Outcome::Unchanged };
        Ok((Stored { meta, replaced: Some(false) }, outcome))
    }

    /// Write-once: a key that is taken by the same bytes is a success, so that a caller whose
    /// answer was lost can simply send again.
    async fn create_or_confirm(
        &self,
        key: &Key,
        body: Prepared,
    ) -> Result<(Stored, Outcome), VaultError> {
        // A delete can come between the refused create and the look at what is there: then
        // the key is free again and the create is tried once more.
        for _ in 0..3 {
            let error = match self.put(key, body.clone(), PutMode::Create).await {
                Ok(stored) => return Ok((stored, Outcome::Created)),
                Err(error) if error.store_kind() == Some(ErrorKind::AlreadyExists) => error,
                Err(error) => return Err(error),
            };
            match self.head(key).await {
                Ok(meta) if same_bytes(&meta, &body) => {
                    match self.confirm(key, meta, &body).await {
                        // Written by others since the look.
                        Err(changed)
                            if matches!(
                                changed.store_kind(),
                                Some(ErrorKind::NotFound | ErrorKind::PreconditionFailed)
                            ) => {}
                        confirmed => return confirmed,
                    }
                }
                Ok(_) => {
                    return Err(VaultError::already_exists(self.backend.provider(), EXISTS));
                }
                Err(gone) if gone.store_kind() == Some(ErrorKind::NotFound) => drop(error),
                Err(error) => return Err(error),
            }
        }
        Err(VaultError::already_exists(self.backend.provider(), EXISTS))
    }

    async fn replace(
        &self,
        key: &Key,
        body: Prepared,
        tags: Option<&[String]>,
    ) -> Result<(Stored, Outcome), VaultError> {
        let provider = self.backend.provider();
        let meta = match self.head(key).await {
            Ok(meta) => meta,
            Err(error) if error.store_kind() == Some(ErrorKind::NotFound) => {
                return Err(VaultError::precondition(
                    provider,
                    "If-Match is set and the key does not exist",
                ));
            }
            Err(error) => return Err(error),
        };
        if tags.is_some_and(|tags| !tags.iter().any(|tag| etag::names(tag, &meta))) {
            return Err(VaultError::precondition(provider, NO_MATCH));
        }
        let stored = self.put(key, body, PutMode::Replace(meta.etag)).await?;
        Ok((stored, Outcome::Replaced))
    }
}

fn same_bytes(meta: &ObjectMeta, body: &Prepared) -> bool {
    let ours = body.representation().map(|r| (r.sha256, r.size));
    ours.is_some() && meta.attributes.representation.map(|r| (r.sha256, r.size)) == ours
}
