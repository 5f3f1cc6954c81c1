//! How many retries a backend may get, whatever its callers wish.
//!
//! A bucket of tokens, as in Finagle and Linkerd: each first call pays in a tenth of a token, each
//! further one takes a whole. So a few failures are always retried, while in an outage retries
//! add at most a tenth to the load, plus the bucket once. Nothing is paid in by time: a service
//! without traffic needs no retries, and the health check's probes are calls too.

use std::sync::atomic::{AtomicU32, Ordering};

/// In tenths: what a first call pays in.
const DEPOSIT: u32 = 1;
/// In tenths: what a retry takes.
const PRICE: u32 = 10;
/// In tenths: most that is saved, and what there is at the start.
const FULL: u32 = 100;

/// The tokens of one backend.
#[derive(Debug)]
pub(super) struct Budget(AtomicU32);

impl Budget {
    pub(super) fn new() -> Self {
        Self(AtomicU32::new(FULL))
    }

    /// A first call is made.
    pub(super) fn deposit(&self) {
        self.change(|tenths| (tenths < FULL).then(|| tenths + DEPOSIT));
    }

    /// Takes a token for a further call; `false` where there is none.
    pub(super) fn withdraw(&self) -> bool {
        self.change(|tenths| tenths.checked_sub(PRICE))
    }

    fn change(&self, change: impl FnMut(u32) -> Option<u32>) -> bool {
        // Nothing else is published with the figure, so its own order suffices.
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn available(budget: &Budget) -> usize {
        (0..1000).take_while(|_| budget.withdraw()).count()
    }

    #[test]
    fn is_full_at_first_and_never_fuller() {
        let budget = Budget::new();
        (0..1000).for_each(|_| budget.deposit());
        assert_eq!(available(&budget), 10);
        assert!(!budget.withdraw());
    }

    #[test]
    fn ten_calls_pay_for_one_retry() {
        let budget = Budget::new();
        available(&budget);
        (0..9).for_each(|_| budget.deposit());
        assert!(!budget.withdraw());
        budget.deposit();
        assert!(budget.withdraw());
        assert!(!budget.withdraw());
        (0..35).for_each(|_| budget.deposit());
        assert_eq!(available(&budget), 3);
    }
}
