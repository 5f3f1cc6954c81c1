//! TLS: handshakes that fail, and when the certificate ends. Series of a service that speaks it.

use std::time::{SystemTime, UNIX_EPOCH};

use ::metrics::{Counter, Gauge};

use super::Metrics;
use crate::telemetry::labels::{HandshakeFailure, Label as _};
use crate::telemetry::registry::Register;
use crate::telemetry::series;

pub(super) struct TlsSeries {
    failed: Vec<Counter>,
    ends: Gauge,
}

impl TlsSeries {
    fn new(register: &Register<'_>) -> Self {
        let failed = HandshakeFailure::ALL.iter().map(|cause| {
            register.counter(&series::HANDSHAKES_FAILED, &[("cause", cause.as_str())])
        });
        Self { failed: failed.collect(), ends: register.gauge(&series::CERTIFICATE_ENDS, &[]) }
    }
}

impl Metrics {
    fn tls(&self) -> &TlsSeries {
        self.0.tls.get_or_init(|| TlsSeries::new(&Register(&self.0.recorder)))
    }

    /// Counts a handshake that came to nothing.
    pub fn handshake_failed(&self, cause: HandshakeFailure) {
        self.tls().failed[cause.index()].increment(1);
    }

    /// Sets when the certificate that is shown ends.
    pub fn certificate_ends(&self, not_after: SystemTime) {
        let since = not_after.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.tls().ends.set(since.as_secs_f64());
    }
}
