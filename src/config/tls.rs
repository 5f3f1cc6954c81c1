//! `server.tls_*`: the certificate of the service, its key, and whose certificates clients show.
//!
//! Files are read once and what was read is judged: a certificate that is exchanged in between never
//! meets the other one's key. Read at the start with everything else, and again by `serve` when they
//! change. Messages name a file and quote nothing of it.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use secrecy::{ExposeSecret, SecretSlice};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::parse;
use super::problems::Problems;
use super::reader::Reader;
use super::settings::{self as name, Setting};
use crate::model::Digest;

/// TLS on the listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// Where it is read from, now and when it changes.
    pub files: TlsFiles,
    /// What was in the files when the configuration was read.
    pub identity: TlsIdentity,
    /// `STORAGE_ADMIN_TLS`: whether it holds on `STORAGE_ADMIN_LISTEN` too. Default: yes.
    pub admin: bool,
}

/// The files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// `STORAGE_TLS_CERT`: PEM, the service's own certificate first.
    pub cert: PathBuf,
    /// `STORAGE_TLS_KEY`: PEM, PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
    /// `STORAGE_TLS_CLIENT_CA`: PEM. Default: none, clients show no certificate.
    pub client_ca: Option<PathBuf>,
}

/// A certificate with the key that belongs to it, and whose certificates clients have to show.
#[derive(Clone)]
pub struct TlsIdentity {
    /// The chain, the service's own certificate first, and the key.
    pub key: Arc<CertifiedKey>,
    /// The authorities of clients' certificates; `None`: clients show none.
    pub client_roots: Option<Arc<RootCertStore>>,
    /// From when on the whole chain is valid.
    pub not_before: SystemTime,
    /// When the first certificate of the chain ends.
    pub not_after: SystemTime,
    /// Of the files that it was read from.
    pub digest: Digest,
    /// Of the file with the authorities of clients, where there is one.
    pub client_ca: Option<Digest>,
}

/// What was in the files at one moment.
pub struct TlsContents<'a> {
    files: &'a TlsFiles,
    cert: Result<Vec<u8>, String>,
    key: Result<SecretSlice<u8>, String>,
    key_mode: u32,
    client_ca: Option<Result<Vec<u8>, String>>,
}

type Mistake = (&'static Setting, String);

impl TlsConfig {
    /// `None` where there is no certificate, or mistakes in it.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let cert = reader.option(&name::TLS_CERT, parse::path);
        let key = reader.option(&name::TLS_KEY, parse::path);
        let client_ca = reader.option(&name::TLS_CLIENT_CA, parse::path);
        let admin = reader.value(&name::ADMIN_TLS, parse::yes_or_no);
        let none = cert.is_none() && key.is_none();
        if none && reader.says(&name::TLS_CLIENT_CA) {
            let text = "means nothing without STORAGE_TLS_CERT and STORAGE_TLS_KEY: set them too";
            reader.mistake(&name::TLS_CLIENT_CA, text);
        }
        if reader.says(&name::ADMIN_TLS) && (none || !reader.says(&name::ADMIN_LISTEN)) {
            let text = "STORAGE_ADMIN_TLS has no effect without STORAGE_TLS_CERT and \
                        STORAGE_ADMIN_LISTEN";
            reader.warn(text);
        }
        if none {
            return None;
        }
        reader.missing(&name::TLS_CERT, "a key is of no use without its certificate");
        reader.missing(&name::TLS_KEY, "a certificate is of no use without its key");
        let files = TlsFiles { cert: cert?, key: key?, client_ca };
        match files.contents().judge() {
            Ok(identity) => {
                if let Some(warning) = identity.warning(SystemTime::now()) {
                    reader.warn(&format!("STORAGE_TLS_CERT: {}: {warning}", files.cert.display()));
                }
                Some(Self { files, identity, admin })
            }
            Err(mistakes) => {
                mistakes.into_iter().for_each(|(setting, text)| reader.mistake(setting, &text));
                None
            }
        }
    }
}

impl TlsFiles {
    /// Reads them all. Blocks for as long as the disk does.
    pub fn contents(&self) -> TlsContents<'_> {
        let mode = std::fs::metadata(&self.key).map_or(0, |file| file.permissions().mode());
        TlsContents {
            files: self,
            cert: read(&self.cert),
            key: read(&self.key).map(SecretSlice::from),
            key_mode: mode & 0o777,
            client_ca: self.client_ca.as_deref().map(read),
        }
    }
}

