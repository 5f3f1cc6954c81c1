//! The breaker's gate: who passes, what became of them, and telling about it.

use std::error::Error as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;

use super::state::{BreakerPolicy, State, Ticket};
use crate::model::{ErrorKind, Provider, StoreError};
use crate::telemetry::{BackendMetrics, BreakerSeries, BreakerState, Label as _};

/// How a breaker stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerStatus {
    /// Whether calls reach the backend.
    pub state: BreakerState,
    /// When that began.
    pub since: SystemTime,
    /// Text for clients of the latest failure that counted, also of one long past.
    pub last_error: Option<String>,
    /// Time until a call may go through to see how the backend is; zero where one is due, absent
    /// unless open.
    pub retry_in: Option<Duration>,
}

/// Tells how a breaker stands. Cheap to clone; keeps nothing of the backend alive.
#[derive(Clone, Debug)]
pub struct BreakerHandle(Arc<Gate>);

impl BreakerHandle {
    pub(super) fn new(gate: Arc<Gate>) -> Self {
        Self(gate)
    }

    /// Name of the backend.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How it stands now.
    pub fn status(&self) -> BreakerStatus {
        self.0.status()
    }

    /// From now on wakes one who waits for this whenever the breaker moves.
    pub fn tell(&self, listener: Arc<Notify>) {
        self.0.lock().listeners.push(listener);
    }
}

/// Source of a refusal by this layer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the breaker is open")]
struct Open;

/// Whether an error is this layer's own refusal: the backend was not asked.
pub(in crate::layer) fn is_refusal(error: &StoreError) -> bool {
    error.source().is_some_and(<dyn std::error::Error>::is::<Open>)
}

/// What a call's end says about the backend.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict<'a> {
    /// It works.
    Answered,
    /// It works, and wants fewer calls.
    Slowed(&'a StoreError),
    /// It does not work.
    Failed(&'a StoreError),
    /// The call did not get that far.
    Nothing,
}

impl Verdict<'_> {
    /// Whether something came from the backend.
    pub(super) fn is_heard(self) -> bool {
        matches!(self, Self::Answered | Self::Slowed(_))
    }
}

#[derive(Debug)]
pub(super) struct Gate {
    name: Arc<str>,
    provider: Provider,
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    state: State,
    last_error: Option<StoreError>,
    series: BreakerSeries,
    /// Who is told of every move.
    listeners: Vec<Arc<Notify>>,
}

impl Gate {
    pub(super) fn new(
        name: Arc<str>,
        provider: Provider,
        policy: BreakerPolicy,
        metrics: &BackendMetrics,
    ) -> Self {
        let inside = Inside {
            state: State::new(policy, Instant::now()),
            last_error: None,
            series: metrics.breaker(),
            listeners: Vec::new(),
        };
        Self { name, provider, inside: Mutex::new(inside) }
    }

    /// Lets a call pass, or refuses it.
    pub(super) fn admit(gate: &Arc<Self>) -> Result<Pass, StoreError> {
        let admitted = gate.change(|inside, now| {
            let ticket = inside.state.admit(now)?;
            Ok((ticket, inside.state.is_trying(ticket)))
        });
        match admitted {
            Ok((ticket, is_trial)) => {
                Ok(Pass { gate: Arc::clone(gate), ticket: Some(ticket), is_trial })
            }
            Err(retry_in) => Err(gate.refusal(retry_in)),
        }
    }

    /// A refusal to whoever has just seen that the backend does not answer.
    pub(super) fn refusal_now(&self) -> StoreError {
        let retry_in = self.lock().state.retry_in(Instant::now());
        self.refusal(retry_in.unwrap_or_default())
    }

    /// Records that nothing is heard any more.
    pub(super) fn darkened(&self, error: &StoreError) {
        self.change(|inside, now| {
            inside.last_error = Some(error.clone());
            inside.state.darkened(now);
        });
    }

    /// Records that a body broke off whose call had been answered.
    pub(super) fn body_failed(&self, error: &StoreError) {
        self.change(|inside, now| {
            if let Some(ticket) = inside.state.afterwards() {
                inside.last_error = Some(error.clone());
                inside.state.failed(ticket, now);
            }
        });
    }

    pub(super) fn status(&self) -> BreakerStatus {
        let inside = self.lock();
        let now = Instant::now();
        let age = now.saturating_duration_since(inside.state.since());
        let wall = SystemTime::now();
        BreakerStatus {
            state: inside.state.state(),
            since: wall.checked_sub(age).unwrap_or(wall),
            last_error: inside.last_error.as_ref().map(|error| error.detail().to_owned()),
            retry_in: inside.state.retry_in(now),
        }
    }

    /// Changes the state, and tells of a transition where that was one.
    fn change<T>(&self, change: impl FnOnce(&mut Inside, Instant) -> T) -> T {
        let mut inside = self.lock();
        let now = Instant::now();
        let before = inside.state.state();
        let answer = change(&mut inside, now);
        let after = inside.state.state();
        if before != after {
            inside.series.moved(after);
            // Logged under the lock, so that lines have the order of the transitions.
            self.tell(&inside, now);
            inside.listeners.iter().for_each(|listener| listener.notify_one());
        }
        answer
    }

    fn tell(&self, inside: &Inside, now: Instant) {
        let (backend, state) = (&*self.name, inside.state.state());
        match state {
            BreakerState::Open => {
                let retry_in_ms = inside.state.retry_in(now).unwrap_or_default().as_millis();
                let error = inside.last_error.as_ref();
                tracing::warn!(
                    backend,
                    retry_in_ms,
                    ?error,
                    "breaker opened: backend is not asked"
                );
            }
            BreakerState::HalfOpen | BreakerState::Closed => {
                tracing::info!(backend, state = state.as_str(), "breaker moved");
            }
        }
    }

    fn refusal(&self, retry_in: Duration) -> StoreError {
        let last = self.lock().last_error.as_ref().map(|error| error.detail().to_owned());
        let last = last.unwrap_or_else(|| "it has failed".to_owned());
        let detail = format!("backend {} is not asked for a moment: {last}", self.name);
        StoreError::new(ErrorKind::Unavailable, self.provider, detail)
            .with_source(Open)
            .with_retry_after(retry_in)
    }

    /// No holder leaves the state half changed, so a lock poisoned by a panic is usable.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Held by a call that passed. Dropped without [`Pass::finish`], its caller went away.
pub(super) struct Pass {
    gate: Arc<Gate>,
    ticket: Option<Ticket>,
    /// The breaker is half-open: the end of this call decides.
    pub(super) is_trial: bool,
}

impl Pass {
    pub(super) fn finish(mut self, verdict: Verdict<'_>) {
        let Some(ticket) = self.ticket.take() else { return };
        self.gate.change(|inside, now| match verdict {
            Verdict::Answered => inside.state.succeeded(ticket, now),
            Verdict::Slowed(error) => {
                inside.last_error = Some(error.clone());
                inside.state.slowed(ticket, now);
            }
            Verdict::Failed(error) => {
                inside.last_error = Some(error.clone());
                inside.state.failed(ticket, now);
            }
            Verdict::Nothing => inside.state.released(ticket),
        });
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.change(|inside, _| inside.state.released(ticket));
        }
    }
}
