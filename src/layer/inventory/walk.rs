//! Listing everything by several lanes that share the work.
//!
//! Nothing is known of how the names are spread, so nothing is cut in advance: a lane without
//! work takes the upper half of what another one still has before it. Where that half is empty,
//! one page says so, and the next cut is closer. A store of one page is listed by one call.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::is_reserved;
use super::record::Sums;
use crate::backend::Backend;
use crate::model::{ListPage, ListRequest, StoreError};

/// Names on a page, the most that S3 gives.
const PAGE: usize = 1000;

/// Names that are still to be listed: behind `after`, up to `until`; open where absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Range {
    pub(super) after: Option<String>,
    pub(super) until: Option<String>,
}

/// How far a walk came.
pub(super) struct Progress {
    pub(super) sums: Sums,
    pub(super) pages: u64,
    pub(super) rest: Vec<Range>,
}

/// A walk over all names below a prefix.
pub(super) struct Walker<'b> {
    backend: &'b dyn Backend,
    prefix: &'b str,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    waiting: Vec<Range>,
    active: BTreeMap<u64, Active>,
    next: u64,
    sums: Sums,
    pages: u64,
}

struct Active {
    range: Range,
    /// Since it was cut last. Only a range that still fills pages is cut again, so that the cuts
    /// cost no more calls than the pages.
    pages: u64,
}

enum Claim {
    Take(u64),
    /// Others are at work, and nothing can be cut off now.
    Wait,
    Done,
}

impl<'b> Walker<'b> {
    /// Goes on with `rest`.
    pub(super) fn new(
        backend: &'b dyn Backend,
        prefix: &'b str,
        sums: Sums,
        waiting: Vec<Range>,
    ) -> Self {
        let state = Mutex::new(State { waiting, sums, ..State::default() });
        Self { backend, prefix, state, changed: Notify::new() }
    }

    pub(super) fn sums(&self) -> Sums {
        self.state().sums
    }

    pub(super) fn progress(&self) -> Progress {
        let state = self.state();
        let active = state.active.values().map(|active| &active.range);
        Progress {
            sums: state.sums,
            pages: state.pages,
            rest: state.waiting.iter().chain(active).cloned().collect(),
        }
    }

    /// Lists until nothing is left.
    ///
    /// # Errors
    /// A page could not be read. What is left is in [`Self::progress`].
    pub(super) async fn lane(&self) -> Result<(), StoreError> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let claim = self.state().claim(self.prefix);
            match claim {
                Claim::Done => return Ok(()),
                Claim::Wait => changed.await,
                Claim::Take(id) => self.list(id).await?,
            }
        }
    }

    async fn list(&self, id: u64) -> Result<(), StoreError> {
        loop {
            let after = self.state().active.get(&id).and_then(|active| active.range.after.clone());
            let prefix = self.prefix.to_owned();
            let request = ListRequest { prefix, delimiter: None, limit: PAGE, after };
            let page = self.backend.list(&request).await;
            let goes_on = self.state().account(id, page);
            self.changed.notify_waiters();
            if !goes_on? {
                return Ok(());
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn claim(&mut self, prefix: &str) -> Claim {
        let range = match self.waiting.pop() {
            Some(range) => range,
            None if self.active.is_empty() => return Claim::Done,
            None => match self.cut(prefix) {
                Some(range) => range,
                None => return Claim::Wait,
            },
        };
        let id = self.next;
        self.next += 1;
        self.active.insert(id, Active { range, pages: 0 });
        Claim::Take(id)
    }

    /// The upper half of the range that filled most pages.
    fn cut(&mut self, prefix: &str) -> Option<Range> {
        let listed = self.active.values_mut().filter(|active| active.pages > 0);
        let largest = listed.max_by_key(|active| active.pages)?;
        let rest = |name: &String| name.strip_prefix(prefix).map(str::to_owned);
        let from = largest.range.after.as_ref().and_then(rest)?;
        let until = largest.range.until.as_ref().and_then(rest);
        let middle = format!("{prefix}{}", between(&from, until.as_deref())?);
        largest.pages = 0;
        let until = largest.range.until.replace(middle.clone());
        Some(Range { after: Some(middle), until })
    }

    /// Counts a page of a range, up to where the range ends by now; whether it goes on.
    fn account(&mut self, id: u64, page: Result<ListPage, StoreError>) -> Result<bool, StoreError> {
        let Some(mut active) = self.active.remove(&id) else { return Ok(false) };
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                self.waiting.push(active.range);
                return Err(error);
            }
        };
        self.pages += 1;
        let until = active.range.until.as_deref();
        let ends = |name: &str| until.is_some_and(|until| name > until);
        let items = page.items.iter().take_while(|item| !ends(item.key.as_str()));
        for item in items.filter(|item| !is_reserved(item.key.as_str())) {
            self.sums.objects += 1;
            self.sums.stored_bytes += item.stored_size;
        }
        match page.next {
            Some(next) if until.is_none_or(|until| next.as_str() < until) => {
                active.range.after = Some(next);
                active.pages += 1;
                self.active.insert(id, active);
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

/// A text between two, about in the middle of the first characters that differ; `None` where there
/// is no room, or no short one. An absent end is behind all that is plain ASCII.
fn between(from: &str, until: Option<&str>) -> Option<String> {
    const BEFORE_ALL: u32 = ' ' as u32 - 1;
    const LAST_PLAIN: u32 = 0x7f;
    let mut middle = String::new();
    let (mut from, mut until) = (from.chars(), until.map(str::chars));
    loop {
        let low = from.next();
        let a = low.map_or(BEFORE_ALL, u32::from);
        let high = match &mut until {
            Some(until) => u32::from(until.next()?),
            None if a < LAST_PLAIN => LAST_PLAIN,
            None => u32::from(char::MAX),
        };
        if high >= a + 2 {
            let half = char::from_u32(a + (high - a) / 2).filter(|c| !c.is_control())?;
            middle.push(half);
            return Some(middle);
        }
        middle.push(low?);
        if high != a {
            // The next characters only have to be behind `from`.
            until = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_is_between() {
        for (from, until) in [
            ("a", None),
            ("2026/11/24/0a", None),
            ("2026/11/24/0a", Some("2026/X")),
            ("a", Some("b")),
            ("az", Some("b")),
            ("a~~~", Some("b")),
            ("é", None),
            ("", Some("b")),
            ("proof", Some("proof-9")),
        ] {
            let Some(middle) = between(from, until) else { panic!("{from} {until:?}") };
            assert!(middle.as_str() > from, "{from} < {middle}");
            assert!(until.is_none_or(|until| middle.as_str() < until), "{middle} < {until:?}");
        }
        assert_eq!(between("a", Some("a")), None);
        assert_eq!(between("a", Some("a ")), None, "no room");
    }

    #[test]
    fn cuts_come_to_an_end() {
        let (from, mut until) = ("2026/11/24/0a1b2c3d".to_owned(), None);
        let mut cuts = 0;
        while let Some(middle) = between(&from, until.as_deref()) {
            assert!(middle > from);
            until = Some(middle);
            cuts += 1;
            assert!(cuts < 200, "{until:?}");
        }
    }
}
