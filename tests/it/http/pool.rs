//! What a service over several backends tells about them, and what it answers when they are dark.

use std::sync::Arc;
use std::time::Duration;

use fake_s3::{FakeS3, Personality};
use proof_storage::backend::Backend;
use proof_storage::backend::faulty::{Chance, Fault, Faulty, Operation};
use proof_storage::backend::memory::Memory;
use proof_storage::http::PoolState;
use proof_storage::model::{ErrorKind, PoolMode, Provider, Role};
use proof_storage::pool::MemberSetup;
use proof_storage::telemetry::{MemberFigures, PoolFigures};
use serde_json::{Value, json};

use super::client::Client;

pub type Store = Arc<Faulty<Memory>>;

/// Members of these names, and the stores behind them.
pub fn members<const N: usize>(names: [&str; N]) -> ([Store; N], Vec<MemberSetup>) {
    let stores = names.map(|_| Arc::new(Faulty::new(Memory::new(), 1)));
    let setups = names.iter().zip(&stores).map(|(&name, store)| MemberSetup {
        name: name.into(),
        backend: store.clone(),
        role: Role::ReadWrite,
        quota_bytes: None,
    });
    let setups = setups.collect();
    (stores, setups)
}

/// Every call is refused, as by a host that is off.
pub fn darken(store: &Store) {
    let fault = Fault::Refuse(ErrorKind::Unavailable);
    store.set_chances(Operation::ALL.map(|operation| Chance {
        operation,
        fault,
        probability: 1.0,
    }));
}

fn statuses(health: &Value) -> Vec<(&str, &str)> {
    let backends = health["backends"].as_array().unwrap().iter();
    backends
        .map(|backend| (backend["name"].as_str().unwrap(), backend["status"].as_str().unwrap()))
        .collect()
}

#[tokio::test]
async fn health_is_of_every_backend_and_of_all_together() {
    for (dark, status, ready, errors) in [
        (&[][..], "ok", 200, 0),
        (&[0], "degraded", 200, 1),
        (&[1], "degraded", 200, 1),
        (&[0, 1], "down", 503, 2),
    ] {
        let (stores, setups) = members(["far", "near"]);
        dark.iter().for_each(|&index: &usize| darken(&stores[index]));
        let (client, _) = Client::pool(setups, PoolMode::Fallback).await;
        let health = client.get("/health").await;
        assert_eq!(health.status, 200);
        let health = health.json();
        assert_eq!(
            (&health["status"], &health["healthy"]),
            (&status.into(), &(ready == 200).into())
        );
        let of = |index| if dark.contains(&index) { "down" } else { "ok" };
        assert_eq!(statuses(&health), [("far", of(0)), ("near", of(1))]);
        let told = health["errors"].as_array().unwrap();
        assert_eq!(told.len(), errors, "{told:?}");
        let names = ["far: ", "near: "];
        for (&index, error) in dark.iter().zip(told) {
            assert!(error.as_str().unwrap().starts_with(names[index]), "{error}");
        }
        let answer = client.get("/health/ready").await;
        assert_eq!(answer.status, ready, "{answer:?}");
        if ready == 503 {
            let reason = answer.json()["reason"].as_str().unwrap().to_owned();
            assert!(reason.contains("far: ") && reason.contains("near: "), "{reason}");
        }
    }
}

/// A pool of which nothing is amiss.
fn well() -> PoolState {
    let member = |name: &str| MemberFigures {
        name: name.into(),
        repairs_pending: 0,
        full: false,
        complete: true,
    };
    let members = vec![member("far"), member("near")];
    PoolState {
        mode: PoolMode::Mirror,
        min_copies: 1,
        repairs_pending: 0,
        figures: PoolFigures { members, ..PoolFigures::default() },
    }
}

