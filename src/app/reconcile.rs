//! Compares the members of the configured pool, without serving.

use super::store::Store;
use super::{SPOOL_FOLDER, StartError, create_folder};
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
    let compared = match create_folder(&spool_folder) {
        Ok(()) => store.reconcile(how).await,
        Err(error) => {
            store.close().await;
            return Err(error.into());
        }
    };
    store.close().await;
    compared.ok_or(ReconcileError::Single)?.map_err(ReconcileError::Store)
}
