//! Reads what all members' segments say, also those of other replicas.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::line::decode;
use super::member::Asked;
use super::parts::Parts;
use crate::model::{
    Digest, ErrorKind, GetOptions, ListItem, ListRequest, ObjectKey, StoreError, Version,
};

/// Names in one page of a listing.
const PAGE: usize = 1000;

/// Segments that are read at once: a start waits for them, and there may be hundreds.
const AT_ONCE: usize = 16;

/// Readings of what all members keep, and of those that answer at the moment.
#[derive(Debug, Default)]
pub(super) struct Readings {
    all: Reading,
    answering: Reading,
}

/// Shared by all who wait for one.
#[derive(Debug, Default)]
struct Reading {
    begun: AtomicU64,
    last: Mutex<(u64, Option<StoreError>)>,
}

impl Reading {
    /// Reads, or shares what another one reads that begins after this call.
    async fn share(
        &self,
        read: impl Future<Output = Option<StoreError>>,
    ) -> Result<(), StoreError> {
        let before = self.begun.load(Ordering::Acquire);
        let mut last = self.last.lock().await;
        let (number, error) = &*last;
        if *number > before {
            return error.clone().map_or(Ok(()), Err);
        }
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let error = read.await;
        *last = (number, error.clone());
        error.map_or(Ok(()), Err)
    }
}

impl Parts {
    /// Reads all members' segments, in a reading that begins after this call.
    ///
    /// # Errors
    /// Those of a member could not be read. What the others said counts all the same.
    pub(super) async fn refresh(&self) -> Result<(), StoreError> {
        let read = async {
            let members = 0..self.members.len();
            let read = join_all(members.map(|place| self.read_current(place))).await;
            for (place, result) in read.iter().enumerate() {
                // Alone since then, this replica knows what was written since it last read them.
                if result.is_err() && self.may_have_missed(place) {
                    self.view.unload(place);
                }
            }
            read.into_iter().find_map(Result::err)
        };
        self.readings.all.share(read).await
    }

    /// Reads what other replicas, if there are any, wrote down before this call at members that answer.
    /// What cannot be read is as unknown as before.
    pub(super) async fn hear_others(&self) {
        if !self.is_alone() {
            self.read_answering().await;
        }
    }

    /// The same, whether others are known to be there or not.
    pub(super) async fn read_answering(&self) {
        let read = async {
            let answers = |place: &usize| !self.members[*place].is_avoided();
            let members = (0..self.members.len()).filter(answers);
            join_all(members.map(|place| self.read_current(place))).await;
            None
        };
        let _ = self.readings.answering.share(read).await;
    }

    /// Reads one member's segments and marks of clocks.
    pub(super) async fn read_current(&self, place: usize) -> Result<(), StoreError> {
        let (as_of, begun) = (self.view.sequence(), Instant::now());
        let (mut found, mut failed) = (BTreeSet::new(), None);
        let mut marks = Vec::new();
        let put = self.mark_put(place);
        let items = self.list_records(place, self.records.current()).await?;
        self.look_for_mark(place, put, &items).await;
        self.take_notes(place, &items);
        let mut unread = Vec::new();
        for item in items {
            marks.extend(self.records.clock_mark(&item.key));
            let Some(version) = self.records.segment_version(&item.key) else { continue };
            self.clock.observe(version);
            let is_known = self.view.has(version, place);
            if !is_known && self.members[place].has_returned(version) {
                continue;
            }
            found.insert(version);
            if !is_known {
                unread.push((item.key, version));
            }
        }
        let reading = unread
            .into_iter()
            .map(|(name, version)| async move { self.read_segment(place, &name, version).await });
        let mut reading = pin!(stream::iter(reading).buffer_unordered(AT_ONCE));
        while let Some(read) = reading.next().await {
            failed = read.err().or(failed);
        }
        self.take_marks(place, &marks).await;
        match failed {
            None => {
                self.has_read(place, begun);
                let was_set_back = self.members[place].was_set_back();
                let lost = self.view.loaded(place, &found, as_of, was_set_back);
                if lost.is_empty() { Ok(()) } else { self.write_down(lost).await }
            }
            Some(error) => {
                // One that cannot be read may say anything.
                self.view.unload(place);
                Err(error)
            }
        }
    }

    async fn read_segment(
        &self,
        place: usize,
        name: &ObjectKey,
        version: Version,
    ) -> Result<(), StoreError> {
        let body = match self.read_record(place, name).await {
            Ok(body) => body,
            // Another replica was done with it.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let lines = decode(&body).map_err(|cause| {
            tracing::error!(segment = %name, cause, "a repair record cannot be read");
            self.wrong_bytes(place)
        })?;
        lines.iter().for_each(|line| self.clock.observe(line.version));
        self.view.found(version, lines, place);
        self.work.notify_one();
        Ok(())
    }

    /// A record's bytes, compared with their digest.
    pub(super) async fn read_record(
        &self,
        place: usize,
        name: &ObjectKey,
    ) -> Result<bytes::Bytes, StoreError> {
        let member = &self.members[place];
        let get = member.backend.get(name, GetOptions::default());
        let found = member.timed(Asked::Other, get).await?;
        let digest = found.meta.attributes.representation.map(|known| known.stored_sha256);
        let body = found.body.collect().await?;
        match digest {
            Some(digest) if Digest::of(&body) != digest => Err(self.wrong_bytes(place)),
            _ => Ok(body),
        }
    }

    /// All of a member's records whose names begin so.
    pub(super) async fn list_records(
        &self,
        place: usize,
        prefix: String,
    ) -> Result<Vec<ListItem>, StoreError> {
        let member = &self.members[place];
        let mut request = ListRequest { prefix, delimiter: None, limit: PAGE, after: None };
        let mut items = Vec::new();
        loop {
            let page = member.timed(Asked::Other, member.backend.list(&request)).await?;
            items.extend(page.items);
            match page.next {
                Some(next) => request.after = Some(next),
                None => return Ok(items),
            }
        }
    }
}
