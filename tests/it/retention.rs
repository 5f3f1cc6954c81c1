//! What is held stays: by every way to destroy it, on every store, whoever races.

mod calls;
mod cost;
mod model;
mod native;
mod off;
mod pools;
mod races;
mod rules;
mod shown;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use proof_storage::backend::Backend;
use proof_storage::model::{
    Attributes, Encoding, Key, KeyPrefix, Namespace, Retention, RetentionRule, WriteMode,
};
use proof_storage::vault::{
    Clock, Compression, Condition, Holding, Holds, Outcome, Policy, Prepared, Sealing, Unchecked,
    Upload, UploadOptions, Vault, VaultError,
};

/// A vault on a clock of the test's, which starts now.
pub struct Kept {
    pub vault: Vault,
    began: SystemTime,
    /// Hours that the clock is ahead.
    hours: Arc<AtomicU64>,
    _spool: tempfile::TempDir,
}

/// How a vault is set up; the default is write-once, without rules.
#[derive(Clone, Default)]
pub struct Setup {
    pub mode: WriteMode,
    pub rules: Vec<RetentionRule>,
    pub planted: Option<Unchecked>,
    pub holds: Holds,
    pub sealing: Sealing,
    /// After `proofs`, where it is not 0, so that vaults can share a store.
    pub number: u32,
}

impl Kept {
    pub fn over(backend: Arc<dyn Backend>, setup: Setup) -> Self {
        let spool = tempfile::tempdir().expect("a folder");
        let hours = Arc::new(AtomicU64::new(0));
        let began = SystemTime::now();
        let clock = Clock::told({
            let hours = Arc::clone(&hours);
            move || began + Duration::from_secs(3600 * hours.load(Ordering::Relaxed))
        });
        let namespace = match setup.number {
            0 => "proofs/".to_owned(),
            number => format!("proofs{number}/"),
        };
        let policy = Policy {
            namespace: Namespace::new(&namespace).expect("a prefix"),
            write_mode: setup.mode,
            max_object_bytes: 1 << 30,
            spool_folder: spool.path().to_owned(),
            spool_files: 64,
            sealing: setup.sealing,
            holding: Holding {
                rules: setup.rules.into(),
                holds: setup.holds,
                clock,
                planted: setup.planted,
            },
        };
        Self { vault: Vault::new(backend, policy), began, hours, _spool: spool }
    }

    pub fn advance(&self, hours: u64) {
        self.hours.fetch_add(hours, Ordering::Relaxed);
    }

    /// A time so many hours after the test began, rounded up to a second.
    pub fn hour(&self, hours: u64) -> SystemTime {
        let since = self.began.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs() + 1 + 3600 * hours)
    }

    pub fn key(&self, name: &str) -> Key {
        self.vault.key(name).expect("a key")
    }

    pub async fn store(
        &self,
        name: &str,
        text: &str,
        retention: Retention,
        condition: Condition,
    ) -> Result<Outcome, VaultError> {
        let body = prepared(&self.vault, text, retention).await;
        self.vault.store(&self.key(name), body, condition).await.map(|(_, outcome)| outcome)
    }

    /// The proof's bytes, where there is one.
    pub async fn read(&self, name: &str) -> Option<String> {
        let opened = match self.vault.open(&self.key(name)).await {
            Ok(opened) => opened,
            Err(error) => {
                let kind = error.store_kind();
                assert_eq!(kind, Some(proof_storage::model::ErrorKind::NotFound), "{error:?}");
                return None;
            }
        };
        let body = opened.into_body(Encoding::Identity).await.expect("sound");
        let bytes = body.collect().await.expect("sound");
        Some(String::from_utf8(bytes.to_vec()).expect("text"))
    }

    pub async fn retention(&self, name: &str) -> Retention {
        self.vault.head(&self.key(name)).await.expect("is there").attributes.retention
    }
}

async fn prepared(vault: &Vault, text: &str, retention: Retention) -> Prepared {
    let attributes = Attributes { retention, ..Attributes::new("text/plain") };
    let spooling = vault.spooling(&attributes);
    let options = UploadOptions {
        attributes,
        sent: Encoding::Identity,
        compression: Compression::Auto,
        content_digest: None,
        repr_digest: None,
        max_bytes: 1 << 30,
    };
    let mut upload =
        Upload::begin(options, Some(text.len() as u64), spooling).await.expect("begins");
    upload.write(Bytes::copy_from_slice(text.as_bytes())).await.expect("fits");
    upload.finish().await.expect("sound")
}

pub fn keep(prefix: &str, hours: u64) -> RetentionRule {
    let keep = Some(Duration::from_secs(3600 * hours));
    RetentionRule { prefix: KeyPrefix::parse(prefix).expect("a prefix"), keep, legal_hold: false }
}

pub fn hold(prefix: &str) -> RetentionRule {
    let prefix = KeyPrefix::parse(prefix).expect("a prefix");
    RetentionRule { prefix, keep: None, legal_hold: true }
}
