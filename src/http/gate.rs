//! The gate: nothing reaches a proof but through here.
//!
//! A handler is a function of [`Granted<D>`], which only the gate can make, and the vault is
//! reached only through the [`Pass`] inside of it. [`Table::call`] is the only way to a route. So a
//! call that nobody thought about does not compile, and one that demands nothing says so.
//!
//! In this order, all before any backend is asked, so that nobody learns what exists who may not:
//! who is calling (401) → the scopes that the call always needs (403) → what it is about (400) →
//! whether the caller's rights reach to every key in it (403).

mod credentials;
mod page;
mod record;
mod table;

use std::ops::Deref;
use std::sync::Arc;
use std::time::SystemTime;

use self::record::Notes;
use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};

use super::admission::Reservation;
use super::client::ClientAddress;
use super::observe::read_on;
use super::problem::{Code, Problem};
use super::rate::Account;
use super::retention;
use super::state::AppState;
use crate::access::{Caller, Issuer};
use crate::audit::Action;
use crate::model::{Key, Namespace, Scope, WriteMode};
use crate::telemetry::Denial;
use crate::vault::{Sight, Vault};

pub use record::{Each, Facts};
pub use table::{Row, Surface, Table};

/// The vault behind the gate.
pub struct Guarded(Arc<Vault>);

impl Guarded {
    /// Puts it there.
    pub fn new(vault: Arc<Vault>) -> Self {
        Self(vault)
    }
}

/// Shows that a call was let through. Made here and nowhere else.
pub struct Pass {
    state: AppState,
    vault: Arc<Vault>,
    caller: Caller,
    notes: Notes,
    known: bool,
    client: ClientAddress,
}

impl Pass {
    /// The proofs.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Who calls.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Adds what only the handler knows to the call's line in the audit log.
    pub fn note(&self, add: impl FnOnce(&mut Facts)) {
        self.notes.add(add);
    }

    /// Has a delete or a move tell what was there, for the call's lines in the audit log; where there is none
    /// nothing is asked.
    pub fn sight(&self) -> Sight {
        if !self.state.audit.is_on() {
            return Sight::none();
        }
        let sight = Sight::of(self.vault.policy().namespace.clone());
        // Before the call: what is known of one that is dropped on the way stands in its line.
        self.notes.add(|facts| facts.sight(sight.clone()));
        sight
    }

    /// Takes a part of the memory budget for the client.
    ///
    /// # Errors
    /// As [`Budget::reserve`](super::admission::Budget::reserve).
    pub fn reserve(&self, bytes: u64) -> Result<Reservation, Problem> {
        self.state.budget.reserve(self.client, bytes)
    }

    /// Whether whoever calls has shown who they are, or nobody is asked. A signed URL shows who made it.
    pub fn is_known(&self) -> bool {
        self.known
    }
}

impl Deref for Pass {
    type Target = AppState;

    fn deref(&self) -> &AppState {
        &self.state
    }
}

/// A call that was let through.
pub struct Granted<D> {
    /// The way to the vault.
    pub pass: Pass,
    /// What the call is about, as it was checked.
    pub what: D,
    /// Its method and headers.
    pub head: Parts,
    /// Its body, unless `what` was read from it.
    pub body: Body,
}

/// By what a caller shows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// By nothing: the call tells nothing about proofs.
    Anybody,
    /// By the `Authorization` header.
    Caller,
    /// By a signed URL.
    Bearer,
}

/// A right that a call needs.
pub enum Need<'a> {
    /// For one key.
    Key(Scope, &'a Key),
    /// For every key that begins so.
    Below(Scope, &'a str),
    /// For no key.
    Service(Scope),
}

/// A request that is yet to be judged.
pub struct Call<'a> {
    /// Its head.
    pub head: &'a Parts,
    /// Its body, to be taken by what is read from it.
    pub body: &'a mut Body,
    /// What all requests share.
    pub state: &'a AppState,
    /// Where callers' keys are.
    pub namespace: &'a Namespace,
    /// Whether replacing needs more than storing.
    pub write_once: bool,
}

