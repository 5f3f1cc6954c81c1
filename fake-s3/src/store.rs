//! All that is stored, behind one lock.
//!
//! Conditions are decided and writes are done under that lock, so they are atomic under any
//! concurrency; bodies are received and hashed outside of it.

mod locks;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use s3s::S3Result;
use tokio::time::Instant;

use crate::checksum::{Algorithm, Checksum};
use crate::conditions::Condition;
use crate::error::{
    access_denied, error, invalid_argument, no_such_bucket, no_such_key, no_such_upload,
};
use crate::fault::Effect;
use crate::listing::{Page, page};
use crate::lock::{Lock, Versions};
use crate::object::{Headers, Object};
use crate::personality::Personality;

/// One part of an upload.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) bytes: Bytes,
    pub(crate) md5: [u8; 16],
    pub(crate) modified: SystemTime,
    pub(crate) checksum: Option<Checksum>,
}

/// An upload in parts that is neither completed nor aborted.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) headers: Headers,
    /// Whose checksums the parts were promised to have.
    pub(crate) algorithm: Option<Algorithm>,
    /// Whether its checksum will be of the whole object.
    pub(crate) full: bool,
    pub(crate) lock: Lock,
    pub(crate) started: SystemTime,
    pub(crate) parts: BTreeMap<i32, Part>,
}

type Bucket = BTreeMap<String, Arc<Object>>;

