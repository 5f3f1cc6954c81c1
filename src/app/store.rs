//! Everything that is configured to keep proofs, as one backend.
//!
//! ```text
//! one:      member
//! several:  inventory ▸ pool ─┬─ member   inventory ▸ metered ▸ retry ▸ breaker ▸ limit ▸ timeout ▸ s3
//!                             └─ member   metered ▸ timeout ▸ embedded
//! ```
//! A member's inventory counts that member; the pool's counts each proof once, however many copies
//! there are.

use std::path::Path;
use std::sync::Arc;

use super::StartError;
use super::member::{Company, Member};
use crate::backend::Backend;
use crate::config::{Config, PoolConfig};
use crate::http::{self, BreakerStands, BreakerView, PoolState, PoolView};
use crate::layer::{BreakerStatus, Inventory, InventoryPolicy};
use crate::model::StoreError;
use crate::pool::{MemberSetup, Pool, PoolPolicy, Reconcile, ReconcileReport};
use crate::telemetry::{MemberFigures, Metrics, PoolFigures};
use crate::vault::{Holds, HoldsPlace, Monitor};

/// All members, and what makes one backend of them.
pub(super) struct Store {
    members: Vec<Member>,
    pool: Option<Counted>,
}

/// A pool, and what counts it.
struct Counted {
    pool: Arc<Pool>,
    inventory: Arc<Inventory>,
}

impl Store {
    /// Opens or connects every member.
    pub(super) async fn open(
        config: &Config,
        spool_folder: &Path,
        metrics: &Metrics,
    ) -> Result<Self, StartError> {
        let mut members = Vec::with_capacity(config.backends.len());
        let company = if config.backends.len() > 1 { Company::Pool } else { Company::Alone };
        for backend in &config.backends {
            members.push(Member::open(backend, &config.storage, company, metrics).await?);
        }
        if members.is_empty() {
            return Err(StartError::NoBackend);
        }
        let pool = (members.len() > 1).then(|| pool_of(config, &members, spool_folder));
        Ok(Self { members, pool })
    }

    /// What the vault is given.
    pub(super) fn backend(&self) -> Arc<dyn Backend> {
        match &self.pool {
            Some(counted) => counted.inventory.clone(),
            None => self.members[0].backend.clone(),
        }
    }

    /// What goes on beside the requests for as long as the service lives.
    pub(super) fn background(&self) -> Vec<tokio::task::JoinHandle<()>> {
        let mut tasks = Vec::new();
        for member in &self.members {
            tasks.push(tokio::spawn(member.learn()));
            tasks.push(tokio::spawn(member.count()));
        }
        if let Some(Counted { pool, inventory }) = &self.pool {
            let (pool, inventory) = (Arc::clone(pool), Arc::clone(inventory));
            tasks.push(tokio::spawn(async move { pool.run().await }));
            tasks.push(tokio::spawn(async move { inventory.keep().await }));
        }
        tasks
    }

    /// Begins to probe every member; all first probes run at once.
    pub(super) async fn watched(&self) -> (Vec<http::Member>, Vec<tokio::task::JoinHandle<()>>) {
        let starting = self.members.iter().map(|member| async {
            let config = &member.config;
            let (monitor, task) = Monitor::start(
                Arc::clone(&config.name),
                Arc::clone(&member.backend),
                member.damage(),
                config.probe_interval,
                config.timeout,
                Arc::clone(&member.news),
            )
            .await;
            let breaker = member.breaker.clone().map(|handle| {
                let view: BreakerView = Box::new(move || {
                    let BreakerStatus { state, last_error, .. } = handle.status();
                    BreakerStands { state, last_error }
                });
                view
            });
            let (role, quota_bytes) = (config.role, config.quota_bytes);
            (http::Member { role, quota_bytes, monitor, breaker }, task)
        });
        futures_util::future::join_all(starting).await.into_iter().unzip()
    }

    /// Finds out once what every member can do.
    pub(super) async fn learn_now(&self) {
        futures_util::future::join_all(self.members.iter().map(Member::learn_now)).await;
    }

    /// Whether all of it is in folders that belong to this process alone.
    pub(super) fn is_embedded(&self) -> bool {
        self.members.iter().all(|member| member.config.local().is_some())
    }

    /// How the pool stands, where there is one.
    pub(super) fn pool_view(&self) -> Option<PoolView> {
        self.pool.as_ref().map(|counted| pool_view(Arc::clone(&counted.pool)))
    }

    /// Has holds be noted in each member, and wait where the pool may not know of the newest one.
    pub(super) fn seen_by(&self, holds: Holds) -> Holds {
        let Some(Counted { pool, .. }) = &self.pool else { return holds };
        let pool = Arc::clone(pool);
        let places = self.members.iter().map(|member| HoldsPlace {
            name: Arc::clone(&member.config.name),
            location: member.config.location(),
            store: Arc::clone(&member.backend),
            takes_writes: member.config.role.takes_writes(),
        });
        holds.seeing(move || pool.has_read_all()).kept_at(places.collect())
    }

    /// Compares the members; nothing where there is only one.
    ///
    /// # Errors
    /// The comparison came to no end.
    pub(super) async fn reconcile(
        &self,
        how: Reconcile,
    ) -> Option<Result<ReconcileReport, StoreError>> {
        let Counted { pool, .. } = self.pool.as_ref()?;
        self.learn_now().await;
        Some(pool.reconcile(how).await)
    }

    /// Finishes what is under way.
    pub(super) async fn close(self) {
        for member in self.members {
            member.close().await;
        }
    }
}

fn pool_of(config: &Config, members: &[Member], spool_folder: &Path) -> Counted {
    let setup = members.iter().map(|member| MemberSetup {
        name: Arc::clone(&member.config.name),
        backend: Arc::clone(&member.backend),
        role: member.config.role,
        quota_bytes: member.config.quota_bytes,
    });
    let PoolConfig { mode, min_copies, hedge_percent, inventory_interval } = config.pool;
    let prefix = config.storage.namespace.prefix();
    let mut policy = PoolPolicy::new(mode, min_copies, prefix, spool_folder);
    policy.hedge_share = f64::from(hedge_percent) / 100.0;
    let pool = Pool::new(setup.collect(), policy);
    let policy = InventoryPolicy::new(prefix, inventory_interval).of_pool();
    let inventory = Arc::new(Inventory::new(pool.clone(), policy));
    Counted { pool, inventory }
}

/// Tells how a pool stands, in the words of answers and metrics.
pub fn pool_view(pool: Arc<Pool>) -> PoolView {
    Box::new(move || {
        let status = pool.status();
        let members = status.members.into_iter().map(|member| MemberFigures {
            name: member.name.into(),
            repairs_pending: member.pending_repairs,
            full: member.full,
            complete: member.complete,
        });
        PoolState {
            mode: status.mode,
            min_copies: status.min_copies,
            repairs_pending: status.repairs_pending,
            figures: PoolFigures {
                members: members.collect(),
                oldest_repair: status.oldest_repair.unwrap_or_default(),
                divergent: status.divergent,
                conflicts: status.conflicts,
                quarantined: status.quarantined,
                hedges_sent: status.hedges_sent,
                hedges_won: status.hedges_won,
                failovers: status.failovers,
                repaired_copies: status.repaired_copies,
                repaired_deletes: status.repaired_deletes,
            },
        }
    })
}
