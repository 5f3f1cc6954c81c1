//! A body on its way in: hashed while it arrives, then given the form it will be kept in.
//!
//! ```text
//! frames ─▶ Upload (sha-256, memory or spool) ─▶ check digests ─▶ inflate? deflate? ─▶ Prepared
//! ```
//! Nothing reaches a backend before every check has passed.

use std::io;

use bytes::{Bytes, BytesMut};

use super::error::VaultError;
use super::form::{COLLECT_BYTES, Job};
use super::spooling::Spooling;
use crate::model::{Attributes, Digest, Encoding, Hasher, Payload, Representation, SpoolWriter};

/// Bodies above this go to a temporary file, whatever the memory budget: who sends slowly would hold
/// more of it for as long as that takes.
pub const MEMORY_BYTES: u64 = 1 << 20;

/// What of a body that goes to a file is gathered before it is written.
pub(super) const SPOOL_BUFFER_BYTES: usize = 128 * 1024;

/// Work below this size is done in place: handing it to another thread would cost more.
const INLINE_BYTES: u64 = 64 * 1024;

/// `Proof-Compression`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Gzip where the media type compresses and it saves enough.
    #[default]
    Auto,
    /// Gzip whatever it saves.
    Gzip,
    /// Keep the bytes as they are.
    Identity,
}

/// What the caller says about the body it sends.
#[derive(Clone, Debug)]
pub struct UploadOptions {
    /// Attributes to keep; `encoding` and `representation` are filled in here.
    pub attributes: Attributes,
    /// Coding that the body arrives in.
    pub sent: Encoding,
    /// Form to keep it in.
    pub compression: Compression,
    /// `Content-Digest`: of the bytes as sent.
    pub content_digest: Option<Digest>,
    /// `Repr-Digest`: of the bytes as sent, or of what they inflate to.
    pub repr_digest: Option<Digest>,
    /// Most bytes, as sent and inflated.
    pub max_bytes: u64,
}

/// A body that passed every check and is ready for a backend.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub(super) payload: Payload,
    pub(super) attributes: Attributes,
}

impl Prepared {
    /// The proof's identity.
    pub fn representation(&self) -> Option<Representation> {
        self.attributes.representation
    }

    /// Bytes as they will be kept.
    pub fn stored_size(&self) -> u64 {
        self.payload.len()
    }
}

/// A body that is arriving.
pub struct Upload {
    options: UploadOptions,
    spooling: Spooling,
    received: u64,
    sink: Sink,
}

enum Sink {
    Memory { buffer: BytesMut, hasher: Hasher },
    Spool { buffer: BytesMut, file: Option<Box<SpoolState>> },
}

struct SpoolState {
    writer: SpoolWriter,
    hasher: Hasher,
}

impl SpoolState {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.writer.append(bytes)
    }
}

impl Upload {
    /// Begins. A body that is announced to be large goes to a temporary file from the start; another
    /// one, and one of unknown length, when it has become large.
    ///
    /// # Errors
    /// The announced length is over the limit.
    pub async fn begin(
        options: UploadOptions,
        length: Option<u64>,
        spooling: Spooling,
    ) -> Result<Self, VaultError> {
        if length.is_some_and(|length| length > options.max_bytes) {
            return Err(VaultError::TooLarge { limit: options.max_bytes });
        }
        let sink = match length {
            Some(length) if length > MEMORY_BYTES => {
                Sink::Spool { buffer: BytesMut::new(), file: None }
            }
            _ => Sink::Memory { buffer: BytesMut::new(), hasher: Hasher::new() },
        };
        Ok(Self { options, spooling, received: 0, sink })
    }

    /// Bytes of the body that are in memory.
    pub fn held(&self) -> u64 {
        let (Sink::Memory { buffer, .. } | Sink::Spool { buffer, .. }) = &self.sink;
        buffer.len() as u64
    }

