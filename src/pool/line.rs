//! What is written down before an answer, where a call did not reach every member it belongs to.
//!
//! A *segment* is an object of JSON lines under `.proof-storage/pool/<service>/repair/`; its name is
//! the version at which it was written. Lines are never changed: a segment is read by whoever finds
//! it, and removed whole when all its lines are settled and old enough. Names stand inside, as one
//! made of a key could exceed the limit of names.

use bytes::Bytes;

use super::aside::Why;
use crate::model::{Digest, ObjectKey, Version};

/// One thing to finish.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Line {
    #[serde(flatten)]
    pub(super) what: What,
    /// Full name of the object.
    #[serde(with = "as_text")]
    pub(super) key: ObjectKey,
    /// Of the write or the delete.
    pub(super) version: Version,
    /// Members, by name, that are not known to be as they should.
    pub(super) missing: Vec<String>,
    /// Written before what it tells of, by a call of this process that goes on. Others need not know.
    #[serde(skip)]
    pub(super) ahead: bool,
}

impl Line {
    pub(super) fn new(what: What, key: &ObjectKey, version: Version, missing: Vec<String>) -> Self {
        Self { what, key: key.clone(), version, missing, ahead: false }
    }

    /// The same, before what it tells of is done.
    pub(super) fn ahead(self) -> Self {
        Self { ahead: true, ..self }
    }
}

/// What was done to the others.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub(super) enum What {
    /// The object was written elsewhere and belongs to the missing members too, or an older copy
    /// there has to go.
    Copy {
        /// Members, by name, that have it.
        on: Vec<String>,
        /// Whether it took the place of what was there: older copies never count again.
        #[serde(default)]
        replaces: bool,
    },
    /// This write is about to take the place of what is there, at one home of a mirror after the other:
    /// whoever finds this looks at all of them. It says nothing of what became of it.
    Announce,
    /// All copies below this version are deleted: a tombstone.
    Delete,
    /// Copies of exactly these versions are: attempts that failed and may land late, or what was to be
    /// deleted if it still is there.
    Kill {
        /// Of the copies.
        versions: Vec<Version>,
    },
    /// Every member refused a delete for good of which a line had gone ahead: that one does not count.
    Spare {
        /// Of that line.
        delete: Version,
    },
}

impl What {
    /// Whether it takes back the line of a delete.
    pub(super) fn spares(&self, of: Version) -> bool {
        *self == Self::Spare { delete: of }
    }

    /// Whether it tells of copies that do not count, as long as it is known.
    pub(super) fn takes_away(&self) -> bool {
        matches!(self, Self::Delete | Self::Kill { .. })
    }
}

mod as_text {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::model::ObjectKey;

    pub(super) fn serialize<S: Serializer>(key: &ObjectKey, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(key.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ObjectKey, D::Error> {
        Ok(ObjectKey::new(String::deserialize(from)?))
    }
}

/// The body of a segment.
pub(super) fn encode(lines: &[Line]) -> Bytes {
    let mut body = Vec::with_capacity(lines.len() * 192);
    for line in lines {
        serde_json::to_writer(&mut body, line).expect("texts and numbers always serialize");
        body.push(b'\n');
    }
    body.into()
}

/// The lines of a segment.
///
/// # Errors
/// Which line is none.
pub(super) fn decode(body: &[u8]) -> Result<Vec<Line>, String> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let parsed = lines.enumerate().map(|(place, line)| {
        serde_json::from_slice(line).map_err(|error| format!("line {}: {error}", place + 1))
    });
    parsed.collect()
}

/// How far a replica's clock was, and the version above which it gives none before its next mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) bound: Version,
    /// Milliseconds on the scale of versions.
    pub(super) now: u64,
}

/// What the names of all pools' records begin with.
pub(super) const RECORDS: &str = ".proof-storage/pool/";

/// Names of the pool's own records, the same on every member.
#[derive(Clone, Debug)]
pub(super) struct Records {
    folder: String,
    /// What the names begin with of all that a replica reads again and again.
    current: String,
    segments: String,
    /// Of clock readings.
    clocks: String,
    /// Of notes on members that were set back to an earlier state.
    notes: String,
}

impl Records {
    /// Those of the service with this prefix: others may share the backends.
    pub(super) fn new(namespace: &str) -> Self {
        // A digest, as the prefix may have any character and any length.
        let service = &Digest::of(namespace.as_bytes()).to_hex()[..16];
        let folder = format!("{RECORDS}{service}");
        let current = format!("{folder}/now/");
        let below = |kind: &str| format!("{current}{kind}/");
        let (segments, clocks, notes) = (below("repair"), below("clock"), below("restored"));
        Self { folder, current, segments, clocks, notes }
    }

