//! Members that fail on purpose, and replicas of the service over them, on a clock of the test's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use proof_storage::backend::Backend;
use proof_storage::backend::faulty::{Chance, Fault, Faulty, Operation};
use proof_storage::backend::memory::Memory;
use proof_storage::model::{
    Attributes, Digest, ErrorKind, GetOptions, ListRequest, ObjectKey, Payload, PoolMode, PutMode,
    Representation, Role, StoreError, Stored,
};
use proof_storage::pool::{MemberSetup, Planted, Pool, PoolPolicy, WallClock};
use tokio::time::Instant;

use super::late::Late;
use super::process::{Process, Wire};

/// What the names of proofs begin with.
pub const NAMESPACE: &str = "proofs/";

/// Members `m0`, `m1`, … that outlive the replicas over them.
pub struct Ring {
    pub members: Vec<Arc<Late<Faulty<Memory>>>>,
    pub mode: PoolMode,
    pub min_copies: usize,
    pub planted: Option<Planted>,
    /// Of all reads of a mirror, so many may be asked a second time.
    pub hedge_share: f64,
    /// Names that the background looks at in a second.
    pub repair_rate: u32,
    roles: Vec<Role>,
    writers: AtomicU32,
    began: Instant,
    spool: tempfile::TempDir,
}

impl Ring {
    pub fn new(mode: PoolMode, members: usize) -> Self {
        Self {
            members: (0..members)
                .map(|seed| Arc::new(Late::new(Faulty::new(Memory::new(), seed as u64))))
                .collect(),
            mode,
            min_copies: 1,
            planted: None,
            hedge_share: 0.05,
            repair_rate: 1_000_000,
            roles: vec![Role::ReadWrite; members],
            writers: AtomicU32::new(1),
            began: Instant::now(),
            spool: tempfile::tempdir().expect("a folder"),
        }
    }

    pub fn with_role(mut self, member: usize, role: Role) -> Self {
        self.roles[member] = role;
        self
    }

    /// A replica of the service: it knows nothing but what the members keep.
    pub fn replica(&self) -> Arc<Pool> {
        self.replica_of(&Arc::new(Process::prompt()))
    }

    /// A replica that is this process.
    pub fn replica_of(&self, process: &Arc<Process>) -> Arc<Pool> {
        let setups = self.members.iter().zip(&self.roles).enumerate();
        let setups = setups.map(|(place, (member, &role))| MemberSetup {
            name: format!("m{place}").into(),
            backend: Arc::new(Wire { process: Arc::clone(process), member: Arc::clone(member) }),
            role,
            quota_bytes: None,
        });
        let (process, began) = (Arc::clone(process), self.began);
        let now = move || -> SystemTime {
            // Somewhere in 2026, and then as the test's time goes.
            let millis = 1_800_000_000_000 + began.elapsed().as_millis() as i64;
            let millis = millis + process.skew.load(Ordering::Relaxed);
            UNIX_EPOCH + Duration::from_millis(millis as u64)
        };
        let mut policy = PoolPolicy::new(self.mode, self.min_copies, NAMESPACE, self.spool.path());
        policy.wall = WallClock::new(now);
        policy.writer = self.writers.fetch_add(1, Ordering::Relaxed);
        policy.planted = self.planted;
        policy.hedge_share = self.hedge_share;
        policy.repair_rate = self.repair_rate;
        Pool::new(setups.collect(), policy)
    }

    /// A member refuses connections.
    pub fn darken(&self, member: usize) {
        self.strike(member, Fault::Refuse(ErrorKind::Unavailable));
    }

    /// Every call of a member meets this.
    pub fn strike(&self, member: usize, fault: Fault) {
        let chance = |operation| Chance { operation, fault, probability: 1.0 };
        self.members[member].inner().set_chances(Operation::ALL.map(chance));
    }

    pub fn heal(&self, member: usize) {
        self.members[member].inner().set_chances([]);
    }

