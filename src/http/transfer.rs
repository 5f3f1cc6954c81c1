//! Copy, move and batch delete.

use std::fmt;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Json};
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::extract::{no_query, strict_json};
use super::gate::{Call, Demand, Each, Granted, Need, Who};
use super::problem::{Code, Problem};
use super::render;
use crate::audit::{self, Action};
use crate::model::{Key, KeyError, Namespace, Scope};

const MAX_BATCH: usize = 10_000;

/// Keys of a batch that count as one request: deleting together is cheaper than one by one.
const KEYS_PER_REQUEST: usize = 100;

/// Body of a copy or a move.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Transfer {
    source: String,
    destination: String,
    #[serde(default)]
    overwrite: bool,
}

/// A copy.
pub struct Copy {
    source: Key,
    destination: Key,
    overwrite: bool,
    /// Replacing takes more than storing.
    write_once: bool,
}

impl Demand for Copy {
    const WHO: Who = Who::Caller;
    const SCOPES: &'static [Scope] = &[Scope::Read, Scope::Write];
    const ACTION: Option<Action> = Some(Action::Copy);

    async fn read(mut call: Call<'_>) -> Result<Self, Problem> {
        no_query(&call.head.uri)?;
        let Transfer { source, destination, overwrite } = strict_json(&mut call).await?;
        Ok(Self {
            source: field_key(call.namespace, "source", &source)?,
            destination: field_key(call.namespace, "destination", &destination)?,
            overwrite,
            write_once: call.write_once,
        })
    }

    fn needs(&self) -> Vec<Need<'_>> {
        let Self { source, destination, overwrite, write_once } = self;
        let mut needs = vec![Need::Key(Scope::Read, source), Need::Key(Scope::Write, destination)];
        let replaces = *overwrite && *write_once;
        needs.extend(replaces.then_some(Need::Key(Scope::Delete, destination)));
        needs
    }
}

/// A move: a copy, and a delete of the source.
pub struct Move(Copy);

impl Demand for Move {
    const WHO: Who = Who::Caller;
    const SCOPES: &'static [Scope] = &[Scope::Read, Scope::Write, Scope::Delete];
    const ACTION: Option<Action> = Some(Action::Move);

    async fn read(call: Call<'_>) -> Result<Self, Problem> {
        Copy::read(call).await.map(Self)
    }

    fn needs(&self) -> Vec<Need<'_>> {
        let mut needs = self.0.needs();
        needs.push(Need::Key(Scope::Delete, &self.0.source));
        needs
    }
}

/// Checks a key that came in a JSON field, naming the field.
pub fn field_key(namespace: &Namespace, field: &str, name: &str) -> Result<Key, Problem> {
    let key = namespace.key(name);
    key.map_err(|error| Problem::new(Code::InvalidKey, format!("{field}: {error}")))
}

/// `POST /v1/copy`
pub async fn copy(granted: Granted<Copy>) -> Result<impl IntoResponse, Problem> {
    let Granted { pass, what: Copy { source, destination, overwrite, .. }, .. } = granted;
    let stored = pass.vault().copy(&source, &destination, overwrite).await?;
    let sha256 = stored.meta.attributes.representation.map(|found| found.sha256);
    pass.note(|facts| facts.sha256 = sha256);
    Ok((StatusCode::CREATED, Json(render::store_result(&pass, &destination, &stored.meta))))
}

/// `POST /v1/move`
pub async fn rename(granted: Granted<Move>) -> Result<impl IntoResponse, Problem> {
    let Granted { pass, what: Move(Copy { source, destination, overwrite, .. }), .. } = granted;
    let stored =
        pass.vault().rename_in_sight(&source, &destination, overwrite, &pass.sight()).await?;
    let sha256 = stored.meta.attributes.representation.map(|found| found.sha256);
    pass.note(|facts| facts.sha256 = sha256);
    Ok((StatusCode::CREATED, Json(render::store_result(&pass, &destination, &stored.meta))))
}

