//! What a connection is doing, seen from its bytes and its requests.
//!
//! Hyper's own header timeout also runs between requests and so cannot be told from an idle
//! timeout; seen from outside, the two are different phases.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::ConnectionLimits;

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

/// Shared between the stream, the requests on it and the watch. Times are milliseconds since
/// `origin`, zero meaning "not now".
#[derive(Debug)]
pub(super) struct Activity {
    origin: Instant,
    /// Requests being answered.
    running: AtomicU32,
    idle_since: AtomicU64,
    head_since: AtomicU64,
    stalled_since: AtomicU64,
    /// Bodies of requests that are waited for.
    awaited: AtomicU32,
    /// When the latest request began, and what had been read by then.
    request_since: AtomicU64,
    request_from: AtomicU64,
    read: AtomicU64,
    written: AtomicU64,
    /// Pieces of answers that were handed over and are not sent.
    handed: Arc<AtomicU32>,
    displaced: AtomicBool,
}

/// How much a connection is in the way: the greatest makes room first. Kind, then by how much.
pub(super) type InTheWay = (u8, u64);

/// After so long a client that sends no head, or asks nothing, makes room.
const SILENT: Duration = Duration::from_millis(100);

/// After so long a body that is sent or taken too slowly does.
const SLOW: Duration = Duration::from_secs(1);

/// A piece of an answer that is not sent yet.
pub(super) struct HandedOver(Arc<AtomicU32>);

