//! Who decides the condition of a write, and what is said of it to the backend.
//!
//! Where the backend compares exactly, its own word counts. Where it does not, this process looks
//! first and writes then, its writers of a key one after another (`writers`); the condition is sent
//! all the same, so that a backend which knows it in some way may refuse too, unless it refuses the
//! very header.

use std::sync::atomic::Ordering;

use aws_sdk_s3::types::ServerSideEncryption;

use super::S3;
use super::meta::quoted;
use super::write::Prepared;
use crate::model::{ErrorKind, ObjectKey, PutMode, StoreError, Support};

impl S3 {
    /// Whether some condition is ours to decide: then all of our writers of a key take turns.
    pub(super) fn takes_turns(&self) -> bool {
        let can = self.can();
        [can.create_only, can.replace_if_match, can.delete_if_match].contains(&Support::Gateway)
    }

    /// Who decides the condition of a write.
    pub(super) fn support_of(&self, mode: &PutMode) -> Result<Support, StoreError> {
        let can = self.can();
        let (support, feature) = match mode {
            PutMode::Create => (can.create_only, "create_only: conditional writes"),
            PutMode::Replace(_) => (can.replace_if_match, "replace_if_match: conditional writes"),
            PutMode::Overwrite => return Ok(Support::Native),
        };
        if support.is_available() { Ok(support) } else { Err(self.unsupported(feature)) }
    }

    /// Compares on the backend's behalf; the caller has the turn.
    pub(super) async fn check(&self, key: &ObjectKey, mode: &PutMode) -> Result<(), StoreError> {
        match (mode, self.version_of(key).await?) {
            (PutMode::Overwrite, _) | (PutMode::Create, None) => Ok(()),
            (PutMode::Create, Some(_)) => Err(self.refused(mode)),
            (PutMode::Replace(wanted), Some(found)) if *wanted == found => Ok(()),
            (PutMode::Replace(_), _) => Err(self.refused(mode)),
        }
    }

    /// The refusal of a condition.
    pub(super) fn refused(&self, mode: &PutMode) -> StoreError {
        match mode {
            PutMode::Create => self.error(ErrorKind::AlreadyExists, "there is an object already"),
            _ => self.error(ErrorKind::PreconditionFailed, "another version is there"),
        }
    }

    /// A failed conditional write in the words of its condition.
    pub(super) fn of_condition(&self, mode: &PutMode, error: StoreError) -> StoreError {
        match (error.kind(), mode) {
            (ErrorKind::PreconditionFailed, _) => self.refused(mode),
            // S3 answers If-Match on a missing key so.
            (ErrorKind::NotFound, PutMode::Replace(_)) => self.refused(mode),
            _ => error,
        }
    }

    /// The condition to send with a write whose condition is `mode`.
    pub(super) fn sent(&self, support: Support, mode: &PutMode) -> PutMode {
        let refused = self.shared.refuses_conditions.load(Ordering::Relaxed);
        if support == Support::Gateway && refused { PutMode::Overwrite } else { mode.clone() }
    }

    /// Whether a write is to be sent again without its condition, which this process has checked:
    /// some backends answer the header with 501.
    pub(super) fn is_header_refused(
        &self,
        support: Support,
        sent: &PutMode,
        error: &StoreError,
    ) -> bool {
        let refused = error.kind() == ErrorKind::Unsupported
            && support == Support::Gateway
            && *sent != PutMode::Overwrite;
        if refused {
            self.shared.refuses_conditions.store(true, Ordering::Relaxed);
        }
        refused
    }

    /// A failed write in the words of its condition.
    pub(super) fn refused_write(
        &self,
        prepared: &Prepared,
        mode: &PutMode,
        error: StoreError,
    ) -> StoreError {
        let asked = Asked {
            condition: *mode != PutMode::Overwrite,
            tags: prepared.tagging.is_some(),
            storage_class: prepared.storage_class.is_some(),
            encryption: prepared.encryption.as_ref(),
            lock: prepared.locking.is_asked(),
        };
        self.note_refusal(asked, &error);
        self.of_condition(mode, self.of_locking(&prepared.locking, error))
    }

    /// What the backend refuses with 501 it has not, whatever was found when it was examined; only
    /// where it is clear which of the things that were asked for is meant.
    pub(super) fn note_refusal(&self, asked: Asked<'_>, error: &StoreError) {
        if error.kind() != ErrorKind::Unsupported || asked.lock {
            return;
        }
        tracing::warn!(%error, "the backend has not what was found when it was examined");
        self.unlearn(|can| match asked {
            Asked {
                condition: true, tags: false, storage_class: false, encryption: None, ..
            } => {
                can.create_only = can.create_only.and(Support::Gateway);
                can.replace_if_match = can.replace_if_match.and(Support::Gateway);
            }
            Asked {
                condition: false, tags: true, storage_class: false, encryption: None, ..
            } => {
                can.tags = Support::Gateway;
            }
            Asked {
                condition: false, tags: false, storage_class: true, encryption: None, ..
            } => {
                can.storage_class = Support::No;
            }
            Asked {
                condition: false,
                tags: false,
                storage_class: false,
                encryption: Some(kind),
                ..
            } => match kind {
                ServerSideEncryption::Aes256 => can.encryption_aes256 = Support::No,
                _ => can.encryption_kms = Support::No,
            },
            _ => {}
        });
    }
}

/// What a write asks for besides keeping the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) condition: bool,
    pub(super) tags: bool,
    pub(super) storage_class: bool,
    pub(super) encryption: Option<&'a ServerSideEncryption>,
    pub(super) lock: bool,
}

/// `If-None-Match` and `If-Match`.
pub(super) fn conditions(mode: &PutMode) -> (Option<String>, Option<String>) {
    match mode {
        PutMode::Create => (Some("*".to_owned()), None),
        PutMode::Replace(etag) => (None, Some(quoted(etag))),
        PutMode::Overwrite => (None, None),
    }
}
