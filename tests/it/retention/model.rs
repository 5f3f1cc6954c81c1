//! Random histories of stores, deletes, moves, copies, holds and hours that pass, against a map of what must
//! be there: what is held stays to the byte, and what is not held does as it is told.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fake_s3::{FakeS3, Personality};
use proof_storage::backend::Backend;
use proof_storage::backend::embedded::{self, Embedded, Unobserved};
use proof_storage::backend::memory::Memory;
use proof_storage::model::{
    ErrorKind, PoolMode, Provider, Retention, RetentionRule, Role, WriteMode,
};
use proof_storage::pool::{MemberSetup, Pool, PoolPolicy};
use proof_storage::vault::{Change, Condition, Unchecked, VaultError, etag_of};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestError, TestRunner};

use super::{Kept, Setup, hold, keep};
use crate::s3::{examined, paced};
use crate::sealed::sealing;

const NAMES: [&str; 6] = ["a", "b", "c/d", "kept/a", "kept/b", "case"];
/// Of the rule for `kept/`.
const KEPT: u64 = 24;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A store in overwrite mode; `until` is hours from now.
    Store {
        key: &'static str,
        text: u8,
        until: Option<u64>,
        hold: bool,
    },
    /// Over the version that is there.
    Replace {
        key: &'static str,
        text: u8,
    },
    Delete {
        key: &'static str,
        version: bool,
    },
    DeleteMany {
        keys: [&'static str; 3],
    },
    Copy {
        from: &'static str,
        to: &'static str,
        overwrite: bool,
    },
    Move {
        from: &'static str,
        to: &'static str,
        overwrite: bool,
    },
    Retain {
        key: &'static str,
        until: Option<u64>,
        hold: Option<bool>,
    },
    Hours(u64),
    Rekey,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || select(&NAMES[..]);
    let until = || prop::option::weighted(0.4, 1..40_u64);
    let step = prop_oneof![
        6 => (key(), 0..4_u8, until(), prop::bool::weighted(0.2))
            .prop_map(|(key, text, until, hold)| Step::Store { key, text, until, hold }),
        2 => (key(), 0..4_u8).prop_map(|(key, text)| Step::Replace { key, text }),
        3 => (key(), any::<bool>()).prop_map(|(key, version)| Step::Delete { key, version }),
        2 => (key(), key(), key()).prop_map(|(a, b, c)| Step::DeleteMany { keys: [a, b, c] }),
        3 => (key(), key(), any::<bool>())
            .prop_map(|(from, to, overwrite)| Step::Copy { from, to, overwrite }),
        3 => (key(), key(), any::<bool>())
            .prop_map(|(from, to, overwrite)| Step::Move { from, to, overwrite }),
        3 => (key(), until(), prop::option::of(any::<bool>()))
            .prop_map(|(key, until, hold)| Step::Retain { key, until, hold }),
        2 => (1..30_u64).prop_map(Step::Hours),
        1 => Just(Step::Rekey),
    ];
    vec(step, 1..30)
}

/// What must be there of one key. Hours count from the begin.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Proof {
    text: String,
    until: Option<u64>,
    hold: bool,
}

struct Game {
    kept: Kept,
    /// Over the same store, with another of its keys as the active one.
    rekeyer: Option<Kept>,
    rewrapped: u64,
    now: u64,
    proofs: BTreeMap<&'static str, Proof>,
}

type Outcome = Result<(), ErrorKind>;

impl Game {
    fn holds(&self, key: &str) -> bool {
        self.proofs.get(key).is_some_and(|proof| {
            // The store's own clock stands as good as still.
            let by_prefix = (key.starts_with("kept/") && self.now < KEPT) || key == "case";
            by_prefix || proof.hold || proof.until.is_some_and(|until| self.now <= until)
        })
    }

    /// What has to come of a destruction.
    fn destroyed(&self, key: &str) -> Outcome {
        if self.holds(key) { Err(ErrorKind::Retained) } else { Ok(()) }
    }

