//! The gate over a store that fails on purpose, on paused time and without jitter.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::Notify;

use super::*;
use crate::backend::conformance;
use crate::backend::faulty::{Chance, Fault, Faulty, Operation};
use crate::backend::memory::Memory;
use crate::layer::{Limit, LimitPolicy, of_west};
use crate::telemetry::{BreakerState, Metrics};

const SECOND: Duration = Duration::from_secs(1);
const DOWN: Fault = Fault::Refuse(ErrorKind::Failed);

fn policy() -> BreakerPolicy {
    BreakerPolicy { jitter: 0.0, ..BreakerPolicy::default() }
}

fn everything() -> ListRequest {
    ListRequest { prefix: String::new(), delimiter: None, limit: 9, after: None }
}

struct Bench {
    store: Arc<Faulty<Memory>>,
    breaker: Breaker,
    metrics: Metrics,
}

impl Bench {
    fn new() -> Self {
        let store = Arc::new(Faulty::new(Memory::new(), 1));
        let metrics = Metrics::new();
        let breaker = Breaker::new(store.clone(), "west", policy(), &of_west(&metrics));
        Self { store, breaker, metrics }
    }

    fn fail_with(&self, kind: ErrorKind) {
        let fault = Fault::Refuse(kind);
        let chance = |operation| Chance { operation, fault, probability: 1.0 };
        self.store.set_chances([chance(Operation::Head), chance(Operation::Probe)]);
    }

    fn heal(&self) {
        self.store.set_chances([]);
    }

    async fn head(&self) -> Result<ObjectMeta, StoreError> {
        self.breaker.head(&ObjectKey::new("a")).await
    }

    async fn open(&self) {
        self.fail_with(ErrorKind::Failed);
        for _ in 0..5 {
            self.head().await.unwrap_err();
        }
        assert_eq!(self.is(), BreakerState::Open);
    }

    fn is(&self) -> BreakerState {
        self.breaker.status().state
    }

    /// Calls that reached the store while it failed.
    fn reached(&self) -> usize {
        self.store.injected().len()
    }

