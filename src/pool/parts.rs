//! The parts that every call works with, and what callers see of what members say.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::core::Core;
use super::scribe::Scribe;
use super::state::version_of;
use crate::model::{ETag, ErrorKind, Lock, ObjectMeta, Role, StoreError, Stored, Support};

/// Cheap to clone, so that what was begun can outlive its caller.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) core: Arc<Core>,
    pub(super) scribe: Scribe,
}

impl Deref for Parts {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

impl Parts {
    /// The version token that callers see: the same for all copies of one write.
    pub(super) fn etag_of(&self, place: usize, meta: &ObjectMeta) -> ETag {
        match (version_of(meta), meta.attributes.representation) {
            (Some(version), _) => ETag::new(version.to_string()),
            (None, Some(known)) => ETag::new(format!("sha256-{}", known.stored_sha256.to_hex())),
            // Somebody else's object, told apart by its member's own token.
            (None, None) => {
                ETag::new(format!("{}-{}", self.members[place].name, meta.etag.as_str()))
            }
        }
    }

    /// Whether every member that is written to locks what is held.
    fn object_lock(&self) -> Support {
        let written = self.members.iter().filter(|member| member.role != Role::ReadOnly);
        let each = written.map(|member| member.backend.capabilities().object_lock);
        each.reduce(Support::and).unwrap_or(Support::No)
    }

    /// What a member says of an object, as callers see it.
    pub(super) fn outward(&self, place: usize, mut meta: ObjectMeta) -> ObjectMeta {
        meta.etag = self.etag_of(place, &meta);
        if let Some(stamp) = meta.attributes.stamp.take() {
            // The time of the write, whenever this copy was made.
            meta.last_modified = UNIX_EPOCH + Duration::from_millis(stamp.version.millis);
        }
        // Of this copy, where others may have none.
        if meta.lock != Lock::default() && self.object_lock() != Support::Native {
            meta.lock = Lock::default();
        }
        meta
    }

    pub(super) fn outward_stored(
        &self,
        place: usize,
        stored: Stored,
        replaced: Option<bool>,
    ) -> Stored {
        Stored { meta: self.outward(place, stored.meta), replaced }
    }

    /// Runs a call to its end even where its caller goes away: half of it may be done.
    pub(super) async fn to_the_end<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        match tokio::spawn(call).await {
            Ok(result) => result,
            Err(error) => {
                let detail = "the call was broken off inside the service";
                let broken = StoreError::new(ErrorKind::Indeterminate, self.provider(), detail);
                Err(broken.with_source(error))
            }
        }
    }
}
