//! Which bytes went: the digest in the lines of what takes a proof away, and what finding it costs.

use std::sync::Arc;
use std::time::Duration;

use proof_storage::audit::{Audit, OnFailure};
use proof_storage::backend::faulty::{Chance, Fault, Faulty, Operation};
use proof_storage::backend::memory::Memory;
use proof_storage::config::Config;
use proof_storage::model::{Digest, ErrorKind};
use serde_json::{Value, json};

use super::{Paper, on_paper};
use crate::http::client::Client;
use crate::sealed::keyring;

type Store = Arc<Faulty<Memory>>;

fn store() -> Store {
    Arc::new(Faulty::new(Memory::new(), 1))
}

/// A service whose log the test reads, with holds or without.
async fn audited(store: &Store, holds: bool, config: Config) -> (Client, Paper) {
    let paper = Paper::default();
    let audit = on_paper(&paper, OnFailure::Refuse);
    let client = match holds {
        true => Client::audited(store.clone(), config, audit).await,
        false => Client::without_holds(store.clone(), config, audit).await,
    };
    (client, paper)
}

fn sealing() -> Config {
    let mut config = Config::default();
    (config.storage.keyring, config.storage.seals) = (Some(keyring("one")), true);
    config
}

fn path(name: &str) -> String {
    format!("/v1/proofs/{name}")
}

/// Each proof's body is its own name.
async fn fill(client: &Client, names: &[&str]) {
    for name in names {
        assert_eq!(client.put(&path(name), (*name).to_owned()).await.status, 201);
    }
}

