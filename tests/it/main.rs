//! Integration tests: one binary, one module for each promise.

mod architecture;
mod conformance;
mod planted;
mod sequences;
