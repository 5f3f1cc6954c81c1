//! A process that is killed, an upload that is cut off, a record that is damaged.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use super::*;

const CHILD: &str = "PROOF_STORAGE_TEST_CHILD_DATA";
const ACKNOWLEDGED: usize = 150;

/// Not a test of its own: the process that the next one kills. Says each name once it is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "the acknowledgements go to the parent")]
async fn child_writes_until_killed() {
    let Some(root) = std::env::var_os(CHILD) else {
        return;
    };
    let store = Arc::new(open(Path::new(&root)));
    let writers = (0..8_u64).map(|writer| {
        let store = Arc::clone(&store);
        async move {
            for n in 0.. {
                let (name, seed) = (format!("w{writer}/{n}"), writer * 1_000_000 + n);
                let size = if n % 16 == 15 { 1_300_000 } else { 3000 };
                put(&store, &name, &noise(seed + 1, size), PutMode::Create).await.unwrap();
                if n % 3 == 2 {
                    println!("\ndeleting w{writer}/{} 0 0", n - 1);
                    store.delete(&key(&format!("w{writer}/{}", n - 1)), None).await.unwrap();
                    println!("\ndeleted w{writer}/{} 0 0", n - 1);
                }
                println!("\nstored {name} {seed} {size}");
            }
        }
    });
    future::join_all(writers).await;
}

#[tokio::test]
async fn a_killed_process_loses_nothing_it_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child_writes_until_killed", "--nocapture"])
        .env(CHILD, &root)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut acknowledged: BTreeMap<String, Option<(u64, usize)>> = BTreeMap::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let [what @ ("stored" | "deleting" | "deleted"), name, seed, size] = words[..] else {
            continue;
        };
        if what == "deleting" {
            // From here until it is acknowledged the object may be there or not.
            acknowledged.remove(name);
            continue;
        }
        let object = (what == "stored").then(|| (seed.parse().unwrap(), size.parse().unwrap()));
        acknowledged.insert(name.to_owned(), object);
        if acknowledged.len() == ACKNOWLEDGED / 2 {
            let second = Embedded::open(options(&root)).unwrap_err();
            assert!(matches!(second, OpenError::Locked { .. }), "{second}");
        }
        if acknowledged.len() >= ACKNOWLEDGED {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(acknowledged.len() >= ACKNOWLEDGED);

    let store = open(&root);
    assert_eq!(store.damage(), Vec::<String>::new());
    for (name, object) in &acknowledged {
        match object {
            Some((seed, size)) => {
                assert_eq!(read(&store, name).await.unwrap(), noise(seed + 1, *size), "{name}");
            }
            None => {
                let gone = read(&store, name).await.unwrap_err();
                assert_eq!(gone.kind(), ErrorKind::NotFound, "{name} came back");
            }
        }
    }
    let (mut objects, mut after) = (0, None);
    loop {
        let request = ListRequest { prefix: String::new(), delimiter: None, limit: 1000, after };
        let page = store.list(&request).await.unwrap();
        objects += page.items.len() as u64;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(store.usage().await.unwrap().objects, objects, "the counters are exact");
}

#[tokio::test]
async fn chunks_of_an_upload_cut_off_are_collected_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let kept = noise(1, 2 << 20);
    {
        let store = open(folder.path());
        put(&store, "kept", &kept, PutMode::Create).await.unwrap();
        let id = store.shared.fresh_id();
        for chunk in 0..5_u32 {
            let row = (engine::body_key(id, chunk), body::frame(id, chunk, b"some bytes"));
            let began = (chunk == 0).then_some(id);
            store.queue.apply(Operation::Ahead { rows: vec![row], began }).await.unwrap();
        }
        assert_eq!(store.shared.engine.uploads.len().unwrap(), 1);
    }
    let store = open(folder.path());
    store.close();
    assert!(store.shared.engine.uploads.is_empty().unwrap());
    assert_eq!(store.shared.engine.body.len().unwrap(), 4, "the chunks of the kept one");
    assert_eq!(read(&store, "kept").await.unwrap(), kept);
}

/// Makes visible what a test wrote past the committer.
fn show(store: &Embedded) {
    store.shared.publish(store.shared.counters(), false);
}

#[tokio::test]
async fn a_damaged_record_is_never_served_and_can_be_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, "k", &noise(1, 100), PutMode::Create).await.unwrap();
    let row = store.shared.engine.meta.get("k").unwrap().unwrap();
    let mut damaged = row.to_vec();
    damaged[3] ^= 1;
    store.shared.engine.meta.insert("k", damaged).unwrap();
    show(&store);
    assert_eq!(read(&store, "k").await.unwrap_err().kind(), ErrorKind::Corrupt);
    let refused = put(&store, "k", &noise(2, 100), PutMode::Create).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Corrupt, "whether it is there cannot be decided");
    assert!(store.delete(&key("k"), None).await.unwrap() == Some(true));
    assert_eq!(read(&store, "k").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(store.usage().await.unwrap().objects, 0);
}

/// What is told of the store's state is for whoever asks for health: keys are not.
#[tokio::test]
async fn damaged_records_are_counted_and_not_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for name in ["secret/a", "secret/b", "whole"] {
        put(&store, name, &noise(1, 100), PutMode::Create).await.unwrap();
    }
    let engine = &store.shared.engine;
    let found = |damage: &mut Vec<String>| {
        let before = engine.recover((0, 0)).unwrap().counters;
        opening::recount(engine, before, damage).objects
    };
    let mut damage = Vec::new();
    assert_eq!((found(&mut damage), damage.len()), (3, 0));
    for name in ["secret/a", "secret/b"] {
        let mut row = engine.meta.get(name).unwrap().unwrap().to_vec();
        row[3] ^= 1;
        engine.meta.insert(name, row).unwrap();
    }
    assert_eq!(found(&mut damage), 1);
    assert_eq!(damage, ["records of proofs that are damaged: 2; the log names them"]);
}

#[tokio::test]
async fn a_body_in_the_place_of_another_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for (name, size) in
        [("small/a", 5000), ("small/b", 5000), ("large/a", 1_500_000), ("large/b", 1_500_000)]
    {
        put(
            &store,
            name,
            &noise(name.len() as u64 + u64::from(name.ends_with('b')), size),
            PutMode::Create,
        )
        .await
        .unwrap();
    }
    let engine = &store.shared.engine;
    for size in ["small", "large"] {
        let snapshot = engine.db.snapshot();
        let [a, b] = ["a", "b"].map(|name| {
            let name = key(&format!("{size}/{name}"));
            engine.record(&snapshot, &name).unwrap().unwrap().header.body
        });
        let [row_a, row_b] =
            [&a, &b].map(|body| engine.body_row(&snapshot, body, 0).unwrap().unwrap());
        engine.body.insert(engine::body_key(a.id, 0), row_b.to_vec()).unwrap();
        engine.body.insert(engine::body_key(b.id, 0), row_a.to_vec()).unwrap();
        show(&store);
        for name in ["a", "b"] {
            let swapped = read(&store, &format!("{size}/{name}")).await.unwrap_err();
            assert_eq!(swapped.kind(), ErrorKind::Corrupt);
        }
    }
}
