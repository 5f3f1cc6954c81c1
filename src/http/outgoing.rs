//! Bodies of answers, which keep their part of the memory budget until they are sent.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body as HttpBody;
use bytes::Bytes;
use futures_util::Stream;

use super::admission::Reservation;
use crate::model::{Body, StoreError};

/// A body for the wire that gives its memory back when it is sent or dropped.
pub fn outgoing(body: Body, reservation: Reservation) -> HttpBody {
    match body {
        Body::Bytes(bytes) => HttpBody::from(Bytes::from_owner(Held { bytes, reservation })),
        Body::Stream(stream) => HttpBody::from_stream(HeldStream { stream, reservation }),
    }
}

/// Bytes at hand, with their reservation: it ends when the last piece has left the connection's
/// write buffer, not when the body was handed to it.
struct Held {
    bytes: Bytes,
    #[expect(dead_code, reason = "held for its drop")]
    reservation: Reservation,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A stream, with its reservation.
struct HeldStream {
    stream: crate::model::BodyStream,
    #[expect(dead_code, reason = "held for its drop")]
    reservation: Reservation,
}

impl Stream for HeldStream {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.stream.as_mut().poll_next(cx)
    }
}
