//! Keeps content-provenance proofs (C2PA manifests) and loses none.

pub mod backend;
pub mod cli;
pub mod config;
pub mod layer;
pub mod model;
pub mod telemetry;
