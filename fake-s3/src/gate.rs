//! What every request passes when its signature is right and its operation known, before it is
//! executed: counting, scripted faults, what the vendor refuses, permissions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use s3s::S3Result;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};

use crate::error::{access_denied, error};
use crate::fault::{Effect, Script, Slot};
use crate::server::FakeS3;
use crate::store::Store;

/// Longest life of a presigned URL in seconds.
const PRESIGN_LIMIT: u64 = 604_800;

/// How many requests reached each operation, refused and failed ones included. What has a wrong
/// signature reaches none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<String, u64>);

impl Counts {
    /// Requests of this operation, by S3's name for it: `PutObject`.
    pub fn of(&self, operation: &str) -> u64 {
        self.0.get(operation).copied().unwrap_or_default()
    }

    /// Requests of all operations.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// What came since an earlier count.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let later = self.0.iter().map(|(name, count)| (name.clone(), count - earlier.of(name)));
        Self(later.filter(|(_, count)| *count > 0).collect())
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) store: Store,
    pub(crate) script: Script,
    counts: Mutex<Counts>,
}

impl Gate {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, script: Script::default(), counts: Mutex::default() }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, operation: &str) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.0.entry(operation.to_owned()).or_default() += 1;
    }
}

/// A handle on the gate that `s3s` can own.
pub(crate) struct Keeper(pub(crate) Arc<Gate>);

#[async_trait::async_trait]
impl S3Access for Keeper {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        if cx.credentials().is_none() {
            return Err(access_denied());
        }
        let operation = cx.s3_op().name().to_owned();
        let key = cx.s3_path().get_object_key().map(str::to_owned);
        self.0.count(&operation);
        if let Some(effect) = self.0.script.take(&operation, key.as_deref()) {
            if let Some(error) = effect.to_error() {
                return Err(error);
            }
            match effect {
                Effect::Delay(time) => tokio::time::sleep(time).await,
                Effect::Hang => std::future::pending().await,
                effect => {
                    let before = effect == Effect::CloseBefore;
                    if let Some(slot) = cx.extensions_mut().get::<Slot>() {
                        slot.put(effect);
                    }
                    if before {
                        return Err(error(500, "InternalError", "the connection closes"));
                    }
                }
            }
        }
        if presigned_for(cx.uri().query()).is_some_and(|seconds| seconds > PRESIGN_LIMIT) {
            let message = "X-Amz-Expires must be less than a week (in seconds)";
            return Err(error(400, "AuthorizationQueryParametersError", message));
        }
        self.0.store.personality().refuse(&operation, cx.headers())?;
        let lists = ["ListObjectsV2", "ListObjects", "HeadBucket"].contains(&operation.as_str());
        if lists && !self.0.store.may_list() {
            return Err(access_denied());
        }
        Ok(())
    }
}

fn presigned_for(query: Option<&str>) -> Option<u64> {
    let value = query?.split('&').find_map(|pair| pair.strip_prefix("X-Amz-Expires="))?;
    value.parse().ok()
}

/// Knows the one pair of keys.
pub(crate) struct OneKey;

#[async_trait::async_trait]
impl S3Auth for OneKey {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == FakeS3::ACCESS_KEY {
            return Ok(SecretKey::from(FakeS3::SECRET_KEY));
        }
        let message = "The AWS Access Key Id you provided does not exist in our records.";
        Err(error(403, "InvalidAccessKeyId", message))
    }
}
