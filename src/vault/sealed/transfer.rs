//! Copies and moves of what cannot be copied as it is: the same bytes at rest, under other attributes.
//!
//! What is sealed has a header for its name. What is said to hold a proof is of that proof alone, and
//! its copy is a new one.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use futures_util::StreamExt as _;

use super::{Sealed, TURNS};
use crate::codec::envelope;
use crate::model::{
    Attributes, Body, Digest, Encryption, ErrorKind, GetOptions, Hasher, ObjectKey, ObjectMeta,
    Payload, PutMode, Retention, Retrieved, SpoolWriter, StoreError, Stored,
};
use crate::vault::sight::Sight;

/// How often a copy starts again because its source was replaced meanwhile. With proofs, which are
/// written once, it never is.
const COPY_TRIES: u32 = 100;

/// What of a copy stays in memory before it moves to a temporary file.
const MEMORY_BYTES: u64 = 1 << 20;

impl Sealed {
    pub(super) async fn copy_either(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        if source == destination {
            return self.inner.copy(source, destination, mode).await;
        }
        for _ in 0..COPY_TRIES {
            let before = self.inner.head(source).await?;
            let copied = if is_its_own(&before) {
                self.copy_anew(&before, destination, mode.clone()).await
            } else {
                let stored = self.inner.copy(source, destination, mode.clone()).await?;
                self.renamed_header(source, stored).await
            };
            match copied {
                // The source changed between the look and the copy.
                Err(error) if error.kind() == ErrorKind::Contended => {}
                Err(error) => return Err(error),
                Ok(stored) => return self.opened_stored(stored),
            }
        }
        let detail = "the source was replaced again and again while it was copied";
        Err(self.error(ErrorKind::Contended, detail))
    }

    /// Moves a proof, and tells of what is moved.
    pub(in crate::vault) async fn rename_in_sight(
        &self,
        source: &ObjectKey,
        destination: &ObjectKey,
        mode: PutMode,
        sight: &Sight,
    ) -> Result<Stored, StoreError> {
        if source == destination {
            return self.inner.rename(source, destination, mode).await;
        }
        let (this, source, destination) = (self.clone(), source.clone(), destination.clone());
        let sight = sight.clone();
        // A caller that goes away must not leave it half done.
        let moved = tokio::spawn(Box::pin(async move {
            let mut hasher = DefaultHasher::new();
            source.as_str().hash(&mut hasher);
            let _turn = this.turns[(hasher.finish() % TURNS as u64) as usize].lock().await;
            let before = this.inner.head(&source).await?;
            this.tell(&before, &sight);
            let stored = if is_its_own(&before) {
                this.move_anew(&before, &destination, mode).await?
            } else {
                let stored = this.inner.rename(&source, &destination, mode).await?;
                this.renamed_header(&source, stored).await?
            };
            this.opened_stored(stored)
        }));
        match moved.await {
            Ok(result) => result,
            Err(_) => Err(self.error(ErrorKind::Indeterminate, "the move was cut off")),
        }
    }

    /// Copies exactly the version in `before`; `Contended` where the source is another by now.
    async fn copy_anew(
        &self,
        before: &ObjectMeta,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let attributes = self.rewrapped(before, destination)?;
        let payload = self.frames_as_they_are(before).await?;
        self.inner.put(destination, payload, attributes, mode).await
    }

    /// Copies, reads the copy back, and only then deletes the source, where it still is what was copied.
    async fn move_anew(
        &self,
        before: &ObjectMeta,
        destination: &ObjectKey,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let creates = mode == PutMode::Create;
        let stored = self.copy_anew(before, destination, mode).await?;
        let there = GetOptions { range: None, if_match: Some(stored.meta.etag.clone()) };
        let found = self.inner.get(destination, there).await.map_err(|e| self.behind_copy(e))?;
        let (digest, _) = self.gathered(found, false).await.map_err(|e| self.behind_copy(e))?;
        if before.attributes.representation.is_some_and(|known| known.stored_sha256 != digest) {
            let detail = "the copy's bytes are not the source's: the source was kept";
            return Err(self.error(ErrorKind::Corrupt, detail));
        }
        match self.inner.delete(&before.key, Some(&before.etag)).await {
            // Somebody else moved or deleted it first. What is at the destination may be of that other
            // move: nothing shows whose it is, so it is not taken back.
            Ok(Some(false)) if creates => {
                let detail = "the source went meanwhile, and a copy of it is at the destination";
                Err(self.error(ErrorKind::Indeterminate, detail))
            }
            Ok(_) => Ok(stored),
            Err(error) => Err(self.behind_copy(error)),
        }
    }

    /// What fails behind a copy does not undo it.
    fn behind_copy(&self, cause: StoreError) -> StoreError {
        let detail = format!("the copy was made, and the source may be there too: {cause}");
        self.error(ErrorKind::Indeterminate, detail).with_source(cause)
    }

