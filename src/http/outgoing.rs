//! Bodies of answers, which keep their part of the memory budget until they are sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body as HttpBody;
use bytes::Bytes;
use futures_util::Stream;

use super::admission::Reservation;
use crate::model::{Body, BodyStream, StoreError};

/// A body for the wire that gives its memory back when it is sent or dropped.
pub fn outgoing(body: Body, mut reservation: Reservation) -> HttpBody {
    match body {
        Body::Bytes(bytes) => {
            reservation.shrink_to(bytes.len() as u64);
            HttpBody::from(Bytes::from_owner(Held { bytes, reservation }))
        }
        Body::Stream(stream) => {
            HttpBody::from_stream(HeldStream { stream, reservation: Arc::new(reservation) })
        }
    }
}

/// Bytes at hand, with the reservation of them or of the stream that they are a piece of: it ends when the last piece has left the connection's
/// write buffer, not when the body was handed to it.
struct Held<R> {
    bytes: Bytes,
    #[expect(dead_code, reason = "held for its drop")]
    reservation: R,
}

impl<R> AsRef<[u8]> for Held<R> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A stream, with its reservation. The stream may have ended while its last pieces wait.
struct HeldStream {
    stream: BodyStream,
    reservation: Arc<Reservation>,
}

impl Stream for HeldStream {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = std::task::ready!(self.stream.as_mut().poll_next(cx));
        let reservation = Arc::clone(&self.reservation);
        let held = |bytes| Bytes::from_owner(Held { bytes, reservation });
        Poll::Ready(next.map(|piece| piece.map(held)))
    }
}
