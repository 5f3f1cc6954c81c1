//! A body on its way out: chosen form, verified against the digest it was stored with.
//!
//! Up to [`VERIFY_BYTES`] the whole body is checked before the first byte leaves. Above that it
//! is checked as it streams, one piece behind: the last piece is only let go when the digest is
//! right, so wrong bytes never end cleanly. What fails before the first piece is an error and no
//! stream, so that it can still be told.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};

use super::error::VaultError;
use super::labour;
use crate::codec::gzip::{self, InflateError, Inflater};
use crate::model::{
    Body, BodyStream, ByteRange, Digest, Encoding, ErrorKind, Hasher, ObjectMeta, Provider,
    Retrieved, StoreError,
};

/// Largest body that is verified before the status line.
pub const VERIFY_BYTES: u64 = 1 << 20;

/// Largest proof of which a range is let go only when the whole is verified. Of a larger one it would
/// cost too much: one byte of 5 GiB would read them all.
pub const RANGE_VERIFY_BYTES: u64 = 8 << 20;

/// Largest proof that is inflated where its request is: that takes a fraction of a millisecond.
const INLINE_BYTES: u64 = 64 << 10;

/// What a step of inflating makes, and up to three times as much of what nobody would store but to
/// fill memory ([`Inflater::feed_some`]).
const STEP_BYTES: usize = 64 << 10;

/// An object whose bytes are not yet verified and so cannot be had.
#[derive(Debug)]
pub struct Opened(Retrieved);

impl Opened {
    pub(super) fn new(retrieved: Retrieved) -> Self {
        Self(retrieved)
    }

    /// What is known of it.
    pub fn meta(&self) -> &ObjectMeta {
        &self.0.meta
    }

    /// The bytes in a form, verified or verifying themselves. The form must be the one at rest
    /// or identity.
    ///
    /// # Errors
    /// `Corrupt` where the bytes are not what was stored, or the backend's failure.
    pub async fn into_body(self, form: Encoding) -> Result<Body, VaultError> {
        let Retrieved { meta, body, checked } = self.0;
        let small = meta.stored_size <= VERIFY_BYTES && meta.size() <= VERIFY_BYTES;
        if small {
            return small_body(&meta, body, checked, form).await.map(Body::Bytes);
        }
        let stored: BodyStream = match body {
            Body::Bytes(bytes) => Box::pin(futures_util::stream::iter([Ok(bytes)])),
            Body::Stream(stream) => stream,
        };
        let provider = meta.provider;
        if meta.attributes.encoding == form {
            let digest = meta.attributes.representation.map(|r| r.stored_sha256);
            return Ok(begun(Box::pin(Verified::new(stored, digest, provider))).await?);
        }
        let digest = meta.attributes.representation.map(|r| r.sha256);
        let identity = Box::pin(inflated(stored, meta.size(), provider));
        Ok(begun(Box::pin(Verified::new(identity, digest, provider))).await?)
    }

    /// A range of the identity form, which must lie inside it; verified with the whole up to
    /// [`RANGE_VERIFY_BYTES`].
    ///
    /// # Errors
    /// As [`Self::into_body`].
    pub async fn into_range(self, range: ByteRange) -> Result<Body, VaultError> {
        let verified = self.meta().size().max(self.meta().stored_size) <= RANGE_VERIFY_BYTES;
        match self.into_body(Encoding::Identity).await? {
            Body::Bytes(bytes) => {
                let bounds = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                let part = &bytes[bounds(range.start)..bounds(range.end)];
                // A copy: the whole is not to stay in memory for as long as a part of it is sent.
                Ok(Body::Bytes(Bytes::copy_from_slice(part)))
            }
            Body::Stream(stream) => Ok(begun(Box::pin(cut(stream, range, verified))).await?),
        }
    }
}

/// Waits for the first piece of a stream.
pub(super) async fn begun(mut stream: BodyStream) -> Result<Body, StoreError> {
    let first = stream.next().await.transpose()?.unwrap_or_default();
    let first = futures_util::stream::iter([Ok(first)]);
    Ok(Body::Stream(Box::pin(first.chain(stream))))
}

