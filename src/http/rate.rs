//! How often somebody may ask: by address before anybody is asked who they are, by token after.
//!
//! ```text
//! Service::call ─▶ RateLimits::account ─▶ Account::charge_address ─▶ gate ─▶ charge_caller, charge_more
//!                                                    429 ◀┴──────────────────────────┘
//! every answer  ◀─ Account::tell: RateLimit, RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-11)
//! ```
//! Guessing tokens costs as much as any other request. Idle keys are shed; beyond a bound IPv6 is counted
//! by the /48, and beyond twice that all share counts, so that no flood of addresses makes memory grow.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use governor::clock::Clock;
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use super::client::ClientAddress;
use super::problem::{Code, Problem};
use crate::access::{Caller, Issuer};
use crate::model::Rate;
use crate::telemetry::{Metrics, Refusal};

/// The present rates of all, and what is left of them.
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// The rates themselves.
pub const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Keys with a count of their own, and as many again of /48s and IPv4; at some 100 bytes each.
const MAX_KEYS: usize = 65_536;

/// Counts that the others share.
const SHARED: u64 = 1024;

/// How often keys that are as good as new are forgotten.
const SHED_IDLE: Duration = Duration::from_secs(30);

/// What rates there are. `None`: any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// Requests from one address.
    pub address: Option<Rate>,
    /// Those of them that are not GET, HEAD or OPTIONS.
    pub address_writes: Option<Rate>,
    /// Requests of one caller.
    pub token: Option<Rate>,
    /// Those of them that are not GET, HEAD or OPTIONS.
    pub token_writes: Option<Rate>,
}

/// Who is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    /// IPv4, or the /64 that one client of IPv6 has at least.
    Address(u64, bool),
    /// A token, or the subject of an identity provider.
    Caller([u8; 16], Arc<str>),
    /// One of many that came when there were too many.
    Shared(u64),
}

impl Subject {
    fn of_address(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::Address(u64::from(v4.to_bits()), false),
            IpAddr::V6(v6) => Self::Address((v6.to_bits() >> 64) as u64, true),
        }
    }

    fn of_caller(caller: &Caller) -> Option<Self> {
        match caller.issuer {
            Issuer::Anyone => None,
            Issuer::Token(id) | Issuer::Jwt(id, _) => {
                Some(Self::Caller(id, Arc::clone(&caller.name)))
            }
        }
    }

    /// Of IPv6 the /48 that one site has: 65 536 networks are cheap to come by.
    fn coarse(&self) -> Option<Self> {
        match self {
            Self::Address(bits, true) => Some(Self::Address(bits & !0xffff, true)),
            _ => None,
        }
    }

    fn shared(&self) -> Self {
        let hash = match self {
            Self::Address(bits, _) => xxh3_64(&bits.to_le_bytes()),
            Self::Caller(id, name) => xxh3_64(id) ^ xxh3_64(name.as_bytes()),
            Self::Shared(place) => *place,
        };
        Self::Shared(hash % SHARED)
    }
}

/// Tokio's clock, which tests can stop.
#[derive(Clone, Copy, Debug)]
struct Ticks(Instant);

impl Clock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

type Counts = RateLimiter<Subject, DashMapStateStore<Subject>, Ticks, StateInformationMiddleware>;

/// One rate, for everybody it is of.
struct Limit {
    name: &'static str,
    rate: Rate,
    ticks: Ticks,
    counts: Counts,
    /// At most so many keys: counting them takes every lock of the map.
    known: std::sync::atomic::AtomicUsize,
    max_keys: usize,
    of_writes: bool,
    refusal: Refusal,
}

/// How somebody stands with a rate.
#[derive(Clone, Copy, Debug)]
struct Standing {
    name: &'static str,
    rate: Rate,
    left: u32,
}

impl Limit {
    fn new(name: &'static str, rate: Rate, of_writes: bool, refusal: Refusal) -> Self {
        let quota = Quota::with_period(rate.interval()).unwrap_or(Quota::per_second(rate.burst()));
        let quota = quota.allow_burst(rate.burst());
        let ticks = Ticks(Instant::now());
        let counts = RateLimiter::dashmap_with_clock(quota, ticks).with_middleware();
        let (known, max_keys) = (0.into(), MAX_KEYS);
        Self { name, rate, ticks, counts, known, max_keys, of_writes, refusal }
    }

    /// Takes so many of what a subject has left; at most all of it that there can be.
    fn charge(&self, subject: &Subject, cost: NonZeroU32) -> Result<Standing, Duration> {
        use std::sync::atomic::Ordering::Relaxed;
        let mut known = self.known.load(Relaxed);
        if known >= self.max_keys {
            // An estimate that is never too low: who comes with all of its burst may be new.
            known = self.counts.len();
            self.known.store(known, Relaxed);
        }
        let coarse = match known {
            _ if known < self.max_keys => None,
            _ if known < 2 * self.max_keys => subject.coarse(),
            _ => Some(subject.shared()),
        };
        let subject = coarse.as_ref().unwrap_or(subject);
        let cost = cost.min(self.rate.burst());
        let left = match self.counts.check_key_n(subject, cost) {
            Ok(Ok(state)) => state.remaining_burst_capacity(),
            Ok(Err(until)) => return Err(until.wait_time_from(self.ticks.now())),
            // More than the burst: never asked for.
            Err(_) => 0,
        };
        if left + cost.get() == self.rate.burst().get() {
            self.known.fetch_add(1, Relaxed);
        }
        Ok(Standing { name: self.name, rate: self.rate, left })
    }

