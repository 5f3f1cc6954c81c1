//! One large object up and down: throughput and, above all, memory.

use std::fs::{self, File};
use std::io::Write as _;
use std::time::Instant;

use bytes::Bytes;

use super::{Context, RUNS, mib, progress};
use crate::Result;
use crate::contestant::bare::Answers;
use crate::contestant::{Contestant, OBJECTS, Running};
use crate::corpus::noise;
use crate::figures::{Series, number, ratio};
use crate::report::{Section, table};

#[derive(Default)]
struct Row {
    label: String,
    up: Series,
    down: Series,
    peak: Series,
    cpu: Series,
}

pub(super) fn run(context: &Context) -> Result<Section> {
    let size: usize = if context.quick { 256 << 20 } else { 1 << 30 };
    let object = noise(1, size);
    let mut contestants = context.services();
    contestants.push(Contestant::nginx("nginx DAV, not synced"));
    contestants.push(Contestant::bare("bare axum, drops the body", Answers::objects(size, 1)));
    let mut rows: Vec<Row> = contestants.iter().map(|c| row(&c.label)).collect();
    let mut disk = row("file and fdatasync");
    for run in 1..=RUNS {
        for (contestant, row) in contestants.iter().zip(&mut rows) {
            progress(&format!("bulk, run {run}: {}", contestant.label));
            one_run(context, contestant, &object, row)
                .map_err(|error| format!("{} is refused: {error}", contestant.label))?;
        }
        disk.up.push(bare_file(context, &object)?);
    }
    rows.push(disk);
    let how = format!(
        "One object of {} MiB, one connection, up and then down, {RUNS} alternated runs, each on \
         an empty store after a sync of the disk. Every byte that comes back is compared. The \
         service answers the PUT when the object is durable; nginx syncs nothing. Peak RSS is \
         VmHWM after both (bare axum holds the whole object to answer it).",
        size >> 20
    );
    context.section("bulk", "One large object", &how, as_table(&rows))
}

fn row(label: &str) -> Row {
    Row { label: label.into(), ..Row::default() }
}

fn one_run(
    context: &Context,
    contestant: &Contestant,
    object: &Bytes,
    row: &mut Row,
) -> Result<()> {
    let folder = context.folder("bulk");
    let server = contestant.start(&folder)?;
    rustix::fs::sync();
    let before = server.cost();
    row.up.push(rate(object, || up(&server, object))?);
    row.down.push(rate(object, || down(&server, object))?);
    let after = server.cost();
    row.cpu.push(after.cpu_seconds - before.cpu_seconds);
    row.peak.push(mib(after.peak_resident));
    server.stop()?;
    Ok(fs::remove_dir_all(&folder)?)
}

/// MiB a second.
fn rate(object: &Bytes, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let start = Instant::now();
    work()?;
    Ok(mib(object.len() as u64) / start.elapsed().as_secs_f64())
}

fn up(server: &Running, object: &Bytes) -> Result<()> {
    let answer = server.client()?.put(&path(), "application/octet-stream", object)?;
    if answer.status != 201 {
        return Err(format!("the PUT was answered {}", answer.status).into());
    }
    Ok(())
}

fn down(server: &Running, object: &Bytes) -> Result<()> {
    let mut at = 0;
    let mut buffer = vec![0; 256 << 10];
    let compare = |piece: &[u8]| {
        if object.get(at..at + piece.len()) != Some(piece) {
            return Err(format!("wrong bytes at {at} of the body").into());
        }
        at += piece.len();
        Ok(())
    };
    let (status, length) = server.client()?.get_pieces(&path(), &mut buffer, compare)?;
    if status != 200 || length != object.len() as u64 {
        return Err(format!("answered {status} with {length} bytes").into());
    }
    Ok(())
}

fn path() -> String {
    format!("{OBJECTS}bulk/1")
}

/// What the disk itself can do: a new file written and synced.
fn bare_file(context: &Context, object: &Bytes) -> Result<f64> {
    rustix::fs::sync();
    let path = context.folder("bare-file");
    let speed = rate(object, || {
        let mut file = File::create(&path)?;
        file.write_all(object)?;
        Ok(file.sync_data()?)
    })?;
    fs::remove_file(path)?;
    Ok(speed)
}

fn as_table(rows: &[Row]) -> String {
    let head = [
        "",
        "up MiB/s",
        "of nginx",
        "of the file",
        "down MiB/s",
        "of nginx",
        "of bare axum",
        "CPU s for both",
        "peak RSS MiB",
    ];
    let by_label = |start: &str| rows.iter().find(|row| row.label.starts_with(start));
    let against = |figure: &Series, reference: Option<&Series>| {
        reference.map_or_else(|| "-".into(), |reference| ratio(figure, reference))
    };
    let mut lines = vec![head.map(String::from).to_vec()];
    for row in rows {
        let spread = |figure: &Series| {
            if figure.is_empty() { "-".into() } else { figure.spread() }
        };
        lines.push(vec![
            row.label.clone(),
            spread(&row.up),
            against(&row.up, by_label("nginx").map(|r| &r.up)),
            against(&row.up, by_label("file").map(|r| &r.up)),
            spread(&row.down),
            against(&row.down, by_label("nginx").map(|r| &r.down)),
            against(&row.down, by_label("bare").map(|r| &r.down)),
            number(row.cpu.median()),
            number(row.peak.median()),
        ]);
    }
    table(&lines)
}
