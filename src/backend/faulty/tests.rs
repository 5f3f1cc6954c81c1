//! Each fault against what really happened below.

use futures_util::FutureExt as _;

use super::*;
use crate::backend::memory::Memory;
use crate::model::Class;

fn key() -> ObjectKey {
    ObjectKey::new("proofs/a")
}

async fn put(store: &impl Backend, bytes: &'static [u8]) -> Result<Stored, StoreError> {
    let payload = Bytes::from_static(bytes).into();
    store.put(&key(), payload, Attributes::new("text/plain"), PutMode::Overwrite).await
}

async fn get(store: &impl Backend) -> Result<Bytes, StoreError> {
    store.get(&key(), GetOptions::default()).await?.body.collect().await
}

fn faulty() -> Faulty<Memory> {
    Faulty::new(Memory::new(), 1)
}

#[tokio::test]
async fn refused_calls_have_no_effect_and_lost_ones_have() {
    let store = faulty();
    store.script(
        Operation::Put,
        [Fault::Refuse(ErrorKind::Failed), Fault::Lose(ErrorKind::Indeterminate)],
    );
    assert_eq!(put(&store, b"one").await.unwrap_err().class(), Class::Failed);
    assert_eq!(get(store.inner()).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(put(&store, b"two").await.unwrap_err().class(), Class::Unknown);
    assert_eq!(get(store.inner()).await.unwrap(), "two", "it happened, and was reported failed");
    assert!(put(&store, b"three").await.is_ok(), "after the script all is well");

    store.script(Operation::DeleteMany, [Fault::Lose(ErrorKind::Timeout)]);
    let answers = store.delete_many(&[key(), key()]).await;
    assert!(answers.iter().all(|a| a.as_ref().unwrap_err().kind() == ErrorKind::Timeout));
    assert_eq!((answers.len(), store.injected().len()), (2, 3));
    assert_eq!(get(&store).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn hanging_calls_never_answer_and_delays_do() {
    let store = faulty();
    let second = std::time::Duration::from_secs(1);
    store.script(Operation::Put, [Fault::Hang, Fault::HangAfter, Fault::Delay(second)]);
    let day = second * 86_400;
    assert!(tokio::time::timeout(day, put(&store, b"one")).await.is_err());
    assert_eq!(store.inner().usage().await.unwrap().objects, 0);
    assert!(tokio::time::timeout(day, put(&store, b"two")).await.is_err());
    assert_eq!(get(store.inner()).await.unwrap(), "two");
    let before = tokio::time::Instant::now();
    assert!(put(&store, b"three").await.is_ok());
    assert_eq!(before.elapsed(), second);
}

#[tokio::test]
async fn bodies_are_damaged_and_their_metadata_is_not() {
    let store = faulty();
    put(&store, b"0123456789").await.unwrap();
    store.script(Operation::Get, [Fault::FlipBit, Fault::Truncate, Fault::BreakBody]);
    assert_eq!(get(&store).await.unwrap(), "0123446789");
    let found = store.get(&key(), GetOptions::default()).await.unwrap();
    assert_eq!(found.meta.stored_size, 10);
    assert_eq!(found.body.collect().await.unwrap(), "01234");
    assert_eq!(get(&store).await.unwrap_err().kind(), ErrorKind::Failed);
    assert_eq!(get(&store).await.unwrap(), "0123456789", "the stored bytes are whole");
}

#[tokio::test]
async fn stale_reads_answer_the_version_before() {
    let store = faulty();
    store.script(Operation::Get, [Fault::Stale, Fault::Stale]);
    store.script(Operation::Head, [Fault::Stale]);
    put(&store, b"old").await.unwrap();
    assert_eq!(get(&store).await.unwrap_err().kind(), ErrorKind::NotFound);
    put(&store, b"newer").await.unwrap();
    store.script(Operation::Put, [Fault::Refuse(ErrorKind::Failed)]);
    put(&store, b"refused").await.unwrap_err();
    assert_eq!(get(&store).await.unwrap(), "old");
    assert_eq!(store.head(&key()).await.unwrap().stored_size, 3);
    assert_eq!(get(&store).await.unwrap(), "newer");
}

#[tokio::test]
async fn same_seed_same_faults_in_the_asked_share() {
    let fault = Fault::Refuse(ErrorKind::Failed);
    let run = async |seed, other_calls: usize| {
        let store = Faulty::new(Memory::new(), seed);
        store.set_chances([Chance { operation: Operation::Probe, fault, probability: 0.25 }]);
        let mut failed = Vec::new();
        for _ in 0..4000 {
            failed.push(store.probe().await.is_err());
            for _ in 0..other_calls {
                store.usage().await.unwrap();
            }
        }
        failed
    };
    let first = run(7, 0).await;
    assert_eq!(first, run(7, 2).await, "calls of other operations shift nothing");
    assert_ne!(first, run(8, 0).await);
    let share = first.iter().filter(|&&failed| failed).count();
    assert!((900..1100).contains(&share), "a quarter of 4000 fails, not {share}");
}

#[tokio::test]
async fn healed_store_has_no_faults() {
    let store = faulty();
    let fault = Fault::Refuse(ErrorKind::Failed);
    store.set_chances([Chance { operation: Operation::Put, fault, probability: 1.0 }]);
    assert!(put(&store, b"one").await.is_err());
    store.set_chances([]);
    assert!(put(&store, b"one").await.is_ok());
    assert!(get(&store).now_or_never().unwrap().is_ok());
}

#[test]
#[should_panic(expected = "Truncate cannot strike Put")]
fn fault_that_cannot_strike_is_refused() {
    faulty().script(Operation::Put, [Fault::Truncate]);
}
