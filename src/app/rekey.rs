//! Brings what is sealed under retired keys under the active one.

use std::sync::Arc;
use std::time::Duration;

use super::command::{self, Opened};
use super::{StartError, audit, holds, policy};
use crate::audit::{Action, Audit, Entry, Outcome};
use crate::config::Config;
use crate::vault::{Rewrapped, Vault, VaultError};

/// Until the service tries again where the store did not answer; doubles up to the second.
const FIRST_AGAIN: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_secs(300);

/// Until the store has said whether it has held proofs; else it is taken to have.
const LOOK: Duration = Duration::from_secs(10);

/// What to do.
#[derive(Clone, Debug, Default)]
pub struct Rekey {
    /// Count, and change nothing.
    pub dry_run: bool,
    /// Begin behind this key.
    pub after: Option<String>,
    /// No service runs over the same store.
    pub alone: bool,
}

/// Why it came to no end.
#[derive(Debug, thiserror::Error)]
pub enum RekeyError {
    /// A store does not open.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The store failed on the way, or cannot be rekeyed so.
    #[error("{0}")]
    Vault(#[from] VaultError),
    /// It was cut off.
    #[error("stopped")]
    Stopped,
}

/// Opens the store, goes through all proofs and closes it; gives what was done even if it came to no
/// end. `stop` ends it early.
///
/// # Errors
/// The store does not open. A folder of the embedded store belongs to one process: while a service has
/// it open, this fails, and the service does it itself (`STORAGE_REKEY_AT_START`).
pub async fn rekey(
    config: &Config,
    how: Rekey,
    stop: impl Future<Output = ()>,
) -> Result<(Rewrapped, Result<(), RekeyError>), StartError> {
    let Opened { store, spool_folder, log } = command::open(config, "rekey", how.dry_run).await?;
    store.learn_now().await;
    let alone = how.alone || store.is_embedded();
    let holds = store.seen_by(holds(config));
    let holds = if how.dry_run { holds.only_looking() } else { holds };
    drop(tokio::time::timeout(LOOK, holds.clone().settle(store.backend())).await);
    let vault = Vault::new(store.backend(), policy(config, spool_folder, holds));
    let mut so_far = Rewrapped::default();
    let work = vault.rekey(how.after, how.dry_run, alone, |found| so_far = found.clone());
    let ended = tokio::select! {
        ended = work => ended.map_err(RekeyError::from),
        () = stop => Err(RekeyError::Stopped),
    };
    store.close().await;
    let (found, ended) = match ended {
        Ok(found) => (found, Ok(())),
        Err(error) => (so_far, Err(error)),
    };
    let mut done = counted(Entry::of_command(Action::Rekey), &found);
    if ended.is_err() {
        done.result = Outcome::Indeterminate;
    }
    audit::end_of_command(&log, done).await;
    Ok((found, ended))
}

/// A line with what came of it.
fn counted(entry: Entry, found: &Rewrapped) -> Entry {
    entry
        .with("rewrapped", found.rewrapped)
        .with("key_missing", found.key_missing)
        .with("failed", found.failed)
}

/// The same beside the requests of a service, until it is done.
pub(super) async fn in_background(vault: Arc<Vault>, audit: Audit) {
    let mut pause = FIRST_AGAIN;
    loop {
        // Of this process alone the turns are exact, and several replicas were told to run one.
        match vault.rekey(None, false, true, |_| {}).await {
            Ok(found) => {
                drop(audit.submit(vec![counted(Entry::of_service(Action::Rekey), &found)]));
                let Rewrapped { looked_at, rewrapped, key_missing, failed, .. } = found;
                tracing::info!(looked_at, rewrapped, key_missing, failed, "rekeyed");
                return;
            }
            Err(error) => tracing::warn!(%error, "the rekeying stopped, and is tried again"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN);
    }
}