/// Every line of a delete or a move tells the digest of what was there, and of nothing else.
fn judged(lines: &[Value], there: &[&str]) -> Result<(), String> {
    for line in lines {
        let key = line["key"].as_str().filter(|key| there.contains(key));
        let expected = key.map(|key| Digest::of(key.as_bytes()).to_hex());
        if line["sha256"].as_str() != expected.as_deref() {
            return Err(format!("not the digest {expected:?}: {line}"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn whatever_takes_a_proof_away_tells_which_bytes_it_was() {
    const THERE: [&str; 6] = ["alone", "version", "one", "two", "source", "taken"];
    for (holds, config) in [
        (true, Config::default()),
        (false, Config::default()),
        (true, sealing()),
        (false, sealing()),
    ] {
        let (client, paper) = audited(&store(), holds, config).await;
        fill(&client, &THERE).await;
        paper.take();
        client.call("DELETE", &path("alone"), &[], "").await;
        let etag = client.get(&path("version")).await.header("etag").unwrap().to_owned();
        let other = [("if-match", "\"another\"")];
        assert_eq!(client.call("DELETE", &path("version"), &other, "").await.status, 412);
        let this = [("if-match", etag.as_str())];
        assert_eq!(client.call("DELETE", &path("version"), &this, "").await.status, 204);
        client.post_json("/v1/batch-delete", json!({"keys": ["one", "never", "two"]})).await;
        let move_to = |to: &str| json!({"source": "source", "destination": to});
        assert_eq!(client.post_json("/v1/move", move_to("taken")).await.status, 409);
        assert_eq!(client.post_json("/v1/move", move_to("elsewhere")).await.status, 201);
        client.call("DELETE", &path("never"), &[], "").await;

        let lines = paper.take();
        let told: Vec<_> = lines.iter().map(|line| line["action"].as_str().unwrap()).collect();
        let batch = ["delete", "delete", "delete", "batch-delete"];
        let [one, three, last] = [&["delete"; 3][..], &batch, &["move", "move", "delete"]];
        assert_eq!(told, [one, three, last].concat());
        judged(&lines, &THERE).unwrap_or_else(|wrong| panic!("holds {holds}: {wrong}"));

        // The control: a line that does not say, and one that says another's.
        for wrong in [Value::Null, json!(Digest::of(b"other").to_hex())] {
            for place in 0..lines.len() {
                let mut lines = lines.clone();
                lines[place]["sha256"] = wrong.clone();
                let same = lines[place]["key"].as_str().is_none_or(|key| !THERE.contains(&key));
                assert_eq!(judged(&lines, &THERE).is_ok(), same && wrong.is_null(), "{place}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_held_is_told_too() {
    let (client, paper) = audited(&store(), true, Config::default()).await;
    client.call("PUT", &path("held"), &[("proof-legal-hold", "on")], "held").await;
    paper.take();
    assert_eq!(client.call("DELETE", &path("held"), &[], "").await.problem(), "RETAINED");
    client.post_json("/v1/batch-delete", json!({"keys": ["held"]})).await;
    let lines = paper.take();
    assert_eq!((&lines[0]["result"], &lines[1]["result"]), (&json!("failed"), &json!("failed")));
    judged(&lines[..2], &["held"]).unwrap();
    assert!(
        lines[2].get("sha256").is_none(),
        "the call itself is about no one proof: {}",
        lines[2]
    );
}

/// How often the store is asked what is there, by one delete, a batch of two and a move.
async fn looks(client: &Client, store: &Store) -> [usize; 3] {
    fill(client, &["a", "b", "c", "d"]).await;
    // Strikes nothing, and is counted.
    let fault = Fault::Delay(Duration::ZERO);
    store.set_chances([Chance { operation: Operation::Head, fault, probability: 1.0 }]);
    let mut counts = [0; 3];
    let mut before = 0;
    for (call, count) in counts.iter_mut().enumerate() {
        let answer = match call {
            0 => client.call("DELETE", &path("a"), &[], "").await,
            1 => client.post_json("/v1/batch-delete", json!({"keys": ["b", "c"]})).await,
            _ => client.post_json("/v1/move", json!({"source": "d", "destination": "e"})).await,
        };
        assert!(answer.status.is_success(), "{answer:?}");
        let now = store.injected().len();
        *count = now - std::mem::replace(&mut before, now);
    }
    counts
}

#[tokio::test]
async fn nobody_looks_twice_and_without_a_log_nobody_looks() {
    let (with, without) = (store(), store());
    let (client, _paper) = audited(&with, false, Config::default()).await;
    let silent = Client::without_holds(without.clone(), Config::default(), Audit::off()).await;
    // A move always looks at what it is to move.
    assert_eq!(looks(&silent, &without).await, [0, 0, 1]);
    assert_eq!(looks(&client, &with).await, [1, 2, 1]);

    let (with, without) = (store(), store());
    let (client, _paper) = audited(&with, true, Config::default()).await;
    let silent = Client::over(without.clone(), Config::default()).await;
    let for_holds = looks(&silent, &without).await;
    assert_eq!(looks(&client, &with).await, for_holds, "the look for holds is enough");
    assert_eq!(for_holds[..2], [1, 2]);
}

#[tokio::test]
async fn where_the_store_does_not_say_the_field_is_left_out() {
    let store = store();
    let (client, paper) = audited(&store, false, Config::default()).await;
    fill(&client, &["a", "b"]).await;
    paper.take();
    let fault = Fault::Refuse(ErrorKind::Unavailable);
    store.set_chances([Chance { operation: Operation::Head, fault, probability: 1.0 }]);
    assert_eq!(client.call("DELETE", &path("a"), &[], "").await.status, 204);
    client.post_json("/v1/batch-delete", json!({"keys": ["b"]})).await;
    let lines = paper.take();
    assert_eq!(lines.len(), 3);
    for line in &lines {
        assert_eq!(line["result"], "done", "a look that fails stops no delete");
        assert!(line.get("sha256").is_none(), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_leaves_the_digest_too() {
    let store = store();
    let (client, paper) = audited(&store, false, Config::default()).await;
    fill(&client, &["a", "b"]).await;
    paper.take();
    for operation in [Operation::Delete, Operation::DeleteMany] {
        store.script(operation, [Fault::HangAfter]);
    }
    let second = Duration::from_secs(1);
    let path = path("a");
    let gone = tokio::time::timeout(second, client.call("DELETE", &path, &[], "")).await;
    assert!(gone.is_err());
    let batch = client.post_json("/v1/batch-delete", json!({"keys": ["b"]}));
    assert!(tokio::time::timeout(second, batch).await.is_err());
    // Its line comes after theirs, which nobody waits for.
    fill(&client, &["c"]).await;
    let lines = paper.take();
    let told: Vec<_> = lines.iter().map(|line| line["action"].as_str().unwrap()).collect();
    assert_eq!(told, ["delete", "delete", "batch-delete", "store"]);
    assert!(lines[..3].iter().all(|line| line["result"] == "indeterminate"), "{lines:#?}");
    judged(&lines[..2], &["a", "b"]).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_batch_looks_at_so_many_at_once_and_no_more() {
    for holds in [false, true] {
        let store = store();
        let (client, _paper) = audited(&store, holds, Config::default()).await;
        store.set_chances([Chance {
            operation: Operation::Head,
            fault: Fault::Hang,
            probability: 1.0,
        }]);
        let keys: Vec<_> = (0..300).map(|number| format!("key/{number}")).collect();
        let batch = client.post_json("/v1/batch-delete", json!({ "keys": keys }));
        assert!(tokio::time::timeout(Duration::from_secs(1), batch).await.is_err());
        assert_eq!(store.injected().len(), 64, "holds {holds}");
    }
}
