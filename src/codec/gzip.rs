//! Gzip (RFC 1952), bounded in memory and in output.
//!
//! Whoever inflates names the most bytes he will take, so that a bomb costs the sender's
//! bandwidth and not our memory. Streams of several members are one body, as browsers see them.

use std::io::{self, Read as _, Write};

use bytes::Bytes;
use flate2::write::{GzEncoder, MultiGzDecoder};
use flate2::{Compression, bufread};

/// How many bytes deflate can make of one.
const MAX_EXPANSION: u64 = 1032;

/// Input is fed in pieces of this size, so that a piece can make no more than about 132 KiB of
/// output ([`MAX_EXPANSION`]) before the limit is looked at again.
const FEED_BYTES: usize = 128;

/// Below this nothing is gained on the wire or on disk.
const MIN_BYTES: u64 = 1024;

/// The share of the size that compression must save to be worth inflating on later reads.
const MIN_SAVING_PERCENT: u64 = 10;

/// Why inflating stopped.
#[derive(Debug, thiserror::Error)]
pub enum InflateError {
    /// Not gzip, cut off, or its checksum is wrong.
    #[error("not a complete gzip stream: {0}")]
    Malformed(#[source] io::Error),
    /// More output than the caller takes.
    #[error("inflates to more than {limit} bytes")]
    TooLarge {
        /// The caller's limit.
        limit: u64,
    },
    /// The caller's sink failed.
    #[error("cannot keep the inflated bytes: {0}")]
    Sink(#[source] io::Error),
}

/// Whether a media type compresses: text, JSON, XML and their relatives.
pub fn is_compressible(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || matches!(
            essence.as_str(),
            "application/json"
                | "application/ld+json"
                | "application/xml"
                | "application/javascript"
                | "application/x-ndjson"
                | "application/yaml"
                | "application/pem-certificate-chain"
        )
}

/// Whether a body of this size is worth trying.
pub fn is_worth_trying(size: u64) -> bool {
    size >= MIN_BYTES
}

/// Whether the result pays for the inflating it will cost.
pub fn pays(size: u64, compressed: u64) -> bool {
    compressed <= size - size * MIN_SAVING_PERCENT / 100
}

/// Compresses bytes at hand.
pub fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = Compressor::new(Vec::with_capacity(bytes.len() / 3));
    // A vector takes every write.
    encoder.write(bytes).and_then(|()| encoder.finish()).unwrap_or_default()
}

/// Compresses piece by piece into a sink.
pub struct Compressor<W: Write>(GzEncoder<W>);

impl<W: Write> Compressor<W> {
    /// Starts a gzip member. Its header has no time and no name: equal bytes compress equally.
    pub fn new(sink: W) -> Self {
        Self(GzEncoder::new(sink, Compression::default()))
    }

    /// Feeds the next bytes.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Writes the trailer and gives the sink back.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn finish(self) -> io::Result<W> {
        self.0.finish()
    }
}

/// Inflates bytes at hand, whose size is known or bounded. In one pass into memory of the size
/// that the trailer states: the way of every read of a small proof by who takes no gzip.
///
/// # Errors
/// Malformed, or more output than `limit`.
pub fn inflate(bytes: &[u8], limit: u64) -> Result<Bytes, InflateError> {
    if bytes.is_empty() {
        return Err(InflateError::Malformed(io::ErrorKind::UnexpectedEof.into()));
    }
    let mut output = Vec::with_capacity(stated_size(bytes).min(limit) as usize);
    let mut decoder = bufread::MultiGzDecoder::new(bytes).take(limit.saturating_add(1));
    decoder.read_to_end(&mut output).map_err(InflateError::Malformed)?;
    if output.len() as u64 > limit {
        return Err(InflateError::TooLarge { limit });
    }
    Ok(output.into())
}

/// What the trailer says of the size: a hint, believed no further than deflate can expand.
fn stated_size(bytes: &[u8]) -> u64 {
    let stated = bytes.last_chunk().map_or(0, |size| u32::from_le_bytes(*size));
    u64::from(stated).min(bytes.len() as u64 * MAX_EXPANSION)
}

/// Inflates piece by piece.
pub struct Inflater {
    decoder: MultiGzDecoder<Vec<u8>>,
    fed: bool,
    produced: u64,
    limit: u64,
}

