//! Deleting what is not held: a look, and then the delete of what was seen.

use std::collections::{BTreeSet, HashMap};

use futures_util::{StreamExt as _, stream};

use super::{Retained, TRIES, Unchecked, Want};
use crate::backend::Backend as _;
use crate::model::{ETag, ErrorKind, ObjectKey, StoreError};

/// Keys of a batch that one call may delete.
const PAGE: usize = 1000;

/// Keys of a batch that are under way at once.
const AT_ONCE: usize = 64;

type Deleted = Result<Option<bool>, StoreError>;

impl Retained {
    /// Deletes a key whose turn is held.
    pub(super) async fn delete_free(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
        check: Unchecked,
    ) -> Deleted {
        for _ in 0..TRIES {
            let found = self.free(key, check).await?;
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

    /// Deletes many keys, each on its own, answers in the order asked.
    pub(super) async fn delete_pages(&self, keys: &[ObjectKey]) -> Vec<Deleted> {
        let mut results = Vec::with_capacity(keys.len());
        for page in keys.chunks(PAGE) {
            let (this, keys) = (self.clone(), page.to_vec());
            let deleted = self.to_the_end(async move { Ok(this.delete_page(keys).await) }).await;
            results.extend(match deleted {
                Ok(deleted) => deleted,
                Err(error) => vec![Err(error); page.len()],
            });
        }
        results
    }

    async fn delete_page(&self, keys: Vec<ObjectKey>) -> Vec<Deleted> {
        let distinct: BTreeSet<_> = keys.iter().cloned().collect();
        let deleted = match self.capabilities().delete_if_match.is_available() {
            true => self.delete_each(distinct).await,
            false => self.delete_together(distinct).await,
        };
        let cut_off = || Err(self.error(ErrorKind::Indeterminate, "the call was cut off"));
        keys.iter().map(|key| deleted.get(key).cloned().unwrap_or_else(cut_off)).collect()
    }

    /// By a call for each, which says what was seen.
    async fn delete_each(&self, keys: BTreeSet<ObjectKey>) -> HashMap<ObjectKey, Deleted> {
        let deletes = keys.into_iter().map(|key| async move {
            // Its own: a change of one proof must not have all others wait.
            let _turn = self.turns.one(&key, Want::Shared).await;
            let deleted = self.delete_free(&key, None, Unchecked::DeleteMany).await;
            (key, deleted)
        });
        stream::iter(deletes).buffer_unordered(AT_ONCE).collect().await
    }

    /// By one call, where a call for each could say no more.
    async fn delete_together(&self, keys: BTreeSet<ObjectKey>) -> HashMap<ObjectKey, Deleted> {
        let _turn = self.turns.of(keys.iter().map(|key| (key, Want::Shared))).await;
        let looks = keys.into_iter().map(|key| async move {
            let looked = self.free(&key, Unchecked::DeleteMany).await;
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
