//! The one who writes: a thread that takes what has come together, and answers when it is written.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::chain::{ChainKey, Head};
use super::entry::{Action, Entry};
use super::log::Stream;
use super::sink::Files;
use super::{OpenError, Options, Place, State, Unwritten};
use crate::telemetry::AuditLine;

/// Requests whose lines share one write.
const GROUP: usize = 1024;

/// Between two looks at what is due; also between two tries to write while that fails.
const TICK: Duration = Duration::from_secs(1);

/// Refusals that are written one by one. Anybody can make the service refuse: what is above that is
/// counted, so that nobody fills the disk with it, or has older segments removed.
const REFUSALS: usize = 200;

/// And then in each tick: of those who do not say who they are, and of those who do. The former must
/// not hide the latter.
const REFUSALS_A_TICK: [usize; 2] = [2, 50];

/// What the writer is told.
pub enum Message {
    /// To write these, and say when it is done.
    Lines { entries: Vec<Entry>, done: oneshot::Sender<Result<(), Unwritten>> },
    /// To end.
    Close,
}

enum Sink {
    Files(Files),
    Log(Stream),
}

pub struct Writer {
    sink: Sink,
    head: Head,
    key: Option<ChainKey>,
    state: Arc<State>,
    head_interval: Duration,
    /// When the head was last noted, and which it was.
    noted: (Instant, u64),
    ticked: Instant,
    /// Lines lost since one could last be written.
    lost: usize,
    /// Refusals that count to the most: of strangers, and of known callers.
    refused: [usize; 2],
    /// Further ones, that no line tells of yet.
    more: usize,
}

impl Writer {
    /// Opens the place. What was found there is written down at once.
    pub fn open(options: Options, state: Arc<State>) -> Result<Self, OpenError> {
        let Options { place, key, head_interval, .. } = options;
        let (sink, head, said, path) = match place {
            Place::Log(stream) => {
                (Sink::Log(stream), Head::fresh(), Vec::new(), "the log stream".to_owned())
            }
            Place::Folder(folder) => {
                let path = folder.path.display().to_string();
                let failed = |cause| OpenError { path: path.clone(), cause };
                let (files, head, said) = Files::open(folder, key.as_ref()).map_err(failed)?;
                (Sink::Files(files), head, said, path)
            }
        };
        let now = Instant::now();
        let noted = (now, head.seq);
        let mut writer = Self {
            sink,
            head,
            key,
            state,
            head_interval,
            noted,
            ticked: now,
            lost: 0,
            refused: [0; 2],
            more: 0,
        };
        writer.append(&said).map_err(|cause| OpenError { path, cause })?;
        Ok(writer)
    }

    /// Until it is told to close, or nobody is left who could tell it anything.
    pub fn run(mut self, inbox: &Receiver<Message>) {
        let mut open = true;
        while open {
            let mut group = Vec::new();
            match inbox.recv_timeout(TICK) {
                Ok(first) => group.push(first),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => open = false,
            }
            while group.len() < GROUP
                && let Ok(next) = inbox.try_recv()
            {
                group.push(next);
            }
            open &= !group.iter().any(|message| matches!(message, Message::Close));
            self.write(group);
            if !open || self.ticked.elapsed() >= TICK {
                self.tick();
            }
        }
        if let Err(error) = self.sync() {
            tracing::error!(%error, "the audit log cannot be synced");
        }
        self.note_head();
    }

    /// Writes what came together, and answers.
    fn write(&mut self, group: Vec<Message>) {
        let mut lines = Vec::new();
        let mut waiting = Vec::new();
        for message in group {
            let Message::Lines { entries, done } = message else { continue };
            waiting.push(done);
            for entry in entries {
                if entry.action == Action::Refuse {
                    let refused = &mut self.refused[usize::from(entry.actor.kind != "nobody")];
                    *refused += 1;
                    if *refused > REFUSALS {
                        self.more += 1;
                        continue;
                    }
                }
                lines.push(entry);
            }
        }
        let written = self.try_append(&lines);
        for done in waiting {
            // Whoever does not wait any more is gone.
            drop(done.send(written.clone()));
        }
    }

