//! A store that grows: listing and stats in a small and a large one, and starting the large one.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::get::same;
use super::{Context, RUNS, mib, progress};
use crate::Result;
use crate::client::Client;
use crate::contestant::{OBJECTS, Running};
use crate::corpus::noise;
use crate::figures::{Series, number, ratio};
use crate::report::{Section, table};

/// Connections that fill, each with one request under way.
const FILLERS: u64 = 64;
/// Bytes of every object.
const OBJECT_BYTES: usize = 1024;
/// Objects that share a folder, so that a delimiter has something to roll up.
const FOLDER_OBJECTS: u64 = 1000;
/// Questions of each kind that are timed.
const QUESTIONS: usize = 200;

/// Latencies in microseconds at one size of the store.
struct Latencies {
    objects: u64,
    page: Series,
    rolled_up: Series,
    stats: Series,
}

/// Path and number of an object that must be there.
type Acknowledged = (String, u64);

/// Measures one or both of the scenarios, on one filling.
pub(super) fn run(context: &Context, list: bool, startup: bool) -> Result<Vec<Section>> {
    let (small, large) = if context.quick { (10_000, 100_000) } else { (10_000, 1_000_000) };
    let folder = context.folder("scale");
    let server = context.service().start(&folder)?;
    let mut sections = Vec::new();
    let mut latencies = Vec::new();
    let start = Instant::now();
    fill(&server, 0..small)?;
    if list {
        progress(&format!("list at {small}"));
        latencies.push(ask(&server, small)?);
    }
    fill(&server, small..large)?;
    let filled = large as f64 / start.elapsed().as_secs_f64();
    if list {
        progress(&format!("list at {large}"));
        latencies.push(ask(&server, large)?);
        let body = list_table(&latencies);
        sections.push(context.section("list", "Listing and stats", LIST_HOW, body)?);
    }
    let grown = server.cost();
    server.stop()?;
    if startup {
        let body = startup_table(context, &folder, large)?;
        let how = format!(
            "{large} objects of {OBJECT_BYTES} bytes, {RUNS} starts of each kind, the data in the \
             kernel's cache. Time is from the start of the process to the first 200 of \
             `/health/ready`, after which the newest acknowledged objects are read back. Filling over HTTP at \
             {FILLERS} connections took {} objects/s, after which the process had {} MiB resident \
             ({} MiB at its peak).",
            number(filled),
            number(mib(grown.resident)),
            number(mib(grown.peak_resident)),
        );
        sections.push(context.section("startup", "Start-up of a large store", &how, body)?);
    }
    fs::remove_dir_all(&folder)?;
    Ok(sections)
}

const LIST_HOW: &str = "One connection, 200 questions of each kind one after the other, the pages \
    by following `next_cursor`. Every page is checked: length, order, names. The ratio is the \
    large store's latency over the small one's: 1 means that a page costs the page.";

/// The name of an object: numbers of one width, so that byte order is their order.
fn key(number: u64) -> String {
    format!("scale/{:05}/{number:08}", number / FOLDER_OBJECTS)
}

fn fill(server: &Running, numbers: std::ops::Range<u64>) -> Result<()> {
    progress(&format!("filling {numbers:?}"));
    let next = AtomicU64::new(numbers.start);
    thread::scope(|scope| {
        let fillers: Vec<_> = (0..FILLERS)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let mut client = server.client()?;
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= numbers.end {
                            return Ok(());
                        }
                        put(&mut client, number)?;
                    }
                })
            })
            .collect();
        fillers.into_iter().try_for_each(|filler| filler.join().map_err(|_| "a filler panicked")?)
    })
}

fn put(client: &mut Client, number: u64) -> Result<()> {
    let path = format!("{OBJECTS}{}", key(number));
    let body = noise(number, OBJECT_BYTES);
    let answer = client.put(&path, "application/octet-stream", &body)?;
    if answer.status != 201 {
        return Err(format!("{path} was answered {}", answer.status).into());
    }
    Ok(())
}

/// Times every kind of question.
fn ask(server: &Running, objects: u64) -> Result<Latencies> {
    let mut client = server.client()?;
    let mut next = 0;
    let mut cursor = String::new();
    let mut page = Series::default();
    for _ in 0..QUESTIONS {
        let path = format!("/v1/proofs?limit=1000&prefix=scale/{cursor}");
        let (answer, micros) = timed(&mut client, &path)?;
        page.push(micros);
        let names = names(&answer, "items")?;
        let expected: Vec<String> = (next..objects.min(next + 1000)).map(key).collect();
        if names != expected {
            return Err(format!("{path}: not the names from {next} on").into());
        }
        next += expected.len() as u64;
        cursor = match answer["next_cursor"].as_str() {
            Some(text) => format!("&cursor={}", encoded(text)),
            None => String::new(),
        };
        if cursor.is_empty() != (next == objects) {
            return Err(format!("{path}: the cursor is wrong at {next}").into());
        }
        next %= objects;
    }
    let mut rolled_up = Series::default();
    let folders = (objects / FOLDER_OBJECTS).min(10);
    for _ in 0..QUESTIONS {
        let path = format!("/v1/proofs?limit={folders}&prefix=scale/&delimiter=/");
        let (answer, micros) = timed(&mut client, &path)?;
        rolled_up.push(micros);
        let expected: Vec<String> = (0..folders).map(|n| format!("scale/{n:05}/")).collect();
        if names(&answer, "common_prefixes")? != expected {
            return Err(format!("{path}: not the first {folders} folders").into());
        }
    }
    let mut stats = Series::default();
    for _ in 0..QUESTIONS {
        let (answer, micros) = timed(&mut client, "/v1/stats")?;
        stats.push(micros);
        if answer["total_objects"].as_u64() != Some(objects) {
            return Err(
                format!("stats say {} objects, not {objects}", answer["total_objects"]).into()
            );
        }
    }
    Ok(Latencies { objects, page, rolled_up, stats })
}

