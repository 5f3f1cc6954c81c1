//! Compares the members of the configured pool, without serving.

use super::command::{self, Opened};
use super::{StartError, audit};
use crate::audit::{Action, Entry, Outcome};
use crate::config::Config;
use crate::model::StoreError;
use crate::pool::{Reconcile, ReconcileReport};

/// Why nothing was compared.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A store does not open.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is nothing to compare with.
    #[error(
        "there is one backend: nothing to compare it with (STORAGE_FALLBACK_PROVIDER or several \
         [[backend]] make a pool)"
    )]
    Single,
    /// The comparison came to no end.
    #[error("the comparison failed: {0:?}")]
    Store(StoreError),
}

/// Opens every member, compares them all, repairs unless it is a dry run, and closes them.
///
/// # Errors
/// See [`ReconcileError`]. A folder of the embedded store belongs to one process: while a service
/// has it open, this fails.
pub async fn reconcile(config: &Config, how: Reconcile) -> Result<ReconcileReport, ReconcileError> {
    if config.backends.len() < 2 {
        return Err(ReconcileError::Single);
    }
    let Opened { store, log, .. } = command::open(config, "reconcile", how.dry_run).await?;
    let compared = store.reconcile(how).await;
    store.close().await;
    let compared = compared.ok_or(ReconcileError::Single)?.map_err(ReconcileError::Store);
    let mut done = Entry::of_command(Action::Reconcile);
    match &compared {
        Ok(found) => {
            done = done
                .with("compared", found.compared)
                .with("repaired", found.repaired)
                .with("quarantined", found.quarantined)
                .with("failed", found.failed);
        }
        // What was mended before stays so.
        Err(_) => done.result = Outcome::Indeterminate,
    }
    audit::end_of_command(&log, done).await;
    compared
}
