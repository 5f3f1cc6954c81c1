//! The outermost layer: request id, the client's address, one log line, figures, and problems written out.
//!
//! An answer is over when its last byte is handed to the connection or the client is gone, so the
//! line is written when the body ends or is dropped, not when the handler returns.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::MatchedPath;
use axum::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header,
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::client::{ClientAddress, Peer, Scheme};
use super::problem::Problem;
use super::state::AppState;
use crate::telemetry::{self, InFlight, Route};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Runs a request through `inner` and observes it to its end.
pub async fn observe<F>(
    state: AppState,
    mut request: Request<Body>,
    inner: impl FnOnce(Request<Body>) -> F,
) -> Response<Body>
where
    F: Future<Output = Response<Body>>,
{
    let started = Instant::now();
    let in_flight = state.metrics.request_started();
    let request_id = request_id(request.headers());
    let peer = request.extensions().get::<Peer>();
    let client = ClientAddress::new(peer, request.headers(), &state.settings.proxies);
    request.extensions_mut().insert(client);
    request.extensions_mut().insert(RequestId(request_id.clone()));
    let (method, version) = (request.method().clone(), request.version());
    let bytes_in = Counter::default();
    let has_body = !request.body().is_end_stream();
    if has_body {
        request.extensions_mut().insert(bytes_in.clone());
        let counter = bytes_in.clone();
        request = request.map(|body| Body::new(Counted { body, counter }));
    }
    let mut response = inner(request).await;

    let route =
        response.extensions().get::<MatchedRoute>().map_or(Route::Other, |matched| matched.0);
    let refused = response.extensions().get::<Refused>().is_some();
    write_problem(&mut response, &method, &request_id);
    // Over HTTP/1.1 a connection ends with a body that is not read to its end: nothing can come after.
    let unread = has_body && !bytes_in.is_at_end();
    let ends = unread || state.is_draining() || response.status() == StatusCode::REQUEST_TIMEOUT;
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if ends && version < Version::HTTP_2 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        headers.insert(REQUEST_ID, value);
    }
    let status = response.status();
    let length = response.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
    let record = Record {
        state,
        started,
        request_id,
        client,
        method,
        route,
        status,
        bytes_in,
        bytes_out: 0,
        length,
        complete: false,
        refused,
        _in_flight: in_flight,
    };
    response.map(|body| {
        if body.is_end_stream() {
            let mut record = record;
            record.complete = true;
            return Body::empty();
        }
        Body::new(Observed { body, record })
    })
}

/// Marks an answer to a request that was sent away for the load: it is counted, and told to whoever
/// looks closely. A line for each would cost more than the refusal.
#[derive(Clone, Copy)]
pub struct Refused;

/// Most that is read on of a body that nobody wants, and for how long.
const READ_ON_BYTES: usize = 1 << 20;
const READ_ON: Duration = Duration::from_secs(2);

/// Reads on what a client is sending already. Not what it asks leave for (`Expect: 100-continue`): to
/// read that would be to give it.
pub fn read_on(request: Request<Body>) {
    let small = request.body().size_hint().upper().is_none_or(|size| size <= READ_ON_BYTES as u64);
    if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) || !small {
        return;
    }
    if let Some(counter) = request.extensions().get::<Counter>()
        && request.body().size_hint().upper().is_some()
    {
        // It will be, unless the client stops.
        counter.reach_end();
    }
    let mut body = request.into_body();
    tokio::spawn(tokio::time::timeout(READ_ON, async move {
        let mut read = 0;
        while read <= READ_ON_BYTES
            && let Some(Ok(frame)) = body.frame().await
        {
            read += frame.data_ref().map_or(0, Bytes::len);
        }
    }));
}

/// The request's id, for who writes it down elsewhere.
#[derive(Clone)]
pub struct RequestId(pub String);

/// The route that served a request, put into the response by [`mark_route`].
#[derive(Clone, Copy)]
struct MatchedRoute(Route);

/// Middleware inside the router, where the matched route is known.
pub async fn mark_route(
    path: Option<MatchedPath>,
    request: axum::extract::Request,
    next: axum::middleware::Next,
) -> Response<Body> {
    let route = path.map_or(Route::Other, |path| super::route_of(path.as_str()));
    let mut response = next.run(request).await;
    response.extensions_mut().insert(MatchedRoute(route));
    response
}

