//! Reading a key with unfinished business: all members are looked at, and the newest version that is
//! not deleted is served.

use std::time::Duration;

use super::core::Picture;
use super::member::is_silence;
use super::parts::Parts;
use super::read::Found;
use super::state::{Sight, version_of};
use crate::model::{ErrorKind, ObjectKey, StoreError};

/// Looks at a key that is being written, before the caller is told.
const ATTEMPTS: usize = 8;
/// Looks after which this process's own writers are kept from coming in between; and members that have it
/// and do not give it are not asked any more.
const FREE_ATTEMPTS: usize = 3;
/// Longest wait for a writer that is under way: it may be waiting for a member that is silent.
const PATIENCE: Duration = Duration::from_secs(1);

impl Parts {
    /// Reads a key with unfinished business.
    pub(super) async fn find_pending<T: Found, F>(
        &self,
        key: &ObjectKey,
        ask: impl Fn(usize) -> F,
    ) -> Result<(usize, T), StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let mut last = None;
        let mut _turn = None;
        for attempt in 0..ATTEMPTS {
            // One who writes again and again must not keep who reads from an answer.
            if attempt == FREE_ATTEMPTS {
                _turn = tokio::time::timeout(PATIENCE, self.lock(key)).await.ok();
            }
            let picture = self.look_and_decide(key).await?;
            let dark = picture.sights.iter().find_map(Sight::dark);
            if picture.is_behind() {
                return Err(self.cannot_tell(dark));
            }
            let Some(winner) = picture.winner().map(version_of) else {
                return Err(self.miss_pending(&picture, key));
            };
            let mut holders = picture.resolved.holders.clone();
            holders.sort_by_key(|&place| self.errands.is_suspect(key, place));
            let mut was_overtaken = false;
            for place in holders {
                match ask(place).await {
                    Ok(found) if version_of(found.meta()) == winner => return Ok((place, found)),
                    // Another write came in between.
                    Ok(_) => was_overtaken = true,
                    Err(error) if is_final(&error) => return Err(error),
                    Err(error) => {
                        was_overtaken |= error.kind() == ErrorKind::NotFound;
                        last = Some(error);
                    }
                }
            }
            if attempt >= FREE_ATTEMPTS && !was_overtaken {
                break;
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