#[tokio::test]
async fn what_calls_for_a_person_is_told_by_health() {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    type Change = (fn(&mut PoolState, Duration), Duration, Option<&'static str>);
    let changes: [Change; 8] = [
        (|_, _| {}, minutes(0), None),
        // Work under way is no reason to wake anybody, a delete's quarter of an hour included.
        (|pool, age| pool.figures.oldest_repair = age, minutes(16), None),
        (|pool, age| pool.figures.oldest_repair = age, minutes(30), Some("oldest for 1800 s")),
        (|pool, _| pool.figures.conflicts = 1, minutes(0), Some("exclude each other")),
        (|pool, _| pool.figures.quarantined = 2, minutes(0), Some("2 copies with wrong bytes")),
        (|pool, _| pool.figures.members[0].full = true, minutes(0), None),
        (
            |pool, _| pool.figures.members.iter_mut().for_each(|member| member.full = true),
            minutes(0),
            Some("every backend that takes writes"),
        ),
        (|pool, _| pool.figures.hedges_won = 9, minutes(0), None),
    ];
    for (index, (change, age, told)) in changes.into_iter().enumerate() {
        let mut pool = well();
        change(&mut pool, age);
        let client = Client::standing(pool).await;
        let health = client.get("/health").await.json();
        let status = if told.is_some() { "degraded" } else { "ok" };
        assert_eq!(
            (&health["status"], &health["healthy"]),
            (&status.into(), &true.into()),
            "{index}"
        );
        let errors = health["errors"].to_string();
        assert!(errors.contains(told.unwrap_or("[]")), "{index}: {errors}");
        assert_eq!(client.get("/health/ready").await.status, 200, "{index}");
    }
}

#[tokio::test]
async fn a_pool_tells_how_its_members_work_together() {
    let (stores, mut setups) = members(["far", "near"]);
    setups[1].quota_bytes = Some(10 << 30);
    let (client, _) = Client::pool(setups, PoolMode::Fallback).await;
    client.put("/v1/proofs/before", "12345").await;
    darken(&stores[0]);
    assert_eq!(client.put("/v1/proofs/a", "12345").await.status, 201);
    assert_eq!(client.put("/v1/proofs/b", "12345").await.status, 201);
    assert_eq!(client.get("/v1/proofs/a").await.body, "12345");

    let answer = client.get("/v1/backends").await.json();
    assert_eq!(answer["mode"], "fallback");
    let [far, near] = [&answer["backends"][0], &answer["backends"][1]];
    assert_eq!((&far["name"], &near["name"]), (&"far".into(), &"near".into()));
    assert_eq!((&far["role"], &near["role"]), (&"read-write".into(), &"read-write".into()));
    assert_eq!((&far["quota_bytes"], &near["quota_bytes"]), (&Value::Null, &json!(10_u64 << 30)));
    assert_eq!((&far["full"], &near["full"]), (&false.into(), &false.into()));
    assert_eq!((&far["pending_repairs"], &near["pending_repairs"]), (&2.into(), &0.into()));
    let pool = &answer["pool"];
    assert_eq!((&pool["repairs_pending"], &pool["min_copies"]), (&2.into(), &Value::Null));
    assert!(pool["oldest_repair_seconds"].as_f64().unwrap() >= 0.0);
    assert!(pool["failovers"]["unavailable"].as_u64().unwrap() >= 2, "{pool}");
    // Every member could; it is the pool that cannot move in one step.
    assert_eq!(pool["limited_by"]["atomic_move"], json!([]));
    assert_eq!((&pool["conflicts"], &pool["quarantined"]), (&0.into(), &0.into()));

    let text = client.get("/metrics").await.body;
    let text = String::from_utf8(text.to_vec()).unwrap();
    for line in [
        "proof_storage_pool_repairs_pending{backend=\"far\"} 2",
        "proof_storage_pool_repairs_pending{backend=\"near\"} 0",
        "proof_storage_pool_conflicts 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing:\n{text}");
    }
}

