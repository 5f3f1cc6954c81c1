//! The HTTP surface: every route on one screen, and what wraps them all.
//!
//! Only this module knows HTTP and imports axum. Handlers are thin: extract, call the vault,
//! render. The order of the layers matters, outermost first: `observe` (id, log, figures, problem
//! bodies) → rates and places → panic guard → CORS (so that errors carry its headers too) → routes.
//! Who is sent away before the routes passes CORS as well.

mod admission;
mod arrival;
mod backends;
mod client;
mod conditional;
mod docs;
mod extract;
mod gate;
mod headers;
mod health;
mod listing;
mod objects;
mod observe;
mod outgoing;
mod plain;
mod problem;
mod rate;
mod redirect;
mod render;
mod retention;
mod shed;
mod signed;
mod signing;
mod state;
mod transfer;

use std::convert::Infallible;
use std::future::ready;
use std::sync::LazyLock;

use axum::Router;
use axum::body::{Body, HttpBody as _};
use axum::http::{HeaderName, HeaderValue, Method, Request, Response, header};
use axum::middleware::from_fn;
use axum::response::IntoResponse;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

pub use admission::Budget;
pub use client::{ClientAddress, Peer, Proxies, ProxyHeader, Scheme, network};
#[doc(hidden)]
pub use conditional::{fuzz_range, fuzz_tags};
#[doc(hidden)]
pub use extract::{decode_key, fuzz_key};
pub use gate::{Guarded, Row, Surface};
pub use plain::speak_https;
pub use problem::{Code, Problem};
pub use rate::{RateLimits, Rates};
pub use shed::Shedder;
#[doc(hidden)]
pub use signing::fuzz_token;
pub use signing::{Grant, MIN_SECRET_BYTES, Pins, SignedMethod, Signer, TokenError};
pub use state::{
    AppState, BreakerStands, BreakerView, BucketDomain, CorsOrigins, Inner, Member, PoolState,
    PoolView, Settings,
};

use self::gate::Table;
use crate::telemetry::Route;

/// Most header fields of a request.
pub const MAX_HEADERS: usize = 128;

/// Most bytes of a request's header fields together.
pub const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Every call of the service with what it demands. The order is that of the contract. A call that
/// does not lead through the gate cannot be written here.
fn calls(surface: Surface, admin_apart: bool) -> Table {
    let table = match surface {
        Surface::Admin => Table::new(surface),
        Surface::Public => proofs(Table::new(surface)),
    };
    let table = match (surface, admin_apart) {
        (Surface::Public, true) => table,
        _ => table
            .call(Method::GET, "/v1/stats", Route::Stats, backends::stats)
            .call(Method::GET, "/v1/backends", Route::Backends, backends::backends)
            .call(Method::GET, "/metrics", Route::Metrics, backends::metrics),
    };
    let table = table.call(Method::GET, "/health", Route::Health, health::health).call(
        Method::GET,
        "/health/ready",
        Route::Ready,
        health::ready,
    );
    match surface {
        Surface::Admin => table,
        Surface::Public => table
            .call(Method::GET, "/openapi.yaml", Route::OpenApi, docs::openapi)
            .call(Method::GET, "/docs", Route::Docs, docs::page)
            .call(Method::GET, "/", Route::Docs, docs::root),
    }
}

fn proofs(table: Table) -> Table {
    const SIGNED: &str = "/v1/signed/{token}/{*key}";
    let mut table = table.call(Method::GET, "/v1/proofs", Route::Objects, listing::list).call(
        Method::POST,
        "/v1/proofs",
        Route::Objects,
        objects::post,
    );
    // The empty key is refused as a key, not as an unknown route.
    for path in ["/v1/proofs/", "/v1/proofs/{*key}"] {
        table = table
            .call(Method::GET, path, Route::Object, objects::get)
            .call(Method::PUT, path, Route::Object, objects::put)
            .call(Method::DELETE, path, Route::Object, objects::delete);
    }
    for path in ["/v1/metadata/", "/v1/metadata/{*key}"] {
        table = table.call(Method::GET, path, Route::Metadata, objects::metadata);
    }
    for path in ["/v1/retention/", "/v1/retention/{*key}"] {
        table = table.call(Method::PUT, path, Route::Retention, retention::put);
    }
    table
        .call(Method::POST, "/v1/copy", Route::Copy, transfer::copy)
        .call(Method::POST, "/v1/move", Route::Move, transfer::rename)
        .call(Method::POST, "/v1/batch-delete", Route::BatchDelete, transfer::batch_delete)
        .call(Method::POST, "/v1/signed-urls", Route::SignedUrls, signed::sign)
        .call(Method::GET, SIGNED, Route::Signed, signed::serve)
        .call(Method::PUT, SIGNED, Route::Signed, signed::serve)
}

/// The table of all calls, for whoever compares it with the description and the rights.
pub static CALLS: LazyLock<Vec<Row>> =
    LazyLock::new(|| calls(Surface::Public, false).rows().to_vec());

fn route_of(path: &str) -> Route {
    CALLS.iter().find(|row| row.path == path).map_or(Route::Other, |row| row.route)
}

/// The whole service as one function from request to answer. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    surface: Surface,
    state: AppState,
    cors: CorsLayer,
    router: Router,
}

impl Service {
    /// Wires routes, layers and state.
    pub fn new(state: AppState) -> Self {
        Self::on(Surface::Public, state)
    }

    /// Only what those need who watch the service; nobody is asked who they are.
    pub fn admin(state: AppState) -> Self {
        Self::on(Surface::Admin, state)
    }

