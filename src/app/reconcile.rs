//! Compares the members of the configured pool, without serving.

use super::store::Store;
use super::{SPOOL_FOLDER, StartError, audit, create_folder};
use crate::audit::{Action, Audit, Entry, Outcome};
use crate::config::Config;
use crate::model::StoreError;
use crate::pool::{Reconcile, ReconcileReport};
use crate::telemetry::Metrics;

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
    let data_dir = &config.storage.data_dir;
    create_folder(data_dir)?;
    let spool_folder = data_dir.join(SPOOL_FOLDER);
    let store = Store::open(config, &spool_folder, &Metrics::new()).await?;
    let log = match create_folder(&spool_folder) {
        Ok(()) if how.dry_run => Ok(Audit::off()),
        Ok(()) => audit::of_command(config, "reconcile").await,
        Err(error) => Err(error),
    };
    let log = match log {
        Ok(log) => log,
        Err(error) => {
            store.close().await;
            return Err(error.into());
        }
    };
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
