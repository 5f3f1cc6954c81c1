//! AWS S3, Cloudflare R2, and what speaks their language.
//!
//! ```text
//! put ─┬ in memory ── PutObject ───────────┐ conditions: the backend's own where the probe saw
//!      └ in a file ── multipart, N at once ┘ them work, else this process's (`conditions`)
//! get, head ── GetObject, HeadObject         list ── ListObjectsV2, by start-after
//! copy ── CopyObject, then HeadObject        move ── copy, read back, then DeleteObject
//! ```
//! Objects are kept in their native form, so that a CDN, a presigned URL or any S3 client gives
//! the same content. What is held is locked by a bucket that can (`lock`). What the backend cannot
//! do is found by trying ([`S3::examine`]), refused, and never dropped. Each call is one attempt; layers add patience.

mod attributes;
mod client;
mod conditions;
mod credentials;
mod error;
mod examine;
mod list;
mod lock;
mod meta;
mod multipart;
mod options;
mod presign;
mod read;
mod relocate;
mod remove;
mod write;
mod writers;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use tokio::sync::Semaphore;

use self::client::Clients;
use self::error::{Effect, translate};
use self::options::Dialect;
use self::writers::Writers;
use super::Backend;
use crate::model::{
    Attributes, Capabilities, ETag, ErrorKind, GetOptions, ListPage, ListRequest, ObjectKey,
    ObjectMeta, Payload, PresignMethod, Presigned, Provider, PutMode, RESERVED, Retrieved,
    StoreError, Stored, Support, Usage,
};

pub use self::examine::{Finding, Report, Verdict};
pub use self::options::{Options, StaticCredentials};

/// Parts of large uploads that are in memory at once, of all uploads together.
const PARTS_IN_MEMORY: usize = 6;

/// A bucket, or the part of it under a prefix. Cheap to clone.
#[derive(Clone, Debug)]
pub struct S3 {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    clients: Clients,
    options: Options,
    dialect: Dialect,
    writers: Writers,
    parts: Arc<Semaphore>,
    capabilities: RwLock<Capabilities>,
    /// Whether an examination wrote and read here, and saw a missing key refused with 403.
    hides_missing: AtomicBool,
    /// Whether the header of a condition was answered 501.
    refuses_conditions: AtomicBool,
}

impl S3 {
    /// Makes the client. Sends nothing: a backend that is down stops nobody from starting.
    pub async fn connect(options: Options) -> Self {
        let clients = client::connect(&options).await;
        Self::over(options, clients)
    }

    fn over(options: Options, clients: Clients) -> Self {
        let shared = Shared {
            clients,
            dialect: Dialect::of(options.provider),
            writers: Writers::new(),
            parts: Arc::new(Semaphore::new(PARTS_IN_MEMORY)),
            capabilities: RwLock::new(assumed(&options)),
            hides_missing: AtomicBool::new(false),
            refuses_conditions: AtomicBool::new(false),
            options,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Replaces what is assumed by what an examination found.
    pub fn learn(&self, found: &Report) {
        self.shared.hides_missing.store(found.hides_missing(), Ordering::Relaxed);
        self.unlearn(|can| *can = found.capabilities);
    }

    /// Takes back what a refusal has shown to be wrong.
    fn unlearn(&self, change: impl FnOnce(&mut Capabilities)) {
        change(&mut self.shared.capabilities.write().unwrap_or_else(PoisonError::into_inner));
    }

    fn can(&self) -> Capabilities {
        *self.shared.capabilities.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self) -> &Client {
        &self.shared.clients.calls
    }

    fn bucket(&self) -> &str {
        &self.shared.options.bucket
    }

    fn error(&self, kind: ErrorKind, detail: impl Into<String>) -> StoreError {
        StoreError::new(kind, self.shared.options.provider, detail.into())
    }

    fn unsupported(&self, feature: &str) -> StoreError {
        let provider = self.shared.options.provider;
        self.error(ErrorKind::Unsupported, format!("the '{provider}' backend has no {feature}"))
    }
}

/// Before anything was tried: of an endpoint that may be anybody's no more than is certain. A
/// condition of ours is sent all the same, so that a backend that knows it decides.
fn assumed(options: &Options) -> Capabilities {
    let provider = options.provider;
    let is_aws = provider == Provider::S3 && options.endpoint.is_none();
    let of_aws = if is_aws { Support::Native } else { Support::Unknown };
    let conditions =
        if is_aws || provider == Provider::R2 { Support::Native } else { Support::Gateway };
    Capabilities {
        create_only: conditions,
        replace_if_match: conditions,
        delete_if_match: Support::Gateway,
        atomic_move: Support::No,
        range: Support::Native,
        tags: if is_aws { Support::Native } else { Support::Gateway },
        storage_class: of_aws,
        encryption_aes256: of_aws,
        encryption_kms: of_aws,
        versions: Support::No,
        // Of a bucket, whoever's it is.
        object_lock: Support::Unknown,
        presign: Support::Native,
        presign_put: Support::Native,
        unique_etags: Support::No,
        exact_times: Support::No,
    }
}

#[async_trait]
impl Backend for S3 {
    fn provider(&self) -> Provider {
        self.shared.options.provider
    }

    fn capabilities(&self) -> Capabilities {
        self.outward()
    }

    async fn put(
        &self,
        key: &ObjectKey,
        payload: Payload,
        attributes: Attributes,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.store(key, payload, attributes, mode).await
    }

    async fn get(&self, key: &ObjectKey, options: GetOptions) -> Result<Retrieved, StoreError> {
        self.read(key, options).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.look(key).await
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        self.remove(key, if_match).await
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>> {
        self.remove_many(keys).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.page(request).await
    }

    async fn copy(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.duplicate(source, destination, mode).await
    }

    async fn salvage(&self, source: &ObjectKey, aside: &ObjectKey) -> Result<(), StoreError> {
        self.copy_as_it_is(source, aside).await
    }

    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.relocate(source, destination, mode).await
    }

    async fn presign(
        &self,
        key: &ObjectKey,
        method: &PresignMethod,
        expires_in: Duration,
    ) -> Result<Presigned, StoreError> {
        self.sign(key, method, expires_in).await
    }

    async fn usage(&self) -> Result<Usage, StoreError> {
        let detail = "S3 does not tell how much a bucket holds";
        Err(self.error(ErrorKind::Unsupported, detail))
    }

    /// One GET of a record of ours; that there is none is an answer as good as any. Not a HEAD: its
    /// answers have no body, and so cannot tell a missing key from a missing bucket, nor a refusal
    /// from credentials that are wrong.
    async fn probe(&self) -> Result<(), StoreError> {
        let marker = ObjectKey::new(format!("{RESERVED}/probe"));
        match self.read(&marker, GetOptions::default()).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            // So says whoever may not list, of a key that is not there.
            Err(error)
                if error.kind() == ErrorKind::AccessDenied
                    && self.shared.hides_missing.load(Ordering::Relaxed) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
