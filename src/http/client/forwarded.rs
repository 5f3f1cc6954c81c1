//! What proxies say in headers, from the last word to the first.
//!
//! Each proxy adds at the right, so only what stands there is of somebody who is known: everything is
//! read from the right, quoted strings too, so that an open quote that a client sent cannot swallow
//! what a proxy added behind it. `None` is a word that cannot be read.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};

use super::{Hop, Scheme};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// `X-Forwarded-For: client, proxy, proxy`. Schemes are those of `X-Forwarded-Proto` where it has as many,
/// or one for all.
pub(super) fn for_nodes(headers: &HeaderMap) -> impl Iterator<Item = Option<Hop>> {
    let schemes: Vec<_> = items(headers, X_FORWARDED_PROTO).take(2).collect();
    let paired = match schemes[..] {
        [] | [_] => false,
        _ => items(headers, X_FORWARDED_PROTO).count() == items(headers, X_FORWARDED_FOR).count(),
    };
    let the_only = match schemes[..] {
        [Some(one)] => Scheme::parse(one),
        _ => None,
    };
    let mut each = items(headers, X_FORWARDED_PROTO);
    items(headers, X_FORWARDED_FOR).map(move |node| {
        let beside = if paired { each.next().flatten().and_then(Scheme::parse) } else { None };
        Some(Hop { ip: address(node?, true)?, scheme: the_only.or(beside) })
    })
}

/// The items of a list over all lines of a header, the last first.
fn items(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = Option<&str>> {
    headers.get_all(name).iter().rev().flat_map(|line| {
        // What is no ASCII is no address.
        let line = line.to_str().ok();
        let parts =
            line.into_iter().flat_map(|line| line.rsplit(',').map(|part| Some(part.trim())));
        parts.chain(line.is_none().then_some(None))
    })
}

/// `Forwarded: for=client;proto=https, for=proxy` (RFC 7239 §4).
pub(super) fn forwarded_elements(headers: &HeaderMap) -> impl Iterator<Item = Option<Hop>> {
    headers.get_all(axum::http::header::FORWARDED).iter().rev().flat_map(|line| {
        let mut rest = Some(line.to_str().map_err(drop));
        std::iter::from_fn(move || {
            let Ok(text) = rest.take()? else { return Some(None) };
            let (before, last) = rsplit(text, b',');
            rest = before.map(Ok);
            Some(element(last))
        })
    })
}

fn element(text: &str) -> Option<Hop> {
    let (mut ip, mut scheme) = (None, None);
    let mut rest = Some(text);
    while let Some(text) = rest {
        let (before, pair) = rsplit(text, b';');
        rest = before;
        let (name, value) = pair.trim().split_once('=')?;
        let value = unquoted(value)?;
        // No parameter may come twice (RFC 7239 §4).
        if name.eq_ignore_ascii_case("for") {
            if ip.replace(address(&value, false)?).is_some() {
                return None;
            }
        } else if name.eq_ignore_ascii_case("proto") && scheme.replace(value).is_some() {
            return None;
        }
    }
    Some(Hop { ip: ip?, scheme: scheme.as_deref().and_then(Scheme::parse) })
}

/// Cuts at the last separator that stands in no quoted string.
fn rsplit(text: &str, separator: u8) -> (Option<&str>, &str) {
    let bytes = text.as_bytes();
    let mut quoted = false;
    for (index, byte) in bytes.iter().enumerate().rev() {
        if *byte == b'"' {
            let slashes = bytes[..index].iter().rev().take_while(|byte| **byte == b'\\').count();
            let escaped = quoted && slashes % 2 == 1;
            quoted ^= !escaped;
        } else if *byte == separator && !quoted {
            return (Some(&text[..index]), &text[index + 1..]);
        }
    }
    (None, text)
}

/// A token, or what stands in a quoted string.
fn unquoted(value: &str) -> Option<String> {
    let Some(inner) = value.strip_prefix('"') else {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        return (!value.is_empty() && value.bytes().all(token)).then(|| value.to_owned());
    };
    let inner = inner.strip_suffix('"')?;
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        match char {
            '"' => return None,
            '\\' => text.push(chars.next()?),
            char => text.push(char),
        }
    }
    Some(text)
}

/// An address, with or without a port. IPv6 stands in brackets, but where `bare` allows it without.
fn address(node: &str, bare: bool) -> Option<IpAddr> {
    let in_brackets = || node.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    let ip = match node.parse::<IpAddr>() {
        Ok(IpAddr::V6(_)) if !bare => return None,
        Ok(ip) => ip,
        Err(_) => match in_brackets() {
            Some(ip) => ip.into(),
            None => node.parse::<SocketAddr>().ok()?.ip(),
        },
    };
    Some(ip.to_canonical())
}
