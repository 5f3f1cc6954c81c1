//! What a look says about a write whose outcome is unknown. Decisions only, no calls.
//!
//! A proof is known by its representation, and by what is said to hold it: who finds that it meant to
//! write takes it for its own. Another writer of the same is not told apart, and need not be.

use crate::model::{
    Attributes, ETag, Encoding, Encryption, ErrorKind, ObjectMeta, PutMode, Representation,
    Retention,
};

/// What is to be found where a write took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Likeness {
    representation: Representation,
    encoding: Encoding,
    stored_size: u64,
    /// What was asked for. With `None` a backend encrypts as it likes.
    encryption: Encryption,
    /// The same bytes without a hold are not what was to be held.
    retention: Retention,
}

impl Likeness {
    /// Of bytes with these attributes; absent where nothing identifies them.
    pub(super) fn new(attributes: &Attributes, stored_size: u64) -> Option<Self> {
        let representation = attributes.representation?;
        let Attributes { encoding, encryption, retention, .. } = *attributes;
        Some(Self { representation, encoding, stored_size, encryption, retention })
    }

    /// Of an object that is there.
    pub(super) fn of(meta: &ObjectMeta) -> Option<Self> {
        Self::new(&meta.attributes, meta.stored_size)
    }

    fn is_seen(self, meta: &ObjectMeta) -> bool {
        let encryption = match self.encryption {
            Encryption::None => Encryption::None,
            // Plaintext is not what was asked for, be the bytes the same.
            _ => meta.attributes.encryption,
        };
        Self::of(meta).is_some_and(|seen| Self { encryption, ..seen } == self)
    }
}

/// What follows from a look.
#[expect(clippy::large_enum_variant, reason = "made once for a failed call, and gone at once")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It happened; this is there.
    Done(ObjectMeta),
    /// It did not, and may be tried again.
    NotDone,
    /// Somebody else's object is there: the answer that a first attempt would have had.
    Refused(ErrorKind),
    /// It cannot be told.
    Open,
}

/// After a write or copy to the key at which `seen` was found.
pub(super) fn of_write(wanted: Likeness, mode: &PutMode, seen: Option<ObjectMeta>) -> Finding {
    match (mode, seen) {
        (PutMode::Create, None) | (PutMode::Overwrite, _) => Finding::NotDone,
        (PutMode::Replace(old), Some(meta)) if meta.etag == *old => Finding::NotDone,
        (PutMode::Create | PutMode::Replace(_), Some(meta)) if wanted.is_seen(&meta) => {
            Finding::Done(meta)
        }
        (PutMode::Create, Some(_)) => Finding::Refused(ErrorKind::AlreadyExists),
        (PutMode::Replace(_), _) => Finding::Refused(ErrorKind::PreconditionFailed),
    }
}

/// After a rename of what was `before` at the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// As for a write.
    As(Finding),
    /// The copy is there; this version of the source is still to be deleted.
    Halfway(ObjectMeta, ETag),
}

/// After a rename; `source` and `destination` were found at the two keys.
pub(super) fn of_rename(
    before: &ObjectMeta,
    mode: &PutMode,
    source: Option<&ObjectMeta>,
    destination: Option<ObjectMeta>,
) -> Moved {
    let Some(wanted) = Likeness::of(before) else { return Moved::As(Finding::Open) };
    let Some(source) = source else {
        // Only our own rename, or somebody else's delete, takes the source away.
        let arrived = destination.filter(|meta| wanted.is_seen(meta) && !is_old(mode, meta));
        return Moved::As(arrived.map_or(Finding::Open, Finding::Done));
    };
    if source.etag != before.etag {
        return Moved::As(Finding::Open);
    }
    match of_write(wanted, mode, destination) {
        // The source goes only where the other name has all that it had.
        Finding::Done(meta) if meta.attributes == source.attributes => {
            Moved::Halfway(meta, source.etag.clone())
        }
        Finding::Done(_) => Moved::As(Finding::Open),
        finding => Moved::As(finding),
    }
}

fn is_old(mode: &PutMode, meta: &ObjectMeta) -> bool {
    matches!(mode, PutMode::Replace(old) if meta.etag == *old)
}

/// Whether an object was there before a write of this mode that a look found done; `None` where
/// the look cannot tell.
pub(super) fn replaced(mode: &PutMode) -> Option<bool> {
    match mode {
        PutMode::Create => Some(false),
        PutMode::Replace(_) => Some(true),
        PutMode::Overwrite => None,
    }
}

#[cfg(test)]
mod tests;
