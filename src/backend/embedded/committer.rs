//! The one thread that writes: gathers what concurrent callers ask, decides it, commits it as one
//! durable batch, then answers all of them.
//!
//! ```text
//! callers --channel--> gather --> Group (decide) --> one batch, one fdatasync --> answers
//! ```
//!
//! While one group is being synced the channel fills with the next one, so the cost of a sync is
//! shared by as many callers as wait. Being the only writer is what makes preconditions exact.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::batch::Counters;
use super::errors::{closed, error, panic_text};
use super::group::{Group, Operation, Outcome};
use super::queue::Room;
use super::shared::Shared;
use super::{CommitGroup, CommitObserver};
use crate::model::{ErrorKind, StoreError};

/// Most operations in one group.
const GROUP_OPERATIONS: usize = 512;
/// About the most bytes in one group.
const GROUP_BYTES: u64 = 4 << 20;
/// How long a group waits for callers that were just answered to come back with more.
const GATHER: Duration = Duration::from_micros(50);

/// One request to the committer.
#[derive(Debug)]
pub(super) enum Command {
    /// Do it, then answer. The room that its bytes take is free again once it is done.
    Apply(Operation, Answer, Option<Room>),
    /// Sync everything, refuse everything from now on, and answer.
    Close(oneshot::Sender<()>),
}

pub(super) type Answer = oneshot::Sender<Result<Outcome, StoreError>>;

/// One operation of a group.
struct Member {
    operation: Operation,
    answer: Answer,
    room: Option<Room>,
}

/// The committer's own state.
pub(super) struct Committer {
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    observer: Arc<dyn CommitObserver>,
    counters: Counters,
    /// Size of the last group: how many callers are likely to come back.
    last: usize,
}

impl Committer {
    pub(super) fn new(
        shared: Arc<Shared>,
        commands: mpsc::Receiver<Command>,
        observer: Arc<dyn CommitObserver>,
    ) -> Self {
        let counters = shared.counters();
        Self { shared, commands, observer, counters, last: 0 }
    }

    /// Runs until closed, or until every sender is gone.
    pub(super) fn run(mut self) {
        while let Some(first) = self.commands.blocking_recv() {
            let mut group = Vec::new();
            let close = self.gather(first, &mut group);
            self.last = group.len();
            self.commit(group);
            if let Some(answer) = close {
                self.close(answer);
                return;
            }
        }
    }

    /// Takes what is waiting, up to the bounds; a close ends the group and comes back.
    fn gather(&mut self, first: Command, group: &mut Vec<Member>) -> Option<oneshot::Sender<()>> {
        let mut bytes = 0;
        let mut next = Some(first);
        let began = Instant::now();
        loop {
            match next.take() {
                Some(Command::Apply(operation, answer, room)) => {
                    bytes += operation.bytes();
                    group.push(Member { operation, answer, room });
                }
                Some(Command::Close(answer)) => return Some(answer),
                None => {}
            }
            if group.len() >= GROUP_OPERATIONS || bytes >= GROUP_BYTES {
                return None;
            }
            next = self.commands.try_recv().ok();
            if next.is_none() {
                // The callers of the last group are just being woken. Syncing for the first of
                // them alone would make the others wait for two syncs.
                if group.len() * 2 >= self.last || began.elapsed() >= GATHER {
                    return None;
                }
                std::thread::yield_now();
            }
        }
    }

    fn commit(&mut self, group: Vec<Member>) {
        if group.is_empty() {
            return;
        }
        if let Some(refusal) = self.shared.health.refusal() {
            return answer_all(group, &refusal);
        }
        if let Err(cause) = self.shared.engine.make_room() {
            self.shared.health.fail(&cause);
            return answer_all(group, &self.shared.health.refusal().unwrap_or_else(closed));
        }
        let began = Instant::now();
        let bytes = group.iter().map(|member| member.operation.bytes()).sum();
        let full = self.shared.space_refusal(bytes);
        let shared = Arc::clone(&self.shared);
        let mut decided = Group::new(&shared.engine, self.counters);
        let mut answers = Vec::with_capacity(group.len());
        let mut rooms = Vec::with_capacity(group.len());
        for Member { operation, answer, room } in group {
            rooms.extend(room);
            let result = match &full {
                Some(refusal) if operation.grows() => Err(refusal.clone()),
                _ => decided.apply(operation),
            };
            answers.push((answer, result));
        }
        if decided.is_idle() {
            return send_all(answers);
        }
        let (counters, durable) = (decided.counters(), decided.is_durable());
        let committed = catch_unwind(AssertUnwindSafe(|| decided.commit()));
        drop(rooms);
        match committed {
            Ok(Ok(())) => {
                self.counters = counters;
                if durable {
                    self.counters.synced = counters.sequence;
                }
                self.shared.publish(counters, durable);
                let group =
                    CommitGroup { operations: answers.len(), bytes, elapsed: began.elapsed() };
                send_all(answers);
                self.observer.committed(group);
            }
            Ok(Err(cause)) => {
                self.shared.health.fail(&cause);
                // The engine had stopped before, in the background, and wrote nothing of this.
                let untouched = matches!(cause, fjall::Error::Poisoned);
                self.answer_failed(answers, untouched);
            }
            Err(panic) => {
                self.shared.health.fail_panic(panic_text(&*panic));
                self.answer_failed(answers, false);
            }
        }
    }

    /// After a failed commit nobody knows what reached the disk; only what was refused on its own
    /// account certainly did not happen.
    fn answer_failed(&self, answers: Vec<(Answer, Result<Outcome, StoreError>)>, untouched: bool) {
        let unknown = match self.shared.health.refusal().filter(|_| untouched) {
            Some(refusal) => refusal,
            None => self.shared.health.indeterminate(),
        };
        for (answer, result) in answers {
            let result = match result {
                Ok(_) => Err(unknown.clone()),
                // The refusal may rest on a member of the same group that was not written.
                Err(_) => Err(error(ErrorKind::Unavailable, "the store has failed")),
            };
            let _ = answer.send(result);
        }
    }

    fn close(mut self, answer: oneshot::Sender<()>) {
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Apply(_, answer, _) => drop(answer.send(Err(closed()))),
                Command::Close(answer) => drop(answer.send(())),
            }
        }
        let _ = answer.send(());
    }
}

fn send_all(answers: Vec<(Answer, Result<Outcome, StoreError>)>) {
    for (answer, result) in answers {
        // A caller that went away does not need its answer.
        let _ = answer.send(result);
    }
}

fn answer_all(group: Vec<Member>, refusal: &StoreError) {
    for member in group {
        let _ = member.answer.send(Err(refusal.clone()));
    }
}
