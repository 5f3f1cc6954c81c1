//! Addresses that the service does not call unless it is told to: those that only the machine below
//! it answers, among them where clouds give out credentials.
//!
//! Link-local is where metadata services are (169.254.169.254 of AWS, Google, Azure and others,
//! fe80::/10). Some are elsewhere: AWS over IPv6, Alibaba, Oracle, and the resolver of Azure's hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Outside of link-local.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba Cloud
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle Cloud, older instances
    Ipv4Addr::new(168, 63, 129, 16),   // Azure, the host
];
const METADATA_V6: [Ipv6Addr; 4] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), // AWS
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),  // AWS, EKS Pod Identity
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),   // Scaleway
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),  // Google Cloud
];

/// Whether configured endpoints may be at addresses that only the machine answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// Not at link-local addresses, nor at those of metadata services.
    #[default]
    Guarded,
    /// Anywhere.
    Anywhere,
}

impl Reach {
    /// Whether an address may be called. An IPv4 address is looked at in whatever form of IPv6 it
    /// comes: mapped, compatible, 6to4, or behind a prefix of NAT64, the well-known or a local one.
    pub fn allows(self, address: IpAddr) -> bool {
        self == Self::Anywhere || !is_guarded(address)
    }

    /// Those of a name's addresses that may be called.
    ///
    /// # Errors
    /// There are some, and none of them may.
    pub fn filter(self, name: &str, addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, String> {
        let known = !addresses.is_empty();
        let allowed: Vec<_> =
            addresses.into_iter().filter(|address| self.allows(*address)).collect();
        if known && allowed.is_empty() { Err(refusal(name)) } else { Ok(allowed) }
    }

    /// Whether the host of a URL may be called, as far as that shows without asking for its
    /// addresses. A name is allowed here, and looked at again each time that it is resolved.
    ///
    /// # Errors
    /// It is an address that may not.
    pub fn check_host(self, host: &str) -> Result<(), String> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match bare.parse() {
            Ok(address) if !self.allows(address) => Err(refusal(bare)),
            _ => Ok(()),
        }
    }
}

fn refusal(name: &str) -> String {
    format!(
        "{name} is a link-local address or one of a metadata service, which gives out the machine's \
         credentials: name another, or set STORAGE_ALLOW_LINK_LOCAL=true"
    )
}

fn is_guarded(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || METADATA_V4.contains(&v4),
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || METADATA_V6.contains(&v6)
                || inner(v6).is_some_and(|v4| is_guarded(v4.into()))
                || translated(v6).into_iter().flatten().any(|v4| is_guarded(v4.into()))
        }
    }
}

/// The IPv4 address that an IPv6 address stands for.
fn inner(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = v6.segments();
    let [.., a, b] = segments;
    let of = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => Some(of(a, b)),
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some(of(a, b)),
        [0x2002, high, low, ..] => Some(of(high, low)),
        _ => None,
    }
}

/// The IPv4 addresses that one below the local prefix of NAT64 (RFC 8215) can stand for: how long the
/// prefix in use is, and so where in it they are (RFC 6052 §2.2), does not show.
fn translated(v6: Ipv6Addr) -> Option<[Ipv4Addr; 4]> {
    let [0x64, 0xff9b, 1, ..] = v6.segments() else { return None };
    let places = [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], [12, 13, 14, 15]];
    let octets = v6.octets();
    Some(places.map(|place| Ipv4Addr::from(place.map(|at: usize| octets[at]))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_are_not_called_in_any_guise() {
        for text in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.0.1",
            "100.100.100.200",
            "192.0.0.192",
            "168.63.129.16",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fe80::1",
            "febf::1",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "fd00:ec2::23",
            "fd00:42::42",
            "64:ff9b:1::169.254.169.254",
            "64:ff9b:1:abcd:ab:cdef:169.254.169.254",
            "64:ff9b:1:a9fe:a9:fe00::",
            "64:ff9b:1:aba9:fe:a9fe::",
            "64:ff9b:1:abcd:a9:fea9:fe00:0",
        ] {
            let address = text.parse().unwrap();
            assert!(!Reach::Guarded.allows(address), "{text}");
            assert!(Reach::Anywhere.allows(address), "{text}");
            assert!(Reach::Guarded.check_host(text).is_err(), "{text}");
            assert!(Reach::Guarded.check_host(&format!("[{text}]")).is_err(), "{text}");
        }
    }

    #[test]
    fn what_a_backend_is_usually_at_is_called() {
        for text in [
            "127.0.0.1",
            "10.0.0.7",
            "192.168.1.1",
            "100.64.0.1",
            "::1",
            "fd00::1",
            "2001:db8::1",
            "64:ff9b:1::10.0.0.7",
        ] {
            assert!(Reach::Guarded.allows(text.parse().unwrap()), "{text}");
        }
        for name in ["localhost", "s3.example.org", "169.254.example.org"] {
            assert_eq!(Reach::Guarded.check_host(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn of_a_name_what_is_allowed_is_left() {
        let (good, bad) = ("10.0.0.1".parse().unwrap(), "169.254.169.254".parse().unwrap());
        assert_eq!(Reach::Guarded.filter("x", vec![bad, good]), Ok(vec![good]));
        assert!(Reach::Guarded.filter("x", vec![bad]).unwrap_err().contains("x is a link-local"));
        assert_eq!(Reach::Anywhere.filter("x", vec![bad]), Ok(vec![bad]));
        assert_eq!(Reach::Guarded.filter("x", vec![]), Ok(vec![]));
    }
}
