//! The audit log: that nothing changes without a line, and that nothing happens to a line unseen.

mod commands;
mod digests;
mod refusals;
mod routes;
mod tamper;
mod writer;

use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proof_storage::audit::{
    Action, Audit, ChainKey, Entry, Folder, OnFailure, Options, Place, Stream, Sync,
};
use proof_storage::telemetry::Metrics;

/// What was written, for the test to read; refuses to write when it is told to.
#[derive(Clone, Default)]
struct Paper {
    text: Arc<Mutex<Vec<u8>>>,
    refuses: Arc<AtomicBool>,
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.refuses.load(Ordering::Acquire) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.text.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Paper {
    /// Every line as JSON, and none of them twice.
    fn take(&self) -> Vec<serde_json::Value> {
        let text = std::mem::take(&mut *self.text.lock().unwrap());
        let text = String::from_utf8(text).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn options(place: Place) -> Options {
    let on_failure = OnFailure::Refuse;
    Options { place, key: None, on_failure, head_interval: Duration::from_secs(3600) }
}

fn on_paper(paper: &Paper, on_failure: OnFailure) -> Audit {
    let options = Options { on_failure, ..options(Place::Log(Stream::to(paper.clone()))) };
    Audit::open(options, Metrics::new()).unwrap()
}

fn folder(path: &Path) -> Folder {
    let path = path.to_owned();
    Folder { path, segment_bytes: 1 << 20, daily: false, keep: None, sync: Sync::BeforeAnswer }
}

fn in_folder(folder: Folder, key: Option<&ChainKey>) -> Audit {
    let options = Options { key: key.cloned(), ..options(Place::Folder(folder)) };
    Audit::open(options, Metrics::new()).unwrap()
}

/// A store under a key, as the gate tells it.
fn stored(key: &str) -> Entry {
    let mut entry = Entry::of_service(Action::Store);
    entry.key = Some(key.to_owned());
    entry
}

async fn write(audit: &Audit, count: usize) {
    for number in 0..count {
        audit.submit(vec![stored(&format!("key/{number}"))]).written().await.unwrap();
    }
}
