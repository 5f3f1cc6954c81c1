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
