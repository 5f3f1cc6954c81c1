//! Brings one key to the state that it should have, at every member that answers.
//!
//! Idempotent, and on condition that each member still has what was seen there: replicas may do it
//! at once, and callers may write meanwhile. Bytes are compared before they are copied. What is
//! wrong or in conflict is put aside before it goes.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt as _;
use tokio::time::Instant;

use super::aside::Why;
use super::core::{Picture, count};
use super::create::Write;
use super::member::{is_race, is_silence};
use super::parts::Parts;
use super::rewrite::over;
use super::state::{Sight, version_of};
use super::transfer::asked;
use super::view::LineId;
use crate::model::{
    Body, ErrorKind, GetOptions, Hasher, ObjectKey, ObjectMeta, Payload, PutMode, Retrieved,
    SpoolWriter, StoreError,
};

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// Every member is as it should be.
    Done,
    /// These did not answer.
    Waiting(BTreeSet<usize>),
    /// Somebody else was there: to be looked at again.
    Again,
    /// A member refuses what belongs to it: to be tried much later.
    Stuck,
}

/// Why a step stopped.
enum Stop {
    Raced,
    Silent(usize),
    Refused,
}

impl Parts {
    /// Settles a key. Its lines are marked where that succeeds.
    pub(super) async fn settle(&self, key: &ObjectKey) -> Settled {
        self.settle_and_count(key).await.0
    }

    /// The same, and how many copies were put aside for it.
    pub(super) async fn settle_and_count(&self, key: &ObjectKey) -> (Settled, u64) {
        let _turn = self.lock(key).await;
        let now = Instant::now();
        let doubts = self.view.doubts.of(key);
        let picture = self.look(key).await;
        match self.bury_in_doubt(key, &picture, &doubts).await {
            Ok(false) => {}
            Ok(true) => return (Settled::Again, 0),
            Err(_) => return (Settled::Stuck, 0),
        }
        let picture = self.without_wrong_bytes(key, picture).await;
        let settled = self.settle_picture(key, &picture).await;
        if settled == Settled::Done {
            let ids: Vec<LineId> = picture.lines.iter().map(|known| known.id).collect();
            self.view.mark(&ids, true);
            self.errands.done(key);
            self.view.doubts.forget(key, |doubt| doubt.past <= now);
        }
        (settled, picture.aside.into_inner())
    }

    /// Reads what is under suspicion: wrong bytes are no copy.
    async fn without_wrong_bytes(&self, key: &ObjectKey, mut picture: Picture) -> Picture {
        let suspects = (0..self.members.len()).filter(|&m| self.errands.is_suspect(key, m));
        let mut wrong = BTreeMap::new();
        for place in suspects {
            let Sight::Copy(meta) = &picture.sights[place] else { continue };
            if self.has_right_bytes(place, key).await == Some(false) {
                wrong.insert(place, meta.as_ref().clone());
                picture.sights[place] = Sight::Damaged;
            }
        }
        if wrong.is_empty() {
            return picture;
        }
        Picture { wrong, ..self.picture(key, picture.sights) }
    }

    /// Whether a member's copy is what was stored; nothing where it does not say.
    pub(super) async fn has_right_bytes(&self, place: usize, key: &ObjectKey) -> Option<bool> {
        match self.get_at(place, key, &GetOptions::default()).await {
            Ok(found) => {
                let digest = found.meta.attributes.representation.map(|r| r.stored_sha256);
                match (found.body, digest) {
                    // Compared already, or not to be compared.
                    (Body::Bytes(_), _) | (_, None) => Some(true),
                    (Body::Stream(mut stream), Some(digest)) => {
                        let mut hasher = Hasher::new();
                        while let Some(piece) = stream.next().await {
                            match piece {
                                Ok(piece) => hasher.update(&piece),
                                Err(error) if error.kind() == ErrorKind::Corrupt => {
                                    return Some(false);
                                }
                                Err(_) => return None,
                            }
                        }
                        Some(hasher.finish() == digest)
                    }
                }
            }
            Err(error) => (error.kind() == ErrorKind::Corrupt).then_some(false),
        }
    }

