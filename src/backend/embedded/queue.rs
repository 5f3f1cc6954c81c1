//! The callers' end of the committer's channel, with a bound on the bytes that wait in it.

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use std::sync::Arc;
use std::time::Duration;

use super::committer::Command;
use super::errors::{closed, error};
use super::group::{Operation, Outcome};
use crate::model::{ErrorKind, StoreError};

/// Bytes of bodies on their way to the committer, of all callers together.
const IN_FLIGHT_BYTES: u64 = 8 << 20;
/// Granularity of that bound.
const PERMIT_BYTES: u64 = 4 << 10;
/// Operations on their way to the committer.
pub(super) const IN_FLIGHT_OPERATIONS: usize = 1024;

/// Sends operations and waits for answers.
pub(super) struct Queue {
    commands: mpsc::Sender<Command>,
    bytes: Arc<Semaphore>,
}

/// Room for a body on its way to the committer; given back when the answer is there.
pub(super) type Room = OwnedSemaphorePermit;

pub(super) type Pending = oneshot::Receiver<Result<Outcome, StoreError>>;

impl Queue {
    pub(super) fn new(commands: mpsc::Sender<Command>) -> Self {
        let permits = (IN_FLIGHT_BYTES / PERMIT_BYTES) as usize;
        Self { commands, bytes: Arc::new(Semaphore::new(permits)) }
    }

    /// Waits for room, before the bytes are copied.
    pub(super) async fn admit(&self, bytes: u64) -> Result<Room, StoreError> {
        let permits = bytes.min(IN_FLIGHT_BYTES).div_ceil(PERMIT_BYTES) as u32;
        Arc::clone(&self.bytes).acquire_many_owned(permits).await.map_err(|_| closed())
    }

    /// Hands an operation over. From here on it happens, whether the caller waits or not.
    pub(super) async fn send(
        &self,
        operation: Operation,
        room: Room,
    ) -> Result<Pending, StoreError> {
        let (answer, pending) = oneshot::channel();
        let command = Command::Apply(operation, answer, Some(room));
        self.commands.send(command).await.map_err(|_| closed())?;
        Ok(pending)
    }

    /// Hands an operation over that carries no body, and waits for its answer.
    pub(super) async fn apply(&self, operation: Operation) -> Result<Outcome, StoreError> {
        let (answer, pending) = oneshot::channel();
        self.commands.send(Command::Apply(operation, answer, None)).await.map_err(|_| closed())?;
        Self::answer(pending).await
    }

    /// The same from a thread that may block.
    pub(super) fn apply_blocking(&self, operation: Operation) -> Result<Outcome, StoreError> {
        let (answer, pending) = oneshot::channel();
        self.commands
            .blocking_send(Command::Apply(operation, answer, None))
            .map_err(|_| closed())?;
        pending.blocking_recv().unwrap_or_else(|_| Err(lost()))
    }

    /// Waits for an answer.
    pub(super) async fn answer(pending: Pending) -> Result<Outcome, StoreError> {
        pending.await.unwrap_or_else(|_| Err(lost()))
    }

    /// Lets the committer finish what it has and stop. Blocks, also inside a runtime.
    pub(super) fn close(&self) {
        let (answer, mut done) = oneshot::channel();
        let mut command = Command::Close(answer);
        loop {
            match self.commands.try_send(command) {
                Ok(()) => break,
                Err(mpsc::error::TrySendError::Closed(_)) => return,
                Err(mpsc::error::TrySendError::Full(back)) => command = back,
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        while matches!(done.try_recv(), Err(oneshot::error::TryRecvError::Empty)) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The committer went away between taking an operation and answering it.
fn lost() -> StoreError {
    error(ErrorKind::Indeterminate, "the store stopped before it answered")
}