async fn small_body(
    meta: &ObjectMeta,
    body: Body,
    checked: bool,
    form: Encoding,
) -> Result<Bytes, VaultError> {
    let stored = match body {
        Body::Bytes(bytes) => bytes,
        Body::Stream(stream) => collect(stream).await?,
    };
    let (provider, known) = (meta.provider, meta.attributes.representation);
    if meta.attributes.encoding == form {
        if let Some(known) = known.filter(|_| !checked) {
            verify(&stored, known.stored_sha256, provider)?;
        }
        return Ok(stored);
    }
    let size = known.map_or(VERIFY_BYTES, |known| known.size);
    let inflate = move || -> Result<Bytes, StoreError> {
        let identity = gzip::inflate(&stored, size).map_err(|_| corrupt(provider))?;
        if let Some(known) = known {
            verify(&identity, known.sha256, provider)?;
        }
        Ok(identity)
    };
    Ok(if size <= INLINE_BYTES { inflate()? } else { labour::done(inflate).await? })
}

fn verify(bytes: &[u8], expected: Digest, provider: Provider) -> Result<(), StoreError> {
    if Digest::of(bytes) == expected { Ok(()) } else { Err(corrupt(provider)) }
}

fn corrupt(provider: Provider) -> StoreError {
    let detail = "the stored bytes do not match their sha-256: the proof is damaged at rest";
    StoreError::new(ErrorKind::Corrupt, provider, detail)
}

async fn collect(mut stream: BodyStream) -> Result<Bytes, StoreError> {
    let mut whole = Vec::new();
    while let Some(piece) = stream.next().await {
        whole.extend_from_slice(&piece?);
    }
    Ok(whole.into())
}

/// Passes a stream on one piece late, and its last piece only when the digest is right.
struct Verified {
    stream: BodyStream,
    state: Option<(Hasher, Digest)>,
    held: Option<Bytes>,
    provider: Provider,
    done: bool,
}

impl Verified {
    fn new(stream: BodyStream, digest: Option<Digest>, provider: Provider) -> Self {
        let state = digest.map(|digest| (Hasher::new(), digest));
        Self { stream, state, held: None, provider, done: false }
    }
}

impl Stream for Verified {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.done {
            return Poll::Ready(None);
        }
        loop {
            match std::task::ready!(this.stream.as_mut().poll_next(cx)) {
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(piece)) => {
                    if let Some((hasher, _)) = &mut this.state {
                        hasher.update(&piece);
                    }
                    if let Some(ready) = this.held.replace(piece) {
                        return Poll::Ready(Some(Ok(ready)));
                    }
                }
                Some(Err(error)) => {
                    this.done = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    this.done = true;
                    let right =
                        this.state.take().is_none_or(|(hasher, digest)| hasher.finish() == digest);
                    if !right {
                        let error = corrupt(this.provider);
                        tracing::error!(provider = %this.provider, "{error}");
                        return Poll::Ready(Some(Err(error)));
                    }
                    return Poll::Ready(this.held.take().map(Ok));
                }
            }
        }
    }
}

/// Inflates a stream, a step at a time beside the threads that answer, so that neither what is made of
/// one stored piece nor the time for it is more than a step's. `size` bounds the output: more than was
/// stored is damage.
fn inflated(
    stored: BodyStream,
    size: u64,
    provider: Provider,
) -> impl Stream<Item = Result<Bytes, StoreError>> + Send {
    let state = Some((stored, Bytes::new(), Inflater::new(size)));
    futures_util::stream::try_unfold(state, move |state| async move {
        let Some((mut stored, mut piece, inflater)) = state else { return Ok(None) };
        while piece.is_empty() {
            match stored.next().await.transpose()? {
                Some(next) => piece = next,
                None => {
                    let last = labour::done(move || finished(inflater)).await;
                    return Ok(Some((last.map_err(|cause| damaged(provider, cause))?, None)));
                }
            }
        }
        let step = move || {
            let (mut piece, mut inflater) = (piece, inflater);
            let output = inflater.feed_some(&mut piece, STEP_BYTES)?;
            Ok((Bytes::from(output), piece, inflater))
        };
        let (output, piece, inflater) =
            labour::done(step).await.map_err(|cause| damaged(provider, cause))?;
        Ok(Some((output, Some((stored, piece, inflater)))))
    })
}

