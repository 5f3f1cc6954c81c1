//! Writing where something may be: replacing, overwriting, and keys with unfinished business.
//!
//! All members are looked at first. The write goes to the home, or to the first member that takes
//! it, on condition that what is there is what was seen; then to the other homes. Whoever is left
//! with another state than the new one stands in a line before the answer. What takes the place of
//! another at several homes is announced by a line before the first of them: should the process die
//! on the way, whoever reads the key knows to look at all.

use futures_util::future::join_all;

use super::core::{Picture, has_news, passes_on};
use super::create::{Tried, Write};
use super::line::{Line, What};
use super::member::is_race;
use super::parts::Parts;
use super::state::Sight;
use super::view::UnderWay;
use crate::model::{
    Attributes, Class, ErrorKind, ObjectKey, Payload, PoolMode, PutMode, StoreError, Stored,
    Version,
};

/// Looks at a key that others write too, before the caller is told.
const ATTEMPTS: usize = 8;

/// What became of an attempt.
enum Attempt {
    /// It took effect at this member.
    Done(usize, Box<Stored>),
    /// Somebody else was there between the look and the write.
    Raced(StoreError),
    /// Nobody took it.
    Failed(StoreError),
}

impl Parts {
    pub(super) async fn rewrite(
        &self,
        key: &ObjectKey,
        payload: Payload,
        attributes: Attributes,
        mode: PutMode,
    ) -> Result<Stored, StoreError> {
        let _turn = self.lock(key).await;
        let mut raced = self.other_version();
        for _ in 0..ATTEMPTS {
            let doubts = self.view.doubts.of(key);
            let picture = self.look_to_change(key).await;
            if self.bury_in_doubt(key, &picture, &doubts).await? {
                continue;
            }
            if let Err(error) = self.check(&picture, key, &mode) {
                return Err(self.confirmed(&picture, key, error).await);
            }
            let attributes = self.stamped(attributes.clone(), mode == PutMode::Create);
            let write = Write { key: key.clone(), payload: payload.clone(), attributes };
            let announced = self.announce(&picture, key, write.version()).await?;
            // Whether it is known what every home has.
            let end = |is_over| announced.iter().filter(|_| is_over).for_each(UnderWay::over);
            let mut tried = Tried::new();
            let attempt = self.first(&picture, &write, &mut tried).await;
            let is_doubtful = tried.iter().any(|(_, error)| error.class() == Class::Unknown);
            match attempt {
                Attempt::Done(place, stored) => {
                    let result = self.follow(&picture, write, place, *stored, tried).await;
                    end(result.is_ok());
                    return result;
                }
                Attempt::Raced(error) => {
                    self.give_up(&write, &tried).await;
                    end(!is_doubtful);
                    raced = error;
                }
                Attempt::Failed(error) => {
                    self.doubt(&write, &tried);
                    end(!is_doubtful && error.class() != Class::Unknown);
                    return Err(error);
                }
            }
        }
        Err(raced)
    }

    /// Looks at a key that is about to be changed. Where a member is silent, another replica's word is
    /// not to be had from it: what that one wrote down elsewhere must be known.
    async fn look_to_change(&self, key: &ObjectKey) -> Picture {
        let picture = self.look(key).await;
        if picture.resolved.dark.is_empty() {
            return picture;
        }
        self.hear_others().await;
        let is_news = has_news(&self.view.lines(key), &picture.lines);
        if is_news { self.look(key).await } else { picture }
    }