    /// Bytes that are in memory at once until it is stored: other forms are made beside the body.
    pub fn held_to_finish(&self) -> u64 {
        let converted = if self.options.converts() { self.received.min(COLLECT_BYTES) } else { 0 };
        // What is in a file is sealed into another one.
        let in_memory = matches!(self.sink, Sink::Memory { .. });
        let sealed = if in_memory && self.spooling.is_veiled() { self.received } else { 0 };
        self.held() + converted + sealed
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// More bytes than allowed, or the temporary file cannot be made or written.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), VaultError> {
        self.count(&bytes)?;
        if self.held() + bytes.len() as u64 > MEMORY_BYTES {
            self.move_to_file().await?;
        }
        self.take(&bytes);
        match &self.sink {
            Sink::Spool { buffer, .. } if buffer.len() >= SPOOL_BUFFER_BYTES => self.flush().await,
            _ => Ok(()),
        }
    }

    /// Takes the next bytes and keeps none in memory.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub async fn write_through(&mut self, bytes: Bytes) -> Result<(), VaultError> {
        self.count(&bytes)?;
        self.move_to_file().await?;
        self.take(&bytes);
        self.flush().await
    }

    fn count(&mut self, bytes: &[u8]) -> Result<(), VaultError> {
        self.received += bytes.len() as u64;
        if self.received > self.options.max_bytes {
            return Err(VaultError::TooLarge { limit: self.options.max_bytes });
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) {
        match &mut self.sink {
            Sink::Memory { buffer, hasher } => {
                hasher.update(bytes);
                buffer.extend_from_slice(bytes);
            }
            Sink::Spool { buffer, .. } => buffer.extend_from_slice(bytes),
        }
    }

    /// From now on it is in a file, with what has come of it.
    async fn move_to_file(&mut self) -> Result<(), VaultError> {
        let Sink::Memory { buffer, hasher } = &mut self.sink else { return Ok(()) };
        let (bytes, hasher) = (std::mem::take(buffer), std::mem::take(hasher));
        let spooling = self.spooling.clone();
        let file = blocking(move || {
            let mut writer = spooling.create()?;
            writer.append(&bytes)?;
            Ok(Box::new(SpoolState { writer, hasher }))
        });
        self.sink = Sink::Spool { buffer: BytesMut::new(), file: Some(file.await?) };
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), VaultError> {
        let Sink::Spool { buffer, file } = &mut self.sink else { return Ok(()) };
        let bytes = std::mem::take(buffer);
        let state = file.take();
        let spooling = self.spooling.clone();
        let state = blocking(move || {
            let mut state = match state {
                Some(state) => state,
                None => Box::new(SpoolState { writer: spooling.create()?, hasher: Hasher::new() }),
            };
            state.append(&bytes)?;
            Ok(state)
        });
        *file = Some(state.await?);
        Ok(())
    }

    /// Checks the digests and gives the body the form it will be kept in.
    ///
    /// # Errors
    /// A digest that does not match, a gzip body that is none, too many bytes once inflated, or
    /// a temporary file that cannot be written.
    pub async fn finish(mut self) -> Result<Prepared, VaultError> {
        if let Sink::Spool { buffer, file } = &self.sink
            && !(file.is_none() && buffer.is_empty())
        {
            self.flush().await?;
        }
        let (payload, sha256) = match self.sink {
            Sink::Memory { buffer, hasher } => (Payload::Bytes(buffer.freeze()), hasher.finish()),
            Sink::Spool { file: Some(state), .. } => (state.writer.finish(), state.hasher.finish()),
            Sink::Spool { file: None, .. } => (Payload::Bytes(Bytes::new()), Digest::of(b"")),
        };
        let job = Job { options: self.options, payload, sha256, spooling: self.spooling };
        if self.received <= INLINE_BYTES { job.run() } else { blocking_vault(|| job.run()).await }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, VaultError> {
    blocking_vault(|| work().map_err(VaultError::Spool)).await
}

async fn blocking_vault<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
) -> Result<T, VaultError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(VaultError::Spool(io::Error::other(error))),
    }
}
