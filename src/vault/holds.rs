//! Whether this service keeps holds at all: `STORAGE_HOLDS`, and what the store says of earlier times.
//!
//! A service without holds pays nothing for them. Yet one that is started without the setting over a store
//! that has held proofs must not forget them: before the first hold is stored, [`HOLDS_MARK`] is, and
//! whoever starts looks for it. Until it is known to be missing, everything is looked at as if it might be
//! held.

mod marks;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::watch;

pub use self::marks::Place;
use self::marks::{Marks, Said};
use crate::backend::Backend;
use crate::model::{ErrorKind, StoreError};

/// First and longest pause between two looks for the mark.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Until the mark is looked for again where all is known: another service over the same store may have been
/// given holds since.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// See the module. Clones are one.
#[derive(Clone)]
pub struct Holds {
    /// `None` as long as nobody knows.
    on: watch::Sender<Option<bool>>,
    /// Where the mark is kept; absent: in the store that proofs are kept in, as it is the only one.
    places: Option<Arc<[Place]>>,
    marked: Arc<AtomicBool>,
    /// Nothing is stored, neither mark nor notes.
    only_looks: bool,
    /// Whether what a look finds is the newest that was acknowledged.
    sees: Option<Sight>,
}

type Sight = Arc<dyn Fn() -> bool + Send + Sync>;

impl fmt::Debug for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holds").field("on", &*self.on.borrow()).finish_non_exhaustive()
    }
}

impl Holds {
    /// They are set and kept.
    pub fn on() -> Self {
        Self::known(Some(true))
    }

    /// They are neither, where [`Self::settle`] finds that the store has none.
    pub fn unless_marked() -> Self {
        Self::known(None)
    }

    fn known(on: Option<bool>) -> Self {
        let (on, marked) = (watch::Sender::new(on), Arc::default());
        Self { on, places: None, marked, only_looks: false, sees: None }
    }

    /// For who changes nothing in the store.
    #[must_use]
    pub fn only_looking(self) -> Self {
        Self { only_looks: true, ..self }
    }

    /// Over a store that says whether a look finds what was acknowledged last. Where it may not, nothing
    /// is destroyed.
    #[must_use]
    pub fn seeing(self, sees: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { sees: Some(Arc::new(sees)), ..self }
    }

    /// Over a pool of these members.
    #[must_use]
    pub fn kept_at(self, places: Vec<Place>) -> Self {
        Self { places: Some(places.into()), ..self }
    }

    /// Whether what a look finds can be believed.
    pub fn is_seen(&self) -> bool {
        self.sees.as_ref().is_none_or(|sees| sees())
    }

    /// Whether a proof may be held: it is looked at before it is destroyed.
    pub fn may_be(&self) -> bool {
        *self.on.borrow() != Some(false)
    }

    /// Whether one may be set.
    pub fn can_be_set(&self) -> bool {
        *self.on.borrow() == Some(true)
    }

    /// Waits until it is known whether proofs may be held.
    pub async fn are_known(&self) {
        // That nobody can tell any more is impossible: this is one of those who can.
        let _ = self.on.subscribe().wait_for(Option::is_some).await;
    }

    /// Looks for the mark, and again from time to time for as long as the service lives.
    pub async fn keep(self, store: Arc<dyn Backend>) {
        loop {
            self.clone().settle(Arc::clone(&store)).await;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Looks for the mark in a store, or in each member of a pool, until all have answered; it is known as
    /// soon as one has that can tell. Where one has the mark, those that lack it get it: they are new or
    /// were restored.
    pub async fn settle(self, store: Arc<dyn Backend>) {
        let marks = self.marks(&store);
        let (mut pause, longest) = PAUSES;
        let mut is_told = false;
        loop {
            let (mut unmarked, mut has_mark, mut silent) = (Vec::new(), false, Vec::new());
            let mut noted = 0;
            let mut asked = std::pin::pin!(marks.ask());
            while let Some((place, said)) = asked.next().await {
                match said {
                    Said::Marked => {
                        has_mark = true;
                        self.found();
                    }
                    Said::Unmarked { nowhere } => {
                        unmarked.push(place);
                        noted += usize::from(nowhere);
                        if nowhere {
                            self.none_found();
                        }
                    }
                    Said::Nothing(error) => silent.push(error),
                }
            }
            let is_denied = |error: &StoreError| error.kind() == ErrorKind::AccessDenied;
            match silent.pop() {
                None if has_mark => {
                    for place in unmarked {
                        marks.put_at(place).await;
                    }
                    if !self.only_looks
                        && let Err(error) = self.mark(&store).await
                    {
                        tracing::debug!(%error, "the mark of held proofs is not everywhere");
                    }
                    return;
                }
                None => {
                    self.none_found();
                    if !self.can_be_set() && noted < unmarked.len() {
                        marks.note_nowhere().await;
                    }
                    return;
                }
                // Without the right to list, S3 answers a missing object so, and will again.
                Some(error) if is_denied(&error) && silent.iter().all(is_denied) => {
                    if self.on.borrow().is_some() {
                        return;
                    }
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(
                            %error,
                            "it cannot be told whether the store has held proofs, so each delete \
                             looks first: grant s3:ListBucket, or set STORAGE_HOLDS to on"
                        );
                    }
                }
                Some(error) => {
                    tracing::debug!(%error, "not all backends said whether they have held proofs");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// A mark was found: that outweighs what a member said that lacked it.
    fn found(&self) {
        if self.on.send_if_modified(|on| on.replace(true) != Some(true)) {
            tracing::warn!(
                "the store has held proofs: holds are kept as with STORAGE_HOLDS=on, which is off; \
                 set it to on"
            );
        }
    }

    fn none_found(&self) {
        self.on.send_if_modified(|on| {
            let is_new = on.is_none();
            on.get_or_insert(false);
            is_new
        });
    }

    /// Marks the store, once: before its first hold.
    ///
    /// # Errors
    /// The mark cannot be stored, in one member of a pool at least, and so the hold must not be.
    pub async fn mark(&self, store: &Arc<dyn Backend>) -> Result<(), StoreError> {
        // Those who come at the same time each try: nobody waits for the patience of another one.
        if !self.marked.load(Ordering::Relaxed) {
            self.marks(store).put_everywhere().await?;
            self.marked.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn marks(&self, store: &Arc<dyn Backend>) -> Marks {
        let alone = || Place {
            name: "store".into(),
            location: String::new(),
            store: Arc::clone(store),
            takes_writes: true,
        };
        let places = self.places.clone().unwrap_or_else(|| [alone()].into());
        Marks::new(places, !self.only_looks)
    }
}

impl Default for Holds {
    fn default() -> Self {
        Self::on()
    }
}
