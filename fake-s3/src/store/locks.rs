//! Buckets with object lock: their versions, and who may do what with locks.

use std::sync::Arc;

use s3s::S3Result;

use super::{State, Store};
use crate::error::{no_such_bucket, no_such_key};
use crate::lock::{is_named, no_such_version};
use crate::object::Object;

impl Store {
    pub(crate) fn may_lock(&self) -> bool {
        self.lock().may_lock
    }

    pub(crate) fn set_may_lock(&self, may: bool) {
        self.lock().may_lock = may;
    }

    pub(crate) fn sees_locks(&self) -> bool {
        self.lock().sees_locks
    }

    pub(crate) fn set_sees_locks(&self, sees: bool) {
        self.lock().sees_locks = sees;
    }

    /// Has a bucket keep versions and locks from now on.
    pub(crate) fn enable_locks(&self, bucket: &str) {
        self.lock().locked.entry(bucket.to_owned()).or_default();
    }

    pub(crate) fn has_locks(&self, bucket: &str) -> S3Result<bool> {
        let state = self.lock();
        let known = state.buckets.contains_key(bucket);
        known.then(|| state.locked.contains_key(bucket)).ok_or_else(no_such_bucket)
    }

    /// A version of an object, or what is there now.
    ///
    /// # Errors
    /// As [`Self::object`], or there is no such version.
    pub(crate) fn version(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> S3Result<Arc<Object>> {
        let Some(version) = version else { return self.object(bucket, key) };
        self.lock().named(bucket, key, version).cloned()
    }

    /// Versions of an object, the newest last.
    pub(crate) fn versions(&self, bucket: &str, key: &str) -> Vec<Arc<Object>> {
        let state = self.lock();
        let older = state.locked.get(bucket).map(|versions| versions.of(key)).unwrap_or_default();
        let now = state.buckets.get(bucket).and_then(|objects| objects.get(key));
        older.into_iter().chain(now.cloned()).collect()
    }

    /// Sets or clears the legal hold of a version, or of what is there now.
    pub(crate) fn set_hold(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
        on: bool,
    ) -> S3Result<()> {
        let mut state = self.lock();
        let object = match version {
            Some(version) => state.named(bucket, key, version)?,
            None => {
                let objects = state.buckets.get_mut(bucket).ok_or_else(no_such_bucket)?;
                objects.get_mut(key).ok_or_else(no_such_key)?
            }
        };
        Arc::make_mut(object).lock.legal_hold = Some(on);
        Ok(())
    }

    /// Removes a version for good.
    ///
    /// # Errors
    /// 403: it is locked.
    pub(crate) fn delete_version(
        &self,
        bucket: &str,
        key: &str,
        version: &str,
        bypass: bool,
    ) -> S3Result<()> {
        let mut state = self.lock();
        let State { buckets, locked, .. } = &mut *state;
        let objects = buckets.get_mut(bucket).ok_or_else(no_such_bucket)?;
        match locked.get_mut(bucket) {
            Some(versions) => versions.remove(key, objects, version, bypass),
            None if version == "null" => {
                objects.remove(key);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl State {
    /// A version of an object. Without locks there is one, which has no name.
    fn named(&mut self, bucket: &str, key: &str, version: &str) -> S3Result<&mut Arc<Object>> {
        let objects = self.buckets.get_mut(bucket).ok_or_else(no_such_bucket)?;
        match objects.get_mut(key).filter(|object| is_named(object, version)) {
            Some(object) => Ok(object),
            None => match self.locked.get_mut(bucket) {
                Some(versions) => versions.find(key, version),
                None => Err(no_such_version()),
            },
        }
    }
}
