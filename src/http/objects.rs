//! One proof: store, retrieve, look, delete.

use axum::body::{Body as HttpBody, HttpBody as _};
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use axum::response::{IntoResponse, Json};

use super::admission::Reservation;
use super::arrival::Arrival;
use super::conditional::{self, Part, Verdict};
use super::extract::{content_length, no_query, path_key};
use super::gate::{Call, Demand, Granted, Need, Pass, Who};
use super::headers::{self, extension_of};
use super::outgoing::outgoing;
use super::problem::{Code, Problem};
use super::signing::Pins;
use super::{redirect, render, retention};
use crate::audit::Action;
use crate::model::{ByteRange, Encoding, Key, ObjectMeta, Scope};
use crate::vault::{Outcome, Prepared, Upload, VERIFY_BYTES};

/// What a streamed answer holds in memory: pieces on their way through.
const STREAM_BYTES: u64 = 1 << 20;

/// What one holds beyond that which is inflated on its way: what is stored beside what it becomes.
const INFLATING_BYTES: u64 = 512 << 10;

/// A read of a proof: any query is ignored, as readers may add one.
pub struct Read(Key);

impl Demand for Read {
    const WHO: Who = Who::Caller;
    const SCOPES: &'static [Scope] = &[Scope::Read];
    const PUBLIC: bool = true;
    const ACTION: Option<Action> = None;

    async fn read(call: Call<'_>) -> Result<Self, Problem> {
        path_key(call.namespace, &call.head.uri).map(Self)
    }

    fn needs(&self) -> Vec<Need<'_>> {
        vec![Need::Key(Scope::Read, &self.0)]
    }

    fn gives_out(&self) -> Option<&Key> {
        Some(&self.0)
    }
}

/// A look at what is known of a proof. Never public: it tells more than a reader needs.
pub struct Look(Key);

impl Demand for Look {
    const WHO: Who = Who::Caller;
    const SCOPES: &'static [Scope] = &[Scope::Read];
    const ACTION: Option<Action> = None;

    async fn read(call: Call<'_>) -> Result<Self, Problem> {
        let key = path_key(call.namespace, &call.head.uri)?;
        no_query(&call.head.uri)?;
        Ok(Self(key))
    }

    fn needs(&self) -> Vec<Need<'_>> {
        vec![Need::Key(Scope::Read, &self.0)]
    }
}

/// A store under a key. Replacing what was stored takes the right to delete it too, unless the
/// service is set to let every store replace.
pub struct Store {
    key: Key,
    replaces: bool,
}

impl Demand for Store {
    const WHO: Who = Who::Caller;
    const SCOPES: &'static [Scope] = &[Scope::Write];
    const ACTION: Option<Action> = Some(Action::Store);

    async fn read(call: Call<'_>) -> Result<Self, Problem> {
        let key = path_key(call.namespace, &call.head.uri)?;
        no_query(&call.head.uri)?;
        Ok(Self { key, replaces: replaces(&call) })
    }

    fn needs(&self) -> Vec<Need<'_>> {
        let mut needs = vec![Need::Key(Scope::Write, &self.key)];
        needs.extend(self.replaces.then_some(Need::Key(Scope::Delete, &self.key)));
        needs
    }
}

/// Whether a store asks to replace what is there.
pub fn replaces(call: &Call<'_>) -> bool {
    call.write_once && call.head.headers.contains_key(header::IF_MATCH)
}

/// A store under a key of our making: any key, so it takes the right to all.
pub struct StoreNew;

impl Demand for StoreNew {
    const WHO: Who = Who::Caller;
    const SCOPES: &'static [Scope] = &[Scope::Write];
    const ACTION: Option<Action> = Some(Action::Store);

    async fn read(call: Call<'_>) -> Result<Self, Problem> {
        no_query(&call.head.uri).map(|()| Self)
    }

    fn needs(&self) -> Vec<Need<'_>> {
        vec![Need::Below(Scope::Write, "")]
    }
}

/// A delete.
pub struct Delete(Key);

impl Demand for Delete {
    const WHO: Who = Who::Caller;
    const SCOPES: &'static [Scope] = &[Scope::Delete];
    const ACTION: Option<Action> = Some(Action::Delete);

    async fn read(call: Call<'_>) -> Result<Self, Problem> {
        let key = path_key(call.namespace, &call.head.uri)?;
        no_query(&call.head.uri)?;
        Ok(Self(key))
    }

    fn needs(&self) -> Vec<Need<'_>> {
        vec![Need::Key(Scope::Delete, &self.0)]
    }
}

/// `PUT /v1/proofs/{key}`
pub async fn put(granted: Granted<Store>) -> Result<Response<HttpBody>, Problem> {
    let Granted { pass, what: Store { key, .. }, head, body } = granted;
    store(&pass, &key, &head.headers, body, &Pins::default()).await
}