/// The caller's id where it is harmless in a log, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let harmless = |id: &&str| {
        (1..=128).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
    };
    match given.filter(harmless) {
        Some(id) => id.to_owned(),
        None => fresh_id().to_string(),
    }
}

/// An id that no other request of any process has, in the form of a version 4 UUID. It is no
/// secret, so a mixed counter will do, and asks the operating system for nothing.
pub(super) fn fresh_id() -> uuid::Uuid {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| uuid::Uuid::new_v4().as_u64_pair().0);
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    let number = REQUESTS.fetch_add(1, Ordering::Relaxed);
    let mixed = xxh3_128_with_seed(&number.to_le_bytes(), *PROCESS);
    uuid::Builder::from_random_bytes(mixed.to_le_bytes()).into_uuid()
}

/// Gives every error answer a problem body, whoever made it.
fn write_problem(response: &mut Response<Body>, method: &Method, request_id: &str) {
    let status = response.status();
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        // Readiness answers 503 with a body of its own.
        None if response.headers().get(header::CONTENT_TYPE).is_some_and(is_json) => return,
        None if status.is_client_error() || status.is_server_error() => Problem::of_status(status),
        None => return,
    };
    let body = problem.to_json(request_id).to_string();
    response.headers_mut().insert(header::CONTENT_TYPE, PROBLEM_JSON);
    response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.body_mut() = if method == Method::HEAD { Body::empty() } else { Body::from(body) };
}

fn is_json(value: &HeaderValue) -> bool {
    value.as_bytes().starts_with(b"application/json")
}

/// Bytes of a request body that were read, and whether its end was. Part of its extensions.
#[derive(Clone, Default)]
struct Counter(Arc<(AtomicU64, AtomicBool)>);

impl Counter {
    fn add(&self, bytes: usize) {
        self.0.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    fn reach_end(&self) {
        self.0.1.store(true, Ordering::Relaxed);
    }

    fn is_at_end(&self) -> bool {
        self.0.1.load(Ordering::Relaxed)
    }
}

struct Counted {
    body: Body,
    counter: Counter,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(bytes) = frame.as_ref().and_then(|f| f.as_ref().ok()).and_then(Frame::data_ref)
        {
            self.counter.add(bytes.len());
        }
        if frame.is_none() || self.body.is_end_stream() {
            self.counter.reach_end();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body that knows when it is over.
struct Observed {
    body: Body,
    record: Record,
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                self.record.bytes_out += frame.data_ref().map_or(0, |bytes| bytes.len() as u64);
                let sent = Some(self.record.bytes_out) == self.record.length;
                if sent || self.body.is_end_stream() {
                    self.record.complete = true;
                }
            }
            Some(Err(_)) => {}
            None => self.record.complete = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What is known of a request; told when it is dropped, which is when the answer is over.
struct Record {
    state: AppState,
    started: Instant,
    request_id: String,
    client: ClientAddress,
    method: Method,
    route: Route,
    status: StatusCode,
    bytes_in: Counter,
    bytes_out: u64,
    /// `Content-Length`: who has sent that much asks for no end.
    length: Option<u64>,
    complete: bool,
    refused: bool,
    _in_flight: InFlight,
}

impl Drop for Record {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        let bytes_in = self.bytes_in.get();
        self.state.metrics.request_finished(
            self.route,
            telemetry::Method::from(&self.method),
            self.status,
            elapsed,
            bytes_in,
            self.bytes_out,
        );
        self.log(elapsed, bytes_in);
    }
}

impl Record {
    fn log(&self, elapsed: Duration, bytes_in: u64) {
        let slow = elapsed > self.state.settings.slow_request;
        macro_rules! line {
            ($level:ident, $text:literal) => {
                tracing::$level!(
                    target: "proof_storage::request",
                    method = %self.method,
                    route = telemetry::Label::as_str(self.route),
                    status = self.status.as_u16(),
                    bytes_in,
                    bytes_out = self.bytes_out,
                    ms = elapsed.as_secs_f64() * 1000.0,
                    client = %self.client,
                    scheme = self.client.scheme().map(Scheme::as_str),
                    request_id = self.request_id,
                    $text
                )
            };
        }
        match (self.complete, slow) {
            _ if self.refused => line!(debug, "request refused"),
            (false, _) => line!(warn, "request cut off"),
            (true, true) => line!(warn, "slow request"),
            (true, false) => line!(info, "request"),
        }
    }
}
