//! Deleting, one and many.

use std::collections::{BTreeSet, HashMap};

use aws_sdk_s3::config::Config;
use aws_sdk_s3::config::timeout::TimeoutConfig;
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
                    _ => Err(error),
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

    async fn send_page(
        &self,
        keys: &[ObjectKey],
    ) -> Result<Vec<(ObjectKey, StoreError)>, StoreError> {
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
        let request = self.client().delete_objects().bucket(self.bucket()).delete(delete);
        let limit = self.shared.options.timeout + TIME_FOR_EACH_DELETE * keys.len() as u32;
        let patient = TimeoutConfig::builder().read_timeout(limit).build();
        let patient = Config::builder().timeout_config(patient);
        let answer = request.customize().config_override(patient).send().await;
        let provider = self.shared.options.provider;
        let answer = answer.map_err(|error| translate(provider, Effect::Write, error))?;
        let failures = answer.errors.unwrap_or_default().into_iter().filter_map(|failure| {
            let (code, message) = (failure.code.as_deref(), failure.message.as_deref());
            // Gone already is what was asked for.
            if matches!(code, Some("NoSuchKey" | "NotFound")) {
                return None;
            }
            Some((ObjectKey::new(failure.key?), of_code(provider, code, message)))
        });
        Ok(failures.collect())
    }
}
