//! Changes bytes and nothing else: gzip at rest and its inverse, envelopes and theirs.
//!
//! Knows neither HTTP nor backends. Called by the vault.

pub mod envelope;
pub mod gzip;
