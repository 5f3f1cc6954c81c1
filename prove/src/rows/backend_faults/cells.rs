//! The table of row 6: each fault, and what a caller may see of it.
//!
//! A cell says it twice: for a fault that strikes a few requests, and for one that lasts. Outcomes
//! are `done`, `cut` (an answer that was begun and did not end) and refusals, as status and code.
//! What is not named is a failure of the row. The columns of pools will stand beside `single`.

use std::time::Duration;

use fake_s3::{Effect, WireEffect};

use crate::caller::{Ask, CUT, DONE};
use crate::remote::Mode;

/// A fault by name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    pub(super) name: &'static str,
    pub(super) fault: Fault,
    /// Requests that a lasting fault strikes, by S3's name or HTTP's; none: every request.
    pub(super) only: Option<&'static str>,
    single: Column,
}

/// What breaks.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// The wire, at a request.
    Wire(WireEffect),
    /// The backend.
    Store(fn() -> Effect),
    /// The wire as a whole: nobody answers to new connections, and nothing comes through the old.
    Unreachable,
}

/// What is to be seen with members that stand together in one way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// While a few requests are struck, by what they ask for.
    pub(super) once: &'static [(Ask, &'static [&'static str])],
    /// While all are.
    pub(super) lasting: &'static [(Ask, &'static [&'static str])],
    /// What became of writes and deletes that ended in doubt while the fault lasted.
    pub(super) doubts: Doubts,
}

/// What the bucket shows of changes that nobody knew the outcome of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubts {
    /// None was done: the fault lets no request through.
    Undone,
    /// All were done: the fault strikes answers.
    Done,
    /// A request may have come through, or come through later.
    Either,
}

impl Cell {
    /// The same expectations of another fault.
    pub(super) fn with(self, fault: Fault) -> Self {
        Self { fault, ..self }
    }

    pub(super) fn column(&self, mode: Mode) -> &Column {
        match mode {
            Mode::Single => &self.single,
        }
    }
}

const OK: &[&str] = &[DONE];
const DENIED: &[&str] = &["403 ACCESS_DENIED"];
const CONTENDED: &[&str] = &["409 CONTENDED"];
const FULL: &[&str] = &["507 QUOTA_EXCEEDED"];
/// The backend fails, and after some failures is not asked.
const FAILS: &[&str] = &["502 BACKEND_ERROR", "503 UNAVAILABLE"];
/// Some go through, others as [`FAILS`].
const FLAKY: &[&str] = &[DONE, "502 BACKEND_ERROR", "503 UNAVAILABLE"];
/// The backend says nothing, and after a while is not asked.
const SILENT: &[&str] = &["504 BACKEND_TIMEOUT", "503 UNAVAILABLE"];
const SLOW: &[&str] = &["503 UNAVAILABLE"];
/// Bodies up to 1 MiB at rest are checked before they are sent, larger ones on their way.
const DAMAGED: &[&str] = &["502 CORRUPT", CUT];
/// A body up to 1 MiB that breaks is read again. A larger one is not once it has begun: an error
/// where nothing of it was sent, else a cut.
const DONE_OR_BROKEN: &[&str] = &[DONE, "502 BACKEND_ERROR", CUT];
const DONE_OR_STALLED: &[&str] = &[DONE, "504 BACKEND_TIMEOUT", CUT];
const FAILS_OR_CUT: &[&str] = &["502 BACKEND_ERROR", "503 UNAVAILABLE", CUT];
const SILENT_OR_CUT: &[&str] = &["504 BACKEND_TIMEOUT", "503 UNAVAILABLE", CUT];

use Ask::{Copy, Delete, Read, Write};

const ALL_OK: &[(Ask, &[&str])] = &[(Write, OK), (Read, OK), (Delete, OK)];
const READS_BREAK: &[(Ask, &[&str])] = &[(Write, OK), (Read, DONE_OR_BROKEN), (Delete, OK)];
const READS_STALL: &[(Ask, &[&str])] = &[(Write, OK), (Read, DONE_OR_STALLED), (Delete, OK)];
const ALL_FAIL: &[(Ask, &[&str])] = &[(Write, FAILS), (Read, FAILS), (Delete, FAILS)];
const ALL_SILENT: &[(Ask, &[&str])] = &[(Write, SILENT), (Read, SILENT), (Delete, SILENT)];
const ALL_SLOW: &[(Ask, &[&str])] = &[(Write, SLOW), (Read, SLOW), (Delete, SLOW)];
const ALL_DENIED: &[(Ask, &[&str])] = &[(Write, DENIED), (Read, DENIED), (Delete, DENIED)];
const TRICKLE: &[(Ask, &[&str])] = &[(Write, SILENT), (Read, SILENT_OR_CUT), (Delete, SILENT)];

/// Into the body of every proof: the smallest is longer.
const WITHIN: u64 = 1000;

