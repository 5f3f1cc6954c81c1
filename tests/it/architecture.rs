//! The import rules of the house: who may know whom, as one table, held against every file.
//!
//! Reads `src` with a Rust parser, so that `use`, full paths, aliases and paths inside macros all
//! count. Code under `#[cfg(test)]` may import anything.

mod imports;

use std::collections::BTreeSet;
use std::path::Path;

use self::imports::{Import, Source};

/// Most lines of a file before its tests.
const MAX_LINES: usize = 400;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 5] = ["utils", "util", "helpers", "common", "misc"];

/// Module, and the modules of this crate that it may import besides itself. `backend` is the
/// trait; `backend::*` stands for every store that has no row of its own.
const ALLOWED: &[(&str, &[&str])] = &[
    ("main", &["app", "cli"]),
    ("lib", &[]),
    (
        "app", // puts everything together, and is the only one that sees it all
        &[
            "access",
            "audit",
            "backend",
            "backend::embedded",
            "backend::s3",
            "codec",
            "config",
            "http",
            "layer",
            "model",
            "pool",
            "serve",
            "stats",
            "telemetry",
            "vault",
        ],
    ),
    (
        "cli", // commands work on any part, without the service around it
        &[
            "access",
            "app",
            "audit",
            "backend",
            "backend::embedded",
            "backend::s3",
            "codec",
            "config",
            "http",
            "layer",
            "model",
            "pool",
            "serve",
            "stats",
            "telemetry",
            "vault",
        ],
    ),
    ("serve", &["config", "http", "telemetry"]), // of http only its router
    ("http", &["access", "audit", "model", "stats", "telemetry", "vault"]),
    ("access", &["config", "model", "telemetry"]), // it reads the tokens again as `config` read them
    ("audit", &["model", "telemetry"]), // it is told, and knows neither who calls nor what is stored
    ("stats", &["backend", "model", "telemetry", "vault"]),
    ("vault", &["backend", "codec", "model"]),
    ("pool", &["backend", "model"]),
    ("layer", &["backend", "model", "telemetry"]),
    ("codec", &["model"]),
    ("telemetry", &["config", "model"]), // of config only its value types
    ("config", &["model"]),
    ("backend", &["model"]),
    ("backend::*", &["backend", "model"]),
    ("model", &[]),
];

/// Crates that only some modules may name. A prefix such as `aws_` stands for a family.
const GUARDED: &[(&str, &[&str])] = &[
    // `app` hands the router from `http` to `serve`, which drives it: both name its type.
    ("axum", &["http", "app", "serve"]),
    ("fjall", &["backend::embedded"]),
    // Before the family that it only shares a beginning with: cryptography, whatever the backend.
    ("aws_lc_rs", &["codec"]),
    ("aws_", &["backend::s3"]),
];

/// Every broken rule, one line each.
fn violations(sources: &[Source]) -> Vec<String> {
    let imports = imports::read(sources);
    let mut found: BTreeSet<String> = imports.iter().filter_map(forbidden).collect();
    for Source { path, text } in sources {
        let stem = path.trim_end_matches(".rs").rsplit('/').next().unwrap_or_default();
        if stem == "mod" {
            found.insert(format!("{path}: foo.rs and foo/, no mod.rs"));
        }
        if EMPTY_NAMES.contains(&stem) {
            found.insert(format!("{path}: name it by what is inside"));
        }
        let lines = before_tests(text).lines().count();
        if lines > MAX_LINES && stem != "tests" {
            found.insert(format!("{path}: {lines} lines before the tests, {MAX_LINES} at most"));
        }
    }
    found.into_iter().collect()
}

fn forbidden(import: &Import) -> Option<String> {
    let Import { file, from, path } = import;
    let spelled = path.join("::");
    if path[0] != "crate" {
        let (_, allowed) = GUARDED.iter().find(|(name, _)| guards(name, &path[0]))?;
        let fine = allowed.contains(&from.as_str());
        return (!fine).then(|| format!("{file}: {from} must not name {spelled}"));
    }
    let to = imports::unit(&path[1..]);
    if to == *from {
        return None;
    }
    let general = if from.starts_with("backend::") { "backend::*" } else { from.as_str() };
    let row = ALLOWED.iter().find(|(module, _)| module == from);
    let Some((_, allowed)) = row.or_else(|| ALLOWED.iter().find(|(module, _)| *module == general))
    else {
        return Some(format!("{file}: {from} has no row in the table of allowed imports"));
    };
    let fine = allowed.contains(&to.as_str());
    (!fine).then(|| format!("{file}: {from} must not import {to} ({spelled})"))
}

