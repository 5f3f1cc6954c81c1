//! What a line says, but for its place in the chain.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::model::Digest;

/// What was done, or tried. To name a further one: a word here, and a line in docs/AUDIT.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// A proof was stored, or replaced.
    Store,
    /// One was copied.
    Copy,
    /// One was moved.
    Move,
    /// One was deleted.
    Delete,
    /// Many were: their own lines come before this one.
    BatchDelete,
    /// What holds one was changed.
    Retain,
    /// A URL was signed.
    Sign,
    /// Somebody was not let in.
    Refuse,
    /// The service began to serve.
    Start,
    /// It ended by itself.
    Stop,
    /// Tokens, keys or clients' authorities were read again.
    ReadCredentials,
    /// What retired keys wrapped was brought under the active one.
    Rekey,
    /// The members of a pool were compared, and mended, by the command.
    Reconcile,
    /// A segment begins.
    Segment,
    /// Segments are removed, as the setting says.
    Prune,
    /// What was written last before a crash, and is not whole, was set aside.
    SetAside,
    /// Lines can be written again.
    Resume,
    /// More were refused than are written down one by one.
    RefuseMore,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Done.
    Done,
    /// Not done.
    Failed,
    /// Done or not: nobody knows.
    Indeterminate,
    /// Not let in.
    Refused,
}

/// Who did it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Actor {
    /// `token`, `jwt`, `anyone` (nobody is asked), `nobody` (they did not say, or what they said is
    /// not true), `service` or `command`.
    pub kind: &'static str,
    /// Of a token the beginning of its SHA-256, of a JWT of the issuer's and the key's name: 32
    /// hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Name of the token, or subject of the JWT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Arc<str>>,
    /// `iss` of the JWT.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<Arc<str>>,
    /// `signed-url` where a URL was shown that the actor had signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<&'static str>,
}

impl Actor {
    /// The service itself.
    pub fn service() -> Self {
        Self { kind: "service", ..Self::default() }
    }

    /// Whoever could start a command of ours over the store.
    pub fn command() -> Self {
        Self { kind: "command", ..Self::default() }
    }
}

/// What a line says. Fields stand in the line in this order; what there is none of is left out.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// What.
    pub action: Action,
    /// What came of it.
    pub result: Outcome,
    /// `created`, `unchanged`, `extended` (what holds it) or `replaced`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<&'static str>,
    /// HTTP status of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Code of the problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// Method and route, without what the caller put in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<String>,
    /// Who.
    pub actor: Actor,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The proof's key; the source of a copy or a move.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Key that it was copied or moved to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// Of the proof as the caller sent it; of a failed store, of what was not stored; of what was taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// Id of the request: all its lines have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// What only lines of this action have.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub detail: Map<String, Value>,
}

impl Entry {
    /// Something that was done, and nothing else is known of yet.
    pub fn new(action: Action, actor: Actor) -> Self {
        Self {
            action,
            result: Outcome::Done,
            effect: None,
            status: None,
            code: None,
            call: None,
            actor,
            address: None,
            key: None,
            destination: None,
            sha256: None,
            request: None,
            detail: Map::new(),
        }
    }

    /// Something that the service did by itself.
    pub fn of_service(action: Action) -> Self {
        Self::new(action, Actor::service())
    }

    /// Something that a command of ours did.
    pub fn of_command(action: Action) -> Self {
        Self::new(action, Actor::command())
    }

    /// Adds what only lines of this action have.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.detail.insert(name.to_owned(), value.into());
        self
    }
}