    fn said(&self, until: Option<u64>, hold: bool) -> Retention {
        let until = until.map(|until| self.kept.hour(until));
        Retention { until, legal_hold: hold, stored: None }
    }

    /// Makes a call, and says what had to come of it.
    async fn step(&mut self, step: Step) -> (Vec<Outcome>, Vec<Outcome>) {
        let vault = &self.kept.vault;
        let (found, wanted) = match step {
            Step::Store { key, text, until, hold } => {
                let text = text_of(text);
                let until = until.map(|hours| self.now + hours);
                let asked = self.said(until, hold);
                let found = self.kept.store(key, &text, asked, Condition::None).await.map(drop);
                let wanted = match self.proofs.get(key).filter(|_| self.holds(key)) {
                    Some(proof) if proof.text != text => Err(ErrorKind::Retained),
                    Some(proof) => {
                        Ok(Proof { text, until: proof.until.max(until), hold: proof.hold || hold })
                    }
                    None => Ok(Proof { text, until, hold }),
                };
                (found, wanted.map(|proof| drop(self.proofs.insert(key, proof))))
            }
            Step::Replace { key, text } => {
                let text = text_of(text);
                let tag = match vault.head(&self.kept.key(key)).await {
                    Ok(meta) => etag_of(&meta, meta.attributes.encoding),
                    Err(_) => "\"none\"".to_owned(),
                };
                let condition = Condition::Matches(vec![tag]);
                let said = Retention::default();
                let found = self.kept.store(key, &text, said, condition).await.map(drop);
                let wanted = match self.proofs.contains_key(key) {
                    false => Err(ErrorKind::PreconditionFailed),
                    true => self.destroyed(key),
                };
                let proof = Proof { text, until: None, hold: false };
                (found, wanted.map(|()| drop(self.proofs.insert(key, proof))))
            }
            Step::Delete { key, version } => {
                let tags = ["*".to_owned()];
                let name = self.kept.key(key);
                let found = vault.delete(&name, version.then_some(&tags[..])).await;
                let wanted = match version && !self.proofs.contains_key(key) {
                    true => Err(ErrorKind::PreconditionFailed),
                    false => self.destroyed(key),
                };
                (found, wanted.map(|()| drop(self.proofs.remove(key))))
            }
            Step::DeleteMany { keys } => {
                let names: Vec<_> = keys.iter().map(|key| self.kept.key(key)).collect();
                let found = vault.delete_many(&names).await;
                let wanted: Vec<_> = keys.iter().map(|key| self.destroyed(key)).collect();
                for (key, wanted) in keys.iter().zip(&wanted) {
                    if wanted.is_ok() {
                        self.proofs.remove(key);
                    }
                }
                return (found.into_iter().map(kind).collect(), wanted);
            }
            Step::Copy { from, to, overwrite } | Step::Move { from, to, overwrite } => {
                let moves = matches!(step, Step::Move { .. });
                let (source, destination) = (self.kept.key(from), self.kept.key(to));
                let found = match moves {
                    true => vault.rename(&source, &destination, overwrite).await,
                    false => vault.copy(&source, &destination, overwrite).await,
                };
                let taken = self.proofs.contains_key(to) && !overwrite;
                let wanted = match self.proofs.get(from).cloned() {
                    _ if from == to => Err(None),
                    None => Err(Some(ErrorKind::NotFound)),
                    Some(_) if moves && self.holds(from) => Err(Some(ErrorKind::Retained)),
                    Some(_) if taken => Err(Some(ErrorKind::AlreadyExists)),
                    Some(_) if self.holds(to) => Err(Some(ErrorKind::Retained)),
                    Some(proof) => Ok(Proof { until: None, hold: false, ..proof }),
                };
                match wanted {
                    // Not the store's answer.
                    Err(None) => {
                        assert!(matches!(found, Err(VaultError::Invalid(_))));
                        return (Vec::new(), Vec::new());
                    }
                    Err(Some(refused)) => (found.map(drop), Err(refused)),
                    Ok(proof) => {
                        // A source that keeps what it was held by before shows that it was: its copy does not.
                        if moves {
                            self.proofs.remove(from);
                        }
                        self.proofs.insert(to, proof);
                        (found.map(drop), Ok(()))
                    }
                }
            }
            Step::Retain { key, until, hold } => {
                let until = until.map(|hours| self.now + hours);
                let said = self.said(until, false).until;
                let change = Change { until: said, legal_hold: hold };
                let found = vault.retain(&self.kept.key(key), change).await.map(drop);
                let now = self.now;
                let wanted = match self.proofs.get_mut(key) {
                    None => Err(ErrorKind::NotFound),
                    Some(proof) => {
                        let running = proof.until.filter(|running| now <= *running);
                        if running.zip(until).is_some_and(|(running, until)| until < running) {
                            Err(ErrorKind::Retained)
                        } else {
                            proof.until = until.or(proof.until);
                            proof.hold = hold.unwrap_or(proof.hold);
                            Ok(())
                        }
                    }
                };
                (found, wanted)
            }
            Step::Hours(hours) => {
                self.kept.advance(hours);
                self.now += hours;
                return (Vec::new(), Vec::new());
            }
            Step::Rekey => {
                // Changes nothing of what is said.
                if let Some(rekeyer) = &self.rekeyer {
                    let found = rekeyer.vault.rekey(None, false, true, |_| {}).await;
                    let found = found.expect("rekeys");
                    assert_eq!((found.failed, found.key_missing), (0, 0));
                    self.rewrapped += found.rewrapped;
                }
                return (Vec::new(), Vec::new());
            }
        };
        (vec![kind(found)], vec![wanted])
    }

