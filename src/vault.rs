//! What a proof means: written once, identified by its digest, one representation at every exit.
//!
//! The vault stands between HTTP and storage and knows neither: it takes keys, bodies and
//! conditions, and holds one [`Backend`] without knowing what is behind it.
//!
//! ```text
//! PUT  Upload ─▶ Prepared ─▶ store ─▶ Sealed ─▶ Backend::put
//! GET  Backend::get ─▶ Sealed ─▶ Opened ─▶ verified body
//! ```

mod error;
mod etag;
mod fetch;
mod form;
mod hold;
mod holds;
mod labour;
mod monitor;
mod remove;
mod retained;
mod retention;
mod sealed;
mod sight;
mod spooling;
mod store;
mod upload;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

pub use error::VaultError;
pub use etag::{etag_of, names};
pub use fetch::{Opened, RANGE_VERIFY_BYTES, VERIFY_BYTES};
pub use form::is_c2pa;
pub use holds::{Holds, Place as HoldsPlace};
pub use monitor::{Health, Monitor, Status};
pub use retained::{Change, Retained};
pub use retention::{Clock, Holding, Source, Standing, Strength, Unchecked};
pub use sealed::{Rewrapped, Rewrapping, Sealed, Sealing};
pub use sight::Sight;
pub use spooling::Spooling;
pub use store::{Condition, Outcome};
pub use upload::{Compression, MEMORY_BYTES, Prepared, Upload, UploadOptions};

use crate::backend::Backend;
use crate::model::{
    Attributes, Body, ByteRange, Encoding, Encryption, ErrorKind, GetOptions, Key, KeyError,
    ListPage, ListRequest, Namespace, ObjectMeta, PresignMethod, Presigned, PutMode, RESERVED,
    StoreError, Stored, Support, Usage, WriteMode,
};

/// How this service keeps proofs.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Its part of the backend.
    pub namespace: Namespace,
    /// See [`WriteMode`].
    pub write_mode: WriteMode,
    /// Most bytes of one proof, as sent and inflated.
    pub max_object_bytes: u64,
    /// Folder for temporary files of large bodies.
    pub spool_folder: PathBuf,
    /// Most of those files at once.
    pub spool_files: usize,
    /// Keys, and what is sealed with them.
    pub sealing: Sealing,
    /// What has to stay.
    pub holding: Holding,
}

/// What a presigned URL is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PresignAction {
    /// Reading.
    Get,
    /// Reading the headers.
    Head,
    /// Storing.
    Put {
        /// The caller must send exactly this, and it is kept.
        content_type: String,
    },
}

/// The service's view of its store.
#[derive(Debug)]
pub struct Vault {
    backend: Retained,
    policy: Policy,
    spool_files: Arc<Semaphore>,
}

impl Vault {
    /// A vault over a backend, a layer or a pool.
    pub fn new(backend: Arc<dyn Backend>, policy: Policy) -> Self {
        let folder = policy.spool_folder.clone();
        let sealed = Sealed::new(backend, policy.sealing.clone(), folder);
        let backend = Retained::new(sealed, policy.holding.clone(), policy.namespace.clone());
        let spool_files = Arc::new(Semaphore::new(policy.spool_files));
        Self { backend, policy, spool_files }
    }

    /// What is behind it, sealed proofs opened and held ones safe.
    pub fn backend(&self) -> &dyn Backend {
        &self.backend
    }

    /// How it keeps proofs.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Checks a caller's key.
    ///
    /// # Errors
    /// The rule that the key breaks.
    pub fn key(&self, name: &str) -> Result<Key, KeyError> {
        self.policy.namespace.key(name)
    }

    /// Where large bodies with these attributes wait.
    pub fn spooling(&self, attributes: &Attributes) -> Spooling {
        let files = Arc::clone(&self.spool_files);
        Spooling::new(&self.policy.spool_folder, self.seals(attributes), files)
    }

    /// Whether a body with these attributes is sealed.
    fn seals(&self, attributes: &Attributes) -> bool {
        self.backend.sealed().encryption_for(attributes.encryption) == Encryption::Envelope
    }

