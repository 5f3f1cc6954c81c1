//! A stream that reports what goes over it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Activity;

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
        match result {
            Poll::Ready(Ok(bytes)) => self.activity.wrote(Some(*bytes)),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.activity.wrote(None),
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
    use std::time::Duration;

    use super::super::ConnectionLimits;
    use super::super::activity::Way;
    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits::OF_TESTS;

    #[tokio::test(start_paused = true)]
    async fn each_side_of_the_encryption_reports_its_own() {
        for (watch, after_read, after_write) in [
            (Watch::All, Way::Head, Way::Takes),
            (Watch::Reads, Way::Head, Way::Head),
            (Watch::Writes, Way::Idle, Way::Takes),
        ] {
            let activity = Arc::new(Activity::new());
            activity.request_finished(activity.request_started());
            let (near, far) = tokio::io::duplex(1);
            let mut watched = Watched::new(near, Arc::clone(&activity), watch);
            let mut far = std::pin::pin!(far);
            let mut cx = Context::from_waker(std::task::Waker::noop());
            let way = || activity.displaceable(&LIMITS).map(|(way, _)| way);
            assert!(far.as_mut().poll_write(&mut cx, b"G").is_ready());
            let mut byte = [0];
            let mut buffer = ReadBuf::new(&mut byte);
            assert!(Pin::new(&mut watched).poll_read(&mut cx, &mut buffer).is_ready());
            tokio::time::advance(Duration::from_secs(2)).await;
            assert_eq!(way(), Some(after_read), "{watch:?}");
            assert!(Pin::new(&mut watched).poll_write(&mut cx, b"1").is_ready());
            assert!(Pin::new(&mut watched).poll_write(&mut cx, b"2").is_pending());
            tokio::time::advance(Duration::from_secs(2)).await;
            assert_eq!(way(), Some(after_write), "{watch:?}");
        }
    }
}
