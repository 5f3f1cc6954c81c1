//! The service over an S3, against the bare AWS SDK doing the same calls.
//!
//! Every contestant has an S3 of its own, a process that shares the cores with it and with the load.
//! The less of them that S3 needs, the more a ratio of throughput says about the contestants, so the
//! main tables are over the one that answers at once; CPU per request says the same over any.

mod calls;

use std::fs;

use super::rounds::{Limit, Row, compare_and_add};
use super::{Context, get, progress, put};
use crate::Result;
use crate::contestant::sdk::{self, Call};
use crate::contestant::{Contestant, Told};
use crate::load::Pressure;
use crate::report::Section;
use crate::upstream::instant::{Cheat, Manner};
use crate::upstream::{Kind, Upstream, garage};

pub(super) use self::calls::run as run_calls;

const BEHIND_AXUM: &str = "SDK behind axum";
const SHORTEST: &str = "SDK behind axum, overwrites with CRC-32";
const ALONE: &str = "SDK alone";

/// One table: objects of a size, asked for by so many at once.
struct Shape {
    upstream: Kind,
    size: usize,
    connections: u32,
}

const INSTANT: Kind =
    Kind::Instant(Manner { cheat: None, delay: 0, slow_one_in: 0, slow_delay: 0 });

fn shapes() -> [(&'static str, Shape); 4] {
    let shape = |upstream, size, connections| Shape { upstream, size, connections };
    [
        ("4 KiB, 64 at once, instant S3", shape(INSTANT, 4 << 10, 64)),
        ("64 KiB, 64 at once, instant S3", shape(INSTANT, 64 << 10, 64)),
        ("4 KiB, one at a time, instant S3", shape(INSTANT, 4 << 10, 1)),
        ("4 KiB, 64 at once, fake-s3, which checks signatures", shape(Kind::Fake, 4 << 10, 64)),
    ]
}

/// GET, or PUT of new keys.
pub(super) fn run(context: &Context, call: Call) -> Result<Section> {
    let mut body = String::new();
    for (title, shape) in shapes() {
        body.push_str(&format!("### {title}\n\n{}\n", table(context, call, &shape)?));
    }
    let pressure = context.short_pressure(64);
    let how = format!(
        "{} runs of {:?} each, every contestant over an S3 of its own on the same cores. \
         {BEHIND_AXUM}: a handler that does nothing but {}, under the same load; {ALONE}: the same \
         calls by so many tasks, without HTTP in front and without `wrk`. Both have the SDK's own \
         settings. {} Instant S3: a simulation in memory that verifies nothing. fake-s3: a \
         simulation in memory that checks signatures and checksums. Added: median of the p50 and \
         p99 less that of {BEHIND_AXUM}.",
        pressure.runs,
        pressure.duration,
        if call == Call::Get { "GetObject" } else { "PutObject" },
        if call == Call::Get {
            "The service compares the sha-256 of every body before it answers."
        } else {
            "All send the same call: write-once (If-None-Match), with a sha-256 as checksum and as \
             metadata; the row that says so the SDK's shortest."
        },
    );
    let (name, title) = match call {
        Call::Get => ("s3-get", "GET over S3"),
        _ => ("s3-put", "PUT over S3"),
    };
    context.section(name, title, &how, body)
}

/// The same over a real store, where there is one.
pub(super) fn run_garage(context: &Context) -> Result<Option<Section>> {
    let Some(binary) = garage::binary() else {
        progress("s3-garage is left out: no Garage, set GARAGE_BIN");
        return Ok(None);
    };
    let pressure = context.short_pressure(64);
    let mut body = String::new();
    for (title, call) in [("GET", Call::Get), ("PUT", Call::Put)] {
        let shape = Shape { upstream: Kind::Garage, size: 4 << 10, connections: 64 };
        body.push_str(&format!("### {title}, 4 KiB\n\n{}\n", table(context, call, &shape)?));
    }
    let how = format!(
        "{}, one node with LMDB on the same cores and disk, at 64 connections, {} runs of {:?} \
         each. Garage ignores conditions, so the service compares itself: each of its PUTs is a \
         HeadObject and a PutObject.",
        garage::version(&binary)?,
        pressure.runs,
        pressure.duration
    );
    context.section("s3-garage", "Over Garage", &how, body).map(Some)
}

fn table(context: &Context, call: Call, shape: &Shape) -> Result<String> {
    let upstream = &shape.upstream;
    let mut contestants = context.services();
    for service in &mut contestants {
        *service = service.clone().over(upstream.clone());
    }
    contestants.push(Contestant::sdk(BEHIND_AXUM, upstream.clone()));
    if call == Call::Put {
        contestants.push(Contestant::plain_sdk(SHORTEST, upstream.clone()));
    }
    let pressure = context.short_pressure(shape.connections);
    let rows = rows(context, call, contestants, shape, &pressure)?;
    Ok(compare_and_add(&rows, "per second", &[BEHIND_AXUM, ALONE], Some(BEHIND_AXUM)))
}

/// Measures these contestants, and in turn with them the SDK alone.
fn rows(
    context: &Context,
    call: Call,
    contestants: Vec<Contestant>,
    shape: &Shape,
    pressure: &Pressure,
) -> Result<Vec<Row>> {
    let alone = |_| alone(context, call, shape, pressure);
    let limit = Limit { label: ALONE, measure: &alone };
    let name = format!("s3-{:?}-{}-{}", shape.upstream, shape.size, shape.connections);
    match call {
        Call::Put => put::rows(context, &contestants, shape.size, pressure, Some(limit)),
        _ => get::rows(context, &name, contestants, shape.size, pressure, Some(limit)),
    }
}

fn alone(context: &Context, call: Call, shape: &Shape, pressure: &Pressure) -> Result<Told> {
    let folder = context.folder("sdk-alone");
    let upstream = Upstream::start(&shape.upstream, &folder)?;
    let told =
        sdk::measure(&upstream.bucket, call, shape.size, pressure.connections, pressure.duration);
    drop(upstream);
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    told
}

/// The negative control: one run of the SDK behind axum, and one of the SDK alone, over an S3 that
/// may cheat. Both must then be refused.
pub(crate) fn control(context: &Context, call: Call, cheat: Option<Cheat>) -> [Result<()>; 2] {
    let shape = Shape {
        upstream: Kind::Instant(Manner { cheat, ..Manner::default() }),
        size: 4 << 10,
        connections: 64,
    };
    let pressure = context.short_pressure(shape.connections);
    let contestant = Contestant::sdk(BEHIND_AXUM, shape.upstream.clone());
    let served = match call {
        Call::Put => put::one_run(context, &contestant, shape.size, &pressure).map(drop),
        _ => {
            let name = format!("s3-control-{cheat:?}");
            get::rows(context, &name, vec![contestant], shape.size, &pressure, None).map(drop)
        }
    };
    [served, alone(context, call, &shape, &pressure).map(drop)]
}
