//! What was there before it was destroyed, for whoever writes that down.
//!
//! A call hands it down to what looks at a proof anyway before it goes: for holds, for a condition, for a move.
//! Where nobody does, [`Retained`](super::Retained) looks for its sake. One that asks for nothing costs nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::model::{Digest, Namespace, ObjectKey, ObjectMeta};

/// See the module. Cheap to clone: all clones are of one call.
#[derive(Clone, Debug, Default)]
pub struct Sight(Option<Arc<Seen>>);

#[derive(Debug)]
struct Seen {
    namespace: Namespace,
    digests: Mutex<HashMap<ObjectKey, Digest>>,
}

impl Sight {
    /// Asks for nothing.
    pub fn none() -> Self {
        Self(None)
    }

    /// Asks for the digests of what is destroyed in this part of the store.
    pub fn of(namespace: Namespace) -> Self {
        Self(Some(Arc::new(Seen { namespace, digests: Mutex::default() })))
    }

    /// Whether anybody wants to know.
    pub(super) fn looks(&self) -> bool {
        self.0.is_some()
    }

    /// What was seen last counts: a delete that has to look again deletes that.
    pub(super) fn saw(&self, opened: &ObjectMeta) {
        let (Some(seen), Some(found)) = (&self.0, opened.attributes.representation) else { return };
        let mut digests = seen.digests.lock().unwrap_or_else(PoisonError::into_inner);
        digests.insert(opened.key.clone(), found.sha256);
    }

    /// SHA-256 of the proof that was seen under a caller's key, where one was.
    pub fn sha256(&self, name: &str) -> Option<Digest> {
        let seen = self.0.as_ref()?;
        let key = seen.namespace.key(name).ok()?;
        seen.digests.lock().unwrap_or_else(PoisonError::into_inner).get(key.object()).copied()
    }
}
