//! Proxies whose word is taken, as configured.

use proof_storage::config::ProxyHeader;

use super::{load, mistakes};

const PUBLIC: (&str, &str) = ("STORAGE_PUBLIC_URL", "https://proofs.example");

#[test]
fn addresses_and_networks_are_read() {
    let given = "10.0.0.7, 10.1.0.0/16,2001:db8::/32 , ::1";
    let loaded = load(&[("STORAGE_TRUSTED_PROXIES", given), PUBLIC]).unwrap();
    let proxies = loaded.config.server.proxies;
    let shown: Vec<_> = proxies.trusted.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.7/32", "10.1.0.0/16", "2001:db8::/32", "::1/128"]);
    assert_eq!(proxies.header, ProxyHeader::XForwardedFor);
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let named =
        load(&[("STORAGE_TRUSTED_PROXIES", given), PUBLIC, ("STORAGE_PROXY_HEADER", "forwarded")]);
    assert_eq!(named.unwrap().config.server.proxies.header, ProxyHeader::Forwarded);
}

#[test]
fn what_is_no_network_or_everybody_is_refused() {
    for (given, text) in [
        ("10.0.0.0/33", "is no network"),
        ("proxy.example", "is no network"),
        ("10.0.0.1,", "is no network"),
        ("10.0.0.1:80", "is no network"),
        ("0.0.0.0/0", "trusts everybody"),
        ("::/0", "trusts everybody"),
        ("10.0.0.1/8", "write `10.0.0.0/8`"),
        ("::ffff:10.0.0.1", "IPv4 in IPv6"),
    ] {
        let found = mistakes(load(&[("STORAGE_TRUSTED_PROXIES", given), PUBLIC]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].starts_with("STORAGE_TRUSTED_PROXIES: ") && found[0].contains(text),
            "{found:?}"
        );
    }
    let found = mistakes(load(&[("STORAGE_PROXY_HEADER", "x-real-ip")]));
    assert!(found[0].contains("write `x-forwarded-for` or `forwarded`"), "{found:?}");
}

#[test]
fn what_means_nothing_alone_is_warned_of() {
    let alone = load(&[("STORAGE_PROXY_HEADER", "forwarded")]).unwrap();
    assert!(
        alone.warnings[0].starts_with("STORAGE_PROXY_HEADER has no effect"),
        "{:?}",
        alone.warnings
    );
    let unreachable = load(&[("STORAGE_TRUSTED_PROXIES", "10.0.0.1")]).unwrap();
    assert!(
        unreachable.warnings[0].contains("STORAGE_PUBLIC_URL is not"),
        "{:?}",
        unreachable.warnings
    );
}
