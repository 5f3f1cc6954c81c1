//! Hands the compiler's version to the build-info series.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let compiler = std::env::var_os("RUSTC").expect("cargo sets RUSTC for build scripts");
    let output = Command::new(compiler).arg("--version").output();
    let output = output.expect("the compiler that builds this script runs");
    let text = String::from_utf8_lossy(&output.stdout);
    // `rustc 1.95.0 (…)`
    let version = text.split_whitespace().nth(1).unwrap_or("unknown");
    println!("cargo::rustc-env=PROOF_STORAGE_RUSTC={version}");
}
