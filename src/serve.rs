//! Connections: accept, watch, answer, drain.
//!
//! An accept loop of our own, because the usual one installs no timer (hyper's header timeout is
//! then inert), has no cap and does not back off when file descriptors run out. Each connection is
//! a task; a watch cuts off those that dawdle. Stopping goes in steps: readiness fails, the
//! listener closes, running requests finish, connections close after their next answer.

mod activity;
mod connection;
mod plain;
mod request;
mod roster;
mod taking;
mod tls;
mod watched;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use self::connection::Terms;
use self::roster::{Roster, Seat};
pub use self::tls::Tls;
use crate::http::Service;
use crate::telemetry::Metrics;

/// Pause after a failed accept: descriptors may have run out, and spinning frees none.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// An empty queue of accepted connections shows in this time.
const SWEEP_WAIT: Duration = Duration::from_millis(5);

/// Longest that it is swept for.
const SWEEP_LIMIT: Duration = Duration::from_secs(1);

/// How connections are treated.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Most connections at once; for more, those make room that are only waited for, or they wait in
    /// the listener's queue.
    pub max_connections: usize,
    /// Most of one address, or of one /64 of IPv6; more are closed.
    pub max_connections_per_address: Option<usize>,
    /// From the first byte of a request head to its last.
    pub header_timeout: Duration,
    /// Without a request.
    pub idle_timeout: Duration,
    /// Without the client taking a byte of the answer.
    pub write_timeout: Duration,
    /// Bytes a second that a request's body must bring if its connection is to be kept for it when all
    /// are taken. (That it must bring them at all is seen to by `http`.) 0: any.
    pub min_upload_rate: u64,
    /// Bytes a second that the client must take of its answers; 0: any.
    pub min_download_rate: u64,
}

#[cfg(test)]
impl ConnectionLimits {
    /// Those of the defaults, and one place.
    const OF_TESTS: Self = Self {
        max_connections: 1,
        max_connections_per_address: None,
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
        write_timeout: Duration::from_secs(30),
        min_upload_rate: 1024,
        min_download_rate: 1024,
    };
}

/// How the server stops.
#[derive(Clone, Copy, Debug)]
pub struct DrainPolicy {
    /// From failing readiness to closing the listener.
    pub delay: Duration,
    /// From closing the listener to cutting off what still runs.
    pub timeout: Duration,
}

/// Whether everything in flight was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Yes.
    Clean,
    /// Some connections were cut off at the drain timeout.
    CutOff(usize),
}

/// A bound listener.
pub struct Server {
    listener: TcpListener,
    limits: ConnectionLimits,
    tls: Option<Arc<Tls>>,
    metrics: Metrics,
}

/// A connection with its place among those that may be open.
struct Accepted {
    stream: TcpStream,
    address: SocketAddr,
    seat: Seat,
}

impl Server {
    /// Binds an address, where TLS is spoken if there is a certificate.
    ///
    /// # Errors
    /// The address is taken, or not of this machine.
    pub async fn bind(
        address: SocketAddr,
        limits: ConnectionLimits,
        tls: Option<Arc<Tls>>,
        metrics: Metrics,
    ) -> std::io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, limits, tls, metrics })
    }

    /// The address that is listened on, with its real port.
    ///
    /// # Errors
    /// The operating system does not tell.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` completes, then drains.
    pub async fn run(
        self,
        service: Service,
        drain: DrainPolicy,
        stop: impl Future<Output = ()>,
    ) -> Drained {
        let (drain_signal, draining) = watch::channel(false);
        let connections = TaskTracker::new();
        let proxies = service.state().settings.proxies.clone();
        let roster = Arc::new(Roster::new(self.limits, proxies, self.metrics.clone()));
        let terms = |address, seat| Terms {
            address,
            seat,
            service: service.clone(),
            limits: self.limits,
            draining: draining.clone(),
            tls: self.tls.clone(),
        };
        let serve = |Accepted { stream, address, seat }| {
            let open = self.metrics.connection_opened();
            let serving = connection::serve(stream, terms(address, seat));
            connections.spawn(async move {
                serving.await;
                drop(open);
            });
        };
        let accepting = async {
            loop {
                roster.room(|| self.somebody_waits()).await;
                if let Some(accepted) = self.accept(&roster).await {
                    serve(accepted);
                }
            }
        };
        let stopping = async {
            stop.await;
            service.state().drain();
            tracing::info!(delay_ms = drain.delay.as_millis(), "draining");
            tokio::time::sleep(drain.delay).await;
        };
        tokio::select! {
            () = accepting => {}
            () = stopping => {}
        }
        self.sweep(&roster, serve).await;
        drop(self.listener);
        drain_signal.send_replace(true);
        connections.close();
        match tokio::time::timeout(drain.timeout, connections.wait()).await {
            Ok(()) => Drained::Clean,
            Err(_) => Drained::CutOff(connections.len()),
        }
    }

    /// Takes the connections that the kernel has accepted already: closing the listener would
    /// reset them, with their requests on the way. Also where there is no room: they are the last.
    async fn sweep(&self, roster: &Arc<Roster>, serve: impl Fn(Accepted)) {
        let sweeping = async {
            while let Ok(accepted) = tokio::time::timeout(SWEEP_WAIT, self.accept(roster)).await {
                // One that its address may not have is no reason to leave out those behind it.
                if let Some(accepted) = accepted {
                    serve(accepted);
                }
            }
        };
        // Whoever keeps coming does not keep the service from stopping.
        drop(tokio::time::timeout(SWEEP_LIMIT, sweeping).await);
    }

    /// Whether the kernel has a connection for this listener.
    fn somebody_waits(&self) -> bool {
        let mut listener = [PollFd::new(&self.listener, PollFlags::IN)];
        poll(&mut listener, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    async fn accept(&self, roster: &Arc<Roster>) -> Option<Accepted> {
        match self.listener.accept().await {
            Ok((stream, address)) => {
                // An answer goes out at once, not when the next one fills the segment.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "cannot set TCP_NODELAY");
                }
                // Closed where its address has too many: before a byte of it is read.
                let seat = roster.sit(address.ip())?;
                Some(Accepted { stream, address, seat })
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::net::TcpSocket;

    use super::*;
    use crate::http::Proxies;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        max_connections: 2,
        max_connections_per_address: Some(1),
        ..ConnectionLimits::OF_TESTS
    };

    async fn connect(from: [u8; 4], to: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(to).await.unwrap()
    }

    /// Also behind one that its address may not have, and where all places are taken.
    #[tokio::test]
    async fn whoever_the_kernel_has_taken_is_swept_up() {
        let any = ([127, 0, 0, 1], 0).into();
        let server = Server::bind(any, LIMITS, None, Metrics::new()).await.unwrap();
        let to = server.local_addr().unwrap();
        let mut waiting = Vec::new();
        for from in [[127, 0, 0, 1], [127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 3]] {
            waiting.push(connect(from, to).await);
        }
        let roster = Arc::new(Roster::new(LIMITS, Proxies::default(), Metrics::new()));
        let taken = RefCell::new(Vec::new());
        server.sweep(&roster, |accepted| taken.borrow_mut().push(accepted)).await;
        let from: Vec<_> = taken.borrow().iter().map(|taken| taken.address.ip()).collect();
        let expected = [1, 2, 3].map(|last| std::net::IpAddr::from([127, 0, 0, last]));
        assert_eq!(from, expected);
    }
}