    fn figure(&self, series: &str) -> String {
        let text = self.metrics.render();
        let start = format!("proof_storage_backend_breaker_{series} ");
        text.lines().find_map(|line| line.strip_prefix(&start)).unwrap_or("none").to_owned()
    }
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_error_counts_or_does_not() {
    let counting =
        [ErrorKind::Failed, ErrorKind::Unavailable, ErrorKind::Misconfigured, ErrorKind::Timeout]
            .map(|kind| (kind, BreakerState::Open));
    let answers = [
        ErrorKind::NotFound,
        ErrorKind::AlreadyExists,
        ErrorKind::Contended,
        ErrorKind::PreconditionFailed,
        ErrorKind::AccessDenied,
        ErrorKind::QuotaExceeded,
        ErrorKind::Invalid,
        ErrorKind::Unsupported,
        ErrorKind::Corrupt,
    ]
    .map(|kind| (kind, BreakerState::Closed));
    for (kind, state) in counting.into_iter().chain(answers) {
        let bench = Bench::new();
        bench.fail_with(kind);
        for _ in 0..30 {
            let error = bench.head().await.unwrap_err();
            assert!(bench.is() == BreakerState::Open || error.kind() == kind);
        }
        assert_eq!(bench.is(), state, "{kind:?}");
    }
    // Lost answers, too.
    let bench = Bench::new();
    bench.store.script(Operation::Delete, [Fault::Lose(ErrorKind::Indeterminate); 5]);
    for _ in 0..5 {
        bench.breaker.delete(&ObjectKey::new("a"), None).await.unwrap_err();
    }
    assert_eq!(bench.is(), BreakerState::Open);
}

/// Five writes of one key that come too soon must not keep away the calls of all others.
#[tokio::test(start_paused = true)]
async fn a_busy_key_does_not_open_it_and_a_busy_backend_does() {
    let bench = Bench::new();
    bench.fail_with(ErrorKind::Unavailable);
    for _ in 0..19 {
        bench.head().await.unwrap_err();
        assert_eq!(bench.is(), BreakerState::Closed);
    }
    bench.head().await.unwrap_err();
    assert_eq!(bench.is(), BreakerState::Open, "all of twenty calls");
}

#[tokio::test(start_paused = true)]
async fn refused_calls_do_not_reach_the_backend_and_say_when_to_come() {
    let bench = Bench::new();
    bench.open().await;
    tokio::time::advance(SECOND / 4).await;
    let error = bench.head().await.unwrap_err();
    assert_eq!((error.kind(), error.class()), (ErrorKind::Unavailable, Class::Failed));
    assert_eq!(error.retry_after(), Some(SECOND * 3 / 4));
    assert!(error.detail().contains("west"), "{error}");
    let answers = bench.breaker.delete_many(&[ObjectKey::new("a"), ObjectKey::new("b")]).await;
    assert!(answers.iter().all(|a| a.as_ref().unwrap_err().kind() == ErrorKind::Unavailable));
    assert_eq!((answers.len(), bench.reached()), (2, 5));
}

#[tokio::test(start_paused = true)]
async fn status_and_metrics_tell_what_happened() {
    let bench = Bench::new();
    let handle = bench.breaker.handle();
    assert_eq!(handle.name(), "west");
    let fresh = handle.status();
    assert_eq!((fresh.state, fresh.last_error, fresh.retry_in), (BreakerState::Closed, None, None));
    assert_eq!(bench.figure("state{backend=\"west\",provider=\"memory\"}"), "0");

    bench.open().await;
    let status = handle.status();
    assert_eq!((status.state, status.retry_in), (BreakerState::Open, Some(SECOND)));
    assert_eq!(status.last_error.as_deref(), Some("injected: not done"));
    assert_eq!(bench.figure("state{backend=\"west\",provider=\"memory\"}"), "2");
    tokio::time::advance(SECOND).await;
    bench.head().await.unwrap_err();
    assert_eq!(handle.status().retry_in, Some(SECOND * 2));

    bench.heal();
    tokio::time::advance(SECOND * 2).await;
    assert_eq!(bench.head().await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(handle.status().state, BreakerState::Closed);
    assert!(handle.status().last_error.is_some(), "the latest failure stays on record");
    assert_eq!(bench.figure("state{backend=\"west\",provider=\"memory\"}"), "0");
    for (state, times) in [("open", "2"), ("half_open", "2"), ("closed", "1")] {
        let series =
            format!("transitions_total{{backend=\"west\",provider=\"memory\",state=\"{state}\"}}");
        assert_eq!(bench.figure(&series), times, "{state}");
    }
}

#[tokio::test(start_paused = true)]
async fn health_probes_open_and_close_it_without_traffic() {
    let bench = Bench::new();
    bench.fail_with(ErrorKind::Failed);
    for _ in 0..5 {
        bench.breaker.probe().await.unwrap_err();
    }
    assert_eq!(bench.is(), BreakerState::Open);
    bench.heal();
    assert!(bench.breaker.probe().await.is_err(), "not before its time");
    tokio::time::advance(SECOND).await;
    bench.breaker.probe().await.unwrap();
    assert_eq!(bench.is(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn half_open_lets_one_probe_through_and_no_call() {
    let bench = Bench::new();
    bench.open().await;
    tokio::time::advance(SECOND).await;
    bench.store.script(Operation::Probe, [Fault::Delay(SECOND)]);
    bench.heal();
    let before = bench.reached();
    let answers = futures_util::future::join_all((0..10).map(|_| bench.head())).await;
    let refused =
        answers.iter().filter(|a| a.as_ref().unwrap_err().kind() == ErrorKind::Unavailable);
    assert_eq!((refused.count(), bench.reached() - before), (9, 1));
    assert_eq!(bench.is(), BreakerState::Closed);
}

/// A write that finds out whether the backend is back would be in doubt where it is not.
#[tokio::test(start_paused = true)]
async fn callers_are_refused_while_the_probe_gets_no_answer() {
    let bench = Bench::new();
    bench.open().await;
    tokio::time::advance(SECOND).await;
    bench.heal();
    bench.store.script(Operation::Probe, [Fault::Hang]);
    let before = bench.reached();
    let error = bench.head().await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Unavailable, Some(SECOND * 2)));
    assert_eq!((bench.reached() - before, bench.is()), (1, BreakerState::Open));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_falls_silent_is_given_up_and_nobody_waits_on() {
    let bench = Bench::new();
    bench.store.script(Operation::Head, [Fault::Hang; 3]);
    bench.store.script(Operation::Put, [Fault::HangAfter]);
    bench.store.script(Operation::DeleteMany, [Fault::Hang]);
    bench.store.script(Operation::Probe, [Fault::Hang]);
    let started = Instant::now();
    let (key, keys) = (ObjectKey::new("a"), [ObjectKey::new("b"), ObjectKey::new("c")]);
    let payload = Bytes::from_static(b"some bytes").into();
    let put = bench.breaker.put(&key, payload, Attributes::new("text/plain"), PutMode::Create);
    let (a, b, c, put, deletes) = tokio::join!(
        bench.head(),
        bench.head(),
        bench.head(),
        put,
        bench.breaker.delete_many(&keys)
    );
    let mut errors = vec![a.unwrap_err(), b.unwrap_err(), c.unwrap_err(), put.unwrap_err()];
    errors.extend(deletes.into_iter().map(Result::unwrap_err));
    assert!(errors.iter().all(|error| error.kind() == ErrorKind::Timeout), "{errors:?}");
    assert_eq!((errors.len(), started.elapsed()), (6, policy().silence * 2));
    assert_eq!((bench.is(), bench.reached()), (BreakerState::Open, 6), "one probe for all");
    assert!(bench.breaker.status().last_error.unwrap().contains("silent"));
}

#[tokio::test(start_paused = true)]
async fn a_health_probe_alone_finds_the_silence() {
    let bench = Bench::new();
    bench.store.script(Operation::Probe, [Fault::Hang; 2]);
    assert_eq!(bench.breaker.probe().await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(bench.is(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_slow_backend_is_waited_for() {
    let bench = Bench::new();
    bench.store.script(Operation::Head, [Fault::Delay(SECOND * 60)]);
    assert_eq!(bench.head().await.unwrap_err().kind(), ErrorKind::NotFound, "it answers probes");
    // Where it answers others, it is not even asked.
    bench.store.script(Operation::Head, [Fault::Delay(SECOND * 60)]);
    bench.store.script(Operation::Probe, [Fault::Hang; 9]);
    let others = async {
        for _ in 0..100 {
            tokio::time::sleep(policy().silence * 2 / 3).await;
            bench.breaker.list(&everything()).await.unwrap();
        }
    };
    let (slow, ()) = tokio::join!(bench.head(), others);
    assert_eq!((slow.unwrap_err().kind(), bench.is()), (ErrorKind::NotFound, BreakerState::Closed));
    assert_eq!(bench.reached(), 2);
}

/// A large upload says nothing for as long as it takes, and may fill the way for all others.
#[tokio::test(start_paused = true)]
async fn large_uploads_have_more_patience() {
    let bench = Bench::new();
    bench.store.script(Operation::Probe, [Fault::Hang; 99]);
    bench.store.script(Operation::Put, [Fault::Delay(SECOND * 3), Fault::Hang]);
    let put = async || {
        let payload = Bytes::from(vec![0; 3 << 20]).into();
        let attributes = Attributes::new("text/plain");
        bench.breaker.put(&ObjectKey::new("a"), payload, attributes, PutMode::Overwrite).await
    };
    put().await.unwrap();
    let started = Instant::now();
    assert_eq!(put().await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(started.elapsed(), SECOND * 3 + policy().silence * 2);
}

#[tokio::test(start_paused = true)]
async fn bodies_end_with_the_backends_silence_and_break_it() {
    let pieces = |count: u64, hangs: bool| -> crate::model::BodyStream {
        let pieces = futures_util::stream::iter(0..count).then(|_| async {
            tokio::time::sleep(policy().silence * 2 / 3).await;
            Ok(Bytes::from_static(b"piece"))
        });
        if hangs {
            Box::pin(pieces.chain(futures_util::stream::pending()))
        } else {
            Box::pin(pieces)
        }
    };
    let bench = Bench::new();
    bench.store.script(Operation::Probe, [Fault::Hang; 9]);
    let body =
        |count, hangs| GuardedBody::new(pieces(count, hangs), Arc::clone(&bench.breaker.way));
    let read: Vec<_> = body(20, false).collect().await;
    assert!(read.len() == 20 && read.iter().all(Result::is_ok));
    assert_eq!((bench.is(), bench.reached()), (BreakerState::Closed, 0));

    let started = Instant::now();
    let read: Vec<_> = body(3, true).collect().await;
    assert_eq!((read.len(), read[3].as_ref().unwrap_err().kind()), (4, ErrorKind::Timeout));
    assert_eq!(started.elapsed(), policy().silence * 4);
    assert_eq!(bench.is(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn whoever_listens_is_told_of_every_move() {
    let bench = Bench::new();
    let news = Arc::new(Notify::new());
    bench.breaker.handle().tell(Arc::clone(&news));
    let told = || futures_util::FutureExt::now_or_never(news.notified()).is_some();
    assert!(!told());
    bench.open().await;
    assert!(told() && !told());
    bench.heal();
    tokio::time::advance(SECOND).await;
    bench.breaker.probe().await.unwrap();
    assert!(told(), "it is closed again");
}

#[tokio::test(start_paused = true)]
async fn callers_that_go_away_count_as_nothing_and_free_the_probe() {
    let bench = Bench::new();
    bench.store.script(Operation::Head, [Fault::Hang; 30]);
    for _ in 0..30 {
        assert!(tokio::time::timeout(SECOND, bench.head()).await.is_err());
    }
    assert_eq!(bench.is(), BreakerState::Closed, "callers' timeouts do not open it");

    bench.open().await;
    bench.heal();
    bench.store.script(Operation::Probe, [Fault::Hang]);
    tokio::time::advance(SECOND).await;
    let mut probe = Box::pin(bench.head());
    assert!(futures_util::poll!(&mut probe).is_pending());
    assert_eq!(bench.is(), BreakerState::HalfOpen);
    assert_eq!(bench.head().await.unwrap_err().kind(), ErrorKind::Unavailable);
    drop(probe);
    assert_eq!(bench.is(), BreakerState::HalfOpen);
    assert_eq!(bench.head().await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(bench.is(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn one_answer_among_many_deletes_shows_that_the_backend_works() {
    let error = |kind| StoreError::new(kind, Provider::Memory, "scripted");
    let failed = || Err::<bool, _>(error(ErrorKind::Timeout));
    assert!(matches!(judge_many(&[failed(), failed()]), Verdict::Failed(_)));
    assert!(matches!(judge_many(&[failed(), Ok(true)]), Verdict::Answered));
    let denied = Err(error(ErrorKind::AccessDenied));
    assert!(matches!(judge_many(&[failed(), denied]), Verdict::Answered));
    assert!(matches!(judge_many::<bool>(&[]), Verdict::Nothing));

    let bench = Bench::new();
    bench.store.script(Operation::DeleteMany, [DOWN; 5]);
    for _ in 0..5 {
        bench.breaker.delete_many(&[ObjectKey::new("a")]).await;
    }
    assert_eq!(bench.is(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn bodies_that_break_off_count() {
    let bench = Bench::new();
    let (key, payload) = (ObjectKey::new("a"), Bytes::from_static(b"some bytes").into());
    let attributes = Attributes::new("text/plain");
    bench.breaker.put(&key, payload, attributes, PutMode::Create).await.unwrap();
    // The put leaves the window, where it would count as one more success.
    tokio::time::advance(Duration::from_secs(11)).await;
    bench.store.script(Operation::Get, [Fault::BreakBody; 30]);
    for call in 0..10 {
        assert_eq!(bench.is(), BreakerState::Closed, "{call}");
        let found = bench.breaker.get(&key, GetOptions::default()).await.unwrap();
        let Body::Stream(stream) = found.body else { panic!("a broken body is a stream") };
        let pieces: Vec<_> = stream.collect().await;
        assert!(pieces.last().unwrap().is_err());
    }
    assert_eq!(bench.is(), BreakerState::Open, "each get is a success and a failure");
}

#[tokio::test(start_paused = true)]
async fn refusals_of_our_own_limit_say_nothing_of_the_backend() {
    let store = Arc::new(Faulty::new(Memory::new(), 1));
    store.script(Operation::Head, [Fault::Hang]);
    let metrics = Metrics::new();
    let limits = LimitPolicy { in_flight: 1, patience: Duration::ZERO };
    let limit = Limit::new(store, limits, &of_west(&metrics));
    let breaker = Breaker::new(Arc::new(limit), "west", policy(), &of_west(&metrics));
    let key = ObjectKey::new("a");
    let mut hanging = Box::pin(breaker.head(&key));
    assert!(futures_util::poll!(&mut hanging).is_pending());
    for _ in 0..30 {
        let error = breaker.head(&key).await.unwrap_err();
        assert_eq!(
            (error.kind(), breaker.status().state),
            (ErrorKind::Unavailable, BreakerState::Closed)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    conformance::run(async || {
        Arc::new(Breaker::new(Arc::new(Memory::new()), "m", policy(), &of_west(&Metrics::new())))
            as _
    })
    .await;
}
