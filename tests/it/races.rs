//! 64 writers, each with bytes of its own, race to create the same 1000 keys: each key is created
//! exactly once, and holds its winner's bytes.

use std::sync::Arc;

use bytes::Bytes;
use fake_s3::{FakeS3, Personality};
use proof_storage::backend::Backend;
use proof_storage::backend::embedded::{Embedded, Options, Unobserved};
use proof_storage::model::{
    Attributes, Digest, ErrorKind, GetOptions, ObjectKey, Provider, PutMode, Representation,
};

use crate::planted::{Bug, Planted};
use crate::s3::promises::layered;
use crate::s3::{examined, paced};

const WRITERS: usize = 64;
const KEYS: usize = 1000;

fn key(number: usize) -> ObjectKey {
    ObjectKey::new(format!("proofs/{number}"))
}

fn bytes_of(writer: usize) -> Bytes {
    Bytes::from(format!("{{\"writer\":{writer}}}"))
}

/// How many keys have not exactly one winner, or not its bytes.
async fn wrong_keys(backend: Arc<dyn Backend>) -> usize {
    let writers = (0..WRITERS).map(|writer| {
        let backend = Arc::clone(&backend);
        tokio::spawn(async move {
            let mut won = Vec::new();
            for number in 0..KEYS {
                let bytes = bytes_of(writer);
                let (sha256, size) = (Digest::of(&bytes), bytes.len() as u64);
                let mut attributes = Attributes::new("application/json");
                attributes.representation =
                    Some(Representation { sha256, size, stored_sha256: sha256 });
                let (key, mode) = (key(number), PutMode::Create);
                match backend.put(&key, bytes.into(), attributes, mode).await {
                    Ok(_) => won.push(number),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error:?}"),
                }
            }
            won
        })
    });
    let mut winners = vec![Vec::new(); KEYS];
    for (writer, task) in writers.collect::<Vec<_>>().into_iter().enumerate() {
        for number in task.await.expect("no writer panics") {
            winners[number].push(writer);
        }
    }
    let mut wrong = 0;
    for (number, winners) in winners.iter().enumerate() {
        let found = backend.get(&key(number), GetOptions::default()).await.expect("it is there");
        let found = found.body.collect().await.expect("it can be read");
        wrong += usize::from(!matches!(winners[..], [winner] if found == bytes_of(winner)));
    }
    wrong
}

async fn one_winner_on(personality: Personality, provider: Provider) {
    let server = FakeS3::start(personality).expect("the server starts");
    let (store, _) = examined(&server, provider).await;
    let store = layered(paced(&server, store));
    assert_eq!(wrong_keys(store).await, 0, "{personality:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_winner_for_each_key_on_aws() {
    one_winner_on(Personality::Aws, Provider::S3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_winner_for_each_key_on_r2() {
    one_winner_on(Personality::R2, Provider::R2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_winner_for_each_key_on_garage() {
    one_winner_on(Personality::Garage, Provider::S3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_winner_for_each_key_on_the_embedded_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        data_dir: folder.path().to_owned(),
        cache_bytes: 1 << 20,
        disk_reserve_bytes: 0,
        observer: Arc::new(Unobserved),
    };
    let store = Embedded::open(options).expect("the store opens");
    assert_eq!(wrong_keys(Arc::new(store)).await, 0);
}

/// Negative control.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_looks_first_and_writes_then_is_found() {
    assert!(wrong_keys(Arc::new(Planted::new(Bug::CreateRaces))).await > 0);
}
