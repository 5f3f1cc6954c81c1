//! Deciding, in writing, what became of attempts of which nobody knows.
//!
//! A caller was told that a write or a delete may have happened. Whoever asks for the key next gets an
//! answer that must stay true, whatever lands later and whoever restarts: so it is written down before
//! it is given. A delete in doubt is carried to its end, as a tombstone of it may be durable already; a
//! write in doubt that is found is vouched for.

use super::core::Picture;
use super::doubts::Doubt;
use super::line::{Line, What};
use super::parts::Parts;
use super::state::{Sight, version_of};
use crate::model::{ObjectKey, StoreError, Version};

/// Looks at a key of which something is being decided.
const ATTEMPTS: usize = 4;

impl Parts {
    /// Looks at a key, and decides what has to be before anybody hears of it.
    ///
    /// # Errors
    /// It cannot be decided now: a member does not answer, or takes no line.
    pub(super) async fn look_and_decide(&self, key: &ObjectKey) -> Result<Picture, StoreError> {
        for _ in 0..ATTEMPTS {
            let doubts = self.view.doubts.of(key);
            let picture = self.look(key).await;
            if self.bury_in_doubt(key, &picture, &doubts).await? {
                continue;
            }
            let is_deleted = picture.verdicts.tombstone.is_some();
            let is_open =
                is_deleted || !doubts.is_empty() || !picture.verdicts.announced.is_empty();
            let Some(winner) = picture.winner().filter(|_| is_open) else {
                return Ok(picture);
            };
            let winner = version_of(winner);
            let attempts = doubts.iter().map(|doubt| doubt.version);
            let open: Vec<Version> =
                attempts.filter(|version| !picture.verdicts.kills(Some(*version))).collect();
            let dark = picture.sights.iter().find_map(Sight::dark);
            if dark.is_some() && open.iter().any(|version| Some(*version) > winner) {
                return Err(self.cannot_tell(dark));
            }
            let is_in_doubt = picture.verdicts.is_announced(winner)
                || open.iter().any(|version| Some(*version) == winner);
            if is_deleted || is_in_doubt {
                if let Some(line) = self.unwritten(key, &picture) {
                    let noted = self.write_down(vec![line]).await;
                    noted.map_err(|cause| self.cannot_tell(Some(&cause)))?;
                }
                self.view.doubts.forget(key, |doubt| Some(doubt.version) == winner);
            }
            // Another one that may yet land may do so over this: it is not to be forbidden.
            return Ok(picture);
        }
        Err(self.cannot_tell(None))
    }

    /// Carries a delete in doubt to its end, where nothing newer is there. Answers whether there was
    /// one.
    pub(super) async fn bury_in_doubt(
        &self,
        key: &ObjectKey,
        picture: &Picture,
        doubts: &[Doubt],
    ) -> Result<bool, StoreError> {
        let deletes = doubts.iter().filter(|doubt| doubt.is_delete).map(|doubt| doubt.version);
        let seen = picture.winner().and_then(version_of).max(picture.verdicts.tombstone);
        let Some(version) = deletes.max().filter(|version| Some(*version) > seen) else {
            return Ok(false);
        };
        let may_have = |place: &usize| !matches!(picture.sights[*place], Sight::Absent);
        let missing = self.names((0..self.members.len()).filter(may_have));
        let line = Line::new(What::Delete, key, version, missing);
        let noted = self.write_down(vec![line]).await;
        noted.map_err(|cause| self.cannot_tell(Some(&cause)))?;
        self.view.doubts.forget(key, |doubt| doubt.version <= version);
        Ok(true)
    }

    /// Writes down that what is about to be served is missing elsewhere: its member may be silent next
    /// time. Where that cannot be written, this process remembers it at least.
    pub(super) async fn vouch(&self, key: &ObjectKey) {
        let picture = self.look(key).await;
        if let Some(line) = self.unwritten(key, &picture)
            && self.write_down(vec![line]).await.is_err()
            && let Some(version) = picture.winner().and_then(version_of)
        {
            self.in_doubt(key, version, false);
        }
    }

    /// The line that says which homes miss an object, where none says so yet. Above a tombstone each
    /// object has one: who only knows of the delete would take a silent member's word for granted.
    pub(super) fn unwritten(&self, key: &ObjectKey, picture: &Picture) -> Option<Line> {
        let winner = picture.winner()?;
        let holders = &picture.resolved.holders;
        let mut missing = self.homes().to_vec();
        missing.retain(|home| !holders.contains(home));
        // One that names none of those who have it says nothing of where it is by now.
        let is_here =
            |name: &String| holders.iter().any(|&home| *self.members[home].name == **name);
        let is_written_down = picture.lines.iter().any(|known| match &known.line.what {
            What::Copy { on, .. } => {
                version_of(winner).is_none_or(|version| known.line.version == version)
                    && on.iter().any(is_here)
            }
            What::Announce | What::Delete | What::Kill { .. } | What::Spare { .. } => false,
        });
        // What it took the place of may be where nobody looks until this one is dark.
        let is_needed = !missing.is_empty()
            || picture.verdicts.is_announced(version_of(winner))
            || picture.verdicts.tombstone.is_some()
            || self.view.doubts.contains(key);
        if is_written_down || !is_needed {
            return None;
        }
        let stamp = self.stamp_of(Some(winner));
        Some(self.copy_line(key, stamp, holders, self.names(missing)))
    }
}
