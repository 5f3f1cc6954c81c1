//! `GET /v1/proofs`: one page of keys, and the cursor to the next.

use axum::response::{IntoResponse, Json};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::extract::strict_query;
use super::gate::{Call, Demand, Granted, Need, Who};
use super::problem::Problem;
use super::render;
use crate::audit::Action;
use crate::model::{ListRequest, Namespace, Scope};

const MAX_LIMIT: usize = 1000;
const MAX_DELIMITER_BYTES: usize = 16;

/// The query, as it came.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    prefix: Option<String>,
    delimiter: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// A page of keys, all of which the caller has to be allowed to see.
pub struct List(ListRequest);

impl Demand for List {
    const WHO: Who = Who::Caller;
    const SCOPES: &'static [Scope] = &[Scope::List];
    const ACTION: Option<Action> = None;

    async fn read(call: Call<'_>) -> Result<Self, Problem> {
        strict_query::<ListQuery>(&call.head.uri)?.into_request(call.namespace).map(Self)
    }

    fn needs(&self) -> Vec<Need<'_>> {
        vec![Need::Below(Scope::List, &self.0.prefix)]
    }
}

/// `GET /v1/proofs`
pub async fn list(granted: Granted<List>) -> Result<impl IntoResponse, Problem> {
    let Granted { pass, what: List(request), .. } = granted;
    let vault = pass.vault();
    let page = vault.list(&request).await?;
    let namespace = &vault.policy().namespace;
    let provider = vault.backend().provider();
    let items = page
        .items
        .into_iter()
        .filter_map(|entry| Some(render::item(provider, &namespace.key_of(&entry.key)?, entry)))
        .collect();
    let next_cursor = page.next.map(|after| encode_cursor(&request, &after));
    Ok(Json(Listing { items, common_prefixes: page.common_prefixes, next_cursor }))
}

/// The answer. A type of its own, as a tree of JSON values costs as much again as the page.
#[derive(Serialize)]
struct Listing {
    items: Vec<render::Item>,
    common_prefixes: Vec<String>,
    next_cursor: Option<String>,
}

impl ListQuery {
    fn into_request(self, namespace: &Namespace) -> Result<ListRequest, Problem> {
        let limit = match self.limit.as_deref() {
            None => MAX_LIMIT,
            Some(text) => match text.parse() {
                // The parser of numbers takes a sign, the contract does not.
                Ok(limit) if (1..=MAX_LIMIT).contains(&limit) && !text.starts_with('+') => limit,
                _ => {
                    let detail = format!("limit: '{text}' is not a number from 1 to {MAX_LIMIT}");
                    return Err(Problem::invalid(detail));
                }
            },
        };
        let prefix = self.prefix.unwrap_or_default();
        namespace
            .beginning(&prefix)
            .map_err(|error| Problem::invalid(format!("prefix: no key begins so, {error}")))?;
        let delimiter = self.delimiter.filter(|delimiter| !delimiter.is_empty());
        if delimiter.as_ref().is_some_and(|delimiter| delimiter.len() > MAX_DELIMITER_BYTES) {
            let detail = format!("delimiter: more than {MAX_DELIMITER_BYTES} bytes");
            return Err(Problem::invalid(detail));
        }
        let mut request = ListRequest { prefix, delimiter, limit, after: None };
        if let Some(cursor) = self.cursor.filter(|cursor| !cursor.is_empty()) {
            request.after = Some(decode_cursor(&request, &cursor).ok_or_else(|| {
                Problem::invalid(
                    "cursor: not one that this service gave for the same prefix and delimiter",
                )
            })?);
        }
        Ok(request)
    }
}

/// A cursor is where the page ended, behind a checksum that binds it to its listing. It is no
/// secret and gives no right: it only must not be mistaken for another listing's.
fn encode_cursor(request: &ListRequest, after: &str) -> String {
    let mut bytes = checksum(request, after).to_be_bytes().to_vec();
    bytes.extend_from_slice(after.as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode_cursor(request: &ListRequest, cursor: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let (sum, after) = bytes.split_at_checked(8)?;
    let after = std::str::from_utf8(after).ok()?;
    let expected = checksum(request, after).to_be_bytes();
    (sum == expected && after.starts_with(&request.prefix)).then(|| after.to_owned())
}

fn checksum(request: &ListRequest, after: &str) -> u64 {
    let delimiter = request.delimiter.as_deref().unwrap_or_default();
    // A control character is in no key and so keeps the three apart.
    xxh3_64(format!("{}\0{delimiter}\0{after}", request.prefix).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(prefix: &str, cursor: Option<String>) -> ListQuery {
        ListQuery { prefix: Some(prefix.to_owned()), cursor, ..ListQuery::default() }
    }

    fn proofs() -> Namespace {
        Namespace::new("proofs/").unwrap()
    }

    #[test]
    fn cursor_belongs_to_its_listing() {
        let request = query("a/", None).into_request(&proofs()).unwrap();
        let cursor = encode_cursor(&request, "a/é");
        let next = query("a/", Some(cursor.clone())).into_request(&proofs()).unwrap();
        assert_eq!(next.after.as_deref(), Some("a/é"));
        assert!(query("b/", Some(cursor.clone())).into_request(&proofs()).is_err());
        assert!(query("a/", Some(format!("{cursor}A"))).into_request(&proofs()).is_err());
        assert!(query("a/", Some("x".to_owned())).into_request(&proofs()).is_err());
    }

    #[test]
    fn limits() {
        for (limit, valid) in [
            ("1", true),
            ("1000", true),
            ("0", false),
            ("1001", false),
            ("-1", false),
            ("x", false),
            ("+5", false),
            ("", false),
        ] {
            let query = ListQuery { limit: Some(limit.to_owned()), ..ListQuery::default() };
            assert_eq!(query.into_request(&proofs()).is_ok(), valid, "{limit}");
        }
    }
}
