//! How the service is: liveness, readiness, the backends' state, figures and metrics.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json};
use serde_json::json;

use super::extract::NoQuery;
use super::problem::Problem;
use super::render::timestamp;
use super::state::AppState;
use crate::telemetry::BreakerState;
use crate::vault::Status;

/// `GET /health`: always 200 while the process serves; touches no backend.
pub async fn health(State(state): State<AppState>, _: NoQuery) -> impl IntoResponse {
    let health = state.monitor.health();
    let provider = state.monitor.provider();
    Json(json!({
        "status": health.status,
        "healthy": health.status != Status::Down,
        "latency": milliseconds(health.latency),
        "errors": state.monitor.errors(),
        "backends": [{
            "name": provider,
            "provider": provider,
            "status": health.status,
            "latency": milliseconds(health.latency),
            "checked_at": timestamp(health.checked_at),
            "error": health.error,
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
        down.then(|| health.error.unwrap_or_else(|| "the backend is down".to_owned()))
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
    Json(json!({
        "mode": "single",
        "backends": [{
            "name": backend.provider(),
            "provider": backend.provider(),
            "role": "read-write",
            "status": health.status,
            "capabilities": backend.capabilities(),
            "breaker": state.breaker.as_ref().map(|stands| match stands() {
                BreakerState::Closed => "closed",
                BreakerState::HalfOpen => "half-open",
                BreakerState::Open => "open",
            }),
            "latency": milliseconds(health.latency),
            "pending_repairs": 0,
            "last_error": health.error,
            "checked_at": timestamp(health.checked_at),
        }],
    }))
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
