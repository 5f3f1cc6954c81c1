use axum::http::HeaderValue;

use super::*;

fn proxies(header: ProxyHeader) -> Proxies {
    let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap());
    Proxies { trusted: trusted.to_vec(), header }
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn seen(peer: &str, header: ProxyHeader, lines: &[(&'static str, &str)]) -> ClientAddress {
    let peer = Peer { address: SocketAddr::new(peer.parse().unwrap(), 4711), tls: false };
    ClientAddress::new(Some(&peer), &headers(lines), &proxies(header))
}

const PROXY: &str = "10.0.0.1";
const STRANGER: &str = "203.0.113.9";

#[test]
fn no_socket_no_address() {
    let lines = headers(&[("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1")]);
    let nobody = ClientAddress::new(None, &lines, &proxies(ProxyHeader::XForwardedFor));
    assert_eq!(nobody, ClientAddress::default());
    assert_eq!((nobody.ip(), nobody.to_string().as_str()), (None, "-"));
    assert_eq!(ClientAddress::of(&Extensions::new()), nobody);
}

#[test]
fn a_stranger_is_never_believed() {
    let lines = [
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=192.0.2.1;proto=https"),
    ];
    for header in [ProxyHeader::XForwardedFor, ProxyHeader::Forwarded] {
        let client = seen(STRANGER, header, &lines);
        assert_eq!(client.to_string(), STRANGER);
        assert_eq!(client.scheme(), Some(Scheme::Http));
        // Negative control: the same lines from a proxy count.
        let client = seen(PROXY, header, &lines);
        assert_eq!(client.to_string(), "192.0.2.1");
        assert_eq!((client.peer(), client.scheme()), (PROXY.parse().ok(), Some(Scheme::Https)));
    }
    let nobody_trusted = Proxies::default();
    let peer = Peer { address: SocketAddr::new(PROXY.parse().unwrap(), 1), tls: true };
    let client = ClientAddress::new(Some(&peer), &headers(&lines), &nobody_trusted);
    assert_eq!((client.to_string().as_str(), client.scheme()), (PROXY, Some(Scheme::Https)));
}

#[test]
fn x_forwarded_for_is_read_from_the_right() {
    for (lines, expected) in [
        (&["192.0.2.1"][..], "192.0.2.1"),
        (&["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
        (&["6.6.6.6, 192.0.2.1, 10.0.0.2"], "192.0.2.1"),
        (&["6.6.6.6", "192.0.2.1, 10.0.0.2", "10.9.9.9"], "192.0.2.1"),
        (&["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        (&["192.0.2.1:8080"], "192.0.2.1"),
        (&["::ffff:192.0.2.1"], "192.0.2.1"),
        (&["::ffff:10.0.0.2"], "10.0.0.2"),
        (&["2001:db9::1"], "2001:db9::1"),
        (&["[2001:db9::1]"], "2001:db9::1"),
        (&["6.6.6.6,2001:db9::1, [2001:db8::5]:443"], "2001:db9::1"),
        // What cannot be read ends the way: the last that is known counts.
        (&["6.6.6.6, unknown"], PROXY),
        (&["6.6.6.6, "], PROXY),
        (&["6.6.6.6,,10.0.0.2"], "10.0.0.2"),
        (&["6.6.6.6, 192.0.2.1;x, 10.0.0.2"], "10.0.0.2"),
        (&["6.6.6.6, fe80::1%eth0"], PROXY),
        (&["6.6.6.6, 192.0.2.001"], PROXY),
        (&["6.6.6.6, example.org"], PROXY),
        (&["6.6.6.6", "\u{e9}"], PROXY),
        (&[], PROXY),
    ] {
        let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        let client = seen(PROXY, ProxyHeader::XForwardedFor, &lines);
        assert_eq!(client.to_string(), expected, "{lines:?}");
    }
    let mapped =
        seen("::ffff:10.0.0.1", ProxyHeader::XForwardedFor, &[("x-forwarded-for", "1.1.1.1")]);
    assert_eq!(mapped.to_string(), "1.1.1.1");
    assert_eq!(mapped.peer(), PROXY.parse().ok());
}

#[test]
fn forwarded_is_read_from_the_right() {
    for (lines, expected) in [
        (&["for=192.0.2.1"][..], "192.0.2.1"),
        (&["for=6.6.6.6, FOR=192.0.2.1;by=10.0.0.1"], "192.0.2.1"),
        (&["for=192.0.2.1, for=10.0.0.2"], "192.0.2.1"),
        (&["for=192.0.2.1", "for=10.0.0.2"], "192.0.2.1"),
        (&["host=\"a,b;c\";for=\"192.0.2.1:80\""], "192.0.2.1"),
        (&["host=\"a\\\",for=6.6.6.6\";for=192.0.2.1"], "192.0.2.1"),
        (&["for=\"[2001:db9::1]\""], "2001:db9::1"),
        (&["for=\"[2001:db9::1]:80\""], "2001:db9::1"),
        (&["for=\"[::ffff:192.0.2.1]\""], "192.0.2.1"),
        // What a client leaves open does not swallow what the proxy added.
        (&["for=\", for=192.0.2.1"], "192.0.2.1"),
        (&["for=\"6.6.6.6, for=\"[2001:db9::1]\""], "2001:db9::1"),
        (&["for=6.6.6.6\\, for=192.0.2.1"], "192.0.2.1"),
        (&["for=6.6.6.6, for=unknown"], PROXY),
        (&["for=6.6.6.6, for=_hidden"], PROXY),
        (&["for=6.6.6.6, for=\"2001:db9::1\""], PROXY),
        (&["for=6.6.6.6, for=[2001:db9::1]"], PROXY),
        (&["for=6.6.6.6, by=192.0.2.1"], PROXY),
        (&["for=6.6.6.6, for=1.1.1.1;for=192.0.2.1"], PROXY),
        (&["for=6.6.6.6, for"], PROXY),
        (&["for=6.6.6.6, for=\"192.0.2.1"], PROXY),
        (&["for=6.6.6.6, for=192.0.2.1\""], PROXY),
        (&["for=6.6.6.6,"], PROXY),
        (&[], PROXY),
    ] {
        let lines: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
        let client = seen(PROXY, ProxyHeader::Forwarded, &lines);
        assert_eq!(client.to_string(), expected, "{lines:?}");
    }
}

/// A proxy writes one of them and passes on the other as it came: sending both decides nothing.
#[test]
fn only_the_header_that_is_named_is_read() {
    let both = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.2")];
    assert_eq!(seen(PROXY, ProxyHeader::XForwardedFor, &both).to_string(), "192.0.2.1");
    assert_eq!(seen(PROXY, ProxyHeader::Forwarded, &both).to_string(), "192.0.2.2");
    assert_eq!(seen(PROXY, ProxyHeader::XForwardedFor, &both[1..]).to_string(), PROXY);
    assert_eq!(seen(PROXY, ProxyHeader::Forwarded, &both[..1]).to_string(), PROXY);
}

#[test]
fn the_scheme_is_that_of_the_client() {
    let scheme = |lines: &[(&'static str, &str)], header| seen(PROXY, header, lines).scheme();
    let of = |nodes, protos| {
        let lines = [("x-forwarded-for", nodes), ("x-forwarded-proto", protos)];
        scheme(&lines, ProxyHeader::XForwardedFor)
    };
    assert_eq!(of("192.0.2.1", "https"), Some(Scheme::Https));
    assert_eq!(of("192.0.2.1, 10.0.0.2", "HTTPS"), Some(Scheme::Https));
    assert_eq!(of("192.0.2.1, 10.0.0.2", "https, http"), Some(Scheme::Https));
    assert_eq!(of("6.6.6.6, 192.0.2.1, 10.0.0.2", "https, http, https"), Some(Scheme::Http));
    for (nodes, protos) in
        [("192.0.2.1", "https, http"), ("192.0.2.1", "wss"), ("192.0.2.1, 10.0.0.2", "x, http")]
    {
        assert_eq!(of(nodes, protos), None, "{nodes} {protos}");
    }
    let said = [("forwarded", "for=6.6.6.6;proto=http, for=192.0.2.1;proto=https, for=10.0.0.2")];
    assert_eq!(scheme(&said, ProxyHeader::Forwarded), Some(Scheme::Https));
    assert_eq!(scheme(&[("forwarded", "for=192.0.2.1")], ProxyHeader::Forwarded), None);
    let twice = [("forwarded", "for=192.0.2.1;proto=http;proto=https")];
    assert_eq!(seen(PROXY, ProxyHeader::Forwarded, &twice).to_string(), PROXY);
}
