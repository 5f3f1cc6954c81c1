//! Deleting: on every member, and for good.
//!
//! Each member that does not confirm gets a tombstone before the answer. So does a key of which a
//! copy may be under way: one with a line of its own, here or, as a reading of all members' records
//! *after* the deletes shows, of another replica. A repair writes its line before it reads what it
//! copies, so that either it finds nothing to copy or its line is found here.
//!
//! Where several homes have it, a line goes ahead of all: should the process die between two of them,
//! whoever reads the key finds it deleted, whomever it asks. That line ends with the call.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use super::line::{Line, What};
use super::member::Asked;
use super::parts::Parts;
use super::state::{Sight, version_of};
use super::view::UnderWay;
use crate::model::{Class, ETag, ErrorKind, ObjectKey, StoreError, Version};

/// What is written down before something is deleted at the first of several homes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ahead {
    /// Nothing.
    Nothing,
    /// It stands.
    Written,
    /// It may stand, and be found.
    Doubtful,
}

/// What members said of one key: who confirmed that nothing is there, and who did not.
#[derive(Debug, Default)]
struct Answers {
    confirmed: usize,
    existed: Vec<Option<bool>>,
    failed: Vec<(usize, StoreError)>,
}

impl Answers {
    /// Whether every member refused it for good: nothing was deleted anywhere, nor will be.
    fn is_refused(&self) -> bool {
        let is_answer = |(_, error): &(usize, StoreError)| error.class() == Class::Answer;
        self.confirmed == 0 && self.failed.iter().all(is_answer)
    }
}

impl Parts {
    pub(super) async fn delete(
        &self,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        let (parts, key, if_match) = (self.clone(), key.clone(), if_match.cloned());
        self.to_the_end(async move {
            match if_match {
                Some(wanted) => parts.delete_version(key, wanted).await,
                None => {
                    let mut results = parts.delete_all(vec![key]).await;
                    results.pop().unwrap_or(Ok(None))
                }
            }
        })
        .await
    }

    pub(super) async fn delete_many(
        &self,
        keys: &[ObjectKey],
    ) -> Vec<Result<Option<bool>, StoreError>> {
        let (parts, keys, count) = (self.clone(), keys.to_vec(), keys.len());
        let deleting = async move { Ok(parts.delete_all(keys).await) };
        match self.to_the_end(deleting).await {
            Ok(results) => results,
            Err(error) => vec![Err(error); count],
        }
    }

    /// Deletes a copy at one member.
    pub(super) async fn delete_at(
        &self,
        place: usize,
        key: &ObjectKey,
        if_match: Option<&ETag>,
    ) -> Result<Option<bool>, StoreError> {
        let member = &self.members[place];
        member.timed(Asked::Other, member.backend.delete(key, if_match)).await
    }

    /// Deletes keys whatever is there, answers in their order.
    async fn delete_all(&self, keys: Vec<ObjectKey>) -> Vec<Result<Option<bool>, StoreError>> {
        // One that is named twice is deleted once: two answers could say two things of it.
        let distinct: BTreeSet<&ObjectKey> = keys.iter().collect();
        if distinct.len() < keys.len() {
            let distinct: Vec<ObjectKey> = distinct.into_iter().cloned().collect();
            let results = self.delete_distinct(&distinct).await;
            let results: BTreeMap<_, _> = distinct.iter().zip(results).collect();
            let mut told = BTreeSet::new();
            let answer = |key| -> Result<Option<bool>, StoreError> {
                let existed = results[key].clone()?;
                Ok(if told.insert(key) { existed } else { Some(false) })
            };
            return keys.iter().map(answer).collect();
        }
        self.delete_distinct(&keys).await
    }

    async fn delete_distinct(&self, keys: &[ObjectKey]) -> Vec<Result<Option<bool>, StoreError>> {
        // Below whatever is written once this has begun.
        let version = self.clock.next();
        let lines = keys.iter().map(|key| Line::new(What::Delete, key, version, Vec::new()));
        let ahead = self.go_ahead(lines).await;
        let _under_way = UnderWay { view: &self.view, keys, version };
        let everywhere =
            join_all((0..self.members.len()).map(|place| self.delete_many_at(place, keys))).await;
        let mut answers: Vec<Answers> = keys.iter().map(|_| Answers::default()).collect();
        for (place, results) in everywhere.into_iter().enumerate() {
            for (answers, result) in answers.iter_mut().zip(results) {
                match result {
                    Ok(existed) => {
                        answers.confirmed += 1;
                        answers.existed.push(existed);
                    }
                    Err(error) => answers.failed.push((place, error)),
                }
            }
        }
        self.conclude(keys, version, answers, ahead).await
    }

