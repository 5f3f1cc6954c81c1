//! A segment as this replica knows it: its lines, and how far each has come.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::line::{Line, What};

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) lines: Vec<Entry>,
    /// Members that keep it.
    pub(super) holders: BTreeSet<usize>,
    /// Whether this process wrote it, and so knows that it counts.
    pub(super) is_own: bool,
    /// Place in the order in which segments and holders became known here.
    pub(super) added: u64,
    /// When a line of it was last settled, by a clock that nobody sets.
    pub(super) settled: Instant,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) line: Arc<Line>,
    pub(super) state: State,
}

/// How far what a line tells of has come, as far as this replica knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// To be seen to.
    Open,
    /// Announced by a call of this process that goes on.
    UnderWay,
    /// Every member was seen to be as it should.
    Settled,
    /// Announced, and come to its end: of no further use to anybody.
    Over,
}

impl Segment {
    pub(super) fn new(
        lines: Vec<Line>,
        holders: BTreeSet<usize>,
        is_own: bool,
        added: u64,
    ) -> Self {
        let entry = |line| Entry { line: Arc::new(line), state: State::Open };
        let lines = lines.into_iter().map(entry).collect();
        let mut segment = Self { lines, holders, is_own: false, added, settled: Instant::now() };
        if is_own {
            segment.claim();
        }
        segment
    }

    /// This process wrote it: it may have read it before it was told so.
    pub(super) fn claim(&mut self) {
        self.is_own = true;
        let announced = self.lines.iter_mut().filter(|entry| entry.line.what == What::Announce);
        announced.filter(|entry| entry.is_open()).for_each(|entry| entry.state = State::UnderWay);
    }

    /// Lines to be seen to.
    pub(super) fn open(&self) -> usize {
        self.lines.iter().filter(|entry| entry.is_open()).count()
    }

    /// Whether all lines are settled, the last one so long ago, or all of them over.
    pub(super) fn is_finished(&self, ago: Duration) -> bool {
        let is_over = |entry: &Entry| entry.state == State::Over;
        self.lines.iter().all(Entry::is_done)
            && (self.settled.elapsed() >= ago || self.lines.iter().all(is_over))
    }
}

impl Entry {
    pub(super) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Settled | State::Over)
    }
}
