//! The fuzzer's kept corpus, played through its targets in every test run; `.ci/run fuzz` looks for more.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/src/targets.rs"]
mod targets;

fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn the_kept_corpus_holds() {
    for (name, target) in targets::ALL {
        let kept = corpus(name);
        assert!(kept.len() >= 4, "{name} has {} inputs", kept.len());
        for path in kept {
            let data = fs::read(&path).unwrap();
            assert!(catch_unwind(|| target(&data)).is_ok(), "{}", path.display());
        }
    }
}

/// Inputs that are made from the kept ones, for each target.
const MADE: u64 = 20_000;

/// What is near the kept inputs holds too: without coverage to guide it, but in every run, everywhere.
#[test]
fn what_is_near_the_kept_corpus_holds() {
    for (name, target) in targets::ALL.iter().filter(|(name, _)| *name != "planted") {
        if let Some(input) = broken_near(name, *target, MADE) {
            panic!("{name}: {input:?} ({})", String::from_utf8_lossy(&input));
        }
    }
}

/// Negative control.
#[test]
fn control_what_is_near_the_kept_corpus_finds_a_planted_bug() {
    assert!(broken_near("planted", targets::planted, 20 * MADE).is_some());
}

/// An input that does not hold, among those that are made by random changes of kept ones.
fn broken_near(name: &str, target: targets::Target, made: u64) -> Option<Vec<u8>> {
    let kept: Vec<_> = corpus(name).iter().map(|path| fs::read(path).unwrap()).collect();
    let mut rng = fastrand::Rng::with_seed(20_261_127);
    (0..made).find_map(|_| {
        let input = changed(&kept, &mut rng);
        catch_unwind(|| target(&input)).is_err().then_some(input)
    })
}

/// Some of: a byte that is another, is gone or is there twice, a bit that is flipped, an end that is another
/// input's.
fn changed(kept: &[Vec<u8>], rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut input = kept[rng.usize(..kept.len())].clone();
    for _ in 0..rng.u32(1..5) {
        let at = rng.usize(..=input.len());
        match (rng.u32(..6), input.get(at).copied()) {
            (0, Some(_)) => input[at] = rng.u8(..),
            (1, Some(_)) => input[at] ^= 1 << rng.u32(..8),
            (2, Some(_)) => drop(input.remove(at)),
            (3, Some(byte)) => input.insert(at, byte),
            (4, _) => {
                let other = &kept[rng.usize(..kept.len())];
                input.truncate(at);
                input.extend_from_slice(&other[rng.usize(..=other.len())..]);
            }
            _ => input.insert(at, *rng.choice(b"%/:,.=-\"0a \0\xff").unwrap()),
        }
    }
    input
}

/// The same property over a reader that decodes twice does not hold.
#[test]
fn control_a_reader_that_decodes_twice_is_found() {
    targets::key(b"a%2541");
    assert!(catch_unwind(|| targets::planted(b"a%2541")).is_err());
}

#[test]
fn every_target_is_built_and_has_a_corpus() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for (name, _) in targets::ALL {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let text = fs::read_to_string(root.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(text.contains(&format!("targets::{name}(data)")), "{name}");
    }
    let folders = fs::read_dir(root.join("corpus")).unwrap().count();
    assert_eq!(folders, targets::ALL.len());
}
