//! Writes lines down before callers are answered: many callers share one segment.
//!
//! While one round of segments is on its way, further lines gather for the next. A segment goes to a
//! member that its lines do not miss; with three members or more to two of them, so that the loss of
//! one takes no line with it. A line about a copy stands beside the tombstones of its key: who reads
//! that it was deleted must read that it was written again. A line is in the view before its writer
//! is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};

use super::core::Core;
use super::line::{Line, What, encode};
use super::member::Asked;
use crate::model::{
    Attributes, Class, ErrorKind, ObjectKey, Payload, Provider, PutMode, Representation, StoreError,
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
        let mut groups: BTreeMap<Where, Vec<Line>> = BTreeMap::new();
        let mut wheres = Vec::new();
        for line in jobs.iter().flat_map(|job| &job.lines) {
            let place = Where::of(&core, line);
            groups.entry(place.clone()).or_default().push(line.clone());
            wheres.push(place);
        }
        let written = join_all(groups.into_iter().map(|(place, lines)| {
            let core = &core;
            async move {
                let result = write_segment(core, &place, lines).await;
                (place, result)
            }
        }));
        let results: BTreeMap<_, _> = written.await.into_iter().collect();
        let mut wheres = wheres.into_iter();
        for Job { lines, done } in jobs {
            let of_lines = wheres.by_ref().take(lines.len());
            // All are taken, whatever the first says.
            let results: Vec<_> = of_lines.map(|place| results[&place].clone()).collect();
            let result = results.into_iter().collect();
            // Whoever has gone away does not need to know.
            let _ = done.send(result);
        }
    }
}

/// What decides at which members a line stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Where {
    /// Last of all at these, by name.
    missing: BTreeSet<String>,
    /// At each of these, where they answer.
    beside: BTreeSet<usize>,
}

impl Where {
    fn of(core: &Core, line: &Line) -> Self {
        let beside = match line.what {
            What::Copy { .. } | What::Spare { .. } => core.view.buried_at(&line.key),
            What::Announce | What::Delete | What::Kill { .. } => BTreeSet::new(),
        };
        Self { missing: line.missing.iter().cloned().collect(), beside }
    }
}

async fn write_segment(
    core: &Core,
    Where { missing, beside }: &Where,
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
        (!beside.contains(&place), missing.contains(&*member.name), member.is_avoided(), place)
    });
    let wanted = if core.members.len() > 2 { 2 } else { 1 }.max(beside.len());
    let mut holders = Vec::new();
    let mut failed: Option<StoreError> = None;
    for place in candidates {
        let put = put_record(core, place, &name, &body);
        // The first copy is what the answer needs; a further one must not hold it up.
        let result = match holders.is_empty() {
            true => Some(put.await),
            false => tokio::time::timeout(FURTHER_COPY, put).await.ok(),
        };
        match result {
            Some(Ok(())) => holders.push(place),
            // One of whom it is not known whether it keeps the lines has the last word.
            Some(Err(error)) => {
                failed = failed.filter(|before| before.class() == Class::Unknown).or(Some(error));
            }
            None => break,
        }
        if holders.len() >= wanted {
            break;
        }
    }
    if holders.is_empty() {
        let error = failed.unwrap_or_else(|| core.no_member("takes a repair record"));
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
    let representation = Some(Representation::of(body));
    Attributes { representation, ..Attributes::new("application/x-ndjson") }
}