/// What a call is about, and what it takes to make it.
pub trait Demand: Sized + Send + 'static {
    /// By what the caller shows who it is.
    const WHO: Who;
    /// What every such call needs, whatever it is about.
    const SCOPES: &'static [Scope];
    /// Whether anybody may make it where the key is public.
    const PUBLIC: bool = false;
    /// What such a call is in the audit log; `None` only where it changes nothing. There is no
    /// default, and a route of any method but GET cannot be made without.
    const ACTION: Option<Action>;

    /// Reads a request strictly. Asks no backend.
    ///
    /// # Errors
    /// What cannot be understood, by name.
    fn read(call: Call<'_>) -> impl Future<Output = Result<Self, Problem>> + Send;

    /// Every right that it takes.
    fn needs(&self) -> Vec<Need<'_>>;

    /// What it costs beyond one request, where there are rate limits.
    fn costs_more(&self) -> u32 {
        0
    }

    /// The proof that it gives out.
    fn gives_out(&self) -> Option<&Key> {
        None
    }

    /// Who signed the URL, where that is what lets the caller in.
    fn signer(&self) -> Option<&Caller> {
        None
    }
}

/// Lets a request through, or says why not.
async fn admit<D: Demand>(
    state: AppState,
    surface: Surface,
    request: Request,
    notes: Notes,
) -> Result<(Granted<D>, Exposure), Problem> {
    let vault = Arc::clone(&state.vault.0);
    let (head, mut body) = request.into_parts();
    let caller = match D::WHO {
        Who::Anybody => None,
        Who::Caller if surface == Surface::Admin && !state.settings.admin_asks => {
            Some(Caller::anyone())
        }
        Who::Caller => credentials::caller(&state, &head.headers, SystemTime::now()).await?,
        Who::Bearer => {
            credentials::refuse_header(&head.headers)?;
            None
        }
    };
    let account = head.extensions.get::<Account>().cloned();
    if let Some(caller) = &caller {
        notes.actor(&state, caller, D::WHO);
        if let Some(account) = &account
            && let Err(problem) = account.charge_caller(caller)
        {
            read_on(Request::from_parts(head, body));
            return Err(problem);
        }
    }
    let is_anyone = caller.as_ref().is_some_and(|caller| caller.issuer == Issuer::Anyone);
    // For any other method that changes something a browser asks first, and is told no.
    if is_anyone && D::ACTION.is_some() && head.method == Method::POST {
        page::refuse_foreign(&state, &head)?;
    }
    let anonymous = D::WHO == Who::Caller && caller.is_none();
    if anonymous && !(D::PUBLIC && state.authority.has_public()) {
        return Err(credentials::missing(&state));
    }
    if let Some(caller) = caller.as_ref().filter(|_| !D::PUBLIC)
        && let Some(scope) = D::SCOPES.iter().find(|scope| !caller.rights.scopes.has(**scope))
    {
        notes.add(|facts| facts.refused(*scope, None));
        return Err(denied(&state, *scope, None));
    }
    let policy = vault.policy();
    let write_once = policy.write_mode == WriteMode::WriteOnce;
    let call = Call {
        head: &head,
        body: &mut body,
        state: &state,
        namespace: &policy.namespace,
        write_once,
    };
    let what = match D::read(call).await {
        Ok(what) => what,
        // Whoever is not known gets one answer for all that is not public.
        Err(_) if anonymous => return Err(credentials::missing(&state)),
        Err(problem) => return Err(problem),
    };
    let caller = what.signer().cloned().or(caller);
    if let Some(signer) = what.signer() {
        notes.actor(&state, signer, D::WHO);
    }
    notes.needs(&what.needs());
    let public = what.gives_out().is_some_and(|key| state.authority.is_public(key));
    for need in what.needs() {
        let (scope, key, allowed) = match need {
            Need::Key(scope, key) => {
                let open = D::PUBLIC && public && scope == Scope::Read;
                let rights = caller.as_ref().map(|caller| &caller.rights);
                (scope, Some(key), open || rights.is_some_and(|rights| rights.allow(scope, key)))
            }
            Need::Below(scope, beginning) => {
                let rights = caller.as_ref().map(|caller| &caller.rights);
                (scope, None, rights.is_some_and(|rights| rights.allow_all(scope, beginning)))
            }
            Need::Service(scope) => {
                let rights = caller.as_ref().map(|caller| &caller.rights);
                (scope, None, rights.is_some_and(|rights| rights.scopes.has(scope)))
            }
        };
        if !allowed {
            notes.add(|facts| facts.refused(scope, key));
        }
        match (allowed, D::WHO) {
            (true, _) => {}
            (false, Who::Bearer) => {
                state.metrics.denied(Denial::Signature);
                let detail = "whoever signed this URL may not do this any more: ask for a new one";
                return Err(Problem::new(Code::AccessDenied, detail));
            }
            (false, _) if anonymous => return Err(credentials::missing(&state)),
            (false, _) => return Err(denied(&state, scope, key)),
        }
    }
    if let Some(account) = account {
        account.charge_more(caller.as_ref(), what.costs_more())?;
    }
    let exposure = match D::WHO {
        _ if public && caller.is_some() => Exposure::EverybodyButHolds,
        _ if public => Exposure::Everybody,
        Who::Bearer => Exposure::Bearer,
        Who::Caller if state.authority.asks() && what.gives_out().is_some() => Exposure::Caller,
        Who::Caller | Who::Anybody => Exposure::Everybody,
    };
    let known = D::WHO == Who::Caller && caller.is_some();
    let caller = caller.unwrap_or_else(Caller::nobody);
    let client = ClientAddress::of(&head.extensions);
    let pass = Pass { state, vault, caller, notes, known, client };
    Ok((Granted { pass, what, head, body }, exposure))
}

