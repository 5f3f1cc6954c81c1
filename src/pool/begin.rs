//! The first thing that a replica does: it learns what others left to it.
//!
//! Before it has read what at least one member keeps, it gives no version and answers no call: its
//! clock may have been set back, and what it would serve may be deleted. Members that take their
//! time are read later on, and are not believed to have nothing until then.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::sync::Mutex;

use super::parts::Parts;
use crate::model::StoreError;

/// Longest wait for a member's records before the first call is served without them.
const PATIENCE: Duration = Duration::from_secs(2);

/// Between two looks whether it is known what members can do.
const LOOK: Duration = Duration::from_millis(10);

/// Whether this replica has begun.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    is_done: AtomicBool,
    turn: Mutex<()>,
    tries: AtomicU64,
}

impl Parts {
    /// Reads members' records once; cheap afterwards.
    ///
    /// # Errors
    /// No member could be read.
    pub(super) async fn begin(&self) -> Result<(), StoreError> {
        let beginning = &self.beginning;
        if beginning.is_done.load(Ordering::Acquire) {
            return Ok(());
        }
        let before = beginning.tries.load(Ordering::Acquire);
        let _turn = beginning.turn.lock().await;
        if beginning.is_done.load(Ordering::Acquire) {
            return Ok(());
        }
        let failed = || self.no_member("can be read");
        // Whoever waited for a try that failed shares its end.
        if beginning.tries.load(Ordering::Acquire) > before {
            return Err(failed());
        }
        let read = (0..self.members.len())
            .map(|place| tokio::time::timeout(PATIENCE, self.read_current(place)));
        let examined = tokio::time::timeout(PATIENCE, self.all_are_examined());
        let (read, _) = join(join_all(read), examined).await;
        let was_read = |place: &usize| matches!(read[*place], Ok(Ok(())));
        let answering: Vec<usize> = (0..read.len()).filter(was_read).collect();
        self.judge_marks().await;
        beginning.tries.fetch_add(1, Ordering::AcqRel);
        if answering.is_empty() {
            return Err(failed());
        }
        // Before the first version is given: who comes after a death knows of what was under way then.
        let _ = tokio::time::timeout(PATIENCE, self.put_marks(answering)).await;
        beginning.is_done.store(true, Ordering::Release);
        Ok(())
    }

    /// Waits until it is known what each home can do: who decides between creates must be the same home
    /// for all replicas.
    async fn all_are_examined(&self) {
        let is_known = |home: &usize| self.members[*home].is_examined();
        while !self.homes().iter().all(is_known) {
            tokio::time::sleep(LOOK).await;
        }
    }
}
