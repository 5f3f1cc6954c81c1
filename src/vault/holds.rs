//! Whether this service keeps holds at all: `STORAGE_HOLDS`, and what the store says of earlier times.
//!
//! A service without holds pays nothing for them. Yet one that is started without the setting over a store
//! that has held proofs must not forget them: before the first hold is stored, [`HOLDS_MARK`] is, and
//! whoever starts looks for it. Until it is known to be missing, everything is looked at as if it might be
//! held.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::OnceCell;

use crate::backend::Backend;
use crate::model::{
    Attributes, Digest, ErrorKind, HOLDS_MARK, ObjectKey, Payload, PutMode, Representation,
    StoreError,
};

/// What the mark says to who finds it.
const TEXT: &[u8] = b"proofs of this store may be held\n";

/// First and longest pause between two looks for the mark.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// See the module. Clones are one.
#[derive(Clone)]
pub struct Holds {
    /// `None` as long as nobody knows.
    on: Arc<OnceLock<bool>>,
    marked: Arc<OnceCell<()>>,
    /// Whether what a look finds is the newest that was acknowledged.
    sees: Option<Sight>,
}

type Sight = Arc<dyn Fn() -> bool + Send + Sync>;

impl fmt::Debug for Holds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holds").field("on", &self.on).finish_non_exhaustive()
    }
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
        Self { on: Arc::default(), marked: Arc::default(), sees: None }
    }

    /// Over a store that says whether a look finds what was acknowledged last. Where it may not, nothing
    /// is destroyed.
    #[must_use]
    pub fn seeing(self, sees: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { sees: Some(Arc::new(sees)), ..self }
    }

    /// Whether what a look finds can be believed.
    pub fn is_seen(&self) -> bool {
        self.sees.as_ref().is_none_or(|sees| sees())
    }

    /// Whether a proof may be held: it is looked at before it is destroyed.
    pub fn may_be(&self) -> bool {
        self.on.get() != Some(&false)
    }

    /// Whether one may be set.
    pub fn can_be_set(&self) -> bool {
        self.on.get() == Some(&true)
    }

    /// Looks for the mark until the store has answered; then it is known. One that is there is stored
    /// again, as a member of a pool that is new or was restored may lack it.
    pub async fn settle(self, store: Arc<dyn Backend>) {
        let (mut pause, longest) = PAUSES;
        let mut is_told = false;
        loop {
            match store.head(&mark()).await {
                Ok(_) => return self.settle_marked(&*store).await,
                Err(error) if error.kind() == ErrorKind::NotFound => return self.say(false),
                // Without the right to list, S3 answers a missing object so, and will again.
                Err(error) if error.kind() == ErrorKind::AccessDenied => {
                    if self.on.get().is_some() {
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
                Err(error) => {
                    tracing::debug!(%error, "not known yet whether the store has held proofs");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    async fn settle_marked(&self, store: &dyn Backend) {
        if self.on.get().is_none() {
            tracing::warn!(
                "the store has held proofs: holds are kept as with STORAGE_HOLDS=on, which is off; \
                 set it to on"
            );
            self.say(true);
        }
        if let Err(error) = self.mark(store).await {
            tracing::debug!(%error, "the mark of held proofs is there, and was not stored again");
        }
    }

    /// Marks the store, once: before its first hold.
    ///
    /// # Errors
    /// The mark cannot be stored, and so the hold must not be.
    pub async fn mark(&self, store: &dyn Backend) -> Result<(), StoreError> {
        let marking = || async {
            let (sha256, size) = (Digest::of(TEXT), TEXT.len() as u64);
            // So that a pool can tell a damaged one.
            let representation = Some(Representation { sha256, size, stored_sha256: sha256 });
            let attributes = Attributes { representation, ..Attributes::new("text/plain") };
            let payload = Payload::from(Bytes::from_static(TEXT));
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
    ObjectKey::new(HOLDS_MARK)
}
