//! What a connection is doing, seen from its bytes and its requests: above all, whose turn it is.
//!
//! Hyper's own header timeout also runs between requests and so cannot be told from an idle
//! timeout; seen from outside, the two are different phases. Time in which a request waits for this
//! process, for its backends, its budgets or its processor, is not counted against the client.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::ConnectionLimits;
use super::taking::{Least, Pace};

/// Why a connection must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Nothing was asked for too long: close it in peace.
    Idle,
    /// A request head takes too long.
    Header,
    /// The client takes nothing of an answer.
    Write,
}

/// How a connection is in the way where all places are taken; the last of these makes room first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// It asks nothing.
    Idle,
    /// It takes its answer more slowly than it must.
    Takes,
    /// It sends its body more slowly than it must.
    Sends,
    /// It does not send its request's head.
    Head,
}

/// How, and for how long.
pub(super) type InTheWay = (Way, Duration);

/// After so long a client that sends no head, or asks nothing, makes room.
const SILENT: Duration = Duration::from_millis(100);

/// After so long a body that is sent or taken too slowly does.
const SLOW: Duration = Duration::from_secs(1);

/// After so long a connection that was told to make room, and is still there, is told again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Whose turn it is in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The service's, to answer.
    Handler,
    /// The client's, to send more of its body.
    Sender,
    /// The service's, to go on with its answer.
    Source,
    /// The client's, to take what there is of it.
    Taker,
}

impl Turn {
    fn is_answering(self) -> bool {
        matches!(self, Self::Source | Self::Taker)
    }

    fn is_of_client(self) -> bool {
        matches!(self, Self::Sender | Self::Taker)
    }
}

/// Shared between the stream, the requests on it and the watch.
#[derive(Debug)]
pub(super) struct Activity(Mutex<State>);

#[derive(Debug)]
struct State {
    http2: bool,
    /// Being answered; over HTTP/1.1 one, and perhaps the end of the answer before.
    requests: Vec<Request>,
    last: u64,
    idle_since: Instant,
    /// Since when a request's head is owed, or under way.
    head_since: Option<Instant>,
    /// Since when the socket takes nothing.
    stalled_since: Option<Instant>,
    written: u64,
    pace: Pace,
    /// When it was told to make room.
    asked_at: Option<Instant>,
}

#[derive(Debug)]
struct Request {
    number: u64,
    turn: Turn,
    since: Instant,
    /// How long it was the client's turn before, in the same direction, and the bytes that moved.
    waited: Duration,
    moved: u64,
    moved_at: Instant,
    pace: Pace,
}

impl Request {
    fn turn(&mut self, turn: Turn) {
        let now = Instant::now();
        if self.turn.is_of_client() {
            self.waited += now - self.since;
        }
        if turn.is_answering() && !self.turn.is_answering() {
            (self.waited, self.moved) = (Duration::ZERO, 0);
        }
        (self.turn, self.since) = (turn, now);
    }

    /// Whether the client is too slow with what it has to do. Where it has nothing to do, it is not.
    fn in_the_way(&self, limits: &ConnectionLimits, now: Instant) -> Option<InTheWay> {
        let waited = self.waited + (now - self.since);
        let (way, rate, stalled) = match self.turn {
            Turn::Handler | Turn::Source => return None,
            Turn::Sender => (Way::Sends, limits.min_upload_rate, Duration::ZERO),
            // The kernel may have taken much at once of which the client takes little.
            Turn::Taker => {
                (Way::Takes, limits.min_download_rate, now - self.since.max(self.moved_at))
            }
        };
        let behind = u128::from(self.moved) * 1000 < u128::from(rate) * waited.as_millis();
        let slow = waited >= SLOW && (behind || stalled >= SLOW);
        (rate > 0 && slow).then_some((way, waited))
    }
}

