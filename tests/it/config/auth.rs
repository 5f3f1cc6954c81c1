//! Who may do what, as configured: nothing but this machine is open by default.

use proof_storage::config::{AuthMode, JwksSource};

use super::{Folder, load, load_file, mistakes};

const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn token(name: &str, digit: &str) -> String {
    let sha256 = SHA256.replace("ba", digit);
    format!("[[auth.token]]\nname = '{name}'\nsha256 = '{sha256}'\nscopes = ['read']\n")
}

/// A file with the token `b`, and its path.
fn tokens_file() -> (Folder, String) {
    let listed = Folder::with(&token("b", "cc").replace("auth.token", "token"));
    let path = listed.file().display().to_string();
    (listed, path)
}

#[test]
fn only_this_machine_is_open_by_default() {
    for listen in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1"] {
        let config = load(&[("STORAGE_LISTEN", listen)]).unwrap().config;
        assert_eq!(config.auth.mode, AuthMode::Anyone);
    }
    for listen in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[::ffff:127.0.0.1]:1", "192.168.1.1:1"] {
        let listen = ("STORAGE_LISTEN", listen);
        let found = mistakes(load(&[listen]));
        assert_eq!(found.len(), 1, "{found:?}");
        for remedy in
            ["token create", "STORAGE_TOKENS_FILE", "STORAGE_JWT_JWKS", "=anyone-may-do-anything"]
        {
            assert!(
                found[0].starts_with("STORAGE_AUTH: ") && found[0].contains(remedy),
                "{found:?}"
            );
        }
        // Together with whatever else is wrong.
        assert_eq!(mistakes(load(&[listen, ("STORAGE_TIMEOUT", "soon")])).len(), 2);
        let said = load(&[listen, ("STORAGE_AUTH", "anyone-may-do-anything")]).unwrap().config;
        assert_eq!(said.auth.mode, AuthMode::Anyone);
        let file = token("a", "ba");
        assert_eq!(load_file(&file, &[listen]).unwrap().config.auth.mode, AuthMode::Required);
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let jwks = ("STORAGE_JWT_JWKS", "https://login.example/jwks");
    let issuer = ("STORAGE_JWT_ISSUER", "https://login.example");
    let audience = ("STORAGE_JWT_AUDIENCE", "proofs");
    for (settings, place, text) in [
        (vec![("STORAGE_AUTH", "required")], "STORAGE_AUTH: ", "nobody is named"),
        (
            vec![("STORAGE_AUTH", "anyone-may-do-anything"), jwks, issuer, audience],
            "STORAGE_AUTH: ",
            "remove one or the other",
        ),
        (vec![jwks, audience], "STORAGE_JWT_ISSUER: ", "would be taken"),
        (vec![jwks, issuer], "STORAGE_JWT_AUDIENCE: ", "would be taken"),
        (vec![audience], "STORAGE_JWT_AUDIENCE: ", "means nothing without STORAGE_JWT_JWKS"),
        (vec![("STORAGE_JWT_PREFIX_CLAIM", "a")], "STORAGE_JWT_PREFIX_CLAIM: ", "means nothing"),
    ] {
        let found = mistakes(load(&settings));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(place) && found[0].contains(text), "{found:?}");
    }
    let jwt = load(&[jwks, issuer, ("STORAGE_JWT_AUDIENCE", "a, b")]).unwrap().config.auth;
    assert_eq!(jwt.mode, AuthMode::Required);
    let jwt = jwt.jwt.unwrap();
    assert!(matches!(jwt.jwks, JwksSource::Url(_)));
    assert_eq!(jwt.audience, ["a", "b"]);
    let keyed = [("STORAGE_JWT_JWKS", "https://login.example/jwks?key=secret"), issuer, audience];
    let keyed = load(&keyed).unwrap();
    let shown = keyed.effective.iter().find(|shown| shown.variable == "STORAGE_JWT_JWKS");
    let shown = shown.unwrap().value.as_deref();
    assert_eq!(shown, Some("https://login.example/jwks?(hidden)"));
    let source = keyed.config.auth.jwt.unwrap().jwks;
    assert!(!format!("{source} {source:?}").contains("secret"));
    let plain = [("STORAGE_JWT_JWKS", "http://login.example/jwks"), issuer, audience];
    assert!(load(&plain).unwrap().warnings[0].contains("without TLS"));
    let public = load(&[("STORAGE_PUBLIC_READ", "a")]).unwrap();
    assert!(public.warnings[0].contains("STORAGE_PUBLIC_READ has no effect"));
}

