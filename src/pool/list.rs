//! Listing: all members' pages as one, in order and without doubles.
//!
//! A page ends where the shortest of its parts ends: beyond, a member may have names that were not
//! seen. Names with unfinished business are looked up one by one, so that what is deleted or was
//! replaced is never shown. A listing that a silent member could add to is refused.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};

use super::line::RECORDS;
use super::member::Asked;
use super::parts::Parts;
use super::state::Sight;
use crate::model::{ListItem, ListPage, ListRequest, Lock, ObjectMeta, StoreError};

/// Keys that are looked up at once.
const LOOKS: usize = 32;

/// One entry of a merged page.
enum Entry {
    /// What the first member that has it says, and how many homes have it of those that are complete.
    Item(usize, Box<ListItem>, usize),
    Prefix,
}

impl Parts {
    pub(super) async fn list(&self, request: &ListRequest) -> Result<ListPage, StoreError> {
        let mut request = request.clone();
        let mut page = ListPage::default();
        let wanted = request.limit;
        // What is left out is said not to be there.
        let decided = stream::iter(self.view.doubts.below(&request.prefix))
            .map(|key| async move { self.look_and_decide(&key).await })
            .buffer_unordered(LOOKS);
        let mut decided = std::pin::pin!(decided);
        while let Some(picture) = decided.next().await {
            picture?;
        }
        loop {
            request.limit = wanted - page.items.len() - page.common_prefixes.len();
            let next = self.part(&request, &mut page).await?;
            let is_full = page.items.len() + page.common_prefixes.len() >= wanted;
            if next.is_none() || is_full {
                page.next = next;
                return Ok(page);
            }
            // Deleted names took places of the page.
            request.after = next;
        }
    }

    /// Adds one round of all members' pages; answers after which entry to go on.
    async fn part(
        &self,
        request: &ListRequest,
        page: &mut ListPage,
    ) -> Result<Option<String>, StoreError> {
        let pages = self.pages(request).await?;
        // Of one that is being filled nothing is expected yet.
        let mut homes = self.homes().to_vec();
        homes.retain(|home| self.members[*home].is_complete());
        let answering = pages.iter().filter(|(place, _)| homes.contains(place)).count();
        // Of those that have more, the one that came least far.
        let frontier = pages.iter().filter_map(|(_, page)| page.next.clone()).min();
        let is_seen = |name: &str| frontier.as_deref().is_none_or(|end| name <= end);
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for (place, part) in pages {
            for prefix in part.common_prefixes.into_iter().filter(|prefix| is_seen(prefix)) {
                entries.insert(prefix, Entry::Prefix);
            }
            let shown = |item: &ListItem| is_seen(item.key.as_str()) && !is_own(item.key.as_str());
            for item in part.items.into_iter().filter(shown) {
                let name = item.key.as_str().to_owned();
                let new = || Entry::Item(place, Box::new(item), 0);
                if let Entry::Item(_, _, at) = entries.entry(name).or_insert_with(new) {
                    *at += usize::from(homes.contains(&place));
                }
            }
        }
        let has_more = frontier.is_some() || entries.len() > request.limit;
        let chosen: Vec<(String, Entry)> = entries.into_iter().take(request.limit).collect();
        let last = chosen.last().map(|(name, _)| name.clone()).or(frontier);
        let checked = stream::iter(chosen)
            .map(|(name, entry)| async move {
                let kept = self.check_entry(&name, entry, answering).await?;
                Ok::<_, StoreError>((name, kept))
            })
            .buffered(LOOKS);
        let mut checked = std::pin::pin!(checked);
        while let Some(entry) = checked.next().await {
            match entry? {
                (_, Some(Entry::Item(_, item, _))) => page.items.push(*item),
                (name, Some(Entry::Prefix)) => page.common_prefixes.push(name),
                (_, None) => {}
            }
        }
        Ok(last.filter(|_| has_more))
    }