const fn wire(
    name: &'static str,
    effect: WireEffect,
    once: &'static [(Ask, &'static [&'static str])],
    lasting: &'static [(Ask, &'static [&'static str])],
    doubts: Doubts,
) -> Cell {
    let single = Column { once, lasting, doubts };
    Cell { name, fault: Fault::Wire(effect), only: None, single }
}

const fn store(
    name: &'static str,
    effect: fn() -> Effect,
    once: &'static [(Ask, &'static [&'static str])],
    lasting: &'static [(Ask, &'static [&'static str])],
    doubts: Doubts,
) -> Cell {
    let single = Column { once, lasting, doubts };
    Cell { name, fault: Fault::Store(effect), only: None, single }
}

impl Cell {
    const fn only(self, requests: &'static str) -> Self {
        Self { only: Some(requests), ..self }
    }
}

/// The faults. Those first that take the longest, because calls hang.
pub(super) const CELLS: [Cell; 24] = [
    wire("blackhole", WireEffect::Swallow, ALL_OK, ALL_SILENT, Doubts::Undone),
    wire("slow drip", WireEffect::Drip(WITHIN), READS_STALL, TRICKLE, Doubts::Done),
    wire("stall", WireEffect::Stall(WITHIN), READS_STALL, TRICKLE, Doubts::Done),
    Cell {
        name: "connect blackhole",
        fault: Fault::Unreachable,
        only: None,
        // What the wire held back arrives when it is lit: also after its sender has given it up.
        single: Column { once: ALL_OK, lasting: ALL_SILENT, doubts: Doubts::Either },
    },
    // Nothing of the request arrives.
    wire("reset", WireEffect::Reset, ALL_OK, ALL_FAIL, Doubts::Undone),
    wire("fin", WireEffect::Close, ALL_OK, ALL_FAIL, Doubts::Undone),
    wire(
        "stale connection",
        WireEffect::Stale,
        ALL_OK,
        // Every connection is good for one request.
        &[(Write, FLAKY), (Read, FLAKY), (Delete, FLAKY)],
        Doubts::Undone,
    ),
    wire("cut upload", WireEffect::CutUpload(WITHIN), ALL_OK, ALL_FAIL, Doubts::Undone),
    wire(
        "damaged upload",
        WireEffect::FlipUpload(WITHIN),
        &[(Write, OK)],
        &[(Write, FAILS), (Read, FLAKY), (Delete, FLAKY)],
        Doubts::Undone,
    ),
    // The request arrives, and its answer does not, or not as it was.
    wire("lost answer", WireEffect::LoseAnswer, ALL_OK, ALL_FAIL, Doubts::Done),
    wire("garbled answer", WireEffect::Garble, ALL_OK, ALL_FAIL, Doubts::Done),
    wire("delay", WireEffect::Delay(Duration::from_millis(300)), ALL_OK, ALL_OK, Doubts::Done),
    wire(
        "truncate",
        WireEffect::Truncate(WITHIN),
        READS_BREAK,
        &[(Write, FAILS), (Read, FAILS_OR_CUT), (Delete, FAILS)],
        Doubts::Done,
    ),
    wire(
        "bit flip",
        WireEffect::Flip(WITHIN),
        &[(Read, DAMAGED)],
        &[(Write, OK), (Read, DAMAGED), (Delete, OK)],
        Doubts::Done,
    )
    .only("GET"),
    wire(
        "wrong length",
        WireEffect::Length(7),
        &[(Read, DONE_OR_BROKEN)],
        &[(Write, FLAKY), (Read, FAILS_OR_CUT), (Delete, FLAKY)],
        Doubts::Done,
    )
    .only("GET"),
    // The backend answers, and badly.
    store("503 SlowDown", Effect::slow_down, ALL_OK, ALL_SLOW, Doubts::Undone),
    store("429", Effect::too_many_requests, ALL_OK, ALL_SLOW, Doubts::Undone),
    store("500", Effect::internal_error, ALL_OK, ALL_FAIL, Doubts::Undone),
    store("500 after commit", || Effect::InternalErrorAfter, ALL_OK, ALL_FAIL, Doubts::Done),
    store("403", Effect::access_denied, ALL_DENIED, ALL_DENIED, Doubts::Undone),
    store(
        "403 quota is reached",
        Effect::quota_reached,
        &[(Write, FULL)],
        &[(Write, FULL), (Read, OK), (Delete, OK)],
        Doubts::Undone,
    )
    .only("PutObject"),
    store(
        "409 conflict",
        || Effect::error(409, "ConditionalRequestConflict", "another write is under way"),
        &[(Write, OK)],
        &[(Write, CONTENDED), (Read, OK), (Delete, OK)],
        Doubts::Undone,
    )
    .only("PutObject"),
    store(
        "200 with an error",
        || Effect::ErrorIn200("InternalError".to_owned()),
        &[(Copy, OK)],
        // A look finds what was done; when the budget for looks is spent, nobody knows.
        &[(Copy, FLAKY), (Read, FLAKY)],
        Doubts::Done,
    )
    .only("CopyObject"),
    store(
        "200 without ETag",
        || Effect::NoETag,
        &[(Write, OK)],
        &[(Write, FLAKY), (Read, FLAKY), (Delete, FLAKY)],
        Doubts::Done,
    )
    .only("PutObject"),
];
