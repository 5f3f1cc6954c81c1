//! Certificates and keys, as configured.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use proof_storage::config::{Loaded, Problems};

use super::{load, mistakes};
use crate::certificates::{Authority, Pair, write_key};

fn over(cert: &Path, key: &Path, more: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let pair =
        [("STORAGE_TLS_CERT", cert.to_str().unwrap()), ("STORAGE_TLS_KEY", key.to_str().unwrap())];
    load(&[&pair[..], more].concat())
}

/// All mistakes of a pair as one text.
fn wrong(cert: &Path, key: &Path, more: &[(&str, &str)]) -> String {
    mistakes(over(cert, key, more)).join("\n")
}

#[test]
fn a_pair_is_taken_with_its_end_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = Authority::new("some").server_in(2020..2120).write(folder.path());
    let loaded = over(&cert, &key, &[]).unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let tls = loaded.config.server.tls.clone().unwrap();
    assert!(tls.admin && tls.identity.client_roots.is_none());
    let shown = format!("{:?}", loaded.config);
    assert!(shown.contains("2120-01-01T00:00:00Z"), "{shown}");
    let pem = std::fs::read_to_string(key).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    assert!(!shown.contains(&body[..16]));
}

/// PKCS#8 is what the other tests have; these are the two older forms, as `openssl` writes them.
#[test]
fn keys_come_in_three_forms() {
    let folder = tempfile::tempdir().unwrap();
    for (pem, cert) in [(PKCS1_KEY, PKCS1_CERT), (SEC1_KEY, SEC1_CERT)] {
        let (cert, key) = Pair { cert: cert.into(), key: pem.into() }.write(folder.path());
        let loaded = over(&cert, &key, &[]).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(loaded.config.server.tls.is_some());
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("some");
    let pair = authority.server();
    let (cert, key) = pair.write(folder.path());
    let path = |name: &str| folder.path().join(name);
    let file = |name: &str, text: &str| {
        write_key(&path(name), text);
        path(name)
    };
    let other = file("other.key", &authority.server().key);
    let found = wrong(&cert, &other, &[]);
    assert!(
        found.starts_with("STORAGE_TLS_KEY: ") && found.contains("not the key of the first"),
        "{found}"
    );
    let turned = file("turned.crt", &format!("{}{}", authority.pem, pair.cert));
    assert!(wrong(&turned, &key, &[]).contains("before those of authorities"));
    let whole = file("whole.crt", &format!("{}{}", pair.cert, authority.pem));
    over(&whole, &key, &[]).unwrap();

    let (none, missing) = (file("none", "nothing\n"), path("missing"));
    let half = file("half.crt", &pair.cert[..pair.cert.len() / 2]);
    let no_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let no_der = file("no.crt", no_der);
    for (cert, key, place, text) in [
        (&none, &key, "STORAGE_TLS_CERT", "has no certificate"),
        (&missing, &key, "STORAGE_TLS_CERT", "cannot read"),
        (&half, &key, "STORAGE_TLS_CERT", "is not PEM"),
        (&no_der, &key, "STORAGE_TLS_CERT", "is no certificate"),
        (&cert, &none, "STORAGE_TLS_KEY", "has no private key"),
        (&cert, &cert, "STORAGE_TLS_KEY", "others than owner and group"),
        (&cert, &missing, "STORAGE_TLS_KEY", "cannot read"),
    ] {
        let found = wrong(cert, key, &[]);
        assert!(found.starts_with(place) && found.contains(text), "{text:?} is not in {found}");
        assert_eq!(found.lines().count(), 1, "{found}");
    }
    let of_clients = ("STORAGE_TLS_CLIENT_CA", none.to_str().unwrap());
    let found = wrong(&missing, &missing, &[of_clients, ("STORAGE_TIMEOUT", "soon")]);
    assert_eq!(found.lines().count(), 4, "all at once: {found}");
}

#[test]
fn one_is_of_no_use_without_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = Authority::new("some").server().write(folder.path());
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let found = mistakes(load(&[("STORAGE_TLS_CERT", cert)]));
    assert_eq!(found, ["STORAGE_TLS_KEY: is not set: a certificate is of no use without its key"]);
    let found = mistakes(load(&[("STORAGE_TLS_KEY", key)]));
    assert_eq!(found, ["STORAGE_TLS_CERT: is not set: a key is of no use without its certificate"]);
    let found = mistakes(load(&[("STORAGE_TLS_CLIENT_CA", cert)]));
    assert!(found.len() == 1 && found[0].contains("without STORAGE_TLS_CERT"), "{found:?}");
    let loaded = load(&[("STORAGE_ADMIN_TLS", "false")]).unwrap();
    assert!(loaded.warnings[0].starts_with("STORAGE_ADMIN_TLS has no effect"));
}

