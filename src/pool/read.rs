//! Reading: from the member that should have it, and from the others before anybody hears of a
//! failure.
//!
//! A key without unfinished business is asked for at one member: the home of a fallback, the fastest
//! of a mirror, with a second question after its 95th percentile. Silence, wrong bytes and "not
//! found" send the same request on to the others. "Not found" is only said where every member that
//! may have the key said so. A key with unfinished business is another matter: see `pending`.

use std::time::Duration;

use futures_util::future::join_all;

use super::body::resumed;
use super::member::{Asked, is_silence};
use super::parts::Parts;
use super::state::{Sight, version_of};
use crate::model::{
    Body, Digest, ErrorKind, GetOptions, ObjectKey, ObjectMeta, PoolMode, Retrieved, StoreError,
};

/// Age up to which another replica's create may still be found to have lost at a member before.
const YOUNG: Duration = Duration::from_secs(2);

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
        let Retrieved { meta, body, checked } = found;
        let body = match body {
            Body::Bytes(bytes) => Body::Bytes(bytes),
            Body::Stream(stream) => {
                Body::Stream(resumed(self.clone(), place, &meta, options.range, stream))
            }
        };
        Ok(Retrieved { meta: self.outward(place, meta), body, checked })
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
        member.timed(Asked::Read, member.backend.head(key)).await
    }

    /// Reads at one member. What is at hand whole is compared with its digest.
    pub(super) async fn get_at(
        &self,
        place: usize,
        key: &ObjectKey,
        options: &GetOptions,
    ) -> Result<Retrieved, StoreError> {
        let member = &self.members[place];
        // The caller's version is the pool's: compared here, not there.
        let options_there = GetOptions { range: options.range, if_match: None };
        let result = member.timed(Asked::Read, member.backend.get(key, options_there)).await;
        let mut found = result.inspect_err(|error| {
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
        {
            if Digest::of(bytes) != known.stored_sha256 {
                self.errands.wrong_bytes(key, place);
                tracing::error!(member = &*member.name, "a copy has other bytes than were stored");
                return Err(self.wrong_bytes(place));
            }
            found.checked = true;
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
        self.second_asks.earn();
        // What is seldom done is in a box, so that a usual read does not carry it along.
        if self.view.is_pending(key) {
            return Box::pin(self.find_pending(key, ask)).await;
        }
        let is_racing = self.racing.contains(key);
        let mut misses = Misses::default();
        let mut order = self.reading_order(is_racing);
        // Wrong bytes once seen may have been the wire's: where nobody else has it, they are read again.
        order.sort_by_key(|&place| self.errands.is_suspect(key, place));
        let mut first = 0;
        let may_hedge = !is_racing
            && self.policy.mode == PoolMode::Mirror
            && order.len() > 1
            // Slow is not gone: who is written to only is asked where nobody else has it.
            && self.members[order[1]].role.serves_reads()
            && !self.errands.is_suspect(key, order[1]);
        if may_hedge {
            let (place, result) = Box::pin(self.hedged(&order, &ask)).await;
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
                if is_racing && misses.absent.iter().any(|&place| self.members[place].is_complete())
                {
                    // What is elsewhere is not acknowledged, and may be taken back.
                    return Err(self.not_found());
                }
                return Box::pin(self.find_elsewhere(key, &order[index..], misses, ask)).await;
            }
            let result = ask(place).await;
            let Some(found) = self.judge(key, place, result, &mut misses)? else { continue };
            if !misses.dark.is_empty() {
                if self.is_nobodys(key, place, &misses.dark, found.meta()).await {
                    continue;
                }
                // What was written down meanwhile counts.
                if self.view.is_pending(key) {
                    return Box::pin(self.find_pending(key, ask)).await;
                }
            }
            return self.settled_only(key, place, found, ask).await;
        }
        Box::pin(self.last_resort(key, misses, ask)).await
    }

    /// Nobody gave the object: a member that failed and may have it is asked once more.
    async fn last_resort<T: Found, F>(
        &self,
        key: &ObjectKey,
        mut misses: Misses,
        ask: impl Fn(usize) -> F,
    ) -> Result<(usize, T), StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let error = self.miss(key, &misses);
        if !is_silence(&error) {
            return Err(error);
        }
        let Some((place, result)) = self.once_more(&misses.dark, &ask).await else {
            return Err(error);
        };
        misses.dark.retain(|(other, _)| *other != place);
        match self.judge(key, place, result, &mut misses)? {
            // What was written down meanwhile counts.
            Some(_) if self.view.is_pending(key) => self.find_pending(key, ask).await,
            Some(found) => self.settled_only(key, place, found, ask).await,
            None => Err(self.miss(key, &misses)),
        }
    }

    /// Members in the order in which they are asked.
    fn reading_order(&self, is_racing: bool) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.members.len()).collect();
        if self.policy.mode == PoolMode::Fallback {
            // One that is drained or read-only may stand before it.
            let home = |place: usize| self.homes().contains(&place);
            order.sort_by_key(|&place| !(home(place) && self.members[place].is_complete()));
        }
        if self.policy.mode == PoolMode::Mirror && !is_racing {
            order.sort_by_cached_key(|&place| {
                let member = &self.members[place];
                // Drained ones are about to have nothing.
                let is_home = member.role.takes_writes();
                (
                    !is_home,
                    !member.is_complete(),
                    member.is_avoided(),
                    member.read_latency().map_or(Duration::ZERO, |l| l.0),
                )
            });
        }
        // Write-only ones where nobody else has it.
        order.sort_by_key(|&place| !self.members[place].role.serves_reads());
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
        let stamp = found.meta().attributes.stamp;
        stamp.iter().for_each(|stamp| self.clock.observe(stamp.version));
        if self.policy.mode == PoolMode::Fallback {
            return Ok((place, found));
        }
        if stamp.is_some_and(|stamp| self.may_be_cut_off(stamp.version)) {
            self.vouch(key).await;
            if self.view.is_pending(key) {
                return Box::pin(self.find_pending(key, ask)).await;
            }
        }
        let is_young = stamp.is_some_and(|stamp| {
            let age = self.clock.now_millis().saturating_sub(stamp.version.millis);
            stamp.create && u128::from(age) < YOUNG.as_millis()
        });
        if !is_young {
            return Ok((place, found));
        }
        let homes = self.deciding();
        if !homes.contains(&place) {
            return Ok((place, found));
        }
        let earlier = homes.iter().copied().take_while(|home| *home != place);
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
        // Records that were not read yet may say more of it.
        if !self.view.is_all_loaded() {
            let _ = self.refresh().await;
            if self.view.is_pending(key) {
                return self.find_pending(key, ask).await;
            }
        }
        let sights = join_all(others.iter().map(|&place| self.look_at(place, key))).await;
        for (&place, sight) in others.iter().zip(sights) {
            match sight {
                // Set back to an earlier state, it has what was deleted since: comparing puts it aside.
                Sight::Copy(_) if !self.is_believed(place, &misses.absent) => {
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
                        self.vouch(key).await;
                        self.errands.misplaced(key);
                        return Ok((place, found));
                    }
                }
                Sight::Absent => misses.absent.push(place),
                Sight::Damaged => misses.corrupt = Some(self.wrong_bytes(place)),
                Sight::Dark(error) => misses.dark.push((place, error)),
            }
        }
        self.last_resort(key, misses, ask).await
    }

    /// What is said where nobody gave the object.
    fn miss(&self, key: &ObjectKey, misses: &Misses) -> StoreError {
        let dark = misses.dark.iter().map(|(place, _)| *place);
        let cause = misses.dark.first().map(|(_, error)| error);
        match (cause, &misses.corrupt) {
            (None, Some(corrupt)) => corrupt.clone(),
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
}
