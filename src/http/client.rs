//! Where a request comes from.
//!
//! `serve` puts a [`Peer`] into the extensions of each request, and the outermost layer makes the one
//! [`ClientAddress`] of it that all others use: the log, and whoever counts or notes by address.
//! A request that came over no socket, as in a test of the router, has no peer; its address is `None`,
//! and whoever limits by address lets it pass.
//!
//! What a header says of the client is believed only from a trusted proxy, and only in the one header
//! that the configuration names: proxies pass on the other one as their client sent it, so reading
//! both would let any client choose its address.

mod forwarded;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use axum::http::{Extensions, HeaderMap};
use ipnet::IpNet;

use self::forwarded::{for_nodes, forwarded_elements};

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address, as the operating system says it.
    pub address: SocketAddr,
    /// Whether the connection is encrypted by this process.
    pub tls: bool,
}

/// Whose word is taken for where a request comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Their networks; none is trusted where this is empty.
    pub trusted: Vec<IpNet>,
    /// The header that they write.
    pub header: ProxyHeader,
}

impl Proxies {
    /// Whether the word of whoever is at this address is taken.
    pub fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&ip))
    }
}

/// In which header proxies say for whom they ask. The other is never looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`, and `X-Forwarded-Proto` beside it.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// How a client speaks to whoever took its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Reads what a proxy says. `None` for anything else, WebSockets included.
    fn parse(text: &str) -> Option<Self> {
        [Self::Http, Self::Https].into_iter().find(|s| text.eq_ignore_ascii_case(s.as_str()))
    }
}

/// Where a request comes from. Part of the extensions of every request that a handler sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientAddress {
    ip: Option<IpAddr>,
    peer: Option<IpAddr>,
    scheme: Option<Scheme>,
}

/// What one proxy says of who asked it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hop {
    ip: IpAddr,
    scheme: Option<Scheme>,
}

impl ClientAddress {
    /// Follows a request from its peer backwards, for as long as the word of the one before can be
    /// trusted: the result is the first that is no trusted proxy. A trusted proxy that says nothing,
    /// or nothing that can be read, is taken for the client itself.
    pub(super) fn new(peer: Option<&Peer>, headers: &HeaderMap, proxies: &Proxies) -> Self {
        let Some(peer) = peer else { return Self::default() };
        // One client has one address, whether the listener took it as IPv4 or mapped into IPv6.
        let ip = peer.address.ip().to_canonical();
        let scheme = Some(if peer.tls { Scheme::Https } else { Scheme::Http });
        let mut found = Self { ip: Some(ip), peer: Some(ip), scheme };
        if !proxies.trusts(ip) {
            return found;
        }
        let mut follow = |hops: &mut dyn Iterator<Item = Option<Hop>>| {
            for hop in hops.map_while(|hop| hop) {
                (found.ip, found.scheme) = (Some(hop.ip), hop.scheme);
                if !proxies.trusts(hop.ip) {
                    return;
                }
            }
        };
        match proxies.header {
            ProxyHeader::XForwardedFor => follow(&mut for_nodes(headers)),
            ProxyHeader::Forwarded => follow(&mut forwarded_elements(headers)),
        }
        found
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

    /// What one client has of addresses, for whoever counts by it. `None` as of [`Self::ip`].
    pub fn network(&self) -> Option<u128> {
        self.ip.map(network)
    }

    /// The address of who opened the connection: the client, or the proxy in front.
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// How the client itself speaks. `None` where a proxy does not say, or there is no socket.
    pub fn scheme(&self) -> Option<Scheme> {
        self.scheme
    }
}

/// What one client has of addresses: one of IPv4, a /64 of IPv6.
pub fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        // Below the first /64 of IPv6, which is nobody's.
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) << 64,
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

#[cfg(test)]
mod tests;
