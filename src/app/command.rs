//! What commands begin with that go over the stores without serving.

use std::path::PathBuf;

use super::store::Store;
use super::{SPOOL_FOLDER, StartError, audit, create_folder};
use crate::audit::Audit;
use crate::config::Config;
use crate::telemetry::Metrics;

/// The stores, and what goes with them.
pub(super) struct Opened {
    pub(super) store: Store,
    pub(super) spool_folder: PathBuf,
    /// Has the line of the command's start, where it may change something.
    pub(super) log: Audit,
}

/// Opens all, or nothing.
pub(super) async fn open(config: &Config, name: &str, dry_run: bool) -> Result<Opened, StartError> {
    let data_dir = &config.storage.data_dir;
    create_folder(data_dir)?;
    let spool_folder = data_dir.join(SPOOL_FOLDER);
    let store = Store::open(config, &spool_folder, &Metrics::new()).await?;
    // After the stores: one refuses a folder that holds something else, and locks it.
    let log = match create_folder(&spool_folder) {
        Ok(()) if dry_run => Ok(Audit::off()),
        Ok(()) => audit::of_command(config, name).await,
        Err(error) => Err(error),
    };
    match log {
        Ok(log) => Ok(Opened { store, spool_folder, log }),
        Err(error) => {
            store.close().await;
            Err(error)
        }
    }
}
