//! The form in which a body is kept: as it came, deflated, or inflated.
//!
//! Runs after the last byte has arrived and before the first goes to a backend. May block: it
//! reads and writes temporary files.

use std::io;

use super::error::VaultError;
use super::spooling::Spooling;
use super::upload::{Compression, Prepared, SPOOL_BUFFER_BYTES, UploadOptions};
use crate::codec::gzip::{self, Compressor, Inflater};
use crate::model::{Attributes, Digest, Encoding, Hasher, Payload, Representation, SpoolWriter};

/// What conversion keeps in memory before it moves to a temporary file.
pub(super) const COLLECT_BYTES: u64 = 1 << 20;

/// The checks and conversions after the last byte; may block.
pub(super) struct Job {
    pub(super) options: UploadOptions,
    pub(super) payload: Payload,
    pub(super) sha256: Digest,
    pub(super) spooling: Spooling,
}

/// Bytes in one form, with their digest.
struct Form {
    payload: Payload,
    sha256: Digest,
}

impl UploadOptions {
    /// Whether another form may be made of the body than the one it comes in.
    pub(super) fn converts(&self) -> bool {
        match (self.sent, self.compression) {
            (Encoding::Gzip, _) => self.wants_identity(),
            (Encoding::Identity, Compression::Identity) => false,
            (Encoding::Identity, Compression::Gzip) => true,
            (Encoding::Identity, Compression::Auto) => {
                gzip::is_compressible(&self.attributes.content_type)
            }
        }
    }

    /// Of a body that came as gzip.
    fn wants_identity(&self) -> bool {
        self.compression == Compression::Identity || is_c2pa(&self.attributes.content_type)
    }
}

impl Job {
    pub(super) fn run(self) -> Result<Prepared, VaultError> {
        self.check("Content-Digest", self.options.content_digest, &[self.sha256])?;
        if self.options.sent == Encoding::Gzip { self.keep_gzip() } else { self.keep_plain() }
    }

    fn check(
        &self,
        header: &'static str,
        expected: Option<Digest>,
        found: &[Digest],
    ) -> Result<(), VaultError> {
        match expected {
            Some(expected) if !found.contains(&expected) => {
                Err(VaultError::DigestMismatch { header, found: found[0].to_base64() })
            }
            _ => Ok(()),
        }
    }

    /// The body came as gzip: what it inflates to is the proof.
    fn keep_gzip(self) -> Result<Prepared, VaultError> {
        let wants_identity = self.options.wants_identity();
        let identity = inflate(
            &self.payload,
            self.options.max_bytes,
            wants_identity.then_some(&self.spooling),
        )?;
        let digests = [self.sha256, identity.sha256];
        self.check("Repr-Digest", self.options.repr_digest, &digests)?;
        let size = identity.size;
        let (encoding, stored) = match identity.payload {
            Some(payload) => (Encoding::Identity, Form { payload, sha256: identity.sha256 }),
            None => (Encoding::Gzip, Form { payload: self.payload, sha256: self.sha256 }),
        };
        Ok(prepared(self.options.attributes, encoding, stored, identity.sha256, size))
    }

    fn keep_plain(self) -> Result<Prepared, VaultError> {
        self.check("Repr-Digest", self.options.repr_digest, &[self.sha256])?;
        let size = self.payload.len();
        let compressed = match self.options.compression {
            Compression::Identity => None,
            Compression::Gzip => Some(deflate(&self.payload, &self.spooling)?),
            Compression::Auto => {
                let content_type = &self.options.attributes.content_type;
                if gzip::is_worth_trying(size) && gzip::is_compressible(content_type) {
                    let form = deflate(&self.payload, &self.spooling)?;
                    gzip::pays(size, form.payload.len()).then_some(form)
                } else {
                    None
                }
            }
        };
        let (encoding, stored) = match compressed {
            Some(form) => (Encoding::Gzip, form),
            None => (Encoding::Identity, Form { payload: self.payload, sha256: self.sha256 }),
        };
        Ok(prepared(self.options.attributes, encoding, stored, self.sha256, size))
    }
}

