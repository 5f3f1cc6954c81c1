//! Looking for what a write with a lost answer has done. `settle` says what follows from it.

use futures_util::StreamExt as _;

use super::Retry;
use super::course::{Course, Unclear};
use super::settle::{self, Finding, Likeness, Moved};
use crate::backend::Backend as _;
use crate::model::{Body, GetOptions, Hasher, ObjectKey, ObjectMeta, PutMode, StoreError};

/// What tells whether an object is the one that a write meant to make.
pub(super) enum Wanted<'a> {
    /// The bytes at hand; absent where nothing identifies them.
    Written(Option<Likeness>),
    /// Those at another key.
    CopyOf(&'a ObjectKey),
}

impl Retry {
    /// One write or copy whose outcome is unknown, by looking at its key.
    pub(super) async fn find(
        &self,
        course: &Course<'_>,
        wanted: &Wanted<'_>,
        destination: &ObjectKey,
        mode: &PutMode,
        cause: &StoreError,
    ) -> Finding {
        let likeness = match wanted {
            Wanted::Written(likeness) => *likeness,
            Wanted::CopyOf(source) => match course.look(source, cause).await {
                Ok(Some(meta)) => Likeness::of(&meta),
                Ok(None) | Err(Unclear) => None,
            },
        };
        let Some(likeness) = likeness else { return Finding::Open };
        match course.look(destination, cause).await {
            Ok(seen) => settle::of_write(likeness, mode, seen),
            Err(Unclear) => Finding::Open,
        }
    }

    /// One rename whose outcome is unknown, by looking at both keys.
    pub(super) async fn find_moved(
        &self,
        course: &Course<'_>,
        before: &ObjectMeta,
        destination: &ObjectKey,
        mode: &PutMode,
        cause: &StoreError,
    ) -> Finding {
        let source = &before.key;
        // The source first: what has taken it away has arrived by the second look.
        let Ok(at_source) = course.look(source, cause).await else { return Finding::Open };
        let Ok(at_destination) = course.look(destination, cause).await else {
            return Finding::Open;
        };
        match settle::of_rename(before, mode, at_source.as_ref(), at_destination) {
            Moved::As(finding) => finding,
            // Without the comparison a version that nobody has copied could be deleted.
            Moved::Halfway(..) if !self.capabilities().delete_if_match.is_available() => {
                Finding::Open
            }
            // The source goes only when the other name was read and has its bytes.
            Moved::Halfway(meta, _) if !self.reads_back(&meta).await => Finding::Open,
            Moved::Halfway(meta, etag) => match self.delete(source, Some(&etag)).await {
                Ok(_) => Finding::Done(meta),
                Err(_) => Finding::Open,
            },
        }
    }

    /// Whether an object has the bytes that its attributes name.
    async fn reads_back(&self, meta: &ObjectMeta) -> bool {
        let Some(known) = meta.attributes.representation else { return false };
        let options = GetOptions { range: None, if_match: Some(meta.etag.clone()) };
        let Ok(found) = self.get(&meta.key, options).await else { return false };
        let mut hasher = Hasher::new();
        match found.body {
            Body::Bytes(bytes) => hasher.update(&bytes),
            Body::Stream(mut stream) => {
                while let Some(piece) = stream.next().await {
                    let Ok(piece) = piece else { return false };
                    hasher.update(&piece);
                }
            }
        }
        hasher.finish() == known.stored_sha256
    }
}
