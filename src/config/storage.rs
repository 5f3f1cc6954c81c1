//! `[storage]`: how proofs may be written, and what is said of every backend.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};

use super::backend::{Common, LocalConfig};
use super::parse;
use super::reader::Reader;
use super::remote::Manners;
use super::settings as name;
use super::url::BaseUrl;
use super::{DAY_MS, HOUR_MS, TIB};
use crate::model::{Keyring, Namespace, Reach, RetentionRule, WriteMode};

/// How proofs are kept, whatever keeps them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    /// `STORAGE_DATA_DIR`: folder of temporary files and of the key that signs URLs, and of the
    /// embedded store unless that has another. Default `./data`.
    pub data_dir: PathBuf,
    /// `STORAGE_KEY_PREFIX`: put before every key in every backend. Default `proofs/`.
    pub namespace: Namespace,
    /// `STORAGE_WRITE_MODE`: `write-once` or `overwrite`. Default `write-once`.
    pub write_mode: WriteMode,
    /// `STORAGE_DEFAULT_CACHE_CONTROL`: of proofs stored without one; always a legal header
    /// value. Default: none.
    pub default_cache_control: Option<String>,
    /// `STORAGE_CDN_URL`: of a CDN in front. Default: none.
    pub cdn_url: Option<BaseUrl>,
    /// `STORAGE_REDIRECT_DOWNLOADS`: what keys begin with whose downloads are sent on to the
    /// backend. Default: none.
    pub redirect_downloads: Vec<String>,
    /// `STORAGE_KEYRING_FILE` or `STORAGE_KEYRING`: keys of envelope encryption. Default: none.
    pub keyring: Option<Keyring>,
    /// `STORAGE_ENCRYPTION=envelope`: whether what asks for no encryption is sealed. Default no.
    pub seals: bool,
    /// `STORAGE_RETENTION` and `STORAGE_LEGAL_HOLD`: prefixes whose proofs have to stay. Default: none.
    pub retention: Vec<RetentionRule>,
    /// `STORAGE_HOLDS`, or that there are rules in `retention`: whether proofs can be held. Default no.
    pub holds: bool,
    /// `STORAGE_REKEY_AT_START`: whether what retired keys wrapped is brought under the active one.
    /// Default no.
    pub rekey_at_start: bool,
}

impl StorageConfig {
    /// Reads it, and what it says of every backend.
    pub(super) fn read(reader: &mut Reader<'_>, reach: Reach) -> (Self, Common) {
        let modes = &[("write-once", WriteMode::WriteOnce), ("overwrite", WriteMode::Overwrite)];
        let mut config = Self {
            data_dir: reader.value(&name::DATA_DIR, parse::path),
            namespace: reader.value(&name::KEY_PREFIX, parse::namespace),
            write_mode: reader.value(&name::WRITE_MODE, parse::word(modes)),
            default_cache_control: reader
                .option(&name::DEFAULT_CACHE_CONTROL, parse::cache_control),
            cdn_url: reader.option(&name::CDN_URL, BaseUrl::parse),
            redirect_downloads: reader
                .option(&name::REDIRECT_DOWNLOADS, parse::prefixes)
                .unwrap_or_default(),
            keyring: keyring(reader),
            // Said together with the backends.
            seals: false,
            holds: reader.value(&name::HOLDS, parse::on_or_off),
            retention: super::retention::rules(reader),
            rekey_at_start: reader.value(&name::REKEY_AT_START, parse::yes_or_no),
        };
        config.holds |= !config.retention.is_empty();
        let rekeys = config.keyring.as_ref().is_some_and(Keyring::has_retired);
        if config.rekey_at_start && !rekeys {
            reader.warn("STORAGE_REKEY_AT_START has no effect while no key is retired");
        }
        let common = Common {
            namespace: config.namespace.clone(),
            can_seal: config.keyring.is_some(),
            local: LocalConfig {
                data_dir: config.data_dir.clone(),
                cache_bytes: reader.value(&name::CACHE_BYTES, parse::bytes(0..=TIB)),
                disk_reserve_bytes: reader.value(&name::DISK_RESERVE, parse::bytes(0..=TIB)),
            },
            manners: Manners {
                max_retries: reader.value(&name::MAX_RETRIES, parse::max_retries),
                max_in_flight: reader.value(&name::MAX_IN_FLIGHT, parse::max_in_flight),
                dark_after: reader.value(&name::DARK_AFTER, parse::dark_after),
                inventory_interval: reader
                    .value(&name::INVENTORY_INTERVAL, parse::inventory_interval),
                reach,
                object_lock: reader.value(&name::OBJECT_LOCK, parse::object_lock),
            },
            timeout: reader.value(&name::TIMEOUT, parse::milliseconds(1..=DAY_MS)),
            probe_interval: reader
                .option(&name::PROBE_INTERVAL, parse::milliseconds(100..=HOUR_MS)),
        };
        (config, common)
    }
}

/// The keys, from the file or the text; who reads the file beside its owner is warned of, because
/// secrets that Kubernetes mounts are readable by a group.
fn keyring(reader: &mut Reader<'_>) -> Option<Keyring> {
    let keys = |text: &str| Keyring::parse(text).map_err(|mistake| mistake.to_string());
    let file = reader.option(&name::KEYRING_FILE, |path| {
        // Not repeated: it is a secret.
        if [":active:", ":retired:"].iter().any(|part| path.contains(part)) {
            return Err("is a keyring, and no path of one: that goes to STORAGE_KEYRING".to_owned());
        }
        let text = std::fs::read_to_string(path);
        let text =
            SecretString::from(text.map_err(|error| format!("cannot read {path}: {error}"))?);
        Ok((path.to_owned(), keys(text.expose_secret())?))
    });
    let text = reader.option(&name::KEYRING, keys);
    if file.is_some() && text.is_some() {
        reader.mistake(&name::KEYRING, "is said by STORAGE_KEYRING_FILE too: remove one of them");
    }
    let Some((path, keyring)) = file else { return text };
    let mode = std::fs::metadata(&path).map_or(0, |file| file.permissions().mode());
    if mode & 0o077 != 0 {
        let mode = mode & 0o777;
        reader.warn(&format!(
            "STORAGE_KEYRING_FILE: others than its owner may open {path} (mode {mode:o})"
        ));
    }
    Some(keyring)
}
