//! Calls that matter for what they send to the store: a batch delete (one request), and signing a URL
//! (none).

use std::thread::sleep;
use std::time::{Duration, Instant};

use fake_s3::{Counts, FakeS3, Headers, Personality};
use serde_json::{Value, json};

use super::super::Context;
use super::super::rounds::{Entrant, Limit, alternated, compare};
use super::ALONE;
use crate::Result;
use crate::contestant::sdk::{self, Call};
use crate::contestant::{OBJECTS, Running};
use crate::corpus::noise;
use crate::figures::{Series, number};
use crate::load::Script;
use crate::report::{Section, table};
use crate::upstream::{Bucket, Kind, Upstream};

/// What one DeleteObjects takes.
const PAGE: usize = 1000;
/// Batches of each size that are timed.
const BATCHES: usize = 20;
/// For how long a store must not have been asked before its requests are counted.
const QUIET: Duration = Duration::from_millis(500);
/// Objects that URLs are asked for.
const SIGNED: u64 = 100;
const SIGNED_SIZE: usize = 4 << 10;

pub(crate) fn run(context: &Context) -> Result<Section> {
    let body = format!(
        "### Batch delete\n\n{}\n### Signed URLs of the store's own\n\n{}",
        batches(context)?,
        signed(context)?
    );
    let how = format!(
        "Batch delete: {BATCHES} batches of each size one after the other, over fake-s3 with one \
         object under every key; the requests are those that arrived there. {} keys are there to \
         show that the count would tell. Signed URLs: `POST /v1/signed-urls` with `via: backend` \
         at 64 connections, {} runs of {:?} each; a sample is fetched from the store. {ALONE}: \
         the same signature in a loop of 64 tasks.",
        PAGE + 1,
        context.short_pressure(64).runs,
        context.short_pressure(64).duration
    );
    context.section("s3-calls", "Batch delete and signed URLs over S3", &how, body)
}

fn batches(context: &Context) -> Result<String> {
    let store = FakeS3::start(Personality::Aws)?;
    let bucket = Bucket::of_simulation(store.address());
    let server = context.service().start_on(&context.folder("batches"), &[&bucket])?;
    let head = ["keys", "backend requests", "keys/s", "p50 ms", "p99 ms", "CPU ms of the service"];
    let mut rows = vec![head.map(String::from).to_vec()];
    for (size, expected) in [(1, 1), (PAGE, 1), (PAGE + 1, 2), (10 * PAGE, 10)] {
        let (mut millis, mut cpu) = (Series::default(), Series::default());
        for _ in 0..BATCHES {
            let batch = batch(&store, &server, size)?;
            if batch.requests != expected {
                let requests = batch.requests;
                return Err(format!("{size} keys took {requests} requests, not {expected}").into());
            }
            millis.push(batch.seconds * 1e3);
            cpu.push(batch.cpu_seconds * 1e3);
        }
        rows.push(vec![
            size.to_string(),
            expected.to_string(),
            number(size as f64 * 1e3 / millis.median()),
            number(millis.median()),
            number(millis.percentile(99.0)),
            number(cpu.mean()),
        ]);
    }
    server.stop()?;
    Ok(table(&rows))
}

/// One batch.
struct Batch {
    seconds: f64,
    cpu_seconds: f64,
    /// That reached the store.
    requests: u64,
}

/// Puts objects past the service, deletes them through it, and looks whether they are gone.
fn batch(store: &FakeS3, server: &Running, size: usize) -> Result<Batch> {
    let keys: Vec<String> = (0..size).map(|number| format!("batch/{number:05}")).collect();
    let in_store = |key: &String| format!("proofs/{key}");
    for key in &keys {
        store.put_raw(&in_store(key), noise(0, 64), Headers::default());
    }
    let text = serde_json::to_vec(&json!({ "keys": keys }))?;
    let mut client = server.client()?;
    let (counted, cost) = (quiet(store), server.cost());
    let start = Instant::now();
    let answer = client.send("POST", "/v1/batch-delete", "application/json", &text)?;
    let seconds = start.elapsed().as_secs_f64();
    let cpu_seconds = server.cost().cpu_seconds - cost.cpu_seconds;
    let requests = store.requests().since(&counted).total();
    let told: Value = serde_json::from_slice(&answer.body)?;
    let deleted = told["deleted"].as_array().map_or(0, Vec::len);
    if answer.status != 200 || deleted != size {
        return Err(format!("{size} keys: answered {}, {deleted} deleted", answer.status).into());
    }
    if keys.iter().any(|key| store.raw(&in_store(key)).is_some()) {
        return Err("what was said to be deleted is still there".into());
    }
    Ok(Batch { seconds, cpu_seconds, requests })
}

/// The requests so far, once the service's own in the background are done.
fn quiet(store: &FakeS3) -> Counts {
    let mut before = store.requests();
    let mut since = Instant::now();
    while since.elapsed() < QUIET {
        sleep(Duration::from_millis(10));
        let now = store.requests();
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
    before
}

fn signed(context: &Context) -> Result<String> {
    let contestant = context.service().over(Kind::Fake);
    let entrant = Entrant::start(context, contestant, "signed", |server| {
        let mut client = server.client()?;
        for number in 1..=SIGNED {
            let body = noise(number, SIGNED_SIZE);
            let path = format!("{OBJECTS}{}", key(number));
            let answer = client.send("PUT", &path, "application/octet-stream", &body)?;
            if answer.status != 201 {
                return Err(format!("{path} was answered {}", answer.status).into());
            }
        }
        Ok(())
    })?;
    let pressure = context.short_pressure(64);
    let alone = |run| {
        let upstream = Upstream::start(&Kind::Fake, &context.folder(format!("signed-{run}")))?;
        sdk::measure(&upstream.bucket, Call::Presign, 0, pressure.connections, pressure.duration)
    };
    let limit = Limit { label: ALONE, measure: &alone };
    let script = Script::Sign { prefix: key_prefix(), count: SIGNED };
    let rows = alternated(context, vec![entrant], &script, &pressure, 0, fetch, Some(limit))?;
    Ok(compare(&rows, "URLs/s", &[ALONE]))
}

fn key_prefix() -> String {
    "signed/".into()
}

fn key(number: u64) -> String {
    format!("{}{number}", key_prefix())
}

/// Has URLs made, and fetches with each of them from the store, without any other right.
fn fetch(server: &Running) -> Result<()> {
    let (mut service, mut store) = (server.client()?, server.upstream_client()?);
    for number in (1..=SIGNED).step_by(37) {
        let wish = json!({ "key": key(number), "method": "GET", "via": "backend" });
        let wish = serde_json::to_vec(&wish)?;
        let answer = service.send("POST", "/v1/signed-urls", "application/json", &wish)?;
        let told: Value = serde_json::from_slice(&answer.body)?;
        let url = told["url"].as_str().ok_or("an answer without a URL")?;
        let authority = url.strip_prefix("http://").ok_or("a URL that is not of the store")?;
        let (host, path) = authority.split_at(authority.find('/').ok_or("a URL without a path")?);
        let answer = store.get(path, &[("Host", host)])?;
        if answer.status != 200 || answer.body != noise(number, SIGNED_SIZE) {
            return Err(format!("a signed URL was answered {}", answer.status).into());
        }
    }
    Ok(())
}
