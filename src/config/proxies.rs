//! `server.trusted_proxies`: whose word is taken for where a request comes from.

use std::net::IpAddr;

use ipnet::IpNet;

use super::parse;
use super::reader::Reader;
use super::settings as name;

/// Proxies in front of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxiesConfig {
    /// `STORAGE_TRUSTED_PROXIES`: their networks. Default: none, no header is believed.
    pub trusted: Vec<IpNet>,
    /// `STORAGE_PROXY_HEADER`: the header that they write; the other is ignored. Default
    /// `x-forwarded-for`.
    pub header: ProxyHeader,
}

/// In which header proxies say for whom they ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`, with `X-Forwarded-Proto`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

const HEADERS: &[(&str, ProxyHeader)] =
    &[("x-forwarded-for", ProxyHeader::XForwardedFor), ("forwarded", ProxyHeader::Forwarded)];

impl ProxiesConfig {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let trusted = reader.option(&name::TRUSTED_PROXIES, networks);
        let header = reader.value(&name::PROXY_HEADER, parse::word(HEADERS));
        if reader.says(&name::PROXY_HEADER) && !reader.says(&name::TRUSTED_PROXIES) {
            reader.warn("STORAGE_PROXY_HEADER has no effect without STORAGE_TRUSTED_PROXIES");
        }
        if trusted.is_some() && !reader.says(&name::PUBLIC_URL) {
            let text = "STORAGE_TRUSTED_PROXIES is set and STORAGE_PUBLIC_URL is not: URLs in results are \
                        those of the listening address, which callers in front of a proxy do not reach";
            reader.warn(text);
        }
        Self { trusted: trusted.unwrap_or_default(), header }
    }
}

/// Addresses and networks, with commas between.
fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    text.split(',').map(|part| network(part.trim())).collect()
}

fn network(text: &str) -> Result<IpNet, String> {
    const REMEDY: &str =
        "write addresses and networks such as 10.0.0.7, 10.1.0.0/16 or 2001:db8::/32";
    let parsed = match text.parse::<IpAddr>() {
        Ok(address) => Some(IpNet::from(address)),
        Err(_) => text.parse().ok(),
    };
    let network: IpNet = parsed.ok_or_else(|| format!("`{text}` is no network: {REMEDY}"))?;
    if let IpAddr::V6(address) = network.network()
        && address.to_ipv4_mapped().is_some()
    {
        return Err(format!("`{text}` is IPv4 in IPv6's clothes: {REMEDY}"));
    }
    if network.prefix_len() == 0 {
        return Err(format!(
            "`{text}` trusts everybody, so that every caller could choose its address: name the \
             networks of your proxies alone"
        ));
    }
    if network.addr() != network.network() {
        let meant = network.trunc();
        return Err(format!(
            "`{text}` is an address within a network: write `{meant}`, or the address alone"
        ));
    }
    Ok(network)
}
