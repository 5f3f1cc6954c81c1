//! A streamed body that may not pause for too long.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, Sleep};

use crate::model::{BodyStream, ErrorKind, Provider, StoreError};

/// Ends in a `Timeout` when its reader has waited for the limit without getting a byte.
pub(super) struct TimedBody {
    /// Gone once the body has ended.
    inner: Option<BodyStream>,
    limit: Duration,
    provider: Provider,
    alarm: Pin<Box<Sleep>>,
    /// Whether the alarm runs: from when the reader begins to wait until bytes come.
    waiting: bool,
}

impl TimedBody {
    pub(super) fn new(inner: BodyStream, limit: Duration, provider: Provider) -> Self {
        let alarm = Box::pin(tokio::time::sleep(limit));
        Self { inner: Some(inner), limit, provider, alarm, waiting: false }
    }

    fn expired(&self) -> StoreError {
        let limit = self.limit.as_millis();
        let detail = format!("the backend sent nothing of the body for {limit} ms");
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
                this.waiting = false;
                return polled;
            }
            Poll::Ready(None | Some(Err(_))) => {
                this.inner = None;
                return polled;
            }
            // An empty piece is no progress.
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        if !this.waiting {
            this.waiting = true;
            this.alarm.as_mut().reset(Instant::now() + this.limit);
        }
        if this.alarm.as_mut().poll(context).is_pending() {
            return polled;
        }
        this.inner = None;
        Poll::Ready(Some(Err(this.expired())))
    }
}
