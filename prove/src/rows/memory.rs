//! Row 11: 64 large uploads at once into a service that may use 256 MiB.
//!
//! A control group kills the service if it takes more than 256 MiB; its greatest resident set is
//! read from the kernel. A client that is asked to come back later (503 with Retry-After) does
//! so. All bodies are read back, and their digests compared.
//!
//! Control: a store that holds uploads in memory must be killed by the same cap.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use sha2::{Digest as _, Sha256};

use super::{Context, Outcome};
use crate::cgroup::MemoryCap;
use crate::client::{Client, Sha};
use crate::server::{Launch, was_killed};
use crate::{Failure, Result, interrupt};

const UPLOADS: u64 = 64;
const CAP: u64 = 256 << 20;
const RSS_GOAL: u64 = 192 << 20;
const START_LIMIT: Duration = Duration::from_secs(30);
/// For all uploads of one size, retries included.
const UPLOAD_LIMIT: Duration = Duration::from_secs(900);

/// Runs the row.
///
/// # Errors
/// The harness could not come to an end.
pub(crate) fn run(context: &Context) -> Result<Outcome> {
    if let Err(why) = MemoryCap::new("trial", CAP) {
        return Ok(Outcome::skipped(why.to_string()));
    }
    let sizes: &[u64] = context.count(&[1, 16, 256], &[1, 16]);
    let mut amiss = Vec::new();
    let mut counts = Vec::new();
    for &mebibytes in sizes {
        let data = context.work().join("memory");
        let launch = context
            .service(&data, "memory")
            .with("STORAGE_MAX_OBJECT_BYTES", (1_u64 << 30).to_string());
        let run = upload(&launch, mebibytes << 20, context.seed())?;
        std::fs::remove_dir_all(&data)?;
        if let Some(ended) = run.ended {
            amiss.push(format!("{mebibytes} MiB: the service ended: {ended}"));
        }
        if run.right < UPLOADS {
            let (right, first) = (run.right, run.first_failure);
            amiss.push(format!("{mebibytes} MiB: {right} of {UPLOADS} came back right: {first}"));
        }
        if run.peak_rss > RSS_GOAL {
            amiss.push(format!("{mebibytes} MiB: {} MiB resident", run.peak_rss >> 20));
        }
        counts.push(format!(
            "{UPLOADS} × {mebibytes} MiB: {} right, peak RSS {} MiB, {} asked to come back later, {} s",
            run.right,
            run.peak_rss >> 20,
            run.later,
            run.took.as_secs()
        ));
    }
    let data = context.work().join("memory-control");
    let launch = context.stand_in("buffer", &data, "memory-control")?;
    let control = upload(&launch, 16 << 20, context.seed())?;
    std::fs::remove_dir_all(&data)?;
    let caught = control.killed;
    let told = match &control.ended {
        Some(ended) => format!("a store that buffers 64 × 16 MiB ended: {ended}"),
        None => "a store that buffers was not killed".into(),
    };
    Ok(Outcome::judged(&amiss, counts.join(". "), caught, told))
}

#[derive(Debug, Default)]
struct Run {
    right: u64,
    later: u64,
    peak_rss: u64,
    took: Duration,
    first_failure: String,
    /// How the process ended before it was told to.
    ended: Option<String>,
    killed: bool,
}

fn upload(launch: &Launch, size: u64, seed: u64) -> Result<Run> {
    let cap = MemoryCap::new("service", CAP)?;
    let launch = launch.clone().through(cap.wrapper());
    let (mut server, _) = launch.start_ready(START_LIMIT)?;
    let address = server.address();
    let start = Instant::now();
    let later = AtomicU64::new(0);
    let failure = Mutex::new(String::new());
    let fail = |text: String| {
        if let Ok(mut first) = failure.lock().map_err(drop)
            && first.is_empty()
        {
            *first = text;
        }
    };
    let (later_of, fail_of) = (&later, &fail);
    let stored: Vec<Option<(String, Sha)>> = thread::scope(|scope| {
        let handles: Vec<_> = (0..UPLOADS)
            .map(|number| {
                scope.spawn(move || {
                    let key = format!("large/{number:02}.c2pa");
                    // How long a disk takes for all of it is no part of the goal.
                    let mut client = Client::new(address).with_timeout(UPLOAD_LIMIT);
                    store(&mut client, &key, size, seed ^ number, later_of)
                        .map(|sha| (key, sha))
                        .map_err(|failure| fail_of(failure.to_string()))
                        .ok()
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().ok().flatten()).collect()
    });
    interrupt::check()?;
    let mut run = Run { later: later.into_inner(), ..Run::default() };
    let mut client = Client::new(address).with_timeout(Duration::from_secs(120));
    for (key, sha) in stored.into_iter().flatten() {
        interrupt::check()?;
        match client.get_digest(&key) {
            Ok((200, found, length)) if found == sha && length == size => run.right += 1,
            Ok((status, _, length)) => fail(format!("{key}: {status} with {length} bytes")),
            Err(error) => {
                fail(format!("{key}: {error}"));
                break;
            }
        }
    }
    run.took = start.elapsed();
    // An out-of-memory kill is seen a moment after its connections are gone.
    match server.wait(Duration::from_millis(if run.right < UPLOADS { 2_000 } else { 0 }))? {
        Some(status) => {
            run.killed = was_killed(status);
            run.ended = Some(status.to_string());
        }
        None => run.peak_rss = server.peak_rss()?,
    }
    drop(server);
    run.first_failure = failure.into_inner().map_err(|_| Failure::from("a client panicked"))?;
    Ok(run)
}

/// Stores a body that is made while it is sent; comes back when asked to.
fn store(client: &mut Client, key: &str, size: u64, seed: u64, later: &AtomicU64) -> Result<Sha> {
    let start = Instant::now();
    while start.elapsed() < UPLOAD_LIMIT {
        interrupt::check()?;
        let mut rng = Rng::with_seed(seed);
        let mut block = vec![0; 256 * 1024];
        rng.fill(&mut block);
        let mut hasher = Sha256::new();
        let answer = client.put_stream(key, size, |piece| {
            // New bytes in each piece, without paying for 256 KiB of random ones.
            let stamp = rng.u64(..).to_le_bytes();
            block[..8].copy_from_slice(&stamp);
            piece.copy_from_slice(&block[..piece.len()]);
            hasher.update(&*piece);
        })?;
        match answer.status() {
            200 | 201 => return Ok(Sha::from_hasher(hasher)),
            503 => {
                let wait = answer.head.header("retry-after").and_then(|v| v.parse().ok());
                let seconds: u64 = wait.ok_or("503 without Retry-After")?;
                later.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_secs(seconds.min(5)));
            }
            _ => return Err(format!("storing {key} answered {}", answer.label()).into()),
        }
    }
    Err(format!("storing {key} was put off for {UPLOAD_LIMIT:?}").into())
}
