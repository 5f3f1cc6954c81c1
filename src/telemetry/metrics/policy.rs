//! What the policy layers before a backend count: retries, the breaker's state, places taken.
//!
//! Labels name the kind of backend, so two members of one kind share their series: counters and
//! gauges are raised and lowered, never set, and therefore add up.

use ::metrics::{Counter, Gauge};

use super::super::labels::{BreakerState, Label, Operation, Retried};
use super::super::registry::Register;
use super::super::series;
use super::{GaugeGuard, Metrics};
use crate::model::Provider;

impl Metrics {
    /// Counts what became of a further call.
    pub fn retried(&self, provider: Provider, operation: Operation, outcome: Retried) {
        let inner = &*self.0;
        let index = provider.index() * Operation::ALL.len() + operation.index();
        let outcomes = inner.retries.cell(index, || {
            std::array::from_fn(|place| {
                let labels = [
                    ("backend", Label::as_str(provider)),
                    ("operation", operation.as_str()),
                    ("outcome", Retried::ALL[place].as_str()),
                ];
                Register(&inner.recorder).counter(&series::RETRIES, &labels)
            })
        });
        outcomes[outcome.index()].increment(1);
    }

    /// The series of one closed breaker.
    pub fn breaker(&self, provider: Provider) -> BreakerSeries {
        let register = Register(&self.0.recorder);
        let backend = ("backend", Label::as_str(provider));
        let transition = |state: &BreakerState| {
            register.counter(&series::BREAKER_TRANSITIONS, &[backend, ("state", state.as_str())])
        };
        let gauge = register.gauge(&series::BREAKER_STATE, &[backend]);
        // Raised by nothing, so that it is there before the first transition.
        gauge.increment(0.0);
        BreakerSeries {
            gauge,
            transitions: BreakerState::ALL.iter().map(transition).collect(),
            state: BreakerState::Closed,
        }
    }

    /// The series of one limit.
    pub fn limit(&self, provider: Provider) -> LimitSeries {
        let register = Register(&self.0.recorder);
        let labels = [("backend", Label::as_str(provider))];
        let in_flight = register.gauge(&series::BACKEND_IN_FLIGHT, &labels);
        in_flight.increment(0.0);
        LimitSeries { in_flight, refused: register.counter(&series::LIMITED, &labels) }
    }
}

/// The state of one breaker, as long as it lives.
pub struct BreakerSeries {
    gauge: Gauge,
    transitions: Vec<Counter>,
    state: BreakerState,
}

impl BreakerSeries {
    /// Counts a transition.
    pub fn moved(&mut self, to: BreakerState) {
        self.transitions[to.index()].increment(1);
        self.gauge.increment(to.index() as f64 - self.state.index() as f64);
        self.state = to;
    }
}

impl Drop for BreakerSeries {
    fn drop(&mut self) {
        self.gauge.decrement(self.state.index() as f64);
    }
}

impl std::fmt::Debug for BreakerSeries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BreakerSeries({})", self.state.as_str())
    }
}

/// What one limit counts.
pub struct LimitSeries {
    in_flight: Gauge,
    refused: Counter,
}

impl LimitSeries {
    /// Counts a call as in flight until the guard is dropped.
    #[must_use]
    pub fn entered(&self) -> BackendCall {
        BackendCall(GaugeGuard::raise(&self.in_flight))
    }

    /// Counts a call that found no place.
    pub fn refused(&self) {
        self.refused.increment(1);
    }
}

impl std::fmt::Debug for LimitSeries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LimitSeries")
    }
}

/// A call that is in flight at a backend.
pub struct BackendCall(#[expect(dead_code, reason = "held for its drop")] GaugeGuard);
