//! How the service is: liveness, readiness, the backends' state, figures and metrics.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json};
use serde_json::json;

use super::extract::NoQuery;
use super::problem::Problem;
use super::render::timestamp;
use super::state::{AppState, BreakerStands};
use crate::telemetry::BreakerState;
use crate::vault::{Health, Status};

/// `GET /health`: always 200 while the process serves; touches no backend.
pub async fn health(State(state): State<AppState>, _: NoQuery) -> impl IntoResponse {
    let health = state.monitor.health();
    let provider = state.monitor.provider();
    let breaker = state.breaker.as_ref().map(|stands| stands());
    let error = cause(&health, breaker.as_ref());
    let errors: Vec<_> = state.monitor.notes().iter().chain(&error).collect();
    Json(json!({
        "status": health.status,
        "healthy": health.status != Status::Down,
        "latency": milliseconds(health.latency),
        "errors": errors,
        "backends": [{
            "name": provider,
            "provider": provider,
            "status": health.status,
            "latency": milliseconds(health.latency),
            "checked_at": timestamp(health.checked_at),
            "breaker": breaker.map(|stands| word(stands.state)),
            "error": error,
        }],
        "version": env!("CARGO_PKG_VERSION"),
    }))
}

/// `GET /health/ready`: 503 while draining or while no backend can serve.
pub async fn ready(State(state): State<AppState>, _: NoQuery) -> impl IntoResponse {
    let reason = if state.is_draining() {
        Some("draining".to_owned())
    } else {
        let health = state.monitor.health();
        let down = health.status == Status::Down;
        let breaker = state.breaker.as_ref().map(|stands| stands());
        let why = || cause(&health, breaker.as_ref());
        down.then(|| why().unwrap_or_else(|| "the backend is down".to_owned()))
    };
    match reason {
        None => (StatusCode::OK, Json(json!({ "ready": true }))),
        Some(reason) => {
            let body = json!({ "ready": false, "reason": reason });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body))
        }
    }
}

/// `GET /v1/backends`: what the store behind the service is, can do and how it fares.
pub async fn backends(State(state): State<AppState>, _: NoQuery) -> impl IntoResponse {
    let health = state.monitor.health();
    let backend = state.vault.backend();
    let capabilities = backend.capabilities();
    let breaker = state.breaker.as_ref().map(|stands| stands());
    let last_error = cause(&health, breaker.as_ref());
    Json(json!({
        "mode": "single",
        "backends": [{
            "name": backend.provider(),
            "provider": backend.provider(),
            "role": "read-write",
            "status": health.status,
            "capabilities": capabilities,
            "notes": capabilities.notes(),
            "breaker": breaker.map(|stands| word(stands.state)),
            "latency": milliseconds(health.latency),
            "pending_repairs": 0,
            "last_error": last_error,
            "checked_at": timestamp(health.checked_at),
        }],
    }))
}

/// Why the last probe failed. An open breaker refuses probes too, and knows what opened it.
fn cause(health: &Health, breaker: Option<&BreakerStands>) -> Option<String> {
    let error = health.error.clone()?;
    let before = breaker.filter(|stands| stands.state != BreakerState::Closed);
    Some(before.and_then(|stands| stands.last_error.clone()).unwrap_or(error))
}

fn word(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "closed",
        BreakerState::HalfOpen => "half-open",
        BreakerState::Open => "open",
    }
}

/// `GET /v1/stats`
pub async fn stats(
    State(state): State<AppState>,
    _: NoQuery,
) -> Result<impl IntoResponse, Problem> {
    let usage = state.vault.usage().await?;
    let provider = state.vault.backend().provider();
    Ok(Json(json!({
        "total_objects": usage.objects,
        "total_size": usage.bytes,
        "total_stored_size": usage.stored_bytes,
        "provider": provider,
        "backends": [{
            "name": provider,
            "provider": provider,
            "objects": usage.objects,
            "size": usage.bytes,
            "stored_size": usage.stored_bytes,
        }],
        "exact": usage.exact,
        "last_updated": timestamp(usage.as_of),
    })))
}

/// `GET /metrics`: Prometheus text format 0.0.4.
pub async fn metrics(State(state): State<AppState>, _: NoQuery) -> impl IntoResponse {
    if let Ok(usage) = state.vault.usage().await {
        state.metrics.usage(usage.objects, usage.bytes, usage.stored_bytes);
    }
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], state.metrics.render())
}

fn milliseconds(latency: std::time::Duration) -> f64 {
    latency.as_secs_f64() * 1000.0
}