fn denied(state: &AppState, scope: Scope, key: Option<&Key>) -> Problem {
    state.metrics.denied(Denial::Denied);
    let scope = scope.as_str();
    let detail = match key {
        Some(key) => format!("your token does not have the scope `{scope}` for the key '{key}'"),
        None => format!("your token does not have the scope `{scope}` for this call"),
    };
    Problem::new(Code::AccessDenied, detail)
}

/// Who may see an answer, and so what a cache on its way may do with it.
#[derive(Clone, Copy)]
enum Exposure {
    /// Anybody: as the proof says itself.
    Everybody,
    /// The same, unless it says what holds the proof: that is for who is known.
    EverybodyButHolds,
    /// Whoever shows the same right: no cache that others share.
    Caller,
    /// Whoever has the URL, and only until it ends: no cache at all.
    Bearer,
}

impl Exposure {
    fn mark(self, headers: &mut HeaderMap) {
        let value = match self {
            Self::Everybody => return,
            Self::EverybodyButHolds if !retention::is_shown(headers) => return,
            Self::Bearer => HeaderValue::from_static("private, no-store"),
            // Without the header no shared cache keeps what came with `Authorization` (RFC 9111
            // §3.5); a stored `public` or `s-maxage` would allow it.
            Self::Caller | Self::EverybodyButHolds => match headers.get(header::CACHE_CONTROL) {
                Some(stored) => private(stored),
                None => return,
            },
        };
        headers.insert(header::CACHE_CONTROL, value);
    }
}

/// What a proof says of caches, less what lets them share.
fn private(stored: &HeaderValue) -> HeaderValue {
    let text = stored.to_str().unwrap_or_default();
    let shares = |directive: &&str| {
        let name = directive.split('=').next().unwrap_or_default().trim().to_ascii_lowercase();
        let shares = ["public", "private", "s-maxage", "must-revalidate", "proxy-revalidate"];
        !name.is_empty() && !shares.contains(&name.as_str())
    };
    // A comma inside of a quoted value would be cut: what is left is then no directive, and ignored.
    let kept: Vec<_> = text.split(',').map(str::trim).filter(shares).collect();
    let joined = ["private"].into_iter().chain(kept).collect::<Vec<_>>().join(", ");
    HeaderValue::from_str(&joined).unwrap_or(HeaderValue::from_static("private, no-store"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_public_is_kept_by_no_shared_cache() {
        for (stored, expected) in [
            ("public, max-age=60", "private, max-age=60"),
            ("max-age=60, s-maxage=600, immutable", "private, max-age=60, immutable"),
            ("Private, No-Store", "private, No-Store"),
            ("PUBLIC", "private"),
            ("S-MaxAge = 3", "private"),
            ("must-revalidate", "private"),
        ] {
            assert_eq!(private(&HeaderValue::from_static(stored)), expected, "{stored}");
        }
    }
}
