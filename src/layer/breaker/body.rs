//! A streamed body whose breaking off counts.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;

use super::gate::{Gate, Verdict};
use super::judge;
use crate::model::{BodyStream, StoreError};

/// Without it, a backend that answers and then sends nothing would pass for well.
pub(super) struct GuardedBody {
    inner: BodyStream,
    gate: Arc<Gate>,
}

impl GuardedBody {
    pub(super) fn new(inner: BodyStream, gate: Arc<Gate>) -> Self {
        Self { inner, gate }
    }
}

impl Stream for GuardedBody {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let item = ready!(self.inner.as_mut().poll_next(context));
        if let Some(Err(error)) = &item
            && matches!(judge(error), Verdict::Failed(_))
        {
            self.gate.body_failed(error);
        }
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner.size_hint()
    }
}