    /// Refuses what the backend cannot keep, before a byte of the body is read.
    ///
    /// # Errors
    /// `Unsupported`, naming the backend and the capability; `Unavailable` while it is not known.
    pub fn check_supported(&self, attributes: &Attributes) -> Result<(), VaultError> {
        let encryption = self.backend.sealed().encryption_for(attributes.encryption);
        if encryption == Encryption::Envelope {
            self.backend.sealed().keyring()?;
        }
        let is_plain = matches!(encryption, Encryption::None | Encryption::Envelope);
        if is_plain && attributes.storage_class.is_none() && attributes.tags.is_empty() {
            return Ok(());
        }
        let capabilities = self.backend.capabilities();
        let aes256 = match capabilities.encryption_aes256 {
            // Here the service could do it, as an envelope.
            Support::No => {
                "encryption at rest with AES256, and the service no keys for it (STORAGE_KEYRING_FILE)"
            }
            _ => "encryption at rest with AES256",
        };
        let wanted = [
            (aes256, encryption == Encryption::Aes256, capabilities.encryption_aes256),
            (
                "encryption at rest with aws:kms",
                encryption == Encryption::Kms,
                capabilities.encryption_kms,
            ),
            ("storage classes", attributes.storage_class.is_some(), capabilities.storage_class),
            ("tags", !attributes.tags.is_empty(), capabilities.tags),
        ];
        for (feature, asked, support) in wanted {
            if asked {
                support.require(self.backend.provider(), feature)?;
            }
        }
        Ok(())
    }

    /// Brings what is sealed under retired keys under the active one, as long as this is the only
    /// process that writes or the backend compares versions itself.
    ///
    /// # Errors
    /// See [`Sealed::rewrap_all`].
    pub async fn rekey(
        &self,
        after: Option<String>,
        dry_run: bool,
        alone: bool,
        report: impl FnMut(&Rewrapped) + Send,
    ) -> Result<Rewrapped, VaultError> {
        let prefix = self.policy.namespace.prefix().to_owned();
        let except = Some(format!("{prefix}{RESERVED}/"));
        let after = after.map(|name| format!("{prefix}{name}"));
        let what = Rewrapping { prefix, after, except, dry_run };
        Ok(self.backend.rewrap_all(what, alone, report).await?)
    }

    /// Everything known of a proof but its bytes.
    ///
    /// # Errors
    /// The backend's.
    pub async fn head(&self, key: &Key) -> Result<ObjectMeta, VaultError> {
        Ok(self.backend.head(key.object()).await?)
    }

    /// Opens a proof for reading.
    ///
    /// # Errors
    /// The backend's.
    pub async fn open(&self, key: &Key) -> Result<Opened, VaultError> {
        Ok(Opened::new(self.backend.get(key.object(), GetOptions::default()).await?))
    }

    /// Reads a range of a proof's identity form, of exactly the version in `meta`.
    ///
    /// Proofs up to [`RANGE_VERIFY_BYTES`] are read whole, and so verified. Of larger ones only what
    /// it takes is read, and nothing but the backend's own checksums stands for it: the embedded
    /// store has some for each piece, S3 has none for a range.
    ///
    /// # Errors
    /// `PreconditionFailed` where the proof changed meanwhile, `Corrupt`, or the backend's.
    pub async fn read_range(
        &self,
        key: &Key,
        meta: &ObjectMeta,
        range: ByteRange,
    ) -> Result<Body, VaultError> {
        let whole = meta.attributes.encoding != Encoding::Identity
            || meta.stored_size <= RANGE_VERIFY_BYTES
            || range.len() == meta.stored_size;
        let options =
            GetOptions { range: (!whole).then_some(range), if_match: Some(meta.etag.clone()) };
        let retrieved = self.backend.get(key.object(), options).await?;
        if whole {
            return Opened::new(retrieved).into_range(range).await;
        }
        match retrieved.body {
            Body::Bytes(bytes) => Ok(Body::Bytes(bytes)),
            Body::Stream(stream) => Ok(fetch::begun(stream).await?),
        }
    }

