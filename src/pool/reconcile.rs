//! Compares all members, name by name, and mends what differs.
//!
//! Nobody has to have written anything down: this finds what was lost with a member's own records,
//! what others put into a bucket, and what rotted where nobody read. A walk that ends with every
//! member as it should be marks them *complete*, on the members themselves; from then on a member
//! that does not answer is no reason to doubt another one's "not found".

mod report;

use std::collections::{BTreeMap, VecDeque};

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};

use self::report::Finding;
pub use self::report::{Reconcile, ReconcileReport};
use super::aside::Why;
use super::core::Picture;
use super::member::Asked;
use super::pace::Pace;
use super::parts::Parts;
use super::scribe::put_record;
use super::settle::Settled;
use super::state::{Sight, version_of};
use crate::model::{
    Digest, HOLDS_MARK, HOLDS_MARK_TEXT, ListItem, ListRequest, ObjectKey, PoolMode, RESERVED,
    StoreError,
};

/// Names in one page of a listing.
const PAGE: usize = 1000;
/// Keys that are compared at once.
const LANES: usize = 16;
/// Age up to which a copy may be of a write that is not finished.
const YOUNG_MS: u64 = 120_000;
/// Looks at a key that changes meanwhile.
const LOOKS: usize = 5;

/// A member's names in order, a page at a time.
struct Walk {
    place: usize,
    page: VecDeque<ListItem>,
    request: Option<ListRequest>,
}

impl Parts {
    /// `pace`: of the names that have to be asked for, beyond what listings say of them.
    pub(super) async fn reconcile(
        &self,
        how: Reconcile,
        pace: Option<&Pace>,
    ) -> Result<ReconcileReport, StoreError> {
        let mut report = ReconcileReport::default();
        // What is written down explains differences.
        if let Err(error) = self.refresh().await {
            tracing::debug!(?error, "a member's repair records cannot be read");
        }
        let mut walks = Vec::new();
        for place in 0..self.members.len() {
            let request = ListRequest {
                prefix: self.policy.namespace.clone(),
                delimiter: None,
                limit: PAGE,
                after: None,
            };
            let mut walk = Walk { place, page: VecDeque::new(), request: Some(request) };
            match self.fill(&mut walk).await {
                Ok(()) => walks.push(walk),
                Err(_) => report.unreachable.push(self.members[place].name.to_string()),
            }
        }
        if walks.is_empty() {
            return Err(self.no_member("can be listed"));
        }
        loop {
            let batch = self.batch(&mut walks, &mut report).await;
            if batch.is_empty() {
                break;
            }
            let compared = stream::iter(batch)
                .map(|(key, items)| async move { self.compare(&key, items, how, pace).await })
                .buffer_unordered(LANES);
            let mut compared = std::pin::pin!(compared);
            while let Some(finding) = compared.next().await {
                report.add(finding);
            }
        }
        if !how.dry_run {
            self.spread_mark().await;
        }
        let is_whole = report.unreachable.is_empty() && report.failed == 0 && report.postponed == 0;
        if is_whole && !how.dry_run {
            self.mark_complete().await;
        }
        Ok(report)
    }

    /// The mark of held proofs, which every member has or none: one that is new or was restored gets it.
    async fn spread_mark(&self) {
        let mark = ObjectKey::new(HOLDS_MARK);
        let looks = (0..self.members.len()).map(|place| self.look_at(place, &mark));
        let sights = join_all(looks).await;
        if !sights.iter().any(|sight| matches!(sight, Sight::Copy(_) | Sight::Damaged)) {
            return;
        }
        let text = bytes::Bytes::from_static(HOLDS_MARK_TEXT);
        for (place, sight) in sights.iter().enumerate() {
            if matches!(sight, Sight::Absent)
                && self.members[place].role.takes_writes()
                && let Err(error) = put_record(&self.core, place, &mark, &text).await
            {
                tracing::warn!(?error, "a member does not know that proofs may be held");
            }
        }
    }

