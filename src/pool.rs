//! Several backends as one: the public face only.
//!
//! A placeholder with the signatures of the pool and none of its behaviour: every call goes to the
//! first member. It lets configuration and wiring compile before the pool is there, and is
//! replaced by it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::backend::Backend;
use crate::model::{
    Attributes, Capabilities, ETag, ErrorKind, GetOptions, ListPage, ListRequest, ObjectKey,
    ObjectMeta, Payload, PoolMode, PresignMethod, Presigned, Provider, PutMode, Retrieved, Role,
    StoreError, Stored, Usage,
};

/// A backend and its place in a pool.
#[derive(Clone, Debug)]
pub struct MemberSetup {
    /// Unique in the pool.
    pub name: Arc<str>,
    /// Behind its layers.
    pub backend: Arc<dyn Backend>,
    /// What it is used for.
    pub role: Role,
    /// Most bytes at rest; with more it counts as full. No limit where absent.
    pub quota_bytes: Option<u64>,
}

/// How the members work together.
#[derive(Clone, Debug)]
pub struct PoolPolicy {
    /// What the pool makes of its members.
    pub mode: PoolMode,
    /// Copies before a write is acknowledged, where every member is to have one.
    pub min_copies: usize,
    /// Names the pool's records.
    pub namespace: String,
    /// Where large copies between members wait.
    pub spool_folder: std::path::PathBuf,
}

impl PoolPolicy {
    /// The usual one.
    pub fn new(
        mode: PoolMode,
        min_copies: usize,
        namespace: String,
        spool_folder: std::path::PathBuf,
    ) -> Self {
        Self { mode, min_copies, namespace, spool_folder }
    }
}

/// How a pool stands; counts are since the start of the process.
#[derive(Clone, Debug)]
pub struct PoolStatus {
    /// As configured.
    pub mode: PoolMode,
    /// As configured.
    pub min_copies: usize,
    /// Lines of repair that are not done.
    pub repairs_pending: u64,
    /// Age of the oldest.
    pub oldest_repair: Option<Duration>,
    /// Keys with two versions of write-once bytes.
    pub conflicts: u64,
    /// Copies with wrong bytes that were put aside.
    pub quarantined: u64,
    /// Second reads that were sent.
    pub hedges_sent: u64,
    /// Second reads that answered first.
    pub hedges_won: u64,
    /// Calls that another member had to take, by cause.
    pub failovers: Vec<(ErrorKind, u64)>,
    /// Copies made by repair.
    pub repaired_copies: u64,
    /// Deletes made by repair.
    pub repaired_deletes: u64,
    /// In the order of the configuration.
    pub members: Vec<PoolMemberStatus>,
}

/// How a member of a pool stands.
#[derive(Clone, Debug)]
pub struct PoolMemberStatus {
    /// As configured.
    pub name: String,
    /// As configured.
    pub role: Role,
    /// Lines of repair that it misses.
    pub pending_repairs: u64,
    /// Whether it is passed over for writes.
    pub full: bool,
}

/// What a comparison of the members may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reconcile {
    /// Look, and change nothing.
    pub dry_run: bool,
    /// Read every copy and check its digest.
    pub verify_bytes: bool,
}

/// What a comparison of the members found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ReconcileReport {
    /// Keys.
    pub compared: u64,
    /// Copies that a member should have and has not.
    pub missing: u64,
    /// Copies that a member should not have.
    pub extra: u64,
    /// Keys whose copies differ.
    pub different: u64,
    /// Copies whose bytes are wrong.
    pub corrupt: u64,
    /// Copies that were put aside.
    pub quarantined: u64,
    /// Copies and deletes that were made.
    pub repaired: u64,
    /// Members that could not be read.
    pub unreachable: Vec<String>,
}

/// Several backends as one.
#[derive(Debug)]
pub struct Pool {
    members: Vec<MemberSetup>,
    policy: PoolPolicy,
}

impl Pool {
    /// A pool of these members, in this order; never none.
    pub fn new(members: Vec<MemberSetup>, policy: PoolPolicy) -> Arc<Self> {
        Arc::new(Self { members, policy })
    }

    /// Keeps the pool in order for as long as it is polled.
    pub async fn run(&self) {
        std::future::pending().await
    }

    /// How it stands.
    pub fn status(&self) -> PoolStatus {
        let members = self.members.iter().map(|member| PoolMemberStatus {
            name: member.name.to_string(),
            role: member.role,
            pending_repairs: 0,
            full: false,
        });
        PoolStatus {
            mode: self.policy.mode,
            min_copies: self.policy.min_copies,
            repairs_pending: 0,
            oldest_repair: None,
            conflicts: 0,
            quarantined: 0,
            hedges_sent: 0,
            hedges_won: 0,
            failovers: Vec::new(),
            repaired_copies: 0,
            repaired_deletes: 0,
            members: members.collect(),
        }
    }

    /// Compares the members.
    ///
    /// # Errors
    /// The comparison came to no end.
    pub async fn reconcile(&self, _how: Reconcile) -> Result<ReconcileReport, StoreError> {
        let detail = "the comparison of members is not built yet";
        Err(StoreError::new(ErrorKind::Unsupported, self.provider(), detail))
    }

    fn first(&self) -> &dyn Backend {
        &*self.members[0].backend
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Backend for Pool {
    fn provider(&self) -> Provider {
        self.first().provider()
    }

    fn capabilities(&self) -> Capabilities {
        self.first().capabilities()
    }

    async fn put(
        &self,
        key: &ObjectKey,
        payload: Payload,
        attributes: Attributes,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.first().put(key, payload, attributes, mode).await
    }

    async fn get(&self, key: &ObjectKey, options: GetOptions) -> Result<Retrieved, StoreError> {
        self.first().get(key, options).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        self.first().head(key).await
    }

    async fn delete(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        self.first().delete(key, if_match).await
    }

    async fn delete_many(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>> {
        self.first().delete_many(keys).await
    }

    async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        self.first().list(request).await
    }

    async fn copy(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.first().copy(source, destination, mode).await
    }

    async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        self.first().rename(source, destination, mode).await
    }

    async fn presign(
        &self,
        key: &ObjectKey,
        method: &PresignMethod,
        expires_in: Duration,
    ) -> Result<Presigned, StoreError> {
        self.first().presign(key, method, expires_in).await
    }

    async fn usage(&self) -> Result<Usage, StoreError> {
        self.first().usage().await
    }

    async fn probe(&self) -> Result<(), StoreError> {
        self.first().probe().await
    }
}