#[test]
fn others_shall_not_open_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = Authority::new("some").server().write(folder.path());
    for (mode, fine) in [
        (0o600, true),
        (0o400, true),
        (0o440, true),
        (0o640, true),
        (0o644, false),
        (0o604, false),
        (0o660, false),
        (0o601, false),
    ] {
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
        match over(&cert, &key, &[]) {
            Ok(_) => assert!(fine, "{mode:o}"),
            Err(problems) => {
                let text = problems.to_string();
                assert!(!fine && text.contains(&format!("mode {mode:o}")), "{text}");
                assert!(text.contains("chmod 640") && text.contains("defaultMode"), "{text}");
            }
        }
    }
}

#[test]
fn a_certificate_out_of_its_time_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("some");
    for (years, text) in [
        (2001..2002, "ended at 2002-01-01T00:00:00Z"),
        (2110..2120, "is not valid before 2110-01-01T00:00:00Z"),
    ] {
        let (cert, key) = authority.server_in(years).write(folder.path());
        let warnings = over(&cert, &key, &[]).unwrap().warnings;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].starts_with("STORAGE_TLS_CERT: ") && warnings[0].contains(text),
            "{warnings:?}"
        );
    }
}

#[test]
fn tokens_in_the_clear_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = Authority::new("some").server().write(folder.path());
    let tokens = ("STORAGE_TOKENS_FILE", "config/tokens.toml");
    let everywhere = ("STORAGE_LISTEN", "0.0.0.0:8080");
    let public = ("STORAGE_PUBLIC_URL", "https://proofs.example");
    let warned = |loaded: Result<Loaded, Problems>| {
        let warnings = loaded.unwrap().warnings;
        warnings.iter().filter(|warning| warning.contains("in the clear")).count()
    };
    assert_eq!(warned(load(&[tokens, everywhere])), 1);
    assert_eq!(warned(load(&[tokens])), 0, "on this machine");
    assert_eq!(
        warned(load(&[("STORAGE_AUTH", "anyone-may-do-anything"), everywhere])),
        0,
        "no tokens"
    );
    assert_eq!(warned(over(&cert, &key, &[tokens, everywhere])), 0, "encrypted");
    let proxies = ("STORAGE_TRUSTED_PROXIES", "10.0.0.0/8");
    assert_eq!(warned(load(&[tokens, everywhere, proxies, public])), 0, "a proxy encrypts");
    let plain = ("STORAGE_PUBLIC_URL", "http://proofs.example");
    let warnings = over(&cert, &key, &[plain]).unwrap().warnings;
    assert_eq!(warnings, ["STORAGE_PUBLIC_URL is an http URL, and the service speaks https"]);
}