    fn on(surface: Surface, state: AppState) -> Self {
        let cors = cors(&state.settings.cors_origins);
        let router = calls(surface, state.settings.admin_apart)
            .into_router()
            .method_not_allowed_fallback(method_not_allowed)
            .fallback(not_found)
            .layer(from_fn(observe::mark_route))
            .layer(cors.clone())
            .layer(CatchPanicLayer::custom(panicked))
            .with_state(state.clone());
        Self { surface, state, cors, router }
    }

    /// Answers one request.
    pub async fn call(&self, request: Request<Body>) -> Response<Body> {
        let router = self.router.clone();
        observe::observe(self.state.clone(), request, |request| self.admit(router, request)).await
    }

    /// Lets a request in where its address has not asked too often and there is a place for it. All
    /// before anybody is asked who they are: guessing costs, and refusing does not.
    async fn admit(&self, router: Router, mut request: Request<Body>) -> Response<Body> {
        let too_large = head_is_too_large(&request);
        let open = match self.exemption(request.uri().path()) {
            // Nobody asks so how the service is.
            Exempt::Entirely if too_large => Exempt::Nowise,
            open => open,
        };
        let account = match open {
            Exempt::Entirely => None,
            _ => {
                self.state.rates.account(request.method(), ClientAddress::of(request.extensions()))
            }
        };
        if let Some(account) = &account {
            if let Err(problem) = account.charge_address() {
                return self.refuse(problem, request, Some(account)).await;
            }
            request.extensions_mut().insert(account.clone());
        }
        if too_large {
            return self.refuse(head_too_large(), request, account.as_ref()).await;
        }
        let place = match open {
            Exempt::Nowise => match self.state.shedder.enter().await {
                Ok(place) => Some(place),
                Err(problem) => return self.refuse(problem, request, account.as_ref()).await,
            },
            _ => None,
        };
        if let Some(place) = &place
            && !request.body().is_end_stream()
        {
            request = request.map(|body| place.lend(body));
        }
        let mut response = match router.oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        // By token, which the gate knows.
        let problem = response.extensions().get::<Problem>();
        if problem.is_some_and(|problem| problem.code() == Code::RateLimited) {
            response.extensions_mut().insert(observe::Refused);
        }
        if let Some(account) = account {
            account.tell(response.headers_mut());
        }
        response
    }

    /// Sends a request away. What it brought is read on for a moment: closing the connection over bytes
    /// that were not read would reset it, and the answer with it. A page of another origin may read why,
    /// as of all answers, and its preflight is answered.
    async fn refuse(
        &self,
        problem: Problem,
        request: Request<Body>,
        account: Option<&rate::Account>,
    ) -> Response<Body> {
        let refusing = service_fn(|request| {
            observe::read_on(request);
            ready(Ok::<_, Infallible>(problem.clone().into_response()))
        });
        let mut response = match self.cors.layer(refusing).oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        response.extensions_mut().insert(observe::Refused);
        if let Some(account) = account {
            account.tell(response.headers_mut());
        }
        response
    }

    /// Probes are not starved, whatever the load. `/metrics` asks for a token, where that is asked for
    /// at all: guesses of it count.
    fn exemption(&self, path: &str) -> Exempt {
        match (self.surface, path) {
            (Surface::Admin, _) | (_, "/health" | "/health/ready") => Exempt::Entirely,
            (Surface::Public, "/metrics") => Exempt::FromShedding,
            (Surface::Public, _) => Exempt::Nowise,
        }
    }

    /// What all requests share.
    pub fn state(&self) -> &AppState {
        &self.state
    }
}

/// From what a request is exempt that is there for the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exempt {
    Nowise,
    FromShedding,
    Entirely,
}

/// Hyper refuses a far larger head by itself, but without a body that says why.
fn head_is_too_large(request: &Request<Body>) -> bool {
    let fields = request.headers();
    let bytes: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    fields.len() > MAX_HEADERS || bytes > MAX_HEADER_BYTES
}

fn head_too_large() -> Problem {
    let detail = format!(
        "the request has more than {MAX_HEADERS} header fields or {MAX_HEADER_BYTES} bytes of them"
    );
    Problem::new(Code::HeadersTooLarge, detail)
}

async fn not_found() -> Problem {
    Problem::new(Code::NotFound, "no such resource: see /openapi.yaml for what there is")
}

async fn method_not_allowed() -> Problem {
    Problem::new(
        Code::MethodNotAllowed,
        "this resource has no such method: the Allow header names those it has",
    )
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response<Body> {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    tracing::error!(panic = text, "a handler panicked");
    Problem::new(
        Code::Internal,
        "an unexpected error happened here; the log has it by the request id",
    )
    .into_response()
}

/// Who may read from a page of another origin: readers of C2PA run in browsers. Never writes.
fn cors(origins: &CorsOrigins) -> CorsLayer {
    let allow = match origins {
        CorsOrigins::Any => AllowOrigin::any(),
        CorsOrigins::None => AllowOrigin::list([]),
        CorsOrigins::List(list) => {
            AllowOrigin::list(list.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
        }
    };
    let exposed = [
        header::ACCEPT_RANGES,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::ETAG,
        header::LAST_MODIFIED,
        header::RETRY_AFTER,
        rate::RATE_LIMIT,
        rate::RATE_LIMIT_POLICY,
        HeaderName::from_static("repr-digest"),
        HeaderName::from_static("x-request-id"),
    ];
    CorsLayer::new()
        .allow_origin(allow)
        .allow_methods([Method::GET, Method::HEAD])
        .allow_headers([
            header::RANGE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            header::IF_MODIFIED_SINCE,
            header::IF_RANGE,
            header::AUTHORIZATION,
        ])
        .expose_headers(exposed)
        .max_age(std::time::Duration::from_secs(86_400))
}
