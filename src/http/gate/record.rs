//! What the audit log gets of a call, written where every call passes.
//!
//! A route of any method but GET has an [`Action`] or cannot be made ([`of_route`]). Each call to one
//! that was let through leaves its line before it is answered, and so does each that was refused with
//! 401 or 403; a handler only adds what it alone knows, by [`super::Pass::note`]. One that is dropped
//! on the way, because its caller went away or because it panicked, leaves a line all the same.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::Request;
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};

use super::super::client::ClientAddress;
use super::super::observe::RequestId;
use super::super::problem::{Code, Problem};
use super::super::state::AppState;
use super::super::{extract, signed};
use super::{Need, Who};
use crate::access::{Caller, Issuer};
use crate::audit::{Action, Actor, Audit, Entry, Outcome};
use crate::model::{Digest, Key, Namespace, Scope};
use crate::vault::Sight;

const UNWRITTEN: &str = "the audit log cannot be written, and nothing may change without a line in \
                         it: try again shortly";
const UNWRITTEN_AFTER: &str = "the audit log could not be written after this was tried, so it is not \
                               acknowledged, and may have been done: look, or send it again";

/// What a route's calls are in the audit log.
///
/// # Panics
/// The route may change something, and nobody said what: a mistake of this program, seen as soon as
/// the table is made.
pub fn of_route(method: &Method, path: &str, action: Option<Action>) -> Option<Action> {
    assert!(*method == Method::GET || action.is_some(), "{method} {path} has no audit action");
    // A GET changes nothing (RFC 9110 §9.2.1), also where another method of the route does.
    action.filter(|_| *method != Method::GET)
}

/// One key of many, and what came of it.
pub struct Each {
    /// The key.
    pub key: String,
    /// What.
    pub result: Outcome,
    /// Code of the problem.
    pub code: Option<&'static str>,
}

/// What is known of a call.
#[derive(Default)]
pub struct Facts {
    /// Keys that it is about, in the order in which the call needs rights for them.
    keys: Vec<String>,
    /// Digest of the proof.
    pub sha256: Option<Digest>,
    /// What a store did.
    pub effect: Option<&'static str>,
    /// What only lines of this action have.
    pub detail: serde_json::Map<String, serde_json::Value>,
    /// Of a call about many keys.
    pub each: Vec<Each>,
    /// What was there before it was taken away.
    sight: Sight,
    actor: Option<Actor>,
}

impl Facts {
    /// Sets the key of a proof that had none when the call was let through.
    pub fn key(&mut self, key: &str) {
        self.keys = vec![key.to_owned()];
    }

    /// Sets what tells of what was there before the call took it away.
    pub fn sight(&mut self, sight: Sight) {
        self.sight = sight;
    }

    /// What was not allowed, of all that the call takes.
    pub fn refused(&mut self, scope: Scope, key: Option<&Key>) {
        self.with("scope", scope.as_str());
        if let Some(key) = key {
            self.with("refused", key.as_str());
        }
    }

    /// Adds what only lines of this action have.
    pub fn with(&mut self, name: &str, value: impl Into<serde_json::Value>) {
        self.detail.insert(name.to_owned(), value.into());
    }
}

/// What is known so far, shared with the handler.
#[derive(Clone, Default)]
pub struct Notes(Arc<Mutex<Facts>>);

