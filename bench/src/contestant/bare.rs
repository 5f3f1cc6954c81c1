//! The limit: an axum handler that answers bytes from memory, and drops what is put.
//!
//! Built from the same axum and hyper as the service, so that what is between the two is the
//! service's own work. With `--cheat` it is the negative control: a contestant that must be
//! refused.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use clap::{Args, ValueEnum};
use http_body_util::BodyExt as _;

use crate::Result;
use crate::corpus::noise;

/// What it answers.
#[derive(Clone, Debug, Args)]
pub(crate) struct Answers {
    /// Bytes of every object.
    #[arg(long, default_value_t = 0)]
    pub(crate) size: usize,
    /// Number of objects, the first of which is 1.
    #[arg(long, default_value_t = 1)]
    pub(crate) count: u64,
    /// Answer the JSON in this file instead.
    #[arg(long, value_name = "PATH")]
    pub(crate) json: Option<PathBuf>,
    /// The file is gzip: say so.
    #[arg(long)]
    pub(crate) gzip: bool,
    /// Misbehave.
    #[arg(long, value_enum)]
    pub(crate) cheat: Option<Cheat>,
}

/// How to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cheat {
    /// One bit of every body is wrong.
    Flip,
    /// Every body lacks its last byte.
    Cut,
    /// Every hundredth answer is a 503.
    Fail,
}

/// The sub-command's options.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    #[command(flatten)]
    answers: Answers,
}

impl Answers {
    /// `count` objects of `size` bytes.
    pub(crate) fn objects(size: usize, count: u64) -> Self {
        Self { size, count, json: None, gzip: false, cheat: None }
    }

    /// One JSON file.
    pub(crate) fn json(file: PathBuf, gzip: bool) -> Self {
        Self { json: Some(file), gzip, ..Self::objects(0, 1) }
    }

    /// As options of the sub-command.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments =
            vec![format!("--size={}", self.size), format!("--count={}", self.count)];
        arguments.extend(self.json.as_ref().map(|file| format!("--json={}", file.display())));
        arguments.extend(self.gzip.then(|| "--gzip".into()));
        let cheat = self.cheat.as_ref().and_then(ValueEnum::to_possible_value);
        arguments.extend(cheat.map(|cheat| format!("--cheat={}", cheat.get_name())));
        arguments
    }

    fn bodies(&self) -> Result<Vec<Bytes>> {
        if let Some(file) = &self.json {
            return Ok(vec![self.spoil(std::fs::read(file)?.into())]);
        }
        Ok((1..=self.count).map(|number| self.spoil(noise(number, self.size))).collect())
    }

    fn spoil(&self, body: Bytes) -> Bytes {
        match self.cheat {
            Some(Cheat::Flip) => {
                let mut bytes = body.to_vec();
                bytes[body.len() / 2] ^= 1;
                bytes.into()
            }
            Some(Cheat::Cut) => body.slice(..body.len() - 1),
            Some(Cheat::Fail) | None => body,
        }
    }
}

struct Shared {
    bodies: Vec<Bytes>,
    headers: HeaderMap,
    /// Counts answers where every hundredth must fail.
    failing: Option<AtomicU32>,
}

/// Serves until it is killed.
pub(crate) fn serve(options: &Options) -> Result<()> {
    let answers = &options.answers;
    let mut headers = HeaderMap::new();
    let json = answers.json.is_some();
    let content_type = if json { "application/json" } else { "application/octet-stream" };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if answers.gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    let failing = (answers.cheat == Some(Cheat::Fail)).then(AtomicU32::default);
    let shared = Arc::new(Shared { bodies: answers.bodies()?, headers, failing });
    let router =
        Router::new().route("/v1/proofs/{*key}", get(fetch).put(drop_body)).with_state(shared);
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(options.listen).await?;
        // the other contestants do so too; a failure would only make it slower
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        Ok(axum::serve(listener, router).await?)
    })
}

/// The body whose number ends the path, or the only one.
async fn fetch(State(shared): State<Arc<Shared>>, Path(key): Path<String>) -> Response {
    if let Some(count) = &shared.failing
        && count.fetch_add(1, Ordering::Relaxed) % 100 == 99
    {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let number = key.rsplit('/').next().and_then(|name| name.parse().ok()).unwrap_or(1_usize);
    match shared.bodies.get(number.wrapping_sub(1)) {
        Some(body) => (shared.headers.clone(), body.clone()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// Reads frame by frame and keeps nothing.
async fn drop_body(request: Request) -> StatusCode {
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            return StatusCode::BAD_REQUEST;
        }
    }
    StatusCode::CREATED
}
