//! What the service says of itself, in all places that say it.

use crate::client::Client;
use crate::remote::Stage;

/// What the service says of itself, while nobody behind it answers.
pub(super) struct Look {
    client: Client,
    is_pool: bool,
}

impl Look {
    pub(super) fn new(stage: &Stage) -> Self {
        Self { client: Client::new(stage.address()), is_pool: stage.is_pool() }
    }

    /// `/v1/backends` and `/metrics` agree.
    pub(super) fn is_open(&mut self) -> bool {
        self.breaker() == "open" && self.gauge() == Some(2)
    }

    pub(super) fn is_closed(&mut self) -> bool {
        self.breaker() == "closed" && self.gauge() == Some(0)
    }

    /// Of the first backend, which is the one that is cut off.
    fn breaker(&mut self) -> String {
        let answer = self.client.call("GET", "/v1/backends", &[], b"");
        let backends = answer.map(|answer| answer.json()["backends"].clone()).unwrap_or_default();
        backends[0]["breaker"].as_str().unwrap_or_default().to_owned()
    }

    fn gauge(&mut self) -> Option<u64> {
        let answer = self.client.call("GET", "/metrics", &[], b"").ok()?;
        let text = String::from_utf8(answer.body).ok()?;
        let name = if self.is_pool { "m0" } else { "s3" };
        let start = "proof_storage_backend_breaker_state{";
        let label = format!("backend=\"{name}\"");
        let mut lines = text.lines();
        let line = lines.find(|line| line.starts_with(start) && line.contains(&label))?;
        line.rsplit_once(' ')?.1.parse().ok()
    }

    /// `/health` and `/health/ready` say that the backend is down, or that it is not; of a pool
    /// that it is less than it should be. `/health` is 200 all the while.
    pub(super) fn is_told(&mut self, down: bool, not_200: &mut u64) -> bool {
        let Ok(health) = self.client.call("GET", "/health", &[], b"") else {
            *not_200 += 1;
            return false;
        };
        *not_200 += u64::from(health.status() != 200);
        let ready =
            self.client.call("GET", "/health/ready", &[], b"").map(|answer| answer.status());
        let status = health.json()["status"].clone();
        let (says, answers) = match (down, self.is_pool) {
            (false, _) => ("ok", 200),
            (true, false) => ("down", 503),
            // Somebody stands in.
            (true, true) => ("degraded", 200),
        };
        status == says && ready.is_ok_and(|ready| ready == answers)
    }
}
