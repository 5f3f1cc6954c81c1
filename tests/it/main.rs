//! Integration tests: one binary, one module for each promise.

mod conformance;
mod planted;
