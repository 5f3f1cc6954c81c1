//! Random sequences of calls, made to a store and to the model alike: every answer must agree.
//!
//! The model is [`Memory`]. Where a store can be closed and opened again, a restart is one of the
//! calls: nothing may change by it. Version tokens differ between stores, so a call names a
//! version by the write that made it.

mod operation;
mod play;

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;

use proof_storage::backend::Backend;
use proof_storage::backend::embedded::{self, Embedded, Unobserved};
use proof_storage::backend::memory::Memory;
use proof_storage::model::ListRequest;
use proptest::test_runner::{Config, TestError, TestRunner};

use self::operation::{Operation, sequence};
use self::play::play;
use crate::planted::{Bug, Planted};

type Store = Arc<dyn Backend>;

/// A store under test.
pub(crate) struct Subject {
    store: Option<Store>,
    /// Opens what was closed; absent where a store forgets, and restarts are left out.
    reopen: Option<Box<dyn FnMut() -> Store>>,
}

impl Subject {
    fn lasting(mut open: impl FnMut() -> Store + 'static) -> Self {
        Self { store: Some(open()), reopen: Some(Box::new(open)) }
    }

    fn forgetful(store: impl Backend) -> Self {
        Self { store: Some(Arc::new(store)), reopen: None }
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("a store is open but while it restarts")
    }

    fn restart(&mut self) {
        let Some(reopen) = &mut self.reopen else { return };
        self.store = None;
        self.store = Some(reopen());
    }
}

/// Plays random sequences to fresh stores; the shortest that shows a difference comes back.
fn search(cases: u32, shrink: u32, make: impl Fn() -> Subject) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let cases = match std::env::var("PROPTEST_CASES") {
        Ok(_) if shrink > 0 => Config::default().cases,
        _ => cases,
    };
    let config =
        Config { cases, max_shrink_iters: shrink, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config)
        .run(&sequence(), |operations: Vec<Operation>| runtime.block_on(play(make(), &operations)));
    match outcome {
        Ok(()) => Ok(()),
        Err(TestError::Fail(reason, operations)) => Err(format!("{reason}\n{operations:#?}")),
        Err(TestError::Abort(reason)) => panic!("no sequences could be made: {reason}"),
    }
}

#[test]
fn memory_agrees_with_itself() {
    let found = search(64, 500, || Subject::forgetful(Memory::new()));
    assert_eq!(found, Ok(()));
}

fn open_embedded(folder: &Path) -> Embedded {
    let options = embedded::Options {
        data_dir: folder.join("data"),
        cache_bytes: 8 << 20,
        disk_reserve_bytes: 0,
        observer: Arc::new(Unobserved),
    };
    Embedded::open(options).expect("the store opens")
}

#[test]
fn embedded_agrees_with_the_model_over_restarts() {
    let found = search(48, 200, || {
        let folder = tempfile::tempdir().expect("a folder");
        Subject::lasting(move || Arc::new(open_embedded(folder.path())))
    });
    assert_eq!(found, Ok(()));
}

/// Negative control: bugs that show in a sequence of calls are found within so many cases.
#[test]
fn planted_bugs_are_found() {
    const CASES: u32 = 400;
    let missed: Vec<Bug> = [
        Bug::CreateOverwrites,
        Bug::ReplaceIgnoresVersion,
        Bug::ReplaceCreates,
        Bug::DeleteIgnoresVersion,
        Bug::DeleteManySorts,
        Bug::ListByLocale,
        Bug::ListSkipsAtBorder,
        Bug::ListShortDelimiter,
        Bug::RangeShort,
        Bug::RangeClamps,
        Bug::GetIgnoresVersion,
        Bug::SwallowsAttributes,
        Bug::CopyDropsAttributes,
        Bug::CopyIgnoresMode,
        Bug::CopyOntoItself,
        Bug::RenameLeavesSource,
        Bug::EtagOfContent,
        Bug::UsageDrifts,
        Bug::CutsLargeBodies,
        Bug::FoldsCase,
    ]
    .into_iter()
    .filter(|&bug| search(CASES, 0, || Subject::forgetful(Planted::new(bug))).is_ok())
    .collect();
    assert!(missed.is_empty(), "not found in {CASES} cases: {missed:?}");
}

/// Negative control of the restart: a store that comes back without its last object.
#[test]
fn loss_at_a_restart_is_found() {
    let found = search(100, 0, || {
        let kept: RefCell<Option<Arc<Memory>>> = RefCell::new(None);
        Subject::lasting(move || {
            let store = kept.borrow_mut().get_or_insert_with(Default::default).clone();
            futures_util::future::FutureExt::now_or_never(lose_one(&store));
            store
        })
    });
    let report = found.expect_err("a lost object is found");
    assert!(report.contains("Restart"), "it takes a restart: {report}");
}

async fn lose_one(store: &Memory) {
    let all = ListRequest { prefix: String::new(), delimiter: None, limit: 1000, after: None };
    let page = store.list(&all).await.expect("memory lists");
    if let Some(item) = page.items.last() {
        store.delete(&item.key, None).await.expect("memory deletes");
    }
}
