//! The stores that are damaged, and how they came to be: writes of known order.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use proof_storage::backend::Backend;
use proof_storage::backend::embedded::{Embedded, Options, Unobserved};
use proof_storage::model::{
    Attributes, Digest, ObjectKey, Payload, PutMode, Representation, StoreError,
};

use super::image::Image;
use crate::corpus;
use crate::{Result, interrupt};

const OBJECTS: usize = 200;
/// Small ones at the end, so that the last 4 KiB of the journal hold several records.
const LAST_OBJECTS: usize = 30;

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Age {
    /// As a kill left it; everything is in the journal.
    Young,
    /// Closed; everything is in tables and blob files.
    Grown,
}

impl Age {
    /// Both, young first.
    pub(super) const ALL: [Self; 2] = [Self::Young, Self::Grown];
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Young => "young",
            Self::Grown => "grown",
        })
    }
}

/// What a key holds after some of the writes.
pub(super) type State = BTreeMap<String, Digest>;

/// The writes that made a store, one after another.
#[derive(Debug)]
pub(super) struct History {
    pub(super) steps: Vec<Step>,
}

/// One write.
#[derive(Debug)]
pub(super) struct Step {
    /// Object key.
    pub(super) key: String,
    /// Bytes that were stored. Absent: deleted.
    pub(super) body: Option<Bytes>,
}

impl History {
    /// The same history for the same seed.
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let mut steps: Vec<Step> = Vec::new();
        for number in 0..OBJECTS + LAST_OBJECTS {
            // 1 to 300 kB, most of them small; two in chunks.
            let size = match number {
                _ if number >= OBJECTS => rng.usize(100..400),
                60 | 120 => 1_300_000,
                _ => match rng.u32(0..20) {
                    0 => rng.usize(60_000..300_000),
                    1..=3 => rng.usize(8_000..60_000),
                    _ => rng.usize(1_000..8_000),
                },
            };
            let body = Some(Bytes::from(corpus::sized(&mut rng, size).body));
            steps.push(Step { key: format!("proofs/{number:03}"), body });
            // Every tenth time an earlier one is replaced or deleted.
            let earlier = format!("proofs/{:03}", rng.usize(0..=number));
            match number % 20 {
                9 => {
                    let body = Some(Bytes::from(corpus::sized(&mut rng, 2_000).body));
                    steps.push(Step { key: earlier, body });
                }
                19 => steps.push(Step { key: earlier, body: None }),
                _ => {}
            }
        }
        Self { steps }
    }

    /// Makes a store by this history, below a folder.
    pub(super) fn write(folder: &Path, age: Age, seed: u64) -> Result<()> {
        let data = folder.join("making");
        let history = Self::new(seed);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
        let store = open(&data)?;
        for (number, step) in history.steps.iter().enumerate() {
            interrupt::check()?;
            if number + 1 == history.steps.len() {
                let end = Image::of_folder(&data, age, seed)?.journal_end()?;
                fs::write(folder.join(format!("{age}.last")), end.to_string())?;
            }
            runtime.block_on(step.apply(&store)).map_err(|error| format!("{error:?}"))?;
        }
        if age == Age::Grown {
            store.close();
            drop(store);
            flush(&data.join("engine"))?;
            // Opened and closed once more, as a service that was restarted.
            let store = open(&data)?;
            store.close();
            drop(store);
            fs::rename(&data, folder.join(age.to_string()))?;
        } else {
            // A copy of the open store is what a kill leaves: nothing is written any more.
            Image::of_folder(&data, age, seed)?.restore(&folder.join(age.to_string()))?;
            drop(store);
            fs::remove_dir_all(&data)?;
        }
        Ok(())
    }

    /// What the store holds after the first so many writes.
    pub(super) fn state_after(&self, steps: usize) -> State {
        let mut state = State::new();
        for step in &self.steps[..steps] {
            match &step.body {
                Some(body) => state.insert(step.key.clone(), Digest::of(body)),
                None => state.remove(&step.key),
            };
        }
        state
    }

    /// Number of writes.
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether a key ever held bytes of this digest.
    pub(super) fn ever(&self, key: &str, digest: &Digest) -> bool {
        let held = |body: &Bytes| Digest::of(body) == *digest;
        self.steps.iter().any(|step| step.key == key && step.body.as_ref().is_some_and(held))
    }

    /// Every key that ever held anything.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.steps.iter().map(|step| step.key.as_str())
    }
}

impl Step {
    async fn apply(&self, store: &Embedded) -> std::result::Result<(), StoreError> {
        let key = ObjectKey::new(self.key.as_str());
        let Some(body) = &self.body else {
            return store.delete(&key, None).await.map(drop);
        };
        let mut attributes = Attributes::new("application/c2pa");
        let digest = Digest::of(body);
        attributes.representation =
            Some(Representation { sha256: digest, size: body.len() as u64, stored_sha256: digest });
        store.put(&key, Payload::from(body.clone()), attributes, PutMode::Overwrite).await.map(drop)
    }
}

/// Opens a store as the service would, with a small cache.
pub(super) fn open(data: &Path) -> Result<Embedded> {
    let options = Options {
        data_dir: data.to_owned(),
        cache_bytes: 8 << 20,
        disk_reserve_bytes: 0,
        observer: Arc::new(Unobserved),
    };
    Embedded::open(options).map_err(Into::into)
}

/// Moves everything from the journal into tables, which a busy store does by itself after some
/// tens of megabytes: too much to read back thousands of times.
fn flush(engine: &Path) -> Result<()> {
    let database = fjall::Database::builder(engine).open()?;
    for name in database.list_keyspace_names() {
        let keyspace = database.keyspace(&name, fjall::KeyspaceCreateOptions::default)?;
        keyspace.rotate_memtable_and_wait()?;
    }
    Ok(())
}