impl Notes {
    /// Adds to it.
    pub fn add(&self, add: impl FnOnce(&mut Facts)) {
        add(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Who calls.
    pub fn actor(&self, state: &AppState, caller: &Caller, who: Who) {
        let via = (who == Who::Bearer).then_some("signed-url");
        let hex = |id: [u8; 16]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let name = Some(Arc::clone(&caller.name));
        let actor = match caller.issuer {
            Issuer::Anyone => Actor { kind: "anyone", via, ..Actor::default() },
            Issuer::Token(id) => {
                Actor { kind: "token", id: Some(hex(id)), name, via, ..Actor::default() }
            }
            Issuer::Jwt(id, _) => {
                let issuer = state.authority.jwt_issuer().map(Arc::from);
                Actor { kind: "jwt", id: Some(hex(id)), name, issuer, via }
            }
        };
        self.add(|facts| facts.actor = Some(actor));
    }

    /// What it is about.
    pub fn needs(&self, needs: &[Need<'_>]) {
        self.add(|facts| {
            for need in needs {
                let name = match need {
                    Need::Key(_, key) => key.as_str(),
                    Need::Below(..) | Need::Service(_) => continue,
                };
                // Several rights for one key come close together.
                if !facts.keys.iter().rev().take(4).any(|seen| seen == name) {
                    facts.keys.push(name.to_owned());
                }
            }
        });
    }
}

/// A call from its head to its line.
pub struct Record {
    audit: Audit,
    action: Option<Action>,
    call: String,
    request: Option<String>,
    client: ClientAddress,
    /// Shared with the handler.
    pub notes: Notes,
    /// Let through, and not answered yet.
    under_way: bool,
}

impl Record {
    /// Of a request that is yet to be judged.
    pub fn of(
        state: &AppState,
        request: &Request,
        path: &str,
        action: Option<Action>,
        who: Who,
    ) -> Self {
        let notes = Notes::default();
        let audit = state.audit.clone();
        if audit.is_on() {
            let namespace = &state.vault.0.policy().namespace;
            let key = key_of(namespace, request.uri().path());
            let via = (who == Who::Bearer).then_some("signed-url");
            notes.add(|facts| {
                facts.keys.extend(key);
                facts.actor = Some(Actor { kind: "nobody", via, ..Actor::default() });
            });
        }
        Self {
            audit,
            action,
            call: format!("{} {path}", request.method()),
            request: request.extensions().get::<RequestId>().map(|id| id.0.clone()),
            client: ClientAddress::of(request.extensions()),
            notes,
            under_way: false,
        }
    }

    /// It was let through.
    ///
    /// # Errors
    /// 503: its line could not be written.
    pub fn begin(&mut self) -> Result<(), Problem> {
        if self.action.is_none() {
            return Ok(());
        }
        self.audit.ready().map_err(|_| Problem::new(Code::Unavailable, UNWRITTEN))?;
        self.under_way = true;
        Ok(())
    }

    /// It was answered: the answer goes out when its lines are written.
    pub async fn end(mut self, response: Response) -> Response {
        if !std::mem::take(&mut self.under_way) {
            return response;
        }
        let (outcome, code) = outcome(self.action, &response);
        let lines = self.lines(outcome, Some(response.status().as_u16()), code);
        match self.audit.submit(lines).written().await {
            Err(_) if self.audit.must_be_written() => {
                Problem::new(Code::Unavailable, UNWRITTEN_AFTER).into_response()
            }
            _ => response,
        }
    }

    /// It was not let through.
    pub async fn refused(self, problem: &Problem) {
        let (code, status, _) = problem.code().spec();
        if !self.audit.is_on()
            || !matches!(problem.code(), Code::Unauthenticated | Code::AccessDenied)
        {
            return;
        }
        let mut entry = self.entry(Action::Refuse, Outcome::Refused);
        entry.status = Some(status.as_u16());
        entry.code = Some(code);
        // Refused it is with a line or without.
        drop(self.audit.submit(vec![entry]).written().await);
    }

    fn entry(&self, action: Action, result: Outcome) -> Entry {
        let mut entry = Entry::new(action, Actor::default());
        entry.result = result;
        entry.call = Some(self.call.clone());
        entry.address = self.client.ip();
        entry.request.clone_from(&self.request);
        self.notes.add(|facts| {
            entry.actor =
                facts.actor.clone().unwrap_or(Actor { kind: "nobody", ..Actor::default() });
            match facts.keys.as_slice() {
                [] => {}
                [key] => entry.key = Some(key.clone()),
                [key, to] if self.action != Some(Action::BatchDelete) => {
                    entry.key = Some(key.clone());
                    entry.destination = Some(to.clone());
                }
                keys => drop(entry.detail.insert("keys".to_owned(), keys.len().into())),
            }
            let was_there = || facts.sight.sha256(entry.key.as_deref()?);
            entry.sha256 = facts.sha256.or_else(was_there);
            entry.effect = facts.effect;
            entry.detail.append(&mut facts.detail.clone());
        });
        entry
    }

    /// One for each key of many, and one for the call.
    fn lines(
        &self,
        outcome: Outcome,
        status: Option<u16>,
        code: Option<&'static str>,
    ) -> Vec<Entry> {
        let Some(action) = self.action else { return Vec::new() };
        let mut call = self.entry(action, outcome);
        (call.status, call.code) = (status, code);
        if action != Action::BatchDelete {
            return vec![call];
        }
        let (mut each, mut keys, mut sight) = (Vec::new(), Vec::new(), Sight::none());
        self.notes.add(|facts| {
            (each, keys) = (std::mem::take(&mut facts.each), facts.keys.clone());
            sight = facts.sight.clone();
        });
        if each.is_empty() && outcome == Outcome::Indeterminate {
            let unknown = |key| Each { key, result: Outcome::Indeterminate, code: None };
            each = keys.into_iter().map(unknown).collect();
        }
        (call.key, call.sha256) = (None, None);
        let line = |each: Each| {
            let mut entry = Entry::new(Action::Delete, call.actor.clone());
            entry.sha256 = sight.sha256(&each.key);
            (entry.result, entry.code, entry.key) = (each.result, each.code, Some(each.key));
            (entry.address, entry.call) = (call.address, call.call.clone());
            entry.request.clone_from(&call.request);
            entry
        };
        let mut lines: Vec<_> = each.into_iter().map(line).collect();
        lines.push(call);
        lines
    }
}

/// Whoever went away, or whatever panicked, may have been at it.
impl Drop for Record {
    fn drop(&mut self) {
        if self.under_way {
            drop(self.audit.submit(self.lines(Outcome::Indeterminate, None, None)));
        }
    }
}

/// What an answer says of what was done.
fn outcome(action: Option<Action>, response: &Response) -> (Outcome, Option<&'static str>) {
    let Some(problem) = response.extensions().get::<Problem>() else {
        let done = response.status().is_success();
        return (if done { Outcome::Done } else { Outcome::Indeterminate }, None);
    };
    let (code, status, _) = problem.code().spec();
    let gave_up = matches!(problem.code(), Code::PreconditionFailed | Code::Contended);
    let half = match action {
        // One that fails may have made its copy, also where source or destination changed meanwhile.
        Some(Action::Move) => status.is_server_error() || gave_up,
        // One that gives up may have been made, and then written over by others.
        Some(Action::Retain) => gave_up,
        _ => false,
    };
    let unknown = problem.is_indeterminate() || problem.code() == Code::Internal || half;
    (if unknown { Outcome::Indeterminate } else { Outcome::Failed }, Some(code))
}

/// The key that a path names, before anybody was let in: what is no key is not written down.
fn key_of(namespace: &Namespace, path: &str) -> Option<String> {
    let rest = match path.strip_prefix(signed::ROUTE) {
        Some(rest) => rest.split_once('/')?.1,
        None => extract::KEY_ROUTES.iter().find_map(|route| path.strip_prefix(route))?,
    };
    Some(extract::decode_key(namespace, rest).ok()?.as_str().to_owned())
}
