//! Damage to bodies under way.

use bytes::{Bytes, BytesMut};
use futures_util::stream;

use super::plan::Fault;
use crate::model::{Body, ByteRange, StoreError};

/// Damages a body; one that needs no damage, or has no byte to damage, passes.
///
/// The whole body is read first: the middle must be known, and tests' bodies are small.
pub(super) async fn damage(body: Body, fault: Fault, broken: StoreError) -> Body {
    if !matches!(fault, Fault::FlipBit | Fault::Truncate | Fault::BreakBody) {
        return body;
    }
    let bytes = match body.collect().await {
        Ok(bytes) => bytes,
        Err(error) => return Body::Stream(Box::pin(stream::iter([Err(error)]))),
    };
    let middle = bytes.len() / 2;
    match fault {
        Fault::FlipBit => {
            let mut bytes = BytesMut::from(bytes);
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 1;
            }
            Body::Bytes(bytes.freeze())
        }
        Fault::Truncate => Body::Bytes(bytes.slice(..middle)),
        _ => Body::Stream(Box::pin(stream::iter([Ok(bytes.slice(..middle)), Err(broken)]))),
    }
}

/// The part that a range asks for, as far as there is one: an older version may be shorter.
pub(super) fn part(bytes: Bytes, range: Option<ByteRange>) -> Bytes {
    let Some(range) = range else { return bytes };
    let within = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(within(range.start)..within(range.end))
}
