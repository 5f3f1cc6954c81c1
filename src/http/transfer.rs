//! Copy, move and batch delete.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json};
use serde::{Deserialize, Serialize};

use super::extract::{NoQuery, StrictJson};
use super::problem::{Code, Problem};
use super::render;
use super::state::AppState;
use crate::model::Key;

const MAX_BATCH: usize = 10_000;

/// Body of a copy or a move.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    source: String,
    destination: String,
    #[serde(default)]
    overwrite: bool,
}

impl Transfer {
    fn keys(&self, state: &AppState) -> Result<(Key, Key), Problem> {
        Ok((
            field_key(state, "source", &self.source)?,
            field_key(state, "destination", &self.destination)?,
        ))
    }
}

/// Checks a key that came in a JSON field, naming the field.
pub fn field_key(state: &AppState, field: &str, name: &str) -> Result<Key, Problem> {
    let key = state.vault.key(name);
    key.map_err(|error| Problem::new(Code::InvalidKey, format!("{field}: {error}")))
}

/// `POST /v1/copy`
pub async fn copy(
    State(state): State<AppState>,
    _: NoQuery,
    StrictJson(transfer): StrictJson<Transfer>,
) -> Result<impl IntoResponse, Problem> {
    let (source, destination) = transfer.keys(&state)?;
    let stored = state.vault.copy(&source, &destination, transfer.overwrite).await?;
    Ok((StatusCode::CREATED, Json(render::store_result(&state, &destination, &stored.meta))))
}

/// `POST /v1/move`
pub async fn rename(
    State(state): State<AppState>,
    _: NoQuery,
    StrictJson(transfer): StrictJson<Transfer>,
) -> Result<impl IntoResponse, Problem> {
    let (source, destination) = transfer.keys(&state)?;
    let stored = state.vault.rename(&source, &destination, transfer.overwrite).await?;
    Ok((StatusCode::CREATED, Json(render::store_result(&state, &destination, &stored.meta))))
}

/// Body of a batch delete.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    keys: Vec<String>,
}

/// Result of a batch delete; every key is in exactly one of the lists.
#[derive(Debug, Default, Serialize)]
pub struct BatchResult {
    deleted: Vec<String>,
    failed: Vec<Failure>,
}

#[derive(Debug, Serialize)]
struct Failure {
    key: String,
    code: &'static str,
    detail: String,
}

/// `POST /v1/batch-delete`
pub async fn batch_delete(
    State(state): State<AppState>,
    _: NoQuery,
    StrictJson(batch): StrictJson<Batch>,
) -> Result<Json<BatchResult>, Problem> {
    let count = batch.keys.len();
    if !(1..=MAX_BATCH).contains(&count) {
        let detail = format!("keys: {count} keys given, 1 to {MAX_BATCH} are allowed");
        return Err(Problem::invalid(detail));
    }
    let mut result = BatchResult::default();
    let mut keys = Vec::with_capacity(count);
    for name in batch.keys {
        match state.vault.key(&name) {
            Ok(key) => keys.push(key),
            Err(error) => result.fail(name, error.into()),
        }
    }
    let outcomes = state.vault.delete_many(&keys).await;
    for (key, outcome) in keys.into_iter().zip(outcomes) {
        let name = key.as_str().to_owned();
        match outcome {
            Ok(()) => result.deleted.push(name),
            Err(error) => result.fail(name, error.into()),
        }
    }
    Ok(Json(result))
}

impl BatchResult {
    fn fail(&mut self, key: String, problem: Problem) {
        let (code, _, _) = problem.code().spec();
        self.failed.push(Failure { key, code, detail: problem.detail().to_owned() });
    }
}
