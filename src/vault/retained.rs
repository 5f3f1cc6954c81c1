//! Holds, enforced: a [`Backend`] through which the vault does everything, and which refuses to destroy
//! what has to stay. The one place where that is decided, see docs/RETENTION.md.
//!
//! ```text
//! delete, batch, move, overwrite, replace, copy-onto ─▶ turn ─▶ look ─▶ held? ─▶ Sealed ─▶ pool or member
//! ```
//! What is below it (sealing, pools and their repair, layers) never asks: it brings about what was decided
//! here. The look (`look`) is at the store below the sealing, so that it needs no key. Whoever sets a hold takes the
//! key's turn alone, and no call gives its turn back before it has ended, also where its caller went away.

mod change;
mod delete;
mod look;
mod rename;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use change::Change;

use self::turns::{Turns, Want};
use super::retention::{Holding, Standing, Unchecked};
use super::sealed::{Rewrapped, Rewrapping, Sealed};
use super::sight::Sight;
use crate::backend::Backend;
use crate::model::{
    Attributes, Capabilities, ETag, ErrorKind, GetOptions, ListPage, ListRequest, Namespace,
    ObjectKey, ObjectMeta, Payload, PresignMethod, Presigned, Provider, PutMode, Retrieved,
    StoreError, Stored, Support, Usage,
};

/// How often a proof is looked at again that others write meanwhile.
const TRIES: u32 = 8;

/// See the module. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Retained {
    sealed: Sealed,
    holding: Arc<Holding>,
    namespace: Namespace,
    turns: Arc<Turns>,
}

impl Retained {
    /// Over the opened store of a service whose keys are in this namespace.
    pub fn new(sealed: Sealed, holding: Holding, namespace: Namespace) -> Self {
        let left_out = holding.planted == Some(Unchecked::Turns);
        let (holding, turns) = (Arc::new(holding), Arc::new(Turns::new(left_out)));
        Self { sealed, holding, namespace, turns }
    }

    /// Whether a proof may be held.
    pub fn may_hold(&self) -> bool {
        !self.is_off()
    }

    /// For what it knows of keys and sealing. Calls that change anything go through this.
    pub fn sealed(&self) -> &Sealed {
        &self.sealed
    }

    /// What holds a proof, or held it.
    pub fn standing(&self, meta: &ObjectMeta) -> Option<Standing> {
        self.holding.standing(self.namespace.key_of(&meta.key).as_ref(), meta)
    }

    /// See [`Sealed::rewrap_all`]; what is said of each proof stays, and its turn is taken.
    ///
    /// # Errors
    /// As there; and beside others (not `alone`) where their changes of holds would not be noticed.
    pub async fn rewrap_all(
        &self,
        what: Rewrapping,
        alone: bool,
        report: impl FnMut(&Rewrapped) + Send,
    ) -> Result<Rewrapped, StoreError> {
        let tells_changes = self.capabilities().unique_etags == Support::Native;
        if self.may_hold() && !alone && !what.dry_run && !tells_changes {
            let detail = "proofs may be held, and a hold that a running service sets meanwhile could be \
                          lost, as the backend's versions do not tell it: stop all services and add \
                          --alone, or let the one service do it (STORAGE_REKEY_AT_START=true)";
            return Err(self.error(ErrorKind::Unsupported, detail));
        }
        let turns = &*self.turns;
        let turn = |key: ObjectKey| async move {
            let turn = turns.one(&key, Want::Alone).await;
            // A newer hold, unseen, would be replaced by what is read here.
            match self.is_off() || self.holding.holds.is_seen() {
                true => Ok(turn),
                false => Err(self.unseen()),
            }
        };
        self.sealed.rewrap_all(what, alone, turn, report).await
    }

    fn error(&self, kind: ErrorKind, detail: impl Into<String>) -> StoreError {
        StoreError::new(kind, self.provider(), detail.into())
    }

    /// Whether nothing is held here, so that no call has to be looked at.
    fn is_off(&self) -> bool {
        !self.holding.holds.may_be()
    }

    /// Before a hold is stored.
    async fn settable(&self) -> Result<(), StoreError> {
        self.check_settable()?;
        self.holding.holds.mark(self.sealed.below()).await
    }

    /// # Errors
    /// `Unsupported`: holds are off.
    pub fn check_settable(&self) -> Result<(), StoreError> {
        match self.holding.holds.can_be_set() {
            true => Ok(()),
            false => Err(self.error(
                ErrorKind::Unsupported,
                "holds are off, so a proof cannot be held: start the service with STORAGE_HOLDS=on",
            )),
        }
    }

    fn omits(&self, check: Unchecked) -> bool {
        self.holding.planted == Some(check)
    }

