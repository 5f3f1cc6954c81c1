//! Writes lines down before callers are answered: many callers share one segment.
//!
//! While one round of segments is on its way, further lines gather for the next. A segment goes to a
//! member that its lines do not miss; with three members or more to two of them, so that the loss of
//! one takes no line with it. A line is in the view before its writer is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};

use super::core::Core;
use super::line::{Line, encode};
use super::member::Asked;
use crate::model::{
    Attributes, Digest, ErrorKind, ObjectKey, Payload, Provider, PutMode, Representation,
    StoreError,
};

/// Lines of one round.
const ROUND_LINES: usize = 1000;

/// Callers whose lines wait for the next round; further ones wait to hand theirs over.
const WAITING: usize = 1024;

/// Longest wait for a second member that keeps the same lines.
const FURTHER_COPY: Duration = Duration::from_millis(500);

/// Lines and who waits for them.
#[derive(Debug)]
struct Job {
    lines: Vec<Line>,
    done: oneshot::Sender<Result<(), StoreError>>,
}

/// Hands lines to the writing task, which ends with the last of these.
#[derive(Clone, Debug)]
pub(super) struct Scribe {
    jobs: mpsc::Sender<Job>,
    provider: Provider,
}

impl Scribe {
    /// Starts the task; needs a runtime.
    pub(super) fn start(core: Arc<Core>) -> Self {
        let (jobs, queue) = mpsc::channel(WAITING);
        let provider = core.provider();
        tokio::spawn(write(core, queue));
        Self { jobs, provider }
    }

    /// Writes lines down. On `Ok` they are durable and in the view.
    ///
    /// # Errors
    /// No member took them, or it is not known whether one did.
    pub(super) async fn append(&self, lines: Vec<Line>) -> Result<(), StoreError> {
        let (done, answer) = oneshot::channel();
        let gone =
            || StoreError::new(ErrorKind::Indeterminate, self.provider, "the pool is closing");
        self.jobs.send(Job { lines, done }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

async fn write(core: Arc<Core>, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.recv().await {
        let mut jobs = vec![first];
        let mut count = jobs[0].lines.len();
        while count < ROUND_LINES
            && let Ok(job) = queue.try_recv()
        {
            count += job.lines.len();
            jobs.push(job);
        }
        // Lines that miss the same members can stand in one segment.
        let mut groups: BTreeMap<BTreeSet<String>, Vec<Line>> = BTreeMap::new();
        for line in jobs.iter().flat_map(|job| &job.lines) {
            let missing = line.missing.iter().cloned().collect();
            groups.entry(missing).or_default().push(line.clone());
        }
        let written = join_all(groups.into_iter().map(|(missing, lines)| {
            let core = &core;
            async move {
                let result = write_segment(core, &missing, lines).await;
                (missing, result)
            }
        }));
        let results: BTreeMap<_, _> = written.await.into_iter().collect();
        for Job { lines, done } in jobs {
            let result = lines.iter().try_for_each(|line| {
                let missing: BTreeSet<_> = line.missing.iter().cloned().collect();
                results[&missing].clone()
            });
            // Whoever has gone away does not need to know.
            let _ = done.send(result);
        }
    }
}

async fn write_segment(
    core: &Core,
    missing: &BTreeSet<String>,
    lines: Vec<Line>,
) -> Result<(), StoreError> {
    let version = core.clock.next();
    let name = core.records.segment(version);
    let body = encode(&lines);
    let mut candidates: Vec<usize> =
        (0..core.members.len()).filter(|&place| core.members[place].role.takes_writes()).collect();
    // A missing one only where nobody else is left.
    candidates.sort_by_key(|&place| {
        let member = &core.members[place];
        (missing.contains(&*member.name), member.is_avoided(), place)
    });
    let wanted = if core.members.len() > 2 { 2 } else { 1 };
    let mut holders = Vec::new();
    let mut last_error = None;
    for place in candidates {
        let put = put_record(core, place, &name, &body);
        // The first copy is what the answer needs; a further one must not hold it up.
        let result = match holders.is_empty() {
            true => Some(put.await),
            false => tokio::time::timeout(FURTHER_COPY, put).await.ok(),
        };
        match result {
            Some(Ok(())) => holders.push(place),
            Some(Err(error)) => last_error = Some(error),
            None => break,
        }
        if holders.len() >= wanted {
            break;
        }
    }
    if holders.is_empty() {
        let error = last_error.unwrap_or_else(|| core.no_member("takes a repair record"));
        tracing::warn!(?error, lines = lines.len(), "a repair record cannot be written");
        return Err(error);
    }
    core.view.add(version, lines, holders);
    Ok(())
}

/// Stores one of the pool's own records on a member.
pub(super) async fn put_record(
    core: &Core,
    place: usize,
    name: &ObjectKey,
    body: &bytes::Bytes,
) -> Result<(), StoreError> {
    let member = &core.members[place];
    let payload = Payload::Bytes(body.clone());
    let put = member.backend.put(name, payload, record_attributes(body), PutMode::Overwrite);
    member.timed(Asked::Other, put).await.map(drop)
}

/// With a digest, so that a damaged record is told from a whole one.
fn record_attributes(body: &[u8]) -> Attributes {
    let sha256 = Digest::of(body);
    let size = body.len() as u64;
    let representation = Some(Representation { sha256, size, stored_sha256: sha256 });
    Attributes { representation, ..Attributes::new("application/x-ndjson") }
}