    /// One page of this service's proofs; the request's names are without the prefix.
    ///
    /// # Errors
    /// The backend's.
    pub async fn list(&self, request: &ListRequest) -> Result<ListPage, VaultError> {
        let namespace = self.policy.namespace.prefix();
        let full = |name: &String| format!("{namespace}{name}");
        let request = ListRequest {
            prefix: full(&request.prefix),
            delimiter: request.delimiter.clone(),
            limit: request.limit,
            after: request.after.as_ref().map(full),
        };
        let mut page = self.backend.list(&request).await?;
        let strip = |name: String| name[namespace.len()..].to_owned();
        page.items.retain(|item| self.policy.namespace.key_of(&item.key).is_some());
        page.common_prefixes = page
            .common_prefixes
            .into_iter()
            .map(strip)
            .filter(|prefix| !is_reserved(prefix))
            .collect();
        page.next = page.next.map(strip);
        Ok(page)
    }

    /// Copies a proof inside the store.
    ///
    /// # Errors
    /// `NotFound` for the source, `AlreadyExists` for the destination, or the backend's.
    pub async fn copy(&self, from: &Key, to: &Key, overwrite: bool) -> Result<Stored, VaultError> {
        let mode = self.transfer_mode(from, to, overwrite)?;
        let stored = self.backend.copy(from.object(), to.object(), mode).await;
        stored.map_err(|error| self.explain_taken(error, overwrite))
    }

    /// Whether a URL of the backend's own would keep the promises that this service makes.
    ///
    /// # Errors
    /// `Unsupported`, saying what is missing.
    pub fn check_presign(&self, writes: bool) -> Result<(), VaultError> {
        let capabilities = self.backend.capabilities();
        let may_overwrite = self.policy.write_mode == WriteMode::Overwrite;
        let missing = if !capabilities.presign.is_available() {
            "has no URLs of its own"
        } else if writes && !capabilities.presign_put.is_available() {
            "cannot place what is stored past it"
        } else if writes && may_overwrite && self.backend.may_hold() {
            "would overwrite by a URL of its own also what has to stay"
        } else if writes && capabilities.create_only != Support::Native {
            // A turn among our own writers says nothing to somebody who writes past us.
            "cannot refuse by itself to overwrite, so a URL of its own would not be write-once"
        } else {
            return Ok(());
        };
        let provider = self.backend.provider();
        let detail = format!("presign: the '{provider}' backend {missing}; use via: service");
        Err(StoreError::new(ErrorKind::Unsupported, provider, detail).into())
    }

    /// A URL that the backend itself honours; one for storing is write-once where the service is.
    ///
    /// # Errors
    /// As [`Self::check_presign`], or the backend's.
    pub async fn presign(
        &self,
        key: &Key,
        action: PresignAction,
        expires_in: Duration,
    ) -> Result<Presigned, VaultError> {
        let method = match action {
            PresignAction::Get => PresignMethod::Get,
            PresignAction::Head => PresignMethod::Head,
            PresignAction::Put { content_type } => PresignMethod::Put {
                create_only: self.policy.write_mode == WriteMode::WriteOnce,
                content_type: Some(content_type),
            },
        };
        self.check_presign(matches!(method, PresignMethod::Put { .. }))?;
        Ok(self.backend.presign(key.object(), &method, expires_in).await?)
    }

    /// How much the store holds.
    ///
    /// # Errors
    /// The backend's.
    pub async fn usage(&self) -> Result<Usage, VaultError> {
        Ok(self.backend.usage().await?)
    }

    fn transfer_mode(&self, from: &Key, to: &Key, overwrite: bool) -> Result<PutMode, VaultError> {
        if from == to {
            return Err(VaultError::Invalid("source and destination are the same key".to_owned()));
        }
        let may_overwrite = overwrite && self.policy.write_mode == WriteMode::Overwrite;
        Ok(if may_overwrite { PutMode::Overwrite } else { PutMode::Create })
    }

    fn explain_taken(&self, error: StoreError, overwrite: bool) -> VaultError {
        if error.kind() != ErrorKind::AlreadyExists {
            return error.into();
        }
        let detail = if overwrite {
            "the destination exists, and this service is write-once: overwrite has no effect; \
             delete the destination first, or replace it by PUT with If-Match"
        } else {
            "the destination exists: choose another, or set overwrite where the service allows it"
        };
        VaultError::already_exists(error.provider(), detail)
    }
}

/// Whether a common prefix lies in the service's own folder; a name that merely begins like it
/// does not.
fn is_reserved(prefix: &str) -> bool {
    prefix.strip_prefix(RESERVED).is_some_and(|rest| rest.starts_with('/'))
}
