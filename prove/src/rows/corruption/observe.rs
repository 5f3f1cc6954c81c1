//! Opens a damaged store and reads everything, as the vault does.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use futures_util::StreamExt as _;
use proof_storage::backend::Backend;
use proof_storage::backend::embedded::Embedded;
use proof_storage::model::{
    Body, Digest, ErrorKind, GetOptions, ListRequest, ObjectKey, StoreError,
};
use tokio::runtime::Runtime;

use super::history::{History, open};

/// What is read of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Bytes that passed the check.
    Bytes(Digest),
    /// `NotFound`.
    Absent,
    /// `Corrupt`.
    Corrupt,
    /// Another error.
    Failed(String),
}

/// What a damaged store showed.
#[derive(Debug)]
pub(super) enum Seen {
    /// It did not open, and said why.
    Refused(String),
    /// A panic came out of the store.
    Panicked(String),
    /// It opened.
    Opened {
        /// What it reported.
        damage: Vec<String>,
        /// Every key of the history.
        reads: BTreeMap<String, Read>,
        /// The listing; `Err` where it failed.
        listed: std::result::Result<Vec<String>, String>,
    },
}

/// Opens a store and reads everything.
pub(super) fn observe(runtime: &Runtime, data: &Path, history: &History) -> Seen {
    let observed = catch_unwind(AssertUnwindSafe(|| {
        let store = match open(data) {
            Ok(store) => store,
            Err(refusal) => return Seen::Refused(refusal.to_string()),
        };
        let reads = history.keys().map(|key| (key.to_owned(), runtime.block_on(read(&store, key))));
        let reads = reads.collect();
        let listed = runtime.block_on(list(&store));
        let damage = store.damage();
        store.close();
        Seen::Opened { damage, reads, listed }
    }));
    observed.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Seen::Panicked(text.unwrap_or_default())
    })
}

/// Reads as the vault does: bytes count only if their digest is the one written beside them.
async fn read(store: &Embedded, key: &str) -> Read {
    let of_error = |error: StoreError| match error.kind() {
        ErrorKind::NotFound => Read::Absent,
        ErrorKind::Corrupt => Read::Corrupt,
        _ => Read::Failed(format!("{error:?}")),
    };
    let retrieved = match store.get(&ObjectKey::new(key), GetOptions::default()).await {
        Ok(retrieved) => retrieved,
        Err(error) => return of_error(error),
    };
    let mut body = Vec::new();
    match retrieved.body {
        Body::Bytes(bytes) => body.extend_from_slice(&bytes),
        Body::Stream(mut stream) => {
            while let Some(piece) = stream.next().await {
                match piece {
                    Ok(piece) => body.extend_from_slice(&piece),
                    Err(error) => return of_error(error),
                }
            }
        }
    }
    let digest = Digest::of(&body);
    match retrieved.meta.attributes.representation {
        Some(representation) if representation.stored_sha256 == digest => Read::Bytes(digest),
        _ => Read::Corrupt,
    }
}

async fn list(store: &Embedded) -> std::result::Result<Vec<String>, String> {
    let request = ListRequest { prefix: String::new(), delimiter: None, limit: 1000, after: None };
    let page = store.list(&request).await.map_err(|error| format!("{error:?}"))?;
    Ok(page.items.iter().map(|item| item.key.as_str().to_owned()).collect())
}
