//! Changes bytes and nothing else: gzip at rest and its inverse.
//!
//! Knows neither HTTP nor backends. Called by the vault.

pub mod gzip;