    /// What the names begin with of all that a replica reads again and again.
    pub(super) fn current(&self) -> String {
        self.current.clone()
    }

    pub(super) fn segment(&self, version: Version) -> ObjectKey {
        ObjectKey::new(format!("{}{version}", self.segments))
    }

    /// The version in a segment's name.
    pub(super) fn segment_version(&self, name: &ObjectKey) -> Option<Version> {
        name.as_str().strip_prefix(&self.segments)?.parse().ok()
    }

    /// Name of a mark of a clock.
    pub(super) fn clock(&self, mark: Mark) -> ObjectKey {
        ObjectKey::new(format!("{}{}", self.clocks, mark_text(mark)))
    }

    /// The mark in such a name.
    pub(super) fn clock_mark(&self, name: &ObjectKey) -> Option<Mark> {
        parse_mark(name.as_str().strip_prefix(&self.clocks)?)
    }

    /// Name of a note that a member's state is of before this mark.
    pub(super) fn restored(&self, mark: Mark) -> ObjectKey {
        ObjectKey::new(format!("{}{}", self.notes, mark_text(mark)))
    }

    /// The mark in such a name.
    pub(super) fn restored_mark(&self, name: &ObjectKey) -> Option<Mark> {
        parse_mark(name.as_str().strip_prefix(&self.notes)?)
    }

    /// That a member has all that belongs to it, in a pool of these members.
    pub(super) fn complete(&self, members: &str) -> ObjectKey {
        ObjectKey::new(format!("{}/complete/{members}", self.folder))
    }

    /// Who repairs what others wrote down.
    pub(super) fn lease(&self) -> ObjectKey {
        ObjectKey::new(format!("{}/lease/repair", self.folder))
    }

    /// What the names of the copies put aside begin with.
    pub(super) fn asides(&self, why: Why) -> String {
        format!("{}/{}/", self.folder, why.folder())
    }

    /// Where a copy is kept that is put aside.
    pub(super) fn aside(&self, why: Why, key: &ObjectKey, version: Version) -> ObjectKey {
        let name = Digest::of(key.as_str().as_bytes()).to_hex();
        ObjectKey::new(format!("{}{version}-{}", self.asides(why), &name[..32]))
    }
}

/// A mark as a part of a name.
fn mark_text(mark: Mark) -> String {
    format!("{}.{:012x}", mark.bound, mark.now)
}

fn parse_mark(text: &str) -> Option<Mark> {
    let (bound, now) = text.split_once('.')?;
    Some(Mark { bound: bound.parse().ok()?, now: u64::from_str_radix(now, 16).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(millis: u64) -> Version {
        Version { millis, counter: 0, writer: 1 }
    }

    #[test]
    fn lines_come_back_and_a_damaged_one_is_named() {
        let key = ObjectKey::new("proofs/ü \"x\"\n");
        let line = |what| Line::new(what, &key, version(5), vec!["first".to_owned()]);
        let lines = vec![
            line(What::Copy { on: vec!["second".to_owned()], replaces: true }),
            line(What::Announce),
            line(What::Delete),
            line(What::Kill { versions: vec![version(3), version(4)] }),
            line(What::Spare { delete: version(3) }),
        ];
        let body = encode(&lines);
        assert_eq!(decode(&body).unwrap(), lines);
        let cut = &body[..body.len() - 3];
        assert!(decode(cut).unwrap_err().starts_with("line 5"));
        assert_eq!(decode(b"").unwrap(), []);
    }

    #[test]
    fn services_that_share_a_backend_have_records_of_their_own() {
        let (ours, theirs) = (Records::new("proofs/"), Records::new("other/"));
        let segment = ours.segment(version(9));
        assert_eq!(ours.segment_version(&segment), Some(version(9)));
        let mark = Mark { bound: version(20), now: 9 };
        assert_eq!(ours.clock_mark(&ours.clock(mark)), Some(mark));
        assert_eq!(ours.segment_version(&ours.clock(mark)), None);
        assert_eq!(ours.restored_mark(&ours.restored(mark)), Some(mark));
        assert_eq!(ours.restored_mark(&ours.clock(mark)), None);
        assert_eq!(theirs.segment_version(&segment), None);
        let long = ObjectKey::new("k".repeat(1024));
        assert!(RECORDS.starts_with(crate::model::RESERVED));
        assert!(ours.aside(Why::Conflict, &long, version(1)).as_str().len() < 200);
    }
}
