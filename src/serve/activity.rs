//! What a connection is doing, seen from its bytes and its requests.
//!
//! Hyper's own header timeout also runs between requests and so cannot be told from an idle
//! timeout; seen from outside, the two are different phases.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
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
        }
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
        self.head_since.store(0, Ordering::Relaxed);
    }

    pub(super) fn request_finished(&self) {
        self.idle_since.store(self.now(), Ordering::Relaxed);
        self.running.fetch_sub(1, Ordering::Relaxed);
    }

    fn read(&self, bytes: usize) {
        let between_requests = self.running.load(Ordering::Relaxed) == 0;
        if bytes > 0 && between_requests && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(self.now(), Ordering::Relaxed);
        }
    }

    fn write_blocked(&self, blocked: bool) {
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
    activity: std::sync::Arc<Activity>,
    watch: Watch,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, activity: std::sync::Arc<Activity>, watch: Watch) -> Self {
        Self { stream, activity, watch }
    }

    fn has_read(&self, bytes: usize) {
        if self.watch != Watch::Writes {
            self.activity.read(bytes);
        }
    }

    fn has_written<T>(&self, result: &Poll<T>) {
        if self.watch != Watch::Reads {
            self.activity.write_blocked(result.is_pending());
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