fn prepared(
    attributes: Attributes,
    encoding: Encoding,
    stored: Form,
    sha256: Digest,
    size: u64,
) -> Prepared {
    let representation = Representation { sha256, size, stored_sha256: stored.sha256 };
    let attributes = Attributes { encoding, representation: Some(representation), ..attributes };
    Prepared { payload: stored.payload, attributes }
}

/// C2PA readers do not look at `Content-Encoding`: a manifest store is never coded.
pub fn is_c2pa(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/c2pa")
}

struct Inflated {
    sha256: Digest,
    size: u64,
    payload: Option<Payload>,
}

/// Inflates to check, and keeps the result only where a folder is given.
fn inflate(payload: &Payload, limit: u64, keep: Option<&Spooling>) -> Result<Inflated, VaultError> {
    let mut hasher = Hasher::new();
    let mut kept = keep.map(|spooling| Collector::new(spooling, payload.len()));
    let mut inflater = Inflater::new(limit);
    let mut sink = |piece: &[u8]| {
        hasher.update(piece);
        kept.as_mut().map_or(Ok(()), |kept| kept.append(piece))
    };
    for_each_piece(payload, |piece| {
        inflater.feed(piece, &mut sink).map_err(VaultError::from_upload)
    })?;
    inflater.finish(&mut sink).map_err(VaultError::from_upload)?;
    let size = hasher.bytes();
    Ok(Inflated { sha256: hasher.finish(), size, payload: kept.map(Collector::finish) })
}

fn deflate(payload: &Payload, spooling: &Spooling) -> Result<Form, VaultError> {
    let sink = HashingCollector {
        hasher: Hasher::new(),
        collector: Collector::new(spooling, payload.len() / 2),
    };
    let mut compressor = Compressor::new(sink);
    for_each_piece(payload, |piece| compressor.write(piece).map_err(VaultError::Spool))?;
    let HashingCollector { hasher, collector } = compressor.finish().map_err(VaultError::Spool)?;
    Ok(Form { payload: collector.finish(), sha256: hasher.finish() })
}

fn for_each_piece(
    payload: &Payload,
    mut visit: impl FnMut(&[u8]) -> Result<(), VaultError>,
) -> Result<(), VaultError> {
    if let Payload::Bytes(bytes) = payload {
        return visit(bytes);
    }
    let mut offset = 0;
    while offset < payload.len() {
        let piece = payload.read_at(offset, SPOOL_BUFFER_BYTES).map_err(VaultError::Spool)?;
        visit(&piece)?;
        offset += piece.len() as u64;
    }
    Ok(())
}

/// Gathers output in memory, and moves to a temporary file when it grows large.
struct Collector {
    spooling: Spooling,
    memory: Vec<u8>,
    spool: Option<SpoolWriter>,
}

impl Collector {
    fn new(spooling: &Spooling, expected: u64) -> Self {
        let capacity = usize::try_from(expected.min(SPOOL_BUFFER_BYTES as u64)).unwrap_or(0);
        Self { spooling: spooling.clone(), memory: Vec::with_capacity(capacity), spool: None }
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(spool) = &mut self.spool {
            return spool.append(bytes);
        }
        if (self.memory.len() + bytes.len()) as u64 <= COLLECT_BYTES {
            self.memory.extend_from_slice(bytes);
            return Ok(());
        }
        let spool = self.spool.insert(self.spooling.create()?);
        spool.append(&std::mem::take(&mut self.memory))?;
        spool.append(bytes)
    }

    fn finish(self) -> Payload {
        match self.spool {
            Some(spool) => spool.finish(),
            None => Payload::Bytes(self.memory.into()),
        }
    }
}

struct HashingCollector {
    hasher: Hasher,
    collector: Collector,
}

impl io::Write for HashingCollector {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.update(bytes);
        self.collector.append(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
