//! What is counted of one backend: its calls, their retries, its breaker's state, places taken.
//!
//! Series carry the backend's name as configured and its kind, so that two of one kind are told
//! apart. Layers that share a name share its series: counters and gauges are raised and lowered,
//! never set, and therefore add up.

use std::sync::Arc;
use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram};

use super::super::labels::{BreakerState, Label, Operation, Outcome, Retried};
use super::super::registry::{Register, Table};
use super::super::series;
use super::{GaugeGuard, Metrics};
use crate::model::Provider;

/// The series of one backend. Cheap to clone.
#[derive(Clone)]
pub struct BackendMetrics(Arc<Inner>);

struct Inner {
    metrics: Metrics,
    name: Arc<str>,
    provider: Provider,
    operations: Table<OperationHandles>,
    retries: Table<[Counter; Retried::ALL.len()]>,
}

struct OperationHandles {
    duration: Histogram,
    outcomes: [Counter; Outcome::ALL.len()],
}

type Pair<'a> = (&'static str, &'a str);

impl Metrics {
    /// The series of a backend; `name` is the one that it has in the configuration.
    pub fn backend(&self, name: impl Into<Arc<str>>, provider: Provider) -> BackendMetrics {
        BackendMetrics(Arc::new(Inner {
            metrics: self.clone(),
            name: name.into(),
            provider,
            operations: Table::new(Operation::ALL.len()),
            retries: Table::new(Operation::ALL.len()),
        }))
    }
}

impl BackendMetrics {
    /// Counts a finished operation.
    pub fn operation(&self, operation: Operation, outcome: Outcome, elapsed: Duration) {
        let inner = &*self.0;
        let handles = inner.operations.cell(operation.index(), || {
            let [backend, provider] = inner.labels();
            let operation = ("operation", operation.as_str());
            let labels = [backend, provider, operation];
            OperationHandles {
                duration: inner.register().histogram(&series::OPERATION_DURATION, &labels),
                outcomes: std::array::from_fn(|place| {
                    let outcome = ("outcome", Outcome::ALL[place].as_str());
                    let labels = [backend, provider, operation, outcome];
                    inner.register().counter(&series::OPERATIONS, &labels)
                }),
            }
        });
        handles.outcomes[outcome.index()].increment(1);
        handles.duration.record(elapsed);
    }

    /// Counts what became of a further call.
    pub fn retried(&self, operation: Operation, outcome: Retried) {
        let inner = &*self.0;
        let outcomes = inner.retries.cell(operation.index(), || {
            std::array::from_fn(|place| {
                let [backend, provider] = inner.labels();
                let operation = ("operation", operation.as_str());
                let outcome = ("outcome", Retried::ALL[place].as_str());
                let labels = [backend, provider, operation, outcome];
                inner.register().counter(&series::RETRIES, &labels)
            })
        });
        outcomes[outcome.index()].increment(1);
    }

    /// The series of its closed breaker.
    pub fn breaker(&self) -> BreakerSeries {
        let [backend, provider] = self.0.labels();
        let register = self.0.register();
        let transition = |state: &BreakerState| {
            let labels = [backend, provider, ("state", state.as_str())];
            register.counter(&series::BREAKER_TRANSITIONS, &labels)
        };
        let gauge = register.gauge(&series::BREAKER_STATE, &[backend, provider]);
        // Raised by nothing, so that it is there before the first transition.
        gauge.increment(0.0);
        BreakerSeries {
            gauge,
            transitions: BreakerState::ALL.iter().map(transition).collect(),
            state: BreakerState::Closed,
        }
    }

    /// The series of its limit.
    pub fn limit(&self) -> LimitSeries {
        let labels = self.0.labels();
        let in_flight = self.0.register().gauge(&series::BACKEND_IN_FLIGHT, &labels);
        in_flight.increment(0.0);
        LimitSeries { in_flight, refused: self.0.register().counter(&series::LIMITED, &labels) }
    }
}

impl Inner {
    fn register(&self) -> Register<'_> {
        Register(&self.metrics.0.recorder)
    }

    fn labels(&self) -> [Pair<'_>; 2] {
        [("backend", &self.name), ("provider", self.provider.as_str())]
    }
}

impl std::fmt::Debug for BackendMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BackendMetrics({})", self.0.name)
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
