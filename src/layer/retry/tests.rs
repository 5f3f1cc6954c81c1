//! The retrier over a store that fails on purpose, on paused time.

use bytes::Bytes;
use tokio::time::Instant;

use super::*;
use crate::backend::conformance;
use crate::backend::faulty::{Chance, Fault, Faulty, Operation as Op};
use crate::backend::memory::Memory;
use crate::layer::of_west;
use crate::model::{Digest, Representation};
use crate::telemetry::{Label as _, Metrics, Retried};

const SECOND: Duration = Duration::from_secs(1);
const DOWN: Fault = Fault::Refuse(ErrorKind::Failed);
/// It happened, and the answer was lost.
const LOST: Fault = Fault::Lose(ErrorKind::Indeterminate);
/// It did not happen, and the answer does not say so.
const SILENT: Fault = Fault::Refuse(ErrorKind::Timeout);

struct Bench {
    store: Arc<Faulty<Memory>>,
    retry: Retry,
    metrics: Metrics,
}

fn bench_of(policy: RetryPolicy) -> Bench {
    let store = Arc::new(Faulty::new(Memory::new(), 1));
    let metrics = Metrics::new();
    Bench { retry: Retry::new(store.clone(), policy, of_west(&metrics)), store, metrics }
}

fn bench() -> Bench {
    bench_of(RetryPolicy { seed: Some(1), ..RetryPolicy::new(3) })
}

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name)
}

fn attributes(text: &str) -> Attributes {
    let mut attributes = Attributes::new("text/plain");
    let digest = Digest::of(text.as_bytes());
    let size = text.len() as u64;
    attributes.representation =
        Some(Representation { sha256: digest, size, stored_sha256: digest });
    attributes
}

async fn write(
    backend: &dyn Backend,
    name: &str,
    text: &'static str,
    mode: PutMode,
) -> Result<Stored, StoreError> {
    let payload = Bytes::from_static(text.as_bytes()).into();
    backend.put(&key(name), payload, attributes(text), mode).await
}

impl Bench {
    async fn put(&self, text: &'static str, mode: PutMode) -> Result<Stored, StoreError> {
        write(&self.retry, "a", text, mode).await
    }

    /// Puts without going through the retrier or meeting a fault.
    async fn have(&self, name: &str, text: &'static str) -> ObjectMeta {
        write(self.store.inner(), name, text, PutMode::Overwrite).await.unwrap().meta
    }

    /// What is really there.
    async fn holds(&self, name: &str) -> Option<Digest> {
        let meta = self.store.inner().head(&key(name)).await.ok()?;
        Some(meta.attributes.representation?.sha256)
    }

    fn always(&self, operation: Op, fault: Fault) {
        self.store.set_chances([Chance { operation, fault, probability: 1.0 }]);
    }

    fn count(&self, operation: &str, outcome: Retried) -> u64 {
        let series = format!(
            "proof_storage_backend_retries_total{{backend=\"west\",provider=\"memory\",operation=\"{operation}\",\
             outcome=\"{}\"}} ",
            outcome.as_str()
        );
        let text = self.metrics.render();
        text.lines().find_map(|line| line.strip_prefix(&series)).map_or(0, |n| n.parse().unwrap())
    }
}

