use tokio::time::Instant;

use super::*;
use crate::backend::conformance;
use crate::backend::faulty::{Fault, Faulty, Operation};
use crate::backend::memory::Memory;

const MINUTE: Duration = Duration::from_secs(60);

type Store = Arc<Faulty<Memory>>;

fn store() -> Store {
    Arc::new(Faulty::new(Memory::new(), 1))
}

fn policy() -> InventoryPolicy {
    InventoryPolicy::new("p/", 60 * MINUTE)
}

fn inventory(store: &Store) -> Arc<Inventory> {
    Arc::new(Inventory::new(store.clone(), policy()))
}

async fn put(backend: &dyn Backend, name: &str, bytes: usize) {
    let (key, payload) = (ObjectKey::new(name), bytes::Bytes::from(vec![b'x'; bytes]).into());
    backend.put(&key, payload, Attributes::new("a/b"), PutMode::Create).await.unwrap();
}

async fn figures(inventory: &Inventory) -> (u64, u64) {
    let usage = inventory.usage().await.unwrap();
    assert!(!usage.exact);
    (usage.objects, usage.stored_bytes)
}

/// Names of several shapes, none of which the walk knows beforehand.
async fn fill(store: &Store, count: usize) {
    for number in 0..count {
        let name = match number % 4 {
            0 => format!("p/2026/11/24/{number:06}"),
            1 => format!("p/{:08x}", number * 2_654_435_761 % (1 << 32)),
            2 => format!("p/é/{number}"),
            _ => format!("p/~{number}"),
        };
        put(&**store, &name, number % 7).await;
    }
    put(&**store, "other/1", 100).await;
    put(&**store, ".proof-storage/x", 100).await;
}

