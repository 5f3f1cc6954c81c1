//! Every state under every event, at hand-made instants.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn policy() -> BreakerPolicy {
    BreakerPolicy { jitter: 0.0, seed: Some(1), ..BreakerPolicy::default() }
}

struct Bench {
    state: State,
    now: Instant,
}

impl Bench {
    fn new(policy: BreakerPolicy) -> Self {
        let now = Instant::now();
        Self { state: State::new(policy, now), now }
    }

    fn open() -> Self {
        let mut bench = Self::new(policy());
        (0..5).for_each(|_| bench.fail());
        assert_eq!(bench.state.state(), BreakerState::Open);
        bench
    }

    /// Half-open, with its probe under way.
    fn probing() -> (Self, Ticket) {
        let mut bench = Self::open();
        bench.wait(SECOND);
        let probe = bench.admit();
        assert_eq!(bench.state.state(), BreakerState::HalfOpen);
        (bench, probe)
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    fn admit(&mut self) -> Ticket {
        self.state.admit(self.now).expect("a call may pass")
    }

    fn refused(&mut self) -> Duration {
        self.state.admit(self.now).expect_err("no call may pass")
    }

    fn fail(&mut self) {
        let ticket = self.admit();
        self.state.failed(ticket, self.now);
    }

    fn succeed(&mut self) {
        let ticket = self.admit();
        self.state.succeeded(ticket, self.now);
    }

    fn is(&self) -> BreakerState {
        self.state.state()
    }
}

#[test]
fn five_failures_in_a_row_open_it_and_four_do_not() {
    let mut bench = Bench::new(policy());
    for _ in 0..3 {
        (0..4).for_each(|_| bench.fail());
        bench.succeed();
    }
    assert_eq!(bench.is(), BreakerState::Closed);
    (0..4).for_each(|_| bench.fail());
    assert_eq!((bench.is(), bench.state.retry_in(bench.now)), (BreakerState::Closed, None));
    bench.fail();
    assert_eq!((bench.is(), bench.state.retry_in(bench.now)), (BreakerState::Open, Some(SECOND)));
}

#[test]
fn what_fails_together_counts_once_in_a_row() {
    let mut bench = Bench::new(policy());
    for _ in 0..4 {
        let together: Vec<_> = (0..3).map(|_| bench.admit()).collect();
        together.into_iter().for_each(|ticket| bench.state.failed(ticket, bench.now));
    }
    assert_eq!(bench.is(), BreakerState::Closed);
    bench.fail();
    assert_eq!(bench.is(), BreakerState::Open);
}

#[test]
fn half_of_twenty_calls_open_it_and_fewer_do_not() {
    let alternate = |calls: u32| {
        let mut bench = Bench::new(policy());
        for number in 0..calls {
            if number % 2 == 0 { bench.succeed() } else { bench.fail() }
        }
        bench.is()
    };
    assert_eq!(alternate(19), BreakerState::Closed);
    assert_eq!(alternate(20), BreakerState::Open);

    let mut bench = Bench::new(policy());
    for _ in 0..100 {
        bench.fail();
        bench.succeed();
        bench.succeed();
    }
    assert_eq!(bench.is(), BreakerState::Closed, "a third is bearable");
}

#[test]
fn calls_older_than_the_window_are_forgotten() {
    let mut bench = Bench::new(policy());
    for _ in 0..9 {
        bench.fail();
        bench.succeed();
    }
    bench.wait(SECOND * 10);
    bench.fail();
    bench.succeed();
    bench.fail();
    assert_eq!(bench.is(), BreakerState::Closed);
    assert_eq!(bench.state.window.count(bench.now), (3, 2));
    bench.wait(SECOND * 9);
    assert_eq!(bench.state.window.count(bench.now), (3, 2));
    bench.wait(SECOND);
    assert_eq!(bench.state.window.count(bench.now), (0, 0));

    // Slow traffic that always fails is found by the row, whatever the window.
    let mut slow = Bench::new(policy());
    for _ in 0..5 {
        slow.wait(SECOND * 60);
        slow.fail();
    }
    assert_eq!(slow.is(), BreakerState::Open);
}

#[test]
fn open_refuses_until_its_time_is_over_and_says_how_long() {
    let mut bench = Bench::open();
    assert_eq!(bench.refused(), SECOND);
    bench.wait(SECOND * 3 / 4);
    assert_eq!(bench.refused(), SECOND / 4);
    bench.wait(SECOND / 4);
    assert_eq!(
        (bench.is(), bench.state.retry_in(bench.now)),
        (BreakerState::Open, Some(Duration::ZERO))
    );
    bench.admit();
    assert_eq!((bench.is(), bench.state.retry_in(bench.now)), (BreakerState::HalfOpen, None));
    assert_eq!(bench.state.since(), bench.now);
}

#[test]
fn half_open_admits_one_call() {
    let (mut bench, probe) = Bench::probing();
    assert_eq!(bench.refused(), SECOND);
    bench.wait(SECOND * 100);
    assert_eq!(bench.refused(), SECOND, "however long the probe takes");
    bench.state.succeeded(probe, bench.now);
    assert_eq!(bench.is(), BreakerState::Closed);
    bench.admit();
    bench.admit();
}

#[test]
fn success_of_the_probe_closes_it_and_success_of_a_call_forgets_the_past() {
    let (mut bench, probe) = Bench::probing();
    bench.state.succeeded(probe, bench.now);
    assert_eq!(bench.state.window.count(bench.now), (0, 0));
    bench.succeed();
    (0..4).for_each(|_| bench.fail());
    assert_eq!(bench.is(), BreakerState::Closed);
    bench.fail();
    assert_eq!(bench.refused(), SECOND, "the open time starts anew");
}

#[test]
fn the_first_failure_behind_the_probe_opens_it_for_twice_as_long() {
    let (mut bench, probe) = Bench::probing();
    bench.state.succeeded(probe, bench.now);
    assert_eq!(bench.is(), BreakerState::Closed);
    bench.fail();
    assert_eq!((bench.is(), bench.refused()), (BreakerState::Open, SECOND * 2));
}

#[test]
fn silence_opens_it_at_once_and_only_where_it_is_closed() {
    let mut bench = Bench::new(policy());
    bench.state.darkened(bench.now);
    assert_eq!((bench.is(), bench.refused()), (BreakerState::Open, SECOND));
    bench.wait(SECOND / 2);
    bench.state.darkened(bench.now);
    assert_eq!(bench.refused(), SECOND / 2, "an open one stays as it is");
    let (mut bench, _) = Bench::probing();
    bench.state.darkened(bench.now);
    assert_eq!(bench.is(), BreakerState::HalfOpen, "and the probe finds out by itself");
}

#[test]
fn requests_to_slow_down_count_by_their_share_only() {
    let mut bench = Bench::new(policy());
    let slow = |bench: &mut Bench| {
        let ticket = bench.admit();
        bench.state.slowed(ticket, bench.now);
    };
    (0..19).for_each(|_| slow(&mut bench));
    assert_eq!(bench.is(), BreakerState::Closed);
    slow(&mut bench);
    assert_eq!(bench.is(), BreakerState::Open, "when nothing else comes of 20 calls");

    let (mut bench, probe) = Bench::probing();
    bench.state.slowed(probe, bench.now);
    assert_eq!(bench.refused(), SECOND * 2);
}

#[test]
fn failed_probes_double_the_open_time_up_to_the_most() {
    let mut bench = Bench::new(BreakerPolicy { open_most: SECOND * 5, ..policy() });
    (0..5).for_each(|_| bench.fail());
    let mut times = Vec::new();
    for _ in 0..8 {
        let time = bench.refused();
        times.push(time.as_secs());
        bench.wait(time);
        bench.fail();
        assert_eq!(bench.is(), BreakerState::Open);
    }
    assert_eq!(times, [1, 2, 4, 5, 5, 5, 5, 5]);
}

#[test]
fn given_up_probe_leaves_its_place_to_the_next() {
    let (mut bench, probe) = Bench::probing();
    bench.state.released(probe);
    assert_eq!(bench.is(), BreakerState::HalfOpen);
    let next = bench.admit();
    assert_eq!(bench.refused(), SECOND);
    bench.state.failed(next, bench.now);
    assert_eq!(bench.refused(), SECOND * 2);
}

#[test]
fn given_up_calls_count_as_nothing() {
    let mut bench = Bench::new(policy());
    for _ in 0..4 {
        bench.fail();
        let ticket = bench.admit();
        bench.state.released(ticket);
    }
    assert_eq!(bench.state.window.count(bench.now), (4, 4));
    bench.fail();
    assert_eq!(bench.is(), BreakerState::Open, "and do not break a row");
}

#[test]
fn results_of_an_earlier_state_are_ignored() {
    let mut bench = Bench::new(policy());
    let (good, bad) = (bench.admit(), bench.admit());
    (0..5).for_each(|_| bench.fail());
    let before = bench.refused();
    bench.state.succeeded(good, bench.now);
    bench.state.failed(bad, bench.now);
    bench.state.released(good);
    assert_eq!((bench.is(), bench.refused()), (BreakerState::Open, before));

    bench.wait(SECOND);
    let probe = bench.admit();
    bench.state.succeeded(good, bench.now);
    bench.state.failed(bad, bench.now);
    bench.state.released(good);
    assert_eq!(bench.is(), BreakerState::HalfOpen);
    assert_eq!(bench.refused(), SECOND, "the place is still the probe's");

    bench.state.succeeded(probe, bench.now);
    (0..5).for_each(|_| bench.state.failed(bad, bench.now));
    assert_eq!((bench.is(), bench.state.window.count(bench.now)), (BreakerState::Closed, (0, 0)));
}

#[test]
fn what_comes_after_an_answer_counts_only_while_closed() {
    let mut bench = Bench::new(policy());
    for _ in 0..5 {
        let ticket = bench.state.afterwards().expect("closed");
        bench.state.failed(ticket, bench.now);
    }
    assert_eq!((bench.is(), bench.state.afterwards()), (BreakerState::Open, None));
    assert_eq!(Bench::probing().0.state.afterwards(), None);
}

#[test]
fn chance_only_shortens_and_differs_by_seed() {
    let times = |seed| {
        let policy = BreakerPolicy { seed: Some(seed), ..BreakerPolicy::default() };
        let mut bench = Bench::new(policy);
        (0..5).for_each(|_| bench.fail());
        let mut times = Vec::new();
        for _ in 0..6 {
            let time = bench.refused();
            times.push(time);
            bench.wait(time);
            bench.fail();
        }
        times
    };
    assert_eq!(times(3), times(3));
    assert_ne!(times(3), times(4));
    for (time, most) in times(5).into_iter().zip([1, 2, 2, 2, 2, 2]) {
        let most = SECOND * most;
        assert!(time <= most && time >= most * 4 / 5, "{time:?} of {most:?}");
    }
}
