//! Very many lines that wait: what a start, a read, a listing and `/health` make of them. Members are stores in
//! memory: a simulation, and its times (printed, never asserted) are of the work in the process alone.
#![allow(clippy::print_stderr, reason = "times are for whoever runs it with --nocapture")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use proof_storage::backend::Backend;
use proof_storage::model::{ErrorKind, ListRequest, PoolMode};
use proof_storage::pool::Pool;

use super::ring::{NAMESPACE, Ring, create, key, read, settle};

/// Lines of one segment: as many as the pool writes at once.
const SEGMENT: usize = 1000;

/// A mirror of which `m1` was dark while half of so many lines were written about copies and half about deletes,
/// and the replica that wrote them.
async fn waiting(lines: usize) -> (Ring, Arc<Pool>) {
    let ring = Ring::new(PoolMode::Mirror, 2);
    let pool = ring.replica();
    for number in 0..10 {
        create(&*pool, &format!("gone/{number:06}"), "old").await;
    }
    settle(&pool).await;
    ring.darken(1);
    let writes = (0..lines / 2).map(|number| {
        let pool = Arc::clone(&pool);
        async move { create(&*pool, &format!("kept/{number:06}/a"), "text").await }
    });
    // As many callers at once as share a segment.
    stream::iter(writes).buffer_unordered(SEGMENT).collect::<()>().await;
    let names: Vec<_> = (0..lines / 2).map(|number| key(&format!("gone/{number:06}"))).collect();
    for page in names.chunks(SEGMENT) {
        assert!(pool.delete_many(page).await.iter().all(Result::is_ok));
    }
    (ring, pool)
}

/// Prints how long something took.
async fn timed<T>(what: &str, work: impl Future<Output = T>) -> T {
    #[expect(clippy::disallowed_methods, reason = "the time of the process, on paused time too")]
    let started = std::time::Instant::now();
    let done = work.await;
    eprintln!("{what}: {:?}", started.elapsed());
    done
}

/// The first names of the proofs.
async fn page(
    pool: &Pool,
    prefix: &str,
    delimiter: Option<&str>,
) -> Result<Vec<String>, ErrorKind> {
    let request = ListRequest {
        prefix: format!("{NAMESPACE}{prefix}"),
        delimiter: delimiter.map(Into::into),
        limit: 100,
        after: None,
    };
    let page = pool.list(&request).await.map_err(|error| error.kind())?;
    let names = page.items.iter().map(|item| item.key.to_string());
    Ok(names.chain(page.common_prefixes.iter().cloned()).collect())
}

/// Status, reads and listings with all lines waiting.
async fn answers_are_right(pool: &Pool, lines: usize) {
    let status = timed("status", async { pool.status() }).await;
    assert_eq!((status.repairs_pending, status.divergent), (lines as u64, 0));
    let waits: Vec<_> = status.members.iter().map(|member| member.pending_repairs).collect();
    assert_eq!(waits, [0, lines as u64]);
    timed("100 reads", async {
        for number in 0..50 {
            let name = format!("kept/{number:06}/a");
            assert_eq!(read(pool, &name).await.as_deref(), Ok("text"));
            let name = format!("gone/{number:06}");
            assert_eq!(read(pool, &name).await, Err(ErrorKind::NotFound));
        }
    })
    .await;
    let expected: Vec<_> =
        (0..100).map(|number| format!("{NAMESPACE}kept/{number:06}/a")).collect();
    assert_eq!(timed("a page of 100", page(pool, "", None)).await, Ok(expected));
    let folders = timed("a page of folders", page(pool, "", Some("/"))).await;
    assert_eq!(folders, Ok(vec![format!("{NAMESPACE}kept/")]));
    let expected: Vec<_> = (0..100).map(|number| format!("{NAMESPACE}kept/{number:06}/")).collect();
    let prefixes = timed("a page of 100 prefixes", page(pool, "kept/", Some("/"))).await;
    assert_eq!(prefixes, Ok(expected));
}

async fn all_is_right_with(lines: usize) {
    let (ring, writer) = timed("lines written", waiting(lines)).await;
    let records = ring.names(0, ".proof-storage/pool/").await;
    let segments = records.iter().filter(|name| name.contains("/repair/")).count();
    assert!((1..=2).contains(&(segments / (lines / SEGMENT))), "{segments} segments");
    eprintln!("-- the replica that wrote them, m1 is dark");
    answers_are_right(&writer, lines).await;

    eprintln!("-- another one, m1 is dark");
    let pool = ring.replica();
    timed("begin", async { pool.head(&key("kept/000000/a")).await.unwrap() }).await;
    assert_eq!(pool.status().repairs_pending, lines as u64);
    // What m1 keeps was never read: it could add a name.
    assert_eq!(page(&pool, "", None).await, Err(ErrorKind::Unavailable));

    // A member that takes its time: one segment after the other would take longer than the 2 s of a start.
    ring.slow(0, 2_200 / segments as u64);
    let slow = ring.replica();
    slow.head(&key("kept/000000/a")).await.expect("all segments were read in time");
    ring.heal(0);

    eprintln!("-- another one, m1 is there");
    ring.heal(1);
    let pool = ring.replica();
    timed("begin", async { pool.head(&key("kept/000000/a")).await.unwrap() }).await;
    answers_are_right(&pool, lines).await;
    timed("all repairs", settle(&pool)).await;
    assert_eq!(pool.status().repairs_pending, 0);
    for member in 0..2 {
        let kept = ring.kept(member, "kept/000099/a").await;
        assert_eq!((kept.as_deref(), ring.kept(member, "gone/000009").await), (Some("text"), None));
    }
    // What is settled stays known until nothing of it can be under way.
    tokio::time::sleep(Duration::from_secs(16 * 60)).await;
    timed("records removed", settle(&pool)).await;
    let records = ring.names(0, ".proof-storage/pool/").await;
    assert!(!records.iter().any(|name| name.contains("/repair/")), "{records:?}");
}

#[tokio::test(start_paused = true)]
async fn thousands_of_lines_change_no_answer() {
    all_is_right_with(4 * SEGMENT).await;
}

/// `just many-lines`, which prints how long each step took.
#[tokio::test(start_paused = true)]
#[ignore = "adds 15 s and more to the suite, and tries what the smaller one tries: `just many-lines`"]
async fn a_hundred_thousand_lines_change_no_answer() {
    all_is_right_with(100 * SEGMENT).await;
}