    /// The next names, each with what every member's listing says of it.
    async fn batch(
        &self,
        walks: &mut Vec<Walk>,
        report: &mut ReconcileReport,
    ) -> Vec<(ObjectKey, BTreeMap<usize, ListItem>)> {
        let mut batch = Vec::new();
        while batch.len() < PAGE {
            let mut lost = Vec::new();
            for walk in walks.iter_mut() {
                if self.fill(walk).await.is_err() {
                    lost.push(walk.place);
                }
            }
            if !lost.is_empty() {
                let names = lost.iter().map(|&place| self.members[place].name.to_string());
                report.unreachable.extend(names);
                walks.retain(|walk| !lost.contains(&walk.place));
            }
            let fronts = walks.iter().filter_map(|walk| walk.page.front());
            let Some(key) = fronts.map(|item| item.key.clone()).min() else { break };
            let mut items = BTreeMap::new();
            for walk in walks.iter_mut() {
                if walk.page.front().is_some_and(|item| item.key == key)
                    && let Some(item) = walk.page.pop_front()
                {
                    items.insert(walk.place, item);
                }
            }
            let is_own = key.as_str().strip_prefix(RESERVED).is_some_and(|r| r.starts_with('/'));
            if !is_own {
                batch.push((key, items));
            }
        }
        batch
    }

    /// Reads a walk's next page where the last one is used up.
    async fn fill(&self, walk: &mut Walk) -> Result<(), StoreError> {
        while walk.page.is_empty()
            && let Some(request) = walk.request.take()
        {
            let member = &self.members[walk.place];
            let page = member.timed(Asked::Other, member.backend.list(&request)).await?;
            walk.page = page.items.into();
            walk.request = page.next.map(|after| ListRequest { after: Some(after), ..request });
        }
        Ok(())
    }

    async fn compare(
        &self,
        key: &ObjectKey,
        items: BTreeMap<usize, ListItem>,
        how: Reconcile,
        pace: Option<&Pace>,
    ) -> Finding {
        let mut finding = Finding::default();
        // A read found it amiss, maybe in what only reading shows.
        let was_amiss = self.errands.contains(key);
        if !how.verify_bytes && !was_amiss && self.is_alike(&items) {
            return finding;
        }
        if let Some(pace) = pace {
            pace.turn().await;
        }
        if how.verify_bytes {
            for &place in items.keys() {
                if self.has_right_bytes(place, key).await == Some(false) {
                    self.errands.wrong_bytes(key, place);
                    finding.corrupt += 1;
                }
            }
        }
        let homes = self.homes();
        let picture = self.look(key).await;
        let resolved = &picture.resolved;
        let is_there = !resolved.holders.is_empty();
        finding.different = (resolved.stale.len() + resolved.conflicting.len()) as u64;
        if is_there {
            let lacks = |home: &&usize| matches!(picture.sights[**home], Sight::Absent);
            finding.missing = homes.iter().filter(lacks).count() as u64;
            let extra = resolved.holders.iter().filter(|place| !homes.contains(place));
            finding.extra = extra.count() as u64;
        }
        finding.corrupt = finding.corrupt.max(resolved.damaged.len() as u64);
        let is_amiss = finding.different + finding.missing + finding.extra + finding.corrupt > 0
            || !resolved.dark.is_empty()
            || was_amiss;
        if !is_amiss || how.dry_run {
            // Nobody shall mend what was only to be reported.
            if !was_amiss {
                self.errands.done(key);
            }
            return finding;
        }
        let is_done = self.settle_or_put_aside(key, &mut finding).await;
        finding.repaired = is_done;
        finding.failed = !is_done && !finding.postponed;
        finding
    }

    async fn settle_or_put_aside(&self, key: &ObjectKey, finding: &mut Finding) -> bool {
        for _ in 0..LOOKS {
            let (settled, aside) = match self.put_aside_returned(key, finding).await {
                Some(settled) => settled,
                None => self.settle_and_count(key).await,
            };
            finding.quarantined += aside;
            match settled {
                Settled::Done => return self.is_readable(key).await,
                Settled::Waiting(_) | Settled::Stuck => return false,
                Settled::Again => tokio::task::yield_now().await,
            }
        }
        false
    }

