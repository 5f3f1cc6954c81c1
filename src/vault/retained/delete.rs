//! Deleting what is not held: a look, and then the delete of what was seen.

use std::collections::{BTreeSet, HashMap};

use futures_util::{StreamExt as _, stream};

use super::{Retained, TRIES, Unchecked, Want};
use crate::backend::Backend as _;
use crate::model::{ETag, ErrorKind, ObjectKey, StoreError};
use crate::vault::sight::Sight;

/// Keys of a batch that one call may delete.
const PAGE: usize = 1000;

/// Keys of a batch that are under way at once.
const AT_ONCE: usize = 64;

type Deleted = Result<Option<bool>, StoreError>;

impl Retained {
    /// Deletes a proof, and tells of what was there.
    ///
    /// # Errors
    /// As [`Backend::delete`](crate::backend::Backend::delete), or `Retained`.
    pub async fn delete_in_sight(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
        sight: &Sight,
    ) -> Deleted {
        if self.is_off() {
            // Whoever names a version has seen it.
            if if_match.is_none() {
                self.look_for(sight, key).await;
            }
            return self.sealed.delete(key, if_match).await;
        }
        let (this, key, if_match) = (self.clone(), key.clone(), if_match.cloned());
        let sight = sight.clone();
        self.to_the_end(async move {
            let _turn = this.turns.one(&key, Want::Shared).await;
            this.delete_free(&key, if_match.as_ref(), Unchecked::Delete, &sight).await
        })
        .await
    }

    /// Deletes many, each on its own, answers in the order asked, and tells of what was there.
    pub async fn delete_many_in_sight(&self, keys: &[ObjectKey], sight: &Sight) -> Vec<Deleted> {
        if !self.is_off() {
            return self.delete_pages(keys, sight).await;
        }
        if !sight.looks() {
            return self.sealed.delete_many(keys).await;
        }
        let mut results = Vec::with_capacity(keys.len());
        // By pages, so that no key is looked at long before it goes.
        for page in keys.chunks(PAGE) {
            let looks = stream::iter(page);
            looks.for_each_concurrent(AT_ONCE, |key| self.look_for(sight, key)).await;
            results.extend(self.sealed.delete_many(page).await);
        }
        results
    }

    /// Deletes a key whose turn is held.
    pub(super) async fn delete_free(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
        check: Unchecked,
        sight: &Sight,
    ) -> Deleted {
        for _ in 0..TRIES {
            let found = self.free_in_sight(key, check, sight).await?;
            let compares = self.capabilities().delete_if_match.is_available();
            let seen = found.filter(|_| compares).map(|meta| meta.etag);
            match self.sealed.delete(key, if_match.or(seen.as_ref())).await {
                Err(error)
                    if error.kind() == ErrorKind::PreconditionFailed && if_match.is_none() => {}
                answer => return answer,
            }
        }
        let detail = "the proof was replaced again and again while it was to be deleted";
        Err(self.error(ErrorKind::Contended, detail))
    }

    async fn delete_pages(&self, keys: &[ObjectKey], sight: &Sight) -> Vec<Deleted> {
        let mut results = Vec::with_capacity(keys.len());
        for page in keys.chunks(PAGE) {
            let (this, keys, sight) = (self.clone(), page.to_vec(), sight.clone());
            let deleted =
                self.to_the_end(async move { Ok(this.delete_page(keys, &sight).await) }).await;
            results.extend(match deleted {
                Ok(deleted) => deleted,
                Err(error) => vec![Err(error); page.len()],
            });
        }
        results
    }

    async fn delete_page(&self, keys: Vec<ObjectKey>, sight: &Sight) -> Vec<Deleted> {
        let distinct: BTreeSet<_> = keys.iter().cloned().collect();
        let deleted = match self.capabilities().delete_if_match.is_available() {
            true => self.delete_each(distinct, sight).await,
            false => self.delete_together(distinct, sight).await,
        };
        let cut_off = || Err(self.error(ErrorKind::Indeterminate, "the call was cut off"));
        keys.iter().map(|key| deleted.get(key).cloned().unwrap_or_else(cut_off)).collect()
    }

    /// By a call for each, which says what was seen.
    async fn delete_each(
        &self,
        keys: BTreeSet<ObjectKey>,
        sight: &Sight,
    ) -> HashMap<ObjectKey, Deleted> {
        let deletes = keys.into_iter().map(|key| async move {
            // Its own: a change of one proof must not have all others wait.
            let _turn = self.turns.one(&key, Want::Shared).await;
            let deleted = self.delete_free(&key, None, Unchecked::DeleteMany, sight).await;
            (key, deleted)
        });
        stream::iter(deletes).buffer_unordered(AT_ONCE).collect().await
    }

    /// By one call, where a call for each could say no more.
    async fn delete_together(
        &self,
        keys: BTreeSet<ObjectKey>,
        sight: &Sight,
    ) -> HashMap<ObjectKey, Deleted> {
        let _turn = self.turns.of(keys.iter().map(|key| (key, Want::Shared))).await;
        let looks = keys.into_iter().map(|key| async move {
            let looked = self.free_in_sight(&key, Unchecked::DeleteMany, sight).await;
            (key, looked.map(drop))
        });
        let looks: Vec<_> = stream::iter(looks).buffer_unordered(AT_ONCE).collect().await;
        let is_free =
            |(key, looked): &(ObjectKey, Result<(), _>)| looked.is_ok().then(|| key.clone());
        let free: Vec<_> = looks.iter().filter_map(is_free).collect();
        let refused = looks.into_iter().filter_map(|(key, looked)| Some((key, Err(looked.err()?))));
        let mut deleted: HashMap<_, Deleted> = refused.collect();
        if !free.is_empty() {
            let results = self.sealed.delete_many(&free).await;
            deleted.extend(free.into_iter().zip(results));
        }
        deleted
    }
}