    async fn settle_picture(&self, key: &ObjectKey, picture: &Picture) -> Settled {
        let mut silent: BTreeSet<usize> = picture.resolved.dark.iter().copied().collect();
        if picture.is_behind() {
            return Settled::Waiting(silent);
        }
        if self.has_returned(picture) {
            // Comparing judges it: to copy it would bring it back.
            return Settled::Stuck;
        }
        let outcome = match picture.winner() {
            Some(winner) => self.settle_object(key, picture, winner, &mut silent).await,
            None => self.settle_absence(key, picture).await,
        };
        match outcome {
            Err(Stop::Raced) => Settled::Again,
            Err(Stop::Refused) => Settled::Stuck,
            Err(Stop::Silent(place)) => {
                silent.insert(place);
                Settled::Waiting(silent)
            }
            Ok(()) if silent.is_empty() => Settled::Done,
            Ok(()) => Settled::Waiting(silent),
        }
    }

    async fn settle_object(
        &self,
        key: &ObjectKey,
        picture: &Picture,
        winner: &ObjectMeta,
        silent: &mut BTreeSet<usize>,
    ) -> Result<(), Stop> {
        let resolved = &picture.resolved;
        for place in self.set_aside(Why::Conflict, key, picture).await? {
            tracing::error!(
                member = &*self.members[place].name,
                "two proofs were stored under one key: the later copy was put aside"
            );
        }
        let homes = self.homes();
        let lacking: Vec<usize> = homes
            .iter()
            .copied()
            .filter(|home| !resolved.holders.contains(home) && !resolved.dark.contains(home))
            .collect();
        if let Some(line) = self.unwritten(key, picture) {
            // Whoever deletes the key now must find that a copy is under way.
            return match self.write_down(vec![line]).await {
                Ok(()) => Err(Stop::Raced),
                Err(_) => Err(Stop::Refused),
            };
        }
        let mut refused = None;
        for place in lacking {
            match self.bring(key, picture, winner, place).await {
                Ok(()) => count(&self.counters.repaired_copies),
                Err(Stop::Silent(place)) => {
                    silent.insert(place);
                }
                Err(Stop::Refused) => refused = Some(Stop::Refused),
                Err(raced) => return Err(raced),
            }
        }
        // The others have had what can be had.
        if let Some(refused) = refused {
            return Err(refused);
        }
        let is_home_whole = homes.iter().all(|home| !silent.contains(home)) && !homes.is_empty();
        let is_elsewhere = |place: &&usize| !homes.contains(*place);
        let outdated = resolved.stale.iter().chain(&resolved.conflicting);
        for &place in outdated.filter(is_elsewhere) {
            self.remove(key, picture, place).await?;
        }
        let mut further = resolved.holders.iter().filter(is_elsewhere).peekable();
        // A copy of the object itself stays until all homes have it, and have been read.
        if is_home_whole && further.peek().is_some() {
            self.verify(key, homes).await?;
            for &place in further {
                self.remove(key, picture, place).await?;
            }
        }
        Ok(())
    }

    /// Puts aside what has to be before it goes; answers where. What is only read is neither put aside
    /// nor taken away.
    async fn set_aside(
        &self,
        why: Why,
        key: &ObjectKey,
        picture: &Picture,
    ) -> Result<Vec<usize>, Stop> {
        let mut places = Vec::new();
        for &place in &picture.resolved.conflicting {
            let is_ours = self.members[place].role.takes_deletes();
            let Some(meta) = picture.sights[place].copy().filter(|_| is_ours) else { continue };
            if !self.put_aside(why, place, key, Some(meta)).await {
                return Err(Stop::Refused);
            }
            picture.put_aside();
            places.push(place);
        }
        Ok(places)
    }

    /// Reads the copies at homes, before the last other one goes.
    async fn verify(&self, key: &ObjectKey, homes: &[usize]) -> Result<(), Stop> {
        for &home in homes {
            match self.has_right_bytes(home, key).await {
                Some(true) => {}
                Some(false) => {
                    self.errands.wrong_bytes(key, home);
                    return Err(Stop::Raced);
                }
                None => return Err(Stop::Silent(home)),
            }
        }
        Ok(())
    }

    async fn settle_absence(&self, key: &ObjectKey, picture: &Picture) -> Result<(), Stop> {
        for &place in &picture.resolved.stale {
            self.remove(key, picture, place).await?;
            count(&self.counters.repaired_deletes);
        }
        for place in self.set_aside(Why::WrongBytes, key, picture).await? {
            self.remove(key, picture, place).await?;
        }
        // Nobody has the bytes of something that nobody can read: only a delete removes it.
        for &place in &picture.resolved.damaged {
            if picture.is_deleted_at(place) {
                self.remove(key, picture, place).await?;
            }
        }
        Ok(())
    }