    fn shed_idle(&self) {
        self.counts.retain_recent();
        self.known.store(self.counts.len(), std::sync::atomic::Ordering::Relaxed);
    }
}

/// All rates that are set.
pub struct RateLimits {
    address: Vec<Limit>,
    caller: Vec<Limit>,
    metrics: Metrics,
}

impl RateLimits {
    /// As configured.
    pub fn new(rates: &Rates, metrics: Metrics) -> Self {
        let limits = |name: [&'static str; 2], rates: [Option<Rate>; 2], refusal| {
            let [all, writes] = rates;
            let all = all.map(|rate| Limit::new(name[0], rate, false, refusal));
            let writes = writes.map(|rate| Limit::new(name[1], rate, true, refusal));
            all.into_iter().chain(writes).collect()
        };
        Self {
            address: limits(
                ["address", "address-writes"],
                [rates.address, rates.address_writes],
                Refusal::AddressRate,
            ),
            caller: limits(
                ["token", "token-writes"],
                [rates.token, rates.token_writes],
                Refusal::TokenRate,
            ),
            metrics,
        }
    }

    /// The account of a request; `None` where there is no rate.
    pub fn account(self: &Arc<Self>, method: &Method, client: ClientAddress) -> Option<Account> {
        if self.address.is_empty() && self.caller.is_empty() {
            return None;
        }
        let writes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let address = client.ip().map(Subject::of_address);
        let limits = Arc::clone(self);
        Some(Account(Arc::new(Inner { limits, writes, address, standings: Mutex::default() })))
    }

    /// Forgets whom it need not remember, for ever. To be spawned once beside the service.
    pub async fn upkeep(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(SHED_IDLE);
        loop {
            ticks.tick().await;
            self.address.iter().chain(&self.caller).for_each(Limit::shed_idle);
        }
    }
}

/// What one request takes of the rates. Part of its extensions.
#[derive(Clone)]
pub struct Account(Arc<Inner>);

struct Inner {
    limits: Arc<RateLimits>,
    writes: bool,
    address: Option<Subject>,
    standings: Mutex<Vec<Standing>>,
}

impl Account {
    /// Takes one request from its address.
    ///
    /// # Errors
    /// 429: none is left.
    pub fn charge_address(&self) -> Result<(), Problem> {
        self.charge(&self.0.limits.address, self.0.address.as_ref(), |_| 1)
    }

    /// Takes one request from who makes it.
    ///
    /// # Errors
    /// 429: none is left.
    pub fn charge_caller(&self, caller: &Caller) -> Result<(), Problem> {
        let subject = Subject::of_caller(caller);
        self.charge(&self.0.limits.caller, subject.as_ref(), |_| 1)
    }

    /// Takes what a request costs beyond one, from both; with that one at most the whole burst, as there
    /// is never more.
    ///
    /// # Errors
    /// 429: less is left.
    pub fn charge_more(&self, caller: Option<&Caller>, more: u32) -> Result<(), Problem> {
        let cost = |rate: Rate| more.min(rate.burst().get() - 1);
        self.charge(&self.0.limits.address, self.0.address.as_ref(), cost)?;
        let subject = caller.and_then(Subject::of_caller);
        self.charge(&self.0.limits.caller, subject.as_ref(), cost)
    }

    fn charge(
        &self,
        limits: &[Limit],
        subject: Option<&Subject>,
        cost: impl Fn(Rate) -> u32,
    ) -> Result<(), Problem> {
        let Some(subject) = subject else { return Ok(()) };
        for limit in limits.iter().filter(|limit| self.0.writes || !limit.of_writes) {
            let Some(cost) = NonZeroU32::new(cost(limit.rate)) else { continue };
            let charged = limit.charge(subject, cost);
            let empty = Standing { name: limit.name, rate: limit.rate, left: 0 };
            self.note(*charged.as_ref().unwrap_or(&empty));
            if let Err(wait) = charged {
                self.0.limits.metrics.refused(limit.refusal);
                let detail = format!(
                    "more requests than the rate `{}` allows ({}): wait for as long as Retry-After \
                     says, and send fewer",
                    limit.name, limit.rate
                );
                return Err(Problem::new(Code::RateLimited, detail).after(wait));
            }
        }
        Ok(())
    }

    fn note(&self, standing: Standing) {
        let mut standings = self.0.standings.lock().unwrap_or_else(PoisonError::into_inner);
        standings.retain(|other| other.name != standing.name);
        standings.push(standing);
    }

    /// Says in an answer how its caller stands.
    pub fn tell(&self, headers: &mut HeaderMap) {
        let standings = self.0.standings.lock().unwrap_or_else(PoisonError::into_inner);
        if standings.is_empty() {
            return;
        }
        let policies = standings.iter().map(|Standing { name, rate, .. }| {
            let window = seconds(rate.window());
            format!("\"{name}\";q={};w={window}", rate.burst())
        });
        let limits = standings.iter().map(|Standing { name, rate, left }| {
            let until_full = rate.interval() * rate.burst().get().saturating_sub(*left);
            format!("\"{name}\";r={left};t={}", seconds(until_full))
        });
        let join = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(", ");
        for (name, text) in [
            (RATE_LIMIT_POLICY, join(&mut policies.into_iter())),
            (RATE_LIMIT, join(&mut limits.into_iter())),
        ] {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(name, value);
            }
        }
    }
}

/// Whole seconds, never less than it takes.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests;
