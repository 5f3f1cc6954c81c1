//! `[limits]`: what one caller, or all together, may take.

use std::time::Duration;

use super::parse;
use super::reader::Reader;
use super::settings as name;
use super::{DAY_MS, TIB};
use crate::model::{Rate, Reach};

/// Largest object of S3 in one piece, so that any proof can move there.
const MAX_OBJECT: u64 = 5 << 30;

/// Bodies up to this size are held in memory, so a smaller budget would refuse them for ever.
const MIN_MEMORY_BUDGET: u64 = 8 << 20;

/// A rate above this is a slip of the hand.
const GIB: u64 = 1 << 30;

/// What one caller, or all together, may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// `STORAGE_MAX_CONNECTIONS`: open at once. Default 10 000.
    pub max_connections: usize,
    /// `STORAGE_MAX_CONNECTIONS_PER_ADDRESS`: of those from one address, or one /64 of IPv6, that is
    /// no trusted proxy. Default: no limit of its own.
    pub max_connections_per_address: Option<usize>,
    /// `STORAGE_MAX_REQUESTS`: worked on at once, those that wait for a backend
    /// among them. Default 4096.
    pub max_requests: usize,
    /// How often somebody may ask.
    pub rates: RateConfig,
    /// `STORAGE_HEADER_TIMEOUT` (ms): for a request's headers to arrive. Default 10 000.
    pub header_timeout: Duration,
    /// `STORAGE_IDLE_TIMEOUT` (ms): for a kept-alive connection without a request. Default 75 000.
    pub idle_timeout: Duration,
    /// `STORAGE_BODY_TIMEOUT` (ms): without a byte of a request's body. Default 30 000.
    pub body_idle_timeout: Duration,
    /// `STORAGE_MIN_UPLOAD_RATE` (bytes a second): of a request's body. Default 1024; 0: none.
    pub min_upload_rate: u64,
    /// `STORAGE_MIN_DOWNLOAD_RATE` (bytes a second): of an answer. Default 1024; 0: none.
    pub min_download_rate: u64,
    /// `STORAGE_MEMORY_BUDGET` (bytes): of bodies held in memory at once, three quarters of them for
    /// one address; above it 503. At least 8 MiB. Default 64 MiB.
    pub memory_budget_bytes: u64,
    /// `STORAGE_MAX_OBJECT_BYTES` (bytes): largest proof, 1 to 5 GiB. Default 100 MiB.
    pub max_object_bytes: u64,
    /// `STORAGE_ALLOW_LINK_LOCAL`: where endpoints may be. Default: not at link-local addresses.
    pub reach: Reach,
}

/// How often somebody may ask. `None`: as often as they like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateConfig {
    /// `STORAGE_RATE_PER_ADDRESS`: requests from one address, or one /64 of IPv6.
    pub address: Option<Rate>,
    /// `STORAGE_WRITE_RATE_PER_ADDRESS`: those of them that are not GET, HEAD or OPTIONS.
    pub address_writes: Option<Rate>,
    /// `STORAGE_RATE_PER_TOKEN`: requests with one token.
    pub token: Option<Rate>,
    /// `STORAGE_WRITE_RATE_PER_TOKEN`: those of them that are not GET, HEAD or OPTIONS.
    pub token_writes: Option<Rate>,
}

impl LimitsConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let wait = || parse::milliseconds(1..=DAY_MS);
        Self {
            max_connections: reader.value(&name::MAX_CONNECTIONS, parse::count(1..=1_000_000)),
            max_connections_per_address: reader
                .option(&name::MAX_CONNECTIONS_PER_ADDRESS, parse::count(1..=1_000_000)),
            max_requests: reader.value(&name::MAX_REQUESTS, parse::count(1..=1_000_000)),
            rates: RateConfig {
                address: reader.option(&name::RATE_PER_ADDRESS, Rate::parse),
                address_writes: reader.option(&name::WRITE_RATE_PER_ADDRESS, Rate::parse),
                token: reader.option(&name::RATE_PER_TOKEN, Rate::parse),
                token_writes: reader.option(&name::WRITE_RATE_PER_TOKEN, Rate::parse),
            },
            header_timeout: reader.value(&name::HEADER_TIMEOUT, wait()),
            idle_timeout: reader.value(&name::IDLE_TIMEOUT, wait()),
            body_idle_timeout: reader.value(&name::BODY_TIMEOUT, wait()),
            min_upload_rate: reader.value(&name::MIN_UPLOAD_RATE, parse::bytes(0..=GIB)),
            min_download_rate: reader.value(&name::MIN_DOWNLOAD_RATE, parse::bytes(0..=GIB)),
            memory_budget_bytes: reader
                .value(&name::MEMORY_BUDGET, parse::bytes(MIN_MEMORY_BUDGET..=TIB)),
            max_object_bytes: reader.value(&name::MAX_OBJECT_BYTES, parse::bytes(1..=MAX_OBJECT)),
            reach: match reader.value(&name::ALLOW_LINK_LOCAL, parse::yes_or_no) {
                true => Reach::Anywhere,
                false => Reach::Guarded,
            },
        }
    }
}
