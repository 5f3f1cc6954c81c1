//! Envelope encryption: what is at rest tells nothing, opens for nobody else, and rotates.

mod at_rest;
mod contract;
mod rotation;
mod tampered;

use std::path::Path;
use std::sync::Arc;

use proof_storage::backend::Backend;
use proof_storage::backend::memory::Memory;
use proof_storage::config::Config;
use proof_storage::model::Keyring;
use proof_storage::vault::{Sealed, Sealing};

use crate::http::client::Client;

/// Looked for wherever bytes are kept.
pub const CANARY: &str = "canary-4f1c-of-what-was-sealed";

/// The keys of the tests: the active one's id, and those of retired ones.
pub fn keyring(ids: &str) -> Keyring {
    let entry = |(place, id): (usize, &str)| {
        let state = if place == 0 { "active" } else { "retired" };
        format!("{id}:{state}:{}", key_of(id))
    };
    let text: Vec<_> = ids.split(' ').enumerate().map(entry).collect();
    Keyring::parse(&text.join("\n")).expect("a sound keyring")
}

/// A key that is the same for the same id, and for no other.
fn key_of(id: &str) -> String {
    proof_storage::model::Digest::of(id.as_bytes()).to_base64()
}

pub fn sealing(ids: &str) -> Sealing {
    Sealing { keyring: Some(keyring(ids)), by_default: true }
}

/// A store that seals everything with these keys.
pub fn over(backend: &Arc<dyn Backend>, ids: &str, spool: &Path) -> Sealed {
    Sealed::new(Arc::clone(backend), sealing(ids), spool.to_owned())
}

/// A service that seals all it is asked to keep, or only what says so.
pub async fn service(backend: &Arc<dyn Backend>, ids: &str, by_default: bool) -> Client {
    let mut config = Config::default();
    config.storage.keyring = (!ids.is_empty()).then(|| keyring(ids));
    config.storage.seals = by_default;
    Client::over(Arc::clone(backend), config).await
}

pub fn memory() -> Arc<dyn Backend> {
    Arc::new(Memory::new())
}
