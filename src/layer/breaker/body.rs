//! A streamed body whose breaking off counts, and which does not outlive its backend's silence.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use tokio::time::Instant;

use super::gate::Verdict;
use super::{Way, judge};
use crate::model::{BodyStream, StoreError};

/// Without it, a backend that answers and then sends nothing would pass for well.
pub(super) struct GuardedBody {
    /// Gone once the body has ended.
    inner: Option<BodyStream>,
    way: Arc<Way>,
    /// While the reader waits: ends when the backend is dark.
    darkness: Option<Pin<Box<dyn Future<Output = StoreError> + Send>>>,
}

impl GuardedBody {
    pub(super) fn new(inner: BodyStream, way: Arc<Way>) -> Self {
        Self { inner: Some(inner), way, darkness: None }
    }

    fn failed(&mut self, error: &StoreError) {
        self.inner = None;
        if matches!(judge(error), Verdict::Failed(_)) {
            self.way.gate.body_failed(error);
        }
    }
}

impl Stream for GuardedBody {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        match inner.as_mut().poll_next(context) {
            Poll::Ready(item) => {
                this.darkness = None;
                match &item {
                    Some(Ok(_)) => this.way.silence.broken(Instant::now()),
                    Some(Err(error)) => this.failed(error),
                    None => this.inner = None,
                }
                Poll::Ready(item)
            }
            Poll::Pending => {
                let way = &this.way;
                let darkness = this.darkness.get_or_insert_with(|| {
                    let way = Arc::clone(way);
                    Box::pin(async move { way.goes_dark(way.silence.bearable()).await })
                });
                let error = std::task::ready!(darkness.as_mut().poll(context));
                this.failed(&error);
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.as_ref().map_or((0, Some(0)), Stream::size_hint)
    }
}
