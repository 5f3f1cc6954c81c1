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

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_found_in_the_embedded_stores_folder_and_all_is_there_after_a_restart() {
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
        let store = open();
        assert_eq!(found_in(store.clone(), seals).await, (!seals, !seals));
        store.close();
        drop(store);
        assert_eq!(in_folder(folder.path()), !seals);
        let store: Arc<dyn Backend> = open();
        let client = service(&store, "2026", seals).await;
        for (name, body) in bodies() {
            assert!(client.get(&format!("/v1/proofs/{name}")).await.body == body, "{name}");
        }
    }
}
