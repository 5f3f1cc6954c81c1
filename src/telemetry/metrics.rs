//! Counters, gauges and histograms, and their rendering for Prometheus.
//!
//! Each [`Metrics`] has a recorder of its own and nothing is global, so several services, or
//! tests, live in one process. Handles are made once and kept in arrays indexed by the label
//! enums: counting is a lookup and an atomic add. A set of series appears when its route or
//! operation is first used, with all its outcomes, so that a rate sees the first failure.

mod backend;
mod pool;
mod tls;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram};
use metrics_exporter_prometheus::{PrometheusHandle, PrometheusRecorder};
use tracing_appender::non_blocking::ErrorCounter;

pub use self::backend::{BackendCall, BackendMetrics, BreakerSeries, LimitSeries};
pub use self::pool::{MemberFigures, PoolFigures};
use super::labels::{
    AuditLine, CredentialSource, Denial, Label, Method, Reading, Refusal, Route, StatusClass,
};
use super::logging::LogGuard;
use super::registry::{Register, Table, recorder};
use super::series;

/// How often histograms are folded where nobody scrapes; bounds the memory of raw samples.
const UPKEEP: Duration = Duration::from_secs(5);

/// Everything that is counted. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    process: metrics_process::Collector,
    requests: Table<[Counter; StatusClass::ALL.len()]>,
    routes: Table<RouteHandles>,
    refused: Vec<Counter>,
    denied: Vec<Counter>,
    credentials_read: Vec<[Counter; Reading::ALL.len()]>,
    audit_lines: Vec<Counter>,
    audit_writable: Gauge,
    tls: OnceLock<tls::TlsSeries>,
    in_flight: Gauge,
    connections: Gauge,
    group_operations: Histogram,
    group_bytes: Histogram,
    commit_duration: Histogram,
    compression_in: Counter,
    compression_out: Counter,
    objects: Gauge,
    object_bytes: Gauge,
    stored_bytes: Gauge,
    log_lines_dropped: Counter,
    log: OnceLock<ErrorCounter>,
}

struct RouteHandles {
    duration: Histogram,
    received: Counter,
    sent: Counter,
}

impl Metrics {
    /// Fresh metrics, all zero.
    pub fn new() -> Self {
        let recorder = recorder();
        let process = metrics_process::Collector::default();
        ::metrics::with_local_recorder(&recorder, || process.describe());
        let register = Register(&recorder);
        let build =
            [("version", env!("CARGO_PKG_VERSION")), ("rustc", env!("PROOF_STORAGE_RUSTC"))];
        register.gauge(&series::BUILD, &build).set(1.0);
        let refused = Refusal::ALL
            .iter()
            .map(|reason| register.counter(&series::REFUSED, &[("reason", reason.as_str())]));
        let audit_lines = AuditLine::ALL
            .iter()
            .map(|line| register.counter(&series::AUDIT_LINES, &[("outcome", line.as_str())]));
        let denied = Denial::ALL
            .iter()
            .map(|reason| register.counter(&series::DENIED, &[("reason", reason.as_str())]));
        let credentials_read = CredentialSource::ALL.iter().map(|source| {
            std::array::from_fn(|reading| {
                let labels =
                    [("source", source.as_str()), ("outcome", Reading::ALL[reading].as_str())];
                register.counter(&series::CREDENTIALS_READ, &labels)
            })
        });
        let metrics = Self(Arc::new(Inner {
            handle: recorder.handle(),
            process,
            requests: Table::new(Route::ALL.len() * Method::ALL.len()),
            routes: Table::new(Route::ALL.len()),
            refused: refused.collect(),
            denied: denied.collect(),
            credentials_read: credentials_read.collect(),
            audit_lines: audit_lines.collect(),
            audit_writable: register.gauge(&series::AUDIT_WRITABLE, &[]),
            tls: OnceLock::new(),
            in_flight: register.gauge(&series::IN_FLIGHT, &[]),
            connections: register.gauge(&series::CONNECTIONS, &[]),
            group_operations: register.histogram(&series::GROUP_OPERATIONS, &[]),
            group_bytes: register.histogram(&series::GROUP_BYTES, &[]),
            commit_duration: register.histogram(&series::COMMIT_DURATION, &[]),
            compression_in: register.counter(&series::COMPRESSION_IN, &[]),
            compression_out: register.counter(&series::COMPRESSION_OUT, &[]),
            objects: register.gauge(&series::OBJECTS, &[]),
            object_bytes: register.gauge(&series::OBJECT_BYTES, &[]),
            stored_bytes: register.gauge(&series::STORED_BYTES, &[]),
            log_lines_dropped: register.counter(&series::LOG_LINES_DROPPED, &[]),
            log: OnceLock::new(),
            recorder,
        }));
        metrics.audit_writable(true);
        metrics
    }

