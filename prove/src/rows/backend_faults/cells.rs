//! The table of row 6: each fault, and what a caller may see of it.
//!
//! A cell says it twice: for a fault that strikes a few requests, and for one that lasts. Outcomes
//! are `done`, `cut` (an answer that was begun and did not end) and refusals, as status and code.
//! What is not named is a failure of the row.
//!
//! In a pool the fault strikes the first of two members. A `mirror` has one excuse: a large proof with
//! wrong bytes, or too few, is cut, as it was begun before anybody could know. A `fallback` has another one: what
//! only the struck member has cannot be read, which is `503`, and a large proof may be cut.

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
    fallback: Column,
    mirror: Column,
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

/// What calls may end in, by what they ask for.
type Expected = &'static [(Ask, &'static [&'static str])];

/// What is to be seen with members that stand together in one way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// While a few requests are struck, by what they ask for.
    pub(super) once: Expected,
    /// While all are.
    pub(super) lasting: Expected,
    /// What became of writes and deletes that ended in doubt while the fault lasted.
    pub(super) doubts: Doubts,
    /// Whether requests of the kind that the fault strikes are sent at all.
    pub(super) is_met: bool,
}

impl Column {
    const fn of_pool(once: Expected, lasting: Expected) -> Self {
        // What a pool knows of a change in doubt is in its records.
        Self { once, lasting, doubts: Doubts::Either, is_met: true }
    }
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
            Mode::Fallback => &self.fallback,
            Mode::Mirror => &self.mirror,
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

const ALL_OK: Expected = &[(Write, OK), (Read, OK), (Delete, OK)];
const READS_BREAK: Expected = &[(Write, OK), (Read, DONE_OR_BROKEN), (Delete, OK)];
const READS_STALL: Expected = &[(Write, OK), (Read, DONE_OR_STALLED), (Delete, OK)];
const ALL_FAIL: Expected = &[(Write, FAILS), (Read, FAILS), (Delete, FAILS)];
const ALL_SILENT: Expected = &[(Write, SILENT), (Read, SILENT), (Delete, SILENT)];
const ALL_SLOW: Expected = &[(Write, SLOW), (Read, SLOW), (Delete, SLOW)];
const ALL_DENIED: Expected = &[(Write, DENIED), (Read, DENIED), (Delete, DENIED)];
const TRICKLE: Expected = &[(Write, SILENT), (Read, SILENT_OR_CUT), (Delete, SILENT)];

/// What only the struck member of a fallback has.
const AT_HOME: &[&str] = &[DONE, "503 UNAVAILABLE"];
/// The same of answers that begin and do not end.
const CUT_AT_HOME: &[&str] = &[DONE, "503 UNAVAILABLE", CUT];
/// What was sent of a large proof cannot be taken back. The next read of it goes elsewhere.
const DONE_OR_CUT: &[&str] = &[DONE, CUT];
const DAMAGED_AT_HOME: &[&str] = &["502 CORRUPT", CUT];

/// The second member of a fallback takes what the first does not.
const STANDS_IN: Expected = &[(Write, OK), (Read, AT_HOME), (Delete, OK)];
const STANDS_IN_BUT_CUT: Expected = &[(Write, OK), (Read, CUT_AT_HOME), (Delete, OK)];

/// Into the body of every proof: the smallest is longer.
const WITHIN: u64 = 1000;

const fn cell(
    name: &'static str,
    fault: Fault,
    once: Expected,
    lasting: Expected,
    doubts: Doubts,
) -> Cell {
    let single = Column { once, lasting, doubts, is_met: true };
    let fallback = Column::of_pool(once, STANDS_IN);
    let mirror = Column::of_pool(ALL_OK, ALL_OK);
    Cell { name, fault, only: None, single, fallback, mirror }
}

const fn wire(
    name: &'static str,
    effect: WireEffect,
    once: Expected,
    lasting: Expected,
    doubts: Doubts,
) -> Cell {
    cell(name, Fault::Wire(effect), once, lasting, doubts)
}

const fn store(
    name: &'static str,
    effect: fn() -> Effect,
    once: Expected,
    lasting: Expected,
    doubts: Doubts,
) -> Cell {
    cell(name, Fault::Store(effect), once, lasting, doubts)
}

impl Cell {
    const fn only(self, requests: &'static str) -> Self {
        Self { only: Some(requests), ..self }
    }

    /// What is to be seen of a fallback, where it is not the usual.
    const fn fallback(self, once: Expected, lasting: Expected) -> Self {
        Self { fallback: Column::of_pool(once, lasting), ..self }
    }

    /// The same of a mirror.
    const fn mirror(self, once: Expected, lasting: Expected) -> Self {
        Self { mirror: Column::of_pool(once, lasting), ..self }
    }

