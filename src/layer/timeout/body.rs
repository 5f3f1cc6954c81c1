//! A streamed body that may neither pause for too long nor trickle for ever.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, Sleep};

use crate::model::{BodyStream, ErrorKind, Provider, StoreError};

/// Ends in a `Timeout` when its reader has waited for `pause` without getting a byte, or for
/// `whole` in all.
pub(super) struct TimedBody {
    /// Gone once the body has ended.
    inner: Option<BodyStream>,
    pause: Duration,
    /// What is left of the time that its reader may wait for all of it.
    left: Duration,
    provider: Provider,
    alarm: Pin<Box<Sleep>>,
    /// Since when the reader waits, if it does: the alarm runs.
    waiting: Option<Instant>,
}

impl TimedBody {
    pub(super) fn new(
        inner: BodyStream,
        pause: Duration,
        whole: Duration,
        provider: Provider,
    ) -> Self {
        let alarm = Box::pin(tokio::time::sleep(pause));
        Self { inner: Some(inner), pause, left: whole, provider, alarm, waiting: None }
    }

    fn expired(&self) -> StoreError {
        let detail = if self.left < self.pause {
            "the backend sent the body too slowly".to_owned()
        } else {
            format!("the backend sent nothing of the body for {} ms", self.pause.as_millis())
        };
        StoreError::new(ErrorKind::Timeout, self.provider, detail)
    }
}

impl Stream for TimedBody {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        let polled = inner.as_mut().poll_next(context);
        match &polled {
            Poll::Ready(Some(Ok(bytes))) if !bytes.is_empty() => {
                if let Some(since) = this.waiting.take() {
                    this.left = this.left.saturating_sub(since.elapsed());
                }
                return polled;
            }
            Poll::Ready(None | Some(Err(_))) => {
                this.inner = None;
                return polled;
            }
            // An empty piece is no progress.
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        if this.waiting.is_none() {
            let now = Instant::now();
            this.waiting = Some(now);
            this.alarm.as_mut().reset(now + this.pause.min(this.left));
        }
        if this.alarm.as_mut().poll(context).is_pending() {
            return polled;
        }
        this.inner = None;
        Poll::Ready(Some(Err(this.expired())))
    }
}
