//! Streams that outlive the member they began at.
//!
//! A stream that breaks goes on where it broke, at another member that has the same version. One
//! that is whole and wrong is noted, so that the next read goes elsewhere: its bytes have been
//! passed on, and whoever asked compares the digest too and sees to it that they never end cleanly.

use futures_util::StreamExt as _;
use futures_util::stream;

use super::member::is_silence;
use super::parts::Parts;
use super::state::version_of;
use crate::model::{
    Body, BodyStream, ByteRange, Digest, ErrorKind, GetOptions, Hasher, ObjectKey, ObjectMeta,
    StoreError, Version,
};

struct Reading {
    parts: Parts,
    key: ObjectKey,
    version: Option<Version>,
    digest: Option<Digest>,
    /// Of the whole body, where the whole body is read.
    hasher: Option<Hasher>,
    tried: Vec<usize>,
    offset: u64,
    end: u64,
    stream: BodyStream,
    is_over: bool,
}

/// A stream that goes on at another member where it breaks.
pub(super) fn resumed(
    parts: Parts,
    place: usize,
    meta: &ObjectMeta,
    range: Option<ByteRange>,
    stream: BodyStream,
) -> BodyStream {
    let digest = meta.attributes.representation.map(|known| known.stored_sha256);
    let reading = Reading {
        parts,
        key: meta.key.clone(),
        version: version_of(meta),
        digest,
        hasher: (range.is_none() && digest.is_some()).then(Hasher::new),
        tried: vec![place],
        offset: range.map_or(0, |range| range.start),
        end: range.map_or(meta.stored_size, |range| range.end),
        stream,
        is_over: false,
    };
    Box::pin(stream::unfold(reading, |mut reading| async move {
        let item = reading.next().await?;
        reading.is_over = item.is_err();
        Some((item, reading))
    }))
}

impl Reading {
    async fn next(&mut self) -> Option<Result<bytes::Bytes, StoreError>> {
        if self.is_over {
            return None;
        }
        loop {
            match self.stream.next().await {
                Some(Ok(piece)) => {
                    self.offset += piece.len() as u64;
                    if let Some(hasher) = &mut self.hasher {
                        hasher.update(&piece);
                    }
                    return Some(Ok(piece));
                }
                // The connection did not end as announced, and the body did.
                Some(Err(_)) if self.is_whole() => return None,
                Some(Err(error)) => {
                    if error.kind() == ErrorKind::Corrupt {
                        self.blame();
                    }
                    self.parts.counters.failed_over(error.kind());
                    if !self.go_on_elsewhere().await {
                        return Some(Err(self.last_word(error)));
                    }
                }
                None if self.offset < self.end => {
                    self.parts.counters.failed_over(ErrorKind::Failed);
                    if !self.go_on_elsewhere().await {
                        let member = &self.parts.members[self.tried[0]].backend;
                        let detail = "the body ended early";
                        let error = StoreError::new(ErrorKind::Failed, member.provider(), detail);
                        return Some(Err(self.last_word(error)));
                    }
                }
                None => {
                    let found = self.hasher.take().map(Hasher::finish);
                    if found.is_some() && found != self.digest {
                        self.blame();
                    }
                    return None;
                }
            }
        }
    }

    /// What is said where nobody else has the rest, as where nobody answers at all.
    fn last_word(&self, error: StoreError) -> StoreError {
        if is_silence(&error) { self.parts.cannot_tell(Some(&error)) } else { error }
    }

    /// Whether all bytes have come, and are those that were stored.
    fn is_whole(&self) -> bool {
        let found = self.hasher.as_ref().map(|hasher| hasher.clone().finish());
        self.offset >= self.end && found.is_some() && found == self.digest
    }

    /// The bytes of a stream that came from several members are blamed on the last.
    fn blame(&self) {
        if let Some(&place) = self.tried.last() {
            let member = &*self.parts.members[place].name;
            tracing::error!(member, "a copy has other bytes than were stored");
            self.parts.errands.wrong_bytes(&self.key, place);
        }
    }

    async fn go_on_elsewhere(&mut self) -> bool {
        if self.offset >= self.end {
            return false;
        }
        for place in 0..self.parts.members.len() {
            if self.tried.contains(&place) {
                continue;
            }
            self.tried.push(place);
            let range = Some(ByteRange { start: self.offset, end: self.end });
            let options = GetOptions { range, if_match: None };
            let Ok(found) = self.parts.get_at(place, &self.key, &options).await else { continue };
            let known = found.meta.attributes.representation.map(|known| known.stored_sha256);
            // Without a digest nothing shows that two copies are one.
            if version_of(&found.meta) != self.version || known != self.digest || known.is_none() {
                continue;
            }
            self.stream = match found.body {
                Body::Stream(stream) => stream,
                Body::Bytes(bytes) => Box::pin(stream::iter([Ok(bytes)])),
            };
            return true;
        }
        false
    }
}
