//! Where secrets come from, and that none is ever shown.

use proof_storage::config::{Loaded, Problems, Sources};

use super::{CANARY, Folder, KEY, load, load_file, mistakes, variables};

#[test]
fn secrets_come_from_text_file_or_variable() {
    let folder = Folder::with("");
    let path = folder.0.path().join("key");
    std::fs::write(&path, format!("{CANARY}\n")).unwrap();
    let reference = |value: &str| format!("[server]\nsigning_key = {value}\n");
    let in_file = reference(&format!("{{ file = '{}' }}", path.display()));
    for file in [reference(&format!("'{CANARY}'")), in_file, reference("{ env = 'KEY' }")] {
        let config = load_file(&file, &[("KEY", CANARY)]).unwrap().config;
        assert_eq!(config.server.signing_key.unwrap().expose(), CANARY.as_bytes(), "{file}");
    }
    for wrong in ["{ env = 'NONE' }", "{ file = '/no/such' }", "{ fil = 'x' }", "{}", "5", "''"] {
        let found = mistakes(load_file(&reference(wrong), &[]));
        assert_eq!(found.len(), 1, "{wrong}: {found:?}");
        assert!(found[0].starts_with("server.signing_key (proofs.toml:2): "), "{found:?}");
    }
}

#[test]
fn no_secret_is_ever_shown() {
    let short = "canary-short";
    let shown = |result: Result<Loaded, Problems>| format!("{result:?}");
    let file = format!("[server]\nsigning_key = '{CANARY}'\nsigning_key_previous = '{CANARY}'\n");
    let sources =
        Sources { environment: variables(&[("STORAGE_SIGNING_KEY", CANARY)]), file: None };
    let texts = [
        format!("{sources:?}"),
        shown(load(&[("STORAGE_SIGNING_KEY", CANARY), ("STORAGE_SECRET_ACCESS_KEY", CANARY)])),
        shown(load(&[("STORAGE_SIGNING_KEY", short)])),
        shown(load(&[("STORAGE_SIGNING_KYE", CANARY)])),
        shown(load_file(&file, &[])),
        // The line that is broken is the one with the secret.
        shown(load_file(&format!("[server]\nsigning_key = '{CANARY}\n"), &[])),
        shown(load_file(&format!("[server]\nsigning_key = \"{CANARY}\" x\n"), &[])),
        shown(load_file(&format!("[server]\nsigning_kye = '{CANARY}'\n"), &[])),
        shown(load_file(&format!("[server]\nsigning_key = {{ {CANARY} = 'a' }}\n"), &[])),
        shown(load_file(&format!("[[backend]]\nsecret_access_key = '{CANARY}'\n"), &[])),
        shown(load(&[("STORAGE_PUBLIC_URL", "https://user:canary@a.example")])),
        shown(load(&[("STORAGE_CDN_URL", "canary@@::")])),
    ];
    let keyring = format!("2026:active:{KEY}");
    let texts = texts.into_iter().chain([
        shown(load(&[("STORAGE_KEYRING", &keyring)])),
        shown(load(&[("STORAGE_KEYRING", &format!("{keyring},2025:active:{KEY}"))])),
        shown(load(&[("STORAGE_KEYRING", &format!("{KEY},{KEY}"))])),
        shown(load(&[("STORAGE_KEYRING", &format!("2026:active:{KEY}x"))])),
        shown(load_file(&format!("[storage]\nkeyring = '{keyring}'\n"), &[])),
    ]);
    for text in texts {
        assert!(!text.contains("canary") && !text.contains(&KEY[..9]), "{text}");
        assert!(!text.contains("99, 97, 110, 97"), "as bytes: {text}");
    }
    // The control: what is no secret is shown, so the search can find something.
    assert!(shown(load(&[("STORAGE_LISTEN", "canary")])).contains("canary"));
}
