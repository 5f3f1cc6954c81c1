//! Reading: from the member that should have it, and from the others before anybody hears of a
//! failure.
//!
//! A key without unfinished business is asked for at one member: the home of a fallback, the fastest
//! of a mirror, with a second question after its 95th percentile. Silence, wrong bytes and "not
//! found" send the same request on to the others. "Not found" is only said where every member that
//! may have the key said so. A key with unfinished business is looked for at all members, and the
//! newest version that is not deleted is served.

use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use tokio::time::Instant;

use super::body::resumed;
use super::core::{Picture, count};
use super::member::is_silence;
use super::parts::Parts;
use super::state::{Sight, version_of};
use crate::model::{
    Body, Digest, ErrorKind, GetOptions, ObjectKey, ObjectMeta, PoolMode, Retrieved, StoreError,
};

/// Age up to which another replica's create may still be found to have lost at a member before.
const YOUNG: Duration = Duration::from_secs(2);
/// Shortest wait before a second question.
const HEDGE_AFTER: Duration = Duration::from_millis(2);
/// Looks at a key that is being written, before the caller is told.
const ATTEMPTS: usize = 4;

/// What a read gives: metadata, with or without a body.
pub(super) trait Found: Send {
    fn meta(&self) -> &ObjectMeta;
}

impl Found for ObjectMeta {
    fn meta(&self) -> &ObjectMeta {
        self
    }
}

impl Found for Retrieved {
    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }
}

/// Members that did not give the object, and why.
#[derive(Debug, Default)]
struct Misses {
    absent: Vec<usize>,
    dark: Vec<(usize, StoreError)>,
    corrupt: Option<StoreError>,
}

impl Parts {
    pub(super) async fn get(
        &self,
        key: &ObjectKey,
        options: GetOptions,
    ) -> Result<Retrieved, StoreError> {
        let (place, found) = self.find(key, |place| self.get_at(place, key, &options)).await?;
        let Retrieved { meta, body } = found;
        let body = match body {
            Body::Bytes(bytes) => Body::Bytes(bytes),
            Body::Stream(stream) => {
                Body::Stream(resumed(self.clone(), place, &meta, options.range, stream))
            }
        };
        Ok(Retrieved { meta: self.outward(place, meta), body })
    }

