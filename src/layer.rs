//! Wrappers that change whether, when or where a backend's call happens, or watch it.
//!
//! Each layer is a `Backend` around another one and adds a single concern. Order, outermost first:
//!
//! - `inventory` answers how much there is, of stores that do not count by themselves.
//! - `metered` sees what callers see, every retry as a part of one call.
//! - `retry` is the only one that calls again; the budget is of all callers together. In a pool it
//!   gives up soon: another backend can take the call over.
//! - `breaker` is asked for each attempt, so retries end at once where a backend is given up.
//! - `pace` keeps writes of one key apart, where a backend wants that. Who waits takes no place.
//! - `limit` is below it, so that a call which is refused anyway waits for no place.
//! - `timeout` is of one attempt, and does not run while a call waits for its place.
//!
//! The embedded store needs `metered` and `timeout` only: it counts by itself and cannot be away.

mod breaker;
mod inventory;
mod limit;
mod metered;
mod pace;
mod retry;
mod timeout;

use std::time::Duration;

pub use breaker::{Breaker, BreakerHandle, BreakerPolicy, BreakerStatus};
pub use inventory::{Inventory, InventoryPolicy};
pub use limit::{Limit, LimitPolicy};
pub use metered::Metered;
pub use pace::{Pace, PacePolicy};
pub use retry::{Retry, RetryPolicy};
pub use timeout::Timeout;

/// Bytes per second that even a slow backend takes.
const SLOWEST_BYTES_PER_SECOND: u64 = 1 << 20;

/// How much longer than others a call may take that moves so many bytes.
fn transfer_allowance(bytes: u64) -> Duration {
    Duration::from_secs(bytes / SLOWEST_BYTES_PER_SECOND)
}

/// The series of the backend that the layers' tests are about.
#[cfg(test)]
fn of_west(metrics: &crate::telemetry::Metrics) -> crate::telemetry::BackendMetrics {
    metrics.backend("west", crate::model::Provider::Memory)
}
