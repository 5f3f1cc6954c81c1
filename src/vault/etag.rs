//! The ETag that clients see (RFC 9110 §8.8.3): made of the proof's digest, one for each coding.

use crate::model::{Encoding, ObjectMeta};

/// Strong ETag of one form of a proof, with its quotes.
///
/// Objects that others put into the backend have no digest of ours; theirs comes from the
/// backend's version token.
pub fn etag_of(meta: &ObjectMeta, form: Encoding) -> String {
    let mut tag = String::with_capacity(72);
    tag.push('"');
    match &meta.attributes.representation {
        Some(representation) => tag.push_str(&representation.sha256.to_hex()),
        None => {
            tag.push_str("v-");
            tag.extend(
                meta.etag.as_str().chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-'),
            );
        }
    }
    if form == Encoding::Gzip {
        tag.push_str("-gzip");
    }
    tag.push('"');
    tag
}

/// Whether a caller's strong ETag names this proof, in either coding.
pub fn names(tag: &str, meta: &ObjectMeta) -> bool {
    tag == etag_of(meta, Encoding::Identity)
        || (meta.attributes.encoding == Encoding::Gzip && tag == etag_of(meta, Encoding::Gzip))
}