    /// Whether what is there, if anything is, can be read.
    async fn is_readable(&self, key: &ObjectKey) -> bool {
        let picture = self.look(key).await;
        picture.winner().is_some() || picture.resolved.damaged.is_empty()
    }

    /// Puts aside what has returned with an earlier state of a member.
    async fn put_aside_returned(
        &self,
        key: &ObjectKey,
        finding: &mut Finding,
    ) -> Option<(Settled, u64)> {
        let _turn = self.lock(key).await;
        let picture = self.look(key).await;
        if !self.has_returned(&picture) {
            return None;
        }
        let holders = &picture.resolved.holders;
        let stamp = picture.winner().and_then(version_of);
        // A create may be on its way to the others: that shows when it is older.
        let is_young = stamp.is_some_and(|version| {
            self.clock.now_millis().saturating_sub(version.millis) < YOUNG_MS
        });
        if is_young {
            finding.postponed = true;
            return Some((Settled::Waiting(holders.iter().copied().collect()), 0));
        }
        let mut aside = 0;
        for &place in holders {
            let meta = picture.sights[place].copy()?;
            if !self.put_aside(Why::WrongBytes, place, key, Some(meta)).await
                || self.delete_at(place, key, Some(&meta.etag)).await.is_err()
            {
                return Some((Settled::Waiting([place].into()), aside));
            }
            aside += 1;
        }
        self.errands.done(key);
        Some((Settled::Done, aside))
    }

    /// Whether only members have it that may have been set back to an earlier state, where a home that
    /// was not has nothing, and nothing that is written down and not settled explains it: then it was
    /// deleted since. Once a line was settled, all homes had what it tells of.
    pub(super) fn has_returned(&self, picture: &Picture) -> bool {
        let absent: Vec<usize> = (0..picture.sights.len())
            .filter(|&place| matches!(picture.sights[place], Sight::Absent))
            .collect();
        let holders = &picture.resolved.holders;
        picture.lines.iter().all(|known| known.settled)
            && !holders.is_empty()
            && !holders.iter().any(|&place| self.is_believed(place, &absent))
    }

    /// Whether the listings alone show that a name is as it should be.
    fn is_alike(&self, items: &BTreeMap<usize, ListItem>) -> bool {
        let homes = self.homes();
        if items.len() != homes.len() || !homes.iter().all(|home| items.contains_key(home)) {
            return false;
        }
        if self.policy.mode == PoolMode::Fallback {
            return true;
        }
        let identity = |item: &ListItem| {
            let attributes = item.attributes.as_ref()?;
            let version = attributes.stamp.map(|stamp| stamp.version);
            let digest = attributes.representation.map(|known| known.stored_sha256);
            (version.is_some() || digest.is_some()).then_some((version, digest, item.stored_size))
        };
        let mut identities = items.values().map(identity);
        match identities.next() {
            Some(Some(first)) => identities.all(|other| other == Some(first)),
            _ => false,
        }
    }

    /// Name of the mark on members that are complete: it is of exactly these members.
    fn complete_mark(&self) -> ObjectKey {
        let names: Vec<&str> = self.members.iter().map(|member| &*member.name).collect();
        let text = format!("{} {}", self.policy.mode.as_str(), names.join(" "));
        self.records.complete(&Digest::of(text.as_bytes()).to_hex()[..16])
    }

    async fn mark_complete(&self) {
        let (name, nothing) = (self.complete_mark(), bytes::Bytes::new());
        for &home in self.homes() {
            if put_record(&self.core, home, &name, &nothing).await.is_ok() {
                self.members[home].set_complete(true);
            }
            if let Err(error) = self.tidy(home).await {
                tracing::debug!(
                    ?error,
                    "what came back with a member's earlier state is left there"
                );
            }
        }
    }

    /// Takes back that a member is complete, for all replicas.
    pub(super) async fn forget_completeness(&self, place: usize) {
        let _ = self.delete_at(place, &self.complete_mark(), None).await;
    }

    /// Reads whether a member was found complete before.
    pub(super) async fn load_completeness(&self, place: usize) {
        let mark = self.complete_mark();
        if matches!(self.look_at(place, &mark).await, Sight::Copy(_)) {
            self.members[place].set_complete(true);
        }
    }
}
