//! Deleting, one and many.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use futures_util::{StreamExt as _, stream};

use super::error::of_code;
use super::meta::quoted;
use super::{Effect, S3, translate};
use crate::backend::TIME_FOR_EACH_DELETE;
use crate::model::{ETag, ErrorKind, ObjectKey, PutMode, StoreError, Support};

/// Keys that one call of S3 takes.
const PAGE: usize = 1000;
const PAGES_AT_ONCE: usize = 4;
/// Single deletes under way at once, of one page that cannot be deleted as one.
const SINGLES_AT_ONCE: usize = 16;

/// Whether XML 1.0 can say a character (§2.2).
fn is_xml(character: char) -> bool {
    !matches!(character, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}')
        && !matches!(character, '\u{fffe}' | '\u{ffff}')
}

impl S3 {
    /// `None`: S3 does not say whether anything was there.
    pub(super) async fn remove(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        let support = self.can().delete_if_match;
        if if_match.is_some() && !support.is_available() {
            return Err(self.unsupported("delete_if_match: conditional deletes"));
        }
        if !self.takes_turns() {
            return self.send_delete(key, if_match).await;
        }
        let (this, key, if_match) = (self.clone(), key.clone(), if_match.cloned());
        self.finish(async move {
            let _turn = this.shared.writers.turn(&key).await;
            match if_match {
                Some(etag) if support == Support::Gateway => {
                    match this.check(&key, &PutMode::Replace(etag.clone())).await {
                        Ok(()) => this.send_delete(&key, None).await,
                        Err(error) => this.missing_or(&key, error).await,
                    }
                }
                other => this.send_delete(&key, other.as_ref()).await,
            }
        })
        .await
    }

    /// A condition on a missing object is no failure of a delete.
    async fn missing_or(
        &self,
        key: &ObjectKey,
        error: StoreError,
    ) -> Result<Option<bool>, StoreError> {
        if error.kind() != ErrorKind::PreconditionFailed {
            return Err(error);
        }
        match self.look(key).await {
            Err(gone) if gone.kind() == ErrorKind::NotFound => Ok(Some(false)),
            Err(other) => Err(other),
            Ok(_) => Err(error),
        }
    }

    pub(super) async fn send_delete(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        let request = self.client().delete_object().bucket(self.bucket()).key(key.as_str());
        let answer = request.set_if_match(if_match.map(quoted)).send().await;
        match answer {
            Ok(_) => Ok(None),
            Err(error) => {
                let error = translate(self.shared.options.provider, Effect::Write, error);
                match error.kind() {
                    ErrorKind::NotFound => Ok(Some(false)),
                    ErrorKind::PreconditionFailed => self.missing_or(key, error).await,
                    _ => Err(self.of_locked(key, error).await),
                }
            }
        }
    }

    pub(super) async fn remove_many(
        &self,
        keys: &[ObjectKey],
    ) -> Vec<Result<Option<bool>, StoreError>> {
        let distinct: BTreeSet<&ObjectKey> = keys.iter().collect();
        let distinct: Vec<ObjectKey> = distinct.into_iter().cloned().collect();
        let pages: Vec<Vec<ObjectKey>> = distinct.chunks(PAGE).map(<[_]>::to_vec).collect();
        let pages = pages.into_iter().map(|page| self.remove_page(page));
        let results: Vec<_> = stream::iter(pages).buffer_unordered(PAGES_AT_ONCE).collect().await;
        let failed: HashMap<ObjectKey, StoreError> = results.into_iter().flatten().collect();
        keys.iter().map(|key| failed.get(key).map_or(Ok(None), |e| Err(e.clone()))).collect()
    }

    /// Deletes a page; answers those that were not deleted.
    async fn remove_page(&self, keys: Vec<ObjectKey>) -> Vec<(ObjectKey, StoreError)> {
        let outcome = if self.takes_turns() {
            let (this, keys) = (self.clone(), keys.clone());
            self.finish(async move {
                // In one order, so that two pages with common keys do not wait for each other.
                let mut turns = Vec::with_capacity(keys.len());
                for lock in this.shared.writers.locks_of(&keys) {
                    turns.push(this.shared.writers.turn_of(lock).await);
                }
                this.send_page(&keys).await
            })
            .await
        } else {
            self.send_page(&keys).await
        };
        match outcome {
            Ok(failed) => failed,
            Err(error) => keys.into_iter().map(|key| (key, error.clone())).collect(),
        }
    }

    /// Deletes a page by one call, and key by key what such a call cannot name or the backend does
    /// not take so: some clusters have no batch delete.
    async fn send_page(
        &self,
        keys: &[ObjectKey],
    ) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        let (together, mut alone): (Vec<_>, Vec<_>) =
            keys.iter().cloned().partition(|key| key.as_str().chars().all(is_xml));
        let mut failed = match self.send_batch(&together).await {
            Err(error) if matches!(error.kind(), ErrorKind::Unsupported | ErrorKind::Invalid) => {
                alone.extend(together);
                Vec::new()
            }
            answer => answer?,
        };
        let singles = alone.into_iter().map(|key| async move {
            let outcome = self.send_delete(&key, None).await;
            outcome.err().map(|error| (key, error))
        });
        let singles = stream::iter(singles).buffer_unordered(SINGLES_AT_ONCE);
        failed.extend(singles.collect::<Vec<_>>().await.into_iter().flatten());
        Ok(failed)
    }

    async fn send_batch(
        &self,
        keys: &[ObjectKey],
    ) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let invalid = |error: &dyn std::fmt::Display| {
            self.error(ErrorKind::Invalid, format!("the keys cannot be sent: {error}"))
        };
        let mut objects = Vec::with_capacity(keys.len());
        for key in keys {
            let object = ObjectIdentifier::builder().key(key.as_str()).build();
            objects.push(object.map_err(|error| invalid(&error))?);
        }
        let delete = Delete::builder().set_objects(Some(objects)).quiet(true).build();
        let delete = delete.map_err(|error| invalid(&error))?;
        let client = &self.shared.clients.transfers;
        let request = client.delete_objects().bucket(self.bucket()).delete(delete);
        let extra = TIME_FOR_EACH_DELETE * keys.len() as u32;
        let answer = self.in_time(extra, Effect::Write, Box::pin(request.send())).await?;
        let provider = self.shared.options.provider;
        let mut failures = Vec::new();
        for failure in answer.errors.unwrap_or_default() {
            let (code, message) = (failure.code.as_deref(), failure.message.as_deref());
            // Gone already is what was asked for.
            if matches!(code, Some("NoSuchKey" | "NotFound")) {
                continue;
            }
            let error = of_code(provider, code, message);
            // A failure of nobody knows which key: no key of the page counts as deleted.
            let Some(key) = failure.key else { return Err(error) };
            failures.push((ObjectKey::new(key), error));
        }
        let explained = failures.into_iter().map(|(key, error)| async move {
            let error = self.of_locked(&key, error).await;
            (key, error)
        });
        Ok(stream::iter(explained).buffer_unordered(SINGLES_AT_ONCE).collect().await)
    }
}
