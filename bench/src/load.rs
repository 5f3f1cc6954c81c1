//! Load on a contestant: `wrk`, one thread, and what it saw.
//!
//! `wrk` runs on the same cores as the contestant, with the same script for each of them, so a
//! figure is that of the pair and only ratios between contestants of one run mean anything.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

use crate::corpus::noise;
use crate::{Error, Result};

/// Bytes at the start of every PUT body that are its number in decimal.
const NUMBER_BYTES: usize = 16;

/// What to ask.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    /// Objects `{prefix}1` to `{prefix}{count}` in turn.
    Get { prefix: String, count: u64 },
    /// New objects `{prefix}1`, `{prefix}2` … of `size` bytes.
    Put { prefix: String, size: usize },
    /// Signed URLs for keys `{prefix}1` to `{prefix}{count}` in turn, of the store's own.
    Sign { prefix: String, count: u64 },
}

/// How hard to ask.
#[derive(Clone, Debug)]
pub(crate) struct Pressure {
    pub(crate) connections: u32,
    /// Of one run.
    pub(crate) duration: Duration,
    /// Alternated runs of every contestant.
    pub(crate) runs: usize,
    /// Further request headers, `Name: value`.
    pub(crate) headers: Vec<String>,
}

/// What `wrk` saw. Only complete answers are counted as requests.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Seen {
    pub(crate) requests: u64,
    microseconds: u64,
    /// Of whole answers, heads included.
    pub(crate) bytes: u64,
    /// Microseconds.
    pub(crate) p50: u64,
    /// Microseconds.
    pub(crate) p99: u64,
    /// Answers with a status of 400 and above.
    refused: u64,
    /// Connections that failed, and answers that did not come in time.
    broken: u64,
}

impl Seen {
    /// Answers a second.
    pub(crate) fn per_second(&self) -> f64 {
        self.requests as f64 / (self.microseconds as f64 / 1e6)
    }
}

/// Runs `wrk` and fails where one request was refused or broke.
pub(crate) fn run(
    folder: &Path,
    address: SocketAddr,
    script: &Script,
    pressure: &Pressure,
) -> Result<Seen> {
    let (file, arguments) = write_script(folder, script)?;
    let mut command = Command::new("wrk");
    command
        .args(["--threads", "1", "--timeout", "30s"])
        .args(["--connections", &pressure.connections.to_string()])
        .args(["--duration", &format!("{}s", pressure.duration.as_secs())]);
    for header in &pressure.headers {
        command.args(["--header", header]);
    }
    command.arg("--script").arg(file).arg(format!("http://{address}")).arg("--").args(arguments);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("cannot start wrk (Debian: apt install wrk): {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("FIGURES "));
    let line = line.ok_or_else(|| format!("wrk said nothing of use: {text}"))?;
    let seen: Seen = serde_json::from_str(line)?;
    if seen.refused + seen.broken > 0 || seen.requests == 0 {
        return Err(format!(
            "of {} answers {} were errors, and {} requests broke",
            seen.requests, seen.refused, seen.broken
        )
        .into());
    }
    Ok(seen)
}

/// The body that the script sends as number `number`.
pub(crate) fn put_body(number: u64, size: usize) -> Vec<u8> {
    let mut body = format!("{number:016}").into_bytes();
    body.extend_from_slice(&put_tail(size));
    body
}

fn put_tail(size: usize) -> bytes::Bytes {
    noise(0, size - NUMBER_BYTES)
}

fn write_script(folder: &Path, script: &Script) -> Result<(PathBuf, Vec<String>)> {
    const DONE: &str = include_str!("load/done.lua");
    let (name, text, arguments) = match script {
        Script::Get { prefix, count } => {
            ("get.lua", include_str!("load/get.lua"), vec![prefix.clone(), count.to_string()])
        }
        Script::Sign { prefix, count } => {
            ("sign.lua", include_str!("load/sign.lua"), vec![prefix.clone(), count.to_string()])
        }
        Script::Put { prefix, size } => {
            let tail = folder.join(format!("tail-{size}"));
            fs::write(&tail, put_tail(*size))?;
            let tail = tail.into_os_string().into_string().map_err(|_| Error::from("not UTF-8"))?;
            ("put.lua", include_str!("load/put.lua"), vec![prefix.clone(), size.to_string(), tail])
        }
    };
    let file = folder.join(name);
    fs::write(&file, [text, DONE].concat())?;
    Ok((file, arguments))
}
