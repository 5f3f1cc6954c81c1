//! The key that signs URLs: as configured, or made on the first start and kept in the data directory.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use secrecy::SecretSlice;

use super::StartError;
use crate::config::{self, Config, SigningKey};
use crate::http::Signer;

const SIGNING_KEY_FILE: &str = "signing.key";

/// With the keys of the configuration, or one of its own.
pub(super) fn signer(config: &Config, data_dir: &Path) -> Result<Signer, StartError> {
    let secret = |key: &SigningKey| SecretSlice::from(key.expose().to_vec());
    let current = match &config.server.signing_key {
        Some(key) => secret(key),
        None => kept_signing_key(&data_dir.join(SIGNING_KEY_FILE))?,
    };
    Ok(Signer::new(current, config.server.signing_key_previous.as_ref().map(secret)))
}

/// The key that was made on the first start, or a new one.
fn kept_signing_key(path: &Path) -> Result<SecretSlice<u8>, StartError> {
    let failed = |cause| StartError::DataDirectory { path: path.display().to_string(), cause };
    match std::fs::read(path) {
        Ok(bytes) if bytes.len() >= config::MIN_SIGNING_KEY_BYTES => return Ok(bytes.into()),
        Ok(bytes) => {
            return Err(StartError::SigningKey {
                path: path.display().to_string(),
                found: bytes.len(),
                expected: config::MIN_SIGNING_KEY_BYTES,
            });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let mut bytes = vec![0; config::MIN_SIGNING_KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| failed(io::Error::other(error)))?;
    write_new_file(path, &bytes).map_err(failed)?;
    tracing::info!(path = %path.display(), "made a key for signed URLs");
    Ok(bytes.into())
}

/// Writes a file that only its owner may read; it appears whole or not at all.
fn write_new_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    match path.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
