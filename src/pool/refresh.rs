//! Reads what all members' segments say, also those of other replicas.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::Mutex;

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

/// Readings are shared by all who wait for one.
#[derive(Debug, Default)]
pub(super) struct Readings {
    begun: AtomicU64,
    last: Mutex<(u64, Option<StoreError>)>,
}

impl Parts {
    /// Reads all members' segments, in a reading that begins after this call.
    ///
    /// # Errors
    /// Those of a member could not be read. What the others said counts all the same.
    pub(super) async fn refresh(&self) -> Result<(), StoreError> {
        let before = self.readings.begun.load(Ordering::Acquire);
        let mut last = self.readings.last.lock().await;
        let (number, error) = &*last;
        if *number > before {
            return error.clone().map_or(Ok(()), Err);
        }
        let number = self.readings.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let members = 0..self.members.len();
        let read = join_all(members.map(|place| self.read_current(place))).await;
        for (place, result) in read.iter().enumerate() {
            // Alone, this replica knows what was written since it last read them.
            if result.is_err() && !self.is_alone() {
                self.view.unload(place);
            }
        }
        let error = read.into_iter().find_map(Result::err);
        *last = (number, error.clone());
        error.map_or(Ok(()), Err)
    }

    /// Reads one member's segments and marks of clocks.
    pub(super) async fn read_current(&self, place: usize) -> Result<(), StoreError> {
        let as_of = self.view.sequence();
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