// Made for this test, and used for nothing else.
const PKCS1_KEY: &str = "\
-----BEGIN RSA PRIVATE KEY-----
MIIEpAIBAAKCAQEA3aOfLbPGCiSSuPHS246gGnQSS3KTeADt8d9OVJDABoRWDYNn
B7wPDCFtH5Mt9TnONbJGkUOxrYeiaf31KmuItV7rlzdSUAfI1bpRgZVdb5om0xXy
ocD9Gy/0HVSoxzOz1S/xNi0CAUnQDB3ymsFXYM8NcjMH9eZeN8YvceyO2rMSao+z
Nnflw+IhQG9G1bHjRwdfZn1Qg+qSI7Tucby28Js50Mpnkv0OwC6C5DS0XA7CRQgB
Jdq7tx6ok8FaoIdJo+BZak+CUAMGZpRuFpM088gaPTwceu0n4G5dBLSouYunpKu6
lYzNl6eLdfL/KScmqvHZm3BkwI/ANtrU9lbHzQIDAQABAoIBADjSlCLBbkp3ae5k
gSys+jsN+wrAyzH++wIBwDFKExEYqH86axW+jxULFND9iNDQCyAVHqZrdogIuAj4
hPxlKV1mgnv4QPAnrsOsyuywAI52NPH1NIln0vw/ZRSH+eVoSfikG/FJxLPT2rTg
kKxAWUiGjOn0T1wpvYoLE2rfvRgwSnwHcQzFpb/mIL0nvp7sLxVfkuUxTzgST51b
ugmH6nUWSjsX80ZOTN0RLRLUS423VJRnWb/j2j4H5xmds3QlWBgAlLhM6kSZFU48
Dw/CXf6QHnojKXdXdOT7g1sPjnioFG4St4wtgo+O1emjV4WpuYBJZRuA/5g2WD/D
XtV7bPkCgYEA+5jNXl401mXpJREJq5kXa/7ViCur2LdLrNHqgeT/o7y6rq4BQsz8
dCmR4jEX8Dyl0crOeHPSdDhm3/ywy7XVmmMwwlPn6RdhYwJhcaif38bbAM4Hkk1A
sRvsOVTXhNL/WgWbk/LqQoUvsBu8QQQMhb22JcuG3w+FMr44gn4VVWcCgYEA4YSa
jFzOlgB0RHJOqfmsYjtyeA1hagExaaLrMPTsy5Or5bWw8VzBsM/9tg+TY9RIFd8P
PFe/igyBKNRsmX465hz+A/unw9wYmscvCQxDobVZoHRUgvLgyB9m3H6LmlBPV25h
hLiPHvg9kiZr/bnSVHiKRRd1zRnOi4zAc05h5KsCgYEA9fQbl8wadRktQQoV3QWM
6ws1Lagbl4EgXnLbgF4gNq3yBX+fRfFkPh7BOVDq6PQw2hUboI8BRpI4p3C8WHiK
tyGOcfpadPhhQMv7/INuvvED+RZwOmqA+mKknCs/gN5PuG5Q9+H5dkwDIXMLprdR
kpCx9uKvF3JxsPhZ/99H9bMCgYArm9nK5LNqHEJfbf86LTahdD9paaT5u6tTcxap
y+LyZubpr528vqQRzdaQ2yg0OLuLxyuKDqnSRyK+w30QnXFESDzyhjplzGzRmUzG
IiH95jSjq3sgK1k+OZxJbQsP1xHQpV6kLJA4e+ZkGZvuX32Fqh2KyMOV2rSvFZOt
eG3DqwKBgQCo0/+9ZXLf91ncYr/tfyX2qMojgbjt51z2JjQKk+WaqUmvcScnQtWY
zWL8jEg2yWJ8nEz1IoCTG1yyY0PUWyGiWKMgBK/arnCGPfT/P9P/2edTOdbAeQfa
nnC/5r6T0cDCHAk8TZpLJx39RlROSBC7DwvTpsSApM58J6cymK/Q+w==
-----END RSA PRIVATE KEY-----
";