/// A file up to its test module, where that is in the file and not only declared in it.
fn before_tests(text: &str) -> &str {
    const MARK: &str = "\n#[cfg(test)]\nmod ";
    let inline = |&(at, _): &(usize, &str)| {
        text[at + MARK.len()..].lines().next().is_some_and(|line| line.ends_with('{'))
    };
    text.match_indices(MARK).find(inline).map_or(text, |(at, _)| &text[..at])
}

fn guards(name: &str, krate: &str) -> bool {
    name == krate || (name.ends_with('_') && krate.starts_with(name))
}

fn read_folder(folder: &Path, name: &str, sources: &mut Vec<Source>) {
    let entries = std::fs::read_dir(folder).expect("the sources are here");
    for entry in entries.map(|entry| entry.expect("a readable entry")) {
        let path = format!("{name}/{}", entry.file_name().to_str().expect("a plain name"));
        if entry.file_type().expect("a known type").is_dir() {
            read_folder(&entry.path(), &path, sources);
        } else if path.ends_with(".rs") {
            let text = std::fs::read_to_string(entry.path()).expect("a readable source");
            sources.push(Source { path, text });
        }
    }
}

#[test]
fn every_import_is_allowed() {
    let mut sources = Vec::new();
    read_folder(&crate::project_file("src"), "src", &mut sources);
    let found = violations(&sources);
    assert!(found.is_empty(), "{} broken rules:\n{}", found.len(), found.join("\n"));

    // The reader sees what is known to be there: else an empty answer would mean nothing.
    let imports = imports::read(&sources);
    let sees = |from: &str, to: &str| {
        imports.iter().any(|i| i.from == from && i.path[0] == "crate" && i.path[1] == to)
    };
    assert!(sees("backend", "model") && sees("backend::memory", "model"));
    assert!(sees("backend::memory", "backend"), "`super` is followed");
    assert!(!sees("model", "backend"));
}

