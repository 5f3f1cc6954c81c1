//! Opening: what is known of sealed bytes, the bytes themselves, and ranges of them by frame.

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};

use super::Sealed;
use crate::codec::envelope::{DataKey, Facts, FrameOpener, Unwrapped, frames_of, open_whole};
use crate::model::{
    Attributes, Body, BodyStream, ByteRange, ETag, Encryption, ErrorKind, GetOptions, ListItem,
    ObjectKey, ObjectMeta, PresignMethod, Retrieved, StoreError, Stored, form_size,
};
use crate::vault::sight::Sight;

/// How often a range starts again because its proof was replaced meanwhile.
const RANGE_TRIES: u32 = 100;

/// An object as it is to be shown, and the key of its bytes where they are sealed.
struct Shown {
    meta: ObjectMeta,
    key: Option<DataKey>,
}

/// Says of an object what its header says.
fn show(attributes: &mut Attributes, facts: Facts) {
    attributes.encoding = facts.encoding;
    attributes.representation = facts.representation;
    attributes.encryption = Encryption::Envelope;
}

impl Sealed {
    fn shown(&self, mut meta: ObjectMeta) -> Result<Shown, StoreError> {
        let Some(header) = meta.attributes.envelope.take() else {
            return Ok(Shown { meta, key: None });
        };
        let Unwrapped { key, facts } = self.unwrap(&meta.key, &header)?;
        // A body that was cut at a frame, or grown by some, is not that long.
        if form_size(meta.stored_size) != Some(facts.form_size) {
            return Err(self.not_genuine());
        }
        meta.stored_size = facts.form_size;
        show(&mut meta.attributes, facts);
        Ok(Shown { meta, key: Some(key) })
    }

    pub(super) fn opened_meta(&self, meta: ObjectMeta) -> Result<ObjectMeta, StoreError> {
        self.shown(meta).map(|shown| shown.meta)
    }

    /// Tells of what is at rest which proof it is, where anybody asks and it can be opened.
    pub(in crate::vault) fn tell(&self, at_rest: &ObjectMeta, sight: &Sight) {
        if sight.looks()
            && let Ok(opened) = self.opened_meta(at_rest.clone())
        {
            sight.saw(&opened);
        }
    }

    pub(super) fn opened_stored(&self, stored: Stored) -> Result<Stored, StoreError> {
        let Stored { meta, replaced } = stored;
        Ok(Stored { meta: self.opened_meta(meta)?, replaced })
    }

    /// What cannot be opened is listed all the same, without what is not known of it.
    pub(super) fn open_item(&self, item: &mut ListItem) {
        let Some(attributes) = &mut item.attributes else { return };
        let Some(header) = attributes.envelope.take() else { return };
        let facts = self.unwrap(&item.key, &header).map(|unwrapped| unwrapped.facts);
        match facts {
            Ok(facts) if form_size(item.stored_size) == Some(facts.form_size) => {
                item.stored_size = facts.form_size;
                show(attributes, facts);
            }
            _ => item.attributes = None,
        }
    }

    /// A whole object, opened.
    pub(super) fn opened(&self, retrieved: Retrieved) -> Result<Retrieved, StoreError> {
        let Retrieved { meta, body, checked } = retrieved;
        let Shown { meta, key } = self.shown(meta)?;
        let Some(key) = key else { return Ok(Retrieved { meta, body, checked }) };
        let size = meta.stored_size;
        let body = match body {
            Body::Bytes(bytes) => {
                let opened = open_whole(&key, size, &bytes);
                Body::Bytes(opened.map_err(|cause| self.not_genuine().with_source(cause))?)
            }
            Body::Stream(stream) => {
                let whole = ByteRange { start: 0, end: size };
                Body::Stream(self.stream(&key, size, whole, stream)?)
            }
        };
        Ok(Retrieved::new(meta, body))
    }

