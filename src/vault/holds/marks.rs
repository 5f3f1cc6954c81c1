//! Where it is kept that proofs of a store may be held: in each of the pool's members by itself, or in the
//! only store there is.
//!
//! Any member that answers decides, so that a service that starts while another one is dark knows as much
//! as any other: the first hold waits until *every* member has the mark, and that nobody has it is noted
//! by who has asked all of them. Notes are of exactly these members: whoever is given another bucket is
//! another one.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use crate::backend::Backend;
use crate::model::{
    Attributes, Digest, ErrorKind, HOLDS_MARK, HOLDS_MARK_TEXT, ObjectKey, PutMode, Representation,
    StoreError,
};

/// What the notes say to who finds them.
const EVERYWHERE_TEXT: &[u8] = b"each of these members says that proofs may be held\n";
const NOWHERE_TEXT: &[u8] = b"none of these members said that proofs may be held\n";

/// A store that keeps the mark.
#[derive(Clone, Debug)]
pub struct Place {
    /// As in the configuration.
    pub name: Arc<str>,
    /// What tells it from any other store, whatever it is called.
    pub location: String,
    /// Itself, past any pool.
    pub store: Arc<dyn Backend>,
    /// A place that is only read from keeps what it has.
    pub takes_writes: bool,
}

/// What a place says when it is asked.
#[derive(Debug)]
pub(super) enum Said {
    /// Proofs may be held.
    Marked,
    /// It has no mark; and none of them had one when all were asked, where that is noted.
    Unmarked { nowhere: bool },
    /// Nothing that can be relied on.
    Nothing(StoreError),
}

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    places: Arc<[Place]>,
    writes: bool,
    everywhere: ObjectKey,
    nowhere: ObjectKey,
}

impl Marks {
    /// `writes`: whether anything may be stored there.
    pub(super) fn new(places: Arc<[Place]>, writes: bool) -> Self {
        // One that is written to from now on may lack the mark, which others got meanwhile.
        let named = |place: &Place| {
            let Place { name, location, takes_writes, .. } = place;
            format!("{name} {location} {takes_writes}")
        };
        let names: Vec<_> = places.iter().map(named).collect();
        let members = Digest::of(names.join("\n").as_bytes()).to_hex();
        let note = |what| ObjectKey::new(format!("{HOLDS_MARK}-{what}/{}", &members[..16]));
        Self { places, writes, everywhere: note("everywhere"), nowhere: note("nowhere") }
    }

    /// Whether one place speaks for all.
    pub(super) fn is_one(&self) -> bool {
        self.places.len() == 1
    }

    /// Asks all places at once; what they say, and which one said it, comes as they answer.
    pub(super) fn ask(&self) -> impl futures_util::Stream<Item = (usize, Said)> + Send + '_ {
        let asked = self.places.iter().enumerate();
        asked
            .map(async |(index, place)| (index, self.ask_one(place).await))
            .collect::<FuturesUnordered<_>>()
    }

    async fn ask_one(&self, place: &Place) -> Said {
        match has(&*place.store, &ObjectKey::new(HOLDS_MARK)).await {
            Ok(true) => Said::Marked,
            Ok(false) if self.is_one() => Said::Unmarked { nowhere: true },
            Ok(false) => match has(&*place.store, &self.nowhere).await {
                Ok(nowhere) => Said::Unmarked { nowhere },
                Err(error) => Said::Nothing(error),
            },
            Err(error) => Said::Nothing(error),
        }
    }

    /// Puts the mark at a place that lacks it.
    pub(super) async fn put_at(&self, index: usize) {
        let place = &self.places[index];
        if self.writes
            && place.takes_writes
            && let Err(error) =
                put(&*place.store, &ObjectKey::new(HOLDS_MARK), HOLDS_MARK_TEXT).await
        {
            tracing::debug!(%error, "the mark of held proofs is elsewhere, and was not stored here");
        }
    }

    /// Notes at all places that none of them has the mark.
    pub(super) async fn note_nowhere(&self) {
        self.note(&self.nowhere, NOWHERE_TEXT).await;
    }

    /// Has every place say that proofs may be held, unless all have done so before.
    ///
    /// # Errors
    /// A place did not take the mark.
    pub(super) async fn put_everywhere(&self) -> Result<(), StoreError> {
        if !self.is_one() && self.is_everywhere().await {
            return Ok(());
        }
        let key = ObjectKey::new(HOLDS_MARK);
        let putting = self.writers().map(|place| async {
            put(&*place.store, &key, HOLDS_MARK_TEXT).await.map_err(|error| lacks(place, &error))
        });
        join_all(putting).await.into_iter().collect::<Result<(), _>>()?;
        if !self.is_one() {
            self.note(&self.everywhere, EVERYWHERE_TEXT).await;
        }
        Ok(())
    }

    /// Whether one of them knows that all have the mark; the first that does is enough.
    async fn is_everywhere(&self) -> bool {
        let asked = self.places.iter().map(|place| has(&*place.store, &self.everywhere));
        let answers = asked.collect::<FuturesUnordered<_>>();
        answers.any(async |answer| matches!(answer, Ok(true))).await
    }

    /// A note that is missing at a place costs a further try, no more.
    async fn note(&self, key: &ObjectKey, text: &'static [u8]) {
        let noting = self.writers().map(|place| put(&*place.store, key, text));
        for error in join_all(noting).await.into_iter().filter_map(Result::err) {
            tracing::debug!(%error, note = key.as_str(), "a note was not stored");
        }
    }

    fn writers(&self) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(|place| self.writes && place.takes_writes)
    }
}

/// What cannot be read is there.
async fn has(store: &dyn Backend, key: &ObjectKey) -> Result<bool, StoreError> {
    match store.head(key).await {
        Ok(_) => Ok(true),
        Err(error) => match error.kind() {
            ErrorKind::NotFound => Ok(false),
            ErrorKind::Corrupt | ErrorKind::Unsupported => Ok(true),
            _ => Err(error),
        },
    }
}

async fn put(store: &dyn Backend, key: &ObjectKey, text: &'static [u8]) -> Result<(), StoreError> {
    let representation = Some(Representation::of(text));
    let attributes = Attributes { representation, ..Attributes::new("text/plain") };
    store.put(key, Bytes::from_static(text).into(), attributes, PutMode::Overwrite).await.map(drop)
}

fn lacks(place: &Place, error: &StoreError) -> StoreError {
    let detail = format!(
        "nothing is held before every backend says that proofs may be held, and '{}' did not take that: {}",
        place.name,
        error.detail()
    );
    let told = StoreError::new(error.kind(), error.provider(), detail);
    match error.retry_after() {
        Some(after) => told.with_retry_after(after),
        None => told,
    }
}