fn finished(inflater: Inflater) -> Result<Bytes, InflateError> {
    let mut output = Vec::new();
    inflater.finish(|piece: &[u8]| -> io::Result<()> {
        output.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(output.into())
}

fn damaged(provider: Provider, cause: InflateError) -> StoreError {
    corrupt(provider).with_source(cause)
}

/// The part of a stream that lies in a range, one piece behind. Where the stream verifies itself,
/// the last piece waits for its end; else all ends as soon as the range does.
fn cut(
    stream: BodyStream,
    range: ByteRange,
    verified: bool,
) -> impl Stream<Item = Result<Bytes, StoreError>> + Send {
    let state = (stream, 0_u64, None::<Bytes>);
    futures_util::stream::try_unfold(state, move |(mut stream, mut offset, mut held)| async move {
        while verified || offset < range.end {
            let Some(piece) = stream.next().await.transpose()? else { break };
            let start = range.start.saturating_sub(offset).min(piece.len() as u64);
            let end = range.end.saturating_sub(offset).min(piece.len() as u64);
            offset += piece.len() as u64;
            if start < end {
                // Both are at most the piece's length.
                let part = piece.slice(start as usize..end as usize);
                if let Some(ready) = held.replace(part) {
                    return Ok(Some((ready, (stream, offset, held))));
                }
            }
        }
        Ok(held.map(|last| (last, (stream, offset, None))))
    })
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::model::{Attributes, ETag, Lock, ObjectKey, Representation};

    const PIECE: usize = 600 * 1024;

    /// An object of so many pieces, of which the numbered ones are damaged or missing.
    fn opened(pieces: usize, damaged: Option<usize>, failing: Option<usize>) -> Opened {
        let whole = vec![7; PIECE * pieces];
        let (digest, size) = (Digest::of(&whole), whole.len() as u64);
        let mut attributes = Attributes::new("application/c2pa");
        attributes.representation =
            Some(Representation { sha256: digest, size, stored_sha256: digest });
        let piece = move |number: usize| {
            if failing == Some(number) {
                return Err(StoreError::new(ErrorKind::Failed, Provider::Memory, "broke off"));
            }
            let mut piece = vec![7; PIECE];
            piece[PIECE / 2] ^= u8::from(damaged == Some(number));
            Ok(Bytes::from(piece))
        };
        let meta = ObjectMeta {
            key: ObjectKey::new("a"),
            etag: ETag::new("e"),
            version_id: None,
            stored_size: size,
            last_modified: std::time::SystemTime::UNIX_EPOCH,
            attributes,
            lock: Lock::default(),
            provider: Provider::Memory,
        };
        let body = Body::Stream(Box::pin(futures_util::stream::iter((0..pieces).map(piece))));
        Opened::new(Retrieved::new(meta, body))
    }

    /// Bytes that came, and how it ended; `Err` where there was no stream.
    async fn read(opened: Opened) -> Result<(usize, Option<ErrorKind>), ErrorKind> {
        let body = opened.into_body(Encoding::Identity).await;
        let body = body.map_err(|error| error.store_kind().expect("of the store"))?;
        Ok(drain(body).await)
    }

    async fn drain(body: Body) -> (usize, Option<ErrorKind>) {
        let Body::Stream(mut stream) = body else { panic!("a large body is a stream") };
        let (mut bytes, mut end) = (0, None);
        while let Some(piece) = stream.next().await {
            assert_eq!(end, None, "nothing comes behind an error");
            match piece {
                Ok(piece) => bytes += piece.len(),
                Err(error) => end = Some(error.kind()),
            }
        }
        (bytes, end)
    }

    #[tokio::test]
    async fn wrong_bytes_never_end_cleanly() {
        assert_eq!(read(opened(4, None, None)).await, Ok((PIECE * 4, None)));
        for damaged in 0..4 {
            let (bytes, end) = read(opened(4, Some(damaged), None)).await.expect("it begins");
            assert_eq!((bytes, end), (PIECE * 3, Some(ErrorKind::Corrupt)), "{damaged}");
        }
    }

    #[tokio::test]
    async fn a_range_is_let_go_only_when_the_whole_is_right() {
        let first = ByteRange { start: 5, end: 10 };
        let two = ByteRange { start: 5, end: PIECE as u64 + 10 };
        for damaged in 0..4 {
            let ranged = opened(4, Some(damaged), None).into_range(first).await;
            let error = ranged.expect_err("nothing of it").store_kind();
            assert_eq!(error, Some(ErrorKind::Corrupt), "{damaged}");
            let body = opened(4, Some(damaged), None).into_range(two).await.expect("it begins");
            assert_eq!(drain(body).await, (PIECE - 5, Some(ErrorKind::Corrupt)), "{damaged}");
        }
        let body = opened(4, None, None).into_range(two).await.expect("it is right");
        assert_eq!(drain(body).await, (PIECE + 5, None));
        // Of one that is too large for that, no more is read than it takes.
        let pieces = usize::try_from(RANGE_VERIFY_BYTES).unwrap() / PIECE + 1;
        let body = opened(pieces, None, Some(3)).into_range(two).await.expect("it begins");
        assert_eq!(drain(body).await, (PIECE + 5, None));
    }

    /// Blanks of 100 MiB are 100 KiB of gzip, which a store gives in one piece.
    #[test]
    fn however_much_a_stored_piece_inflates_to_it_comes_in_small_ones() {
        // One thread for work of this kind, which is busy at first.
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build();
        runtime.unwrap().block_on(inflates_elsewhere_and_in_small_pieces());
    }

    async fn inflates_elsewhere_and_in_small_pieces() {
        let size = 100_usize << 20;
        let blanks = vec![b' '; 1 << 20];
        let mut compressor = gzip::Compressor::new(Vec::new());
        let mut hasher = Hasher::new();
        for _ in 0..size >> 20 {
            compressor.write(&blanks).unwrap();
            hasher.update(&blanks);
        }
        let stored = compressor.finish().unwrap();
        let mut opened = opened(1, None, None);
        let meta = &mut opened.0.meta;
        (meta.stored_size, meta.attributes.encoding) = (stored.len() as u64, Encoding::Gzip);
        let stored_sha256 = Digest::of(&stored);
        let (sha256, size) = (hasher.finish(), size as u64);
        meta.attributes.representation = Some(Representation { sha256, size, stored_sha256 });
        opened.0.body = Body::Bytes(stored.into());
        let (free, busy) = std::sync::mpsc::channel::<()>();
        let before = tokio::task::spawn_blocking(move || busy.recv());
        let mut opening = Box::pin(opened.into_body(Encoding::Identity));
        assert!((&mut opening).now_or_never().is_none(), "not where the answer is waited for");
        free.send(()).unwrap();
        before.await.unwrap().unwrap();
        let Body::Stream(mut stream) = opening.await.unwrap() else { panic!("it is large") };
        let mut came = 0;
        while let Some(piece) = stream.next().await {
            let piece = piece.unwrap();
            assert!(piece.len() <= 4 * STEP_BYTES, "{} at once", piece.len());
            came += piece.len() as u64;
        }
        assert_eq!(came, size);
    }

    #[tokio::test]
    async fn what_fails_before_the_first_piece_is_an_error() {
        // One piece is held back, so the second has to be there before the first is.
        for failing in 0..2 {
            assert_eq!(read(opened(4, None, Some(failing))).await, Err(ErrorKind::Failed));
        }
        assert_eq!(read(opened(4, None, Some(2))).await, Ok((PIECE, Some(ErrorKind::Failed))));
        let range = ByteRange { start: 5, end: 10 };
        let ranged = opened(4, None, Some(0)).into_range(range).await;
        assert_eq!(ranged.expect_err("no stream").store_kind(), Some(ErrorKind::Failed));
    }
}
