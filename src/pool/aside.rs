//! Copies that must not be served and must not be lost: put aside, each beside a note of what it was.
//!
//! How many there are is read from the members, so that every replica knows of what another one put
//! aside, and forgets it once a person has looked and deleted it there.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;

use super::parts::Parts;
use super::scribe::put_record;
use super::state::version_of;
use crate::model::{ErrorKind, ObjectKey, ObjectMeta};

/// Why a copy is put aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Two creates of one key were acknowledged: the losing one.
    Conflict,
    /// Its bytes are not those that were stored.
    WrongBytes,
}

impl Why {
    /// Name of its folder, which is on disks and in buckets.
    pub(super) fn folder(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::WrongBytes => "quarantine",
        }
    }
}

/// How many copies lie aside at each member.
#[derive(Debug)]
pub(super) struct Asides {
    conflicts: Vec<AtomicU64>,
    wrong: Vec<AtomicU64>,
}

impl Asides {
    pub(super) fn new(members: usize) -> Self {
        let none = || (0..members).map(|_| AtomicU64::new(0)).collect();
        Self { conflicts: none(), wrong: none() }
    }

    /// At all members.
    pub(super) fn count(&self, why: Why) -> u64 {
        self.of(why).iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn of(&self, why: Why) -> &[AtomicU64] {
        match why {
            Why::Conflict => &self.conflicts,
            Why::WrongBytes => &self.wrong,
        }
    }
}

/// End of a note's name.
const NOTE: &str = ".json";

impl Parts {
    /// Keeps what is about to be replaced; answers whether it is kept, or nobody could keep it.
    pub(super) async fn put_aside(
        &self,
        why: Why,
        place: usize,
        key: &ObjectKey,
        meta: Option<&ObjectMeta>,
    ) -> bool {
        let member = &self.members[place];
        let name = self.records.aside(why, key, self.clock.next());
        // Copied by the member itself: the bytes are wrong, or nobody else's business.
        let copied = member.backend.salvage(key, &name).await;
        let known = meta.and_then(|meta| meta.attributes.representation);
        let note = json!({
            "key": key.as_str(),
            "member": &*member.name,
            "why": why.folder(),
            "version": meta.and_then(version_of).map(|version| version.to_string()),
            "sha256": known.map(|known| known.sha256.to_hex()),
            "stored_size": meta.map(|meta| meta.stored_size),
            "bytes_kept": copied.is_ok(),
        });
        let note_name = ObjectKey::new(format!("{name}{NOTE}"));
        let body = bytes::Bytes::from(note.to_string());
        let noted = put_record(&self.core, place, &note_name, &body).await;
        let is_kept = match copied {
            Ok(()) => noted.is_ok(),
            // The store itself refuses to give the bytes out: there is nothing to keep.
            Err(error) if error.kind() == ErrorKind::Corrupt => noted.is_ok(),
            Err(error) => {
                tracing::warn!(?error, why = why.folder(), "a copy cannot be put aside yet");
                false
            }
        };
        if noted.is_ok() {
            self.asides.of(why)[place].fetch_add(1, Ordering::Relaxed);
        }
        is_kept
    }

    /// Counts what lies aside. Of a member that does not answer what was counted before holds.
    pub(super) async fn count_asides(&self) {
        for why in [Why::Conflict, Why::WrongBytes] {
            for (place, count) in self.asides.of(why).iter().enumerate() {
                let before = count.load(Ordering::Relaxed);
                let Ok(items) = self.list_records(place, self.records.asides(why)).await else {
                    continue;
                };
                let notes = items.iter().filter(|item| item.key.as_str().ends_with(NOTE)).count();
                // Where one was put aside meanwhile, the next count has it.
                let _ = count.compare_exchange(
                    before,
                    notes as u64,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
            }
        }
    }
}
