//! The backends behind the service: what they are and can do, how much they hold, what is counted.

use std::collections::BTreeMap;

use axum::http::header;
use axum::response::{IntoResponse, Json};
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::extract::no_query;
use super::gate::{Call, Demand, Granted, Need, Pass, Who};
use super::problem::Problem;
use super::render::{milliseconds, timestamp};
use super::state::{Member, PoolState};
use crate::audit::Action;
use crate::model::{Capabilities, PoolMode, Role, Scope, Support, Usage};
use crate::telemetry::{BreakerState, Label as _, Outcome};

/// A look at the service itself. It names keys of nobody, but tells how much there is and where.
pub struct Watch;

impl Demand for Watch {
    const WHO: Who = Who::Caller;
    const SCOPES: &'static [Scope] = &[Scope::Admin];
    const ACTION: Option<Action> = None;

    async fn read(call: Call<'_>) -> Result<Self, Problem> {
        no_query(&call.head.uri).map(|()| Self)
    }

    fn needs(&self) -> Vec<Need<'_>> {
        vec![Need::Service(Scope::Admin)]
    }
}

/// `GET /v1/backends`: what the stores behind the service are, can do and how they fare.
pub async fn backends(granted: Granted<Watch>) -> impl IntoResponse {
    let state = granted.pass;
    let pool = state.pool.as_ref().map(|stands| stands());
    let backends: Vec<_> = state.members.iter().map(|m| member(m, pool.as_ref())).collect();
    Json(json!({
        "mode": pool.as_ref().map_or("single", |pool| pool.mode.as_str()),
        "backends": backends,
        "pool": pool.map(|pool| together(&pool, &state)),
    }))
}

fn member(member: &Member, pool: Option<&PoolState>) -> Value {
    let Member { role, quota_bytes, monitor, .. } = member;
    let (health, breaker) = member.health();
    let capabilities = monitor.capabilities();
    let mut of_pool = pool.iter().flat_map(|pool| &pool.figures.members);
    let figures = of_pool.find(|figures| *figures.name == *monitor.name());
    json!({
        "name": monitor.name(),
        "provider": monitor.provider(),
        "role": role,
        "status": health.status,
        "capabilities": capabilities,
        "notes": capabilities.notes(),
        "breaker": breaker.map(word),
        "latency": milliseconds(health.latency),
        "quota_bytes": quota_bytes,
        "full": figures.is_some_and(|figures| figures.full),
        "complete": figures.is_none_or(|figures| figures.complete),
        "pending_repairs": figures.map_or(0, |figures| figures.repairs_pending),
        "last_error": health.error,
        "checked_at": timestamp(health.checked_at),
    })
}

/// The contract's word, which is not the label of the metrics.
pub(super) fn word(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "closed",
        BreakerState::HalfOpen => "half-open",
        BreakerState::Open => "open",
    }
}

fn together(pool: &PoolState, state: &Pass) -> Value {
    let figures = &pool.figures;
    let oldest = (pool.repairs_pending > 0).then_some(figures.oldest_repair.as_secs_f64());
    let mut failovers = BTreeMap::new();
    for (cause, times) in &figures.failovers {
        *failovers.entry(Outcome::from(*cause).as_str()).or_insert(0) += times;
    }
    let capabilities = state.vault().backend().capabilities();
    json!({
        "min_copies": (pool.mode == PoolMode::Mirror).then_some(pool.min_copies),
        "repairs_pending": pool.repairs_pending,
        "oldest_repair_seconds": oldest,
        "repaired_copies": figures.repaired_copies,
        "repaired_deletes": figures.repaired_deletes,
        "divergent": figures.divergent,
        "conflicts": figures.conflicts,
        "quarantined": figures.quarantined,
        "hedges_sent": figures.hedges_sent,
        "hedges_won": figures.hedges_won,
        "failovers": failovers,
        "capabilities": capabilities,
        "limited_by": limited_by(capabilities, &state.members),
    })
}

/// Features of reading. All others are of writing, for which a read-only member does not count.
const OF_READING: [&str; 2] = ["range", "presign"];

/// For each feature that the pool has not natively, the members that have no more of it either;
/// none where it is the pool itself that cannot.
fn limited_by(pool: Capabilities, members: &[Member]) -> BTreeMap<&'static str, Vec<&str>> {
    let of_members: Vec<_> = members.iter().map(|m| (m, m.monitor.capabilities().each())).collect();
    let limits = pool.each().into_iter().enumerate().filter(|(_, (_, level))| want(*level) > 0);
    limits
        .map(|(place, (feature, level))| {
            let no_more = of_members.iter().filter(|(member, each)| {
                let counts = member.role != Role::ReadOnly || OF_READING.contains(&feature);
                counts && want(each[place].1) >= want(level)
            });
            (feature, no_more.map(|(member, _)| member.monitor.name()).collect())
        })
        .collect()
}

/// How much is missing from the whole of a feature.
fn want(level: Support) -> u8 {
    match level {
        Support::Native => 0,
        Support::Gateway => 1,
        Support::Unknown => 2,
        Support::No => 3,
    }
}

/// `GET /v1/stats`
pub async fn stats(granted: Granted<Watch>) -> Result<impl IntoResponse, Problem> {
    let state = granted.pass;
    let usage = state.vault().usage().await?;
    let of_members = match state.members.len() {
        1 => vec![Some(usage)],
        // What a member cannot tell now is unknown, and no reason to keep the rest back.
        _ => join_all(state.members.iter().map(async |m| m.monitor.usage().await.ok())).await,
    };
    let backends: Vec<_> = state.members.iter().zip(of_members).map(holds).collect();
    Ok(Json(json!({
        "total_objects": usage.objects,
        "total_size": usage.bytes,
        "total_stored_size": usage.stored_bytes,
        "provider": state.vault().backend().provider(),
        "backends": backends,
        "exact": usage.exact,
        "last_updated": timestamp(usage.as_of),
    })))
}

fn holds((member, usage): (&Member, Option<Usage>)) -> Value {
    json!({
        "name": member.monitor.name(),
        "provider": member.monitor.provider(),
        "objects": usage.map(|usage| usage.objects),
        "size": usage.map(|usage| usage.bytes),
        "stored_size": usage.map(|usage| usage.stored_bytes),
    })
}

/// `GET /metrics`: Prometheus text format 0.0.4.
pub async fn metrics(granted: Granted<Watch>) -> impl IntoResponse {
    let state = granted.pass;
    if let Ok(usage) = state.vault().usage().await {
        state.metrics.usage(usage.objects, usage.bytes, usage.stored_bytes);
    }
    if let Some(stands) = &state.pool {
        state.metrics.pool(&stands().figures);
    }
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], state.metrics.render())
}