    /// A range: the frames that hold it are read and opened, and no others.
    pub(super) async fn get_range(
        &self,
        key: &ObjectKey,
        range: ByteRange,
        if_match: Option<ETag>,
    ) -> Result<Retrieved, StoreError> {
        for _ in 0..RANGE_TRIES {
            let Shown { meta, key: data_key } = self.shown(self.inner.head(key).await?)?;
            let Some(data_key) = data_key else {
                let options = GetOptions { range: Some(range), if_match: if_match.clone() };
                let found = self.inner.get(key, options).await?;
                if found.meta.attributes.envelope.is_some() {
                    // Sealed since the look.
                    continue;
                }
                return Ok(found);
            };
            if if_match.as_ref().is_some_and(|etag| *etag != meta.etag) {
                let detail = "another version is there";
                return Err(self.error(ErrorKind::PreconditionFailed, detail));
            }
            if range.is_empty() || range.end > meta.stored_size {
                let detail = format!("the range ends past the {} bytes", meta.stored_size);
                return Err(self.error(ErrorKind::Invalid, detail));
            }
            let frames = frames_of(&data_key, meta.stored_size, range);
            let (sealed, _) = frames.map_err(|cause| self.not_genuine().with_source(cause))?;
            let pinned = GetOptions { range: Some(sealed), if_match: Some(meta.etag.clone()) };
            match self.inner.get(key, pinned).await {
                Ok(found) => {
                    let stream: BodyStream = match found.body {
                        Body::Bytes(bytes) => Box::pin(futures_util::stream::iter([Ok(bytes)])),
                        Body::Stream(stream) => stream,
                    };
                    let opened = self.stream(&data_key, meta.stored_size, range, stream)?;
                    return Ok(Retrieved::new(meta, Body::Stream(opened)));
                }
                // Replaced since the look: whoever names no version gets the one that is there.
                Err(error)
                    if error.kind() == ErrorKind::PreconditionFailed && if_match.is_none() => {}
                Err(error) => return Err(error),
            }
        }
        let detail = "the proof was replaced again and again while a part of it was read";
        Err(self.error(ErrorKind::Contended, detail))
    }

    /// Opens frames as they come; gives out of them what lies in the range.
    fn stream(
        &self,
        key: &DataKey,
        size: u64,
        range: ByteRange,
        sealed: BodyStream,
    ) -> Result<BodyStream, StoreError> {
        let frames = frames_of(key, size, range);
        let (_, opener) = frames.map_err(|cause| self.not_genuine().with_source(cause))?;
        let skip = range.start % crate::model::FRAME_BYTES as u64;
        let cut = Cut { skip, left: range.len() };
        Ok(Box::pin(opened_stream(sealed, opener, cut, self.not_genuine())))
    }

    pub(super) async fn check_presign(
        &self,
        key: &ObjectKey,
        method: &PresignMethod,
    ) -> Result<(), StoreError> {
        let refused = |why: &str| {
            let detail = format!("presign: {why}; use via: service");
            Err(self.error(ErrorKind::Unsupported, detail))
        };
        if matches!(method, PresignMethod::Put { .. }) {
            return match self.sealing.by_default {
                true => refused("what is stored past this service would not be sealed"),
                false => Ok(()),
            };
        }
        if !self.can_seal() {
            return Ok(());
        }
        match self.inner.head(key).await {
            Ok(meta) if meta.attributes.envelope.is_none() => Ok(()),
            Ok(_) => refused("the proof is sealed, and only this service can open it"),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                refused("there is no such proof yet, and it may be sealed when it is stored")
            }
            Err(error) => Err(error),
        }
    }
}

/// What is still to be left out, and then to be given.
struct Cut {
    skip: u64,
    left: u64,
}

impl Cut {
    fn of(&mut self, bytes: Bytes) -> Bytes {
        let length = bytes.len() as u64;
        let start = self.skip.min(length);
        let end = (start + self.left).min(length);
        self.skip -= start;
        self.left -= end - start;
        // Both are at most the length.
        bytes.slice(start as usize..end as usize)
    }
}

fn opened_stream(
    sealed: BodyStream,
    opener: FrameOpener,
    cut: Cut,
    wrong: StoreError,
) -> impl Stream<Item = Result<Bytes, StoreError>> + Send {
    let state = Some((sealed, opener, cut, wrong));
    futures_util::stream::try_unfold(state, |state| async move {
        let Some((mut sealed, mut opener, mut cut, wrong)) = state else { return Ok(None) };
        loop {
            let Some(piece) = sealed.next().await.transpose()? else {
                return opener.finish().map(|()| None).map_err(|cause| wrong.with_source(cause));
            };
            let mut out = BytesMut::with_capacity(piece.len());
            if let Err(cause) = opener.feed(&piece, &mut out) {
                return Err(wrong.with_source(cause));
            }
            let out = cut.of(out.freeze());
            if !out.is_empty() {
                return Ok(Some((out, Some((sealed, opener, cut, wrong)))));
            }
        }
    })
}
