//! A caller of the service that stores, reads, copies and deletes real proofs, one call at a time,
//! and tells how each went.
//!
//! It owns a ledger and its keys. What an answer promises is written down there; what it refuses
//! for certain (see [`is_certain`]) has to be as it was; everything else is a doubt. Every body
//! that comes whole is hashed: bytes that are not those that were stored have been *accepted*, and
//! nothing else counts as that.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::client::{Answer, CallError, Client, Sha};
use crate::corpus::{self, Proof};
use crate::journal::{Change, Ledger};

/// A call as it should end.
pub(crate) const DONE: &str = "done";
/// An answer that began and did not end as it announced.
pub(crate) const CUT: &str = "cut";
/// Whole, and other bytes than those that were stored.
pub(crate) const CORRUPT: &str = "corrupt bytes accepted";

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ask {
    /// Storing under a new key.
    Write,
    /// Reading a whole proof.
    Read,
    /// Deleting.
    Delete,
    /// Copying to a new key.
    Copy,
}

impl Ask {
    fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::Delete => "delete",
            Self::Copy => "copy",
        }
    }
}

/// Kinds of proofs: JSON (kept as gzip) and binary, both below and above the size up to which a
/// body is verified before its first byte is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// JSON of a few kilobytes.
    Json,
    /// JSON of more than a mebibyte.
    LargeJson,
    /// A few kilobytes of JUMBF.
    Binary,
    /// JUMBF of more than a mebibyte.
    LargeBinary,
}

impl Kind {
    /// In turn.
    pub(crate) const ALL: [Self; 4] =
        [Self::Json, Self::Binary, Self::LargeJson, Self::LargeBinary];

    fn make(self, rng: &mut Rng) -> Proof {
        let size = match self {
            Self::Json | Self::Binary => rng.usize(4_000..20_000),
            Self::LargeJson | Self::LargeBinary => rng.usize(1_100_000..1_500_000),
        };
        match self {
            Self::Json | Self::LargeJson => corpus::json(rng, size),
            Self::Binary | Self::LargeBinary => corpus::binary(rng, size),
        }
    }
}

/// How a call went.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// What was asked for.
    pub(crate) ask: Ask,
    /// [`DONE`], [`CUT`], [`CORRUPT`], status and code of a problem, or how there was no answer.
    pub(crate) outcome: String,
    /// When it was sent.
    pub(crate) began: Instant,
    /// Until its whole answer was there, or none was to be had.
    pub(crate) took: Duration,
    /// A read got the body whole, and hashed it.
    pub(crate) hashed: bool,
    /// When this caller was told that the proof is stored that it reads.
    pub(crate) stored: Option<Instant>,
    /// A refusal is a problem with a code, and says when to come again where it must.
    pub(crate) is_clean: bool,
}

/// One of the harness's clients.
#[derive(Debug)]
pub(crate) struct Caller<'a> {
    client: Client,
    ledger: &'a mut Ledger,
    rng: Rng,
    stored: HashMap<String, Instant>,
}

/// Whether a refusal says for certain that nothing was done.
pub(crate) fn is_certain(status: u16) -> bool {
    matches!(status, 400..=499 | 501 | 503 | 507)
}

impl<'a> Caller<'a> {
    /// A caller that waits for `patience` for each byte.
    pub(crate) fn new(client: Client, ledger: &'a mut Ledger, seed: u64) -> Self {
        Self { client, ledger, rng: Rng::with_seed(seed), stored: HashMap::new() }
    }

    /// How many of its proofs are there for certain.
    pub(crate) fn stock(&self) -> usize {
        self.ledger.present().count()
    }