#[derive(Debug)]
struct State {
    buckets: BTreeMap<String, Bucket>,
    /// Of buckets with object lock, which keep versions.
    locked: BTreeMap<String, Versions>,
    uploads: BTreeMap<String, Upload>,
    next_upload: u64,
    quota: Option<u64>,
    may_list: bool,
    may_lock: bool,
    sees_locks: bool,
    write_interval: Option<Duration>,
    written: HashMap<(String, String), Instant>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Store {
    personality: Personality,
    state: Mutex<State>,
}

impl Store {
    pub(crate) fn new(personality: Personality, bucket: &str) -> Self {
        let state = State {
            buckets: BTreeMap::from([(bucket.to_owned(), Bucket::new())]),
            locked: BTreeMap::new(),
            uploads: BTreeMap::new(),
            next_upload: 0,
            quota: None,
            may_list: true,
            may_lock: true,
            sees_locks: true,
            write_interval: personality.write_interval(),
            written: HashMap::new(),
        };
        Self { personality, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn personality(&self) -> Personality {
        self.personality
    }

    pub(crate) fn may_list(&self) -> bool {
        self.lock().may_list
    }

    pub(crate) fn set_may_list(&self, may: bool) {
        self.lock().may_list = may;
    }

    pub(crate) fn set_quota(&self, bytes: Option<u64>) {
        self.lock().quota = bytes;
    }

    pub(crate) fn set_write_interval(&self, interval: Option<Duration>) {
        self.lock().write_interval = interval;
    }

    pub(crate) fn has_bucket(&self, bucket: &str) -> S3Result<()> {
        self.lock().buckets.contains_key(bucket).then_some(()).ok_or_else(no_such_bucket)
    }

    pub(crate) fn create_bucket(&self, bucket: &str, locks: bool) -> S3Result<()> {
        let mut state = self.lock();
        if state.buckets.contains_key(bucket) {
            let message = "Your previous request to create the named bucket succeeded";
            return Err(error(409, "BucketAlreadyOwnedByYou", message));
        }
        state.buckets.insert(bucket.to_owned(), Bucket::new());
        if locks {
            state.locked.insert(bucket.to_owned(), Versions::default());
        }
        Ok(())
    }

    /// # Errors
    /// 404, or 403 where nobody may list.
    pub(crate) fn object(&self, bucket: &str, key: &str) -> S3Result<Arc<Object>> {
        let state = self.lock();
        let objects = state.buckets.get(bucket).ok_or_else(no_such_bucket)?;
        let missing = || if state.may_list { no_such_key() } else { access_denied() };
        objects.get(key).cloned().ok_or_else(missing)
    }

    /// The object, whoever may see it.
    pub(crate) fn find(&self, bucket: &str, key: &str) -> Option<Arc<Object>> {
        self.lock().buckets.get(bucket)?.get(key).cloned()
    }

    pub(crate) fn objects(&self, bucket: &str) -> Bucket {
        self.lock().buckets.get(bucket).cloned().unwrap_or_default()
    }

    pub(crate) fn list(
        &self,
        bucket: &str,
        prefix: &str,
        delimiter: Option<&str>,
        after: Option<&str>,
        most: usize,
    ) -> S3Result<Page> {
        let state = self.lock();
        let objects = state.buckets.get(bucket).ok_or_else(no_such_bucket)?;
        Ok(page(objects, prefix, delimiter, after, most))
    }

    pub(crate) fn put(
        &self,
        bucket: &str,
        key: &str,
        condition: &Condition,
        object: Object,
    ) -> S3Result<Option<String>> {
        self.lock().put(bucket, key, condition, object)
    }

    /// Puts an object there, whatever the conditions and limits.
    pub(crate) fn plant(&self, bucket: &str, key: &str, object: Object) {
        let mut state = self.lock();
        let objects = state.buckets.entry(bucket.to_owned()).or_default();
        objects.insert(key.to_owned(), Arc::new(object));
    }

    /// The name of the mark that hides it, in a bucket that keeps versions.
    pub(crate) fn delete(
        &self,
        bucket: &str,
        key: &str,
        condition: &Condition,
    ) -> S3Result<Option<String>> {
        let mut state = self.lock();
        let State { buckets, locked, .. } = &mut *state;
        let objects = buckets.get_mut(bucket).ok_or_else(no_such_bucket)?;
        condition.check(objects.get(key).map(Arc::as_ref))?;
        let before = objects.remove(key);
        Ok(locked.get_mut(bucket).map(|versions| versions.hide(key, before)))
    }

    pub(crate) fn set_tags(
        &self,
        bucket: &str,
        key: &str,
        tags: BTreeMap<String, String>,
    ) -> S3Result<()> {
        let mut state = self.lock();
        let objects = state.buckets.get_mut(bucket).ok_or_else(no_such_bucket)?;
        let object = objects.get_mut(key).ok_or_else(no_such_key)?;
        Arc::make_mut(object).headers.tags = tags;
        Ok(())
    }

    pub(crate) fn start_upload(&self, upload: Upload) -> S3Result<String> {
        let mut state = self.lock();
        if !state.buckets.contains_key(&upload.bucket) {
            return Err(no_such_bucket());
        }
        state.next_upload += 1;
        let id = format!("upload-{:08}", state.next_upload);
        state.uploads.insert(id.clone(), upload);
        Ok(id)
    }

    pub(crate) fn upload(&self, bucket: &str, key: &str, id: &str) -> S3Result<Upload> {
        self.lock().upload(bucket, key, id).cloned()
    }

    pub(crate) fn uploads(&self, bucket: &str) -> Vec<(String, Upload)> {
        let state = self.lock();
        let of_bucket = state.uploads.iter().filter(|(_, upload)| upload.bucket == bucket);
        let mut uploads: Vec<_> =
            of_bucket.map(|(id, upload)| (id.clone(), upload.clone())).collect();
        uploads.sort_by(|(a, one), (b, other)| (&one.key, a).cmp(&(&other.key, b)));
        uploads
    }

    pub(crate) fn put_part(
        &self,
        bucket: &str,
        key: &str,
        id: &str,
        number: i32,
        part: Part,
    ) -> S3Result<()> {
        if !(1..=10_000).contains(&number) {
            let message = "Part number must be an integer between 1 and 10000, inclusive";
            return Err(invalid_argument(message));
        }
        let mut state = self.lock();
        state.upload(bucket, key, id)?;
        let upload = state.uploads.get_mut(id).ok_or_else(no_such_upload)?;
        upload.parts.insert(number, part);
        Ok(())
    }

    pub(crate) fn abort(&self, bucket: &str, key: &str, id: &str) -> S3Result<()> {
        let mut state = self.lock();
        state.upload(bucket, key, id)?;
        state.uploads.remove(id);
        Ok(())
    }

    /// Makes the upload an object, and gives its version's name. A condition that fails leaves the upload
    /// as it is.
    pub(crate) fn complete(
        &self,
        id: &str,
        condition: &Condition,
        object: Object,
    ) -> S3Result<Option<String>> {
        let mut state = self.lock();
        let upload = state.uploads.get(id).ok_or_else(no_such_upload)?;
        let (bucket, key) = (upload.bucket.clone(), upload.key.clone());
        let version = state.put(&bucket, &key, condition, object)?;
        state.uploads.remove(id);
        Ok(version)
    }
}

impl State {
    fn upload(&self, bucket: &str, key: &str, id: &str) -> S3Result<&Upload> {
        let upload = self.uploads.get(id).ok_or_else(no_such_upload)?;
        if upload.bucket != bucket || upload.key != key {
            return Err(no_such_upload());
        }
        Ok(upload)
    }

    fn put(
        &mut self,
        bucket: &str,
        key: &str,
        condition: &Condition,
        mut object: Object,
    ) -> S3Result<Option<String>> {
        let objects = self.buckets.get_mut(bucket).ok_or_else(no_such_bucket)?;
        let now = objects.get(key);
        condition.check(now.map(Arc::as_ref))?;
        if let Some(quota) = self.quota {
            let kept = |object: &Arc<Object>| object.bytes.len() as u64;
            let used: u64 = objects.values().map(kept).sum();
            let after = used - now.map_or(0, kept) + object.bytes.len() as u64;
            if after > quota {
                return Err(Effect::quota_reached().to_error().unwrap_or_else(access_denied));
            }
        }
        if let Some(interval) = self.write_interval {
            let written = self.written.entry((bucket.to_owned(), key.to_owned()));
            match written {
                std::collections::hash_map::Entry::Occupied(mut last) => {
                    if last.get().elapsed() < interval {
                        let refusal = Effect::too_many_requests().to_error();
                        return Err(refusal.unwrap_or_else(access_denied));
                    }
                    last.insert(Instant::now());
                }
                std::collections::hash_map::Entry::Vacant(first) => {
                    first.insert(Instant::now());
                }
            }
        }
        if let Some(versions) = self.locked.get_mut(bucket) {
            object.version = Some(versions.replace(key, now.cloned()));
        }
        let version = object.version.clone();
        objects.insert(key.to_owned(), Arc::new(object));
        Ok(version)
    }
}
