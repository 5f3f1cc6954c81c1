//! Whether this service keeps holds at all: `STORAGE_HOLDS`, and what the store says of earlier times.
//!
//! A service without holds pays nothing for them. Yet one that is started without the setting over a store
//! that has held proofs must not forget them: before the first hold is stored, [`MARK`] is, and whoever
//! starts looks for it. Until it is known to be missing, everything is looked at as if it might be held.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::backend::Backend;
use crate::model::{Attributes, ErrorKind, ObjectKey, Payload, PutMode, RESERVED, StoreError};

/// An object below [`RESERVED`] that says that proofs of this store may be held.
pub const MARK: &str = "holds";

/// First and longest pause between two looks for the mark.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// See the module. Clones are one.
#[derive(Clone, Debug)]
pub struct Holds {
    /// `None` as long as nobody knows.
    on: Arc<OnceLock<bool>>,
    marked: Arc<OnceCell<()>>,
}

impl Holds {
    /// They are set and kept.
    pub fn on() -> Self {
        let holds = Self::unless_marked();
        holds.say(true);
        holds
    }

    /// They are neither, where [`Self::settle`] finds that the store has none.
    pub fn unless_marked() -> Self {
        Self { on: Arc::default(), marked: Arc::default() }
    }

    /// Whether a proof may be held: it is looked at before it is destroyed.
    pub fn may_be(&self) -> bool {
        self.on.get() != Some(&false)
    }

    /// Whether one may be set.
    pub fn can_be_set(&self) -> bool {
        self.on.get() == Some(&true)
    }

    /// Looks for the mark until the store has answered; then it is known.
    pub async fn settle(self, store: Arc<dyn Backend>) {
        let (mut pause, longest) = PAUSES;
        while self.on.get().is_none() {
            match store.head(&mark()).await {
                Ok(_) => {
                    tracing::warn!(
                        "the store has held proofs: holds are kept as with STORAGE_HOLDS=on, which is \
                         off; set it to on"
                    );
                    self.say(true);
                }
                Err(error) if error.kind() == ErrorKind::NotFound => self.say(false),
                Err(error) => {
                    tracing::debug!(%error, "not known yet whether the store has held proofs");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(longest);
                }
            }
        }
    }

    /// Marks the store, once: before its first hold.
    ///
    /// # Errors
    /// The mark cannot be stored, and so the hold must not be.
    pub async fn mark(&self, store: &dyn Backend) -> Result<(), StoreError> {
        let marking = || async {
            let payload = Payload::from(Bytes::from_static(b"proofs of this store may be held\n"));
            let attributes = Attributes::new("text/plain");
            store.put(&mark(), payload, attributes, PutMode::Overwrite).await.map(drop)
        };
        self.marked.get_or_try_init(marking).await.copied()
    }

    fn say(&self, on: bool) {
        // Whoever was first was right as well.
        let _known = self.on.set(on);
    }
}

impl Default for Holds {
    fn default() -> Self {
        Self::on()
    }
}

fn mark() -> ObjectKey {
    ObjectKey::new(format!("{RESERVED}/{MARK}"))
}
