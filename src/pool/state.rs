//! What a key's copies and lines come to: pure, so that every case can be tried.
//!
//! The newest version is the object, unless a tombstone is newer. Two creates that both found
//! nothing are a conflict: the copy at the member that decides before the other one is served, and
//! the bytes of the other are put aside, never dropped.

use super::line::What;
use super::view::Known;
use crate::model::{ObjectMeta, StoreError, Version};

/// What one member said of a key.
#[derive(Clone, Debug)]
pub(super) enum Sight {
    /// It has this.
    Copy(Box<ObjectMeta>),
    /// It has nothing.
    Absent,
    /// It has something that cannot be read.
    Damaged,
    /// It did not say.
    Dark(StoreError),
}

impl Sight {
    pub(super) fn copy(&self) -> Option<&ObjectMeta> {
        match self {
            Self::Copy(meta) => Some(meta),
            Self::Absent | Self::Damaged | Self::Dark(_) => None,
        }
    }

    pub(super) fn dark(&self) -> Option<&StoreError> {
        match self {
            Self::Dark(error) => Some(error),
            Self::Copy(_) | Self::Absent | Self::Damaged => None,
        }
    }
}

/// What lines say of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdicts {
    /// Copies below are deleted.
    pub(super) tombstone: Option<Version>,
    /// Members that had not confirmed it.
    pub(super) unburied: Vec<usize>,
    /// Writes that were announced, of which nobody said that they came to their end.
    pub(super) announced: Vec<Version>,
    /// Copies of exactly these are, as was written down at the second version.
    pub(super) killed: Vec<(Version, Version)>,
    /// Versions that were written down, and so may have been acknowledged; and when.
    pub(super) vouched: Vec<(Version, Version)>,
    /// Those of them that took the place of what was there.
    pub(super) replacements: Vec<Version>,
    /// Highest of all.
    pub(super) written: Option<Version>,
    /// Members that have it.
    pub(super) on: Vec<usize>,
    /// Whether what was written down counts before what was not: where every member is a home.
    pub(super) prefers_vouched: bool,
}

impl Verdicts {
    pub(super) fn of(lines: &[Known], place_of: impl Fn(&str) -> Option<usize>) -> Self {
        let mut verdicts = Self::default();
        let places = |names: &[String]| -> Vec<usize> {
            names.iter().filter_map(|name| place_of(name)).collect()
        };
        let is_void = |delete: Version| {
            let mut whats = lines.iter().map(|known| &known.line.what);
            whats.any(|what| what.spares(delete))
        };
        for Known { line, id, settled } in lines {
            if let What::Copy { replaces, .. } = line.what {
                verdicts.vouched.push((line.version, id.0));
                verdicts.replacements.extend(replaces.then_some(line.version));
            }
            match &line.what {
                What::Delete | What::Kill { .. } if is_void(line.version) => {}
                What::Delete if verdicts.tombstone <= Some(line.version) => {
                    // One that went ahead names nobody.
                    if verdicts.tombstone < Some(line.version) {
                        verdicts.unburied.clear();
                    }
                    verdicts.tombstone = Some(line.version);
                    verdicts.unburied.extend(places(&line.missing));
                }
                What::Delete | What::Spare { .. } => {}
                What::Announce => verdicts.announced.extend((!settled).then_some(line.version)),
                What::Kill { versions } => {
                    verdicts.killed.extend(versions.iter().map(|version| (*version, id.0)));
                }
                What::Copy { on, .. } if verdicts.written <= Some(line.version) => {
                    // Lines of one write, one after the other, say all who may have it.
                    if verdicts.written < Some(line.version) {
                        verdicts.on.clear();
                    }
                    verdicts.written = Some(line.version);
                    verdicts.on.extend(places(on));
                }
                What::Copy { .. } => {}
            }
        }
        verdicts
    }

    /// Whether a copy of this version is deleted. One without is older than any delete.
    pub(super) fn kills(&self, version: Option<Version>) -> bool {
        // A failed attempt that somebody found and confirmed afterwards counts.
        let is_killed = |v: Version| {
            let vouched = self.vouched.iter().filter(|(of, _)| *of == v).map(|(_, at)| at).max();
            self.killed.iter().any(|(of, at)| *of == v && Some(at) > vouched)
        };
        version.is_some_and(is_killed)
            || self.tombstone.is_some_and(|tombstone| version < Some(tombstone))
    }

    /// Whether a copy is of a write that was announced, and may be at this member only.
    pub(super) fn is_announced(&self, version: Option<Version>) -> bool {
        self.announced.iter().any(|announced| Some(*announced) == version)
    }