    fn has_rule(&self, key: &ObjectKey) -> bool {
        self.holding.has_rule(self.namespace.key_of(key).as_ref())
    }

    /// How the turn of a key is taken that is stored anew.
    fn want(&self, key: &ObjectKey, attributes: Option<&Attributes>) -> Want {
        let said = attributes.is_some_and(|attributes| !attributes.retention.is_empty());
        if said || self.has_rule(key) { Want::Alone } else { Want::Shared }
    }

    /// Runs a call to its end with its turn, whether its caller waits or not.
    async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        match tokio::spawn(Box::pin(work)).await {
            Ok(result) => result,
            Err(_) => Err(self.error(ErrorKind::Indeterminate, "the call was cut off")),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Backend for Retained {
    fn provider(&self) -> Provider {
        self.sealed.provider()
    }

    fn capabilities(&self) -> Capabilities {
        self.sealed.capabilities()
    }

    async fn put(
        &self,
        key: &ObjectKey,
        payload: Payload,
        attributes: Attributes,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let says = !attributes.retention.is_empty();
        if self.is_off() && !says {
            return self.sealed.put(key, payload, attributes, mode).await;
        }
        let want = self.want(key, Some(&attributes));
        let check = match &mode {
            // Destroys nothing, and what it stores is not held: in nobody's way.
            PutMode::Create if want == Want::Shared => {
                return self.sealed.put(key, payload, attributes, mode).await;
            }
            PutMode::Create => None,
            PutMode::Replace(_) => Some(Unchecked::Replace),
            PutMode::Overwrite => Some(Unchecked::Overwrite),
        };
        let (this, key) = (self.clone(), key.clone());
        self.to_the_end(async move {
            let _turn = this.turns.one(&key, want).await;
            if says {
                this.check_settable()?;
            }
            let put = async |mode| {
                if says {
                    this.settable().await?;
                }
                this.sealed.put(&key, payload.clone(), attributes.clone(), mode).await
            };
            match check {
                Some(check) => this.over_what_is_free(&key, mode, check, put).await,
                None => put(mode).await,
            }
        })
        .await
    }

    async fn get(&self, key: &ObjectKey, options: GetOptions) -> Result<Retrieved, StoreError> {
        self.sealed.get(key, options).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.sealed.head(key).await
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        self.delete_in_sight(key, if_match, &Sight::none()).await
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>> {
        self.delete_many_in_sight(keys, &Sight::none()).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.sealed.list(request).await
    }

    async fn copy(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        if self.is_off() || source == destination {
            return self.sealed.copy(source, destination, mode).await;
        }
        let want = self.want(destination, None);
        let destroys = mode != PutMode::Create;
        let (this, source, destination) = (self.clone(), source.clone(), destination.clone());
        self.to_the_end(async move {
            // The source's too: what is said of it from now on must not come to the copy.
            let _turn = this.turns.of([(&source, Want::Shared), (&destination, want)]).await;
            let copy = |mode| this.sealed.copy(&source, &destination, mode);
            if !destroys {
                return copy(mode).await;
            }
            // A missing source is told first.
            this.sealed.below().head(&source).await?;
            this.over_what_is_free(&destination, mode, Unchecked::CopyOnto, copy).await
        })
        .await
    }

    async fn salvage(&self, source: &ObjectKey, aside: &ObjectKey) -> Result<(), StoreError> {
        if self.is_off() {
            return self.sealed.salvage(source, aside).await;
        }
        let _turn = self.turns.one(aside, self.want(aside, None)).await;
        self.free(aside, Unchecked::CopyOnto).await?;
        self.sealed.salvage(source, aside).await
    }

    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.rename_in_sight(source, destination, mode, &Sight::none()).await
    }

    /// Never one that would replace: nobody could look when it is used. Nor one to read what is held, as the
    /// backend's own answer has what is said of it.
    async fn presign(
        &self,
        key: &ObjectKey,
        method: &PresignMethod,
        expires_in: Duration,
    ) -> Result<Presigned, StoreError> {
        if !self.is_off() && matches!(method, PresignMethod::Put { create_only: false, .. }) {
            let detail = "presign: a URL of the backend's own that may overwrite would replace what \
                          is held; use via: service";
            return Err(self.error(ErrorKind::Unsupported, detail));
        }
        let reads = matches!(method, PresignMethod::Get | PresignMethod::Head);
        if !self.is_off() && reads && self.says_something(key).await? {
            let detail = "presign: the backend's own answer would tell anybody what holds this proof; use \
                          via: service";
            return Err(self.error(ErrorKind::Unsupported, detail));
        }
        self.sealed.presign(key, method, expires_in).await
    }

    async fn usage(&self) -> Result<Usage, StoreError> {
        self.sealed.usage().await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.sealed.probe().await
    }
}