    fn try_append(&mut self, entries: &[Entry]) -> Result<(), Unwritten> {
        if entries.is_empty() {
            return Ok(());
        }
        if !self.is_broken() {
            match self.append(entries) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    tracing::error!(%error, "the audit log cannot be written");
                    self.state.set_broken(true);
                }
            }
        }
        self.lost += entries.len();
        self.state.lost.fetch_add(entries.len() as u64, Ordering::AcqRel);
        self.state.metrics.audit_lines(AuditLine::Lost, entries.len() as u64);
        Err(Unwritten)
    }

    /// Adds lines to the chain; where that fails, the chain is as before.
    fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let begins = match &mut self.sink {
            Sink::Files(files) => files.rotate()?,
            Sink::Log(_) => None,
        };
        let rotated = begins.is_some();
        if let Some(begins) = begins {
            // On its own: a segment that is begun and not written in is gone on with.
            self.add(&[begins])?;
        }
        self.add(entries)?;
        if rotated {
            self.note_head();
            if let Err(error) = self.prune() {
                tracing::error!(%error, "old segments of the audit log cannot be removed");
            }
        }
        Ok(())
    }

    fn add(&mut self, entries: &[Entry]) -> io::Result<()> {
        let mut head = self.head.clone();
        let now = SystemTime::now();
        let line = |entry| head.add(entry, self.key.as_ref(), now);
        let bytes = entries.iter().map(line).collect::<Vec<_>>().concat();
        match &mut self.sink {
            Sink::Files(files) => files.append(&bytes)?,
            Sink::Log(stream) => stream.append(&bytes)?,
        }
        self.head = head;
        self.state.metrics.audit_lines(AuditLine::Written, entries.len() as u64);
        Ok(())
    }

    /// The line comes before the deed: a segment that is missing without one was removed by others.
    fn prune(&mut self) -> io::Result<()> {
        let Sink::Files(files) = &self.sink else { return Ok(()) };
        let Some((segments, entry)) = files.to_prune()? else { return Ok(()) };
        self.add(&[entry])?;
        self.sync()?;
        let Sink::Files(files) = &self.sink else { return Ok(()) };
        files.prune(&segments)
    }

    fn sync(&mut self) -> io::Result<()> {
        match &mut self.sink {
            Sink::Files(files) => files.sync(),
            Sink::Log(_) => Ok(()),
        }
    }

    /// What is due from time to time.
    fn tick(&mut self) {
        self.ticked = Instant::now();
        for (refused, fewer) in self.refused.iter_mut().zip(REFUSALS_A_TICK) {
            *refused = (*refused).min(REFUSALS).saturating_sub(fewer);
        }
        if self.is_broken() {
            let resume = Entry::of_service(Action::Resume).with("lost", self.lost);
            if self.append(&[resume]).is_err() {
                return;
            }
            tracing::warn!(lost = self.lost, "the audit log can be written again");
            self.lost = 0;
            self.state.set_broken(false);
        }
        if self.more > 0 {
            let more = Entry::of_service(Action::RefuseMore).with("count", self.more);
            if self.try_append(&[more]).is_ok() {
                self.more = 0;
            }
        }
        if let Err(error) = self.sync() {
            tracing::error!(%error, "the audit log cannot be synced");
            self.state.set_broken(true);
        }
        if self.noted.0.elapsed() >= self.head_interval {
            self.note_head();
        }
    }

    /// Notes in another place how far the chain goes, so that an end that is cut off shows.
    fn note_head(&mut self) {
        let seq = self.head.seq;
        if seq != self.noted.1 {
            let (instance, hash) = (&self.head.instance, self.head.hash);
            tracing::info!(instance, seq, %hash, "audit head");
        }
        self.noted = (Instant::now(), seq);
    }

    fn is_broken(&self) -> bool {
        self.state.broken.load(Ordering::Acquire)
    }
}