#[tokio::test(start_paused = true)]
async fn keeps_the_contract() {
    conformance::run(async || {
        let inventory = Inventory::new(Arc::new(Memory::new()), InventoryPolicy::new("", MINUTE));
        inventory.take().await.unwrap();
        Arc::new(inventory) as _
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn every_object_is_counted_once_by_however_many_lanes() {
    let store = store();
    fill(&store, 20_000).await;
    let bytes = (0..20_000_u64).map(|number| number % 7).sum::<u64>();
    for lanes in [1, 4, 16] {
        let policy = InventoryPolicy { lanes, ..policy() };
        let inventory = Inventory::new(store.clone(), policy);
        assert_eq!(inventory.usage().await.unwrap_err().kind(), ErrorKind::Unavailable);
        inventory.take().await.unwrap();
        assert_eq!(figures(&inventory).await, (20_000, bytes), "{lanes} lanes");
    }
}

#[tokio::test(start_paused = true)]
async fn lanes_share_the_work_and_a_small_store_costs_one_call() {
    let (small, large) = (store(), store());
    fill(&small, 900).await;
    fill(&large, 40_000).await;
    let listed = async |store: &Store, lanes: usize| {
        let slow = vec![Fault::Delay(Duration::from_millis(100)); 1000];
        store.script(Operation::List, slow);
        let (before, started) = (store.injected().len(), Instant::now());
        let inventory = Inventory::new(store.clone(), InventoryPolicy { lanes, ..policy() });
        inventory.take().await.unwrap();
        (store.injected().len() - before, started.elapsed())
    };
    assert_eq!(listed(&small, 4).await.0, 1);
    let (calls, alone) = listed(&large, 1).await;
    assert_eq!(calls, 40);
    let (calls, together) = listed(&large, 4).await;
    assert!(calls <= 80, "{calls} calls for 40 pages");
    assert!(together * 3 < alone * 2, "{together:?} with four lanes, {alone:?} with one");
}

#[tokio::test(start_paused = true)]
async fn what_is_done_in_between_is_added() {
    let store = store();
    fill(&store, 100).await;
    let inventory = inventory(&store);
    inventory.take().await.unwrap();
    let (objects, bytes) = figures(&inventory).await;
    put(&*inventory, "p/new", 10).await;
    put(&*inventory, "p/newer", 5).await;
    put(&*inventory, "elsewhere", 10).await;
    assert_eq!(figures(&inventory).await, (objects + 2, bytes + 15));
    let [new, newer, old] = ["p/new", "p/newer", "p/~3"].map(ObjectKey::new);
    inventory.rename(&new, &ObjectKey::new("p/moved"), PutMode::Create).await.unwrap();
    assert_eq!(figures(&inventory).await, (objects + 2, bytes + 15));
    inventory.delete(&newer, None).await.unwrap();
    inventory.delete(&newer, None).await.unwrap();
    assert_eq!(figures(&inventory).await, (objects + 1, bytes + 10));
    // How large it was nobody said: the next walk will know.
    inventory.delete(&old, None).await.unwrap();
    assert_eq!(figures(&inventory).await, (objects, bytes + 10));
    inventory.take().await.unwrap();
    assert_eq!(figures(&inventory).await, (objects, bytes + 10 - 3));
}

#[tokio::test(start_paused = true)]
async fn replicas_share_one_walk_and_its_figures_survive_a_restart() {
    let store = store();
    fill(&store, 5_000).await;
    let replicas = [inventory(&store), inventory(&store), inventory(&store)];
    let tasks = replicas.clone().map(|one| tokio::spawn(async move { one.keep().await }));
    tokio::time::sleep(10 * MINUTE).await;
    for replica in &replicas {
        assert_eq!(figures(replica).await.0, 5_000);
    }
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    let fresh = inventory(&store);
    // A walk would fail now: the figures come from the record.
    store.script(Operation::List, vec![Fault::Refuse(ErrorKind::Unavailable); 100]);
    fresh.round(&mut Watch::default()).await.unwrap();
    assert_eq!(figures(&fresh).await.0, 5_000);
}

#[tokio::test(start_paused = true)]
async fn a_start_counts_what_a_process_that_is_gone_has_not_told() {
    let store = store();
    fill(&store, 100).await;
    let key = &inventory(&store).record_key;
    let counted = async |age: Duration, watch: &mut Watch| {
        let then = SystemTime::now() - age;
        let (mut record, version) = Record::load(&*store, key).await.unwrap();
        record.taken = Some(Taken::new(Sums { objects: 7, stored_bytes: 7 }, then, then));
        record.save(&*store, key, version).await.unwrap();
        let fresh = inventory(&store);
        fresh.round(watch).await.unwrap();
        figures(&fresh).await.0
    };
    assert_eq!(counted(MINUTE, &mut Watch::default()).await, 7, "little can be missing");
    assert_eq!(counted(10 * MINUTE, &mut Watch::default()).await, 100);
    // Who was there all the time adds what it did itself.
    let mut running = Watch::default();
    tokio::time::sleep(20 * MINUTE).await;
    assert_eq!(counted(10 * MINUTE, &mut running).await, 7);
}

#[tokio::test(start_paused = true)]
async fn a_walk_goes_on_where_a_killed_one_stood() {
    let store = store();
    fill(&store, 30_000).await;
    let killed = Arc::new(Inventory::new(
        store.clone(),
        InventoryPolicy { save_every: Duration::from_millis(350), ..policy() },
    ));
    store.script(Operation::List, vec![Fault::Delay(Duration::from_millis(100)); 1000]);
    let walk = tokio::spawn({
        let killed = Arc::clone(&killed);
        async move { killed.keep().await }
    });
    tokio::time::sleep(Duration::from_millis(600)).await;
    walk.abort();
    drop(walk.await);
    let record = Record::load(&*store, &killed.record_key).await.unwrap().0;
    let done = record.walking.expect("it was under way").sums.objects;
    assert!((1_000..30_000).contains(&done), "{done}");

    let (before, heir) = (listings(&store), inventory(&store));
    let mut watched = Watch::default();
    heir.round(&mut watched).await.unwrap();
    assert_eq!(listings(&store), before, "it might be alive");
    tokio::time::sleep(2 * MINUTE).await;
    heir.round(&mut watched).await.unwrap();
    assert_eq!(figures(&heir).await.0, 30_000, "each counted once");
    let pages = (30_000 - done).div_ceil(1000) as usize;
    let calls = listings(&store) - before;
    assert!(calls <= 2 * pages, "{calls} calls for {pages} pages");
}

/// A record that is not what was written is taken anew, whatever of it is damaged.
#[tokio::test(start_paused = true)]
async fn a_damaged_record_is_replaced() {
    for fault in [Fault::FlipBit, Fault::Truncate, Fault::Refuse(ErrorKind::Corrupt)] {
        let store = store();
        fill(&store, 100).await;
        let first = inventory(&store);
        first.round(&mut Watch::default()).await.unwrap();
        put(&*store, "p/2027", 1).await;
        let second = inventory(&store);
        store.script(Operation::Get, [fault]);
        second.round(&mut Watch::default()).await.unwrap();
        assert_eq!(figures(&second).await.0, 101, "{fault:?}: counted again");
        let record = Record::load(&*store, &second.record_key).await.unwrap().0;
        assert!(record.taken.is_some(), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_walk_keeps_the_figures_and_comes_back() {
    let store = store();
    fill(&store, 3_000).await;
    let inventory = inventory(&store);
    let keeping = tokio::spawn({
        let inventory = Arc::clone(&inventory);
        async move { inventory.keep().await }
    });
    tokio::time::sleep(MINUTE).await;
    put(&*store, "p/2027", 1).await;
    store.script(Operation::List, vec![Fault::Refuse(ErrorKind::Unavailable); 6]);
    tokio::time::sleep(58 * MINUTE).await;
    assert_eq!(figures(&inventory).await.0, 3_000);
    tokio::time::sleep(20 * MINUTE).await;
    assert_eq!(figures(&inventory).await.0, 3_001);
    keeping.abort();
}

fn listings(store: &Store) -> usize {
    store.injected().iter().filter(|(operation, _)| *operation == Operation::List).count()
}
