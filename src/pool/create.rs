//! Writing a proof for a key at which nothing is known to be: the usual PUT.
//!
//! *Fallback*: one call to the home. Where it fails, the next member that can takes the proof within
//! the same request, and a line says that the home misses it. *Mirror*: see `everywhere`.
//!
//! Where other members than the homes may have the key, or it has unfinished business, the write
//! goes by `rewrite`, which looks at all of them first.

use futures_util::future::join3;
use tokio::time::Instant;

use super::core::{Picture, passes_on};
use super::doubts::Doubt;
use super::line::{Line, What};
use super::member::Asked;
use super::parts::Parts;
use super::policy::Planted;
use super::state::Verdicts;
use crate::model::{
    Attributes, Class, ErrorKind, ObjectKey, ObjectMeta, Payload, PoolMode, PutMode, Stamp,
    StoreError, Stored, Version,
};

/// A write that is the same wherever it goes.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) key: ObjectKey,
    pub(super) payload: Payload,
    /// With the pool's stamp.
    pub(super) attributes: Attributes,
}

impl Write {
    pub(super) fn stamp(&self) -> Stamp {
        let none = Version { millis: 0, counter: 0, writer: 0 };
        self.attributes.stamp.unwrap_or(Stamp::new(none, true))
    }

    pub(super) fn version(&self) -> Version {
        self.stamp().version
    }
}

/// Members that were asked in vain, and what they said.
pub(super) type Tried = Vec<(usize, StoreError)>;

impl Parts {
    /// Stores an object, see the module.
    pub(super) async fn put(
        &self,
        key: &ObjectKey,
        payload: Payload,
        mut attributes: Attributes,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let is_plain = mode == PutMode::Create && !self.view.is_touched(key) && self.is_whole();
        if !is_plain {
            // In a box, as are all ways but the usual one: what is seldom done is not carried along.
            let call =
                Box::pin(self.clone().put_beside_others(key.clone(), payload, attributes, mode));
            return self.to_the_end(call).await;
        }
        attributes.stamp = Some(self.stamp_for(&attributes, true));
        match self.policy.mode {
            PoolMode::Fallback => self.create_at_home(key, payload, attributes).await,
            PoolMode::Mirror => {
                let parts = self.clone();
                let write = Write { key: key.clone(), payload, attributes };
                let call = Box::pin(async move {
                    let key = write.key.clone();
                    let result = parts.clone().create_everywhere(write).await;
                    parts.confirm_copies(&key, result).await
                });
                self.to_the_end(call).await
            }
        }
    }

    /// Where something may be there already.
    async fn put_beside_others(
        self,
        key: ObjectKey,
        payload: Payload,
        attributes: Attributes,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let is_create = mode == PutMode::Create;
        let result = self.rewrite(&key, payload, attributes, mode).await;
        if is_create { self.confirm_copies(&key, result).await } else { result }
    }

    /// Attributes with the stamp of a write that begins now.
    pub(super) fn stamped(&self, attributes: Attributes, create: bool) -> Attributes {
        let stamp = Some(self.stamp_for(&attributes, create));
        Attributes { stamp, ..attributes }
    }

    fn stamp_for(&self, attributes: &Attributes, create: bool) -> Stamp {
        let encryption = attributes.encryption;
        Stamp { encryption, ..Stamp::new(self.clock.next(), create) }
    }

    /// Whether a home that has nothing shows that nobody has anything.
    fn is_whole(&self) -> bool {
        let homes = self.homes();
        let has_strangers = self.members.iter().any(|member| !member.role.takes_writes());
        !has_strangers && homes.iter().all(|&home| self.members[home].is_complete())
    }

    /// That a proof is there already will be told as a success where it has the same bytes: then it
    /// must have as many copies as any other.
    async fn confirm_copies(
        &self,
        key: &ObjectKey,
        result: Result<Stored, StoreError>,
    ) -> Result<Stored, StoreError> {
        let is_taken = result.as_ref().is_err_and(|error| error.kind() == ErrorKind::AlreadyExists);
        if !is_taken || self.policy.mode == PoolMode::Fallback || self.policy.min_copies < 2 {
            return result;
        }
        let copies = |picture: &Picture| picture.resolved.holders.len();
        if copies(&self.look(key).await) < self.policy.min_copies {
            self.settle_soon(key).await;
            let found = copies(&self.look(key).await);
            if found < self.policy.min_copies {
                return Err(self.too_few(found));
            }
        }
        result
    }

