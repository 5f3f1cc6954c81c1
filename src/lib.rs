//! Keeps content-provenance proofs (C2PA manifests) and loses none.

pub mod backend;
pub mod config;
pub mod model;
pub mod telemetry;
