use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::time::Instant;

use super::*;
use crate::backend::conformance;
use crate::backend::faulty::{Fault, Faulty, Operation};
use crate::backend::memory::Memory;
use crate::model::Class;

const LIMIT: Duration = Duration::from_secs(3);
const SECOND: Duration = Duration::from_secs(1);

fn key() -> ObjectKey {
    ObjectKey::new("a")
}

fn limited() -> (Arc<Faulty<Memory>>, Timeout) {
    let store = Arc::new(Faulty::new(Memory::new(), 1));
    (store.clone(), Timeout::new(store, LIMIT))
}

async fn put(backend: &Timeout, bytes: usize) -> Result<Stored, StoreError> {
    let payload = Bytes::from(vec![7; bytes]).into();
    backend.put(&key(), payload, Attributes::new("text/plain"), PutMode::Overwrite).await
}

#[tokio::test(start_paused = true)]
async fn hanging_calls_end_in_a_timeout_after_the_limit() {
    let (store, backend) = limited();
    store.script(Operation::Delete, [Fault::Hang, Fault::Delay(LIMIT - SECOND)]);
    let started = Instant::now();
    let error = backend.delete(&key(), None).await.unwrap_err();
    assert_eq!((error.kind(), error.class()), (ErrorKind::Timeout, Class::Unknown));
    assert_eq!(started.elapsed(), LIMIT);
    assert_eq!(backend.delete(&key(), None).await.unwrap(), Some(false));
    store.script(Operation::DeleteMany, [Fault::HangAfter]);
    let answers = backend.delete_many(&[key(), key()]).await;
    assert!(answers.iter().all(|a| a.as_ref().unwrap_err().kind() == ErrorKind::Timeout));
    assert_eq!(answers.len(), 2);
}

/// What is lost with its connection is found out before the whole limit is over.
#[tokio::test(start_paused = true)]
async fn reads_must_begin_within_a_quarter_of_the_limit() {
    for (limit, wanted) in [(40, 10), (8, 2), (4, 2), (1, 1)] {
        let store = Arc::new(Faulty::new(Memory::new(), 1));
        let backend = Timeout::new(store.clone(), SECOND * limit);
        for operation in [Operation::Head, Operation::Get] {
            store.script(operation, [Fault::Hang]);
        }
        for get in [false, true] {
            let started = Instant::now();
            let error = match get {
                true => backend.get(&key(), GetOptions::default()).await.map(drop).unwrap_err(),
                false => backend.head(&key()).await.map(drop).unwrap_err(),
            };
            assert_eq!((error.kind(), started.elapsed()), (ErrorKind::Timeout, SECOND * wanted));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_keys_get_more_time_than_one() {
    let (store, backend) = limited();
    let many = vec![key(); 1000];
    store.script(Operation::DeleteMany, [Fault::Delay(LIMIT + SECOND * 49), Fault::Hang]);
    assert!(backend.delete_many(&many).await.iter().all(Result::is_ok));
    let started = Instant::now();
    assert!(backend.delete_many(&many).await.iter().all(Result::is_err));
    assert_eq!(started.elapsed(), LIMIT + SECOND * 50);
}

#[tokio::test(start_paused = true)]
async fn large_bodies_get_a_second_for_each_mebibyte() {
    let (store, backend) = limited();
    for (operation, is_copy) in [(Operation::Put, false), (Operation::Copy, true)] {
        store.script(operation, [Fault::Delay(LIMIT + SECOND), Fault::Hang]);
        let call = async |size| match is_copy {
            true => backend.copy(&key(), &ObjectKey::new("b"), PutMode::Overwrite).await,
            false => put(&backend, size).await,
        };
        call(2 << 20).await.unwrap();
        let started = Instant::now();
        assert_eq!(call(2 << 20).await.unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(started.elapsed(), LIMIT + SECOND * 2);
    }
    store.script(Operation::Put, [Fault::Delay(LIMIT + SECOND)]);
    assert!(put(&backend, 10).await.is_err());
}

/// Pieces, each after so many seconds; a body that hangs has no end.
fn body(pieces: &'static [(u64, &'static str)], hangs: bool) -> TimedBody {
    let pieces = stream::iter(pieces).then(|&(seconds, piece)| async move {
        tokio::time::sleep(SECOND * seconds as u32).await;
        Ok(Bytes::from_static(piece.as_bytes()))
    });
    let stream: crate::model::BodyStream = match hangs {
        true => Box::pin(pieces.chain(stream::pending())),
        false => Box::pin(pieces),
    };
    TimedBody::new(stream, LIMIT, LIMIT * 3, Provider::Memory)
}

async fn read(
    mut body: impl Stream<Item = Result<Bytes, StoreError>> + Unpin,
) -> (String, Option<ErrorKind>) {
    let mut text = String::new();
    let mut failure = None;
    while let Some(piece) = body.next().await {
        assert_eq!(failure, None, "nothing comes after an error");
        match piece {
            Ok(bytes) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
            Err(error) => failure = Some(error.kind()),
        }
    }
    (text, failure)
}

#[tokio::test(start_paused = true)]
async fn body_may_take_its_time_but_not_pause() {
    let started = Instant::now();
    let slow = body(&[(2, "a"), (2, "b"), (2, "c"), (2, "d")], false);
    assert_eq!(read(slow).await, ("abcd".to_owned(), None));
    assert_eq!(started.elapsed(), SECOND * 8);

    let started = Instant::now();
    let stalled = body(&[(1, "a"), (2, "b")], true);
    assert_eq!(read(stalled).await, ("ab".to_owned(), Some(ErrorKind::Timeout)));
    assert_eq!(started.elapsed(), SECOND * 3 + LIMIT);

    // Three times the limit is what all of it may take.
    let endless: &[(u64, &str)] = &[(2, "x"); 100];
    let started = Instant::now();
    let trickling = body(endless, false);
    assert_eq!(read(trickling).await, ("xxxx".to_owned(), Some(ErrorKind::Timeout)));
    assert_eq!(started.elapsed(), LIMIT * 3);

    let dribbling = body(&[(1, "a"), (2, ""), (2, ""), (2, "b")], false);
    assert_eq!(read(dribbling).await, ("a".to_owned(), Some(ErrorKind::Timeout)));
}

#[tokio::test(start_paused = true)]
async fn slow_reader_is_no_slow_backend() {
    let mut body = body(&[(1, "a"), (1, "b"), (1, "c")], false);
    for _ in 0..3 {
        assert!(body.next().await.unwrap().is_ok());
        tokio::time::sleep(LIMIT * 10).await;
    }
    assert!(body.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    conformance::run(async || Arc::new(Timeout::new(Arc::new(Memory::new()), LIMIT * 100)) as _)
        .await;
}
