//! Integration tests: one binary, one module for each promise.

mod architecture;
mod config;
mod conformance;
mod histories;
mod http;
mod openapi;
mod planted;
mod sequences;
mod telemetry;
mod torn;