    /// Writes down that a write is about to take the place of another that more members have than the home of
    /// a fallback.
    async fn announce<'a>(
        &'a self,
        picture: &Picture,
        key: &'a ObjectKey,
        version: Version,
    ) -> Result<Option<UnderWay<'a>>, StoreError> {
        let homes = self.homes();
        let is_beside =
            |(place, sight): (usize, &Sight)| sight.copy().is_some() && !homes.contains(&place);
        let is_elsewhere = picture.sights.iter().enumerate().any(is_beside);
        if picture.winner().is_none() || (homes.len() < 2 && !is_elsewhere) {
            return Ok(None);
        }
        let line = Line::new(What::Announce, key, version, Vec::new()).ahead();
        self.write_down(vec![line]).await.map_err(|cause| {
            let error = self.no_member("takes a repair record: nothing was written");
            error.with_source(cause)
        })?;
        Ok(Some(UnderWay { view: &self.view, keys: std::slice::from_ref(key), version }))
    }

    /// Compares the caller's condition with what is there.
    fn check(&self, picture: &Picture, key: &ObjectKey, mode: &PutMode) -> Result<(), StoreError> {
        let dark = picture.sights.iter().find_map(Sight::dark);
        if picture.is_behind() {
            return Err(self.cannot_tell(dark));
        }
        let winner = picture.resolved.holders.first().zip(picture.winner());
        match (mode, winner) {
            (PutMode::Create, Some(_)) => Err(self.already_exists()),
            (PutMode::Create, None) => {
                // Something is there: only who deletes it means it to go.
                let mut damaged = picture.resolved.damaged.iter().copied();
                let is_taken = damaged.find(|&place| !picture.is_deleted_at(place));
                is_taken.map_or(Ok(()), |place| Err(self.wrong_bytes(place)))
            }
            (PutMode::Overwrite, _) => Ok(()),
            (PutMode::Replace(wanted), Some((&place, meta))) => {
                let is_wanted = self.etag_of(place, meta) == *wanted;
                if is_wanted { Ok(()) } else { Err(self.other_version()) }
            }
            (PutMode::Replace(_), None) if self.is_absent(picture, key) => {
                Err(self.other_version())
            }
            (PutMode::Replace(_), None) => Err(self.cannot_tell(dark)),
        }
    }

    /// That a proof is there already will be told as a success where it has the same bytes: that a
    /// home misses it must then be written down, as for any other that is acknowledged.
    async fn confirmed(&self, picture: &Picture, key: &ObjectKey, error: StoreError) -> StoreError {
        if error.kind() != ErrorKind::AlreadyExists {
            return error;
        }
        let Some(line) = self.unwritten(key, picture) else { return error };
        match self.write_down(vec![line]).await {
            Ok(()) => error,
            Err(cause) => self.cannot_tell(Some(&cause)),
        }
    }

    /// Whether a picture without an object shows that there is none.
    pub(super) fn is_absent(&self, picture: &Picture, key: &ObjectKey) -> bool {
        let absent: Vec<usize> = (0..picture.sights.len())
            .filter(|&place| picture.sights[place].dark().is_none())
            .collect();
        let dark = &picture.resolved.dark;
        // Whoever confirmed a delete may have been written since; whoever did not has what is deleted,
        // unless another replica came first that had not heard of it.
        let verdicts = &picture.verdicts;
        let is_deleted = verdicts.tombstone > verdicts.written
            && !self.view.doubts.contains(key)
            && dark.iter().all(|place| verdicts.unburied.contains(place));
        dark.is_empty() || is_deleted || self.proves_absence(key, &absent, dark.iter().copied())
    }

    /// Writes at the first member that takes it.
    async fn first(&self, picture: &Picture, write: &Write, tried: &mut Tried) -> Attempt {
        let homes = self.deciding();
        let others = (0..self.members.len())
            .filter(|place| !homes.contains(place) && self.members[*place].role.takes_writes());
        for place in homes.iter().copied().chain(others) {
            if let Some(error) = picture.sights[place].dark() {
                self.counters.failed_over(error.kind());
                tried.push((place, error.clone()));
                continue;
            }
            if self.members[place].is_full() {
                tried.push((place, self.full(place)));
                continue;
            }
            let error = match self.put_at(place, write, over(&picture.sights[place])).await {
                Ok(stored) => return Attempt::Done(place, Box::new(stored)),
                Err(error) => error,
            };
            if is_race(&error) {
                return Attempt::Raced(error);
            }
            if !passes_on(&error) {
                return Attempt::Failed(error);
            }
            self.counters.failed_over(error.kind());
            tried.push((place, error));
        }
        let errors: Vec<_> = tried.iter().map(|(_, error)| error.clone()).collect();
        Attempt::Failed(self.failure(&errors))
    }

    /// Brings the write to the other homes, and writes down who does not have it.
    async fn follow(
        &self,
        picture: &Picture,
        write: Write,
        first: usize,
        stored: Stored,
        tried: Tried,
    ) -> Result<Stored, StoreError> {
        let failed: Vec<usize> = tried.iter().map(|(place, _)| *place).collect();
        let homes = self.homes();
        let rest: Vec<usize> = homes
            .iter()
            .copied()
            .filter(|place| *place != first && !failed.contains(place))
            .collect();
        let puts = rest.iter().map(|&place| {
            let is_dark = picture.sights[place].dark().is_some() || self.members[place].is_full();
            let write = &write;
            async move {
                match is_dark {
                    true => false,
                    false => self.put_at(place, write, over(&picture.sights[place])).await.is_ok(),
                }
            }
        });
        let mut on = vec![first];
        for (&place, is_done) in rest.iter().zip(join_all(puts).await) {
            if is_done {
                on.push(place);
            }
        }
        let copies = on.len();
        // Whoever should have it and has not, and whoever has or may have something older.
        let touched = !picture.lines.is_empty();
        let missing: Vec<usize> = (0..self.members.len())
            .filter(|place| !on.contains(place))
            .filter(|place| match &picture.sights[*place] {
                Sight::Copy(_) | Sight::Damaged => true,
                Sight::Dark(_) => touched || homes.contains(place),
                Sight::Absent => homes.contains(place) || failed.contains(place),
            })
            .collect();
        let mut lines: Vec<Line> = Vec::new();
        // Above a tombstone the write must be known too: a replica that only knows of the delete
        // would take a dark member's word for granted. So must it where one may yet land.
        let late: Vec<Version> =
            self.view.doubts.of(&write.key).iter().map(|doubt| doubt.version).collect();
        if !missing.is_empty() || picture.verdicts.tombstone.is_some() || !late.is_empty() {
            let missing = self.names(missing);
            lines.push(self.copy_line(&write.key, write.stamp(), &on, missing));
        }
        if !late.is_empty() {
            let everywhere = 0..self.members.len();
            lines.push(self.kill_line(&write, late.clone(), everywhere));
        }
        if !lines.is_empty() {
            let noted = self.write_down(lines).await;
            noted.map_err(|error| self.not_written_down(&write, error))?;
            self.view.doubts.forget(&write.key, |doubt| late.contains(&doubt.version));
        }
        if self.policy.mode == PoolMode::Mirror && copies < self.policy.min_copies {
            return Err(self.too_few(copies));
        }
        let replaced = Some(picture.winner().is_some());
        Ok(self.outward_stored(first, stored, replaced))
    }
}

/// The condition under which a member may be written that was seen so.
pub(super) fn over(sight: &Sight) -> PutMode {
    match sight {
        Sight::Copy(meta) => PutMode::Replace(meta.etag.clone()),
        Sight::Absent => PutMode::Create,
        // What cannot be read has no version that could be compared.
        Sight::Damaged | Sight::Dark(_) => PutMode::Overwrite,
    }
}
