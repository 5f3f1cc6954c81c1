//! Whether what one member has counts, where others do not say or have nothing.

use super::parts::Parts;
use super::state::version_of;
use crate::model::{ObjectKey, ObjectMeta, PoolMode, StoreError};

impl Parts {
    /// Whether a home's copy counts that others lack: not where it may have been set back to an
    /// earlier state, and one that was not has nothing.
    pub(super) fn is_believed(&self, place: usize, absent: &[usize]) -> bool {
        let homes = self.homes();
        let is_complete = |place: &usize| self.members[*place].is_complete();
        is_complete(&place)
            || !homes.contains(&place)
            || !absent.iter().any(|other| homes.contains(other) && is_complete(other))
    }

    /// Whether a copy beside a silent home was never acknowledged: its process died before the line, and
    /// the home may have another one by now that was. A home that is complete has all that no line
    /// tells of.
    pub(super) async fn is_nobodys(
        &self,
        key: &ObjectKey,
        place: usize,
        silent: &[(usize, StoreError)],
        found: &ObjectMeta,
    ) -> bool {
        let is_dark = |home: &usize| silent.iter().any(|(dark, _)| dark == home);
        let homes = self.homes();
        let is_outage = self.policy.mode == PoolMode::Fallback
            && !homes.contains(&place)
            && self.members[place].role.takes_writes()
            && homes.iter().all(|home| is_dark(home) && self.members[*home].is_complete());
        if !is_outage || version_of(found).is_none() || self.view.is_touched(key) {
            return false;
        }
        // Another replica may have written one.
        self.read_answering().await;
        !self.view.is_touched(key)
    }
}
