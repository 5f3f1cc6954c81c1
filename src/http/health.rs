//! How the service is: liveness and readiness, from cached probes and without touching a backend.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Json};
use serde_json::json;

use super::backends::word;
use super::extract::no_query;
use super::gate::{Call, Demand, Granted, Need, Who};
use super::problem::Problem;
use super::render::{milliseconds, timestamp};
use super::state::{AppState, Member, PoolState};
use crate::audit::Action;
use crate::model::Scope;
use crate::telemetry::BreakerState;
use crate::vault::{Health, Status};

/// Age from which a waiting repair calls for a person. A delete waits for a quarter of an hour by
/// rule, in case that something older is still on its way.
const OLD_REPAIR: Duration = Duration::from_secs(1800);

/// What the last probes say of all backends together.
struct Overview<'a> {
    members: Vec<(&'a Member, Health, Option<BreakerState>)>,
    pool: Option<PoolState>,
    /// What the audit log has to say for itself.
    audit: Option<String>,
}

/// A call that tells nothing about proofs: anybody may make it.
pub struct Open;

impl Demand for Open {
    const WHO: Who = Who::Anybody;
    const SCOPES: &'static [Scope] = &[];
    const ACTION: Option<Action> = None;

    async fn read(call: Call<'_>) -> Result<Self, Problem> {
        no_query(&call.head.uri).map(|()| Self)
    }

    fn needs(&self) -> Vec<Need<'_>> {
        Vec::new()
    }
}

/// `GET /health`: always 200 while the process serves; touches no backend.
pub async fn health(granted: Granted<Open>) -> impl IntoResponse {
    let overview = Overview::of(&granted.pass);
    let status = overview.status();
    let backends: Vec<_> = overview
        .members
        .iter()
        .map(|(Member { monitor, .. }, health, breaker)| {
            json!({
                "name": monitor.name(),
                "provider": monitor.provider(),
                "status": health.status,
                "latency": milliseconds(health.latency),
                "checked_at": timestamp(health.checked_at),
                "breaker": breaker.map(word),
                "error": health.error,
            })
        })
        .collect();
    Json(json!({
        "status": status,
        "healthy": status != Status::Down,
        "latency": milliseconds(overview.latency()),
        "errors": overview.errors(),
        "backends": backends,
        "version": env!("CARGO_PKG_VERSION"),
    }))
}

/// `GET /health/ready`: 503 while draining or while no backend can serve.
pub async fn ready(granted: Granted<Open>) -> impl IntoResponse {
    let state: &AppState = &granted.pass;
    let reason = if state.is_draining() {
        Some("draining".to_owned())
    } else {
        let overview = Overview::of(state);
        let down = overview.status() == Status::Down;
        down.then(|| overview.errors().join("; "))
    };
    match reason {
        None => (StatusCode::OK, Json(json!({ "ready": true }))),
        Some(reason) => {
            let body = json!({ "ready": false, "reason": reason });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body))
        }
    }
}

impl<'a> Overview<'a> {
    fn of(state: &'a AppState) -> Self {
        let members = state.members.iter().map(|member| {
            let (health, breaker) = member.health();
            (member, health, breaker)
        });
        Self {
            members: members.collect(),
            pool: state.pool.as_ref().map(|stands| stands()),
            audit: state.audit.trouble(),
        }
    }

    /// Down where no backend serves, degraded where anything calls for a person.
    fn status(&self) -> Status {
        let mut of_members = self.members.iter().map(|(_, health, _)| health.status);
        if of_members.clone().all(|status| status == Status::Down) {
            return Status::Down;
        }
        let all_well = of_members.all(|status| status == Status::Ok);
        if all_well && self.troubles().is_empty() { Status::Ok } else { Status::Degraded }
    }

    /// Of the first backend that serves.
    fn latency(&self) -> Duration {
        let serves = |(_, health, _): &&(&Member, Health, Option<BreakerState>)| {
            health.status != Status::Down
        };
        let first = self.members.iter().find(serves).or(self.members.first());
        first.map(|(_, health, _)| health.latency).unwrap_or_default()
    }

    fn errors(&self) -> Vec<String> {
        let named = |monitor: &crate::vault::Monitor, error: String| match self.members.len() {
            1 => error,
            _ => format!("{}: {error}", monitor.name()),
        };
        let of_members = self.members.iter().flat_map(|(Member { monitor, .. }, health, _)| {
            let errors = monitor.notes().iter().chain(&health.error).cloned();
            errors.map(move |error| named(monitor, error))
        });
        of_members.chain(self.troubles()).collect()
    }

    /// What is not of one backend.
    fn troubles(&self) -> Vec<String> {
        let mut troubles: Vec<_> = self.audit.iter().cloned().collect();
        let Some(PoolState { figures, repairs_pending, .. }) = &self.pool else {
            return troubles;
        };
        if figures.oldest_repair >= OLD_REPAIR {
            let seconds = figures.oldest_repair.as_secs();
            troubles
                .push(format!("{repairs_pending} repairs are pending, the oldest for {seconds} s"));
        }
        if figures.conflicts > 0 {
            let conflicts = figures.conflicts;
            troubles.push(format!("{conflicts} keys have two versions that exclude each other"));
        }
        if figures.quarantined > 0 {
            troubles
                .push(format!("{} copies with wrong bytes were put aside", figures.quarantined));
        }
        let takes = self.members.iter().map(|(member, ..)| member.role.takes_writes());
        let mut takers = figures.members.iter().zip(takes).filter(|(_, takes)| *takes).peekable();
        if takers.peek().is_some() && takers.all(|(member, _)| member.full) {
            troubles.push("the quota of every backend that takes writes is used up".to_owned());
        }
        troubles
    }
}