/// Negative control: each fixture breaks one rule and must be reported by it.
#[test]
fn forbidden_edges_are_reported() {
    let long = "fn f() {}\n".repeat(MAX_LINES + 1);
    let declared = format!("\n#[cfg(test)]\nmod tests;\n{}", &long[..MAX_LINES * 10]);
    let broken: &[(&str, &str, &str)] = &[
        ("src/http/objects.rs", "use crate::backend::Backend;", "http must not import backend"),
        ("src/vault.rs", "use crate::http::Problem;", "vault must not import http"),
        ("src/vault/a.rs", "use crate::backend::embedded::Embedded;", "import backend::embedded"),
        ("src/vault/a.rs", "fn f() { crate::backend::memory::Memory::new(); }", "backend::memory"),
        ("src/vault/a.rs", "use crate::{backend::{memory as m}, codec};", "backend::memory"),
        ("src/vault/a.rs", "use crate::backend as b; type T = b::memory::Memory;", "memory"),
        ("src/layer/a.rs", "use super::super::vault::Vault;", "layer must not import vault"),
        ("src/layer.rs", "mod x { fn f() { super::super::vault::g() } }", "not import vault"),
        ("src/layer.rs", "fn f() { println!(\"{}\", crate::vault::NAME); }", "not import vault"),
        ("src/layer.rs", "pub use crate::http::Router;", "layer must not import http"),
        ("src/layer.rs", "use crate::*;", "layer must not import *"),
        ("src/pool.rs", "use crate::telemetry::Metrics;", "pool must not import telemetry"),
        ("src/codec.rs", "use crate::vault::Vault;", "codec must not import vault"),
        ("src/config.rs", "use crate::backend::Backend;", "config must not import backend"),
        ("src/telemetry.rs", "use crate::http::Router;", "telemetry must not import http"),
        ("src/model/key.rs", "use crate::config::Config;", "model must not import config"),
        ("src/backend.rs", "use crate::backend::memory::Memory;", "not import backend::memory"),
        ("src/backend/a.rs", "use super::memory::Memory;", "not import backend::memory"),
        ("src/backend/a.rs", "use crate::vault::Vault;", "backend::a must not import vault"),
        ("src/audit.rs", "use crate::http::Problem;", "audit must not import http"),
        ("src/audit/entry.rs", "use crate::access::Caller;", "audit must not import access"),
        ("src/serve.rs", "use crate::vault::Vault;", "serve must not import vault"),
        ("src/app.rs", "use crate::cli::Report;", "app must not import cli"),
        ("src/app.rs", "use crate::backend::memory::Memory;", "not import backend::memory"),
        ("src/main.rs", "fn main() { proof_storage::vault::go() }", "main must not import vault"),
        ("src/lib.rs", "pub use crate::backend::embedded::Embedded;", "lib must not import"),
        ("src/vault.rs", "use axum::Router;", "vault must not name axum"),
        ("src/vault.rs", "fn f() -> ::axum::Router { todo() }", "vault must not name axum"),
        ("src/backend/memory.rs", "use fjall::Keyspace;", "backend::memory must not name fjall"),
        ("src/backend/embedded.rs", "use aws_sdk_s3::Client;", "must not name aws_sdk_s3"),
        ("src/vault.rs", "use aws_lc_rs::aead::Nonce;", "vault must not name aws_lc_rs"),
        ("src/codec.rs", "use aws_sdk_s3::Client;", "codec must not name aws_sdk_s3"),
        ("src/news.rs", "use crate::model::Key;", "news has no row"),
        ("src/http/mod.rs", "", "no mod.rs"),
        ("src/http/utils.rs", "", "name it by what is inside"),
        ("src/http/long.rs", &long, "401 lines before the tests"),
        ("src/http/long.rs", &declared, "403 lines before the tests"),
    ];
    for (path, text, rule) in broken {
        let found = violations(&[Source { path: (*path).into(), text: (*text).into() }]);
        assert_eq!(found.len(), 1, "one rule is broken by {path}: {text:.60}\n{found:?}");
        assert!(found[0].contains(rule), "{rule:?} is named in {found:?}");
    }
}

/// The other way round: what is allowed is not reported, or the table would be of no use.
#[test]
fn allowed_edges_are_not_reported() {
    let long =
        format!("{}#[cfg(test)]\nmod tests {{\n{}}}", "//\n".repeat(MAX_LINES), "\n".repeat(90));
    let fine: &[(&str, &str)] = &[
        ("src/vault.rs", "use crate::{backend::Backend, codec::gzip, model::Key};"),
        ("src/http/objects.rs", "use axum::Router; use super::state::State; use crate::vault::V;"),
        ("src/backend/embedded/group.rs", "use fjall::Batch; use super::{record::R, queue};"),
        ("src/backend/embedded.rs", "mod record; use self::record::R; use super::Backend;"),
        ("src/app.rs", "use crate::backend::embedded::{self, Embedded}; use axum::Router;"),
        ("src/layer/a.rs", "#[cfg(test)]\nmod tests { use crate::backend::memory::Memory; }"),
        ("src/layer/b.rs", "#[cfg(test)]\nuse crate::backend::memory::Memory;"),
        ("src/http.rs", "/// See [`crate::backend::memory`].\nfn f() {}"),
        ("src/http.rs", "fn f() { event!(target: \"proof_storage::cli\", \"a\\\"b::c\"); }"),
        ("src/main.rs", "fn main() { proof_storage::cli::run() }"),
        ("src/http/long.rs", &long),
    ];
    for (path, text) in fine {
        let found = violations(&[Source { path: (*path).into(), text: (*text).into() }]);
        assert!(found.is_empty(), "{path}: {text:.60}\n{found:?}");
    }
    let split = [
        Source { path: "src/layer.rs".into(), text: "#[cfg(test)]\nmod tests;".into() },
        Source { path: "src/layer/tests.rs".into(), text: "use crate::backend::memory::M;".into() },
    ];
    assert!(violations(&split).is_empty(), "a test module in a file of its own is a test");
    assert_eq!(violations(&split[1..]).len(), 1, "a file is a test only by its declaration");
}