    /// Whether a copy of this version counts before others that nobody wrote down.
    fn prefers(&self, version: Option<Version>) -> bool {
        self.prefers_vouched && self.vouched.iter().any(|(of, _)| Some(*of) == version)
    }

    /// Below which version a copy was replaced, whatever became of its replacement.
    fn replaced_below(&self) -> Option<Version> {
        let counting = self.replacements.iter().filter(|version| !self.kills(Some(**version)));
        counting.max().copied()
    }
}

/// A key's state. Members are named by their place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resolved {
    /// Members that have what the key holds, in order; none where it holds nothing.
    pub(super) holders: Vec<usize>,
    /// Members with a copy that is deleted or replaced.
    pub(super) stale: Vec<usize>,
    /// Members with a copy that has to be put aside before it goes.
    pub(super) conflicting: Vec<usize>,
    /// Members with something unreadable.
    pub(super) damaged: Vec<usize>,
    /// Members that did not say.
    pub(super) dark: Vec<usize>,
}

/// Version that a copy was stamped with.
pub(super) fn version_of(meta: &ObjectMeta) -> Option<Version> {
    meta.attributes.stamp.map(|stamp| stamp.version)
}

/// Whether two copies are of one write, or are known to have the same bytes.
fn is_same(one: &ObjectMeta, other: &ObjectMeta) -> bool {
    match (version_of(one), version_of(other)) {
        (None, None) => has_same_bytes(one, other),
        (one, other) => one == other,
    }
}

fn has_same_bytes(one: &ObjectMeta, other: &ObjectMeta) -> bool {
    let digest = |meta: &ObjectMeta| meta.attributes.representation.map(|r| r.stored_sha256);
    digest(one).is_some() && digest(one) == digest(other)
}

/// A write over what was there; one without a stamp is none of ours and counts as a create.
fn is_replacement(meta: &ObjectMeta) -> bool {
    meta.attributes.stamp.is_some_and(|stamp| !stamp.create)
}

