//! The limit of a durable PUT: the engine's bare group commit, without HTTP or any of our code.
//!
//! Writer threads hand to one committer, who writes what has queued up as one batch and answers
//! all of them once it is synced; the design that `proof_storage`'s embedded store follows.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use super::Told;
use crate::Result;
use crate::figures::Series;
use crate::load::put_body;
use crate::process::cost_of;

/// The sub-command's options.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// A folder on the disk to measure.
    #[arg(long)]
    folder: PathBuf,
    /// Bytes of every value.
    #[arg(long)]
    size: usize,
    /// How long to write.
    #[arg(long)]
    seconds: u64,
    /// Threads that each wait for their own write.
    #[arg(long, default_value_t = 64)]
    writers: usize,
}

/// A commit that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most writes in one batch: bounds its memory, and no group of 64 writers reaches it.
const GROUP_LIMIT: usize = 1024;

struct Write {
    key: String,
    value: Vec<u8>,
    done: SyncSender<()>,
}

/// Writes, and prints what it saw as one line of JSON.
pub(crate) fn run(options: &Options) -> Result<()> {
    let database = Database::builder(&options.folder).open()?;
    let values = database.keyspace("values", || {
        KeyspaceCreateOptions::default().with_kv_separation(Some(KvSeparationOptions::default()))
    })?;
    let (queue, queued) = sync_channel(options.writers);
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    let latencies = thread::scope(|scope| -> Result<Vec<f64>> {
        let committer = scope.spawn(|| commit(&database, &values, queued));
        let stop = &stop;
        let writers: Vec<_> = (0..options.writers)
            .map(|writer| {
                let queue = queue.clone();
                scope.spawn(move || write(writer as u64, options.size, &queue, stop))
            })
            .collect();
        drop(queue);
        thread::sleep(Duration::from_secs(options.seconds));
        stop.store(true, Ordering::Relaxed);
        let mut latencies = Vec::new();
        for writer in writers {
            latencies.extend(writer.join().map_err(|_| "a writer panicked")?);
        }
        committer.join().map_err(|_| "the committer panicked")??;
        Ok(latencies)
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let cost = cost_of(std::process::id()).ok_or("no figures of the process")?;
    let writes = latencies.len() as f64;
    let latencies: Series = latencies.into_iter().collect();
    let told = Told {
        per_second: writes / seconds,
        p50: latencies.percentile(50.0),
        p99: latencies.percentile(99.0),
        cpu_micros: cost.cpu_seconds * 1e6 / writes,
        peak_resident: cost.peak_resident,
    };
    told.tell()
}

/// One writer: the next write only after the last is durable. Answers microseconds of each.
fn write(writer: u64, size: usize, queue: &SyncSender<Write>, stop: &AtomicBool) -> Vec<f64> {
    let (done, answer) = sync_channel(1);
    let body = put_body(writer, size);
    let mut latencies = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        let key = format!("bench/{writer}/{}", latencies.len());
        let write = Write { key, value: body.clone(), done: done.clone() };
        if queue.send(write).is_err() || answer.recv_timeout(PATIENCE).is_err() {
            break; // the committer failed, and says why itself
        }
        latencies.push(start.elapsed().as_secs_f64() * 1e6);
    }
    latencies
}

/// Writes whatever is queued as one batch, syncs, and answers, until the writers are gone.
fn commit(database: &Database, values: &Keyspace, queued: Receiver<Write>) -> Result<()> {
    while let Ok(first) = queued.recv() {
        let mut batch = database.batch().durability(Some(PersistMode::SyncData));
        let mut waiting = Vec::new();
        let mut next = Some(first);
        while let Some(write) = next {
            batch.insert(values, write.key, write.value);
            waiting.push(write.done);
            next = if waiting.len() < GROUP_LIMIT { queued.try_recv().ok() } else { None };
        }
        batch.commit()?;
        for done in waiting {
            // a writer that is gone no longer asks
            let _ = done.send(());
        }
    }
    Ok(())
}

/// Runs it as a process of its own, on a folder that it removes.
pub(crate) fn measure(folder: &Path, size: usize, duration: Duration) -> Result<Told> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["engine", "--size", &size.to_string()])
        .args(["--seconds", &duration.as_secs().to_string()])
        .arg("--folder")
        .arg(folder);
    let told = Told::hear(&mut command);
    std::fs::remove_dir_all(folder)?;
    told
}
