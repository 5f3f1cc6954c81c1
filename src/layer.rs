//! Wrappers that change whether, when or where a backend's call happens, or watch it.
//!
//! Each layer is a `Backend` around another one and adds a single concern. Order, outermost first:
//!
//! - `metered` sees what callers see, every retry as a part of one call.
//! - `retry` is the only one that calls again; the budget is of all callers together.
//! - `breaker` is asked for each attempt, so retries end at once where a backend is given up.
//! - `limit` is below it, so that a call which is refused anyway waits for no place.
//! - `timeout` is of one attempt, and does not run while a call waits for its place.
//!
//! The embedded store needs the outermost and the innermost only: it cannot be away.

mod breaker;
mod limit;
mod metered;
mod retry;
mod timeout;

pub use breaker::{Breaker, BreakerHandle, BreakerPolicy, BreakerStatus};
pub use limit::{Limit, LimitPolicy};
pub use metered::Metered;
pub use retry::{Retry, RetryPolicy};
pub use timeout::Timeout;
