//! The parts that every call works with, and what callers see of what members say.

use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use super::core::Core;
use super::scribe::Scribe;
use super::state::version_of;
use crate::model::{
    Capabilities, ETag, ErrorKind, Lock, ObjectMeta, Role, StoreError, Stored, Support,
};

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
            (Some(version), _) => ETag::new(version),
            (None, Some(known)) => ETag::new(format!("sha256-{}", known.stored_sha256.to_hex())),
            // Somebody else's object, told apart by its member's own token.
            (None, None) => {
                ETag::new(format!("{}-{}", self.members[place].name, meta.etag.as_str()))
            }
        }
    }

    /// What all members can do, so that each may take what another one cannot; of writes those that
    /// are written to.
    pub(super) fn capabilities(&self) -> Capabilities {
        let (mut reads, mut writes) = (None, None);
        for member in &self.members {
            let can = member.backend.capabilities();
            reads = Some(reads.map_or(can, |all: Capabilities| Capabilities {
                range: all.range.and(can.range),
                presign: all.presign.and(can.presign),
                ..all
            }));
            if member.role == Role::ReadOnly {
                continue;
            }
            writes = Some(writes.map_or(can, |all: Capabilities| Capabilities {
                create_only: all.create_only.and(can.create_only),
                replace_if_match: all.replace_if_match.and(can.replace_if_match),
                delete_if_match: all.delete_if_match.and(can.delete_if_match),
                tags: all.tags.and(can.tags),
                storage_class: all.storage_class.and(can.storage_class),
                encryption_aes256: all.encryption_aes256.and(can.encryption_aes256),
                encryption_kms: all.encryption_kms.and(can.encryption_kms),
                object_lock: all.object_lock.and(can.object_lock),
                unique_etags: all.unique_etags.and(can.unique_etags),
                ..all
            }));
        }
        let reads = reads.unwrap_or_else(|| unreachable!("a pool has members"));
        // What is stored past a pool has no version. A move is a copy and a delete; versions have
        // names at one member only, and listings may come from another member than the write went to.
        Capabilities {
            range: reads.range,
            presign: reads.presign,
            presign_put: Support::No,
            atomic_move: Support::No,
            versions: Support::No,
            exact_times: Support::No,
            ..writes.unwrap_or(reads)
        }
    }

    /// What a member says of an object, as callers see it.
    pub(super) fn outward(&self, place: usize, mut meta: ObjectMeta) -> ObjectMeta {
        meta.etag = self.etag_of(place, &meta);
        if let Some(stamp) = meta.attributes.stamp.take() {
            // The time of the write, whenever this copy was made.
            meta.last_modified = UNIX_EPOCH + Duration::from_millis(stamp.version.millis);
        }
        // Of this copy, where others may have none.
        if meta.lock != Lock::default() && self.capabilities().object_lock != Support::Native {
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