fn sha(text: &str) -> Option<Digest> {
    Some(Digest::of(text.as_bytes()))
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_retried_and_what_was_answered_is_not() {
    let bench = bench();
    bench.store.script(Op::Put, [DOWN, DOWN, DOWN]);
    let stored = bench.put("one", PutMode::Create).await.unwrap();
    assert_eq!((stored.replaced, bench.holds("a").await), (Some(false), sha("one")));
    assert_eq!(bench.count("put", Retried::Answered), 1);
    assert_eq!(bench.count("put", Retried::Failed), 2);

    bench.store.script(Op::Head, [DOWN, DOWN, DOWN, DOWN]);
    let error = bench.retry.head(&key("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed, "after three retries it is over");
    assert!(bench.retry.head(&key("a")).await.is_ok());

    for kind in [
        ErrorKind::NotFound,
        ErrorKind::AccessDenied,
        ErrorKind::QuotaExceeded,
        ErrorKind::Misconfigured,
    ] {
        bench.store.script(Op::Head, [Fault::Refuse(kind)]);
        assert_eq!(bench.retry.head(&key("a")).await.unwrap_err().kind(), kind);
    }
    // Another write of the same key was under way: an answer, and yet worth another try.
    bench.store.script(Op::Head, [Fault::Refuse(ErrorKind::Contended); 3]);
    assert!(bench.retry.head(&key("a")).await.is_ok());
    bench.store.script(Op::Head, [Fault::Refuse(ErrorKind::Contended); 4]);
    assert_eq!(bench.retry.head(&key("a")).await.unwrap_err().kind(), ErrorKind::Contended);
    let before = bench.store.injected().len();
    bench.store.script(Op::Probe, [DOWN]);
    assert!(bench.retry.probe().await.is_err(), "a probe tells how it is now");
    assert_eq!(bench.store.injected().len() - before, 1);
}

#[tokio::test(start_paused = true)]
async fn reads_are_retried_whatever_the_failure() {
    let bench = bench();
    bench.have("a", "one").await;
    let both = [DOWN, SILENT];
    for operation in [Op::Head, Op::Get, Op::List] {
        bench.store.script(operation, both);
    }
    let all = ListRequest { prefix: String::new(), delimiter: None, limit: 9, after: None };
    assert!(bench.retry.head(&key("a")).await.is_ok());
    assert!(bench.retry.get(&key("a"), GetOptions::default()).await.is_ok());
    assert_eq!(bench.retry.list(&all).await.unwrap().items.len(), 1);
    assert_eq!(bench.store.injected().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn create_with_a_lost_answer_is_known_again() {
    let bench = bench();
    bench.store.script(Op::Put, [LOST]);
    let stored = bench.put("one", PutMode::Create).await.unwrap();
    let there = bench.store.inner().head(&key("a")).await.unwrap();
    assert_eq!(stored, Stored { meta: there, replaced: Some(false) });
    assert_eq!(bench.store.injected().len(), 1, "it was not sent again");
    assert_eq!(bench.count("put", Retried::Settled), 1);
}

#[tokio::test(start_paused = true)]
async fn create_in_doubt_is_repeated_refused_or_left_open_by_what_is_there() {
    // Nothing is there: again.
    let bench = bench();
    bench.store.script(Op::Put, [SILENT, SILENT]);
    assert!(bench.put("one", PutMode::Create).await.is_ok());
    assert_eq!(bench.holds("a").await, sha("one"));

    // Others' bytes are.
    bench.store.script(Op::Put, [SILENT]);
    let error = bench.put("two", PutMode::Create).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(bench.holds("a").await, sha("one"));

    // The look fails too: nobody knows.
    bench.store.script(Op::Put, [LOST]);
    bench.store.script(Op::Head, [DOWN, SILENT, DOWN]);
    let error = write(&bench.retry, "b", "three", PutMode::Create).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Indeterminate);

    // Nothing identifies the bytes.
    bench.store.script(Op::Put, [LOST]);
    let payload = Bytes::from_static(b"four").into();
    let plain = Attributes::new("text/plain");
    let error = bench.retry.put(&key("c"), payload, plain, PutMode::Create).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Indeterminate);
}

/// The first write comes to effect only after the look that found nothing.
#[tokio::test(start_paused = true)]
async fn create_that_meets_its_own_late_effect_is_a_success() {
    let bench = bench();
    bench.store.script(Op::Put, [SILENT]);
    bench.store.script(Op::Head, [Fault::Delay(SECOND * 2)]);
    // Stale: what the look sees is what was there before.
    let late = async {
        tokio::time::sleep(SECOND).await;
    };
    let (answer, ()) = tokio::join!(bench.put("one", PutMode::Create), late);
    assert!(answer.is_ok());

    // The same where the retry itself is answered that an object exists.
    let bench = self::bench();
    bench.store.script(Op::Put, [SILENT]);
    bench.store.script(Op::Head, [Fault::Refuse(ErrorKind::NotFound)]);
    bench.have("a", "one").await;
    let stored = bench.put("one", PutMode::Create).await.unwrap();
    assert_eq!(stored.replaced, Some(false));
    // Without a doubt the same answer is what it says.
    let error = bench.put("one", PutMode::Create).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
}

#[tokio::test(start_paused = true)]
async fn doubt_outlives_later_failures() {
    let bench = bench();
    // What may have happened must not become what has not.
    bench.store.script(Op::Put, [Some(LOST), Some(DOWN), Some(DOWN), Some(DOWN)]);
    let error = bench.put("one", PutMode::Overwrite).await.unwrap_err();
    assert_eq!((error.kind(), bench.holds("a").await), (ErrorKind::Indeterminate, sha("one")));

    let quota = Fault::Refuse(ErrorKind::QuotaExceeded);
    bench.store.script(Op::Put, [LOST, quota]);
    let error = bench.put("two", PutMode::Overwrite).await.unwrap_err();
    assert_eq!((error.kind(), bench.holds("a").await), (ErrorKind::Indeterminate, sha("two")));

    bench.store.script(Op::Put, [SILENT, DOWN, DOWN, DOWN]);
    let error = write(&bench.retry, "b", "three", PutMode::Create).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    // A read has no effect to be in doubt of. (A new bench, with a full budget.)
    let bench = self::bench();
    bench.have("a", "one").await;
    bench.store.script(Op::Head, [SILENT, SILENT, SILENT, DOWN]);
    assert_eq!(bench.retry.head(&key("a")).await.unwrap_err().kind(), ErrorKind::Failed);
}

#[tokio::test(start_paused = true)]
async fn replace_in_doubt_is_decided_by_version_and_bytes() {
    let bench = bench();
    let old = bench.have("a", "old").await.etag;
    bench.store.script(Op::Put, [LOST]);
    let stored = bench.put("new", PutMode::Replace(old.clone())).await.unwrap();
    assert_eq!((stored.replaced, bench.holds("a").await), (Some(true), sha("new")));
    assert_ne!(stored.meta.etag, old);

    bench.store.script(Op::Put, [SILENT]);
    let stored = bench.put("newer", PutMode::Replace(stored.meta.etag)).await.unwrap();
    assert_eq!(bench.holds("a").await, sha("newer"), "the old version was still there");

    bench.store.script(Op::Put, [SILENT]);
    let error = bench.put("lost race", PutMode::Replace(old.clone())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PreconditionFailed);
    assert_eq!(bench.holds("a").await, sha("newer"));

    // The retry meets its own late effect.
    let current = stored.meta.etag;
    bench.store.script(Op::Put, [LOST]);
    bench.store.script(Op::Head, [Fault::Stale]);
    let before = bench.store.inner().head(&key("a")).await.unwrap();
    assert_eq!(before.etag, current);
    assert!(bench.put("newest", PutMode::Replace(current)).await.is_ok());
    assert_eq!(bench.holds("a").await, sha("newest"));
}

#[tokio::test(start_paused = true)]
async fn overwrite_in_doubt_does_not_know_what_it_replaced() {
    let bench = bench();
    bench.store.script(Op::Put, [LOST]);
    assert_eq!(bench.put("one", PutMode::Overwrite).await.unwrap().replaced, None);
    bench.store.script(Op::Put, [DOWN]);
    assert_eq!(bench.put("two", PutMode::Overwrite).await.unwrap().replaced, Some(true));
    bench.store.script(Op::Put, [SILENT]);
    let stored = write(&bench.retry, "b", "three", PutMode::Overwrite).await.unwrap();
    assert_eq!(stored.replaced, Some(false), "nothing was there, so nothing had happened");
}

#[tokio::test(start_paused = true)]
async fn deletes_are_repeated_and_spare_other_versions() {
    let bench = bench();
    for fault in [LOST, SILENT, DOWN] {
        let etag = bench.have("a", "one").await.etag;
        bench.store.script(Op::Delete, [fault]);
        assert_ne!(bench.retry.delete(&key("a"), Some(&etag)).await.unwrap(), Some(false));
        assert_eq!(bench.holds("a").await, None, "{fault:?}");
        bench.have("a", "one").await;
        bench.store.script(Op::Delete, [fault]);
        assert_ne!(bench.retry.delete(&key("a"), None).await.unwrap(), Some(false));
        assert_eq!(bench.holds("a").await, None, "{fault:?}");
    }
    let old = bench.have("a", "one").await.etag;
    bench.have("a", "two").await;
    bench.store.script(Op::Delete, [SILENT]);
    let error = bench.retry.delete(&key("a"), Some(&old)).await.unwrap_err();
    assert_eq!((error.kind(), bench.holds("a").await), (ErrorKind::PreconditionFailed, sha("two")));
}

#[tokio::test(start_paused = true)]
async fn copies_in_doubt_are_decided_by_both_keys() {
    let bench = bench();
    bench.have("a", "one").await;
    let (a, b) = (key("a"), key("b"));
    bench.store.script(Op::Copy, [LOST]);
    let stored = bench.retry.copy(&a, &b, PutMode::Create).await.unwrap();
    assert_eq!((stored.replaced, bench.holds("b").await), (Some(false), sha("one")));

    bench.have("a", "two").await;
    bench.store.script(Op::Copy, [SILENT]);
    let error = bench.retry.copy(&a, &b, PutMode::Create).await.unwrap_err();
    assert_eq!((error.kind(), bench.holds("b").await), (ErrorKind::AlreadyExists, sha("one")));

    let old = stored.meta.etag;
    bench.store.script(Op::Copy, [SILENT, LOST]);
    let stored = bench.retry.copy(&a, &b, PutMode::Replace(old)).await.unwrap();
    assert_eq!((stored.replaced, bench.holds("b").await), (Some(true), sha("two")));

    bench.store.script(Op::Copy, [LOST]);
    assert_eq!(bench.retry.copy(&a, &b, PutMode::Overwrite).await.unwrap().replaced, None);
}

#[tokio::test(start_paused = true)]
async fn renames_in_doubt_are_finished() {
    let (a, b) = (key("a"), key("b"));
    for mode in [PutMode::Create, PutMode::Overwrite] {
        for fault in [LOST, SILENT, DOWN] {
            let bench = bench();
            bench.have("a", "one").await;
            bench.store.script(Op::Rename, [fault]);
            bench.retry.rename(&a, &b, mode.clone()).await.unwrap();
            assert_eq!((bench.holds("a").await, bench.holds("b").await), (None, sha("one")));
        }
    }
    // The copy was made and the source not yet deleted.
    let bench = self::bench();
    bench.have("a", "one").await;
    bench.have("b", "one").await;
    bench.store.script(Op::Rename, [SILENT]);
    let stored = bench.retry.rename(&a, &b, PutMode::Create).await.unwrap();
    assert_eq!(stored.meta.key, b);
    assert_eq!((bench.holds("a").await, bench.holds("b").await), (None, sha("one")));

    // The same, and the copy does not read back: the source is all there is.
    let bench = self::bench();
    bench.have("a", "one").await;
    bench.have("b", "one").await;
    for damage in [Fault::FlipBit, Fault::BreakBody] {
        bench.store.script(Op::Rename, [SILENT]);
        bench.store.script(Op::Get, [damage]);
        let error = bench.retry.rename(&a, &b, PutMode::Create).await.unwrap_err();
        assert_eq!((error.kind(), bench.holds("a").await), (ErrorKind::Timeout, sha("one")));
    }

    bench.have("a", "two").await;
    bench.store.script(Op::Rename, [SILENT]);
    let error = bench.retry.rename(&a, &b, PutMode::Create).await.unwrap_err();
    assert_eq!((error.kind(), bench.holds("a").await), (ErrorKind::AlreadyExists, sha("two")));

    let missing = bench.retry.rename(&key("c"), &b, PutMode::Create).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let onto_itself = bench.retry.rename(&a, &a, PutMode::Overwrite).await.unwrap_err();
    assert_eq!(onto_itself.kind(), ErrorKind::Invalid);
}

/// Deletes names that begin with `bad` as often as it is told to fail before.
#[tokio::test(start_paused = true)]
async fn many_deletes_repeat_only_the_keys_that_failed() {
    let kind = |kind| Err::<Option<bool>, _>(StoreError::new(kind, Provider::Memory, "scripted"));
    let cases = [
        (kind(ErrorKind::Failed), Ok(Some(false)), Ok(Some(false))),
        (kind(ErrorKind::Timeout), Ok(Some(false)), Ok(None)),
        (kind(ErrorKind::Timeout), kind(ErrorKind::Failed), kind(ErrorKind::Timeout)),
        (kind(ErrorKind::Failed), kind(ErrorKind::Timeout), kind(ErrorKind::Timeout)),
        (kind(ErrorKind::Timeout), kind(ErrorKind::AccessDenied), kind(ErrorKind::Timeout)),
        (kind(ErrorKind::Failed), kind(ErrorKind::AccessDenied), kind(ErrorKind::AccessDenied)),
    ];
    for (number, (earlier, answer, expected)) in cases.into_iter().enumerate() {
        let found = later(&earlier, answer).map_err(|error| error.kind());
        assert_eq!(found, expected.map_err(|error| error.kind()), "case {number}");
    }

    let bench = bench();
    let keys = [key("a"), key("b"), key("c")];
    bench.have("a", "one").await;
    bench.have("c", "three").await;
    bench.store.script(Op::DeleteMany, [LOST, DOWN]);
    let answers = bench.retry.delete_many(&keys).await;
    let said_nothing = |was_there: &Option<bool>| *was_there != Some(true);
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(said_nothing)));
    assert_eq!((bench.holds("a").await, bench.holds("c").await), (None, None));

    bench.always(Op::DeleteMany, DOWN);
    let answers = bench.retry.delete_many(&keys).await;
    assert!(answers.iter().all(|a| a.as_ref().unwrap_err().kind() == ErrorKind::Failed));
    assert!(bench.retry.delete_many(&[]).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn waits_grow_and_stay_within_their_bounds() {
    let bench = bench();
    bench.store.script(Op::Head, [DOWN, DOWN, DOWN]);
    let started = Instant::now();
    bench.retry.head(&key("a")).await.unwrap_err();
    assert!(started.elapsed() <= Duration::from_millis(50 + 100 + 200));
    assert!(started.elapsed() > Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn hints_are_waited_for_unless_they_are_long() {
    let bench = bench();
    bench.store.script(Op::Head, [Fault::Later(SECOND * 4)]);
    let started = Instant::now();
    let error = bench.retry.head(&key("a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(started.elapsed() >= SECOND * 4, "{:?}", started.elapsed());
    assert!(started.elapsed() < SECOND * 5, "{:?}", started.elapsed());

    bench.store.script(Op::Head, [Fault::Later(SECOND * 15)]);
    let started = Instant::now();
    let error = bench.retry.head(&key("a")).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(SECOND * 15), "passed on");
    assert!(started.elapsed() < SECOND);
    assert_eq!(bench.count("head", Retried::TooLate), 1);
}

/// Another write of the key is under way: the one answer that may change by itself.
#[tokio::test(start_paused = true)]
async fn contention_is_waited_out() {
    let bench = bench();
    let busy = Fault::Refuse(ErrorKind::Contended);
    bench.store.script(Op::Put, [busy, busy]);
    let stored = bench.put("one", PutMode::Create).await.unwrap();
    assert_eq!((stored.replaced, bench.holds("a").await), (Some(false), sha("one")));
    bench.store.script(Op::Delete, [busy]);
    bench.retry.delete(&key("a"), None).await.unwrap();
    assert_eq!(bench.holds("a").await, None);
    bench.always(Op::Put, busy);
    let error = bench.put("one", PutMode::Create).await.unwrap_err();
    assert_eq!((error.kind(), error.class()), (ErrorKind::Contended, Class::Answer));
}

/// A breaker that is open knows that nobody answers: its callers are told so at once.
#[tokio::test(start_paused = true)]
async fn refusals_of_the_breaker_end_a_call_at_once() {
    let bench = bench();
    let policy = crate::layer::BreakerPolicy { failures_in_a_row: 2, ..Default::default() };
    let breaker =
        crate::layer::Breaker::new(bench.store.clone(), "west", policy, &of_west(&bench.metrics));
    let policy = RetryPolicy { seed: Some(1), base: Duration::ZERO, ..RetryPolicy::new(9) };
    let retry = Retry::new(Arc::new(breaker), policy, of_west(&bench.metrics));
    bench.always(Op::Head, DOWN);
    let started = Instant::now();
    let error = retry.head(&key("a")).await.unwrap_err();
    assert_eq!((error.kind(), bench.store.injected().len()), (ErrorKind::Unavailable, 2));
    assert!(error.retry_after().is_some(), "it says when to come again");
    // A write in doubt is not looked for where nobody answers, and stays in doubt.
    tokio::time::sleep(SECOND).await;
    bench.store.script(Op::Put, [LOST, LOST]);
    let error = write(&retry, "a", "one", PutMode::Create).await.unwrap_err();
    assert_eq!((error.kind(), bench.holds("a").await), (ErrorKind::Indeterminate, sha("one")));
    assert!(started.elapsed() < SECOND * 2, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_begun_after_the_deadline_but_one_look() {
    let policy = RetryPolicy { deadline: SECOND * 10, ..RetryPolicy::new(9) };
    let bench = bench_of(RetryPolicy { base: Duration::ZERO, ..policy });
    let limited: Arc<dyn Backend> =
        Arc::new(crate::layer::Timeout::new(bench.store.clone(), SECOND * 4));
    let retry = Retry::new(limited, bench.retry.policy.clone(), of_west(&bench.metrics));
    bench.always(Op::Head, Fault::Hang);
    let started = Instant::now();
    assert_eq!(retry.head(&key("a")).await.unwrap_err().kind(), ErrorKind::Timeout);
    // Begun at 0, 2, 4, 6, 8 and 10 s.
    assert_eq!((started.elapsed(), bench.store.injected().len()), (SECOND * 12, 6));
    bench.store.set_chances([]);

    // A long upload, its answer lost after the deadline.
    let retry =
        Retry::new(bench.store.clone(), bench.retry.policy.clone(), of_west(&bench.metrics));
    bench.store.script(Op::Put, [LOST]);
    bench.store.script(Op::Head, [Fault::Delay(SECOND)]);
    let slow: Arc<dyn Backend> = Arc::new(retry);
    assert!(write(&*slow, "b", "one", PutMode::Create).await.is_ok());
}

/// Whoever can ask somebody else shall not be kept waiting.
#[tokio::test(start_paused = true)]
async fn a_member_of_a_pool_is_given_up_at_once() {
    let policy = || RetryPolicy { seed: Some(1), ..RetryPolicy::of_member(9) };
    // Its breaker is open.
    let bench = bench_of(policy());
    let breaker = crate::layer::Breaker::new(
        bench.store.clone(),
        "west",
        crate::layer::BreakerPolicy::default(),
        &of_west(&bench.metrics),
    );
    bench.always(Op::Head, DOWN);
    let retry = Retry::new(Arc::new(breaker), policy(), of_west(&bench.metrics));
    let started = Instant::now();
    // The fifth failure opens it, within a few short waits; the next call meets it open.
    retry.head(&key("a")).await.unwrap_err();
    assert!(started.elapsed() < SECOND, "{:?}", started.elapsed());
    let (asked, started) = (bench.store.injected().len(), Instant::now());
    let error = retry.head(&key("a")).await.unwrap_err();
    assert!(error.retry_after().is_some(), "the hint is passed on");
    assert_eq!((bench.store.injected().len(), started.elapsed()), (asked, Duration::ZERO));

    // It says nothing: one attempt, and no look after it.
    let bench = bench_of(policy());
    let limited: Arc<dyn Backend> =
        Arc::new(crate::layer::Timeout::new(bench.store.clone(), SECOND * 4));
    let retry: Arc<dyn Backend> = Arc::new(Retry::new(limited, policy(), of_west(&bench.metrics)));
    bench.always(Op::Put, Fault::Hang);
    let started = Instant::now();
    let error = write(&*retry, "a", "one", PutMode::Create).await.unwrap_err();
    assert_eq!(error.class(), Class::Unknown);
    assert_eq!((started.elapsed(), bench.store.injected().len()), (SECOND * 4, 1));

    // A connection that broke off is looked for all the same: a success needs no repair.
    let bench = bench_of(policy());
    bench.store.script(Op::Put, [LOST]);
    assert!(write(&bench.retry, "a", "one", PutMode::Create).await.is_ok());
}

/// 90 s of an attempt are no reason to give up what takes so long by its size.
#[tokio::test(start_paused = true)]
async fn large_uploads_are_worth_another_try_after_a_long_one() {
    let bench = bench();
    let limited = crate::layer::Timeout::new(bench.store.clone(), SECOND * 50);
    let policy = RetryPolicy { seed: Some(1), ..RetryPolicy::new(3) };
    let retry = Retry::new(Arc::new(limited), policy, of_west(&bench.metrics));
    bench.store.script(Op::Put, [Fault::Hang]);
    let (payload, started) = (Bytes::from(vec![7; 40 << 20]), Instant::now());
    let attributes = Attributes::new("text/plain");
    retry.put(&key("a"), payload.into(), attributes, PutMode::Overwrite).await.unwrap();
    assert!(started.elapsed() >= SECOND * 90);
    // What is small and took as long is given up.
    let limited = crate::layer::Timeout::new(bench.store.clone(), SECOND * 90);
    let policy = RetryPolicy { seed: Some(1), ..RetryPolicy::new(3) };
    let retry = Retry::new(Arc::new(limited), policy, of_west(&bench.metrics));
    bench.store.script(Op::Put, [Fault::Hang]);
    let (payload, attributes) = (Bytes::from_static(b"x"), Attributes::new("text/plain"));
    let given_up = retry.put(&key("a"), payload.into(), attributes, PutMode::Overwrite).await;
    assert_eq!(given_up.unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_retries_stay_within_their_budget() {
    // Each with the calls that one call of a caller makes at first.
    for (operation, fault) in [
        (Op::Head, DOWN),
        (Op::Head, SILENT),
        (Op::Put, DOWN),
        // Looks cost the budget too: they are calls to a backend that is down.
        (Op::Put, SILENT),
        (Op::Delete, SILENT),
        (Op::Rename, DOWN),
        (Op::Copy, SILENT),
        (Op::DeleteMany, DOWN),
    ] {
        let bench = bench();
        let down = |operation| Chance { operation, fault, probability: 1.0 };
        bench.store.set_chances(
            [Op::Head, operation]
                .map(down)
                .into_iter()
                .take(
                    // One chance for each operation.
                    if operation == Op::Head { 1 } else { 2 },
                )
                .collect::<Vec<_>>(),
        );
        let calls = 200;
        let (a, b) = (key("a"), key("b"));
        for _ in 0..calls {
            let failed = match operation {
                Op::Put => bench.put("one", PutMode::Create).await.is_err(),
                Op::Delete => bench.retry.delete(&a, None).await.is_err(),
                Op::Rename => bench.retry.rename(&a, &b, PutMode::Create).await.is_err(),
                Op::Copy => bench.retry.copy(&a, &b, PutMode::Create).await.is_err(),
                Op::DeleteMany => {
                    bench.retry.delete_many(std::slice::from_ref(&a)).await[0].is_err()
                }
                _ => bench.retry.head(&a).await.is_err(),
            };
            assert!(failed);
        }
        let made = bench.store.injected().len();
        assert!(made > calls && made <= calls * 12 / 10, "{made} for {calls} of {operation:?}");
    }
}

/// Negative control: without the budget the same outage has four calls for one.
#[tokio::test(start_paused = true)]
async fn without_a_budget_an_outage_is_made_worse() {
    let bench = bench();
    bench.always(Op::Head, DOWN);
    for _ in 0..100 {
        (0..30).for_each(|_| bench.retry.budget.deposit());
        bench.retry.head(&key("a")).await.unwrap_err();
    }
    assert_eq!(bench.store.injected().len(), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    conformance::run(async || {
        let memory = Arc::new(Memory::new());
        Arc::new(Retry::new(memory, RetryPolicy::new(3), of_west(&Metrics::new()))) as _
    })
    .await;
}
