//! Keeps content-provenance proofs (C2PA manifests) and loses none.

pub mod backend;
pub mod model;
