//! What is logged, and how. In TOML these keys are part of `[server]`.

use std::time::Duration;

use super::DAY_MS;
use super::parse;
use super::reader::Reader;
use super::settings as name;

/// Form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `STORAGE_LOG`: directives in env-filter syntax, known to be legal. Default `info`.
    pub filter: String,
    /// `STORAGE_LOG_FORMAT`: `text` or `json`. Default `text`.
    pub format: LogFormat,
    /// `STORAGE_SLOW_REQUEST` (ms): from which a request is logged as slow. Default 1 000.
    pub slow_request: Duration,
}

impl LogConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let formats = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
        Self {
            filter: reader.value(&name::LOG, parse::log_filter),
            format: reader.value(&name::LOG_FORMAT, parse::word(formats)),
            slow_request: reader.value(&name::SLOW_REQUEST, parse::milliseconds(1..=DAY_MS)),
        }
    }
}
