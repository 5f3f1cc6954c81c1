//! Keeps content-provenance proofs (C2PA manifests) and loses none.

pub mod access;
pub mod app;
pub mod audit;
pub mod backend;
pub mod cli;
pub mod codec;
pub mod config;
pub mod http;
pub mod layer;
pub mod model;
pub mod pool;
pub mod serve;
pub mod telemetry;
pub mod vault;
