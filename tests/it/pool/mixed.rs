//! Pools of members of different kinds: each in a personality of the in-process S3, or the embedded
//! store. What one of them does by itself, another one may be unable to do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fake_s3::{FakeS3, Personality};
use proof_storage::backend::Backend;
use proof_storage::backend::faulty::{Chance, Fault, Faulty, Operation};
use proof_storage::model::{
    Attributes, Encryption, ErrorKind, GetOptions, ListRequest, ObjectMeta, PoolMode,
    PresignMethod, Provider, PutMode, Role, Support,
};
use proof_storage::pool::{MemberSetup, Pool, PoolPolicy, Reconcile};

use super::ring::{NAMESPACE, attributes, create, key, put, read, settle};
use crate::s3::examined;

struct Kinds {
    servers: Vec<FakeS3>,
    members: Vec<Arc<Faulty<proof_storage::backend::s3::S3>>>,
    mode: PoolMode,
    spool: tempfile::TempDir,
}

impl Kinds {
    async fn start(mode: PoolMode, personalities: &[Personality]) -> Self {
        let (mut servers, mut members) = (Vec::new(), Vec::new());
        for &personality in personalities {
            let server = FakeS3::start(personality).expect("the server starts");
            // Of a second: nothing here is about it.
            server.set_write_interval(None);
            members.push(Arc::new(Faulty::new(member(&server, personality).await, 1)));
            servers.push(server);
        }
        Self { servers, members, mode, spool: tempfile::tempdir().expect("a folder") }
    }

    fn pool(&self) -> Arc<Pool> {
        let members = self.members.iter().map(|member| Arc::clone(member) as Arc<dyn Backend>);
        pool(self.mode, members.collect(), self.spool.path())
    }

    fn darken(&self, member: usize) {
        let fault = Fault::Refuse(ErrorKind::Unavailable);
        let chance = |operation| Chance { operation, fault, probability: 1.0 };
        self.members[member].set_chances(Operation::ALL.map(chance));
    }

    fn heal(&self, member: usize) {
        self.members[member].set_chances([]);
    }

    async fn at(&self, member: usize, name: &str) -> Option<ObjectMeta> {
        self.members[member].inner().head(&key(name)).await.ok()
    }
}

fn pool(mode: PoolMode, members: Vec<Arc<dyn Backend>>, spool: &std::path::Path) -> Arc<Pool> {
    let setup = |(place, backend)| MemberSetup {
        name: format!("m{place}").into(),
        backend,
        role: Role::ReadWrite,
        quota_bytes: None,
    };
    let setups = members.into_iter().enumerate().map(setup).collect();
    Pool::new(setups, PoolPolicy::new(mode, 1, NAMESPACE, spool))
}

async fn member(server: &FakeS3, personality: Personality) -> proof_storage::backend::s3::S3 {
    let provider = if personality == Personality::R2 { Provider::R2 } else { Provider::S3 };
    examined(server, provider).await.0
}

