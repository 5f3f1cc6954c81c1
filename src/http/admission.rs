//! A budget of bytes that request and response bodies may hold in memory at once.
//!
//! Refusing early costs microseconds; running out of memory costs every request in flight.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::{Code, Problem};
use crate::telemetry::{Metrics, Refusal};

/// Permits stand for blocks of this many bytes, so that gigabytes fit the semaphore's counter.
const BLOCK_BYTES: u64 = 1024;

/// The budget. Cheap to clone.
#[derive(Clone)]
pub struct Budget {
    blocks: Arc<Semaphore>,
    total: u32,
    metrics: Metrics,
}

/// A part of the budget, given back on drop.
#[derive(Debug)]
pub struct Reservation(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Budget {
    /// A budget of this many bytes.
    pub fn new(bytes: u64, metrics: Metrics) -> Self {
        let blocks = (bytes / BLOCK_BYTES).clamp(1, u64::from(u32::MAX >> 4));
        let total = u32::try_from(blocks).unwrap_or(u32::MAX >> 4);
        Self { blocks: Arc::new(Semaphore::new(total as usize)), total, metrics }
    }

    /// Takes a part. A request that is larger than the whole budget gets all of it: alone it
    /// may run, whatever it needs.
    ///
    /// # Errors
    /// 503 with `Retry-After` where others hold too much.
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, Problem> {
        let blocks = u32::try_from(bytes.div_ceil(BLOCK_BYTES)).unwrap_or(u32::MAX).min(self.total);
        match Arc::clone(&self.blocks).try_acquire_many_owned(blocks) {
            Ok(permit) => Ok(Reservation(permit)),
            Err(_) => {
                self.metrics.refused(Refusal::MemoryBudget);
                Err(Problem::new(
                    Code::Unavailable,
                    "the service holds as many bodies in memory as it may: try again shortly",
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_on_drop_and_never_blocks_a_lone_giant() {
        let budget = Budget::new(10 * 1024, Metrics::new());
        let first = budget.reserve(8 * 1024).unwrap();
        assert_eq!(budget.reserve(4 * 1024).unwrap_err().code(), Code::Unavailable);
        let small = budget.reserve(1).unwrap();
        drop(first);
        drop(small);
        let giant = budget.reserve(u64::MAX).unwrap();
        assert!(budget.reserve(1).is_err());
        drop(giant);
        assert!(budget.reserve(1).is_ok());
    }
}