/// What the sights come to. `order`: all members, those first whose copies count where two exclude
/// each other.
pub(super) fn resolve(sights: &[Sight], verdicts: &Verdicts, order: &[usize]) -> Resolved {
    let mut resolved = Resolved::default();
    let mut live: Vec<(usize, &ObjectMeta)> = Vec::new();
    for &member in order {
        match &sights[member] {
            Sight::Copy(meta) if verdicts.kills(version_of(meta)) => resolved.stale.push(member),
            Sight::Copy(meta) => live.push((member, meta)),
            Sight::Damaged => resolved.damaged.push(member),
            Sight::Dark(_) => resolved.dark.push(member),
            Sight::Absent => {}
        }
    }
    let replaced_below =
        live.iter().filter(|(_, meta)| is_replacement(meta)).map(|(_, m)| version_of(m)).max();
    let replaced_below = replaced_below.flatten().max(verdicts.replaced_below());
    let is_current = |meta: &ObjectMeta| version_of(meta) >= replaced_below;
    let current = || live.iter().filter(|(_, meta)| is_current(meta));
    // A home that has nothing shows that there is nothing: what was written down then counts.
    let vouched = current().find(|(_, meta)| verdicts.prefers(version_of(meta)));
    let Some(&(_, winner)) = vouched.or_else(|| current().next()) else {
        // Their replacement is gone; they are not what anybody shall see.
        resolved.conflicting.extend(live.into_iter().map(|(member, _)| member));
        return resolved;
    };
    for (member, meta) in live {
        if is_same(meta, winner) {
            resolved.holders.push(member);
        } else if is_current(meta) && !has_same_bytes(meta, winner) {
            resolved.conflicting.push(member);
        } else {
            resolved.stale.push(member);
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::model::{
        Attributes, Digest, ETag, ErrorKind, Lock, ObjectKey, Provider, Representation, Stamp,
    };

    fn version(millis: u64) -> Version {
        Version { millis, counter: 0, writer: 1 }
    }

    fn copy(stamp: Option<(u64, bool)>, bytes: &str) -> Sight {
        let digest = Digest::of(bytes.as_bytes());
        let mut attributes = Attributes::new("text/plain");
        attributes.stamp = stamp.map(|(millis, create)| Stamp::new(version(millis), create));
        attributes.representation =
            Some(Representation { sha256: digest, size: 1, stored_sha256: digest });
        Sight::Copy(Box::new(ObjectMeta {
            key: ObjectKey::new("k"),
            etag: ETag::new("e"),
            version_id: None,
            stored_size: 1,
            last_modified: SystemTime::UNIX_EPOCH,
            attributes,
            lock: Lock::default(),
            provider: Provider::Memory,
        }))
    }

    fn dark() -> Sight {
        Sight::Dark(StoreError::new(ErrorKind::Unavailable, Provider::Memory, "dark"))
    }

    fn tombstone(millis: u64) -> Verdicts {
        Verdicts { tombstone: Some(version(millis)), ..Verdicts::default() }
    }

    #[test]
    fn table() {
        let none = Verdicts::default();
        let killed = vec![(version(5), version(8))];
        let kill = Verdicts { killed: killed.clone(), ..Verdicts::default() };
        let vouched = vec![(version(5), version(9))];
        let confirmed = Verdicts { killed, vouched, ..Verdicts::default() };
        let replaced = Verdicts { replacements: vec![version(6)], ..Verdicts::default() };
        let undone = Verdicts { killed: vec![(version(6), version(8))], ..replaced.clone() };
        let (absent, damaged) = (Sight::Absent, Sight::Damaged);
        let resolved = |holders: &[usize], stale: &[usize], conflicting: &[usize]| Resolved {
            holders: holders.to_vec(),
            stale: stale.to_vec(),
            conflicting: conflicting.to_vec(),
            ..Resolved::default()
        };
        let cases = [
            ("nowhere", vec![absent.clone(), absent.clone()], &none, resolved(&[], &[], &[])),
            (
                "both",
                vec![copy(Some((5, true)), "x"), copy(Some((5, true)), "x")],
                &none,
                resolved(&[0, 1], &[], &[]),
            ),
            (
                "a replacement wins wherever it is",
                vec![copy(Some((5, true)), "x"), copy(Some((6, false)), "y")],
                &none,
                resolved(&[1], &[0], &[]),
            ),
            (
                "two creates are a conflict, the first member is served",
                vec![copy(Some((6, true)), "x"), copy(Some((5, true)), "y")],
                &none,
                resolved(&[0], &[], &[1]),
            ),
            (
                "two creates of the same bytes are none",
                vec![copy(Some((6, true)), "x"), copy(Some((5, true)), "x")],
                &none,
                resolved(&[0], &[1], &[]),
            ),
            (
                "a create above a replacement is one too",
                vec![copy(Some((4, false)), "x"), copy(Some((7, true)), "y")],
                &none,
                resolved(&[0], &[], &[1]),
            ),
            (
                "objects of others count as the oldest",
                vec![copy(None, "x"), copy(Some((7, false)), "y")],
                &none,
                resolved(&[1], &[0], &[]),
            ),
            (
                "objects of others with the same bytes are one",
                vec![copy(None, "x"), copy(None, "x")],
                &none,
                resolved(&[0, 1], &[], &[]),
            ),
            (
                "deleted",
                vec![copy(Some((5, true)), "x"), copy(None, "y")],
                &tombstone(6),
                resolved(&[], &[0, 1], &[]),
            ),
            (
                "written after the delete",
                vec![copy(Some((5, true)), "x"), copy(Some((7, true)), "y")],
                &tombstone(6),
                resolved(&[1], &[0], &[]),
            ),
            (
                "an attempt that landed late",
                vec![copy(Some((5, true)), "x"), copy(Some((7, true)), "y")],
                &kill,
                resolved(&[1], &[0], &[]),
            ),
            (
                "one that somebody found and confirmed",
                vec![copy(Some((5, true)), "x"), Sight::Absent],
                &confirmed,
                resolved(&[0], &[], &[]),
            ),
            (
                "replaced, and the replacement is gone",
                vec![copy(Some((5, true)), "x"), absent.clone()],
                &replaced,
                resolved(&[], &[], &[0]),
            ),
            (
                "replaced, deleted and written again",
                vec![copy(Some((5, true)), "x"), copy(Some((9, true)), "y")],
                &replaced,
                resolved(&[1], &[0], &[]),
            ),
            (
                "an attempt to replace that does not count",
                vec![copy(Some((5, true)), "x"), absent.clone()],
                &undone,
                resolved(&[0], &[], &[]),
            ),
        ];
        for (name, sights, verdicts, expected) in cases {
            assert_eq!(resolve(&sights, verdicts, &[0, 1]), expected, "{name}");
        }
        let creates = [copy(Some((6, true)), "x"), copy(Some((5, true)), "y")];
        let found = resolve(&creates, &none, &[1, 0]);
        assert_eq!((found.holders, found.conflicting), (vec![1], vec![0]), "the other one decides");
        let found = resolve(&[damaged, dark(), copy(Some((5, true)), "x")], &none, &[0, 1, 2]);
        assert_eq!((found.damaged, found.dark, found.holders), (vec![0], vec![1], vec![2]));
    }
}