impl Inflater {
    /// An inflater that gives up once it has made more than `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self { decoder: MultiGzDecoder::new(Vec::new()), fed: false, produced: 0, limit }
    }

    /// Feeds compressed bytes; hands what comes out to `sink` in pieces.
    ///
    /// # Errors
    /// Malformed input, the limit, or the sink's own error.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), InflateError> {
        for piece in bytes.chunks(FEED_BYTES) {
            self.feed_piece(piece, &mut sink)?;
        }
        Ok(())
    }

    /// Feeds of `bytes`, and takes away from them, until about `enough` has come out or nothing is left.
    /// What comes out is at most `enough` and what one fed piece can make.
    ///
    /// # Errors
    /// Malformed input, or the limit.
    pub fn feed_some(&mut self, bytes: &mut Bytes, enough: usize) -> Result<Vec<u8>, InflateError> {
        let mut output = Vec::new();
        while output.len() < enough && !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(FEED_BYTES));
            self.feed_piece(&piece, &mut |made: &[u8]| {
                output.extend_from_slice(made);
                Ok(())
            })?;
        }
        Ok(output)
    }

    fn feed_piece(
        &mut self,
        piece: &[u8],
        sink: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), InflateError> {
        self.fed = true;
        self.decoder.write_all(piece).map_err(InflateError::Malformed)?;
        self.drain(sink)
    }

    /// Checks that the stream ended where it should, and hands over the rest.
    ///
    /// # Errors
    /// As [`Self::feed`].
    pub fn finish(
        mut self,
        mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), InflateError> {
        if !self.fed {
            return Err(InflateError::Malformed(io::ErrorKind::UnexpectedEof.into()));
        }
        self.decoder.try_finish().map_err(InflateError::Malformed)?;
        self.drain(&mut sink)
    }

    fn drain(
        &mut self,
        sink: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), InflateError> {
        let output = self.decoder.get_mut();
        if output.is_empty() {
            return Ok(());
        }
        self.produced += output.len() as u64;
        if self.produced > self.limit {
            return Err(InflateError::TooLarge { limit: self.limit });
        }
        sink(output).map_err(InflateError::Sink)?;
        output.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        (0..5000_u32).flat_map(|n| format!("{{\"claim\":{}}}", n % 97).into_bytes()).collect()
    }

    #[test]
    fn round_trip() {
        let bytes = sample();
        let compressed = compress(&bytes);
        assert!(pays(bytes.len() as u64, compressed.len() as u64));
        assert_eq!(inflate(&compressed, bytes.len() as u64).unwrap(), bytes);
    }

    #[test]
    fn several_members_are_one_body() {
        let mut both = compress(b"hello ");
        both.extend(compress(b"world"));
        assert_eq!(inflate(&both, 100).unwrap(), "hello world");
    }

    #[test]
    fn every_truncation_is_found() {
        let compressed = compress(&sample()[..400]);
        for length in 0..compressed.len() {
            assert!(inflate(&compressed[..length], 1 << 20).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn every_flip_of_the_data_or_trailer_is_found() {
        let bytes = sample();
        let compressed = compress(&bytes);
        // The ten header bytes carry a time and a system that change nothing of the content.
        for index in 10..compressed.len() {
            let mut bad = compressed.clone();
            bad[index] ^= 0x10;
            if let Ok(output) = inflate(&bad, 1 << 20) {
                assert_eq!(output, bytes, "flip at {index}");
            }
        }
    }

    #[test]
    fn trailing_garbage_is_refused() {
        let mut bytes = compress(b"hello");
        bytes.extend(b"garbage");
        assert!(matches!(inflate(&bytes, 100), Err(InflateError::Malformed(_))));
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let bomb = compress(&vec![0; 64 << 20]);
        let mut most = 0;
        let mut inflater = Inflater::new(1 << 20);
        let result = inflater.feed(&bomb, |piece| {
            most += piece.len();
            Ok(())
        });
        assert!(matches!(result, Err(InflateError::TooLarge { limit: 1_048_576 })));
        assert!(most <= 1 << 20);
    }

    #[test]
    fn a_step_makes_no_more_than_it_may() {
        let plain = vec![0; 16 << 20];
        let mut bomb = Bytes::from(compress(&plain));
        let (mut inflater, mut made) = (Inflater::new(plain.len() as u64), 0);
        while !bomb.is_empty() {
            let output = inflater.feed_some(&mut bomb, 64 << 10).unwrap();
            assert!(output.len() <= 200 << 10, "{}", output.len());
            made += output.len();
        }
        let mut rest = 0;
        inflater
            .finish(|piece| {
                rest += piece.len();
                Ok(())
            })
            .unwrap();
        assert_eq!(made + rest, plain.len());
    }

    #[test]
    fn media_types() {
        for yes in [
            "application/json",
            "text/html; charset=utf-8",
            "application/c2pa+json",
            "image/svg+xml",
        ] {
            assert!(is_compressible(yes), "{yes}");
        }
        for no in ["application/c2pa", "image/png", "application/octet-stream", ""] {
            assert!(!is_compressible(no), "{no}");
        }
    }
}
