//! A batch delete while a member of the pool is dark: what is called deleted is gone for good, and nothing else is.
//! Members are stores in memory that fail on purpose: a simulation.

use std::collections::BTreeSet;
use std::sync::Arc;

use proof_storage::backend::Backend as _;
use proof_storage::backend::faulty::{Chance, Fault, Operation};
use proof_storage::model::{ErrorKind, ObjectKey, PoolMode};
use proof_storage::pool::{MemberSetup, Planted, Pool, PoolPolicy};
use proof_storage::vault::Holds;
use serde_json::json;

use super::client::Client;
use super::pool::{Store, darken, members};
use crate::pool::ring::settle;

const KEYS: [&str; 3] = ["a", "b", "c"];

struct Service {
    client: Client,
    pool: Arc<Pool>,
    stores: [Store; 2],
    members: Vec<MemberSetup>,
    mode: PoolMode,
    holds: bool,
    planted: Option<Planted>,
}

impl Service {
    /// With every key stored, and everything as it should be.
    async fn new(mode: PoolMode, holds: bool, planted: Option<Planted>) -> Self {
        let (stores, members) = members(["far", "near"]);
        let (client, pool) = start(&members, mode, holds, planted).await;
        let service = Self { client, pool, stores, members, mode, holds, planted };
        settle(&service.pool).await;
        for key in KEYS {
            assert_eq!(service.client.put(&path(key), key).await.status, 201);
        }
        settle(&service.pool).await;
        service
    }

    /// Deletes all keys, and one that never was, in one call: those that are called deleted, and of the others
    /// the code.
    async fn delete(&self) -> (BTreeSet<String>, Vec<(String, String)>) {
        let keys = [&KEYS[..], &["never"]].concat();
        let answer = self.client.post_json("/v1/batch-delete", json!({ "keys": keys })).await;
        assert_eq!(answer.status, 200);
        let told = answer.json();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let deleted: BTreeSet<_> = told["deleted"].as_array().unwrap().iter().map(text).collect();
        let failed = told["failed"].as_array().unwrap().iter();
        let failed: Vec<_> =
            failed.map(|failed| (text(&failed["key"]), text(&failed["code"]))).collect();
        assert_eq!(deleted.len() + failed.len(), keys.len(), "each key once: {told}");
        (deleted, failed)
    }

    /// The members are there again, the process is another one that knows only what they keep, and all repairs
    /// are done.
    async fn recover(&mut self) {
        self.stores.iter().for_each(|store| store.set_chances([]));
        let started = start(&self.members, self.mode, self.holds, self.planted).await;
        (self.client, self.pool) = started;
        settle(&self.pool).await;
    }

    /// What came back of what was called deleted, at a member or to a reader.
    async fn undead(&self, deleted: &BTreeSet<String>) -> Vec<String> {
        let mut undead = Vec::new();
        for name in deleted {
            let key = ObjectKey::new(format!("proofs/{name}"));
            let mut is_there = self.client.get(&path(name)).await.status != 404;
            for store in &self.stores {
                is_there |= store.inner().head(&key).await.is_ok();
            }
            undead.extend(is_there.then(|| name.clone()));
        }
        undead
    }
}

async fn start(
    members: &[MemberSetup],
    mode: PoolMode,
    holds: bool,
    planted: Option<Planted>,
) -> (Client, Arc<Pool>) {
    let mut policy = PoolPolicy::new(mode, 1, "proofs/", std::env::temp_dir());
    policy.planted = planted;
    let pool = Pool::new(members.to_vec(), policy);
    let kept = if holds { Holds::on() } else { Holds::unless_marked() };
    if !holds {
        kept.clone().settle(pool.clone()).await;
    }
    (Client::over_pool(Arc::clone(&pool), members, kept).await, pool)
}

fn path(key: &str) -> String {
    format!("/v1/proofs/{key}")
}

fn all() -> BTreeSet<String> {
    KEYS.iter().chain(&["never"]).map(|key| (*key).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_called_deleted_stays_deleted_whichever_member_was_dark() {
    for mode in [PoolMode::Mirror, PoolMode::Fallback] {
        for (dark, holds) in [(0, false), (1, false), (0, true), (1, true)] {
            let how = format!("{mode:?}, {dark} is dark, holds: {holds}");
            let mut service = Service::new(mode, holds, None).await;
            darken(&service.stores[dark]);
            let (deleted, failed) = service.delete().await;
            // Whether a proof is held, only the home of a fallback could say.
            let cannot_look = mode == PoolMode::Fallback && dark == 0 && holds;
            if cannot_look {
                assert!(KEYS.iter().all(|key| !deleted.contains(*key)), "{how}: {deleted:?}");
                assert!(failed.iter().all(|(_, code)| code == "UNAVAILABLE"), "{how}: {failed:?}");
            } else {
                assert_eq!(deleted, all(), "{how}: {failed:?}");
                for key in KEYS {
                    assert_eq!(service.client.get(&path(key)).await.status, 404, "{how}: {key}");
                }
            }
            service.recover().await;
            assert_eq!(service.undead(&deleted).await, [""; 0], "{how}");
            // And what was refused is still there.
            for (key, _) in failed.iter().filter(|(key, _)| key != "never") {
                assert_eq!(service.client.get(&path(key)).await.body, key.as_bytes(), "{how}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_down_is_not_called_deleted() {
    for mode in [PoolMode::Mirror, PoolMode::Fallback] {
        let service = Service::new(mode, false, None).await;
        darken(&service.stores[0]);
        // It deletes, and takes no tombstone.
        let fault = Fault::Refuse(ErrorKind::Unavailable);
        service.stores[1].set_chances([Chance {
            operation: Operation::Put,
            fault,
            probability: 1.0,
        }]);
        let (deleted, failed) = service.delete().await;
        assert!(KEYS.iter().all(|key| !deleted.contains(*key)), "{mode:?}: {deleted:?}");
        for (key, _) in &failed {
            let status = service.client.get(&path(key)).await.status;
            assert_ne!(status, 404, "{mode:?}: nobody knows whether {key} is gone");
        }
    }
    // And with nobody left at all.
    let service = Service::new(PoolMode::Mirror, false, None).await;
    service.stores.iter().for_each(darken);
    assert_eq!(service.delete().await.0, BTreeSet::new());
}

/// The control: a pool that acknowledges without a tombstone is found out.
#[tokio::test(start_paused = true)]
async fn a_delete_that_is_not_written_down_comes_back() {
    let mut service = Service::new(PoolMode::Mirror, false, Some(Planted::DropTombstone)).await;
    darken(&service.stores[1]);
    let (deleted, _) = service.delete().await;
    assert_eq!(deleted, all());
    service.recover().await;
    assert_ne!(service.undead(&deleted).await, [""; 0]);
}