/// Of a file's bytes, or of why there are none.
fn digest_of<E: AsRef<str>>(read: Result<&[u8], E>) -> Digest {
    match read {
        Ok(bytes) => Digest::of(bytes),
        Err(reason) => Digest::of(reason.as_ref().as_bytes()),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

impl TlsContents<'_> {
    /// Differs where anything differs that is judged.
    pub fn digest(&self) -> Digest {
        let key = self.key.as_ref().map(ExposeSecret::expose_secret);
        let parts = [
            Some(self.cert.as_deref()),
            Some(key),
            self.client_ca.as_ref().map(|file| file.as_deref()),
        ];
        let digests = parts.into_iter().flatten().map(digest_of);
        let mut all = self.key_mode.to_le_bytes().to_vec();
        digests.for_each(|digest| all.extend_from_slice(digest.as_bytes()));
        Digest::of(&all)
    }

    /// Tells whether the authorities of clients are others than before.
    pub fn client_ca(&self) -> Option<Digest> {
        self.client_ca.as_ref().map(|file| digest_of(file.as_deref()))
    }

    /// What the files make together.
    ///
    /// # Errors
    /// All that is wrong with them, each with its setting and the remedy.
    pub fn identity(&self) -> Result<TlsIdentity, Problems> {
        self.judge().map_err(|mistakes| {
            let mut problems = Problems::default();
            mistakes.into_iter().for_each(|(setting, text)| problems.push(setting.variable, text));
            problems
        })
    }

    fn judge(&self) -> Result<TlsIdentity, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let chain = self.cert.clone().and_then(|pem| self.chain(&pem));
        let chain = chain.map_err(|text| mistakes.push((&name::TLS_CERT, text))).ok();
        let key = self.key().map_err(|text| mistakes.push((&name::TLS_KEY, text))).ok();
        let roots = self.client_roots();
        let roots = roots.map_err(|text| mistakes.push((&name::TLS_CLIENT_CA, text))).ok();
        let pair = match (chain, key) {
            (Some(chain), Some(key)) => {
                let pair = self.pair(chain, key);
                pair.map_err(|mistake| mistakes.push(mistake)).ok()
            }
            _ => None,
        };
        match (pair, roots) {
            (Some((key, not_before, not_after)), Some(client_roots)) if mistakes.is_empty() => {
                let (key, digest, client_ca) = (Arc::new(key), self.digest(), self.client_ca());
                Ok(TlsIdentity { key, client_roots, not_before, not_after, digest, client_ca })
            }
            _ => Err(mistakes),
        }
    }

    fn chain(&self, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
        certificates(&self.files.cert, pem)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, String> {
        let path = self.files.key.display();
        let pem = self.key.as_ref().map_err(Clone::clone)?;
        // Others, or a group that may write. A group that reads is how Kubernetes mounts a Secret.
        if self.key_mode & 0o027 != 0 {
            return Err(format!(
                "others than owner and group may open {path} (mode {:o}), or the group may change it: \
                 chmod 640 it, in Kubernetes mount the Secret with defaultMode 0440 and an fsGroup",
                self.key_mode
            ));
        }
        PrivateKeyDer::from_pem_slice(pem.expose_secret()).map_err(|_| {
            format!(
                "{path} has no private key: write one as PEM, such as `openssl genpkey` makes, without \
                 a password"
            )
        })
    }

    fn client_roots(&self) -> Result<Option<Arc<RootCertStore>>, String> {
        let (Some(path), Some(pem)) = (&self.files.client_ca, &self.client_ca) else {
            return Ok(None);
        };
        let mut roots = RootCertStore::empty();
        for authority in certificates(path, pem.as_ref().map_err(Clone::clone)?)? {
            let added = roots.add(authority);
            added.map_err(|error| format!("{} has no authority: {error}", path.display()))?;
        }
        Ok(Some(Arc::new(roots)))
    }

    fn pair(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<(CertifiedKey, SystemTime, SystemTime), Mistake> {
        let (cert_path, key_path) = (self.files.cert.display(), self.files.key.display());
        let (mut not_before, mut not_after) = (SystemTime::UNIX_EPOCH, None);
        for certificate in &chain {
            let parsed = Certificate::from_der(certificate).map_err(|error| {
                (&name::TLS_CERT, format!("{cert_path} has what is no certificate: {error}"))
            })?;
            let validity = parsed.tbs_certificate().validity();
            let end = validity.not_after.to_system_time();
            not_before = not_before.max(validity.not_before.to_system_time());
            not_after = Some(not_after.map_or(end, |earlier: SystemTime| earlier.min(end)));
        }
        let provider = aws_lc_rs::default_provider();
        let pair = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                let text = format!(
                    "{key_path} is not the key of the first certificate in {cert_path}: give the pair, \
                     with the service's own certificate before those of authorities"
                );
                (&name::TLS_KEY, text)
            }
            Error::InvalidCertificate(reason) => {
                (&name::TLS_CERT, format!("the first certificate in {cert_path} is not taken: {reason}"))
            }
            error => (&name::TLS_KEY, format!("the key in {key_path} is not taken: {error}")),
        })?;
        Ok((pair, not_before, not_after.unwrap_or(SystemTime::UNIX_EPOCH)))
    }
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let path = path.display();
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|_| {
        // What the library says quotes the file, which may be that of the key by mistake.
        format!("{path} is not PEM: a section of it is broken, or does not end")
    })?;
    if found.is_empty() {
        return Err(format!("{path} has no certificate: write PEM, `-----BEGIN CERTIFICATE-----`"));
    }
    Ok(found)
}

impl TlsIdentity {
    /// What is odd about it at some time, and yet no mistake.
    pub fn warning(&self, now: SystemTime) -> Option<String> {
        if now > self.not_after {
            let end = humantime::format_rfc3339_seconds(self.not_after);
            return Some(format!(
                "the certificate, or one above it, ended at {end}: clients refuse it"
            ));
        }
        if now < self.not_before {
            let start = humantime::format_rfc3339_seconds(self.not_before);
            return Some(format!("the certificate, or one above it, is not valid before {start}"));
        }
        None
    }
}

impl PartialEq for TlsIdentity {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for TlsIdentity {}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = humantime::format_rfc3339_seconds(self.not_after);
        let clients = self.client_roots.is_some();
        f.debug_struct("TlsIdentity")
            .field("not_after", &end.to_string())
            .field("client_certificates", &clients)
            .finish_non_exhaustive()
    }
}