#[test]
fn who_watches_from_other_machines_has_to_be_said() {
    let (_listed, tokens) = tokens_file();
    let named = ("STORAGE_TOKENS_FILE", tokens.as_str());
    for address in ["0.0.0.0:9090", "[::]:9090", "192.168.1.1:9090"] {
        let address = ("STORAGE_ADMIN_LISTEN", address);
        for others in [&[][..], &[named][..]] {
            let problems = load(&[&[address], others].concat()).unwrap_err().to_string();
            assert!(problems.contains("STORAGE_ADMIN_AUTH: is not set"), "{problems}");
            assert!(problems.contains("anyone-may-watch"), "{problems}");
        }
        let watched = ("STORAGE_ADMIN_AUTH", "anyone-may-watch");
        assert!(!load(&[address, watched]).unwrap().config.auth.admin);
        // Said of everything, it is said of this.
        let anyone = ("STORAGE_AUTH", "anyone-may-do-anything");
        assert!(!load(&[address, anyone]).unwrap().config.auth.admin);
    }
    let here = ("STORAGE_ADMIN_LISTEN", "127.0.0.1:9090");
    assert!(!load(&[here, named]).unwrap().config.auth.admin);
    let required = ("STORAGE_ADMIN_AUTH", "required");
    assert!(load(&[here, named, required]).unwrap().config.auth.admin);
    let problems = load(&[here, required]).unwrap_err().to_string();
    assert!(
        problems.contains("STORAGE_ADMIN_AUTH: is `required`, and nobody is named"),
        "{problems}"
    );
    let alone = load(&[named, required]).unwrap();
    assert!(alone.warnings[0].contains("no effect without STORAGE_ADMIN_LISTEN"));
}

#[test]
fn urls_of_the_backend_are_for_where_nobody_has_rights() {
    let (_listed, tokens) = tokens_file();
    let named = ("STORAGE_TOKENS_FILE", tokens.as_str());
    let on = ("STORAGE_BACKEND_URLS", "on");
    for (settings, backend_urls) in [
        (&[][..], true),
        (&[("STORAGE_BACKEND_URLS", "off")][..], false),
        (&[named][..], false),
        (&[named, on][..], true),
    ] {
        assert_eq!(load(settings).unwrap().config.auth.backend_urls, backend_urls);
    }
}

#[test]
fn tokens_of_the_configuration_and_of_the_file_come_together() {
    let (_listed, path) = tokens_file();
    let file = [("STORAGE_TOKENS_FILE", path.as_str())];
    let auth = load_file(&token("a", "ba"), &file).unwrap().config.auth;
    assert_eq!((auth.tokens.len(), auth.tokens_file.unwrap().tokens.len()), (1, 1));

    for (text, named) in [
        (token("b", "ba"), "two tokens have the name `b`"),
        (token("a", "cc"), "tokens `a` and `b` are the same one"),
        (format!("{0}{0}", token("a", "ba")), "two tokens have the name `a`"),
        (token("a", "ba").replace("'read'", "'reed'"), "`reed` is no scope"),
        ("[auth]\ntoken = 'pst_canary'\n".to_owned(), "write [[auth.token]] above each"),
    ] {
        let found = mistakes(load_file(&text, &file));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains(named) && !found[0].contains("canary"), "{found:?}");
    }
    // One that is mistaken still says that callers are to be asked.
    let found = mistakes(load_file(&token("a", "no"), &[("STORAGE_LISTEN", "0.0.0.0:1")]));
    assert!(found.len() == 1 && found[0].contains("sha256 is not 64"), "{found:?}");
}
