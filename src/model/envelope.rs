//! Sizes of sealed bytes: frames, each behind a tag.

/// Bytes that one frame holds; the last one may hold fewer.
pub const FRAME_BYTES: usize = 64 * 1024;

/// Length of a tag of AES-256-GCM.
pub const TAG_BYTES: usize = 16;

/// Bytes of a frame at rest.
pub const SEALED_FRAME_BYTES: usize = FRAME_BYTES + TAG_BYTES;

/// Bytes at rest of so many sealed ones. Nothing is one empty frame, so that its absence is noticed.
pub fn sealed_size(size: u64) -> u64 {
    let frames = size.div_ceil(FRAME_BYTES as u64).max(1);
    size.saturating_add(frames.saturating_mul(TAG_BYTES as u64))
}

/// Bytes that were sealed into so many at rest; `None` where no sealed bytes have that length.
pub fn form_size(sealed: u64) -> Option<u64> {
    let frames = sealed.div_ceil(SEALED_FRAME_BYTES as u64).max(1);
    let size = sealed.checked_sub(frames * TAG_BYTES as u64)?;
    (sealed_size(size) == sealed).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_come_back_and_no_others_are_taken() {
        let frame = FRAME_BYTES as u64;
        for size in [0, 1, 15, 16, frame - 1, frame, frame + 1, 2 * frame, 5 << 30] {
            assert_eq!(form_size(sealed_size(size)), Some(size));
        }
        assert_eq!(
            (sealed_size(0), sealed_size(frame), sealed_size(frame + 1)),
            (16, 65552, 65569)
        );
        // Less than a tag, and a frame behind a full one that holds nothing.
        for sealed in [0, 1, 15, 65552 + 1, 65552 + 16] {
            assert_eq!(form_size(sealed), None, "{sealed}");
        }
    }
}
