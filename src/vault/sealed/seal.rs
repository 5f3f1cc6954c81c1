//! Sealing: a body of plain bytes to one of frames, with the header beside it.

use std::io;
use std::path::Path;

use bytes::BytesMut;

use super::Sealed;
use crate::codec::envelope::{self, CryptoFailed, DataKey, Facts, FrameSealer};
use crate::model::{
    Attributes, Digest, Encoding, Encryption, ErrorKind, FRAME_BYTES, Hasher, ObjectKey, Payload,
    Representation, SEALED_FRAME_BYTES, SpoolWriter, StoreError,
};

/// Work below this size is done in place: handing it to another thread would cost more.
const INLINE_BYTES: u64 = 256 * 1024;

/// Why a body was not sealed.
enum Failed {
    Crypto(CryptoFailed),
    Spool(io::Error),
}

impl From<CryptoFailed> for Failed {
    fn from(cause: CryptoFailed) -> Self {
        Self::Crypto(cause)
    }
}

impl From<io::Error> for Failed {
    fn from(cause: io::Error) -> Self {
        Self::Spool(cause)
    }
}

impl Sealed {
    /// What to store below: frames under a new key, and attributes that tell nothing of what is in them
    /// but its media type, its size and what the caller said of it.
    pub(super) async fn sealed(
        &self,
        key: &ObjectKey,
        payload: Payload,
        attributes: Attributes,
    ) -> Result<(Payload, Attributes), StoreError> {
        let keyring = self.keyring()?;
        let facts = Facts {
            encoding: attributes.encoding,
            form_size: payload.len(),
            representation: attributes.representation,
        };
        let data_key = DataKey::random().map_err(|cause| self.crypto_failed(cause))?;
        let header = envelope::wrap(keyring, key.as_str(), &data_key, &facts)
            .map_err(|cause| self.crypto_failed(cause))?;
        let folder = self.spool_folder.clone();
        let size = attributes.representation.map_or(facts.form_size, |known| known.size);
        let work = move || seal_payload(&data_key, &payload, &folder);
        let done = if facts.form_size <= INLINE_BYTES {
            work()
        } else {
            let panicked = |error| Failed::Spool(io::Error::other(error));
            tokio::task::spawn_blocking(work).await.map_err(panicked).and_then(|done| done)
        };
        let (payload, sha256) = done.map_err(|failed| match failed {
            Failed::Crypto(cause) => self.crypto_failed(cause),
            Failed::Spool(cause) => self.spool_failed(cause),
        })?;
        // Of what was stored, as whoever is below sees it: of the sealed bytes alone.
        let representation = Representation { sha256, size, stored_sha256: sha256 };
        let attributes = Attributes {
            encoding: Encoding::Identity,
            encryption: Encryption::None,
            representation: Some(representation),
            envelope: Some(header),
            ..attributes
        };
        Ok((payload, attributes))
    }

    pub(super) fn spool_failed(&self, cause: io::Error) -> StoreError {
        let full = cause.kind() == io::ErrorKind::StorageFull;
        let kind = if full { ErrorKind::QuotaExceeded } else { ErrorKind::Unavailable };
        let detail = "a temporary file for the sealed body cannot be written: nothing was stored";
        self.error(kind, detail).with_source(cause)
    }
}

/// A body in memory stays there, one in a file goes to another: a frame of it is in memory.
fn seal_payload(
    key: &DataKey,
    payload: &Payload,
    folder: &Path,
) -> Result<(Payload, Digest), Failed> {
    if let Payload::Bytes(bytes) = payload {
        let sealed = envelope::seal_whole(key, bytes)?;
        let sha256 = Digest::of(&sealed);
        return Ok((Payload::Bytes(sealed), sha256));
    }
    let mut sealer = FrameSealer::new(key)?;
    let (mut writer, mut hasher) = (SpoolWriter::create_in(folder)?, Hasher::new());
    let mut frame = BytesMut::with_capacity(SEALED_FRAME_BYTES);
    let mut offset = 0;
    loop {
        let plain = payload.read_at(offset, FRAME_BYTES)?;
        offset += plain.len() as u64;
        let last = offset >= payload.len();
        frame.clear();
        sealer.seal(&plain, last, &mut frame)?;
        hasher.update(&frame);
        writer.append(&frame)?;
        if last {
            return Ok((writer.finish(), hasher.finish()));
        }
    }
}