/// AWS encrypts everything by itself and says so; the others refuse to be asked for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_asks_for_nothing_that_only_its_source_does_by_itself() {
    use Personality::{Aws, Garage, R2};
    for kinds in [[Garage, Aws], [Aws, R2], [R2, Aws], [Aws, Aws]] {
        for mode in [PoolMode::Fallback, PoolMode::Mirror] {
            let members = Kinds::start(mode, &kinds).await;
            let pool = members.pool();
            pool.round().await;
            for dark in [0, 1] {
                let name = format!("written-without-{dark}");
                members.darken(dark);
                create(&*pool, &name, "proof").await;
                members.heal(dark);
                settle(&pool).await;
                assert_eq!(pool.status().repairs_pending, 0, "{kinds:?} {mode:?} {dark}");
                for place in [0, 1] {
                    let belongs = place == 0 || mode == PoolMode::Mirror;
                    let there = members.at(place, &name).await.is_some();
                    assert_eq!(there, belongs, "{kinds:?} {mode:?}: {name} at {place}");
                }
            }
            let (source, copy) = (key("written-without-0"), key("copy"));
            pool.copy(&source, &copy, PutMode::Create).await.expect("a copy is made");
            pool.rename(&copy, &key("moved"), PutMode::Create).await.expect("a move is made");
            assert_eq!(read(&*pool, "moved").await.as_deref(), Ok("proof"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_asked_for_travels() {
    let members = Kinds::start(PoolMode::Mirror, &[Personality::Aws, Personality::Aws]).await;
    let pool = members.pool();
    pool.round().await;
    members.darken(1);
    let wish = Attributes { encryption: Encryption::Kms, ..attributes(b"proof") };
    let proof = Bytes::from_static(b"proof");
    let stored = pool.put(&key("secret"), proof.into(), wish, PutMode::Create).await;
    stored.expect("it is stored");
    members.heal(1);
    settle(&pool).await;
    pool.copy(&key("secret"), &key("copy"), PutMode::Create).await.expect("a copy is made");
    for name in ["secret", "copy"] {
        for place in [0, 1] {
            let meta = members.at(place, name).await.expect("it is there");
            assert_eq!(meta.attributes.encryption, Encryption::Kms, "{name} at {place}");
        }
    }
}

/// What is stored past a pool would have no version: the service signs such URLs itself.
#[tokio::test(flavor = "multi_thread")]
async fn urls_of_a_members_own_are_for_reading() {
    let members = Kinds::start(PoolMode::Mirror, &[Personality::Aws, Personality::Aws]).await;
    let pool = members.pool();
    create(&*pool, "a", "proof").await;
    let can = pool.capabilities();
    assert_eq!((can.presign, can.presign_put), (Support::Native, Support::No));
    let hour = Duration::from_secs(3600);
    pool.presign(&key("a"), &PresignMethod::Get, hour).await.expect("a URL for reading");
    let put = PresignMethod::Put { create_only: false, content_type: None };
    let refused = pool.presign(&key("a"), &put, hour).await.expect_err("none for storing");
    assert_eq!(refused.kind(), ErrorKind::Unsupported);
}

/// A copy that stands in for its home's is moved there: a URL of it would end long before its time.
#[tokio::test(flavor = "multi_thread")]
async fn no_url_is_of_a_copy_that_will_be_moved() {
    let members = Kinds::start(PoolMode::Fallback, &[Personality::Aws, Personality::Aws]).await;
    let pool = members.pool();
    settle(&pool).await;
    let hour = Duration::from_secs(3600);
    create(&*pool, "home", "proof").await;
    members.darken(0);
    create(&*pool, "away", "proof").await;
    let refused = pool.presign(&key("away"), &PresignMethod::Get, hour).await.expect_err("none");
    assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
    members.heal(0);
    settle(&pool).await;
    assert!(members.at(0, "away").await.is_some() && members.at(1, "away").await.is_none());
    for name in ["home", "away"] {
        let url = pool.presign(&key(name), &PresignMethod::Get, hour).await.expect("a URL").url;
        assert!(url.starts_with(&members.servers[0].endpoint().to_string()), "{url}");
    }
}

/// What cannot be written to limits nothing that is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_member_limits_reading_only() {
    let members = Kinds::start(PoolMode::Fallback, &[Personality::Aws, Personality::Garage]).await;
    let of = |role| {
        let roles = [Role::ReadWrite, role];
        let setup = members.members.iter().zip(roles).enumerate().map(|(place, (member, role))| {
            let backend = Arc::clone(member) as Arc<dyn Backend>;
            MemberSetup { name: format!("m{place}").into(), backend, role, quota_bytes: None }
        });
        let policy = PoolPolicy::new(PoolMode::Fallback, 1, NAMESPACE, members.spool.path());
        Pool::new(setup.collect(), policy).capabilities()
    };
    let (archive, other) = (of(Role::ReadOnly), of(Role::ReadWrite));
    assert_eq!((archive.encryption_kms, other.encryption_kms), (Support::Native, Support::No));
    assert_eq!((archive.create_only, other.create_only), (Support::Native, Support::Gateway));
}

/// Where what is said of the bytes is damaged, nobody can tell whether they are right: they are kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_which_nothing_can_be_told_is_kept_aside_before_it_is_replaced() {
    let members = Kinds::start(PoolMode::Mirror, &[Personality::Aws, Personality::Garage]).await;
    let pool = members.pool();
    create(&*pool, "a", "proof").await;
    let name = key("a");
    members.servers[1].alter_raw(name.as_str(), |object| {
        object.bytes = b"other".to_vec().into();
        object.headers.metadata.insert("proof-storage-sha256".into(), "garbled".into());
    });
    let how = Reconcile { dry_run: false, verify_bytes: true };
    let report = pool.reconcile(how).await.expect("it is compared");
    assert_eq!((report.corrupt, report.quarantined, report.failed), (1, 1, 0), "{report:?}");
    let found = members.members[1].inner().get(&name, GetOptions::default()).await.unwrap();
    assert_eq!(found.body.collect().await.unwrap(), b"proof".as_slice());
    let prefix = ".proof-storage/pool/".to_owned();
    let request = ListRequest { prefix, delimiter: None, limit: 1000, after: None };
    let records = members.members[1].inner().list(&request).await.expect("it is listed").items;
    let names = records.into_iter().map(|item| item.key.to_string());
    let aside: Vec<String> = names.filter(|name| name.contains("/quarantine/")).collect();
    assert_eq!(aside.len(), 2, "the copy and its note: {aside:?}");
    let bytes = |key: &str| members.servers[1].raw(key).expect("it is there").bytes.clone();
    assert!(aside.iter().any(|key| bytes(key) == b"other".as_slice()), "{aside:?}");

    // Another replica knows of it, until a person has looked and cleared it.
    let other = members.pool();
    other.round().await;
    assert_eq!(other.status().quarantined, 1);
    for key in &aside {
        members.servers[1].remove_raw(key);
    }
    other.round().await;
    assert_eq!(other.status().quarantined, 0);
}

/// One member compares and writes in one step, the one before it does not: the former decides.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_race_are_told_apart_by_the_member_that_can() {
    const KEYS: usize = 100;
    let kinds = [Personality::Garage, Personality::Aws];
    let members = Kinds::start(PoolMode::Mirror, &kinds).await;
    let mut replicas = Vec::new();
    for _ in 0..2 {
        // With connections and turns of its own, as a process has.
        let mut stores: Vec<Arc<dyn Backend>> = Vec::new();
        for (server, personality) in members.servers.iter().zip(kinds) {
            stores.push(Arc::new(member(server, personality).await));
        }
        replicas.push(pool(PoolMode::Mirror, stores, members.spool.path()));
    }
    let mut winners = vec![Vec::new(); KEYS];
    for (number, winners) in winners.iter_mut().enumerate() {
        let name = format!("k{number}");
        let attempts = (0..8).map(|attempt| {
            let (replica, name) = (Arc::clone(&replicas[attempt % 2]), name.clone());
            tokio::spawn(async move {
                let text = format!("of {attempt}");
                let stored = put(&*replica, &name, &text, PutMode::Create).await;
                stored.is_ok().then_some(text)
            })
        });
        for attempt in attempts.collect::<Vec<_>>() {
            winners.extend(attempt.await.expect("no panic"));
        }
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    for (number, winners) in winners.iter().enumerate() {
        assert_eq!(winners.len(), 1, "k{number} was created by {winners:?}");
        for replica in &replicas {
            let served = read(&**replica, &format!("k{number}")).await;
            assert_eq!(served.as_ref(), Ok(&winners[0]), "k{number}");
        }
    }
}
