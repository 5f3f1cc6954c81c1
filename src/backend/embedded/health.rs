//! Whether the store still takes writes, and if not, why.
//!
//! The first failed write or sync turns the store read-only until it is opened again: after a
//! failed fsync the kernel may have dropped the pages that it could not write, so no later
//! success would mean anything.

use std::sync::OnceLock;

use super::errors::{error, io_cause};
use crate::model::{ErrorKind, StoreError};

const READ_ONLY: &str =
    "the store is read-only after a failed write: restart it once the cause is mended";
const NO_SPACE: &str = "the disk is full";

#[derive(Clone, Debug)]
struct Failure {
    reason: String,
    full: bool,
}

/// Set once, at the first failure.
#[derive(Debug, Default)]
pub(super) struct Health {
    failure: OnceLock<Failure>,
}

impl Health {
    /// Notes what the engine said at the failed write.
    pub(super) fn fail(&self, cause: &fjall::Error) {
        let full = io_cause(cause).is_some_and(|io| io.kind() == std::io::ErrorKind::StorageFull);
        self.set(Failure { reason: cause.to_string(), full });
    }

    /// Notes that the engine panicked in a write.
    pub(super) fn fail_panic(&self, reason: String) {
        self.set(Failure { reason, full: false });
    }

    fn set(&self, failure: Failure) {
        let reason = failure.reason.clone();
        if self.failure.set(failure).is_ok() {
            tracing::error!(reason, "write failed, the store is read-only from now on");
        }
    }

    /// Why the store is read-only, for the log and the operator.
    pub(super) fn reason(&self) -> Option<String> {
        self.failure.get().map(|failure| failure.reason.clone())
    }

    /// What every write after the failure is answered.
    pub(super) fn refusal(&self) -> Option<StoreError> {
        let failure = self.failure.get()?;
        let kind = if failure.full { ErrorKind::QuotaExceeded } else { ErrorKind::Unavailable };
        let detail = if failure.full { NO_SPACE } else { READ_ONLY };
        Some(error(kind, detail))
    }

    /// What the members of the failed group are answered.
    pub(super) fn indeterminate(&self) -> StoreError {
        error(ErrorKind::Indeterminate, "the write failed midway and may or may not be stored")
    }
}