    /// Of what was neither sealed nor held when it was looked at, and was when it was copied: it has the
    /// header of its old name, and what was said of that one.
    async fn renamed_header(
        &self,
        source: &ObjectKey,
        stored: Stored,
    ) -> Result<Stored, StoreError> {
        if !is_its_own(&stored.meta) {
            return Ok(stored);
        }
        let destination = stored.meta.key.clone();
        let as_source = ObjectMeta { key: source.clone(), ..stored.meta.clone() };
        let attributes = self.rewrapped(&as_source, &destination)?;
        let payload = self.frames_as_they_are(&stored.meta).await?;
        let mode = PutMode::Replace(stored.meta.etag);
        let again = self.inner.put(&destination, payload, attributes, mode).await?;
        Ok(Stored { replaced: stored.replaced, ..again })
    }

    /// The attributes of the same bytes at rest under a name, wrapped by the active key where they are
    /// sealed, and held by nothing.
    pub(super) fn rewrapped(
        &self,
        before: &ObjectMeta,
        name: &ObjectKey,
    ) -> Result<Attributes, StoreError> {
        let attributes = Attributes { retention: Retention::default(), ..self.again(before) };
        let Some(header) = &attributes.envelope else { return Ok(attributes) };
        let opened = self.unwrap(&before.key, header)?;
        let header = envelope::wrap(self.keyring()?, name.as_str(), &opened.key, &opened.facts)
            .map_err(|cause| self.crypto_failed(cause))?;
        Ok(Attributes { envelope: Some(header), ..attributes })
    }

    /// The attributes with which to write the same bytes again.
    pub(in crate::vault) fn again(&self, before: &ObjectMeta) -> Attributes {
        let can = self.inner.capabilities();
        let encryption = match before.attributes.encryption {
            // What the backend does by itself, it does again.
            _ if before.attributes.envelope.is_some() => Encryption::None,
            Encryption::Aes256 if !can.encryption_aes256.is_available() => Encryption::None,
            Encryption::Kms if !can.encryption_kms.is_available() => Encryption::None,
            asked => asked,
        };
        Attributes { encryption, stamp: None, ..before.attributes.clone() }
    }

    /// The bytes at rest of exactly this version, compared with their digest.
    pub(in crate::vault) async fn frames_as_they_are(
        &self,
        meta: &ObjectMeta,
    ) -> Result<Payload, StoreError> {
        let options = GetOptions { range: None, if_match: Some(meta.etag.clone()) };
        let found = match self.inner.get(&meta.key, options).await {
            Err(error) if error.kind() == ErrorKind::PreconditionFailed => {
                let detail = "the source changed while it was copied";
                return Err(self.error(ErrorKind::Contended, detail));
            }
            found => found?,
        };
        let (digest, payload) = self.gathered(found, true).await?;
        let known = meta.attributes.representation.map(|known| known.stored_sha256);
        if known.is_some_and(|known| known != digest) {
            let detail = "the bytes at rest are not what was stored: the proof is damaged";
            return Err(self.error(ErrorKind::Corrupt, detail));
        }
        Ok(payload)
    }

    /// Reads a body to its end; keeps it in memory or in a temporary file, or not at all.
    async fn gathered(
        &self,
        found: Retrieved,
        keep: bool,
    ) -> Result<(Digest, Payload), StoreError> {
        let mut stream = match found.body {
            Body::Bytes(bytes) => return Ok((Digest::of(&bytes), Payload::Bytes(bytes))),
            Body::Stream(stream) => stream,
        };
        let mut hasher = Hasher::new();
        if !keep {
            while let Some(piece) = stream.next().await {
                hasher.update(&piece?);
            }
            return Ok((hasher.finish(), Payload::Bytes(Vec::new().into())));
        }
        if found.meta.stored_size <= MEMORY_BYTES {
            let bytes = Body::Stream(stream).collect().await?;
            return Ok((Digest::of(&bytes), Payload::Bytes(bytes)));
        }
        let folder = self.spool_folder.clone();
        let made = blocking(move || SpoolWriter::create_in(&folder)).await;
        let mut writer = made.map_err(|cause| self.spool_failed(cause))?;
        while let Some(piece) = stream.next().await {
            let piece = piece?;
            hasher.update(&piece);
            let written = blocking(move || writer.append(&piece).map(|()| writer)).await;
            writer = written.map_err(|cause| self.spool_failed(cause))?;
        }
        Ok((hasher.finish(), writer.finish()))
    }
}

/// Whether something of an object must not come to its copy.
fn is_its_own(before: &ObjectMeta) -> bool {
    before.attributes.envelope.is_some() || !before.attributes.retention.is_empty()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(std::io::Error::other)?
}