    /// Writes lines ahead of a delete. That they cannot be is no reason not to delete: of a full member
    /// nobody could free anything.
    async fn go_ahead(&self, lines: impl Iterator<Item = Line>) -> Ahead {
        let lines: Vec<Line> = lines.map(Line::ahead).collect();
        if self.homes().len() < 2 || lines.is_empty() {
            return Ahead::Nothing;
        }
        match self.write_down(lines).await {
            Ok(()) => Ahead::Written,
            Err(error) if error.class() == Class::Unknown => Ahead::Doubtful,
            Err(_) => Ahead::Nothing,
        }
    }

    async fn delete_many_at(
        &self,
        place: usize,
        keys: &[ObjectKey],
    ) -> Vec<Result<Option<bool>, StoreError>> {
        if !self.members[place].role.takes_deletes() {
            let looks = keys.iter().map(|key| self.look_at(place, key));
            return join_all(looks).await.into_iter().map(|sight| self.untouched(sight)).collect();
        }
        if let [key] = keys {
            return vec![self.delete_at(place, key, None).await];
        }
        let member = &self.members[place];
        let results = member.backend.delete_many(keys).await;
        if let Some(first) = results.first() {
            member.note(Asked::Other, None, first);
        }
        results
    }

    /// What a member says at which nothing may be deleted.
    fn untouched(&self, sight: Sight) -> Result<Option<bool>, StoreError> {
        match sight {
            Sight::Absent => Ok(Some(false)),
            Sight::Dark(error) => Err(error),
            Sight::Copy(_) | Sight::Damaged => {
                let detail = "nothing is deleted on a backend that is read-only";
                Err(StoreError::new(ErrorKind::AccessDenied, self.provider(), detail))
            }
        }
    }

    /// Deletes one version, and answers as one store would.
    async fn delete_version(
        &self,
        key: ObjectKey,
        wanted: ETag,
    ) -> Result<Option<bool>, StoreError> {
        let _turn = self.lock(&key).await;
        let picture = self.look(&key).await;
        let dark = picture.sights.iter().find_map(Sight::dark);
        if picture.is_behind() {
            return Err(self.cannot_tell(dark));
        }
        let Some((&first, meta)) = picture.resolved.holders.first().zip(picture.winner()) else {
            return if self.is_absent(&picture, &key) {
                Ok(Some(false))
            } else {
                Err(self.cannot_tell(dark))
            };
        };
        if self.etag_of(first, meta) != wanted {
            return Err(self.other_version());
        }
        let version = self.clock.next();
        // Of exactly what was seen: another replica's may be there when it comes to it.
        let seen = version_of(meta).into_iter();
        let seen = seen.map(|seen| What::Kill { versions: vec![seen] });
        let seen = seen.map(|what| Line::new(what, &key, version, Vec::new()));
        let ahead = self.go_ahead(seen).await;
        let _under_way = UnderWay { view: &self.view, keys: std::slice::from_ref(&key), version };
        // The first holder decides between racing calls.
        if let Err(error) = self.delete_at(first, &key, Some(&meta.etag)).await {
            return Err(self.spared(&key, version, ahead, error).await);
        }
        let mut answers = Answers { confirmed: 1, existed: vec![Some(true)], failed: Vec::new() };
        let others = (0..self.members.len()).filter(|place| *place != first).map(|place| {
            let (key, sight) = (&key, &picture.sights[place]);
            async move {
                let result = match sight {
                    Sight::Dark(error) => Err(error.clone()),
                    Sight::Absent => Ok(Some(false)),
                    _ if !self.members[place].role.takes_deletes() => self.untouched(sight.clone()),
                    Sight::Copy(meta) => self.delete_at(place, key, Some(&meta.etag)).await,
                    Sight::Damaged => self.delete_at(place, key, None).await,
                };
                (place, result)
            }
        });
        for (place, result) in join_all(others).await {
            match result {
                Ok(_) => answers.confirmed += 1,
                Err(error) => answers.failed.push((place, error)),
            }
        }
        let mut results =
            self.conclude(std::slice::from_ref(&key), version, vec![answers], ahead).await;
        results.pop().unwrap_or(Ok(None))
    }

