//! Members that are in an earlier state than they were: restored from a backup, or emptied.
//!
//! What such a member alone has may have been deleted since, and its own records of then say nothing
//! against that: a line in a backup tells of a copy that was wanted when the backup was made. So lines
//! that are older than the mark by which it showed, and that stand on that member alone, do not count.
//! A note on the member says since when, for replicas that have not seen it themselves; when the member
//! has been compared, those lines and the note are removed.

use super::line::Mark;
use super::parts::Parts;
use super::scribe::put_record;
use crate::model::{ListItem, StoreError};

impl Parts {
    /// A member may be without what it had, or with what was deleted since: it is not believed before
    /// it was compared, by no replica. `missing`: a mark that was put there, that nobody else may have
    /// removed, and that is not there; absent where the member may only have been away.
    pub(super) async fn was_set_back(&self, place: usize, missing: Option<Mark>) {
        if let Some(mark) = missing {
            self.disown(place, mark);
            let note = self.records.restored(mark);
            if let Err(error) = put_record(&self.core, place, &note, &bytes::Bytes::new()).await {
                tracing::debug!(?error, "other replicas have to see for themselves");
            }
        }
        let member = &self.members[place];
        if !member.is_complete() {
            return;
        }
        member.set_complete(false);
        tracing::error!(
            member = &*member.name,
            "a member was away or set back to an earlier state: it will be compared"
        );
        self.forget_completeness(place).await;
    }

    /// Takes note of what a listing of a member's records says of its state.
    pub(super) fn take_notes(&self, place: usize, items: &[ListItem]) {
        let newest = items.iter().filter_map(|item| self.records.restored_mark(&item.key)).max();
        match newest {
            Some(mark) => self.disown(place, mark),
            // Another replica has compared it.
            None if self.members[place].is_complete() => self.members[place].tidied(),
            None => {}
        }
    }

    fn disown(&self, place: usize, mark: Mark) {
        self.members[place].set_returned(mark.now);
        self.view.disown(place, |version| self.members[place].has_returned(version));
    }

    /// Removes the lines that came back with an earlier state of a member, which was compared now. Most
    /// were never set back, and are not asked.
    ///
    /// # Errors
    /// Some are left: they go on being passed over.
    pub(super) async fn tidy(&self, place: usize) -> Result<(), StoreError> {
        let member = &self.members[place];
        if !member.was_set_back() {
            return Ok(());
        }
        let items = self.list_records(place, self.records.current()).await?;
        let has_returned = |item: &&ListItem| {
            let version = self.records.segment_version(&item.key);
            version.is_some_and(|v| member.has_returned(v) && !self.view.has(v, place))
        };
        let notes = items.iter().filter(|item| self.records.restored_mark(&item.key).is_some());
        // The notes last: without them the lines would count.
        for item in items.iter().filter(has_returned).chain(notes) {
            self.delete_at(place, &item.key, None).await?;
        }
        member.tidied();
        Ok(())
    }
}
