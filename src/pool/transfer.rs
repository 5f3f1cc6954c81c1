//! Copying, moving, and URLs of members.

use std::time::Duration;

use super::parts::Parts;
use crate::model::{
    Attributes, Encryption, ErrorKind, GetOptions, ObjectKey, PresignMethod, Presigned, PutMode,
    StoreError, Stored,
};

/// What a caller asked for, of what a member reports: what that one does by itself is its own affair.
pub(super) fn asked(reported: Attributes) -> Attributes {
    let encryption = reported.stamp.map_or(Encryption::None, |stamp| stamp.encryption);
    Attributes { encryption, ..reported }
}

impl Parts {
    /// Copies by reading and writing: source and destination may be at different members, and the
    /// copy is a write of its own, with a version of its own.
    pub(super) async fn copy(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        if source == destination {
            let detail = "source and destination are the same key";
            return Err(StoreError::new(ErrorKind::Invalid, self.provider(), detail));
        }
        let (place, _) = self.holder(source).await?;
        let (meta, payload) = match self.take(place, source).await {
            Ok(taken) => taken,
            // By way of whoever else has it.
            Err(error) if error.kind() != ErrorKind::NotFound => {
                let found = self.get(source, GetOptions::default()).await?;
                self.payload_of(found).await?
            }
            Err(error) => return Err(error),
        };
        let attributes = Attributes { stamp: None, ..asked(meta.attributes) };
        self.put(destination, payload, attributes, mode).await
    }

    /// Copies, compares, and only then deletes the source, where it still is what was copied.
    pub(super) async fn rename(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let (parts, source) = (self.clone(), source.clone());
        let destination = destination.clone();
        self.to_the_end(async move {
            let before =
                if source == destination { None } else { Some(parts.head(&source).await?) };
            let stored = parts.copy(&source, &destination, mode).await?;
            let Some(before) = before else { return Ok(stored) };
            let there = parts.head(&destination).await?;
            let same = |meta: &crate::model::ObjectMeta| {
                (meta.stored_size, meta.attributes.representation)
            };
            if same(&there) != same(&before) {
                // Somebody wrote between the copy and the look, or the source changed: both stay.
                let detail = "source or destination changed while it was moved: the source stays";
                return Err(StoreError::new(
                    ErrorKind::PreconditionFailed,
                    parts.provider(),
                    detail,
                ));
            }
            match parts.delete(&source, Some(&before.etag)).await {
                Ok(_) => Ok(stored),
                Err(error) if error.kind() == ErrorKind::PreconditionFailed => Err(error),
                Err(error) => {
                    let detail = "the copy is there, and the source may be too: move it again";
                    let kind = ErrorKind::Indeterminate;
                    Err(StoreError::new(kind, parts.provider(), detail).with_source(error))
                }
            }
        })
        .await
    }

    /// A URL of a member that has the bytes, and keeps them: a copy that stands in for its home's is moved
    /// there, and a URL of it would end with that.
    pub(super) async fn presign(
        &self,
        key: &ObjectKey,
        method: &PresignMethod,
        expires_in: Duration,
    ) -> Result<Presigned, StoreError> {
        if matches!(method, PresignMethod::Put { .. }) {
            let detail = "presign: what is stored past a pool has no place in its order; use via: \
                          service";
            return Err(StoreError::new(ErrorKind::Unsupported, self.provider(), detail));
        }
        let place = match self.holder(key).await {
            Ok((place, _)) if self.homes().contains(&place) && !self.view.is_pending(key) => place,
            Ok(_) => {
                let detail = "presign: this proof is about to be moved to the backend that it belongs to; use \
                              via: service";
                return Err(StoreError::new(ErrorKind::Unsupported, self.provider(), detail));
            }
            // Whether it exists is not asked: the URL says so itself.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let homes = self.homes();
                *homes.first().ok_or_else(|| self.no_member("serves reads"))?
            }
            Err(error) => return Err(error),
        };
        self.members[place].backend.presign(key, method, expires_in).await
    }
}
