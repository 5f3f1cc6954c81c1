//! What lies in the store tells nothing of what was sealed.

use std::path::Path;
use std::sync::Arc;

use fake_s3::{FakeS3, Personality};
use proof_storage::backend::Backend;
use proof_storage::backend::embedded::{self, Embedded, Unobserved};
use proof_storage::model::{Digest, GetOptions, ListRequest, Provider};

use super::{CANARY, memory, service};
use crate::s3::{examined, paced};

/// Bodies with the canary in them: whole, in a file, and gzipped.
fn bodies() -> [(&'static str, Vec<u8>); 3] {
    let large = [CANARY.as_bytes(), &[7; 9 << 20], CANARY.as_bytes()].concat();
    [
        ("small.bin", CANARY.into()),
        ("large.bin", large),
        ("text.json", format!("\"{}\"", CANARY.repeat(100)).into_bytes()),
    ]
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

/// All that the store has, bytes and what is said of them.
async fn everything(store: &Arc<dyn Backend>) -> Vec<u8> {
    let mut all = Vec::new();
    let request = ListRequest { prefix: String::new(), delimiter: None, limit: 1000, after: None };
    for item in store.list(&request).await.unwrap().items {
        let found = store.get(&item.key, GetOptions::default()).await.unwrap();
        all.extend_from_slice(format!("{:?}", found.meta.attributes).as_bytes());
        all.extend_from_slice(&found.body.collect().await.unwrap());
    }
    all
}

/// Stores with and without sealing; says whether the canary, or a digest, was found.
async fn found_in(store: Arc<dyn Backend>, seals: bool) -> (bool, bool) {
    let client = service(&store, "2026", seals).await;
    for (name, body) in bodies() {
        let path = format!("/v1/proofs/{name}");
        assert_eq!(client.put(&path, body.clone()).await.status, 201);
        let found = client.get(&path).await;
        assert!(found.body == body && !found.broken, "{name}");
    }
    let all = everything(&store).await;
    let digest = |(_, body): (_, Vec<u8>)| Digest::of(&body).to_hex();
    let digests = bodies().map(digest);
    let told = digests.iter().any(|digest| contains(&all, digest.as_bytes()));
    (contains(&all, CANARY.as_bytes()), told)
}

#[tokio::test]
async fn neither_bytes_nor_digests_are_found_in_any_store() {
    assert_eq!(found_in(memory(), true).await, (false, false));
    assert_eq!(found_in(memory(), false).await, (true, true), "the control");
    for (personality, provider) in [
        (Personality::Aws, Provider::S3),
        (Personality::R2, Provider::R2),
        (Personality::Garage, Provider::S3),
    ] {
        let server = FakeS3::start(personality).unwrap();
        let (store, _) = examined(&server, provider).await;
        assert_eq!(found_in(paced(&server, store), true).await, (false, false), "{personality:?}");
    }
}

fn in_folder(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.into_iter().any(|path| match path.is_dir() {
        true => in_folder(&path),
        false => contains(&std::fs::read(path).unwrap(), CANARY.as_bytes()),
    })
}

/// One life of a process: what it leaves running ends with it.
fn live<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(work)
}

#[test]
fn nothing_is_found_in_the_embedded_stores_folder_and_all_is_there_after_a_restart() {
    for seals in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let open = || {
            let options = embedded::Options {
                data_dir: folder.path().join("data"),
                cache_bytes: 8 << 20,
                disk_reserve_bytes: 0,
                observer: Arc::new(Unobserved),
            };
            Arc::new(Embedded::open(options).unwrap())
        };
        live(async {
            let store = open();
            assert_eq!(found_in(store.clone(), seals).await, (!seals, !seals));
            store.close();
        });
        assert_eq!(in_folder(folder.path()), !seals);
        live(async {
            let store: Arc<dyn Backend> = open();
            let client = service(&store, "2026", seals).await;
            for (name, body) in bodies() {
                assert!(client.get(&format!("/v1/proofs/{name}")).await.body == body, "{name}");
            }
        });
    }
}

/// Files without a name that this process has open, as the disk has them.
fn in_unnamed_files(text: &str) -> bool {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten().map(|entry| entry.path());
    let unnamed = |path: &std::path::PathBuf| {
        let target = std::fs::read_link(path).unwrap_or_default();
        target.to_string_lossy().ends_with("(deleted)")
    };
    open.into_iter()
        .filter(unnamed)
        .any(|path| std::fs::read(path).is_ok_and(|bytes| contains(&bytes, text.as_bytes())))
}

/// While a large body arrives: it waits in a file, and that is looked at before the last piece comes.
#[tokio::test]
async fn a_body_that_is_to_be_sealed_does_not_wait_in_plain() {
    for seals in [true, false] {
        let client = service(&memory(), "2026", seals).await;
        let text = format!("{CANARY} of {seals}");
        let piece = text.repeat(400_000 / text.len());
        let look = text.clone();
        let mut found = false;
        let pieces: Vec<Result<bytes::Bytes, std::io::Error>> =
            (0..8).map(|_| Ok(piece.clone().into())).collect();
        let (told, seen) = std::sync::mpsc::channel();
        let body =
            futures_util::StreamExt::inspect(futures_util::stream::iter(pieces), move |_| {
                told.send(in_unnamed_files(&look)).unwrap();
            });
        let request = axum::http::Request::put("/v1/proofs/a.txt")
            .body(axum::body::Body::from_stream(body))
            .unwrap();
        assert_eq!(client.send(request).await.status, 201);
        found |= seen.iter().any(|found| found);
        assert_eq!(found, !seals, "where it is not sealed it is found: the control");
        assert!(client.get("/v1/proofs/a.txt").await.body == piece.repeat(8));
    }
}
