//! A power cut in the middle of a sync: of the pages under way some are on the disk and some are
//! not, in no order. What was acknowledged before must be there, whole.
//!
//! The images are made by hand from a live directory: pages of the newest journal that no
//! acknowledged sync covers are set back to zeros, which is what a file system shows for a page
//! that never reached it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use proof_storage::backend::Backend;
use proof_storage::backend::embedded::{self, Embedded, Unobserved};
use proof_storage::model::{Attributes, Body, ErrorKind, GetOptions, ObjectKey, PutMode};

const PAGE: usize = 4096;

fn open(folder: &Path) -> Embedded {
    let options = embedded::Options {
        data_dir: folder.to_owned(),
        cache_bytes: 8 << 20,
        disk_reserve_bytes: 0,
        observer: Arc::new(Unobserved),
    };
    Embedded::open(options).expect("a store opens after a power cut")
}

fn body(seed: u8, size: usize) -> Bytes {
    (0..size).map(|at| (at / 7) as u8 ^ (at as u8).wrapping_mul(31) ^ seed | 1).collect()
}

async fn put(store: &Embedded, name: &str, bytes: &Bytes) {
    let (key, attributes) = (ObjectKey::new(name), Attributes::new("text/plain"));
    let stored = store.put(&key, bytes.clone().into(), attributes, PutMode::Overwrite).await;
    stored.expect("a write succeeds");
}

async fn read(store: &Embedded, name: &str) -> Result<Bytes, ErrorKind> {
    let found = store.get(&ObjectKey::new(name), GetOptions::default()).await;
    let mut stream = match found.map_err(|error| error.kind())?.body {
        Body::Bytes(bytes) => return Ok(bytes),
        Body::Stream(stream) => stream,
    };
    let mut bytes = BytesMut::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| error.kind())?);
    }
    Ok(bytes.freeze())
}

/// Copies a directory as a power cut would leave it: without a clean end.
fn image(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a readable folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => image(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("a copy")),
        }
    }
}

fn journal(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder.join("engine")).expect("an engine");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let journals = paths.filter(|path| path.extension().is_some_and(|ext| ext == "jnl"));
    journals.max().expect("a journal")
}

fn written(journal: &Path) -> Vec<u8> {
    let mut bytes = fs::read(journal).expect("a readable journal");
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    bytes
}

/// Plays: an acknowledged write of `size` bytes, then an overwrite that is cut; for every page of
/// the overwrite a reopening in which that page is missing.
async fn cut_while_overwriting(size: usize, pages: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let live = folder.path().join("live");
    let (old, new) = (body(2, size), body(64, size));
    let store = open(&live);
    put(&store, "other", &body(9, 5000)).await;
    put(&store, "a", &old).await;
    let acknowledged = written(&journal(&live)).len();
    let before = folder.path().join("before");
    image(&live, &before);
    put(&store, "a", &new).await;
    let after = written(&journal(&live));
    drop(store);

    let first = acknowledged.next_multiple_of(PAGE);
    let step = ((after.len() - first) / PAGE / pages).max(1) * PAGE;
    let mut lost = Vec::new();
    for hole in (first..after.len()).step_by(step) {
        let cut = folder.path().join(format!("cut-{hole}"));
        // Everything but the journal is as it was when the overwrite began.
        image(&before, &cut);
        let mut bytes = after.clone();
        let end = bytes.len().min(hole + PAGE);
        bytes[hole..end].fill(0);
        fs::write(journal(&cut), &bytes).expect("an image");
        let store = open(&cut);
        for (name, wanted) in [("a", &[&old, &new][..]), ("other", &[&body(9, 5000)][..])] {
            let found = read(&store, name).await;
            if !found.as_ref().is_ok_and(|found| wanted.contains(&found)) {
                lost.push((hole - acknowledged, name, found.map(|bytes| bytes.len())));
            }
        }
        assert_eq!(store.damage(), Vec::<String>::new(), "a power cut is no damage");
        drop(store);
        fs::remove_dir_all(cut).expect("an image can be removed");
    }
    assert!(lost.is_empty(), "acknowledged objects are not there after a cut: {lost:?}");
}

#[tokio::test]
async fn small_objects_survive_a_torn_sync() {
    cut_while_overwriting(100_000, 8).await;
}

#[tokio::test]
async fn large_objects_survive_a_torn_sync() {
    cut_while_overwriting(1_500_000, 16).await;
}
