//! The stores that are damaged: how they came to be, their files, and what is read back.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fastrand::Rng;
use futures_util::StreamExt as _;
use proof_storage::backend::Backend;
use proof_storage::backend::embedded::{Embedded, Options, Unobserved};
use proof_storage::model::{
    Attributes, Body, Digest, ErrorKind, GetOptions, ListRequest, ObjectKey, Payload, PutMode,
    Representation, StoreError,
};
use tokio::runtime::Runtime;

use super::damage::Damage;
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
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    key: String,
    /// Absent: deleted.
    body: Option<Bytes>,
}

impl History {
    /// The same history for the same seed.
    fn new(seed: u64) -> Self {
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

    fn keys(&self) -> impl Iterator<Item = &str> {
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

fn open(data: &Path) -> Result<Embedded> {
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

/// The files of a store, held in memory to be restored again and again.
#[derive(Debug)]
pub(super) struct Image {
    age: Age,
    history: History,
    files: Vec<ImageFile>,
    /// Where the journal's last record begins.
    last_record_at: u64,
}

/// One file. Journals are allocated ahead: the zeroes at their end are not kept.
#[derive(Debug)]
pub(super) struct ImageFile {
    /// Below the data directory.
    pub(super) path: PathBuf,
    /// Up to the last byte that is not zero.
    pub(super) bytes: Vec<u8>,
    length: u64,
}

impl ImageFile {
    /// Whether it is a journal of the engine.
    pub(super) fn is_journal(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "jnl")
    }
}

impl Image {
    /// Reads a store made by [`History::write`].
    pub(super) fn read(folder: &Path, age: Age) -> Result<Self> {
        let seed = fs::read_to_string(folder.join("seed"))?.parse()?;
        let mut image = Self::of_folder(&folder.join(age.to_string()), age, seed)?;
        image.last_record_at = fs::read_to_string(folder.join(format!("{age}.last")))?.parse()?;
        Ok(image)
    }

    fn of_folder(root: &Path, age: Age, seed: u64) -> Result<Self> {
        let mut files = Vec::new();
        collect(root, Path::new(""), &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        if let Some(folder) = root.parent() {
            fs::write(folder.join("seed"), seed.to_string())?;
        }
        Ok(Self { age, history: History::new(seed), files, last_record_at: 0 })
    }

    /// Which store.
    pub(super) fn age(&self) -> Age {
        self.age
    }

    /// How it came to be.
    pub(super) fn history(&self) -> &History {
        &self.history
    }

    /// Its files that hold anything.
    pub(super) fn files(&self) -> impl Iterator<Item = &ImageFile> {
        self.files.iter().filter(|file| !file.bytes.is_empty())
    }

    /// The file that a [`Place`] names.
    pub(super) fn file(&self, index: usize) -> &ImageFile {
        &self.files[index]
    }

    /// Whether a byte of a journal belongs to its last record (or comes after it).
    pub(super) fn is_last_record(&self, file: &Path, offset: u64) -> bool {
        let newest = self.newest_journal().is_ok_and(|journal| journal.path == file);
        newest && self.age == Age::Young && offset >= self.last_record_at
    }

    /// The journal that is written to.
    pub(super) fn newest_journal(&self) -> Result<&ImageFile> {
        let number = |file: &&ImageFile| {
            let name = file.path.file_stem().and_then(|stem| stem.to_str());
            name.and_then(|name| name.parse::<u64>().ok())
        };
        let journals = self.files().filter(|file| file.is_journal());
        journals.max_by_key(number).ok_or_else(|| "no journal".into())
    }

    fn journal_end(&self) -> Result<u64> {
        Ok(self.newest_journal()?.bytes.len() as u64)
    }

    /// Writes all files into a folder, which is emptied first.
    pub(super) fn restore(&self, root: &Path) -> Result<()> {
        if root.exists() {
            fs::remove_dir_all(root)?;
        }
        fs::create_dir_all(root)?;
        for file in &self.files {
            let path = root.join(&file.path);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let mut restored = File::create(path)?;
            restored.write_all(&file.bytes)?;
            restored.set_len(file.length)?;
        }
        Ok(())
    }

    /// Where the current bodies of up to 300 kB lie.
    pub(super) fn bodies(&self) -> Vec<Place> {
        let state = self.history.state_after(self.history.len());
        let mut places = Vec::new();
        for step in &self.history.steps {
            let Some(body) = step.body.as_ref().filter(|body| body.len() <= 300_000) else {
                continue;
            };
            let digest = Digest::of(body);
            if state.get(&step.key) != Some(&digest) {
                continue;
            }
            let found = self.files.iter().enumerate().find_map(|(file, image)| {
                let mut starts = memchr::memmem::find_iter(&image.bytes, &body[..64]);
                let offset = starts.find(|o| image.bytes[*o..].starts_with(body))?;
                Some(Place { file, offset, length: body.len(), digest })
            });
            places.extend(found);
        }
        places
    }

    /// Whether a reader that trusts the disk would take wrong bytes for one of these bodies.
    pub(super) fn fools_raw_reader(&self, places: &[Place], damage: &Damage) -> bool {
        places.iter().any(|place| {
            let file = &self.files[place.file];
            if file.path != damage.file() {
                return false;
            }
            let end = place.offset + place.length;
            let mut bytes = file.bytes[place.offset..end].to_vec();
            damage.apply_to(&mut bytes, place.offset as u64);
            Digest::of(&bytes) != place.digest
        })
    }
}

/// Where a body lies in the files.
#[derive(Debug)]
pub(super) struct Place {
    /// Index among all files.
    pub(super) file: usize,
    /// First byte.
    pub(super) offset: usize,
    /// Number of bytes.
    pub(super) length: usize,
    digest: Digest,
}

fn collect(root: &Path, below: &Path, files: &mut Vec<ImageFile>) -> Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            collect(root, &path, files)?;
            continue;
        }
        let mut bytes = fs::read(entry.path())?;
        let length = bytes.len() as u64;
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        bytes.truncate(end);
        files.push(ImageFile { path, bytes, length });
    }
    Ok(())
}

/// What is read of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Bytes that passed the check.
    Bytes(Digest),
    /// `NotFound`.
    Absent,
    /// `Corrupt`.
    Corrupt,
    /// Another error.
    Failed(String),
}