    /// A member takes so long for each call.
    pub fn slow(&self, member: usize, millis: u64) {
        self.strike(member, Fault::Delay(Duration::from_millis(millis)));
    }

    /// And so long for its next read of a proof.
    pub fn slow_next(&self, member: usize, millis: u64) {
        let delay = Fault::Delay(Duration::from_millis(millis));
        self.members[member].inner().script(Operation::Get, [delay]);
    }

    /// Reads of proofs that a member was asked for while it was slow or failing.
    pub fn asked(&self, member: usize) -> usize {
        let injected = self.members[member].inner().injected();
        injected.iter().filter(|(operation, _)| *operation == Operation::Get).count()
    }

    /// What is behind a member's faults.
    pub fn store(&self, member: usize) -> &Memory {
        self.members[member].inner().inner()
    }

    /// What a member really has, whatever it says.
    pub async fn kept(&self, member: usize, name: &str) -> Option<String> {
        read(self.store(member), name).await.ok()
    }

    /// Puts bytes into a member behind everybody's back, under what was said of the old ones.
    pub async fn corrupt(&self, member: usize, name: &str) {
        let store = self.store(member);
        let meta = store.head(&key(name)).await.expect("something to corrupt");
        let wrong = Payload::Bytes(Bytes::from_static(b"wrong"));
        store.put(&key(name), wrong, meta.attributes, PutMode::Overwrite).await.expect("memory");
    }

    /// Names that a member has below a prefix.
    pub async fn names(&self, member: usize, prefix: &str) -> Vec<String> {
        let request =
            ListRequest { prefix: prefix.into(), delimiter: None, limit: 1000, after: None };
        let page = self.store(member).list(&request).await.expect("memory");
        page.items.into_iter().map(|item| item.key.to_string()).collect()
    }
}

/// Lets a replica's background work until nothing is left that can be done now.
pub async fn settle(replica: &Pool) {
    settle_within(replica, 50).await;
}

/// The same, for so many rounds at most: where a member is dark there always is something left.
pub async fn settle_within(replica: &Pool, rounds: usize) {
    for _ in 0..rounds {
        if !replica.round().await {
            return;
        }
        // Another replica's lease may have to run out.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

pub fn key(name: &str) -> ObjectKey {
    ObjectKey::new(format!("{NAMESPACE}{name}"))
}

pub fn attributes(bytes: &[u8]) -> Attributes {
    let (sha256, size) = (Digest::of(bytes), bytes.len() as u64);
    let representation = Some(Representation { sha256, size, stored_sha256: sha256 });
    Attributes { representation, ..Attributes::new("application/c2pa") }
}

pub async fn put(
    store: &dyn Backend,
    name: &str,
    text: &str,
    mode: PutMode,
) -> Result<Stored, StoreError> {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    let attributes = attributes(&bytes);
    store.put(&key(name), bytes.into(), attributes, mode).await
}

pub async fn create(store: &dyn Backend, name: &str, text: &str) {
    put(store, name, text, PutMode::Create).await.expect("a create is acknowledged");
}

/// The whole text; `NotFound` where there is none.
pub async fn read(store: &dyn Backend, name: &str) -> Result<String, ErrorKind> {
    let found = store.get(&key(name), GetOptions::default()).await.map_err(|e| e.kind())?;
    let bytes = found.body.collect().await.map_err(|e| e.kind())?;
    Ok(String::from_utf8(bytes.to_vec()).expect("text"))
}

/// Names of proofs as listed.
pub async fn list(store: &dyn Backend) -> Result<Vec<String>, ErrorKind> {
    let request =
        ListRequest { prefix: NAMESPACE.into(), delimiter: None, limit: 1000, after: None };
    let page = store.list(&request).await.map_err(|error| error.kind())?;
    let names = page.items.iter().map(|item| item.key.as_str()[NAMESPACE.len()..].to_owned());
    Ok(names.collect())
}
