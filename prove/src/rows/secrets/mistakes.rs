//! Settings that are wrong and secret: the message names the setting, and does not quote it.

use super::super::Context;
use super::canary::{Hunt, Kind};
use crate::Result;
use crate::server::Launch;

/// Shorter than a key has to be.
const CANARY: &str = "canaryInAMistake7Qz";

/// Has `check-config` report mistakes of every secret setting at once; gives what it was told them by.
///
/// # Errors
/// A mistake is not reported, or a file cannot be written.
pub(super) fn check(context: &Context, hunt: &mut Hunt) -> Result<Launch> {
    hunt.add("a secret with a mistake in it", Kind::Secret, CANARY.as_bytes());
    let file = |name: &str, text: String| -> Result<String> {
        let path = context.work().join(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(path.to_string_lossy().into_owned())
    };
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n");
    let tokens = format!("[[token]]\nname = \"x\"\nsha256 = \"{CANARY}\"\nscopes = [\"read\"]\n");
    let toml = format!(
        "[server]\nsigning_key_previuos = \"{CANARY}\"\n[storage]\nsecret_access_key = [\"{CANARY}\"]\n"
    );
    let settings = [
        ("STORAGE_SIGNING_KEY", CANARY.to_owned()),
        ("STORAGE_AUDIT", "file".to_owned()),
        ("STORAGE_AUDIT_KEY", CANARY.to_owned()),
        ("STORAGE_KEYRING", format!("one:active:{CANARY},{CANARY}")),
        ("STORAGE_PROVIDER", "s3".to_owned()),
        ("STORAGE_ENDPOINT", format!("http://user:{CANARY}@127.0.0.1:9/?k={CANARY}")),
        ("STORAGE_PUBLIC_URL", format!("https://user:{CANARY}@example.com/?k={CANARY}")),
        ("STORAGE_CDN_URL", format!("https://user:{CANARY}@example.com/?k={CANARY}")),
        ("STORAGE_JWT_JWKS", format!("https://user:{CANARY}@example.com/jwks?k={CANARY}")),
        ("STORAGE_TLS_CERT", file("mistake.crt", pem.clone())?),
        ("STORAGE_TLS_KEY", file("mistake.key", pem)?),
        ("STORAGE_TOKENS_FILE", file("mistake-tokens.toml", tokens)?),
        ("STORAGE_CONFIG", file("mistake.toml", toml)?),
    ];
    let mut launch = context.service(&context.work().join("mistakes"), "mistakes");
    for (name, value) in &settings {
        launch = launch.with(name, value);
    }
    // With the file, in which a mistake may hide the others; and without.
    for with_file in [true, false] {
        let launch =
            if with_file { launch.clone() } else { launch.clone().with("STORAGE_CONFIG", "") };
        for words in [&["check-config"][..], &["check-config", "--json"], &["serve"]] {
            let (succeeded, printed) = launch.run(words)?;
            hunt.look("printed about mistakes", &printed, true);
            let text = String::from_utf8_lossy(&printed);
            let told = ["STORAGE_SIGNING_KEY", "STORAGE_KEYRING", "STORAGE_ENDPOINT"];
            if succeeded || told.iter().any(|name| !text.contains(name)) {
                return Err(
                    format!("`{}` does not tell of mistakes: {text}", words.join(" ")).into()
                );
            }
        }
    }
    Ok(launch)
}
