//! `[limits]`: what one caller, or all together, may take.

use std::time::Duration;

use super::parse;
use super::reader::Reader;
use super::settings as name;
use super::{DAY_MS, TIB};

/// Largest object of S3 in one piece, so that any proof can move there.
const MAX_OBJECT: u64 = 5 << 30;

/// Bodies up to this size are held in memory, so a smaller budget would refuse them for ever.
const MIN_MEMORY_BUDGET: u64 = 8 << 20;

/// What one caller, or all together, may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// `STORAGE_MAX_CONNECTIONS`: open at once. Default 10 000.
    pub max_connections: usize,
    /// `STORAGE_HEADER_TIMEOUT` (ms): for a request's headers to arrive. Default 10 000.
    pub header_timeout: Duration,
    /// `STORAGE_IDLE_TIMEOUT` (ms): for a kept-alive connection without a request. Default 75 000.
    pub idle_timeout: Duration,
    /// `STORAGE_BODY_TIMEOUT` (ms): without a byte of a request's body. Default 30 000.
    pub body_idle_timeout: Duration,
    /// `STORAGE_MEMORY_BUDGET` (bytes): of bodies held in memory at once; above it 503. At least
    /// 8 MiB. Default 64 MiB.
    pub memory_budget_bytes: u64,
    /// `STORAGE_MAX_OBJECT_BYTES` (bytes): largest proof, 1 to 5 GiB. Default 100 MiB.
    pub max_object_bytes: u64,
}

impl LimitsConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let wait = || parse::milliseconds(1..=DAY_MS);
        Self {
            max_connections: reader.value(&name::MAX_CONNECTIONS, parse::count(1..=1_000_000)),
            header_timeout: reader.value(&name::HEADER_TIMEOUT, wait()),
            idle_timeout: reader.value(&name::IDLE_TIMEOUT, wait()),
            body_idle_timeout: reader.value(&name::BODY_TIMEOUT, wait()),
            memory_budget_bytes: reader
                .value(&name::MEMORY_BUDGET, parse::bytes(MIN_MEMORY_BUDGET..=TIB)),
            max_object_bytes: reader.value(&name::MAX_OBJECT_BYTES, parse::bytes(1..=MAX_OBJECT)),
        }
    }
}
