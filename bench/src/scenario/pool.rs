//! What a pool costs when all is well, and what it gains when a member is slow.

use super::put;
use super::rounds::{Row, compare, latencies};
use super::{Context, get};
use crate::Result;
use crate::contestant::{Contestant, Pooled};
use crate::load::Pressure;
use crate::report::Section;
use crate::upstream::Kind;
use crate::upstream::instant::Manner;

const SIZE: usize = 4 << 10;
const ONE: &str = "one member";
const SLOWER: &str = "the slower member alone";
const UNHEDGED: &str = "mirror, not hedged";
/// Milliseconds of members that are away: on other machines of the same place.
const NEAR: u64 = 2;
const FAR: u64 = 4;
/// Of a member's reads one in so many takes so many times as long.
const SLOW_ONE_IN: u64 = 20;
const SLOWER_BY: u64 = 20;
/// Calls under way where members are away: few enough for the cores to wait.
const FEW: u32 = 8;

const FALLBACK: Pooled = Pooled { mode: "fallback", hedge_percent: None, min_copies: None };
const MIRROR: Pooled = Pooled { mode: "mirror", ..FALLBACK };

pub(super) fn run(context: &Context) -> Result<Section> {
    let body = format!(
        "### GET, 64 at once, members that answer at once\n\n{}\n\
         ### PUT, 64 at once, members that answer at once\n\n{}\n\
         ### PUT, {FEW} at once, members that take {NEAR} and {FAR} ms\n\n{}\n\
         ### GET, {FEW} at once, one member slow now and then\n\n{}",
        compare(&reads(context)?, "GET/s", &[ONE]),
        compare(&writes(context)?, "PUT/s", &[ONE]),
        latencies(&far_writes(context)?, SLOWER),
        latencies(&hedged(context)?, UNHEDGED),
    );
    let pressure = context.short_pressure(FEW);
    let how = format!(
        "Objects of 4 KiB, {} runs of {:?} each, {} with members that answer at once, those by processes of \
         their own. Members are instant S3s: simulations in memory, \
         a process each, which verify nothing. {ONE}: the service over one of them, without a pool. \
         Slow now and then: one member takes {NEAR} ms and for one read in {SLOW_ONE_IN} {} ms, the \
         other one always {} ms, so that the former is the faster one.",
        pressure.runs,
        pressure.duration,
        self::pressure(context).runs,
        NEAR * SLOWER_BY,
        NEAR + 1,
    );
    context.section("pool", "A pool of two", &how, body)
}

fn away(delay: u64) -> Kind {
    Kind::Instant(Manner { delay, ..Manner::default() })
}

fn pool(context: &Context, label: &str, members: [Kind; 2], pooled: Pooled) -> Contestant {
    Contestant::service(label, &context.services[0]).over_pool(members.to_vec(), pooled)
}

fn alone(context: &Context, label: &str, member: Kind) -> Contestant {
    Contestant::service(label, &context.services[0]).over(member)
}

fn at_once(context: &Context) -> Vec<Contestant> {
    vec![
        alone(context, ONE, away(0)),
        pool(context, "fallback of two", [away(0), away(0)], FALLBACK),
        pool(context, "mirror of two", [away(0), away(0)], MIRROR),
    ]
}

/// Each run by processes of its own, as those of writes are: two of one binary differ by some percent for as
/// long as they live, by where they came to lie in memory, which is as much as what is looked for.
fn reads(context: &Context) -> Result<Vec<Row>> {
    let pressure = pressure(context);
    let once = Pressure { runs: 1, ..pressure.clone() };
    let mut rows: Vec<Row> = Vec::new();
    for run in 1..=pressure.runs {
        let name = format!("pool-get-{run}");
        let seen = get::rows(context, &name, at_once(context), SIZE, &once, None)?;
        if rows.is_empty() {
            rows = seen;
        } else {
            rows.iter_mut().zip(seen).for_each(|(row, seen)| row.extend(seen));
        }
    }
    Ok(rows)
}

fn writes(context: &Context) -> Result<Vec<Row>> {
    put::rows(context, &at_once(context), SIZE, &pressure(context), None)
}

/// More runs than elsewhere: what is compared differs by little.
fn pressure(context: &Context) -> Pressure {
    let usual = context.short_pressure(64);
    let runs = if context.quick { usual.runs } else { 2 * usual.runs };
    Pressure { runs, ..usual }
}

fn far_writes(context: &Context) -> Result<Vec<Row>> {
    let members = || [away(NEAR), away(FAR)];
    let both = Pooled { min_copies: Some(2), ..MIRROR };
    let contestants = [
        alone(context, SLOWER, away(FAR)),
        pool(context, "mirror, acknowledged at one copy", members(), MIRROR),
        pool(context, "mirror, acknowledged at both", members(), both),
        pool(context, "fallback, the slower one first", [away(FAR), away(NEAR)], FALLBACK),
    ];
    put::rows(context, &contestants, SIZE, &context.short_pressure(FEW), None)
}

fn hedged(context: &Context) -> Result<Vec<Row>> {
    let slow_delay = NEAR * SLOWER_BY;
    let at_times = Manner { delay: NEAR, slow_one_in: SLOW_ONE_IN, slow_delay, cheat: None };
    let members = || [Kind::Instant(at_times), away(NEAR + 1)];
    let contestants = vec![
        pool(context, UNHEDGED, members(), Pooled { hedge_percent: Some(0), ..MIRROR }),
        pool(context, "mirror, hedged", members(), MIRROR),
    ];
    get::rows(context, "pool-hedged", contestants, SIZE, &context.short_pressure(FEW), None)
}
