//! What the service says of itself, in all places that say it.

use crate::client::Client;
use crate::remote::Stage;

/// What the service says of itself, while nobody behind it answers.
pub(super) struct Look(Client);

impl Look {
    pub(super) fn new(stage: &Stage) -> Self {
        Self(Client::new(stage.address()))
    }

    /// `/v1/backends` and `/metrics` agree.
    pub(super) fn is_open(&mut self) -> bool {
        let breaker = self.breaker();
        breaker == ["open"] && self.gauge() == Some(2)
    }

    pub(super) fn is_closed(&mut self) -> bool {
        self.breaker() == ["closed"] && self.gauge() == Some(0)
    }

    fn breaker(&mut self) -> Vec<String> {
        let answer = self.0.call("GET", "/v1/backends", &[], b"");
        let backends = answer.map(|answer| answer.json()["backends"].clone()).unwrap_or_default();
        let breaker = |backend: &serde_json::Value| backend["breaker"].as_str().map(str::to_owned);
        backends.as_array().into_iter().flatten().filter_map(breaker).collect()
    }

    fn gauge(&mut self) -> Option<u64> {
        let answer = self.0.call("GET", "/metrics", &[], b"").ok()?;
        let text = String::from_utf8(answer.body).ok()?;
        let mut lines = text.lines();
        let line = lines.find(|line| line.starts_with("proof_storage_backend_breaker_state{"))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    /// `/health` and `/health/ready` say that the backend is down, or that it is not. `/health` is
    /// 200 all the while.
    pub(super) fn is_told(&mut self, down: bool, not_200: &mut u64) -> bool {
        let Ok(health) = self.0.call("GET", "/health", &[], b"") else {
            *not_200 += 1;
            return false;
        };
        *not_200 += u64::from(health.status() != 200);
        let ready = self.0.call("GET", "/health/ready", &[], b"").map(|answer| answer.status());
        let status = health.json()["status"].clone();
        let says = if down { "down" } else { "ok" };
        status == says && ready.is_ok_and(|ready| ready == if down { 503 } else { 200 })
    }
}
