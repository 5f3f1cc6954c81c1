//! What the service tells about itself: logs for people, metrics for Prometheus.
//!
//! Every name of a metric and of a label stands in this module, and every label's value is a
//! variant of an enum here or the name of a configured backend: no key and no text of a caller
//! can become one. Everybody may call it; it imports value types of `model` and the log's
//! configuration, and knows no HTTP framework.

mod labels;
mod logging;
mod metrics;
mod registry;
mod series;

pub use labels::{
    AuditLine, BreakerState, CredentialSource, Denial, HandshakeFailure, Label, Method, Operation,
    Outcome, Refusal, Retried, Route,
};
pub use logging::{LogGuard, init_logging};
pub use metrics::{
    BackendCall, BackendMetrics, BreakerSeries, ConnectionGuard, InFlight, LimitSeries,
    MemberFigures, Metrics, PoolFigures,
};
