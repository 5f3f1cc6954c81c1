//! `quota_bytes`: a full member is passed over for writes, and takes again what it has room for.

use std::sync::Arc;
use std::time::Duration;

use proof_storage::backend::Backend;
use proof_storage::backend::memory::Memory;
use proof_storage::layer::{Inventory, InventoryPolicy};
use proof_storage::model::{ErrorKind, PoolMode, PutMode, Role};
use proof_storage::pool::{MemberSetup, Pool, PoolPolicy};

use super::ring::{NAMESPACE, create, key, put, settle};

/// Bytes of each proof.
const BYTES: usize = 100;

/// Members that are counted as buckets are: by a walk, and by what this process did since.
struct Counted {
    members: Vec<Arc<Inventory>>,
    pool: Arc<Pool>,
    _spool: tempfile::TempDir,
}

impl Counted {
    async fn new(mode: PoolMode, quotas: [Option<u64>; 2]) -> Self {
        let policy = InventoryPolicy::new(NAMESPACE, Duration::from_secs(3600)).in_memory();
        let counted = |_| Arc::new(Inventory::new(Arc::new(Memory::new()), policy.clone()));
        let members: Vec<_> = (0..2).map(counted).collect();
        let spool = tempfile::tempdir().unwrap();
        let setups =
            members.iter().zip(quotas).enumerate().map(|(place, (member, quota_bytes))| {
                let backend = Arc::clone(member) as Arc<dyn Backend>;
                MemberSetup {
                    name: format!("m{place}").into(),
                    backend,
                    role: Role::ReadWrite,
                    quota_bytes,
                }
            });
        let policy = PoolPolicy::new(mode, 1, NAMESPACE, spool.path());
        let pool = Pool::new(setups.collect(), policy);
        settle(&pool).await;
        for member in &members {
            member.take().await.unwrap();
        }
        Self { members, pool, _spool: spool }
    }

    /// Stores one more, and has the members be compared with their quotas.
    async fn store(&self, name: &str) -> Result<(), ErrorKind> {
        let text = "x".repeat(BYTES);
        let stored = put(&*self.pool, name, &text, PutMode::Create).await;
        self.pool.round().await;
        stored.map(drop).map_err(|error| error.kind())
    }

    async fn has(&self, member: usize, name: &str) -> bool {
        self.members[member].head(&key(name)).await.is_ok()
    }
}

#[tokio::test]
async fn a_full_home_is_passed_over_and_takes_again_when_it_has_room() {
    let bytes = BYTES as u64;
    let pool = Counted::new(PoolMode::Fallback, [Some(3 * bytes), Some(2 * bytes)]).await;
    // As many as its quota says, and not half as many.
    for name in ["a", "b", "c"] {
        pool.store(name).await.unwrap();
        assert!(pool.has(0, name).await, "{name}");
    }
    for name in ["d", "e"] {
        pool.store(name).await.unwrap();
        assert!(pool.has(1, name).await && !pool.has(0, name).await, "{name}");
    }
    assert_eq!(pool.store("f").await, Err(ErrorKind::QuotaExceeded), "507: all are full");
    assert!(pool.pool.status().members.iter().all(|member| member.full));
    // Reads and deletes go on.
    pool.pool.head(&key("a")).await.unwrap();
    for name in ["a", "b"] {
        pool.pool.delete(&key(name), None).await.unwrap();
    }
    pool.pool.round().await;
    assert!(!pool.pool.status().members[0].full);
    pool.store("g").await.unwrap();
    assert!(pool.has(0, "g").await);
}

#[tokio::test]
async fn a_mirror_with_one_full_home_goes_on() {
    let bytes = BYTES as u64;
    let pool = Counted::new(PoolMode::Mirror, [Some(bytes), None]).await;
    create(&*pool.pool, "first", &"x".repeat(BYTES)).await;
    settle(&pool.pool).await;
    pool.pool.round().await;
    pool.store("a").await.unwrap();
    assert!(!pool.has(0, "a").await && pool.has(1, "a").await);
    pool.pool.head(&key("a")).await.unwrap();
}