    /// All that is there, as it must be.
    async fn compare(&self) -> Result<(), TestCaseError> {
        for key in NAMES {
            let text = self.kept.read(key).await;
            let wanted = self.proofs.get(key);
            prop_assert_eq!(&text, &wanted.map(|proof| proof.text.clone()), "{}", key);
            if let Some(proof) = wanted {
                let found = self.kept.retention(key).await;
                let wanted = self.said(proof.until, proof.hold);
                let found = Retention { stored: None, ..found };
                prop_assert_eq!(found, wanted, "{}", key);
            }
        }
        Ok(())
    }
}

fn text_of(number: u8) -> String {
    // The last ones are kept as gzip.
    format!("proof {number} ").repeat(1 + 300 * usize::from(number / 2))
}

fn kind<T>(answer: Result<T, VaultError>) -> Outcome {
    answer.map(drop).map_err(|error| error.store_kind().expect("a store's answer"))
}

/// Gives how many proofs were brought under another key.
async fn play(kept: Kept, rekeyer: Option<Kept>, steps: &[Step]) -> Result<u64, TestCaseError> {
    let mut game = Game { kept, rekeyer, rewrapped: 0, now: 0, proofs: BTreeMap::new() };
    for (number, step) in steps.iter().enumerate() {
        let (found, wanted) = game.step(*step).await;
        prop_assert_eq!(found, wanted, "step {}, {:?}", number, step);
        game.compare().await?;
    }
    Ok(game.rewrapped)
}

/// Plays to a store, each history under a prefix of its own. The shortest that shows a difference.
fn search(
    cases: u32,
    store: impl AsyncFnOnce() -> Arc<dyn Backend>,
    setup: Setup,
) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let store = runtime.block_on(store());
    let (number, rewrapped) = (Cell::new(0), Cell::new(0));
    let has_keys = setup.sealing.keyring.is_some();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let config =
        Config { max_shrink_iters: if setup.planted.is_some() { 0 } else { 200 }, ..config };
    let outcome = TestRunner::new(config).run(&steps(), |steps| {
        number.set(number.get() + 1);
        let setup = Setup {
            mode: WriteMode::Overwrite,
            rules: vec![kept(), hold("case")],
            number: number.get(),
            ..setup.clone()
        };
        let _inside = runtime.enter();
        let rekeyer = has_keys.then(|| {
            let setup = Setup { sealing: sealing("2025 2026"), ..setup.clone() };
            Kept::over(Arc::clone(&store), setup)
        });
        let kept = Kept::over(Arc::clone(&store), setup);
        let played = runtime.block_on(play(kept, rekeyer, &steps))?;
        rewrapped.set(rewrapped.get() + played);
        Ok(())
    });
    assert_eq!(rewrapped.get() > 0, has_keys && outcome.is_ok(), "{} rewrapped", rewrapped.get());
    match outcome {
        Ok(()) => Ok(()),
        Err(TestError::Fail(reason, steps)) => Err(format!("{reason}\n{steps:#?}")),
        Err(TestError::Abort(reason)) => panic!("no histories could be made: {reason}"),
    }
}

