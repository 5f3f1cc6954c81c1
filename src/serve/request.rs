//! A request from its head to the last byte of its answer that the socket took, and whose turn it is
//! meanwhile.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;

use super::activity::{Activity, Turn};

/// A request that is not finished.
pub(super) struct Running {
    activity: Arc<Activity>,
    number: u64,
}

impl Running {
    pub(super) fn new(activity: &Arc<Activity>) -> Arc<Self> {
        let number = activity.request_started();
        Arc::new(Self { activity: Arc::clone(activity), number })
    }

    fn turn(&self, turn: Turn) {
        self.activity.turn(self.number, turn);
    }

    fn moved(&self, bytes: usize) {
        self.activity.moved(self.number, bytes as u64);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.activity.request_finished(self.number);
    }
}

/// A request's body, which says when it is waited for.
pub(super) struct Arriving {
    body: Incoming,
    running: Arc<Running>,
}

impl Arriving {
    pub(super) fn new(body: Incoming, running: Arc<Running>) -> Self {
        Self { body, running }
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.running.turn(if frame.is_pending() { Turn::Sender } else { Turn::Handler });
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.running.moved(frame.data_ref().map_or(0, Bytes::len));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        // The request goes on without it.
        self.running.turn(Turn::Handler);
    }
}

/// A piece of an answer, which says how much of it was taken. Where the client's window has no room for
/// it, it stays in this process, and so does its request.
pub(super) struct Piece {
    bytes: Bytes,
    running: Arc<Running>,
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        self.running.moved(count);
    }
}

/// An answer's body.
pub(super) struct Leaving {
    body: Body,
    running: Arc<Running>,
}

impl Leaving {
    pub(super) fn new(body: Body, running: Arc<Running>) -> Self {
        running.turn(Turn::Taker);
        Self { body, running }
    }
}

impl HttpBody for Leaving {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.running.turn(if frame.is_pending() { Turn::Source } else { Turn::Taker });
        let piece = |bytes| Piece { bytes, running: Arc::clone(&self.running) };
        frame.map(|frame| frame.map(|frame| Ok(frame?.map_data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        // What was not sent is in its pieces.
        self.running.turn(Turn::Taker);
    }
}
