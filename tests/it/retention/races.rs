//! A hold and a call that destroys, at the same time: exactly one of them is acknowledged, or none.

use std::sync::Arc;
use std::time::Duration;

use fake_s3::{FakeS3, Personality};
use proof_storage::backend::Backend;
use proof_storage::backend::faulty::{Chance, Fault, Faulty, Operation};
use proof_storage::backend::memory::Memory;
use proof_storage::model::{ErrorKind, Provider, Retention, WriteMode};
use proof_storage::vault::{Change, Condition, Unchecked, VaultError};

use super::{Kept, Setup, hold};
use crate::s3::examined;
use crate::sealed::sealing;

#[derive(Clone, Copy, Debug)]
enum Destroyer {
    Delete,
    DeleteMany,
    Overwrite,
    CopyOnto,
    MoveOnto,
    MoveAway,
}

const DESTROYERS: [Destroyer; 6] = [
    Destroyer::Delete,
    Destroyer::DeleteMany,
    Destroyer::Overwrite,
    Destroyer::CopyOnto,
    Destroyer::MoveOnto,
    Destroyer::MoveAway,
];

impl Destroyer {
    async fn run(self, kept: &Kept) -> Result<(), VaultError> {
        let (vault, key, other) = (&kept.vault, kept.key("a"), kept.key("other"));
        match self {
            Self::Delete => vault.delete(&key, None).await,
            Self::DeleteMany => vault.delete_many(&[key]).await.remove(0),
            Self::Overwrite => {
                let said = Retention::default();
                kept.store("a", "other bytes", said, Condition::None).await.map(drop)
            }
            Self::CopyOnto => vault.copy(&other, &key, true).await.map(drop),
            Self::MoveOnto => vault.rename(&other, &key, true).await.map(drop),
            Self::MoveAway => vault.rename(&key, &kept.key("away"), true).await.map(drop),
        }
    }
}

/// A store whose calls take one of a few times, so that every order comes up.
fn slow(seed: u64) -> Faulty<Memory> {
    slowed(Memory::new(), seed)
}

fn slowed<B: Backend>(store: B, seed: u64) -> Faulty<B> {
    let store = Faulty::new(store, seed);
    let calls = [
        Operation::Put,
        Operation::Get,
        Operation::Head,
        Operation::Delete,
        Operation::DeleteMany,
        Operation::Copy,
        Operation::Rename,
    ];
    let chances = calls.into_iter().flat_map(|operation| {
        [1, 3, 9].map(|ms| Chance {
            operation,
            fault: Fault::Delay(Duration::from_millis(ms)),
            probability: 0.3,
        })
    });
    store.set_chances(chances.collect::<Vec<_>>());
    store
}

/// Plays all races with one seed; how often each side won, or what went wrong.
async fn play(seed: u64, planted: Option<Unchecked>) -> Result<[u32; 2], String> {
    let mut won = [0, 0];
    for destroyer in DESTROYERS {
        let mode = WriteMode::Overwrite;
        let kept = Kept::over(Arc::new(slow(seed)), Setup { mode, planted, ..Setup::default() });
        for name in ["a", "other"] {
            kept.store(name, name, Retention::default(), Condition::None).await.expect("stores");
        }
        let hold = Change { until: None, legal_hold: Some(true) };
        let key = kept.key("a");
        let (mut hold, mut destroy) =
            (Box::pin(kept.vault.retain(&key, hold)), Box::pin(destroyer.run(&kept)));
        // Who comes first in line is who is asked first.
        let (held, destroyed) = if seed.is_multiple_of(2) {
            tokio::join!(&mut hold, &mut destroy)
        } else {
            let (destroyed, held) = tokio::join!(&mut destroy, &mut hold);
            (held, destroyed)
        };
        match (&held, &destroyed) {
            (Ok(meta), _) if !meta.attributes.retention.legal_hold => {
                return Err(format!("{destroyer:?}: acknowledged, and not held"));
            }
            (Ok(_), Err(error)) if error.store_kind() == Some(ErrorKind::Retained) => {
                won[0] += 1;
                if kept.read("a").await.as_deref() != Some("a") {
                    return Err(format!("{destroyer:?}: refused, and done"));
                }
            }
            (Err(error), Ok(())) if error.store_kind() == Some(ErrorKind::NotFound) => won[1] += 1,
            // What came in its place is held then.
            (Ok(_), Ok(())) if kept.read("a").await.as_deref().is_some_and(|text| text != "a") => {
                if !kept.retention("a").await.legal_hold {
                    return Err(format!("{destroyer:?}: both acknowledged, and nothing is held"));
                }
                won[1] += 1;
            }
            other => return Err(format!("{destroyer:?}: {other:?}")),
        }
    }
    Ok(won)
}

