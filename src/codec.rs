//! Changes bytes and nothing else: gzip at rest, envelopes, the veil of temporary files, and their inverses.
//!
//! Knows neither HTTP nor backends. Called by the vault.

pub mod envelope;
pub mod gzip;
pub mod veil;
