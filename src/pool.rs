//! Several backends as one store that stays up when one of them does not.
//!
//! ```text
//! put ─┬ fallback: home ──fails──▶ next member + line ┐   line = what is still to be done, kept by
//!      └ mirror: all homes at once, line for the rest ┘   the members under `.proof-storage/pool/`
//! get ── home or fastest ──404, error, wrong bytes──▶ the others, within the request
//! delete ── all members, tombstone (a line) for whoever did not confirm
//! keeper ── reads lines of all replicas, settles key by key, removes what is done
//! ```
//! A pool is a [`Backend`] over backends; nobody above knows how many there are. What must survive a
//! crash is kept in the members, so that replicas need no disk and any of them can finish. Copies of
//! a key are ordered by the version that each carries, never by a wall clock. ARCHITECTURE.md says
//! what is promised with one replica, with several, and on members without conditional writes,
//! docs/POOL.md how it is done and where it ends.

mod aside;
mod begin;
mod belief;
mod body;
mod clock;
mod core;
mod create;
mod decide;
mod delete;
mod doubts;
mod errands;
mod everywhere;
mod hedge;
mod keeper;
mod latency;
mod lease;
mod line;
mod list;
mod marks;
mod member;
mod pace;
mod parts;
mod pending;
mod policy;
mod read;
mod reconcile;
mod refresh;
mod restored;
mod rewrite;
mod scribe;
mod settle;
mod state;
mod status;
mod transfer;
mod view;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use self::clock::WallClock;
use self::core::Core;
use self::keeper::Rounds;
use self::member::Member;
pub use self::member::MemberSetup;
use self::parts::Parts;
#[doc(hidden)]
pub use self::policy::Planted;
pub use self::policy::PoolPolicy;
pub use self::reconcile::{Reconcile, ReconcileReport};
use self::scribe::Scribe;
pub use self::status::{PoolMemberStatus, PoolStatus};
use crate::backend::Backend;
use crate::model::{
    Attributes, Capabilities, ETag, ErrorKind, GetOptions, ListPage, ListRequest, ObjectKey,
    ObjectMeta, Payload, PresignMethod, Presigned, Provider, PutMode, Retrieved, StoreError,
    Stored, Usage,
};

/// Several backends as one, see the module.
#[derive(Debug)]
pub struct Pool {
    parts: Parts,
    rounds: tokio::sync::Mutex<Rounds>,
}

impl Pool {
    /// A pool of members, in the order in which they are preferred. Nothing is sent yet. Needs a
    /// runtime.
    ///
    /// # Panics
    /// There is no member, or no runtime.
    pub fn new(members: Vec<MemberSetup>, policy: PoolPolicy) -> Arc<Self> {
        assert!(!members.is_empty(), "a pool has members");
        let members = members.into_iter().map(|member| Member::new(member, policy.mode)).collect();
        let core = Arc::new(Core::new(members, policy));
        let scribe = Scribe::start(Arc::clone(&core));
        Arc::new(Self { parts: Parts { core, scribe }, rounds: Default::default() })
    }

    /// Reads, repairs and tidies in the background, for as long as it is polled.
    pub async fn run(&self) {
        self.parts.keep().await;
    }

    /// One round of what [`Self::run`] does, and at once: for tests and commands. Answers whether
    /// something is left to do.
    pub async fn round(&self) -> bool {
        self.parts.round(&mut *self.rounds.lock().await).await
    }

    /// Compares all members and mends what differs.
    ///
    /// # Errors
    /// No member can be listed.
    pub async fn reconcile(&self, how: Reconcile) -> Result<ReconcileReport, StoreError> {
        self.parts.begin().await?;
        self.parts.reconcile(how, None).await
    }

    /// Whether all that is written down is known here, so that no member that is silent now can have
    /// something newer than the others say. Asks no member.
    pub fn has_read_all(&self) -> bool {
        self.parts.view.is_all_loaded()
    }

    /// How the pool fares; asks no member.
    pub fn status(&self) -> PoolStatus {
        self.parts.status()
    }
}

#[async_trait]
impl Backend for Pool {
    fn provider(&self) -> Provider {
        self.parts.provider()
    }

    fn capabilities(&self) -> Capabilities {
        self.parts.capabilities()
    }

    async fn put(
        &self,
        key: &ObjectKey,
        payload: Payload,
        attributes: Attributes,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.parts.begin().await?;
        self.parts.put(key, payload, attributes, mode).await
    }

    async fn get(&self, key: &ObjectKey, options: GetOptions) -> Result<Retrieved, StoreError> {
        self.parts.begin().await?;
        self.parts.get(key, options).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.parts.begin().await?;
        self.parts.head(key).await
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        self.parts.begin().await?;
        self.parts.delete(key, if_match).await
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>> {
        match self.parts.begin().await {
            Ok(()) => self.parts.delete_many(keys).await,
            Err(error) => vec![Err(error); keys.len()],
        }
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.parts.begin().await?;
        self.parts.list(request).await
    }

    async fn copy(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.parts.begin().await?;
        self.parts.copy(source, destination, mode).await
    }

    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.parts.begin().await?;
        self.parts.rename(source, destination, mode).await
    }

    async fn presign(
        &self,
        key: &ObjectKey,
        method: &PresignMethod,
        expires_in: Duration,
    ) -> Result<Presigned, StoreError> {
        self.parts.begin().await?;
        self.parts.presign(key, method, expires_in).await
    }

    /// A layer above counts by listing: each proof once, wherever its copies are.
    async fn usage(&self) -> Result<Usage, StoreError> {
        let detail = "a pool does not count by itself";
        Err(StoreError::new(ErrorKind::Unsupported, self.provider(), detail))
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.parts.probe().await
    }
}
