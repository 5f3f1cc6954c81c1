//! Taking proofs away from their keys: deletes and moves, which tell what was there to who wants to know it.

use super::error::VaultError;
use super::{Sight, Vault, etag};
use crate::backend::Backend as _;
use crate::model::{ErrorKind, Key, Stored};

impl Vault {
    /// Deletes a proof; with ETags only one of those versions.
    ///
    /// # Errors
    /// `PreconditionFailed`, or the backend's. A key that never existed is no error.
    pub async fn delete(&self, key: &Key, tags: Option<&[String]>) -> Result<(), VaultError> {
        self.delete_in_sight(key, tags, &Sight::none()).await
    }

    /// The same, and tells what was there.
    ///
    /// # Errors
    /// As [`Self::delete`].
    pub async fn delete_in_sight(
        &self,
        key: &Key,
        tags: Option<&[String]>,
        sight: &Sight,
    ) -> Result<(), VaultError> {
        let Some(tags) = tags else {
            self.backend.delete_in_sight(key.object(), None, sight).await?;
            return Ok(());
        };
        let provider = self.backend.provider();
        let meta = match self.head(key).await {
            Ok(meta) => meta,
            Err(error) if error.store_kind() == Some(ErrorKind::NotFound) => {
                let detail = "If-Match is set and the key does not exist";
                return Err(VaultError::precondition(provider, detail));
            }
            Err(error) => return Err(error),
        };
        sight.saw(&meta);
        if !tags.iter().any(|tag| tag == "*" || etag::names(tag, &meta)) {
            let detail = "If-Match names none of the current ETags";
            return Err(VaultError::precondition(provider, detail));
        }
        self.backend.delete_in_sight(key.object(), Some(&meta.etag), sight).await?;
        Ok(())
    }

    /// Deletes many proofs, each on its own, answers in the order asked.
    pub async fn delete_many(&self, keys: &[Key]) -> Vec<Result<(), VaultError>> {
        self.delete_many_in_sight(keys, &Sight::none()).await
    }

    /// The same, and tells what was there.
    pub async fn delete_many_in_sight(
        &self,
        keys: &[Key],
        sight: &Sight,
    ) -> Vec<Result<(), VaultError>> {
        let objects: Vec<_> = keys.iter().map(|key| key.object().clone()).collect();
        let results = self.backend.delete_many_in_sight(&objects, sight).await;
        results.into_iter().map(|result| result.map(drop).map_err(Into::into)).collect()
    }

    /// Moves a proof inside the store.
    ///
    /// # Errors
    /// As [`Self::copy`].
    pub async fn rename(
        &self,
        from: &Key,
        to: &Key,
        overwrite: bool,
    ) -> Result<Stored, VaultError> {
        self.rename_in_sight(from, to, overwrite, &Sight::none()).await
    }

    /// The same, and tells what was there.
    ///
    /// # Errors
    /// As [`Self::copy`].
    pub async fn rename_in_sight(
        &self,
        from: &Key,
        to: &Key,
        overwrite: bool,
        sight: &Sight,
    ) -> Result<Stored, VaultError> {
        let mode = self.transfer_mode(from, to, overwrite)?;
        let stored = self.backend.rename_in_sight(from.object(), to.object(), mode, sight).await;
        stored.map_err(|error| self.explain_taken(error, overwrite))
    }
}