    /// What is answered where the member that decides did not delete a version that a line ahead says is
    /// gone: that is taken back, where it was refused for good.
    async fn spared(
        &self,
        key: &ObjectKey,
        version: Version,
        ahead: Ahead,
        error: StoreError,
    ) -> StoreError {
        if ahead == Ahead::Nothing || error.class() == Class::Unknown {
            if error.class() == Class::Unknown {
                self.in_doubt(key, version, true);
            }
            return error;
        }
        if error.class() == Class::Failed {
            // It is asked again in the background: what is written down will come to pass.
            self.in_doubt(key, version, true);
            return self.not_buried(error);
        }
        match self.write_down(vec![self.spare_line(key, version)]).await {
            Ok(()) => error,
            Err(cause) => {
                self.in_doubt(key, self.clock.next(), true);
                self.not_buried(cause)
            }
        }
    }

    /// Takes back a line that went ahead. Its version is above that one's, so that it goes after that.
    fn spare_line(&self, key: &ObjectKey, delete: Version) -> Line {
        Line::new(What::Spare { delete }, key, self.clock.next(), Vec::new())
    }

    /// Writes tombstones where they are needed, and answers.
    async fn conclude(
        &self,
        keys: &[ObjectKey],
        version: Version,
        answers: Vec<Answers>,
        ahead: Ahead,
    ) -> Vec<Result<Option<bool>, StoreError>> {
        let is_clear = |answers: &Answers, key: &ObjectKey| {
            answers.failed.is_empty() && !self.view.is_touched_beside(key, version)
        };
        let any_clear = keys.iter().zip(&answers).any(|(key, answers)| is_clear(answers, key));
        let is_read = !any_clear || self.refresh().await.is_ok();
        let mut lines = Vec::new();
        let (mut buried, mut spared) = (BTreeSet::new(), BTreeSet::new());
        for (key, answers) in keys.iter().zip(&answers) {
            let needed = answers.confirmed > 0 && !(is_read && is_clear(answers, key));
            if needed {
                buried.insert(key);
                let missing = self.names(answers.failed.iter().map(|(place, _)| *place));
                lines.push(Line::new(What::Delete, key, version, missing));
            }
            if ahead != Ahead::Nothing && answers.is_refused() {
                spared.insert(key);
                lines.push(self.spare_line(key, version));
            }
        }
        let noted = if lines.is_empty() { Ok(()) } else { self.write_down(lines).await };
        let answer = |(key, answers): (&ObjectKey, Answers)| {
            let result = if spared.contains(key) && noted.is_err() {
                noted.clone().map_err(|cause| self.not_buried(cause))
            } else if answers.confirmed == 0 {
                let errors: Vec<_> = answers.failed.into_iter().map(|(_, error)| error).collect();
                let failure = self.failure(&errors);
                // What stands ahead is carried to its end, once a member does it that could not.
                let stands = ahead != Ahead::Nothing && !spared.contains(key);
                Err(if stands { self.not_buried(failure) } else { failure })
            } else if buried.contains(key) {
                noted.clone().map_err(|cause| self.not_buried(cause))
            } else {
                Ok(())
            };
            let is_doubtful = result.as_ref().is_err_and(|error| error.class() == Class::Unknown);
            if is_doubtful {
                // Gone here and there: that somebody has nothing says nothing of the others. Where the
                // line may yet come that takes this version back, it is another one that is in doubt.
                let is_spared = spared.contains(key);
                let version = if is_spared { self.clock.next() } else { version };
                self.in_doubt(key, version, true);
            }
            // A line that was taken back has to be known until both are gone.
            if !is_doubtful && !spared.contains(key) {
                self.view.end(key, version, true);
            }
            result.map(|()| existed(&answers.existed))
        };
        keys.iter().zip(answers).map(answer).collect()
    }

    fn not_buried(&self, cause: StoreError) -> StoreError {
        let detail = "the proof may be deleted, but not on every backend: delete it again";
        StoreError::new(ErrorKind::Indeterminate, self.provider(), detail).with_source(cause)
    }
}

/// Whether something was there; unknown where nobody says so.
fn existed(answers: &[Option<bool>]) -> Option<bool> {
    if answers.contains(&Some(true)) {
        return Some(true);
    }
    answers.iter().all(|answer| *answer == Some(false)).then_some(false)
}
