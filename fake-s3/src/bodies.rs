//! Bodies that do what no body of `s3s` does: end early, hide their length, come back.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

/// The first half of a body, and then an error or nothing.
pub(crate) struct Half {
    half: Option<Bytes>,
    length: u64,
    ends: bool,
    /// Time for the half to leave: on an error the rest of the send buffer is thrown away.
    pause: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Half {
    /// `ends` is with an error, soon; else it never ends.
    pub(crate) fn of(whole: &Bytes, ends: bool) -> Self {
        let half = Some(whole.slice(..whole.len() / 2));
        Self { half, length: whole.len() as u64, ends, pause: None }
    }
}

impl HttpBody for Half {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if let Some(half) = self.half.take()
            && !half.is_empty()
        {
            return Poll::Ready(Some(Ok(Frame::data(half))));
        }
        if !self.ends {
            return Poll::Pending;
        }
        let pause = self
            .pause
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(10))));
        std::task::ready!(pause.as_mut().poll(cx));
        Poll::Ready(Some(Err(std::io::Error::other("cut by a fault"))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}

/// A body that does not tell its length.
pub(crate) struct Unmeasured(pub(crate) Option<Bytes>);

impl HttpBody for Unmeasured {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// A request's body that is given back when it is dropped, so that what was not read of it can be read
/// before the answer goes out. Else the connection would be reset, and the answer often be lost.
pub(crate) struct Lent {
    body: Option<Incoming>,
    lender: Lender,
}

/// Gets the body back.
#[derive(Clone, Default)]
pub(crate) struct Lender(Arc<Mutex<Option<Incoming>>>);

impl Lender {
    pub(crate) fn lend(&self, body: Incoming) -> Lent {
        Lent { body: Some(body), lender: self.clone() }
    }

    /// Reads what is left of the body. Errors are of the connection, and it will show them.
    pub(crate) async fn drain(&self) {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut body) = body {
            while let Some(Ok(_)) = body.frame().await {}
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        *self.lender.0.lock().unwrap_or_else(PoisonError::into_inner) = self.body.take();
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}