fn timed(client: &mut Client, path: &str) -> Result<(Value, f64)> {
    let start = Instant::now();
    let answer = client.get(path, &[])?;
    let micros = start.elapsed().as_secs_f64() * 1e6;
    if answer.status != 200 {
        return Err(format!("{path} was answered {}", answer.status).into());
    }
    Ok((serde_json::from_slice(&answer.body)?, micros))
}

/// Names in a listing's array, of strings or of objects with a key.
fn names(answer: &Value, array: &str) -> Result<Vec<String>> {
    let entries = answer[array].as_array().ok_or_else(|| format!("a page without {array}"))?;
    let name = |entry: &Value| entry.as_str().or(entry["key"].as_str()).map(str::to_owned);
    Ok(entries.iter().filter_map(name).collect())
}

/// Percent-encodes whatever is not plain in a query.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn list_table(latencies: &[Latencies]) -> String {
    let [small, large] = latencies else { return String::new() };
    let mut lines = vec![vec!["latency µs".to_owned()]];
    for size in [small, large] {
        lines[0].push(format!("p50 at {}", number(size.objects as f64)));
        lines[0].push(format!("p99 at {}", number(size.objects as f64)));
    }
    lines[0].push("p50 large over small".into());
    type Of = fn(&Latencies) -> &Series;
    let questions: [(&str, Of); 3] = [
        ("page of 1000", |l| &l.page),
        ("10 common prefixes of 1000 objects each", |l| &l.rolled_up),
        ("stats", |l| &l.stats),
    ];
    for (name, of) in questions {
        let mut line = vec![name.to_owned()];
        for size in [small, large] {
            line.extend([50.0, 99.0].map(|part| number(of(size).percentile(part))));
        }
        line.push(ratio(of(large), of(small)));
        lines.push(line);
    }
    table(&lines)
}

fn startup_table(context: &Context, folder: &Path, objects: u64) -> Result<String> {
    let head = ["", "ready after ms", "RSS then MiB", "peak RSS MiB", "CPU s"];
    let mut lines = vec![head.map(String::from).to_vec()];
    // what is written between the starts, so that a log has something to replay
    let mut written = objects;
    for (name, killed) in [("after a clean stop", false), ("after kill -9 under writes", true)] {
        let (mut ready, mut resident) = (Series::default(), Series::default());
        let (mut peak, mut cpu) = (Series::default(), Series::default());
        for run in 1..=RUNS {
            progress(&format!("start-up {name}, run {run}"));
            let before = context.service().start(folder)?;
            let more = written..written + 20_000;
            fill(&before, more.clone())?;
            written = more.end;
            let mut known = vec![(format!("{OBJECTS}{}", key(written - 1)), written - 1)];
            if killed {
                known.extend(kill_under_writes(before, run)?);
            } else {
                before.stop()?;
            }
            let start = Instant::now();
            let server = context.service().start(folder)?;
            ready.push(start.elapsed().as_secs_f64() * 1e3);
            let cost = server.cost();
            resident.push(mib(cost.resident));
            peak.push(mib(cost.peak_resident));
            cpu.push(cost.cpu_seconds);
            for (path, number) in known {
                same(&mut server.client()?, &path, &noise(number, OBJECT_BYTES))?;
            }
            server.stop()?;
        }
        let mut line = vec![name.to_owned(), ready.spread()];
        line.extend([&resident, &peak, &cpu].map(|series| number(series.median())));
        lines.push(line);
    }
    Ok(table(&lines))
}

/// SIGKILL while others write. Answers the last object that each of them saw acknowledged.
fn kill_under_writes(server: Running, run: usize) -> Result<Vec<Acknowledged>> {
    let address = server.address;
    let writers: Vec<_> = (0..FILLERS)
        .map(|writer| {
            thread::spawn(move || -> Result<Option<Acknowledged>> {
                let mut client = Client::connect(address)?;
                let mut last = None;
                for number in 0..u64::MAX {
                    let path = format!("{OBJECTS}killed/{run}/{writer}/{number}");
                    let body = noise(number, OBJECT_BYTES);
                    // the connection breaks when the service dies: that is the end
                    let Ok(answer) = client.put(&path, "application/octet-stream", &body) else {
                        break;
                    };
                    if answer.status != 201 {
                        return Err(format!("{path} was answered {}", answer.status).into());
                    }
                    last = Some((path, number));
                }
                Ok(last)
            })
        })
        .collect();
    thread::sleep(Duration::from_millis(500));
    server.kill()?;
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.join().map_err(|_| "a writer panicked")??);
    }
    Ok(acknowledged)
}