/// Body of a batch delete.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    #[serde(deserialize_with = "at_most_a_batch")]
    keys: Vec<String>,
}

/// A list of so many texts and no more: ten million empty ones are a small body and much memory.
fn at_most_a_batch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    struct Names;

    impl<'de> Visitor<'de> for Names {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of 1 to {MAX_BATCH} keys")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut given: A) -> Result<Vec<String>, A::Error> {
            let mut names = Vec::new();
            while let Some(name) = given.next_element()? {
                if names.len() == MAX_BATCH {
                    let text =
                        format!("more than {MAX_BATCH} keys given, 1 to {MAX_BATCH} are allowed");
                    return Err(A::Error::custom(text));
                }
                names.push(name);
            }
            Ok(names)
        }
    }

    deserializer.deserialize_seq(Names)
}

/// A batch delete: of all its keys or, where one may not be deleted, of none.
pub struct BatchDelete {
    keys: Vec<Key>,
    /// Texts that are no keys, and why.
    invalid: Vec<(String, KeyError)>,
}

impl Demand for BatchDelete {
    const WHO: Who = Who::Caller;
    const SCOPES: &'static [Scope] = &[Scope::Delete];
    const ACTION: Option<Action> = Some(Action::BatchDelete);

    async fn read(mut call: Call<'_>) -> Result<Self, Problem> {
        no_query(&call.head.uri)?;
        let Batch { keys: names } = strict_json(&mut call).await?;
        let count = names.len();
        if count == 0 {
            return Err(Problem::invalid(format!(
                "keys: none given, 1 to {MAX_BATCH} are allowed"
            )));
        }
        let mut batch = Self { keys: Vec::with_capacity(count), invalid: Vec::new() };
        for name in names {
            match call.namespace.key(&name) {
                Ok(key) => batch.keys.push(key),
                Err(error) => batch.invalid.push((name, error)),
            }
        }
        Ok(batch)
    }

    fn needs(&self) -> Vec<Need<'_>> {
        self.keys.iter().map(|key| Need::Key(Scope::Delete, key)).collect()
    }

    /// One request for each [`KEYS_PER_REQUEST`].
    fn costs_more(&self) -> u32 {
        (self.keys.len() + self.invalid.len()).div_ceil(KEYS_PER_REQUEST).saturating_sub(1) as u32
    }
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
pub async fn batch_delete(granted: Granted<BatchDelete>) -> Result<Json<BatchResult>, Problem> {
    let Granted { pass, what: BatchDelete { keys, invalid }, .. } = granted;
    let mut result = BatchResult::default();
    for (name, error) in invalid {
        result.fail(name, error.into());
    }
    let mut each = Vec::with_capacity(keys.len());
    let outcomes = pass.vault().delete_many_in_sight(&keys, &pass.sight()).await;
    for (key, outcome) in keys.into_iter().zip(outcomes) {
        let name = key.as_str().to_owned();
        let problem = outcome.err().map(Problem::from);
        each.push(Each {
            key: name.clone(),
            result: match &problem {
                None => audit::Outcome::Done,
                Some(problem) if problem.is_indeterminate() => audit::Outcome::Indeterminate,
                Some(_) => audit::Outcome::Failed,
            },
            code: problem.as_ref().map(|problem| problem.code().spec().0),
        });
        match problem {
            None => result.deleted.push(name),
            Some(problem) => result.fail(name, problem),
        }
    }
    pass.note(|facts| {
        facts.with("deleted", result.deleted.len());
        facts.with("failed", result.failed.len());
        facts.each = each;
    });
    Ok(Json(result))
}

impl BatchResult {
    fn fail(&mut self, key: String, problem: Problem) {
        let (code, _, _) = problem.code().spec();
        self.failed.push(Failure { key, code, detail: problem.detail().to_owned() });
    }
}
