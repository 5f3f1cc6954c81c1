//! Every backend against the contract, and planted bugs against the suite.

use std::collections::BTreeSet;
use std::sync::Arc;

use proof_storage::backend::conformance;
use proof_storage::backend::embedded::{self, Embedded, Unobserved};
use proof_storage::backend::faulty::Faulty;
use proof_storage::backend::memory::Memory;
use proof_storage::vault::{Sealed, Sealing};

use crate::planted::{BUGS, Planted};

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    conformance::run(async || Arc::new(Memory::new()) as _).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn embedded_keeps_the_contract() {
    let folders = std::cell::RefCell::new(Vec::new());
    conformance::run(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let options = embedded::Options {
            data_dir: folder.path().join("data"),
            cache_bytes: 8 << 20,
            disk_reserve_bytes: 0,
            observer: Arc::new(Unobserved),
        };
        folders.borrow_mut().push(folder);
        Arc::new(Embedded::open(options).expect("the store opens")) as _
    })
    .await;
}

/// Above sealed proofs all is as above any store, but for evidence: that lies as it lay, sealed for
/// its old name.
#[tokio::test(flavor = "multi_thread")]
async fn sealed_keeps_the_contract() {
    let folder = tempfile::tempdir().expect("a folder");
    for by_default in [true, false] {
        for case in conformance::CASES {
            if by_default && case.name().contains("::salvage_") {
                continue;
            }
            let sealing = Sealing { keyring: Some(crate::sealed::keyring("2026")), by_default };
            let sealed = Sealed::new(Arc::new(Memory::new()), sealing, folder.path().to_owned());
            let checked = case.check(Arc::new(sealed)).await;
            assert!(checked.is_ok(), "{by_default}: {checked:?}");
        }
    }
}

/// Negative control: each planted bug is found, by the case that is there for it.
#[tokio::test(flavor = "multi_thread")]
async fn suite_finds_every_planted_bug() {
    let mut missed = Vec::new();
    for &(bug, name) in BUGS {
        let case = conformance::case(name).unwrap_or_else(|| panic!("no case {name}"));
        // A bug that is a race may need another try.
        let mut found = false;
        for _ in 0..5 {
            found = found || case.check(Arc::new(Planted::new(bug))).await.is_err();
        }
        if !found {
            missed.push((bug, name));
        }
    }
    assert!(missed.is_empty(), "the suite misses {missed:?}");
}

/// The suite's own table: names are distinct and can be found again.
#[test]
fn case_names_are_distinct() {
    let names: BTreeSet<_> = conformance::CASES.iter().map(conformance::Case::name).collect();
    assert_eq!(names.len(), conformance::CASES.len());
    assert!(names.iter().all(|name| conformance::case(name).is_some_and(|c| c.name() == *name)));
    assert!(conformance::case("none").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn faulty_without_faults_keeps_the_contract() {
    conformance::run(async || Arc::new(Faulty::new(Memory::new(), 1)) as _).await;
}
