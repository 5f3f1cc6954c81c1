//! The store below, with its sealed proofs opened: a [`Backend`] whose bytes are those before sealing.
//!
//! ```text
//! vault ─▶ Sealed ─▶ pool or member          stored_size, ranges, attributes: of the bytes in the frames
//! ```
//! It stands above the pool, so that all copies of a proof are the same sealed bytes and the pool
//! compares and repairs them by their own digest without any key. What is below sees neither the digest
//! nor the coding of what the caller stored: those are in the header. The header holds to the object's
//! name, so a copy or move gets one of its own; the frames hold to the object's key and travel as they
//! are. Without a keyring nothing is sealed, and what is sealed is refused rather than sent.

mod open;
mod rewrap;
mod seal;
mod transfer;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;

pub use rewrap::{Rewrapped, Rewrapping};

use crate::backend::Backend;
use crate::codec::envelope::{self, HeaderError, Unwrapped};
use crate::model::{
    Attributes, Capabilities, ETag, Encryption, ErrorKind, GetOptions, Keyring, ListPage,
    ListRequest, ObjectKey, ObjectMeta, Payload, PresignMethod, Presigned, Provider, PutMode,
    Retrieved, StoreError, Stored, Support, Usage,
};
use crate::vault::sight::Sight;

/// How proofs are sealed.
#[derive(Clone, Debug, Default)]
pub struct Sealing {
    /// Keys that wrap the keys of proofs; without them nothing is sealed or opened.
    pub keyring: Option<Keyring>,
    /// Whether what asks for no encryption is sealed.
    pub by_default: bool,
}

/// Moves of so many sources can be under way at once.
const TURNS: usize = 64;

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sealed {
    inner: Arc<dyn Backend>,
    sealing: Arc<Sealing>,
    spool_folder: Arc<PathBuf>,
    /// Two moves of one source would both copy it: of this process's only one can.
    turns: Arc<Vec<Mutex<()>>>,
}

impl Sealed {
    /// Over a member or a pool. Large sealed bodies wait in the folder.
    pub fn new(inner: Arc<dyn Backend>, sealing: Sealing, spool_folder: PathBuf) -> Self {
        let turns = std::iter::repeat_with(Mutex::default).take(TURNS).collect();
        let (sealing, spool_folder) = (Arc::new(sealing), Arc::new(spool_folder));
        Self { inner, sealing, spool_folder, turns: Arc::new(turns) }
    }

    /// What it stands above.
    pub fn below(&self) -> &Arc<dyn Backend> {
        &self.inner
    }

    /// The encryption that a caller's write gets which asks for this one. The embedded store does not encrypt
    /// by itself: where there are keys, AES256 is an envelope's there.
    pub fn encryption_for(&self, asked: Encryption) -> Encryption {
        let able = self.sealing.keyring.is_some();
        let lacking = || self.inner.capabilities().encryption_aes256 == Support::No;
        match asked {
            Encryption::None if self.sealing.by_default => Encryption::Envelope,
            Encryption::Aes256 if able && (self.sealing.by_default || lacking()) => {
                Encryption::Envelope
            }
            other => other,
        }
    }

    /// Whether there are keys to seal with.
    pub fn can_seal(&self) -> bool {
        self.sealing.keyring.is_some()
    }

    fn error(&self, kind: ErrorKind, detail: impl Into<String>) -> StoreError {
        StoreError::new(kind, self.provider(), detail.into())
    }

    /// The keys.
    ///
    /// # Errors
    /// `Unsupported`: there are none.
    pub fn keyring(&self) -> Result<&Keyring, StoreError> {
        self.sealing.keyring.as_ref().ok_or_else(|| {
            let detail = "envelope encryption needs keys, and this service was given none: set \
                          STORAGE_KEYRING_FILE or STORAGE_KEYRING; nothing was stored";
            self.error(ErrorKind::Unsupported, detail)
        })
    }