    /// A pool sends no such request: its calls end well because of that.
    const fn unmet_by_pools(self, lasting: Expected) -> Self {
        let column = Column { is_met: false, ..Column::of_pool(&[], lasting) };
        Self { fallback: column, mirror: column, ..self }
    }
}

/// The faults. Those first that take the longest, because calls hang.
pub(super) const CELLS: [Cell; 24] = [
    wire("blackhole", WireEffect::Swallow, ALL_OK, ALL_SILENT, Doubts::Undone),
    wire("slow drip", WireEffect::Drip(WITHIN), READS_STALL, TRICKLE, Doubts::Done)
        .fallback(STANDS_IN_BUT_CUT, STANDS_IN_BUT_CUT),
    wire("stall", WireEffect::Stall(WITHIN), READS_STALL, TRICKLE, Doubts::Done)
        .fallback(STANDS_IN_BUT_CUT, STANDS_IN_BUT_CUT),
    // What the wire held back arrives when it is lit: also after its sender has given it up.
    cell("connect blackhole", Fault::Unreachable, ALL_OK, ALL_SILENT, Doubts::Either),
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
    )
    .mirror(&[(Write, OK)], ALL_OK),
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
    )
    .fallback(STANDS_IN_BUT_CUT, STANDS_IN_BUT_CUT),
    wire(
        "bit flip",
        WireEffect::Flip(WITHIN),
        &[(Read, DAMAGED)],
        &[(Write, OK), (Read, DAMAGED), (Delete, OK)],
        Doubts::Done,
    )
    .fallback(&[(Read, DAMAGED_AT_HOME)], &[(Write, OK), (Read, DAMAGED_AT_HOME), (Delete, OK)])
    .mirror(&[(Read, DONE_OR_CUT)], &[(Write, OK), (Read, DONE_OR_CUT), (Delete, OK)])
    .only("GET"),
    wire(
        "wrong length",
        WireEffect::Length(7),
        &[(Read, DONE_OR_BROKEN)],
        &[(Write, FLAKY), (Read, FAILS_OR_CUT), (Delete, FLAKY)],
        Doubts::Done,
    )
    .fallback(&[(Read, DONE_OR_BROKEN)], STANDS_IN_BUT_CUT)
    .mirror(&[(Read, DONE_OR_CUT)], &[(Write, OK), (Read, DONE_OR_CUT), (Delete, OK)])
    .only("GET"),
    // The backend answers, and badly.
    store("503 SlowDown", Effect::slow_down, ALL_OK, ALL_SLOW, Doubts::Undone),
    store("429", Effect::too_many_requests, ALL_OK, ALL_SLOW, Doubts::Undone),
    store("500", Effect::internal_error, ALL_OK, ALL_FAIL, Doubts::Undone),
    store("500 after commit", || Effect::InternalErrorAfter, ALL_OK, ALL_FAIL, Doubts::Done),
    store("403", Effect::access_denied, ALL_DENIED, ALL_DENIED, Doubts::Undone)
        .fallback(STANDS_IN, STANDS_IN),
    store(
        "403 quota is reached",
        Effect::quota_reached,
        &[(Write, FULL)],
        &[(Write, FULL), (Read, OK), (Delete, OK)],
        Doubts::Undone,
    )
    .fallback(&[(Write, OK)], ALL_OK)
    .mirror(&[(Write, OK)], ALL_OK)
    .only("PutObject"),
    store(
        "409 conflict",
        || Effect::error(409, "ConditionalRequestConflict", "another write is under way"),
        &[(Write, OK)],
        &[(Write, CONTENDED), (Read, OK), (Delete, OK)],
        Doubts::Undone,
    )
    // Another write of the key may come first: no other member can know.
    .fallback(&[(Write, OK)], &[(Write, CONTENDED), (Read, OK), (Delete, OK)])
    .mirror(&[(Write, OK)], &[(Write, CONTENDED), (Read, OK), (Delete, OK)])
    .only("PutObject"),
    store(
        "200 with an error",
        || Effect::ErrorIn200("InternalError".to_owned()),
        &[(Copy, OK)],
        // A look finds what was done; when the budget for looks is spent, nobody knows.
        &[(Copy, FLAKY), (Read, FLAKY)],
        Doubts::Done,
    )
    // A copy on a pool passes through the service: no member is asked for one.
    .unmet_by_pools(&[(Copy, OK), (Read, OK)])
    .only("CopyObject"),
    store(
        "200 without ETag",
        || Effect::NoETag,
        &[(Write, OK)],
        &[(Write, FLAKY), (Read, FLAKY), (Delete, FLAKY)],
        Doubts::Done,
    )
    .fallback(&[(Write, OK)], STANDS_IN)
    .mirror(&[(Write, OK)], ALL_OK)
    .only("PutObject"),
];