#[tokio::test]
async fn one_backend_is_no_pool() {
    let answer = Client::new().await.get("/v1/backends").await.json();
    assert_eq!((&answer["mode"], &answer["pool"]), (&"single".into(), &Value::Null));
    assert_eq!(answer["backends"][0]["name"], "memory");
    assert_eq!(
        (&answer["backends"][0]["full"], &answer["backends"][0]["complete"]),
        (&false.into(), &true.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_says_who_limits_it() {
    let server = FakeS3::start(Personality::Garage).expect("the server starts");
    let (garage, _) = crate::s3::examined(&server, Provider::S3).await;
    let (_, mut setups) = members(["near"]);
    let cluster =
        MemberSetup { name: "cluster".into(), backend: Arc::new(garage), ..setups[0].clone() };
    setups.push(cluster);
    let (client, _) = Client::pool(setups, PoolMode::Mirror).await;
    let pool = client.get("/v1/backends").await.json()["pool"].clone();
    let (capabilities, limited_by) = (&pool["capabilities"], &pool["limited_by"]);
    assert_eq!(capabilities["create_only"], "gateway");
    assert_eq!(limited_by["create_only"], json!(["cluster"]));
    assert_eq!(limited_by["presign"], json!(["near"]), "{pool}");
    assert_eq!(limited_by["versions"], json!(["near", "cluster"]), "no member has it");
    assert_eq!(limited_by["range"], Value::Null, "all do it natively: {pool}");
    assert_eq!(pool["min_copies"], 1);
}

#[tokio::test]
async fn with_no_backend_left_the_answer_says_when_to_come_again() {
    let (stores, setups) = members(["far", "near"]);
    let (client, _) = Client::pool(setups, PoolMode::Fallback).await;
    client.put("/v1/proofs/a", "12345").await;
    stores.iter().for_each(darken);
    for (method, path, body) in [
        ("PUT", "/v1/proofs/b", "1"),
        ("GET", "/v1/proofs/a", ""),
        ("HEAD", "/v1/proofs/a", ""),
        ("DELETE", "/v1/proofs/a", ""),
        ("GET", "/v1/proofs", ""),
        ("GET", "/v1/metadata/a", ""),
    ] {
        let answer = client.call(method, path, &[], body).await;
        assert_eq!(answer.status, 503, "{method} {path}: {answer:?}");
        let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!(seconds >= 1, "{method} {path}: {answer:?}");
        if method != "HEAD" {
            answer.is_problem(503, "UNAVAILABLE", "");
        }
    }
    stores.iter().for_each(|store| store.set_chances([]));
    assert_eq!(client.get("/v1/proofs/a").await.body, "12345", "it recovers by itself");
}

#[tokio::test]
async fn stats_count_a_proof_once_and_each_backend_by_itself() {
    let (stores, setups) = members(["far", "near"]);
    let (client, inventory) = Client::pool(setups, PoolMode::Mirror).await;
    client.put("/v1/proofs/a", "12345").await;
    client.put("/v1/proofs/b", "12345").await;
    inventory.take().await.unwrap();
    let stats = client.get("/v1/stats").await.json();
    assert_eq!((&stats["total_objects"], &stats["total_size"]), (&2.into(), &10.into()), "{stats}");
    assert_eq!(stats["exact"], false);
    let near = &stats["backends"][1];
    assert_eq!((&near["name"], &near["provider"]), (&"near".into(), &"memory".into()));
    for (store, shown) in stores.iter().zip(stats["backends"].as_array().unwrap()) {
        let usage = store.inner().usage().await.unwrap();
        assert_eq!(
            (&shown["objects"], &shown["size"]),
            (&usage.objects.into(), &usage.bytes.into())
        );
        assert!(usage.objects >= 2, "both have both: {shown}");
    }
    // Who cannot tell is unknown, and hides nothing of the others.
    darken(&stores[0]);
    let stats = client.get("/v1/stats").await.json();
    assert_eq!(
        (&stats["total_objects"], &stats["backends"][0]["objects"]),
        (&2.into(), &Value::Null)
    );
    assert_ne!(stats["backends"][1]["objects"], Value::Null);
}