    pub(super) async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        let (place, meta) = self.holder(key).await?;
        Ok(self.outward(place, meta))
    }

    /// A member that has the object, and what it says of it.
    pub(super) async fn holder(&self, key: &ObjectKey) -> Result<(usize, ObjectMeta), StoreError> {
        self.find(key, |place| self.head_at(place, key)).await
    }

    async fn head_at(&self, place: usize, key: &ObjectKey) -> Result<ObjectMeta, StoreError> {
        let member = &self.members[place];
        let started = Instant::now();
        let result = member.backend.head(key).await;
        member.note(started, &result);
        result
    }

    /// Reads at one member. What is at hand whole is compared with its digest.
    pub(super) async fn get_at(
        &self,
        place: usize,
        key: &ObjectKey,
        options: &GetOptions,
    ) -> Result<Retrieved, StoreError> {
        let member = &self.members[place];
        let started = Instant::now();
        // The caller's version is the pool's: compared here, not there.
        let options_there = GetOptions { range: options.range, if_match: None };
        let result = member.backend.get(key, options_there).await;
        member.note(started, &result);
        let found = result.inspect_err(|error| {
            if error.kind() == ErrorKind::Corrupt {
                self.errands.wrong_bytes(key, place);
            }
        })?;
        let wanted = options.if_match.as_ref();
        if wanted.is_some_and(|wanted| *wanted != self.etag_of(place, &found.meta)) {
            return Err(self.other_version());
        }
        if let (Body::Bytes(bytes), None, Some(known)) =
            (&found.body, options.range, found.meta.attributes.representation)
            && Digest::of(bytes) != known.stored_sha256
        {
            self.errands.wrong_bytes(key, place);
            tracing::error!(member = &*member.name, "a copy has other bytes than were stored");
            return Err(self.wrong_bytes(place));
        }
        Ok(found)
    }

    pub(super) fn wrong_bytes(&self, place: usize) -> StoreError {
        let detail = "the stored bytes do not match their sha-256: the proof is damaged at rest";
        StoreError::new(ErrorKind::Corrupt, self.members[place].backend.provider(), detail)
    }

    async fn find<T: Found, F>(
        &self,
        key: &ObjectKey,
        ask: impl Fn(usize) -> F,
    ) -> Result<(usize, T), StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        if self.view.is_pending(key) {
            return self.find_pending(key, ask).await;
        }
        let is_racing = self.racing.contains(key);
        let mut misses = Misses::default();
        let mut order = self.reading_order(is_racing);
        order.retain(|&place| {
            let is_suspect = self.errands.is_suspect(key, place);
            if is_suspect {
                misses.corrupt = Some(self.wrong_bytes(place));
            }
            !is_suspect
        });
        let mut first = 0;
        if !is_racing && self.policy.mode == PoolMode::Mirror && order.len() > 1 {
            let (place, result) = self.hedged(&order, &ask).await;
            match self.judge(key, place, result, &mut misses)? {
                Some(found) => return self.settled_only(key, place, found, ask).await,
                None => first = usize::from(place == order[0]),
            }
        }
        for (index, &place) in order.iter().enumerate().skip(first) {
            let was_asked = misses.absent.contains(&place)
                || misses.dark.iter().any(|(other, _)| *other == place);
            if was_asked {
                continue;
            }
            if !misses.absent.is_empty() {
                if is_racing {
                    // What is elsewhere is not acknowledged, and may be taken back.
                    return Err(self.not_found());
                }
                return self.find_elsewhere(key, &order[index..], misses, ask).await;
            }
            let result = ask(place).await;
            if let Some(found) = self.judge(key, place, result, &mut misses)? {
                return self.settled_only(key, place, found, ask).await;
            }
        }
        Err(self.miss(key, misses))
    }

    /// Members in the order in which they are asked.
    fn reading_order(&self, is_racing: bool) -> Vec<usize> {
        let readable = |place: &usize| self.members[*place].role.serves_reads();
        let mut order: Vec<usize> = (0..self.members.len()).filter(readable).collect();
        if self.policy.mode == PoolMode::Mirror && !is_racing {
            order.sort_by_cached_key(|&place| {
                let member = &self.members[place];
                // Drained ones are about to have nothing.
                let is_home = member.role.takes_writes();
                (
                    !is_home,
                    !member.is_complete(),
                    member.is_avoided(),
                    member.latency().map_or(Duration::ZERO, |l| l.0),
                )
            });
        }
        order
    }

    /// Sorts a result into what is found, what is missing, and what is the caller's to know.
    fn judge<T>(
        &self,
        key: &ObjectKey,
        place: usize,
        result: Result<T, StoreError>,
        misses: &mut Misses,
    ) -> Result<Option<T>, StoreError> {
        let error = match result {
            Ok(found) => return Ok(Some(found)),
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::NotFound => misses.absent.push(place),
            ErrorKind::Corrupt => {
                self.errands.wrong_bytes(key, place);
                self.counters.failed_over(error.kind());
                misses.corrupt = Some(error);
            }
            _ if is_silence(&error) => {
                self.counters.failed_over(error.kind());
                misses.dark.push((place, error));
            }
            _ => return Err(error),
        }
        Ok(None)
    }

    /// Asks the fastest member, and a second one when that takes longer than it uses to.
    async fn hedged<T, F>(
        &self,
        order: &[usize],
        ask: &impl Fn(usize) -> F,
    ) -> (usize, Result<T, StoreError>)
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let (one, other) = (order[0], order[1]);
        self.hedges.earn();
        let started = Instant::now();
        let first = Box::pin(ask(one));
        let Some((_, high)) = self.members[one].latency() else { return (one, first.await) };
        let wait = Box::pin(tokio::time::sleep(high.max(HEDGE_AFTER)));
        let first = match select(first, wait).await {
            Either::Left((result, _)) => return (one, result),
            Either::Right(((), first)) => first,
        };
        if self.members[other].is_avoided() || !self.hedges.spend() {
            return (one, first.await);
        }
        count(&self.counters.hedges_sent);
        match select(first, Box::pin(ask(other))).await {
            Either::Left((Ok(found), _)) => (one, Ok(found)),
            // It failed: the second question is already under way.
            Either::Left((Err(error), second)) => match second.await {
                Ok(found) => (other, Ok(found)),
                Err(_) => (one, Err(error)),
            },
            Either::Right((Ok(found), _)) => {
                count(&self.counters.hedges_won);
                // It took at least so long, and must not pass for fast because it was left.
                self.members[one].took(started.elapsed());
                (other, Ok(found))
            }
            Either::Right((Err(_), first)) => (one, first.await),
        }
    }

    /// In a mirror a very new object at a later member may be about to lose against another
    /// replica's at an earlier one.
    async fn settled_only<T: Found, F>(
        &self,
        key: &ObjectKey,
        place: usize,
        found: T,
        ask: impl Fn(usize) -> F,
    ) -> Result<(usize, T), StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let homes = self.homes();
        let stamp = found.meta().attributes.stamp;
        stamp.iter().for_each(|stamp| self.clock.observe(stamp.version));
        let is_young = stamp.is_some_and(|stamp| {
            let age = self.clock.now_millis().saturating_sub(stamp.version.millis);
            stamp.create && u128::from(age) < YOUNG.as_millis()
        });
        let earlier = homes.iter().copied().take_while(|home| *home != place);
        if self.policy.mode == PoolMode::Fallback || !is_young || !homes.contains(&place) {
            return Ok((place, found));
        }
        for home in earlier.filter(|home| !self.members[*home].is_avoided()) {
            if let Sight::Copy(meta) = self.look_at(home, key).await
                && version_of(&meta) != version_of(found.meta())
            {
                return Ok((home, ask(home).await?));
            }
        }
        Ok((place, found))
    }

    /// A member that should have it has nothing: all others are asked at once.
    async fn find_elsewhere<T: Found, F>(
        &self,
        key: &ObjectKey,
        others: &[usize],
        mut misses: Misses,
        ask: impl Fn(usize) -> F,
    ) -> Result<(usize, T), StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let sights = join_all(others.iter().map(|&place| self.look_at(place, key))).await;
        for (&place, sight) in others.iter().zip(sights) {
            match sight {
                // Set back to an earlier state, it has what was deleted since.
                Sight::Copy(_) if !self.is_believed(place, &misses.absent) => {
                    self.errands.misplaced(key);
                    misses.absent.push(place);
                }
                Sight::Copy(_) => {
                    let result = ask(place).await;
                    if let Some(found) = self.judge(key, place, result, &mut misses)? {
                        // A delete may have been written down meanwhile.
                        if self.view.is_pending(key) {
                            return self.find_pending(key, ask).await;
                        }
                        self.counters.failed_over(ErrorKind::NotFound);
                        self.errands.misplaced(key);
                        return Ok((place, found));
                    }
                }
                Sight::Absent => misses.absent.push(place),
                Sight::Damaged => misses.corrupt = Some(self.wrong_bytes(place)),
                Sight::Dark(error) => misses.dark.push((place, error)),
            }
        }
        Err(self.miss(key, misses))
    }

    /// Whether a home's copy counts that others lack: not where it may have been set back to an
    /// earlier state, and one that was not has nothing.
    pub(super) fn is_believed(&self, place: usize, absent: &[usize]) -> bool {
        let homes = self.homes();
        let is_complete = |place: &usize| self.members[*place].is_complete();
        is_complete(&place)
            || !homes.contains(&place)
            || !absent.iter().any(|other| homes.contains(other) && is_complete(other))
    }

    /// What is said where nobody gave the object.
    fn miss(&self, key: &ObjectKey, misses: Misses) -> StoreError {
        let dark = misses.dark.iter().map(|(place, _)| *place);
        let cause = misses.dark.first().map(|(_, error)| error);
        match (cause, misses.corrupt) {
            (None, Some(corrupt)) => corrupt,
            (None, None) if !misses.absent.is_empty() => self.not_found(),
            (None, None) => self.no_member("serves reads"),
            (Some(_), None) if self.proves_absence(key, &misses.absent, dark) => self.not_found(),
            (Some(cause), _) if misses.absent.is_empty() && misses.dark.len() == 1 => {
                // There is nobody else: what it said is the answer.
                if self.members.len() == 1 { cause.clone() } else { self.cannot_tell(Some(cause)) }
            }
            (Some(cause), _) => self.cannot_tell(Some(cause)),
        }
    }

    /// Reads a key with unfinished business.
    async fn find_pending<T: Found, F>(
        &self,
        key: &ObjectKey,
        ask: impl Fn(usize) -> F,
    ) -> Result<(usize, T), StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let picture = self.look(key).await;
            let dark = picture.sights.iter().find_map(Sight::dark);
            if picture.is_behind() {
                return Err(self.cannot_tell(dark));
            }
            let Some(winner) = picture.winner().map(version_of) else {
                return Err(self.miss_pending(&picture, key));
            };
            let holders = picture.resolved.holders.iter();
            for &place in holders.filter(|place| !self.errands.is_suspect(key, **place)) {
                match ask(place).await {
                    Ok(found) if version_of(found.meta()) == winner => return Ok((place, found)),
                    // Another write came in between.
                    Ok(_) => {}
                    Err(error) if is_final(&error) => return Err(error),
                    Err(error) => last = Some(error),
                }
            }
        }
        match last {
            Some(error) if error.kind() == ErrorKind::Corrupt => Err(error),
            last => Err(self.cannot_tell(last.as_ref())),
        }
    }

    fn miss_pending(&self, picture: &Picture, key: &ObjectKey) -> StoreError {
        let dark = picture.sights.iter().find_map(Sight::dark);
        match picture.resolved.damaged.first() {
            Some(&place) if picture.verdicts.tombstone.is_none() => self.wrong_bytes(place),
            _ if self.is_absent(picture, key) => self.not_found(),
            _ => self.cannot_tell(dark),
        }
    }
}

/// Whether an error is the caller's to know: of the question, not of a member or its copy.
fn is_final(error: &StoreError) -> bool {
    let of_copy = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Corrupt);
    !of_copy && !is_silence(error)
}