/// A hold that is set while the proof comes under another key, over a store whose versions tell bytes apart
/// and not what is said of them. What went wrong.
async fn rekeyed(seed: u64, planted: Option<Unchecked>) -> Result<(), String> {
    let server = FakeS3::start(Personality::Aws).expect("the server starts");
    let (store, _) = examined(&server, Provider::S3).await;
    let store: Arc<dyn Backend> = Arc::new(slowed(store, seed));
    let over = |ids: &str| {
        let setup = Setup { planted, sealing: sealing(ids), ..Setup::default() };
        Kept::over(Arc::clone(&store), setup)
    };
    over("2025")
        .store("a", "a", Retention::default(), Condition::None)
        .await
        .map_err(|error| error.to_string())?;
    let kept = over("2026 2025");
    let (key, hold) = (kept.key("a"), Change { until: None, legal_hold: Some(true) });
    let (rekeyed, held) =
        tokio::join!(kept.vault.rekey(None, false, true, |_| {}), kept.vault.retain(&key, hold));
    let rekeyed = rekeyed.map_err(|error| error.to_string())?;
    if held.is_ok() && !kept.retention("a").await.legal_hold {
        return Err("the hold was acknowledged, and is gone".into());
    }
    let opens = over("2026").vault.open(&key).await;
    match (rekeyed.rewrapped, opens) {
        (1, Ok(_)) => Ok(()),
        (rewrapped, opens) => Err(format!("{rewrapped} rekeyed, and then {:?}", opens.err())),
    }
}

#[tokio::test]
async fn a_hold_and_a_rekeying_both_last() {
    for seed in 0..40 {
        assert_eq!(rekeyed(seed, None).await, Ok(()), "{seed}");
    }
}

/// Negative control.
#[tokio::test]
async fn without_turns_a_rekeying_undoes_a_hold() {
    let mut wrong = Vec::new();
    for seed in 0..200 {
        wrong.extend(rekeyed(seed, Some(Unchecked::Turns)).await.err());
        if !wrong.is_empty() {
            return;
        }
    }
    panic!("none of 200 races showed it");
}

#[tokio::test(start_paused = true)]
async fn of_a_hold_and_a_destruction_one_comes_first() {
    let mut won = [0, 0];
    for seed in 0..60 {
        let [held, destroyed] = play(seed, None).await.unwrap();
        won[0] += held;
        won[1] += destroyed;
    }
    assert!(won[0] > 30 && won[1] > 30, "both come up: {won:?}");
}

/// Negative control.
#[tokio::test(start_paused = true)]
async fn without_turns_both_are_acknowledged() {
    let mut wrong = Vec::new();
    for seed in 0..60 {
        wrong.extend(play(seed, Some(Unchecked::Turns)).await.err());
    }
    assert!(!wrong.is_empty());
}

/// A store that is held from the beginning, by what it says or by its prefix, and a delete that found
/// nothing there when it looked.
#[tokio::test(start_paused = true)]
async fn a_delete_that_came_first_does_not_take_what_is_held_from_birth() {
    for seed in 0..60 {
        for name in ["a", "case"] {
            let setup = Setup { rules: vec![hold("case")], ..Setup::default() };
            let kept = Kept::over(Arc::new(slow(seed)), setup);
            let said = Retention { legal_hold: name == "a", ..Retention::default() };
            let key = kept.key(name);
            let (stored, deleted) = tokio::join!(
                kept.store(name, "held", said, Condition::None),
                kept.vault.delete(&key, None),
            );
            stored.expect("nothing was there");
            drop(deleted);
            assert_eq!(kept.read(name).await.as_deref(), Some("held"), "{seed} {name}");
        }
    }
}

/// A caller that goes away while its delete is under way takes nobody's turn.
#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_keeps_its_turn() {
    let store = Arc::new(Faulty::new(Memory::new(), 1));
    let kept = Kept::over(store.clone(), Setup::default());
    kept.store("a", "a", Retention::default(), Condition::None).await.expect("stores");
    store.script(Operation::Delete, [Some(Fault::Delay(Duration::from_secs(5)))]);
    let key = kept.key("a");
    let gone = tokio::time::timeout(Duration::from_secs(1), kept.vault.delete(&key, None)).await;
    assert!(gone.is_err(), "it went away");
    let hold = Change { until: None, legal_hold: Some(true) };
    let held = kept.vault.retain(&key, hold).await.unwrap_err();
    assert_eq!(held.store_kind(), Some(ErrorKind::NotFound), "the delete came first");
}