    /// A create met something at a member where nothing was known to be. Another replica may have
    /// deleted it there, or written it elsewhere: its records say so.
    pub(super) async fn met(&self, write: Write, error: StoreError) -> Result<Stored, StoreError> {
        if error.kind() != ErrorKind::AlreadyExists {
            return Err(error);
        }
        // Where they cannot be read, what is known is all there is.
        let _ = self.refresh().await;
        if !self.view.is_touched(&write.key) {
            return Err(error);
        }
        let Write { key, payload, attributes } = write;
        self.rewrite(&key, payload, attributes, PutMode::Create).await
    }

    /// Sends a write to one member.
    pub(super) async fn put_at(
        &self,
        place: usize,
        write: &Write,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let Write { key, payload, attributes } = write;
        self.send_to(place, key, payload.clone(), attributes.clone(), mode).await
    }

    async fn send_to(
        &self,
        place: usize,
        key: &ObjectKey,
        payload: Payload,
        attributes: Attributes,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let member = &self.members[place];
        let put = member.backend.put(key, payload, attributes, mode);
        member.timed(Asked::Write, put).await
    }

    async fn create_at_home(
        &self,
        key: &ObjectKey,
        payload: Payload,
        attributes: Attributes,
    ) -> Result<Stored, StoreError> {
        let Some(&home) = self.homes().first() else {
            return Err(self.no_member("takes writes"));
        };
        let error = if self.members[home].is_full() {
            self.full(home)
        } else {
            let sent = (payload.clone(), attributes.clone());
            match self.send_to(home, key, sent.0, sent.1, PutMode::Create).await {
                Ok(stored) => return Ok(self.outward_stored(home, stored, Some(false))),
                Err(error) if passes_on(&error) => error,
                Err(error) => {
                    let (parts, write) =
                        (self.clone(), Write { key: key.clone(), payload, attributes });
                    let call = Box::pin(async move { parts.met(write, error).await });
                    return self.to_the_end(call).await;
                }
            }
        };
        let write = Write { key: key.clone(), payload, attributes };
        self.counters.failed_over(error.kind());
        let call = Box::pin(self.clone().take_over(write, vec![(home, error)]));
        self.to_the_end(call).await
    }

    /// The first of the other members that can takes what the home did not.
    async fn take_over(self, write: Write, mut tried: Tried) -> Result<Stored, StoreError> {
        let turn = self.lock(&write.key).await;
        for place in 0..self.members.len() {
            let member = &self.members[place];
            if tried.iter().any(|(other, _)| *other == place) || !member.role.takes_writes() {
                continue;
            }
            if member.is_full() {
                tried.push((place, self.full(place)));
                continue;
            }
            let missing = self.names(tried.iter().map(|(place, _)| *place));
            let line = self.copy_line(&write.key, write.stamp(), &[place], missing);
            let put = self.put_at(place, &write, PutMode::Create);
            let (put, noted, ()) =
                join3(put, self.write_down(vec![line]), self.hear_others()).await;
            match put {
                Ok(stored) => {
                    noted.map_err(|error| self.not_written_down(&write, error))?;
                    if self.is_hidden(&write) {
                        // By a delete through a replica whose clock is ahead, which came before.
                        let Write { key, payload, attributes } = write;
                        drop(turn);
                        return self.rewrite(&key, payload, attributes, PutMode::Create).await;
                    }
                    return Ok(self.outward_stored(place, stored, Some(false)));
                }
                Err(error) if passes_on(&error) => tried.push((place, error)),
                Err(error) => {
                    self.give_up(&write, &tried).await;
                    // What is there is about to be confirmed to somebody: it must not be forgotten
                    // that the home misses it.
                    if error.kind() == ErrorKind::AlreadyExists {
                        self.note_missing(&write.key, place, &tried).await?;
                    }
                    return Err(error);
                }
            }
        }
        self.doubt(&write, &tried);
        let errors: Vec<_> = tried.into_iter().map(|(_, error)| error).collect();
        Err(self.failure(&errors))
    }

    /// Whether what is written down deletes this write, which nobody was told of yet.
    pub(super) fn is_hidden(&self, write: &Write) -> bool {
        Verdicts::of(&self.view.lines(&write.key), |_| None).kills(Some(write.version()))
    }