/// What a damaged store showed.
#[derive(Debug)]
pub(super) enum Seen {
    /// It did not open, and said why.
    Refused(String),
    /// A panic came out of the store.
    Panicked(String),
    /// It opened.
    Opened {
        /// What it reported.
        damage: Vec<String>,
        /// Every key of the history.
        reads: BTreeMap<String, Read>,
        /// The listing; `Err` where it failed.
        listed: std::result::Result<Vec<String>, String>,
    },
}

/// Opens a store and reads everything.
pub(super) fn observe(runtime: &Runtime, data: &Path, history: &History) -> Seen {
    let observed = catch_unwind(AssertUnwindSafe(|| {
        let store = match open(data) {
            Ok(store) => store,
            Err(refusal) => return Seen::Refused(refusal.to_string()),
        };
        let reads = history.keys().map(|key| (key.to_owned(), runtime.block_on(read(&store, key))));
        let reads = reads.collect();
        let listed = runtime.block_on(list(&store));
        let damage = store.damage();
        store.close();
        Seen::Opened { damage, reads, listed }
    }));
    observed.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Seen::Panicked(text.unwrap_or_default())
    })
}

/// Reads as the vault does: bytes count only if their digest is the one written beside them.
async fn read(store: &Embedded, key: &str) -> Read {
    let of_error = |error: StoreError| match error.kind() {
        ErrorKind::NotFound => Read::Absent,
        ErrorKind::Corrupt => Read::Corrupt,
        _ => Read::Failed(format!("{error:?}")),
    };
    let retrieved = match store.get(&ObjectKey::new(key), GetOptions::default()).await {
        Ok(retrieved) => retrieved,
        Err(error) => return of_error(error),
    };
    let mut body = Vec::new();
    match retrieved.body {
        Body::Bytes(bytes) => body.extend_from_slice(&bytes),
        Body::Stream(mut stream) => {
            while let Some(piece) = stream.next().await {
                match piece {
                    Ok(piece) => body.extend_from_slice(&piece),
                    Err(error) => return of_error(error),
                }
            }
        }
    }
    let digest = Digest::of(&body);
    match retrieved.meta.attributes.representation {
        Some(representation) if representation.stored_sha256 == digest => Read::Bytes(digest),
        _ => Read::Corrupt,
    }
}

async fn list(store: &Embedded) -> std::result::Result<Vec<String>, String> {
    let request = ListRequest { prefix: String::new(), delimiter: None, limit: 1000, after: None };
    let page = store.list(&request).await.map_err(|error| format!("{error:?}"))?;
    Ok(page.items.iter().map(|item| item.key.as_str().to_owned()).collect())
}
