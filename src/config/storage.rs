//! `[storage]`: where proofs are kept and how they may be written.

use std::path::PathBuf;
use std::time::Duration;

use super::parse;
use super::reader::Reader;
use super::remote::RemoteConfig;
use super::settings as name;
use super::url::BaseUrl;
use super::{DAY_MS, HOUR_MS, TIB};
use crate::model::{Namespace, Provider, WriteMode};

/// The embedded store's probe reads two flags and the free space: often costs nothing.
const LOCAL_PROBE: Duration = Duration::from_secs(1);
/// A remote one's is a request that somebody counts.
const REMOTE_PROBE: Duration = Duration::from_secs(10);

/// Where proofs are kept and how they may be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageConfig {
    /// `STORAGE_PROVIDER`: kind of backend. Default `local`.
    pub provider: Provider,
    /// The bucket, where the provider is `s3` or `r2`.
    pub remote: Option<RemoteConfig>,
    /// `STORAGE_DATA_DIR`: folder of the embedded store. Default `./data`.
    pub data_dir: PathBuf,
    /// `STORAGE_KEY_PREFIX`: put before every key in the backend. Default `proofs/`.
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
    /// `STORAGE_PROBE_INTERVAL` (ms): between health probes. Default 1000 of the embedded store,
    /// 10 000 of a remote one.
    pub probe_interval: Duration,
    /// `STORAGE_MAX_RETRIES`: tries after the first against a remote backend. Default 3. No
    /// effect on the embedded store, whose failures another try does not mend.
    pub max_retries: u32,
    /// `STORAGE_TIMEOUT` (ms): for one call to a backend. Default 30 000.
    pub timeout: Duration,
    /// `STORAGE_CACHE_BYTES` (bytes): block cache of the embedded store. Default 32 MiB.
    pub cache_bytes: u64,
    /// `STORAGE_DISK_RESERVE` (bytes): of disk that stay free; writes get 507 before the disk is
    /// full. Default 256 MiB.
    pub disk_reserve_bytes: u64,
}

impl StorageConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let modes = &[("write-once", WriteMode::WriteOnce), ("overwrite", WriteMode::Overwrite)];
        let provider = reader.value(&name::PROVIDER, parse::provider);
        let cdn_url = reader.option(&name::CDN_URL, BaseUrl::parse);
        let of_r2 = reader.option(&name::R2_CDN_URL, BaseUrl::parse);
        Self {
            provider,
            remote: RemoteConfig::read(reader, provider),
            data_dir: reader.value(&name::DATA_DIR, parse::path),
            namespace: reader.value(&name::KEY_PREFIX, parse::namespace),
            write_mode: reader.value(&name::WRITE_MODE, parse::word(modes)),
            default_cache_control: reader
                .option(&name::DEFAULT_CACHE_CONTROL, parse::cache_control),
            cdn_url: of_r2.filter(|_| provider == Provider::R2).or(cdn_url),
            redirect_downloads: reader
                .option(&name::REDIRECT_DOWNLOADS, parse::prefixes)
                .unwrap_or_default(),
            probe_interval: reader
                .option(&name::PROBE_INTERVAL, parse::milliseconds(100..=HOUR_MS))
                .unwrap_or(if provider == Provider::Local { LOCAL_PROBE } else { REMOTE_PROBE }),
            max_retries: reader.value(&name::MAX_RETRIES, parse::count(0..=100)),
            timeout: reader.value(&name::TIMEOUT, parse::milliseconds(1..=DAY_MS)),
            cache_bytes: reader.value(&name::CACHE_BYTES, parse::bytes(0..=TIB)),
            disk_reserve_bytes: reader.value(&name::DISK_RESERVE, parse::bytes(0..=TIB)),
        }
    }
}
