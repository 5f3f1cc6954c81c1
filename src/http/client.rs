//! Where a request comes from.
//!
//! `serve` puts a [`Peer`] into the extensions of each request, and the outermost layer makes the one
//! [`ClientAddress`] of it that all others use: the log, and whoever counts or notes by address.
//! A request that came over no socket, as in a test of the router, has no peer; its address is `None`,
//! and whoever limits by address lets it pass.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use axum::http::Extensions;

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address, as the operating system says it.
    pub address: SocketAddr,
    /// Whether the connection is encrypted by this process.
    pub tls: bool,
}

/// Where a request comes from. Part of the extensions of every request that a handler sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientAddress {
    ip: Option<IpAddr>,
    peer: Option<IpAddr>,
}

impl ClientAddress {
    /// Reads the [`Peer`] of a request.
    pub(super) fn new(peer: Option<&Peer>) -> Self {
        // One client has one address, whether the listener took it as IPv4 or mapped into IPv6.
        let ip = peer.map(|peer| peer.address.ip().to_canonical());
        Self { ip, peer: ip }
    }

    /// That of a request; `None` inside where there is none in it.
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().copied().unwrap_or_default()
    }

    /// The client's address: IPv4 also where it came mapped into IPv6. `None` where the request came
    /// over no socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.ip
    }

    /// The address of who opened the connection: the client, or the proxy in front.
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer
    }
}

/// The client's address, or `-` where there is none.
impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            Some(ip) => ip.fmt(f),
            None => f.write_str("-"),
        }
    }
}
