//! Frames of 64 KiB, each sealed with its place and whether it is the last.
//!
//! The nonce is the frame's number, 11 bytes with the highest first, and a byte that is 1 on the last
//! frame. The key is of one body alone, so no nonce comes twice. Who opens knows from the length how
//! many frames there are, and so which is the last: a body that was cut or grown does not open there.

use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use bytes::{Bytes, BytesMut};

use super::{CryptoFailed, DataKey};
use crate::model::{ByteRange, FRAME_BYTES, SEALED_FRAME_BYTES, TAG_BYTES, sealed_size};

/// A frame, or the length of them all, is not what was sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sealed bytes are not what was stored")]
pub struct NotGenuine;

fn nonce(number: u64, last: bool) -> Nonce {
    let mut nonce = [0; 12];
    nonce[3..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(last);
    Nonce::assume_unique_for_key(nonce)
}

/// Seals a body from its first byte to its last.
pub struct FrameSealer {
    key: LessSafeKey,
    number: u64,
}

impl FrameSealer {
    /// Begins a body. A data key seals one body, ever.
    ///
    /// # Errors
    /// The library's.
    pub fn new(key: &DataKey) -> Result<Self, CryptoFailed> {
        Ok(Self { key: key.frames()?, number: 0 })
    }

    /// Appends the next frame to `out`. All but the last have [`FRAME_BYTES`].
    ///
    /// # Errors
    /// The library's.
    pub fn seal(
        &mut self,
        plain: &[u8],
        last: bool,
        out: &mut BytesMut,
    ) -> Result<(), CryptoFailed> {
        let start = out.len();
        out.extend_from_slice(plain);
        let nonce = nonce(self.number, last);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut out[start..])?;
        out.extend_from_slice(tag.as_ref());
        self.number += 1;
        Ok(())
    }
}

/// Seals a body at hand.
///
/// # Errors
/// The library's.
pub fn seal_whole(key: &DataKey, plain: &[u8]) -> Result<Bytes, CryptoFailed> {
    let mut sealer = FrameSealer::new(key)?;
    let size = sealed_size(plain.len() as u64);
    let mut out = BytesMut::with_capacity(usize::try_from(size).map_err(|_| CryptoFailed)?);
    if plain.is_empty() {
        sealer.seal(plain, true, &mut out)?;
    }
    let mut frames = plain.chunks(FRAME_BYTES).peekable();
    while let Some(frame) = frames.next() {
        sealer.seal(frame, frames.peek().is_none(), &mut out)?;
    }
    Ok(out.freeze())
}

/// Opens a body at hand.
///
/// # Errors
/// See [`NotGenuine`].
pub fn open_whole(key: &DataKey, form_size: u64, sealed: &[u8]) -> Result<Bytes, NotGenuine> {
    let whole = ByteRange { start: 0, end: form_size };
    let (_, mut opener) = frames_of(key, form_size, whole)?;
    let mut out = BytesMut::with_capacity(sealed.len());
    opener.feed(sealed, &mut out)?;
    opener.finish()?;
    Ok(out.freeze())
}

/// The sealed bytes that hold a range of a body of `form_size` bytes, and what opens them: what comes
/// out begins at the first byte of the range's first frame.
///
/// # Errors
/// The library's.
pub fn frames_of(
    key: &DataKey,
    form_size: u64,
    range: ByteRange,
) -> Result<(ByteRange, FrameOpener), NotGenuine> {
    let frame = FRAME_BYTES as u64;
    let last = form_size.div_ceil(frame).max(1) - 1;
    let first = (range.start / frame).min(last);
    let until = (range.end.div_ceil(frame).max(1) - 1).clamp(first, last);
    let sealed = SEALED_FRAME_BYTES as u64;
    let end = ((until + 1) * sealed).min(sealed_size(form_size));
    let opener = FrameOpener {
        key: key.frames().map_err(|_| NotGenuine)?,
        next: first,
        until,
        last,
        last_bytes: (sealed_size(form_size) - last * sealed) as usize,
        buffer: BytesMut::new(),
    };
    Ok((ByteRange { start: first * sealed, end }, opener))
}

/// Opens frames that follow each other, from pieces of any size. Holds one frame at most.
pub struct FrameOpener {
    key: LessSafeKey,
    /// Number of the next frame.
    next: u64,
    /// Number of the last frame that shall come.
    until: u64,
    /// Number of the body's last frame.
    last: u64,
    last_bytes: usize,
    buffer: BytesMut,
}

impl FrameOpener {
    /// Takes sealed bytes, and appends to `out` what of them is genuine.
    ///
    /// # Errors
    /// See [`NotGenuine`].
    pub fn feed(&mut self, mut piece: &[u8], out: &mut BytesMut) -> Result<(), NotGenuine> {
        while !piece.is_empty() {
            if self.next > self.until {
                return Err(NotGenuine);
            }
            let wanted = self.frame_bytes() - self.buffer.len();
            let (taken, rest) = piece.split_at(wanted.min(piece.len()));
            piece = rest;
            if self.buffer.is_empty() && taken.len() == wanted {
                self.open(out, taken)?;
                continue;
            }
            self.buffer.extend_from_slice(taken);
            if taken.len() == wanted {
                let frame = std::mem::take(&mut self.buffer);
                self.open(out, &frame)?;
                self.buffer = frame;
                self.buffer.clear();
            }
        }
        Ok(())
    }

    /// Checks that all frames came.
    ///
    /// # Errors
    /// See [`NotGenuine`].
    pub fn finish(self) -> Result<(), NotGenuine> {
        if self.next > self.until && self.buffer.is_empty() { Ok(()) } else { Err(NotGenuine) }
    }

    fn frame_bytes(&self) -> usize {
        if self.next == self.last { self.last_bytes } else { SEALED_FRAME_BYTES }
    }

    fn open(&mut self, out: &mut BytesMut, frame: &[u8]) -> Result<(), NotGenuine> {
        let start = out.len();
        out.extend_from_slice(frame);
        let nonce = nonce(self.next, self.next == self.last);
        let opened = self.key.open_in_place(nonce, Aad::empty(), &mut out[start..]);
        if opened.is_err() {
            out.truncate(start);
            return Err(NotGenuine);
        }
        out.truncate(start + frame.len() - TAG_BYTES);
        self.next += 1;
        Ok(())
    }
}
