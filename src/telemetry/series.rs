//! Names, kinds, help texts and buckets of every series.

use ::metrics::Unit;

/// Kind of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    /// With the upper bounds of its buckets.
    Histogram(&'static [f64]),
}

/// One named series.
pub(super) struct Series {
    /// As scraped, unit and all.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) unit: Option<Unit>,
    pub(super) help: &'static str,
}

/// Seconds, 0.5 ms to 30 s: a read from cache is below the first, a timeout in the last.
const LATENCY: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Writers that shared one sync of the disk.
const GROUP: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Bytes, 1 KiB to 64 MiB.
const SIZE: &[f64] =
    &[1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0, 67108864.0];

macro_rules! series {
    ($($id:ident = $kind:expr, $unit:expr, $name:literal, $help:literal;)*) => {
        $(pub(super) static $id: Series = Series {
            name: concat!("proof_storage_", $name),
            kind: $kind,
            unit: $unit,
            help: $help,
        };)*

        /// All but the process's own, which `metrics-process` names.
        pub(super) static SERIES: &[&Series] = &[$(&$id),*];
    };
}

use Kind::{Counter, Gauge, Histogram};

series! {
    REQUESTS = Counter, None, "http_requests_total",
        "Requests answered, by route, method and class of status.";
    REQUEST_DURATION = Histogram(LATENCY), Some(Unit::Seconds), "http_request_duration_seconds",
        "Time from a request's head to the end of its answer, by route.";
    RECEIVED = Counter, Some(Unit::Bytes), "http_received_bytes_total",
        "Bytes of request bodies read, by route.";
    SENT = Counter, Some(Unit::Bytes), "http_sent_bytes_total",
        "Bytes of answer bodies sent, by route.";
    IN_FLIGHT = Gauge, None, "http_requests_in_flight",
        "Requests that are being answered now.";
    CONNECTIONS = Gauge, None, "http_connections",
        "Connections that are open now.";
    REFUSED = Counter, None, "refused_total",
        "Requests turned away unseen and connections made to wait, by reason.";
    DENIED = Counter, None, "access_denied_total",
        "Calls refused because of who made them, by reason.";
    CREDENTIALS_READ = Counter, None, "credentials_read_total",
        "Readings of changed token files, key sets and certificates, by source and outcome.";
    HANDSHAKES_FAILED = Counter, None, "tls_handshakes_failed_total",
        "Connections that did not become private, by cause.";
    CERTIFICATE_ENDS = Gauge, Some(Unit::Seconds), "tls_certificate_not_after_seconds",
        "When the certificate that is shown ends, in seconds since 1970; of a chain the first to end.";
    AUDIT_LINES = Counter, None, "audit_lines_total",
        "Lines of the audit log, by outcome: written, or lost because they could not be.";
    AUDIT_WRITABLE = Gauge, None, "audit_writable",
        "Whether lines of the audit log can be written: 1, or 0; 1 where there is no such log.";
    OPERATIONS = Counter, None, "backend_operations_total",
        "Operations of backends, by backend and its kind, operation and outcome.";
    OPERATION_DURATION = Histogram(LATENCY), Some(Unit::Seconds),
        "backend_operation_duration_seconds",
        "Time that an operation of a backend took, by backend and operation.";
    RETRIES = Counter, None, "backend_retries_total",
        "Further calls that failed ones gave cause for, by backend, operation and outcome.";
    BREAKER_STATE = Gauge, None, "backend_breaker_state",
        "Whether calls reach a backend: 0 closed (they do), 1 half-open (one does), 2 open.";
    BREAKER_TRANSITIONS = Counter, None, "backend_breaker_transitions_total",
        "Changes of a breaker's state, by backend and new state.";
    BACKEND_IN_FLIGHT = Gauge, None, "backend_calls_in_flight",
        "Calls and streamed bodies that hold a place at a backend now.";
    LIMITED = Counter, None, "backend_limit_refusals_total",
        "Calls refused because too many were in flight at a backend, by backend.";
    POOL_REPAIRS_PENDING = Gauge, None, "pool_repairs_pending",
        "Copies and deletes that a member of the pool still misses, by backend.";
    POOL_OLDEST_REPAIR = Gauge, Some(Unit::Seconds), "pool_oldest_repair_seconds",
        "Age of the oldest copy or delete that a member still misses; 0 where none does.";
    POOL_MEMBER_FULL = Gauge, None, "pool_member_full",
        "Whether a member's quota is used up, so that it is passed over for writes, by backend.";
    POOL_MEMBER_COMPLETE = Gauge, None, "pool_member_complete",
        "Whether a member is known to have all that belongs to it, but for repairs, by backend.";
    POOL_DIVERGENT = Gauge, None, "pool_divergent",
        "Keys found otherwise than they should be at some member, and not explained by a record.";
    POOL_CONFLICTS = Gauge, None, "pool_conflicts",
        "Keys under which two versions were written that exclude each other; both are kept.";
    POOL_QUARANTINED = Gauge, None, "pool_quarantined",
        "Copies with wrong bytes that were put aside.";
    POOL_HEDGES = Counter, None, "pool_hedges_total",
        "Reads that a second member was asked for because the first was slow.";
    POOL_HEDGES_WON = Counter, None, "pool_hedges_won_total",
        "Reads that the second member answered first.";
    POOL_FAILOVERS = Counter, None, "pool_failovers_total",
        "Calls that another member took over, by the cause.";
    POOL_REPAIRED = Counter, None, "pool_repaired_total",
        "Copies and deletes that repair made, by operation.";
    GROUP_OPERATIONS = Histogram(GROUP), None, "commit_group_operations",
        "Writes that were made durable together by one commit.";
    GROUP_BYTES = Histogram(SIZE), Some(Unit::Bytes), "commit_group_bytes",
        "Bytes that were made durable together by one commit.";
    COMMIT_DURATION = Histogram(LATENCY), Some(Unit::Seconds), "commit_duration_seconds",
        "Time that one commit took, from its start until it was durable.";
    COMPRESSION_IN = Counter, Some(Unit::Bytes), "compression_original_bytes_total",
        "Bytes of stored proofs before compression; proofs kept as they are count too.";
    COMPRESSION_OUT = Counter, Some(Unit::Bytes), "compression_stored_bytes_total",
        "Bytes of stored proofs as they are kept; over the original bytes this is the ratio.";
    OBJECTS = Gauge, None, "objects",
        "Proofs that are stored.";
    OBJECT_BYTES = Gauge, Some(Unit::Bytes), "object_bytes",
        "Bytes of the stored proofs as their callers gave them.";
    STORED_BYTES = Gauge, Some(Unit::Bytes), "stored_bytes",
        "Bytes of the stored proofs as they are kept.";
    LOG_LINES_DROPPED = Counter, None, "log_lines_dropped_total",
        "Lines of the log that were lost because its reader was too slow.";
    BUILD = Gauge, None, "build_info",
        "Always 1; the labels say which build this is.";
}