impl Activity {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self(Mutex::new(State {
            http2: false,
            requests: Vec::new(),
            last: 0,
            idle_since: now,
            // A connection that says nothing at all owes its first request head.
            head_since: Some(now),
            stalled_since: None,
            written: 0,
            pace: Pace::default(),
            asked_at: None,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handshake is over: the first request head is owed from now on.
    pub(super) fn begin(&self) {
        let (mut state, now) = (self.state(), Instant::now());
        state.idle_since = now;
        state.head_since = Some(now);
    }

    /// What comes between two requests may be anything, and need not be followed by a head.
    pub(super) fn speaks_http2(&self) {
        self.state().http2 = true;
    }

    pub(super) fn is_http2(&self) -> bool {
        self.state().http2
    }

    /// A request's head is there; gives its number.
    pub(super) fn request_started(&self) -> u64 {
        let (mut state, now) = (self.state(), Instant::now());
        state.head_since = None;
        state.last += 1;
        let number = state.last;
        state.requests.push(Request {
            number,
            turn: Turn::Handler,
            since: now,
            waited: Duration::ZERO,
            moved: 0,
            moved_at: now,
            pace: Pace::default(),
        });
        number
    }

    /// Its answer is with the socket.
    pub(super) fn request_finished(&self, number: u64) {
        let mut state = self.state();
        state.requests.retain(|request| request.number != number);
        state.idle_since = Instant::now();
    }

    /// Whose turn it is now. A body that is still read while its request is answered does not matter.
    pub(super) fn turn(&self, number: u64, turn: Turn) {
        let mut state = self.state();
        if let Some(request) = state.requests.iter_mut().find(|request| request.number == number)
            && request.turn != turn
            && (turn.is_answering() || !request.turn.is_answering())
        {
            request.turn(turn);
        }
    }

    /// The client has sent or taken so many bytes of a body.
    pub(super) fn moved(&self, number: u64, bytes: u64) {
        let mut state = self.state();
        if let Some(request) = state.requests.iter_mut().find(|request| request.number == number) {
            request.moved += bytes;
            request.moved_at = Instant::now();
        }
    }

    /// Bytes came.
    pub(super) fn read(&self, bytes: usize) {
        let mut state = self.state();
        let between_requests = state.requests.is_empty() && state.head_since.is_none();
        if bytes > 0 && between_requests && !state.http2 {
            state.head_since = Some(Instant::now());
        }
    }

    /// The socket took so many bytes; `None`: it takes none now.
    pub(super) fn wrote(&self, bytes: Option<usize>) {
        let mut state = self.state();
        match bytes {
            Some(bytes) => {
                state.written += bytes as u64;
                state.stalled_since = None;
            }
            None => {
                state.stalled_since.get_or_insert_with(Instant::now);
            }
        }
    }

    /// It is told to make room, and not asked again at once.
    pub(super) fn displace(&self) {
        self.state().asked_at = Some(Instant::now());
    }

    /// Whether it does, after another look; if not, it may be asked again.
    pub(super) fn makes_room(&self, limits: &ConnectionLimits) -> bool {
        self.state().asked_at = None;
        self.displaceable(limits).is_some()
    }

    /// Whether it may be closed where another wants its place: only where all that happens on it
    /// waits for its client, and for too long.
    pub(super) fn displaceable(&self, limits: &ConnectionLimits) -> Option<InTheWay> {
        let (state, now) = (self.state(), Instant::now());
        if state.asked_at.is_some_and(|at| now - at < ASK_AGAIN) {
            return None;
        }
        let over =
            |since: Instant, least: Duration| Some(now - since).filter(|long| *long >= least);
        if state.requests.is_empty() {
            return match (state.stalled_since, state.head_since) {
                // The end of its last answer is not taken yet.
                (Some(since), _) if limits.min_download_rate > 0 => {
                    over(since, SLOW).map(|long| (Way::Takes, long))
                }
                (Some(_), _) => None,
                (None, Some(since)) => over(since, SILENT).map(|long| (Way::Head, long)),
                (None, None) => over(state.idle_since, SILENT).map(|long| (Way::Idle, long)),
            };
        }
        let ways: Option<Vec<_>> =
            state.requests.iter().map(|request| request.in_the_way(limits, now)).collect();
        ways?.into_iter().max()
    }

    /// Whether a client takes its answers more slowly than it must; asked every so often, the last
    /// time `since` ago.
    pub(super) fn is_too_slow(&self, least: &Least, since: Duration) -> bool {
        let mut state = self.state();
        let State { stalled_since, written, pace, requests, .. } = &mut *state;
        let mut slow = least.is_missed(pace, stalled_since.is_some(), since, *written);
        for Request { turn, pace, moved, .. } in requests {
            slow |= least.is_missed(pace, *turn == Turn::Taker, since, *moved);
        }
        slow
    }

    pub(super) fn overdue(&self, limits: &ConnectionLimits) -> Option<Overdue> {
        let (state, now) = (self.state(), Instant::now());
        let over = |since: Option<Instant>, limit: Duration| {
            since.is_some_and(|since| now - since > limit)
        };
        if over(state.stalled_since, limits.write_timeout) {
            return Some(Overdue::Write);
        }
        if !state.requests.is_empty() {
            return None;
        }
        if over(state.head_since, limits.header_timeout) {
            return Some(Overdue::Header);
        }
        over(Some(state.idle_since), limits.idle_timeout).then_some(Overdue::Idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits::OF_TESTS;

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_owes_its_first_head() {
        let activity = Activity::new();
        pass(9).await;
        assert_eq!(activity.overdue(&LIMITS), None);
        pass(2).await;
        assert_eq!(activity.overdue(&LIMITS), Some(Overdue::Header));
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_takes_nothing_from_the_first_head() {
        let activity = Activity::new();
        pass(9).await;
        activity.begin();
        pass(9).await;
        assert_eq!(activity.overdue(&LIMITS), None);
        pass(2).await;
        assert_eq!(activity.overdue(&LIMITS), Some(Overdue::Header));
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_request_is_never_idle() {
        let activity = Activity::new();
        activity.read(1);
        let request = activity.request_started();
        pass(1000).await;
        assert_eq!(activity.overdue(&LIMITS), None);
        activity.request_finished(request);
        pass(70).await;
        assert_eq!(activity.overdue(&LIMITS), None);
        pass(10).await;
        assert_eq!(activity.overdue(&LIMITS), Some(Overdue::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_second_head_is_no_idleness() {
        let activity = Activity::new();
        activity.request_finished(activity.request_started());
        activity.read(1);
        pass(5).await;
        activity.read(1);
        pass(6).await;
        assert_eq!(activity.overdue(&LIMITS), Some(Overdue::Header));
    }

    #[tokio::test(start_paused = true)]
    async fn over_http2_a_frame_between_requests_is_no_head() {
        let activity = Activity::new();
        activity.speaks_http2();
        pass(9).await;
        assert_eq!(activity.overdue(&LIMITS), None);
        pass(2).await;
        assert_eq!(activity.overdue(&LIMITS), Some(Overdue::Header), "the first is owed");
        activity.request_finished(activity.request_started());
        activity.read(17);
        pass(70).await;
        assert_eq!(activity.overdue(&LIMITS), None);
        activity.read(17);
        pass(10).await;
        assert_eq!(activity.overdue(&LIMITS), Some(Overdue::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_cut_off_while_its_request_runs() {
        let activity = Activity::new();
        activity.request_started();
        activity.wrote(None);
        pass(20).await;
        activity.wrote(None);
        pass(11).await;
        assert_eq!(activity.overdue(&LIMITS), Some(Overdue::Write));
        activity.wrote(Some(1));
        assert_eq!(activity.overdue(&LIMITS), None);
    }

    /// Whose turn it is for how many seconds, and the bytes that move meanwhile.
    async fn way(turns: &[(Turn, u64, u64)]) -> Option<Way> {
        let activity = Activity::new();
        let request = activity.request_started();
        for (turn, seconds, bytes) in turns {
            activity.turn(request, *turn);
            activity.moved(request, *bytes);
            pass(*seconds).await;
        }
        activity.displaceable(&LIMITS).map(|(way, _)| way)
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_this_service_is_not_slow() {
        use Turn::{Handler, Sender, Source, Taker};
        // The controls: the same with the client's turn at the end.
        assert_eq!(way(&[(Sender, 5, 1)]).await, Some(Way::Sends));
        assert_eq!(way(&[(Taker, 5, 1)]).await, Some(Way::Takes));
        for ours in [Handler, Source] {
            assert_eq!(way(&[(ours, 3600, 0)]).await, None);
            assert_eq!(way(&[(Sender, 5, 1), (ours, 1, 0)]).await, None);
            assert_eq!(way(&[(ours, 3600, 0), (Taker, 0, 0)]).await, None);
        }
        // It sent 10 KiB in 2 s of its own, and an hour of the service's is not charged to it.
        assert_eq!(way(&[(Sender, 1, 10_240), (Handler, 3600, 0), (Sender, 1, 0)]).await, None);
        assert_eq!(way(&[(Sender, 20, 10_240)]).await, Some(Way::Sends));
        // Nor is what it sent slowly held against how it takes.
        assert_eq!(way(&[(Sender, 9, 1), (Handler, 1, 0), (Taker, 0, 0)]).await, None);
        // Its socket took much, and takes nothing now.
        assert_eq!(way(&[(Taker, 2, 1 << 20)]).await, Some(Way::Takes));
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_that_is_worked_on_keeps_all_of_the_connection() {
        let activity = Activity::new();
        activity.speaks_http2();
        let requests = [activity.request_started(), activity.request_started()];
        activity.turn(requests[0], Turn::Taker);
        pass(60).await;
        assert_eq!(activity.displaceable(&LIMITS), None);
        activity.turn(requests[1], Turn::Sender);
        pass(2).await;
        let (way, _) = activity.displaceable(&LIMITS).unwrap();
        assert_eq!(way, Way::Sends);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_an_answer_on_its_way_is_no_idleness() {
        let activity = Activity::new();
        activity.request_finished(activity.request_started());
        activity.wrote(None);
        tokio::time::advance(SLOW / 2).await;
        assert_eq!(activity.displaceable(&LIMITS), None);
        activity.wrote(Some(1));
        assert_eq!(activity.displaceable(&LIMITS).unwrap().0, Way::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_has_just_begun_is_not_cut_off_as_idle() {
        let activity = Activity::new();
        activity.request_finished(activity.request_started());
        pass(60).await;
        activity.read(1);
        assert_eq!(activity.displaceable(&LIMITS), None);
        tokio::time::advance(SILENT).await;
        assert_eq!(activity.displaceable(&LIMITS).unwrap().0, Way::Head);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_asked_to_make_room_may_have_found_something_to_do() {
        let activity = Activity::new();
        pass(1).await;
        activity.displace();
        assert_eq!(activity.displaceable(&LIMITS), None, "asked once");
        activity.request_started();
        assert!(!activity.makes_room(&LIMITS));
        let activity = Activity::new();
        pass(1).await;
        activity.displace();
        assert!(activity.makes_room(&LIMITS));
    }

    #[tokio::test(start_paused = true)]
    async fn each_answer_has_to_be_taken() {
        let (activity, least) = (Activity::new(), Least::new(1024, Duration::from_secs(10)));
        activity.speaks_http2();
        let (taken, left) = (activity.request_started(), activity.request_started());
        activity.turn(taken, Turn::Taker);
        activity.turn(left, Turn::Source);
        let ten = Duration::from_secs(10);
        activity.moved(taken, 1 << 20);
        assert!(!activity.is_too_slow(&least, ten));
        activity.turn(left, Turn::Taker);
        activity.moved(taken, 1 << 20);
        assert!(activity.is_too_slow(&least, ten), "another one that is taken does not help");
    }
}
