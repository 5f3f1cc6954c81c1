//! A small upload that unpacks to a very large proof.

use std::io::Write as _;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::super::Context;
use crate::Result;
use crate::client::{Client, proof};
use crate::server::Launch;

const START_LIMIT: Duration = Duration::from_secs(30);
const GOAL: u64 = 32 << 20;
/// Of what the control holds in memory.
const CONTROL_BYTES: usize = 64 << 20;

/// What came of it.
#[derive(Debug)]
pub(super) struct Bomb {
    pub(super) amiss: Vec<String>,
    pub(super) counts: String,
    pub(super) control: String,
    pub(super) control_caught: bool,
}

/// Stores bombs under the usual limit and under the highest, and measures what they cost.
///
/// # Errors
/// The service does not start, or does not answer.
pub(super) fn run(context: &Context) -> Result<Bomb> {
    let inflated: u64 = context.count(10 << 30, 1 << 30);
    let bomb = gzip_of_zeros(inflated)?;
    let gzip = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")];
    let data = context.work().join("bomb");
    let mut amiss = Vec::new();
    let mut costs = Vec::new();
    for limit in ["100MiB", context.count("5GiB", "500MiB")] {
        let launch = context.service(&data, "bomb").with("STORAGE_MAX_OBJECT_BYTES", limit);
        let (status, cost) = cost(&launch, &gzip, &bomb)?;
        if status != 413 {
            amiss.push(format!("a bomb under a limit of {limit} is answered {status}, not 413"));
        }
        if cost > GOAL {
            amiss.push(format!("a bomb under a limit of {limit} costs {} MiB", cost >> 20));
        }
        costs.push(format!("{:.1} MiB under a limit of {limit}", cost as f64 / f64::from(1 << 20)));
    }
    std::fs::remove_dir_all(&data)?;
    let control =
        context.stand_in("buffer", &context.work().join("bomb-control"), "bomb-control")?;
    let (_, control_cost) = cost(&control, &[], &vec![0; CONTROL_BYTES])?;
    Ok(Bomb {
        amiss,
        counts: format!(
            "a gzip of {} KiB that unpacks to {} GiB costs {}",
            bomb.len() >> 10,
            inflated >> 30,
            costs.join(" and ")
        ),
        control: format!("a store that buffers 64 MiB costs {} MiB", control_cost >> 20),
        control_caught: control_cost > GOAL,
    })
}

/// Status of an upload, and by how much the greatest resident set grew for it.
fn cost(launch: &Launch, headers: &[(&str, &str)], body: &[u8]) -> Result<(u16, u64)> {
    let (server, _) = launch.start_ready(START_LIMIT)?;
    // Inflating that whole bomb may take a while, and is nobody's goal.
    let mut client = Client::new(server.address()).with_timeout(Duration::from_secs(300));
    // What any upload costs the first time is not the bomb's.
    client.call("PUT", &proof("bomb/before.json"), &[], b"{}")?;
    let before = server.peak_rss()?;
    let answer = client.call("PUT", &proof("bomb/it.json"), headers, body)?;
    Ok((answer.status(), server.peak_rss()?.saturating_sub(before)))
}

fn gzip_of_zeros(size: u64) -> Result<Vec<u8>> {
    let zeros = vec![0; 1 << 20];
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..size >> 20 {
        encoder.write_all(&zeros)?;
    }
    Ok(encoder.finish()?)
}
