//! Durable PUT of objects of 4 KiB and 64 KiB at 64 connections.
//!
//! Every run begins with an empty store on a disk with nothing left to write, so that none pays
//! for another's dirty pages; and ends with reading back what was acknowledged.

use std::fs;
use std::time::Duration;

use super::rounds::{Limit, Measured, Row, compare, measure};
use super::{Context, RUNS, progress};
use crate::Result;
use crate::contestant::bare::Answers;
use crate::contestant::{Contestant, OBJECTS, Running, engine};
use crate::load::{Pressure, Script, put_body};
use crate::report::Section;

/// Requests under way at any time.
const CONNECTIONS: u32 = 64;
/// wrk takes the script's first request for itself, to look at it.
const FIRST_SENT: u64 = 2;
/// Objects read back after every run.
const SAMPLE: u64 = 64;

pub(super) fn run(context: &Context) -> Result<Section> {
    let mut body = String::new();
    for size in [4 << 10, 64 << 10] {
        let mut contestants = context.services();
        contestants.push(Contestant::nginx("nginx DAV, not synced"));
        contestants.push(Contestant::bare("bare axum, drops the body", Answers::objects(size, 1)));
        let engine = |run| {
            settle();
            engine::measure(&context.folder(format!("engine-{run}")), size, context.run_time)
        };
        let limit = Limit { label: "bare engine", measure: &engine };
        let rows = rows(context, &contestants, size, &context.pressure(CONNECTIONS), Some(limit))?;
        let references = ["nginx DAV, not synced", "bare axum, drops the body", "bare engine"];
        let table = compare(&rows, "PUT/s", &references);
        body.push_str(&format!("### {} KiB\n\n{table}\n", size >> 10));
    }
    let how = format!(
        "New keys with bodies that all differ, at {CONNECTIONS} connections, {RUNS} runs of {:?} each on an \
         empty store after a sync of the disk; a sample of {SAMPLE} is read back. The service \
         answers after fdatasync. nginx writes a file and renames it, without a sync: its \
         figure is not durable, and what the kernel writes later is not in it. bare engine: 64 \
         threads, fjall batches with `SyncData`, neither HTTP nor digest nor metadata nor load \
         generator.",
        context.run_time
    );
    context.section("put", "Durable PUT", &how, body)
}

/// Measures these contestants at one size, and in turn with them a limit that is no server, if any.
pub(super) fn rows(
    context: &Context,
    contestants: &[Contestant],
    size: usize,
    pressure: &Pressure,
    limit: Option<Limit<'_>>,
) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = contestants.iter().map(|c| Row::new(&c.label)).collect();
    let mut limit = limit.map(|limit| (Row::new(limit.label), limit));
    for run in 1..=pressure.runs {
        for (contestant, row) in contestants.iter().zip(&mut rows) {
            progress(&format!("put {size}, run {run}: {}", contestant.label));
            row.push(one_run(context, contestant, size, pressure)?);
        }
        if let Some((row, limit)) = &mut limit {
            progress(&format!("put {size}, run {run}: {}", row.label));
            row.push_told(&(limit.measure)(run)?);
        }
    }
    rows.extend(limit.map(|(row, _)| row));
    Ok(rows)
}

/// One run of one contestant on a store of its own, which is removed.
pub(crate) fn one_run(
    context: &Context,
    contestant: &Contestant,
    size: usize,
    pressure: &Pressure,
) -> Result<Measured> {
    let folder = context.folder("put");
    let server = contestant.start(&folder)?;
    let measured = load_and_read_back(context, contestant, &server, size, pressure)
        .map_err(|error| format!("{} is refused: {error}", contestant.label))?;
    server.stop()?;
    fs::remove_dir_all(&folder)?;
    Ok(measured)
}

fn load_and_read_back(
    context: &Context,
    contestant: &Contestant,
    server: &Running,
    size: usize,
    pressure: &Pressure,
) -> Result<Measured> {
    let scratch = context.scratch.path();
    let script = |name: &str| Script::Put { prefix: format!("{OBJECTS}{name}/"), size };
    let warm_up = Pressure { duration: Duration::from_secs(1), ..pressure.clone() };
    measure(scratch, server, &script("warm-up"), &warm_up)?;
    settle();
    let measured = measure(scratch, server, &script("put"), pressure)?;
    if contestant.keeps() {
        read_back(server, measured.seen.requests, size, pressure.connections)?;
    }
    Ok(measured)
}

/// Reads a sample of the objects that `answers` acknowledgements belong to.
///
/// Which requests were under way when the load ended is not known: a missing object may be one of
/// those. Then all are read, and there must be as many as there were acknowledgements.
fn read_back(server: &Running, answers: u64, size: usize, connections: u32) -> Result<()> {
    let mut client = server.client()?;
    let mut is_there = |number: u64| -> Result<bool> {
        let path = format!("{OBJECTS}put/{number}");
        let answer = client.get(&path, &[])?;
        match answer.status {
            404 => Ok(false),
            200 if answer.body == put_body(number, size) => Ok(true),
            200 => Err(format!("{path} was answered with wrong bytes").into()),
            status => Err(format!("{path} was answered {status}").into()),
        }
    };
    let step = (answers / SAMPLE).max(1);
    let mut sample = (FIRST_SENT..answers).step_by(step as usize);
    if sample.try_fold(true, |all, number| is_there(number).map(|there| all && there))? {
        return Ok(());
    }
    let mut found = 0;
    for number in FIRST_SENT..FIRST_SENT + answers + u64::from(connections) {
        found += u64::from(is_there(number)?);
    }
    if found < answers {
        return Err(format!("of {answers} acknowledged objects only {found} are there").into());
    }
    Ok(())
}

/// Everything that others wrote goes to the disk now, not during the next run.
fn settle() {
    rustix::fs::sync();
}