    /// The same page of every member that answers.
    async fn pages(&self, request: &ListRequest) -> Result<Vec<(usize, ListPage)>, StoreError> {
        let asked = (0..self.members.len()).map(|place| async move {
            let member = &self.members[place];
            (place, member.timed(Asked::Other, member.backend.list(request)).await)
        });
        let (mut pages, mut dark) = (Vec::new(), Vec::new());
        for (place, result) in join_all(asked).await {
            match result {
                Ok(page) => pages.push((place, page)),
                Err(error) if super::member::is_silence(&error) => dark.push((place, error)),
                Err(error) => return Err(error),
            }
        }
        let Some((_, cause)) = dark.first() else { return Ok(pages) };
        let homes = self.homes();
        let is_answering = |place: usize| pages.iter().any(|(other, _)| *other == place);
        let has_home =
            homes.iter().any(|&home| is_answering(home) && self.members[home].is_complete());
        let name_answers =
            |name: &str| pages.iter().any(|(place, _)| &*self.members[*place].name == name);
        let all_read = dark.iter().all(|(place, _)| self.view.is_loaded(*place));
        let is_doubtful = !self.view.doubts.below(&request.prefix).is_empty();
        let is_known = has_home && all_read && !is_doubtful;
        if pages.is_empty() || !is_known || self.view.is_stranded(name_answers) {
            return Err(self.cannot_tell(Some(cause)));
        }
        Ok(pages)
    }

    /// The entry as it is to be shown, or nothing.
    async fn check_entry(
        &self,
        name: &str,
        entry: Entry,
        homes: usize,
    ) -> Result<Option<Entry>, StoreError> {
        match entry {
            Entry::Item(place, item, at) if !self.view.is_pending(&item.key) => {
                if self.members[place].role.takes_writes() && at < homes {
                    // A home has nothing, and nobody wrote down why.
                    self.vouch(&item.key).await;
                }
                Ok(Some(Entry::Item(place, Box::new(self.outward_item(place, *item)), at)))
            }
            Entry::Item(_, item, _) => self.look_up(*item).await,
            Entry::Prefix if !self.view.deletes_below(name) && !may_be_own(name) => {
                Ok(Some(Entry::Prefix))
            }
            Entry::Prefix => {
                let is_there = self.is_anything_below(name).await?;
                Ok(is_there.then_some(Entry::Prefix))
            }
        }
    }

    async fn look_up(&self, item: ListItem) -> Result<Option<Entry>, StoreError> {
        let picture = self.look_and_decide(&item.key).await?;
        let dark = picture.sights.iter().find_map(Sight::dark);
        if picture.is_behind() {
            return Err(self.cannot_tell(dark));
        }
        let Some((&place, meta)) = picture.resolved.holders.first().zip(picture.winner()) else {
            return match self.is_absent(&picture, &item.key) {
                true => Ok(None),
                false => Err(self.cannot_tell(dark)),
            };
        };
        let meta = self.outward(place, meta.clone());
        let item = ListItem {
            key: meta.key,
            etag: meta.etag,
            stored_size: meta.stored_size,
            last_modified: meta.last_modified,
            // As much as the members' listings say.
            attributes: item.attributes.map(|_| meta.attributes),
        };
        Ok(Some(Entry::Item(place, Box::new(item), 0)))
    }

    fn outward_item(&self, place: usize, item: ListItem) -> ListItem {
        let Some(attributes) = item.attributes else { return item };
        let meta = ObjectMeta {
            key: item.key,
            etag: item.etag,
            version_id: None,
            stored_size: item.stored_size,
            last_modified: item.last_modified,
            attributes,
            lock: Lock::default(),
            provider: self.provider(),
        };
        let meta = self.outward(place, meta);
        ListItem {
            key: meta.key,
            etag: meta.etag,
            stored_size: meta.stored_size,
            last_modified: meta.last_modified,
            attributes: Some(meta.attributes),
        }
    }

    /// Whether a common prefix still has a name below it.
    async fn is_anything_below(&self, prefix: &str) -> Result<bool, StoreError> {
        let mut request =
            ListRequest { prefix: prefix.to_owned(), delimiter: None, limit: 100, after: None };
        loop {
            let mut page = ListPage::default();
            // Boxed: a page asks for what is below a prefix, which is a page.
            let next = Box::pin(self.part(&request, &mut page)).await?;
            if !page.items.is_empty() {
                return Ok(true);
            }
            match next {
                Some(next) => request.after = Some(next),
                None => return Ok(false),
            }
        }
    }
}

/// Whether a name is one of the pool's own records, of this service or another one's.
fn is_own(name: &str) -> bool {
    name.starts_with(RECORDS)
}

/// Whether a common prefix may have nothing below it but such records.
fn may_be_own(prefix: &str) -> bool {
    prefix.starts_with(RECORDS) || RECORDS.starts_with(prefix)
}