/// `POST /v1/proofs`: under a key of our making that nobody can guess (UUIDv4, RFC 9562).
pub async fn post(granted: Granted<StoreNew>) -> Result<Response<HttpBody>, Problem> {
    let Granted { pass, head, body, .. } = granted;
    let headers = &head.headers;
    if headers.contains_key(header::IF_MATCH) || headers.contains_key(header::IF_NONE_MATCH) {
        return Err(Problem::invalid("If-Match and If-None-Match have no meaning for a new key"));
    }
    let options = headers::upload_options(headers, None, pass.vault().policy().max_object_bytes)?;
    let extension = extension_of(&options.attributes.content_type);
    let key = pass.vault().key(&format!("{}{extension}", uuid::Uuid::new_v4()))?;
    pass.note(|facts| facts.key(key.as_str()));
    store(&pass, &key, headers, body, &Pins::default()).await
}

/// Stores a body under a key; a signed URL may pin what the body must be.
pub async fn store(
    pass: &Pass,
    key: &Key,
    headers: &HeaderMap,
    body: HttpBody,
    pins: &Pins,
) -> Result<Response<HttpBody>, Problem> {
    let condition = conditional::write_condition(headers)?;
    let (prepared, reservation) = receive(pass, key, headers, body, pins).await?;
    pass.note(|facts| facts.sha256 = prepared.representation().map(|found| found.sha256));
    check_pinned_bytes(&prepared, pins)?;
    if let Some(representation) = prepared.representation() {
        pass.metrics.compressed(representation.size, prepared.stored_size());
    }
    let (stored, outcome) = pass.vault().store(key, prepared, condition).await?;
    drop(reservation);
    pass.note(|facts| {
        facts.effect = Some(match outcome {
            Outcome::Created => "created",
            Outcome::Unchanged => "unchanged",
            Outcome::Extended => "extended",
            Outcome::Replaced => "replaced",
        });
    });
    let status = match outcome {
        Outcome::Created => StatusCode::CREATED,
        Outcome::Unchanged | Outcome::Extended | Outcome::Replaced => StatusCode::OK,
    };
    let result = render::store_result(pass, key, &stored.meta);
    let mut response = (status, Json(result)).into_response();
    let tag = crate::vault::etag_of(&stored.meta, Encoding::Identity);
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    if status == StatusCode::CREATED {
        let location = format!("/v1/proofs/{}", render::path_of(key.as_str()));
        if let Ok(location) = HeaderValue::from_str(&location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
    }
    Ok(response)
}

/// Reads the body through every check, holding a part of the memory budget for what has come of it.
async fn receive(
    pass: &Pass,
    key: &Key,
    headers: &HeaderMap,
    body: HttpBody,
    pins: &Pins,
) -> Result<(Prepared, Reservation), Problem> {
    let policy = pass.vault().policy();
    let pinned = [pins.max_bytes, pins.length].into_iter().flatten();
    let max_bytes = pinned.fold(policy.max_object_bytes, u64::min);
    let mut options = headers::upload_options(headers, Some(key), max_bytes)?;
    let retention = retention::of_store(headers, pass.vault())?;
    retention::note(pass, retention.until, retention.legal_hold.then_some(true));
    options.attributes.retention = retention;
    if pins.content_type.as_ref().is_some_and(|pinned| *pinned != options.attributes.content_type) {
        return Err(Problem::invalid("Content-Type is not the one that this URL was signed for"));
    }
    pass.vault().check_supported(&options.attributes)?;
    let length = content_length(headers).or_else(|| body.size_hint().exact());
    let mut reservation = pass.reserve(0)?;
    let spooling = pass.vault().spooling(&options.attributes);
    let mut upload = Upload::begin(options, length, spooling).await?;
    let mut arrival = Arrival::new(body, pass);
    while let Some(bytes) = arrival.next().await? {
        // Whoever has begun is not sent away for want of memory: a disk has more.
        if reservation.try_grow_to(upload.held() + bytes.len() as u64) {
            upload.write(bytes).await?;
        } else {
            upload.write_through(bytes).await?;
        }
        reservation.shrink_to(upload.held());
    }
    reservation.grow_to(upload.held_to_finish())?;
    Ok((upload.finish().await?, reservation))
}

fn check_pinned_bytes(prepared: &Prepared, pins: &Pins) -> Result<(), Problem> {
    let size = prepared.representation().map(|representation| representation.size);
    if let Some(length) = pins.length.filter(|length| Some(*length) != size) {
        let detail = format!("the body does not have the {length} bytes that this URL is for");
        return Err(Problem::invalid(detail));
    }
    let Some(pinned) = pins.sha256 else { return Ok(()) };
    if prepared.representation().is_some_and(|representation| representation.sha256 == pinned) {
        return Ok(());
    }
    let detail = "the bytes are not those that this URL was signed for: their sha-256 differs";
    Err(Problem::new(Code::DigestMismatch, detail))
}

/// `GET` and `HEAD /v1/proofs/{key}`
pub async fn get(granted: Granted<Read>) -> Result<Response<HttpBody>, Problem> {
    let Granted { pass, what: Read(key), head, .. } = granted;
    if let Some(redirect) = redirect::elsewhere(&pass, &key, &head.method, &head.headers).await? {
        return Ok(redirect);
    }
    retrieve(&pass, &key, &head.method, &head.headers).await
}

/// Answers a read of a proof.
pub async fn retrieve(
    pass: &Pass,
    key: &Key,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response<HttpBody>, Problem> {
    if method == Method::HEAD {
        let meta = pass.vault().head(key).await?;
        let form = render::negotiate(headers, &meta);
        return match conditional::evaluate(headers, &meta, form) {
            Verdict::Proceed => Ok(whole(pass, &meta, form, HttpBody::empty())),
            verdict => without_body(pass, &meta, form, verdict),
        };
    }
    if headers.contains_key(header::RANGE) {
        let meta = pass.vault().head(key).await?;
        let verdict = conditional::evaluate(headers, &meta, Encoding::Identity);
        if verdict != Verdict::Proceed {
            return without_body(pass, &meta, Encoding::Identity, verdict);
        }
        match conditional::part(headers, &meta) {
            Part::Whole => {}
            Part::Range(range) => return partial(pass, key, &meta, range).await,
            Part::Unsatisfiable => return Err(unsatisfiable(&meta)),
        }
    }
    let opened = pass.vault().open(key).await?;
    let form = render::negotiate(headers, opened.meta());
    let verdict = conditional::evaluate(headers, opened.meta(), form);
    if verdict != Verdict::Proceed {
        return without_body(pass, opened.meta(), form, verdict);
    }
    let meta = opened.meta().clone();
    let reservation = pass.reserve(memory_for(&meta, form))?;
    let body = opened.into_body(form).await?;
    Ok(whole(pass, &meta, form, outgoing(body, reservation)))
}

fn memory_for(meta: &ObjectMeta, form: Encoding) -> u64 {
    let inflates = meta.attributes.encoding != form;
    let largest = meta.size().max(meta.stored_size);
    let sealed = meta.size_at_rest() - meta.stored_size;
    // What is sealed is at hand in both forms while it is opened.
    let opened = if sealed > 0 { meta.size_at_rest() } else { 0 };
    if largest > VERIFY_BYTES {
        return STREAM_BYTES + if inflates { INFLATING_BYTES } else { 0 };
    }
    meta.stored_size + opened + if inflates { meta.size() } else { 0 }
}

fn whole(pass: &Pass, meta: &ObjectMeta, form: Encoding, body: HttpBody) -> Response<HttpBody> {
    let mut response = Response::new(body);
    *response.headers_mut() = render::retrieve_headers(pass, meta, form);
    let length = if form == Encoding::Gzip { meta.stored_size } else { meta.size() };
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}

async fn partial(
    pass: &Pass,
    key: &Key,
    meta: &ObjectMeta,
    range: ByteRange,
) -> Result<Response<HttpBody>, Problem> {
    let reservation = pass.reserve(memory_for(meta, Encoding::Identity))?;
    let body = pass.vault().read_range(key, meta, range).await?;
    let mut response = whole(pass, meta, Encoding::Identity, outgoing(body, reservation));
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let content_range = format!("bytes {}-{}/{}", range.start, range.end - 1, meta.size());
    if let Ok(value) = HeaderValue::from_str(&content_range) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    response.headers_mut().insert(header::CONTENT_LENGTH, range.len().into());
    Ok(response)
}

fn unsatisfiable(meta: &ObjectMeta) -> Problem {
    let size = meta.size();
    let detail = format!("the range begins past the end: the proof has {size} bytes");
    let problem = Problem::new(Code::RangeNotSatisfiable, detail);
    match HeaderValue::from_str(&format!("bytes */{size}")) {
        Ok(value) => problem.with_header(header::CONTENT_RANGE, value),
        Err(_) => problem,
    }
}

fn without_body(
    pass: &Pass,
    meta: &ObjectMeta,
    form: Encoding,
    verdict: Verdict,
) -> Result<Response<HttpBody>, Problem> {
    if verdict == Verdict::Failed {
        let detail = "the proof is not in the state that If-Match or If-Unmodified-Since asks for";
        return Err(Problem::new(Code::PreconditionFailed, detail));
    }
    let mut response = Response::new(HttpBody::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    let mut headers = render::retrieve_headers(pass, meta, form);
    // A 304 carries what a cache needs to refresh its copy, not what describes a body.
    headers.remove(header::CONTENT_TYPE);
    headers.remove(header::CONTENT_ENCODING);
    *response.headers_mut() = headers;
    Ok(response)
}

/// `GET /v1/metadata/{key}`
pub async fn metadata(granted: Granted<Look>) -> Result<impl IntoResponse, Problem> {
    let Granted { pass, what: Look(key), .. } = granted;
    let meta = pass.vault().head(&key).await?;
    Ok(Json(render::metadata(&pass, &key, &meta)))
}

/// `DELETE /v1/proofs/{key}`
pub async fn delete(granted: Granted<Delete>) -> Result<StatusCode, Problem> {
    let Granted { pass, what: Delete(key), head, .. } = granted;
    let tags = conditional::delete_condition(&head.headers)?;
    pass.vault().delete_in_sight(&key, tags.as_deref(), &pass.sight()).await?;
    Ok(StatusCode::NO_CONTENT)
}
