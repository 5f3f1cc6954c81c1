//! Who is connected: a cap over all and one for each address, and who goes first when all is full.
//!
//! A listener with no place left would keep probes waiting for as long as the slowest of its clients
//! likes. So whoever is only waited for makes room: first those that have not sent their request's
//! head, then those that send or take a body more slowly than they must, then those that ask nothing.
//! A request that is worked on is never cut off for another.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::ConnectionLimits;
use super::activity::Activity;
use crate::http::{Proxies, network};
use crate::telemetry::{Metrics, Refusal};

/// How often it is looked again where nobody can make room.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// All connections of a listener.
pub(super) struct Roster {
    limits: ConnectionLimits,
    /// Whose connections are those of many.
    proxies: Proxies,
    seats: Mutex<Seats>,
    left: Notify,
    metrics: Metrics,
}

#[derive(Default)]
struct Seats {
    last: u64,
    taken: HashMap<u64, Taken>,
    of_network: HashMap<u128, usize>,
}

struct Taken {
    activity: Arc<Activity>,
    displaced: Arc<Notify>,
}

/// A connection's place; given back on drop.
pub(super) struct Seat {
    roster: Arc<Roster>,
    number: u64,
    network: u128,
    /// What the connection is doing.
    pub(super) activity: Arc<Activity>,
    displaced: Arc<Notify>,
}

impl Roster {
    pub(super) fn new(limits: ConnectionLimits, proxies: Proxies, metrics: Metrics) -> Self {
        Self { limits, proxies, seats: Mutex::default(), left: Notify::new(), metrics }
    }

    /// Waits until there is a place. Where there is none, one is made where it can be, once somebody
    /// waits for it: `is_wanted` says whether.
    pub(super) async fn room(&self, is_wanted: impl Fn() -> bool) {
        let mut counted = false;
        loop {
            let left = self.left.notified();
            {
                let seats = self.seats();
                if seats.taken.len() < self.limits.max_connections {
                    return;
                }
                if is_wanted() {
                    if !counted {
                        self.metrics.refused(Refusal::Connections);
                        counted = true;
                    }
                    self.make_room(&seats);
                }
            }
            drop(tokio::time::timeout(LOOK_AGAIN, left).await);
        }
    }

    /// Asks the one that is most in the way to go.
    fn make_room(&self, seats: &Seats) {
        let ways = seats
            .taken
            .values()
            .filter_map(|taken| Some((taken.activity.displaceable(&self.limits)?, taken)));
        if let Some((_, taken)) = ways.max_by_key(|(way, _)| *way) {
            taken.activity.displace();
            taken.displaced.notify_one();
        }
    }

    /// Takes a place for a connection; `None` where its address has as many as it may. A trusted proxy
    /// has as many as its clients need.
    pub(super) fn sit(self: &Arc<Self>, address: IpAddr) -> Option<Seat> {
        let network = network(address);
        let mut seats = self.seats();
        let of_network = seats.of_network.entry(network).or_default();
        let most = self.limits.max_connections_per_address;
        let most = most.filter(|_| !self.proxies.trusts(address.to_canonical()));
        if most.is_some_and(|most| *of_network >= most) {
            self.metrics.refused(Refusal::AddressConnections);
            return None;
        }
        *of_network += 1;
        seats.last += 1;
        let number = seats.last;
        let (activity, displaced) = (Arc::new(Activity::new()), Arc::new(Notify::new()));
        let taken = Taken { activity: Arc::clone(&activity), displaced: Arc::clone(&displaced) };
        seats.taken.insert(number, taken);
        Some(Seat { roster: Arc::clone(self), number, network, activity, displaced })
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Waits until it is asked to make room. The socket is looked at once more before it is over: what
    /// the client sent and nobody had time to read is not to be called silence.
    pub(super) async fn is_asked_to_leave(&self) {
        self.displaced.notified().await;
        tokio::task::yield_now().await;
    }

    /// Whether the connection makes room, now that it was looked at again.
    pub(super) fn leaves(&self) -> bool {
        let leaves = self.activity.makes_room(&self.roster.limits);
        if leaves {
            self.roster.metrics.refused(Refusal::Displaced);
        }
        leaves
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut seats = self.roster.seats();
        seats.taken.remove(&self.number);
        if let Some(count) = seats.of_network.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                seats.of_network.remove(&self.network);
            }
        }
        drop(seats);
        self.roster.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roster(most: usize, per_address: Option<usize>) -> Arc<Roster> {
        let limits = ConnectionLimits {
            max_connections: most,
            max_connections_per_address: per_address,
            ..ConnectionLimits::OF_TESTS
        };
        let trusted = vec!["10.0.0.0/8".parse().unwrap()];
        let proxies = Proxies { trusted, ..Proxies::default() };
        Arc::new(Roster::new(limits, proxies, Metrics::new()))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_leaves_room_for_others() {
        let roster = roster(10, Some(2));
        let first = roster.sit(address("2001:db8::1")).unwrap();
        let _second = roster.sit(address("2001:db8::2")).unwrap();
        assert!(roster.sit(address("2001:db8::3")).is_none(), "the same /64");
        let _other = roster.sit(address("192.0.2.1")).unwrap();
        let _same = roster.sit(address("::ffff:192.0.2.1")).unwrap();
        assert!(roster.sit(address("192.0.2.1")).is_none());
        drop(first);
        assert!(roster.sit(address("2001:db8::3")).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_trusted_proxy_connects_for_many() {
        let roster = roster(10, Some(1));
        let seats: Vec<_> = (0..3).map(|_| roster.sit(address("::ffff:10.0.0.1"))).collect();
        assert!(seats.iter().all(Option::is_some));
        let _other = roster.sit(address("192.0.2.1")).unwrap();
        assert!(roster.sit(address("192.0.2.1")).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_only_waited_for_makes_room() {
        let roster = roster(3, None);
        let works = roster.sit(address("192.0.2.1")).unwrap();
        works.activity.request_started();
        let idle = roster.sit(address("192.0.2.1")).unwrap();
        idle.activity.request_finished(idle.activity.request_started());
        let silent = roster.sit(address("192.0.2.2")).unwrap();
        tokio::time::advance(Duration::from_secs(1)).await;
        for displaced in [silent, idle] {
            let asked = tokio::spawn({
                let roster = Arc::clone(&roster);
                async move { roster.room(|| true).await }
            });
            displaced.is_asked_to_leave().await;
            assert!(!asked.is_finished(), "there is room once it has gone");
            assert!(displaced.leaves());
            drop(displaced);
            asked.await.unwrap();
            // Taken again, by one that works.
            let seat = roster.sit(address("192.0.2.3")).unwrap();
            seat.activity.request_started();
            std::mem::forget(seat);
        }
        let room = roster.room(|| true);
        let full = tokio::time::timeout(Duration::from_secs(60), room).await;
        assert!(full.is_err(), "who works is not displaced");
        drop(works);
        roster.room(|| true).await;
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_makes_room_where_nobody_wants_it() {
        let roster = roster(1, None);
        let silent = roster.sit(address("192.0.2.1")).unwrap();
        let minute = Duration::from_secs(60);
        for wanted in [false, true] {
            let room = tokio::spawn({
                let roster = Arc::clone(&roster);
                async move { roster.room(|| wanted).await }
            });
            let asked = tokio::time::timeout(minute, silent.is_asked_to_leave()).await;
            assert_eq!(asked.is_ok(), wanted);
            room.abort();
        }
    }
}