    /// Writes down that what one member has belongs to others too.
    pub(super) async fn note_missing(
        &self,
        key: &ObjectKey,
        has: usize,
        tried: &Tried,
    ) -> Result<(), StoreError> {
        if self.view.is_pending(key) {
            return Ok(());
        }
        let sight = self.look_at(has, key).await;
        let stamp = self.stamp_of(sight.copy());
        let missing = self.names(tried.iter().map(|(place, _)| *place));
        self.write_down(vec![self.copy_line(key, stamp, &[has], missing)]).await
    }

    /// A refusal is about to be answered: what of the write is still on its way must not count.
    pub(super) async fn give_up(&self, write: &Write, tried: &Tried) {
        let late = tried.iter().filter(|(_, error)| error.class() == Class::Unknown);
        let late: Vec<usize> = late.map(|(place, _)| *place).collect();
        if !late.is_empty()
            && self
                .write_down(vec![self.kill_line(write, vec![write.version()], late)])
                .await
                .is_err()
        {
            self.doubt(write, tried);
        }
    }

    /// That attempts at a write's key shall not count, should they land at these members.
    pub(super) fn kill_line(
        &self,
        write: &Write,
        versions: Vec<Version>,
        places: impl IntoIterator<Item = usize>,
    ) -> Line {
        let missing = self.names(places);
        Line::new(What::Kill { versions }, &write.key, write.version(), missing)
    }

    pub(super) fn copy_line(
        &self,
        key: &ObjectKey,
        stamp: Stamp,
        on: &[usize],
        missing: Vec<String>,
    ) -> Line {
        let what = What::Copy { on: self.names(on.iter().copied()), replaces: !stamp.create };
        Line::new(what, key, stamp.version, missing)
    }

    /// The stamp for a line about a copy: one without its own is somebody else's create.
    pub(super) fn stamp_of(&self, copy: Option<&ObjectMeta>) -> Stamp {
        let stamp = copy.and_then(|meta| meta.attributes.stamp);
        stamp.unwrap_or_else(|| Stamp::new(self.clock.next(), true))
    }

    /// Has lines written down, before anybody is answered.
    pub(super) async fn write_down(&self, lines: Vec<Line>) -> Result<(), StoreError> {
        let is_planted = |line: &Line| match (&line.what, self.policy.planted) {
            (What::Copy { .. }, Some(Planted::DropRepairRecord)) => true,
            (What::Delete, Some(Planted::DropTombstone)) => true,
            (What::Announce, Some(Planted::DropAnnouncement)) => true,
            (_, _) => false,
        };
        let lines: Vec<_> = lines.into_iter().filter(|line| !is_planted(line)).collect();
        if lines.is_empty() { Ok(()) } else { self.scribe.append(lines).await }
    }

    /// Remembers the attempts of a write that failed and may land late.
    pub(super) fn doubt(&self, write: &Write, tried: &Tried) {
        if tried.iter().any(|(_, error)| error.class() == Class::Unknown) {
            self.in_doubt(&write.key, write.version(), false);
        }
    }

    /// Remembers an attempt of which nobody knows what became.
    pub(super) fn in_doubt(&self, key: &ObjectKey, version: Version, is_delete: bool) {
        self.view
            .doubts
            .add(key, Doubt { version, is_delete, past: Instant::now() + self.policy.grace });
    }

    pub(super) fn full(&self, place: usize) -> StoreError {
        let member = &self.members[place];
        let detail = format!("the backend '{}' has reached its quota", member.name);
        StoreError::new(ErrorKind::QuotaExceeded, member.backend.provider(), detail)
    }

    /// A write took effect and its line did not: from now on no member's silence about it counts.
    pub(super) fn not_written_down(&self, write: &Write, cause: StoreError) -> StoreError {
        self.in_doubt(&write.key, write.version(), false);
        let detail = "the proof may be stored, but not on every backend that should have it: send \
                      it again";
        StoreError::new(ErrorKind::Indeterminate, self.provider(), detail).with_source(cause)
    }

    pub(super) fn too_few(&self, copies: usize) -> StoreError {
        let wanted = self.policy.min_copies;
        let detail = format!(
            "the proof may be stored: {copies} of at least {wanted} copies are; send it again"
        );
        StoreError::new(ErrorKind::Indeterminate, self.provider(), detail)
    }
}
