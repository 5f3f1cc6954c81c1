//! Which call meets which fault.
//!
//! The decision for the n-th call of an operation hangs on the seed, the operation and n only, so
//! that calls of other operations do not shift it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::model::ErrorKind;

/// The calls of a backend that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the method of that name")]
pub enum Operation {
    Put,
    Get,
    Head,
    Delete,
    DeleteMany,
    List,
    Copy,
    Rename,
    Presign,
    Usage,
    Probe,
}

impl Operation {
    /// Every call: a store that meets a fault at all of them is away.
    pub const ALL: [Self; 11] = [
        Self::Put,
        Self::Get,
        Self::Head,
        Self::Delete,
        Self::DeleteMany,
        Self::List,
        Self::Copy,
        Self::Rename,
        Self::Presign,
        Self::Usage,
        Self::Probe,
    ];
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Does nothing and fails; of the class *did not happen* or an answer, such as `Failed`.
    Refuse(ErrorKind),
    /// Does nothing and asks to come again after this time: `Unavailable`.
    Later(Duration),
    /// Does it and reports this failure, `Indeterminate` or `Timeout`. A call that fails by itself
    /// keeps its own error.
    Lose(ErrorKind),
    /// Waits, then does it.
    Delay(Duration),
    /// Does nothing and never answers.
    Hang,
    /// Does it and never answers.
    HangAfter,
    /// Flips one bit in the middle of the body. `Get` only.
    FlipBit,
    /// Ends the body cleanly halfway. `Get` only.
    Truncate,
    /// Ends the body halfway in an error. `Get` only.
    BreakBody,
    /// Answers with what was there before the latest write through the wrapper, `if_match`
    /// ignored; a key that was written once did not exist then. `Get` and `Head` only.
    Stale,
}

impl Fault {
    /// Whether the fault can strike the operation and is of a kind that the contract knows.
    fn fits(self, operation: Operation) -> bool {
        match self {
            Self::Refuse(kind) => !matches!(kind, ErrorKind::Indeterminate),
            Self::Lose(kind) => matches!(kind, ErrorKind::Indeterminate | ErrorKind::Timeout),
            Self::Later(_) | Self::Delay(_) | Self::Hang | Self::HangAfter => true,
            Self::FlipBit | Self::Truncate | Self::BreakBody => operation == Operation::Get,
            Self::Stale => matches!(operation, Operation::Get | Operation::Head),
        }
    }
}

/// A fault that strikes a share of an operation's calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chance {
    /// Which calls.
    pub operation: Operation,
    /// What goes wrong.
    pub fault: Fault,
    /// Share of the calls, 0 to 1. The chances of one operation add up, to 1 at most.
    pub probability: f64,
}

#[derive(Debug)]
pub(super) struct Plan {
    seed: u64,
    chances: Vec<Chance>,
    scripts: HashMap<Operation, VecDeque<Option<Fault>>>,
    calls: HashMap<Operation, u64>,
    injected: Vec<(Operation, Fault)>,
    stale: bool,
}

impl Plan {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            chances: Vec::new(),
            scripts: HashMap::new(),
            calls: HashMap::new(),
            injected: Vec::new(),
            stale: false,
        }
    }

    pub(super) fn set_chances(&mut self, chances: Vec<Chance>) {
        for chance in &chances {
            self.admit(chance.operation, chance.fault);
            let of_operation = chances.iter().filter(|c| c.operation == chance.operation);
            let total: f64 = of_operation.map(|c| c.probability).sum();
            let valid = chance.probability >= 0.0 && total <= 1.0 + f64::EPSILON;
            assert!(valid, "chances of {:?} are between 0 and 1 in all", chance.operation);
        }
        self.chances = chances;
    }

    pub(super) fn script(
        &mut self,
        operation: Operation,
        faults: impl Iterator<Item = Option<Fault>>,
    ) {
        for fault in faults {
            if let Some(fault) = fault {
                self.admit(operation, fault);
            }
            self.scripts.entry(operation).or_default().push_back(fault);
        }
    }

    pub(super) fn clear_script(&mut self) {
        self.scripts.clear();
    }

    fn admit(&mut self, operation: Operation, fault: Fault) {
        assert!(fault.fits(operation), "{fault:?} cannot strike {operation:?}");
        self.stale |= fault == Fault::Stale;
    }

    pub(super) fn may_be_stale(&self) -> bool {
        self.stale
    }

    pub(super) fn injected(&self) -> &[(Operation, Fault)] {
        &self.injected
    }

    /// The fault of an operation's next call.
    pub(super) fn draw(&mut self, operation: Operation) -> Option<Fault> {
        let call = self.calls.entry(operation).or_default();
        *call += 1;
        let number = *call;
        let scripted = self.scripts.get_mut(&operation).and_then(VecDeque::pop_front);
        let fault = scripted.unwrap_or_else(|| self.by_chance(operation, number))?;
        self.injected.push((operation, fault));
        Some(fault)
    }

    fn by_chance(&self, operation: Operation, number: u64) -> Option<Fault> {
        let mixed = splitmix64(self.seed ^ splitmix64(((operation as u64) << 56) ^ number));
        // The upper 53 bits are a uniform fraction that `f64` holds exactly.
        let mut left = (mixed >> 11) as f64 / (1_u64 << 53) as f64;
        for chance in self.chances.iter().filter(|chance| chance.operation == operation) {
            if left < chance.probability {
                return Some(chance.fault);
            }
            left -= chance.probability;
        }
        None
    }
}

/// One step of Steele, Lea and Flood's generator: mixes any 64 bits well.
fn splitmix64(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