    async fn remove(&self, key: &ObjectKey, picture: &Picture, place: usize) -> Result<(), Stop> {
        if !self.members[place].role.takes_deletes() {
            // It stays, and so does the line that says that it is deleted.
            return if picture.verdicts.tombstone.is_some() { Err(Stop::Refused) } else { Ok(()) };
        }
        let etag = picture.sights[place].copy().map(|meta| &meta.etag);
        match self.delete_at(place, key, etag).await {
            Ok(_) => Ok(()),
            Err(error) if is_race(&error) => Err(Stop::Raced),
            Err(error) if is_silence(&error) => Err(Stop::Silent(place)),
            Err(_) => Err(Stop::Refused),
        }
    }

    /// Copies the object from a member that has it to one that has not.
    async fn bring(
        &self,
        key: &ObjectKey,
        picture: &Picture,
        winner: &ObjectMeta,
        to: usize,
    ) -> Result<(), Stop> {
        if self.members[to].is_full() {
            return Err(Stop::Refused);
        }
        let mib = u32::try_from(winner.stored_size >> 20).unwrap_or(u32::MAX).saturating_add(1);
        let _room = self.moving.acquire_many(mib.min(self.policy.repair_mib.max(1))).await;
        let mut failed = Stop::Silent(to);
        for &from in &picture.resolved.holders {
            let (meta, payload) = match self.take(from, key).await {
                Ok(taken) => taken,
                Err(error) => {
                    if error.kind() == ErrorKind::NotFound {
                        return Err(Stop::Raced);
                    }
                    failed = if is_silence(&error) { Stop::Silent(from) } else { Stop::Refused };
                    continue;
                }
            };
            if version_of(&meta) != version_of(winner) {
                return Err(Stop::Raced);
            }
            let write = Write { key: key.clone(), payload, attributes: asked(meta.attributes) };
            let wrong = picture.wrong.get(&to);
            if wrong.is_some() || matches!(picture.sights[to], Sight::Damaged) {
                if !self.put_aside(Why::WrongBytes, to, key, wrong).await {
                    return Err(Stop::Refused);
                }
                picture.put_aside();
            }
            let mode = match wrong {
                None => over(&picture.sights[to]),
                Some(wrong) => PutMode::Replace(wrong.etag.clone()),
            };
            return match self.put_at(to, &write, mode).await {
                Ok(_) => Ok(()),
                Err(error) => {
                    // It may land when the key has long been deleted.
                    self.doubt(&write, &vec![(to, error.clone())]);
                    match error {
                        error if is_race(&error) => Err(Stop::Raced),
                        error if is_silence(&error) => Err(Stop::Silent(to)),
                        _ => {
                            let member = &*self.members[to].name;
                            tracing::warn!(member, ?error, "a proof cannot be copied there");
                            Err(Stop::Refused)
                        }
                    }
                }
            };
        }
        Err(failed)
    }

    /// An object from a member, whole and compared with its digest, to be written elsewhere.
    pub(super) async fn take(
        &self,
        from: usize,
        key: &ObjectKey,
    ) -> Result<(ObjectMeta, Payload), StoreError> {
        let found = self.get_at(from, key, &GetOptions::default()).await?;
        let result = self.payload_of(found).await;
        if result.as_ref().is_err_and(|error| error.kind() == ErrorKind::Corrupt) {
            self.errands.wrong_bytes(key, from);
        }
        result
    }

    /// What was read, whole and compared with its digest.
    pub(super) async fn payload_of(
        &self,
        found: Retrieved,
    ) -> Result<(ObjectMeta, Payload), StoreError> {
        let mut stream = match found.body {
            Body::Bytes(bytes) => return Ok((found.meta, Payload::Bytes(bytes))),
            Body::Stream(stream) => stream,
        };
        let broken = |cause: std::io::Error| {
            let detail = "the temporary file of a copy cannot be written";
            StoreError::new(ErrorKind::Unavailable, self.provider(), detail).with_source(cause)
        };
        let mut hasher = Hasher::new();
        let mut spool = SpoolWriter::create_in(&self.policy.spool_folder).map_err(broken)?;
        while let Some(piece) = stream.next().await.transpose()? {
            hasher.update(&piece);
            spool.append(&piece).map_err(broken)?;
        }
        let digest = found.meta.attributes.representation.map(|known| known.stored_sha256);
        if digest.is_some_and(|digest| digest != hasher.finish()) {
            let detail =
                "the stored bytes do not match their sha-256: the proof is damaged at rest";
            return Err(StoreError::new(ErrorKind::Corrupt, found.meta.provider, detail));
        }
        Ok((found.meta, spool.finish()))
    }
}