    fn crypto_failed(&self, cause: envelope::CryptoFailed) -> StoreError {
        let detail = "the cryptographic library failed: nothing was stored";
        self.error(ErrorKind::Unavailable, detail).with_source(cause)
    }

    /// Opens the header of an object of this name.
    fn unwrap(&self, name: &ObjectKey, header: &[u8]) -> Result<Unwrapped, StoreError> {
        let opened = match &self.sealing.keyring {
            Some(keyring) => envelope::unwrap(keyring, name.as_str(), header),
            None => match envelope::key_id(header) {
                Ok(id) => Err(HeaderError::NoKey(id)),
                Err(error) => Err(error),
            },
        };
        opened.map_err(|error| {
            let (kind, detail) = match &error {
                HeaderError::NoKey(id) => (
                    ErrorKind::KeyMissing,
                    format!(
                        "the proof is sealed under the key '{id}', which this service was not given: \
                         put it into the keyring, as `retired` where it shall seal nothing more"
                    ),
                ),
                HeaderError::Version(_) => (ErrorKind::KeyMissing, error.to_string()),
                HeaderError::Malformed | HeaderError::Forged(_) => {
                    (ErrorKind::Corrupt, format!("the proof cannot be opened: {error}"))
                }
            };
            self.error(kind, detail).with_source(error)
        })
    }

    fn not_genuine(&self) -> StoreError {
        let detail = "the sealed bytes are not what was stored: the proof is damaged at rest";
        self.error(ErrorKind::Corrupt, detail)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Backend for Sealed {
    fn provider(&self) -> Provider {
        self.inner.provider()
    }

    fn capabilities(&self) -> Capabilities {
        let mut can = self.inner.capabilities();
        if self.can_seal() {
            // A sealed proof is copied, and then its source is deleted.
            can.atomic_move = Support::No;
        }
        if self.sealing.by_default {
            can.presign_put = Support::No;
        }
        can
    }

    async fn put(
        &self,
        key: &ObjectKey,
        payload: Payload,
        mut attributes: Attributes,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        if self.sealing.by_default && attributes.encryption == Encryption::None {
            attributes.encryption = Encryption::Envelope;
        }
        if attributes.encryption != Encryption::Envelope {
            return self.inner.put(key, payload, attributes, mode).await;
        }
        let (payload, attributes) = self.sealed(key, payload, attributes).await?;
        let stored = self.inner.put(key, payload, attributes, mode).await?;
        self.opened_stored(stored)
    }

    async fn get(&self, key: &ObjectKey, options: GetOptions) -> Result<Retrieved, StoreError> {
        match options.range {
            // Without keys nothing sealed is opened, whole or in part: it needs no look before.
            Some(range) if self.can_seal() => self.get_range(key, range, options.if_match).await,
            _ => self.opened(self.inner.get(key, options).await?),
        }
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.opened_meta(self.inner.head(key).await?)
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        self.inner.delete(key, if_match).await
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>> {
        self.inner.delete_many(keys).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let mut page = self.inner.list(request).await?;
        for item in &mut page.items {
            self.open_item(item);
        }
        Ok(page)
    }

    async fn copy(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.copy_either(source, destination, mode).await
    }

    async fn salvage(&self, source: &ObjectKey, aside: &ObjectKey) -> Result<(), StoreError> {
        self.inner.salvage(source, aside).await
    }

    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.rename_in_sight(source, destination, mode, &Sight::none()).await
    }

    /// Never of sealed bytes, which are of no use to who would come by it; nor of what may be sealed
    /// when it is stored.
    async fn presign(
        &self,
        key: &ObjectKey,
        method: &PresignMethod,
        expires_in: Duration,
    ) -> Result<Presigned, StoreError> {
        self.check_presign(key, method).await?;
        self.inner.presign(key, method, expires_in).await
    }

    async fn usage(&self) -> Result<Usage, StoreError> {
        self.inner.usage().await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.inner.probe().await
    }
}
