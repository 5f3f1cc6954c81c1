//! A segment as this replica knows it: its lines, and how far each has come.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::line::Line;

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
    /// Written ahead by a call of this process that goes on.
    UnderWay,
    /// Every member was seen to be as it should.
    Settled,
    /// Written ahead, and come to its end: of no further use to anybody.
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
            let ahead: Vec<_> = segment.lines.iter().map(|entry| entry.line.ahead).collect();
            segment.claim(ahead);
        }
        segment
    }

    /// This process wrote it: it may have read it before it was told so. `ahead`: of each line, whether
    /// the call that wrote it goes on.
    pub(super) fn claim(&mut self, ahead: impl IntoIterator<Item = bool>) {
        self.is_own = true;
        let ahead =
            self.lines.iter_mut().zip(ahead).filter(|(entry, ahead)| *ahead && entry.is_open());
        ahead.for_each(|(entry, _)| entry.state = State::UnderWay);
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