const PKCS1_CERT: &str = "\
-----BEGIN CERTIFICATE-----
MIIC/zCCAeegAwIBAgIUK7xBQIQxNjXxuH7CCG0AyfMfMukwDQYJKoZIhvcNAQEL
BQAwDjEMMAoGA1UEAwwDcnNhMCAXDTI2MTEyNjIwMjc0OVoYDzIxMjYxMTAyMjAy
NzQ5WjAOMQwwCgYDVQQDDANyc2EwggEiMA0GCSqGSIb3DQEBAQUAA4IBDwAwggEK
AoIBAQDdo58ts8YKJJK48dLbjqAadBJLcpN4AO3x305UkMAGhFYNg2cHvA8MIW0f
ky31Oc41skaRQ7Gth6Jp/fUqa4i1XuuXN1JQB8jVulGBlV1vmibTFfKhwP0bL/Qd
VKjHM7PVL/E2LQIBSdAMHfKawVdgzw1yMwf15l43xi9x7I7asxJqj7M2d+XD4iFA
b0bVseNHB19mfVCD6pIjtO5xvLbwmznQymeS/Q7ALoLkNLRcDsJFCAEl2ru3HqiT
wVqgh0mj4FlqT4JQAwZmlG4WkzTzyBo9PBx67Sfgbl0EtKi5i6ekq7qVjM2Xp4t1
8v8pJyaq8dmbcGTAj8A22tT2VsfNAgMBAAGjUzBRMB0GA1UdDgQWBBQseLmp/jRQ
5y6e4PkjknJ7eF0x2DAfBgNVHSMEGDAWgBQseLmp/jRQ5y6e4PkjknJ7eF0x2DAP
BgNVHRMBAf8EBTADAQH/MA0GCSqGSIb3DQEBCwUAA4IBAQAHgPfNoS9kiYqeQ0wo
00CE6ESoPeGP1pX/NAONaIHWZW4qZEfy/+6lb+GBKjEg2+4fXofzNCIecVLReATA
XEhJE3EmGn4fbS2iPhCWOlW2Q9udJCAmHJeTcC4GxcWOOEmo5f8OLXbS8NvdElr8
FuRpSt3c0+9ZTTW++0b/1qgkl8fCUXCzUghP1eci9In+b8vemd2EX9zbn3OGIPnF
YqK1tXrcdqRW/9C6USJLl8NHpWs3JBueNLbE2MSuMs/dbrgZ+0zs+QZ9Ej+2GyQk
We/lISb8NZ9hQAlIV50H7u9THclBgJyQCjaFmtcxyoZvg+9up/VjglYg55A11YUQ
XCG0
-----END CERTIFICATE-----
";

const SEC1_KEY: &str = "\
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEICm5a1Z6RaaEYv2S/rRnIP8FcJSVg6rAu9muOlALcFiXoAoGCCqGSM49
AwEHoUQDQgAEjkacYHOouDUchoWxCpQBDGTAXVI3RJ6yCQBWoZtywHUWYNh1ew9X
t7+6WYXPi8M8u64SI6EgrAHoJdT4fiTA8Q==
-----END EC PRIVATE KEY-----
";

const SEC1_CERT: &str = "\
-----BEGIN CERTIFICATE-----
MIIBcjCCARegAwIBAgIUFg9x4cxJWeKuJTaIoxZlkup4VuwwCgYIKoZIzj0EAwIw
DTELMAkGA1UEAwwCZWMwIBcNMjYxMTI2MjAyNzQ5WhgPMjEyNjExMDIyMDI3NDla
MA0xCzAJBgNVBAMMAmVjMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEjkacYHOo
uDUchoWxCpQBDGTAXVI3RJ6yCQBWoZtywHUWYNh1ew9Xt7+6WYXPi8M8u64SI6Eg
rAHoJdT4fiTA8aNTMFEwHQYDVR0OBBYEFDemTknwrPoXYrAT7XtNauqR3aZTMB8G
A1UdIwQYMBaAFDemTknwrPoXYrAT7XtNauqR3aZTMA8GA1UdEwEB/wQFMAMBAf8w
CgYIKoZIzj0EAwIDSQAwRgIhAOhXgJpW8OLkpdDjs4flleuF2JfWJSBW+l1H4cY+
8L9KAiEA3rqwO+im1azRSr1IrTlEw4wEAqc/viOoGKTmRpf29Fw=
-----END CERTIFICATE-----
";
