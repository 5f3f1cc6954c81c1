//! A budget of bytes that request and response bodies may hold in memory at once.
//!
//! Refusing early costs microseconds; running out of memory costs every request in flight. A part is
//! taken for what is held and not for what is announced: who is slow to send or to take would else hold
//! much of it with little. Of what is left, no one client gets all: others are served beside it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::client::ClientAddress;
use super::problem::{Code, Problem};
use crate::telemetry::{Metrics, Refusal};

/// Parts are of whole blocks of this many bytes. What is less is not counted: a connection has more than
/// that for itself, and so nobody who sends or asks for little is refused for what others hold.
const BLOCK_BYTES: u64 = 1024;

/// The budget. Cheap to clone.
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

struct Inner {
    /// Blocks in all, and of those the most that one client may hold.
    total: u64,
    of_one: u64,
    held: Mutex<Held>,
    metrics: Metrics,
}

#[derive(Default)]
struct Held {
    all: u64,
    of_network: HashMap<u128, u64>,
}

/// A part of the budget, given back on drop.
pub struct Reservation {
    budget: Budget,
    /// Whose it is: one address of IPv4, a /64 of IPv6. `None`: of nobody who could be told apart.
    network: Option<u128>,
    blocks: u64,
}

impl Budget {
    /// A budget of this many bytes. One client may hold three quarters of it.
    pub fn new(bytes: u64, metrics: Metrics) -> Self {
        let total = (bytes / BLOCK_BYTES).max(1);
        let of_one = (total / 4 * 3).max(1);
        Self(Arc::new(Inner { total, of_one, held: Mutex::default(), metrics }))
    }

    /// Takes a part. A request that is larger than all that its client may hold gets that much: alone
    /// it may run, whatever it needs.
    ///
    /// # Errors
    /// 503 with `Retry-After` where too much is held.
    pub fn reserve(&self, client: ClientAddress, bytes: u64) -> Result<Reservation, Problem> {
        let mut part = Reservation { budget: self.clone(), network: client.network(), blocks: 0 };
        part.grow_to(bytes)?;
        Ok(part)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservation {
    /// Makes it as large as this, unless it is larger.
    ///
    /// # Errors
    /// 503 with `Retry-After` where too much is held. The part stays as it is.
    pub fn grow_to(&mut self, bytes: u64) -> Result<(), Problem> {
        if self.try_grow_to(bytes) {
            return Ok(());
        }
        self.budget.0.metrics.refused(Refusal::MemoryBudget);
        Err(Problem::new(
            Code::Unavailable,
            "the service holds as many bodies in memory as it may: try again shortly",
        ))
    }

    /// The same for who can do without.
    pub fn try_grow_to(&mut self, bytes: u64) -> bool {
        let Inner { total, of_one, .. } = *self.budget.0;
        let most = if self.network.is_some() { of_one } else { total };
        let wanted = (bytes / BLOCK_BYTES).min(most);
        let more = wanted.saturating_sub(self.blocks);
        if more == 0 {
            return true;
        }
        let mut held = self.budget.held();
        let by_client = self.network.and_then(|network| held.of_network.get(&network)).copied();
        if held.all + more > total || by_client.unwrap_or(0) + more > most {
            return false;
        }
        held.all += more;
        if let Some(network) = self.network {
            *held.of_network.entry(network).or_default() += more;
        }
        self.blocks = wanted;
        true
    }

    /// Gives back what is beyond this.
    pub fn shrink_to(&mut self, bytes: u64) {
        self.keep(bytes / BLOCK_BYTES);
    }

    fn keep(&mut self, blocks: u64) {
        let less = self.blocks.saturating_sub(blocks);
        if less == 0 {
            return;
        }
        self.blocks -= less;
        let mut held = self.budget.held();
        held.all -= less;
        if let Some(network) = self.network
            && let Some(of_client) = held.of_network.get_mut(&network)
        {
            *of_client -= less;
            if *of_client == 0 {
                held.of_network.remove(&network);
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.keep(0);
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::*;
    use crate::http::{Peer, Proxies};

    const KIB: u64 = 1024;

    fn budget(kib: u64) -> Budget {
        Budget::new(kib * KIB, Metrics::new())
    }

    fn at(address: &str) -> ClientAddress {
        let peer = Peer { address: format!("{address}:1").parse().unwrap(), tls: false };
        ClientAddress::new(Some(&peer), &HeaderMap::new(), &Proxies::default())
    }

    fn nobody() -> ClientAddress {
        ClientAddress::default()
    }

    #[test]
    fn gives_back_on_drop_and_never_blocks_a_lone_giant() {
        let budget = budget(10);
        let first = budget.reserve(nobody(), 8 * KIB).unwrap();
        let refused = budget.reserve(nobody(), 4 * KIB).err().unwrap();
        assert_eq!(refused.code(), Code::Unavailable);
        let small = budget.reserve(nobody(), KIB).unwrap();
        drop(first);
        drop(small);
        let giant = budget.reserve(nobody(), u64::MAX).unwrap();
        assert!(budget.reserve(nobody(), KIB).is_err());
        assert!(budget.reserve(nobody(), KIB - 1).is_ok(), "too little to count");
        drop(giant);
        assert!(budget.reserve(nobody(), KIB).is_ok());
    }

    #[test]
    fn a_part_grows_and_shrinks_with_what_is_held() {
        let budget = budget(10);
        let mut first = budget.reserve(nobody(), 0).unwrap();
        let second = budget.reserve(nobody(), 5 * KIB).unwrap();
        assert!(first.try_grow_to(5 * KIB));
        assert!(!first.try_grow_to(6 * KIB));
        drop(second);
        assert!(first.grow_to(6 * KIB).is_ok());
        assert!(first.try_grow_to(1), "it is larger");
        assert!(budget.reserve(nobody(), 5 * KIB).is_err());
        first.shrink_to(0);
        let _rest = budget.reserve(nobody(), 10 * KIB).unwrap();
        assert!(!first.try_grow_to(KIB));
    }

    #[test]
    fn one_client_leaves_some_of_it_to_others() {
        let budget = budget(16);
        let mut parts = Vec::new();
        while let Ok(part) = budget.reserve(at("[2001:db8::1]"), KIB) {
            parts.push(part);
        }
        assert_eq!(parts.len(), 12);
        assert!(budget.reserve(at("[2001:db8::2]"), KIB).is_err(), "the same /64");
        let other = budget.reserve(at("192.0.2.1"), 4 * KIB).unwrap();
        assert!(budget.reserve(at("192.0.2.2"), KIB).is_err(), "that is all");
        drop(other);
        drop(parts);
        assert!(budget.held().of_network.is_empty());
        let giant = budget.reserve(at("192.0.2.1"), u64::MAX).unwrap();
        assert_eq!(giant.blocks, 12);
    }
}
