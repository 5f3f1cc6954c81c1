//! What replicas share: the last inventory, and how far the next one has come. One JSON object.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::walk::{Progress, Range};
use crate::backend::Backend;
use crate::model::{
    Attributes, Digest, ETag, ErrorKind, GetOptions, ObjectKey, PutMode, Representation, StoreError,
};

/// Of the form below. A record of another one is replaced.
const FORMAT: u32 = 1;

/// Which record was read: the next one replaces exactly that.
pub(super) type Version = Option<ETag>;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    format: u32,
    pub(super) taken: Option<Taken>,
    pub(super) walking: Option<Walking>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sums {
    pub(super) objects: u64,
    pub(super) stored_bytes: u64,
}

/// A finished walk; times in microseconds since 1970, by the clock of who walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Taken {
    #[serde(flatten)]
    pub(super) sums: Sums,
    started_us: u64,
    finished_us: u64,
}

/// A walk under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Walking {
    pub(super) owner: String,
    /// Counts the notes, so that progress is seen without a clock.
    beat: u64,
    started_us: u64,
    #[serde(flatten)]
    pub(super) sums: Sums,
    pub(super) rest: Vec<Range>,
}

impl Taken {
    pub(super) fn new(sums: Sums, started: SystemTime, finished: SystemTime) -> Self {
        Self { sums, started_us: micros(started), finished_us: micros(finished) }
    }

    /// How long ago it began, as far as two clocks can tell.
    pub(super) fn age(&self, now: SystemTime) -> Duration {
        now.duration_since(time(self.started_us)).unwrap_or_default()
    }

    /// An object that was stored during the walk was seen by it or not: as good a guess as any.
    pub(super) fn middle(&self) -> SystemTime {
        time(self.started_us + self.finished_us.saturating_sub(self.started_us) / 2)
    }
}

impl Walking {
    pub(super) fn begin(owner: &str, now: SystemTime) -> Self {
        let (sums, rest) = (Sums::default(), vec![Range::default()]);
        Self { owner: owner.to_owned(), beat: 0, started_us: micros(now), sums, rest }
    }

    pub(super) fn taken_over_by(self, owner: &str) -> Self {
        Self { owner: owner.to_owned(), ..self }
    }

    pub(super) fn at(&self, progress: &Progress) -> Self {
        Self {
            // Pages only go up; the notes of whoever walked before stay below.
            beat: self.beat + 1 + progress.pages,
            sums: progress.sums,
            rest: progress.rest.clone(),
            ..self.clone()
        }
    }

    pub(super) fn started(&self) -> SystemTime {
        time(self.started_us)
    }
}

impl Record {
    /// The record, or an empty one where there is none that can be read.
    pub(super) async fn load(
        backend: &dyn Backend,
        key: &ObjectKey,
    ) -> Result<(Self, Version), StoreError> {
        let found = match backend.get(key, GetOptions::default()).await {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok((Self::default(), None));
            }
            // Nobody can replace what nobody can read, and it is only an estimate.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                backend.delete(key, None).await?;
                return Ok((Self::default(), None));
            }
            Err(error) => return Err(error),
        };
        let version = Some(found.meta.etag.clone());
        let written = found.meta.attributes.representation.map(|known| known.sha256);
        let bytes = found.body.collect().await?;
        let sound = written == Some(Digest::of(&bytes));
        let record = serde_json::from_slice::<Self>(&bytes).ok().filter(|_| sound);
        let record = record.filter(|record| record.format == FORMAT).unwrap_or_default();
        Ok((record, version))
    }

    /// Replaces what was read.
    ///
    /// # Errors
    /// A refusal where another replica was faster.
    pub(super) async fn save(
        &mut self,
        backend: &dyn Backend,
        key: &ObjectKey,
        version: Version,
    ) -> Result<Version, StoreError> {
        self.format = FORMAT;
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        let mut attributes = Attributes::new("application/json");
        attributes.representation = Some(Representation::of(&bytes));
        let mode = version.map_or(PutMode::Create, PutMode::Replace);
        let stored = backend.put(key, bytes::Bytes::from(bytes).into(), attributes, mode).await?;
        Ok(Some(stored.meta.etag))
    }
}

fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn time(micros: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(micros)
}
