//! GET of objects of 4 KiB and 64 KiB at 64 connections.

use super::rounds::{Entrant, Limit, Row, alternated, compare};
use super::{Context, RUNS};
use crate::Result;
use crate::client::Client;
use crate::contestant::bare::Answers;
use crate::contestant::{Contestant, OBJECTS, Running};
use crate::corpus::noise;
use crate::load::{Pressure, Script};
use crate::report::Section;

/// Distinct objects that are asked for in turn.
pub(crate) const OBJECT_COUNT: u64 = 1000;

pub(super) fn run(context: &Context) -> Result<Section> {
    let mut body = String::new();
    for size in [4 << 10, 64 << 10] {
        let mut contestants = context.services();
        contestants.push(Contestant::service_with_log(&context.services[0]));
        contestants.push(Contestant::nginx("nginx"));
        contestants.push(Contestant::bare("bare axum", Answers::objects(size, OBJECT_COUNT)));
        let rows =
            rows(context, &format!("get-{size}"), contestants, size, &context.pressure(64), None)?;
        let table = compare(&rows, "GET/s", &["nginx", "bare axum"]);
        body.push_str(&format!("### {} KiB\n\n{table}\n", size >> 10));
    }
    let how = format!(
        "{OBJECT_COUNT} objects asked for in turn at 64 connections, {RUNS} runs of {:?} each. \
         nginx: static files, `open_file_cache`, `sendfile`. bare axum: the same bytes from \
         memory. The service reads its store and compares the sha-256 of every body before it \
         answers; its request log is off, as nginx's is, but in the row that says so.",
        context.run_time
    );
    context.section("get", "GET", &how, body)
}

/// Measures these contestants at one size, in folders of that name.
pub(crate) fn rows(
    context: &Context,
    name: &str,
    contestants: Vec<Contestant>,
    size: usize,
    pressure: &Pressure,
    limit: Option<Limit<'_>>,
) -> Result<Vec<Row>> {
    let mut entrants = Vec::new();
    for (place, contestant) in contestants.into_iter().enumerate() {
        let folder = format!("{name}-{place}");
        entrants.push(Entrant::start(context, contestant, &folder, |server| fill(server, size))?);
    }
    let script = Script::Get { prefix: path(""), count: OBJECT_COUNT };
    let check = |server: &Running| check(server, size);
    alternated(context, entrants, &script, pressure, size, check, limit)
}

fn path(name: &str) -> String {
    format!("{OBJECTS}get/{name}")
}

fn fill(server: &Running, size: usize) -> Result<()> {
    let mut client = server.client()?;
    for number in 1..=OBJECT_COUNT {
        let path = path(&number.to_string());
        let answer = client.put(&path, "application/octet-stream", &noise(number, size))?;
        if answer.status != 201 {
            return Err(format!("{path} was answered {}", answer.status).into());
        }
    }
    Ok(())
}

/// Compares a sample of the objects byte for byte.
fn check(server: &Running, size: usize) -> Result<()> {
    let mut client = server.client()?;
    for number in (1..=OBJECT_COUNT).step_by(37) {
        same(&mut client, &path(&number.to_string()), &noise(number, size))?;
    }
    Ok(())
}

/// Fails unless a GET answers 200 and exactly these bytes.
pub(super) fn same(client: &mut Client, path: &str, expected: &[u8]) -> Result<()> {
    let answer = client.get(path, &[])?;
    if answer.status != 200 {
        return Err(format!("{path} was answered {}", answer.status).into());
    }
    if answer.body != expected {
        return Err(format!("{path} was answered with wrong bytes").into());
    }
    Ok(())
}