    /// Counts a request as in flight until the guard is dropped.
    #[must_use]
    pub fn request_started(&self) -> InFlight {
        InFlight(GaugeGuard::raise(&self.0.in_flight))
    }

    /// Counts an answered request. Bytes are of bodies; the time ends with the answer's.
    pub fn request_finished(
        &self,
        route: Route,
        method: Method,
        status: http::StatusCode,
        elapsed: Duration,
        bytes_in: u64,
        bytes_out: u64,
    ) {
        let inner = &*self.0;
        let register = Register(&inner.recorder);
        let index = route.index() * Method::ALL.len() + method.index();
        let classes = inner.requests.cell(index, || {
            std::array::from_fn(|class| {
                let labels = [
                    ("route", route.as_str()),
                    ("method", method.as_str()),
                    ("class", StatusClass::ALL[class].as_str()),
                ];
                register.counter(&series::REQUESTS, &labels)
            })
        });
        classes[StatusClass::from(status).index()].increment(1);
        let handles = inner.routes.cell(route.index(), || {
            let labels = [("route", route.as_str())];
            RouteHandles {
                duration: register.histogram(&series::REQUEST_DURATION, &labels),
                received: register.counter(&series::RECEIVED, &labels),
                sent: register.counter(&series::SENT, &labels),
            }
        });
        handles.duration.record(elapsed);
        handles.received.increment(bytes_in);
        handles.sent.increment(bytes_out);
    }

    /// Records one durable commit of the embedded store: how many writes shared it, their bytes,
    /// and the time from its start until it was durable.
    pub fn commit_group(&self, operations: usize, bytes: u64, elapsed: Duration) {
        self.0.group_operations.record(operations as f64);
        self.0.group_bytes.record(bytes as f64);
        self.0.commit_duration.record(elapsed);
    }

    /// Counts one stored proof's bytes as given and as kept (the same where not compressed).
    pub fn compressed(&self, original: u64, stored: u64) {
        self.0.compression_in.increment(original);
        self.0.compression_out.increment(stored);
    }

    /// Counts something turned away unseen.
    pub fn refused(&self, reason: Refusal) {
        self.0.refused[reason.index()].increment(1);
    }

    /// Counts a call refused because of who made it.
    pub fn denied(&self, reason: Denial) {
        self.0.denied[reason.index()].increment(1);
    }

    /// Counts a reading of a changed token file or key set.
    pub fn credentials_read(&self, source: CredentialSource, taken: bool) {
        let outcome = if taken { Reading::Ok } else { Reading::Failed };
        self.0.credentials_read[source.index()][outcome.index()].increment(1);
    }

    /// Counts lines of the audit log.
    pub fn audit_lines(&self, outcome: AuditLine, lines: u64) {
        self.0.audit_lines[outcome.index()].increment(lines);
    }

    /// Whether lines of the audit log can be written.
    pub fn audit_writable(&self, writable: bool) {
        self.0.audit_writable.set(f64::from(u8::from(writable)));
    }

    /// Counts a connection as open until the guard is dropped.
    #[must_use]
    pub fn connection_opened(&self) -> ConnectionGuard {
        ConnectionGuard(GaugeGuard::raise(&self.0.connections))
    }

    /// Sets how much is stored; to be called before [`Metrics::render`].
    pub fn usage(&self, objects: u64, bytes: u64, stored_bytes: u64) {
        self.0.objects.set(objects as f64);
        self.0.object_bytes.set(bytes as f64);
        self.0.stored_bytes.set(stored_bytes as f64);
    }

    /// Reports the log's lost lines from now on; the first log given is the one that counts.
    pub fn watch_log(&self, log: &LogGuard) {
        self.0.log.get_or_init(|| log.dropped());
    }

    /// Everything, in the text format 0.0.4 of Prometheus. Reads `/proc`.
    pub fn render(&self) -> String {
        ::metrics::with_local_recorder(&self.0.recorder, || self.0.process.collect());
        if let Some(dropped) = self.0.log.get() {
            self.0.log_lines_dropped.absolute(dropped.dropped_lines() as u64);
        }
        self.0.handle.render()
    }

    /// Folds raw samples every few seconds, for ever: without it, histograms that nobody scrapes
    /// would grow. To be spawned once beside the service.
    pub async fn upkeep(self) {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            self.0.handle.run_upkeep();
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// Raises a gauge by one for as long as it lives.
struct GaugeGuard(Gauge);

impl GaugeGuard {
    fn raise(gauge: &Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge.clone())
    }
}

impl Drop for GaugeGuard {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// A request that is being answered. Hold it until the last byte of the answer.
pub struct InFlight(#[expect(dead_code, reason = "held for its drop")] GaugeGuard);

/// A connection that is open.
pub struct ConnectionGuard(#[expect(dead_code, reason = "held for its drop")] GaugeGuard);
