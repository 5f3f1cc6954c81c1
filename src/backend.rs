//! What every store must do: the [`Backend`] trait and those who keep it.
//!
//! A backend knows a vendor and nothing above: not HTTP, not what a proof means, not its peers.
//! Layers and pools are backends too, so the vault holds one `Arc<dyn Backend>` whatever is
//! below it. [`conformance`] is the contract as code: every implementation must pass it.

pub mod conformance;
pub mod embedded;
pub mod faulty;
pub mod memory;
pub mod s3;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::model::{
    Attributes, Capabilities, ETag, GetOptions, ListPage, ListRequest, ObjectKey, ObjectMeta,
    Payload, PresignMethod, Presigned, Provider, PutMode, Retrieved, StoreError, Stored, Usage,
};

/// How much longer than another call a delete of many may take, for each of its keys. Some stores go
/// through them one by one: a Garage of three nodes takes 20 ms for each, and a disk that syncs each
/// as long.
pub const TIME_FOR_EACH_DELETE: Duration = Duration::from_millis(50);

/// A store of objects.
///
/// # Contract
/// - **Durable**: when a write or delete returns `Ok`, it survives a crash of this process and,
///   for the embedded store, a power cut.
/// - **Read your writes**: after `Ok`, every later call of anybody sees the effect.
/// - **Atomic**: a reader sees an object as one write made it, bytes and attributes together,
///   or not at all. An object that is being streamed may be deleted meanwhile: the stream then
///   either goes on with the bytes it began with or ends in an error, never in other bytes.
/// - **Honest errors**: [`StoreError::class`] tells whether a failed call may have had an effect.
/// - **Nothing ignored**: an attribute or option that the backend cannot keep is refused with
///   `Unsupported` before anything is written.
/// - **Cancel-safe**: dropping a future leaves the call done or not done, never half done.
///
/// There are no default methods: a wrapper that forgets to forward one must not compile.
#[async_trait]
pub trait Backend: Send + Sync + fmt::Debug + 'static {
    /// What kind of store this is.
    fn provider(&self) -> Provider;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Stores bytes and attributes under a key.
    ///
    /// # Errors
    /// `AlreadyExists` and `PreconditionFailed` by the mode (`Replace` of a missing object is
    /// `PreconditionFailed`), `QuotaExceeded`, `Unsupported`, or a failure.
    async fn put(
        &self,
        key: &ObjectKey,
        payload: Payload,
        attributes: Attributes,
        mode: PutMode,
    ) -> Result<Stored, StoreError>;

    /// Reads an object or a range of its stored bytes.
    ///
    /// # Errors
    /// `NotFound`, `PreconditionFailed`, `Invalid` (range past the end), `Corrupt`, or a failure.
    async fn get(&self, key: &ObjectKey, options: GetOptions) -> Result<Retrieved, StoreError>;

    /// Reads what is known of an object.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, or a failure.
    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError>;

    /// Deletes; `Ok(Some(false))` where nothing was, `Ok(None)` where the backend does not say.
    /// With `if_match` only exactly that version.
    ///
    /// # Errors
    /// `PreconditionFailed` where another version is there, or a failure. A missing object is
    /// no error, with `if_match` either.
    async fn delete(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError>;

    /// Deletes many, each on its own: answers in the order asked, one for each key.
    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>>;

    /// One page of names in byte order. Costs the page, not the store.
    ///
    /// # Errors
    /// A failure; never a partial page.
    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError>;

    /// Copies bytes and attributes to another key, inside the store.
    ///
    /// # Errors
    /// As `get` for the source and as `put` for the destination. Copying a key onto itself is
    /// `Invalid`.
    async fn copy(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError>;

    /// Keeps an object's bytes under another name as they are, whatever they claim to be: evidence,
    /// before a damaged copy is replaced. What is there under that name is replaced.
    ///
    /// # Errors
    /// As `copy`. `Corrupt`: the store itself cannot give the bytes out.
    async fn salvage(&self, source: &ObjectKey, aside: &ObjectKey) -> Result<(), StoreError> {
        self.copy(source, aside, PutMode::Overwrite).await.map(drop)
    }

    /// Copies, then deletes the source. At every instant at least one name has the bytes; where
    /// [`Capabilities::atomic_move`] is native, exactly one.
    ///
    /// # Errors
    /// As `copy`.
    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError>;

    /// A URL that the store itself honours, for one method and at most that long. Whether the
    /// object exists is not asked.
    ///
    /// # Errors
    /// `Unsupported` where [`Capabilities::presign`] is not available, or a failure to sign.
    async fn presign(
        &self,
        key: &ObjectKey,
        method: &PresignMethod,
        expires_in: Duration,
    ) -> Result<Presigned, StoreError>;

    /// How much it holds, without walking it.
    ///
    /// # Errors
    /// `Unsupported` where the store does not count, or a failure.
    async fn usage(&self) -> Result<Usage, StoreError>;

    /// A cheap call that shows whether the store serves. `Ok` also means that it takes writes.
    ///
    /// # Errors
    /// Why it does not.
    async fn probe(&self) -> Result<(), StoreError>;
}
