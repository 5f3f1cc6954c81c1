//! Wrappers that change whether, when or where a backend's call happens, or watch it.
//!
//! Each layer is a `Backend` around another one and adds a single concern. Order, outermost
//! first: `metered`, then (for remote backends, in later versions) retry, breaker and limit, then
//! `timeout`. `metered` is outermost, so that it sees what callers see.

mod metered;
mod timeout;

pub use metered::Metered;
pub use timeout::Timeout;