    /// One call. A read, copy or delete of a proof that is there for certain; where none is, a
    /// write.
    pub(crate) fn call(&mut self, ask: Ask, kind: Kind) -> Told {
        let place = self.rng.usize(..self.stock().max(1));
        let target = self.ledger.present().nth(place).map(|(key, sha)| (key.to_owned(), sha));
        match (ask, target) {
            (Ask::Write, _) | (_, None) => self.write(kind),
            (Ask::Read, Some((key, sha))) => self.read(&key, sha),
            (Ask::Delete, Some((key, _))) => self.delete(&key),
            (Ask::Copy, Some((key, sha))) => self.copy(&key, sha),
        }
    }

    /// Stores a new proof of a kind.
    pub(crate) fn write(&mut self, kind: Kind) -> Told {
        let proof = kind.make(&mut self.rng);
        let key = self.new_key(proof.extension);
        let began = Instant::now();
        let answer = self.client.put(&key, proof.content_type, &proof.body, None);
        let change = Change::put(&key, Sha::of(&proof.body));
        self.changed(Ask::Write, began, answer, change)
    }

    /// Reads a proof and compares.
    pub(crate) fn read(&mut self, key: &str, sha: Sha) -> Told {
        let began = Instant::now();
        let answer = self.client.get(key);
        let mut told = tell(Ask::Read, began, &answer);
        told.stored = self.stored.get(key).copied();
        if let Ok(answer) = answer
            && answer.status() == 200
        {
            told.hashed = true;
            if Sha::of(&answer.body) != sha {
                told.outcome = CORRUPT.to_owned();
            }
        }
        told
    }

    fn delete(&mut self, key: &str) -> Told {
        let began = Instant::now();
        let answer = self.client.delete(key);
        self.changed(Ask::Delete, began, answer, Change::delete(key))
    }

    fn copy(&mut self, key: &str, sha: Sha) -> Told {
        let extension = if key.ends_with(".json") { ".json" } else { ".c2pa" };
        let to = self.new_key(extension);
        let began = Instant::now();
        let answer = self.client.transfer("copy", key, &to, false);
        self.changed(Ask::Copy, began, answer, Change::put(&to, sha))
    }

    fn changed(
        &mut self,
        ask: Ask,
        began: Instant,
        answer: Result<Answer, CallError>,
        change: Change,
    ) -> Told {
        let told = tell(ask, began, &answer);
        match &answer {
            Ok(answer) if answer.is_success() => {
                self.stored.insert(change.key().to_owned(), Instant::now());
                self.ledger.acknowledge(ask.name(), vec![change]);
            }
            Ok(answer) if is_certain(answer.status()) => {
                self.ledger.refuse(ask.name(), change, &told.outcome);
            }
            Err(CallError::Refused(_)) => {
                self.ledger.refuse(ask.name(), change, &told.outcome);
            }
            Ok(_) | Err(_) => {
                self.ledger.doubt(ask.name(), vec![change], true, &told.outcome);
            }
        }
        told
    }

    fn new_key(&mut self, extension: &str) -> String {
        let id = self.rng.u64(..);
        format!("{}{:02x}/{id:016x}{extension}", self.ledger.prefix(), id % 256)
    }
}

fn tell(ask: Ask, began: Instant, answer: &Result<Answer, CallError>) -> Told {
    let took = began.elapsed();
    let (outcome, is_clean) = match answer {
        Ok(answer) if answer.is_success() => (DONE.to_owned(), true),
        Ok(answer) => (answer.label(), is_clean(answer)),
        Err(CallError::Cut(_)) => (CUT.to_owned(), true),
        Err(error) => (error.to_string(), true),
    };
    Told { ask, outcome, began, took, hashed: false, stored: None, is_clean }
}

/// What only has to be waited for says how long.
fn is_clean(answer: &Answer) -> bool {
    let Some(code) = answer.problem_code() else { return false };
    let passes = matches!(code.as_str(), "UNAVAILABLE" | "BACKEND_TIMEOUT" | "CONTENDED");
    let seconds = answer.head.header("retry-after").and_then(|text| text.parse::<u64>().ok());
    !passes || seconds.is_some_and(|seconds| seconds >= 1)
}
