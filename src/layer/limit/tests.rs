use futures_util::StreamExt as _;

use super::*;
use crate::backend::conformance;
use crate::backend::faulty::{Fault, Faulty, Operation};
use crate::backend::memory::Memory;
use crate::layer::of_west;
use crate::model::Class;
use crate::telemetry::Metrics;

const SECOND: Duration = Duration::from_secs(1);

fn key() -> ObjectKey {
    ObjectKey::new("a")
}

struct Bench {
    store: Arc<Faulty<Memory>>,
    limit: Limit,
    metrics: Metrics,
}

impl Bench {
    fn new(in_flight: usize) -> Self {
        let store = Arc::new(Faulty::new(Memory::new(), 1));
        let metrics = Metrics::new();
        let policy = LimitPolicy { in_flight, ..LimitPolicy::default() };
        Self { limit: Limit::new(store.clone(), policy, &of_west(&metrics)), store, metrics }
    }

    fn slow(&self, calls: usize, time: Duration) {
        self.store.script(Operation::Head, vec![Fault::Delay(time); calls]);
    }

    async fn head(&self) -> Result<ObjectMeta, StoreError> {
        self.limit.head(&key()).await
    }

    fn figure(&self, series: &str) -> u64 {
        let start =
            format!("proof_storage_backend_{series}{{backend=\"west\",provider=\"memory\"}} ");
        let text = self.metrics.render();
        text.lines().find_map(|line| line.strip_prefix(&start)).unwrap().parse().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn calls_wait_for_a_place_and_are_refused_after_their_patience() {
    let bench = Bench::new(2);
    // Two get a place at once, two more when those are done, and two lose their patience.
    bench.slow(4, SECOND * 3 / 4);
    let answers = futures_util::future::join_all((0..6).map(|_| bench.head())).await;
    let kinds: Vec<_> = answers.iter().map(|a| a.as_ref().unwrap_err().kind()).collect();
    assert_eq!(kinds[..4], [ErrorKind::NotFound; 4]);
    assert_eq!(kinds[4..], [ErrorKind::Unavailable; 2]);
    let refusal = answers[5].as_ref().unwrap_err();
    assert_eq!((refusal.class(), refusal.retry_after()), (Class::Failed, Some(SECOND)));
    assert!(refusal.is_unasked());
    assert!(!answers[0].as_ref().unwrap_err().is_unasked());
    assert_eq!(bench.store.injected().len(), 4, "refused calls do not reach the backend");
    assert_eq!((bench.figure("limit_refusals_total"), bench.figure("calls_in_flight")), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn dropped_calls_give_their_place_back() {
    let bench = Bench::new(1);
    bench.store.script(Operation::Head, [Fault::Hang]);
    let mut hanging = Box::pin(bench.head());
    assert!(futures_util::poll!(&mut hanging).is_pending());
    assert_eq!(bench.figure("calls_in_flight"), 1);
    // One that gives up while it waits takes no place with it.
    let mut waiting = Box::pin(bench.head());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    drop((waiting, hanging));
    assert_eq!(bench.figure("calls_in_flight"), 0);
    assert_eq!(bench.head().await.unwrap_err().kind(), ErrorKind::NotFound);
}

async fn stored_large(bench: &Bench) {
    let payload = Bytes::from(vec![7; 1 << 20]).into();
    let attributes = Attributes::new("text/plain");
    bench.limit.put(&key(), payload, attributes, PutMode::Create).await.unwrap();
}

async fn stream(bench: &Bench) -> Result<BodyStream, StoreError> {
    match bench.limit.get(&key(), GetOptions::default()).await?.body {
        Body::Stream(stream) => Ok(stream),
        Body::Bytes(_) => panic!("a large body is streamed"),
    }
}

#[tokio::test(start_paused = true)]
async fn streamed_body_keeps_its_place_until_it_ends_or_is_dropped() {
    let bench = Bench::new(1);
    stored_large(&bench).await;

    let mut body = stream(&bench).await.unwrap();
    body.next().await.unwrap().unwrap();
    assert!(bench.head().await.is_err());
    assert_eq!(bench.figure("calls_in_flight"), 1);
    while body.next().await.is_some() {}
    assert!(
        bench.head().await.is_ok(),
        "the end frees the place, though the reader keeps the body"
    );
    assert_eq!(bench.figure("calls_in_flight"), 0);

    let dropped = stream(&bench).await.unwrap();
    assert!(bench.head().await.is_err());
    drop(dropped);
    assert!(bench.head().await.is_ok());

    bench.store.script(Operation::Get, [Fault::BreakBody]);
    let broken = stream(&bench).await.unwrap();
    let (pieces, broken) = broken.into_future().await;
    assert!(pieces.unwrap().is_ok());
    let (error, _broken) = broken.into_future().await;
    assert!(error.unwrap().is_err());
    assert!(bench.head().await.is_ok(), "a failure frees the place");
}

#[tokio::test(start_paused = true)]
async fn many_deletes_take_one_place_and_probes_none() {
    let bench = Bench::new(1);
    let keys: Vec<_> = (0..100).map(|n| ObjectKey::new(n.to_string())).collect();
    assert!(bench.limit.delete_many(&keys).await.iter().all(Result::is_ok));
    bench.store.script(Operation::Head, [Fault::Hang]);
    let mut hanging = Box::pin(bench.head());
    assert!(futures_util::poll!(&mut hanging).is_pending());
    assert!(bench.limit.probe().await.is_ok());
    let answers = bench.limit.delete_many(&keys).await;
    assert_eq!(answers.len(), keys.len());
    assert!(answers.iter().all(|a| a.as_ref().unwrap_err().is_unasked()));
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    conformance::run(async || {
        let policy = LimitPolicy { in_flight: 16, patience: SECOND * 60 };
        Arc::new(Limit::new(Arc::new(Memory::new()), policy, &of_west(&Metrics::new()))) as _
    })
    .await;
}
