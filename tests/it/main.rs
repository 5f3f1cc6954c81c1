//! Integration tests: one binary, one module for each promise.

mod architecture;
mod audit;
mod authorisation;
mod certificates;
mod config;
mod conformance;
mod fuzzing;
mod histories;
mod http;
mod layers;
mod openapi;
mod planted;
mod pool;
mod races;
mod retention;
mod s3;
mod sealed;
mod sequences;
mod service;
mod telemetry;
mod tls;
mod torn;

/// Says what was counted: row 8 of `just prove` reads it.
#[expect(clippy::print_stdout, reason = "its purpose")]
fn tell(line: &str) {
    println!("{line}");
}

/// A file of the checkout that is tested now. Asked for at run time: checkouts that share a target
/// folder share this binary too.
fn project_file(name: &str) -> std::path::PathBuf {
    let folder = std::env::var_os("CARGO_MANIFEST_DIR");
    folder.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), std::path::PathBuf::from).join(name)
}