/// Ends between two steps of the clock.
fn kept() -> RetentionRule {
    let half = Duration::from_secs(1800);
    let rule = keep("kept/", KEPT);
    RetentionRule { keep: rule.keep.map(|keep| keep - half), ..rule }
}

fn memory() -> Arc<dyn Backend> {
    Arc::new(Memory::new())
}

#[test]
fn in_memory() {
    assert_eq!(search(100, async || memory(), Setup::default()), Ok(()));
}

#[test]
fn sealed() {
    let setup = Setup { sealing: sealing("2026 2025"), ..Setup::default() };
    assert_eq!(search(50, async || memory(), setup), Ok(()));
}

fn open(folder: &std::path::Path) -> Arc<dyn Backend> {
    let options = embedded::Options {
        data_dir: folder.join("data"),
        cache_bytes: 8 << 20,
        disk_reserve_bytes: 0,
        observer: Arc::new(Unobserved),
    };
    Arc::new(Embedded::open(options).expect("the store opens"))
}

#[test]
fn embedded() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(search(24, async || open(folder.path()), Setup::default()), Ok(()));
}

fn over_s3(personality: Personality, provider: Provider, locks: bool) {
    let server = FakeS3::start(personality).expect("the server starts");
    if locks {
        server.enable_object_lock();
    }
    let store = async || {
        let (store, _) = examined(&server, provider).await;
        paced(&server, store)
    };
    assert_eq!(search(6, store, Setup::default()), Ok(()));
}

#[test]
fn over_aws() {
    over_s3(Personality::Aws, Provider::S3, false);
}

#[test]
fn over_aws_with_object_lock() {
    over_s3(Personality::Aws, Provider::S3, true);
}

#[test]
fn over_r2() {
    over_s3(Personality::R2, Provider::R2, false);
}

#[test]
fn over_garage() {
    over_s3(Personality::Garage, Provider::S3, false);
}

fn over_pool(mode: PoolMode) {
    let folder = tempfile::tempdir().expect("a folder");
    let member = |name: &str, backend: Arc<dyn Backend>| MemberSetup {
        name: name.into(),
        backend,
        role: Role::ReadWrite,
        quota_bytes: None,
    };
    let store = async || {
        let members = vec![member("near", open(folder.path())), member("far", memory())];
        let mut policy = PoolPolicy::new(mode, 2, "proofs", folder.path());
        policy.refresh_idle = Duration::from_secs(3600);
        Pool::new(members, policy) as Arc<dyn Backend>
    };
    assert_eq!(search(24, store, Setup::default()), Ok(()));
}

#[test]
fn over_a_fallback() {
    over_pool(PoolMode::Fallback);
}

#[test]
fn over_a_mirror() {
    over_pool(PoolMode::Mirror);
}

/// Negative control: with the check of any one call left out, a history is found that shows it.
#[test]
fn each_missing_check_is_found() {
    let checks = [
        Unchecked::Delete,
        Unchecked::DeleteMany,
        Unchecked::MoveSource,
        Unchecked::Replace,
        Unchecked::Overwrite,
        Unchecked::CopyOnto,
        Unchecked::MoveOnto,
        Unchecked::Change,
    ];
    let missed: Vec<_> = checks
        .into_iter()
        .filter(|check| {
            let setup = Setup { planted: Some(*check), ..Setup::default() };
            search(600, async || memory(), setup).is_ok()
        })
        .collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