impl Drop for HandedOver {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            origin: Instant::now(),
            running: AtomicU32::new(0),
            idle_since: AtomicU64::new(1),
            // A connection that says nothing at all owes its first request head.
            head_since: AtomicU64::new(1),
            stalled_since: AtomicU64::new(0),
            awaited: AtomicU32::new(0),
            request_since: AtomicU64::new(0),
            request_from: AtomicU64::new(0),
            read: AtomicU64::new(0),
            written: AtomicU64::new(0),
            handed: Arc::default(),
            displaced: AtomicBool::new(false),
        }
    }

    /// Whether a request's body is waited for.
    pub(super) fn body_awaited(&self, awaited: bool) {
        // Over HTTP/2 there may be several: the last one to be looked at says.
        self.awaited.store(awaited.into(), Ordering::Relaxed);
    }

    /// A piece of an answer goes to the connection.
    pub(super) fn handed_over(&self) -> HandedOver {
        self.handed.fetch_add(1, Ordering::Relaxed);
        HandedOver(Arc::clone(&self.handed))
    }

    /// Whether bytes of an answer are waiting for the client to take them.
    pub(super) fn waits_for_taker(&self) -> bool {
        self.stalled_since.load(Ordering::Relaxed) != 0 || self.handed.load(Ordering::Relaxed) != 0
    }

    pub(super) fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that the socket took.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// It is told to make room, and not asked again.
    pub(super) fn displace(&self) {
        self.displaced.store(true, Ordering::Relaxed);
    }

    /// Whether it may be closed where another wants its place: only where it is the client that is
    /// waited for.
    pub(super) fn displaceable(&self, limits: &ConnectionLimits) -> Option<InTheWay> {
        if self.displaced.load(Ordering::Relaxed) {
            return None;
        }
        let now = self.now();
        let for_long = |since: &AtomicU64, least: Duration| {
            let since = since.load(Ordering::Relaxed);
            let elapsed = now.saturating_sub(since);
            (since != 0 && u128::from(elapsed) >= least.as_millis()).then_some(elapsed)
        };
        if self.running.load(Ordering::Relaxed) == 0 {
            let head = for_long(&self.head_since, SILENT).map(|long| (4, long));
            return head.or_else(|| Some((1, for_long(&self.idle_since, SILENT)?)));
        }
        if self.awaited.load(Ordering::Relaxed) > 0 {
            let elapsed = for_long(&self.request_since, SLOW)?;
            let from = self.request_from.load(Ordering::Relaxed);
            let read = self.read.load(Ordering::Relaxed).saturating_sub(from);
            let slow = read * 1000 < limits.min_upload_rate * elapsed;
            return slow.then_some((3, elapsed));
        }
        let stalled = for_long(&self.stalled_since, SLOW)?;
        (limits.min_download_rate > 0).then_some((2, stalled))
    }

    /// The handshake is over: the first request head is owed from now on.
    pub(super) fn begin(&self) {
        self.idle_since.store(self.now(), Ordering::Relaxed);
        self.head_since.store(self.now(), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        self.origin.elapsed().as_millis() as u64 + 1
    }

    pub(super) fn request_started(&self) {
        self.running.fetch_add(1, Ordering::Relaxed);
        self.request_since.store(self.now(), Ordering::Relaxed);
        self.request_from.store(self.read.load(Ordering::Relaxed), Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
    }

    pub(super) fn request_finished(&self) {
        self.idle_since.store(self.now(), Ordering::Relaxed);
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    fn read(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
        let between_requests = self.running.load(Ordering::Relaxed) == 0;
        if bytes > 0 && between_requests && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    pub(super) fn write_blocked(&self, blocked: bool) {
        let since = self.stalled_since.load(Ordering::Relaxed);
        if blocked && since == 0 {
            self.stalled_since.store(self.now(), Ordering::Relaxed);
        } else if !blocked && since != 0 {
            self.stalled_since.store(0, Ordering::Relaxed);
        }
    }

    pub(super) fn overdue(&self, limits: &ConnectionLimits) -> Option<Overdue> {
        let now = self.now();
        let over = |since: &AtomicU64, limit: Duration| {
            let since = since.load(Ordering::Relaxed);
            since != 0 && u128::from(now.saturating_sub(since)) > limit.as_millis()
        };
        if over(&self.stalled_since, limits.write_timeout) {
            return Some(Overdue::Write);
        }
        if self.running.load(Ordering::Relaxed) > 0 {
            return None;
        }
        if over(&self.head_since, limits.header_timeout) {
            return Some(Overdue::Header);
        }
        over(&self.idle_since, limits.idle_timeout).then_some(Overdue::Idle)
    }
}

/// What a [`Watched`] reports. Over TLS requests are seen above the encryption, where a record that
/// carries none is no request, and a client that takes nothing below it, where nothing is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    All,
    Reads,
    Writes,
}

/// A stream that reports to an [`Activity`].
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
    watch: Watch,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>, watch: Watch) -> Self {
        Self { stream, activity, watch }
    }

    fn has_read(&self, bytes: usize) {
        if self.watch != Watch::Writes {
            self.activity.read(bytes);
        }
    }

    fn has_written(&self, result: &Poll<io::Result<usize>>) {
        if self.watch == Watch::Reads {
            return;
        }
        self.activity.write_blocked(result.is_pending());
        if let Poll::Ready(Ok(bytes)) = result {
            self.activity.wrote(*bytes);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.has_read(buffer.filled().len() - before);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.has_written(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.has_written(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        max_connections: 1,
        max_connections_per_address: None,
        min_upload_rate: 1024,
        min_download_rate: 1024,
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
        write_timeout: Duration::from_secs(30),
    };

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
    async fn each_side_of_the_encryption_reports_its_own() {
        for (watch, head, stalled) in
            [(Watch::All, true, true), (Watch::Reads, true, false), (Watch::Writes, false, true)]
        {
            let activity = std::sync::Arc::new(Activity::new());
            activity.request_started();
            activity.request_finished();
            let (near, far) = tokio::io::duplex(1);
            let mut watched = Watched::new(near, std::sync::Arc::clone(&activity), watch);
            let mut far = std::pin::pin!(far);
            let mut cx = Context::from_waker(std::task::Waker::noop());
            assert!(far.as_mut().poll_write(&mut cx, b"G").is_ready());
            let mut byte = [0];
            let mut buffer = ReadBuf::new(&mut byte);
            assert!(Pin::new(&mut watched).poll_read(&mut cx, &mut buffer).is_ready());
            assert!(Pin::new(&mut watched).poll_write(&mut cx, b"1").is_ready());
            assert!(Pin::new(&mut watched).poll_write(&mut cx, b"2").is_pending());
            let since = |at: &AtomicU64| at.load(Ordering::Relaxed) != 0;
            assert_eq!(since(&activity.head_since), head, "{watch:?}");
            assert_eq!(since(&activity.stalled_since), stalled, "{watch:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_running_request_is_never_idle() {
        let activity = Activity::new();
        activity.read(1);
        activity.request_started();
        pass(1000).await;
        assert_eq!(activity.overdue(&LIMITS), None);
        activity.request_finished();
        pass(70).await;
        assert_eq!(activity.overdue(&LIMITS), None);
        pass(10).await;
        assert_eq!(activity.overdue(&LIMITS), Some(Overdue::Idle));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_second_head_is_no_idleness() {
        let activity = Activity::new();
        activity.request_started();
        activity.request_finished();
        activity.read(1);
        pass(5).await;
        activity.read(1);
        pass(6).await;
        assert_eq!(activity.overdue(&LIMITS), Some(Overdue::Header));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_cut_off_while_its_request_runs() {
        let activity = Activity::new();
        activity.request_started();
        activity.write_blocked(true);
        pass(20).await;
        activity.write_blocked(true);
        pass(11).await;
        assert_eq!(activity.overdue(&LIMITS), Some(Overdue::Write));
        activity.write_blocked(false);
        assert_eq!(activity.overdue(&LIMITS), None);
    }
}
