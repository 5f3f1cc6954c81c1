//! An S3 that answers at once: a simulation which verifies nothing, neither who asks nor what is sent.
//!
//! It exists so that a comparison of what calls S3 is not one of who simulates S3. What it is told to
//! keep it keeps, in memory, and conditions hold, on copies and uploads in parts too, so that the
//! service finds a store which compares by itself, and a contestant is checked as over any other.
//! What it does not do (ranges, tags, encryption …) is refused with 501. It can be told to be slower,
//! always or now and then. With `--cheat` it is the negative control: the store of a contestant that
//! must be refused.

mod store;

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use self::store::Store;
use crate::Result;

/// Headers that ask for what is not simulated.
const REFUSED: [&str; 4] =
    ["x-amz-tagging", "x-amz-storage-class", "x-amz-server-side-encryption", "x-amz-trailer"];

/// How to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Cheat {
    /// One bit of every body is wrong.
    Flip,
    /// A write is acknowledged and dropped.
    Forget,
}

impl Cheat {
    /// As the option has it.
    pub(super) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// How it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Manner {
    /// Misbehave.
    #[arg(long, value_enum)]
    pub(crate) cheat: Option<Cheat>,
    /// Milliseconds before each answer.
    #[arg(long, default_value_t = 0)]
    pub(crate) delay: u64,
    /// Of so many GETs one is slow; 0: none.
    #[arg(long, default_value_t = 0)]
    pub(crate) slow_one_in: u64,
    /// Milliseconds before the answer to a slow one.
    #[arg(long, default_value_t = 0)]
    pub(crate) slow_delay: u64,
}

impl Manner {
    /// As the options have it.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--delay={}", self.delay),
            format!("--slow-one-in={}", self.slow_one_in),
            format!("--slow-delay={}", self.slow_delay),
        ];
        arguments.extend(self.cheat.map(|cheat| format!("--cheat={}", cheat.name())));
        arguments
    }

    /// What passes before an answer. By number and not at random, so that each run has as many.
    async fn wait(&self, method: &Method, gets: &AtomicU64) {
        let is_slow = *method == Method::GET
            && self.slow_one_in > 0
            && gets.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.slow_one_in);
        let millis = if is_slow { self.slow_delay } else { self.delay };
        if millis > 0 {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
    }
}

/// The sub-command's options.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Port of 127.0.0.1 to listen on.
    #[arg(long)]
    port: u16,
    #[command(flatten)]
    manner: Manner,
}

/// What all connections share.
struct Served {
    manner: Manner,
    gets: AtomicU64,
    store: Mutex<Store>,
}

type Answer = Response<Full<Bytes>>;

/// Serves on one thread until it is killed.
pub(crate) fn serve(options: &Options) -> Result<()> {
    let store = Mutex::new(Store::new(options.manner.cheat));
    let served = Arc::new(Served { manner: options.manner, gets: AtomicU64::new(0), store });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, options.port)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let served = Arc::clone(&served);
            let answer = service_fn(move |request| answer(Arc::clone(&served), request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            // how a connection ends is the contestant's to see
            tokio::spawn(connection);
        }
    })
}

async fn answer(
    served: Arc<Served>,
    request: Request<Incoming>,
) -> std::result::Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(status(StatusCode::BAD_REQUEST));
    };
    served.manner.wait(&head.method, &served.gets).await;
    let (path, headers) = (head.uri.path(), &head.headers);
    let Some(call) = call(&head.method, head.uri.query().unwrap_or_default(), headers) else {
        return Ok(status(StatusCode::NOT_IMPLEMENTED));
    };
    let mut store = served.store.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(match call {
        Call::List(page) => store.list(path, &page),
        Call::Get => store.get(path, headers),
        Call::Head => store.get(path, headers).map(|_| Full::default()),
        Call::Put => store.put(path, headers, body.to_bytes()),
        Call::Delete => store.delete(path, headers),
        Call::Copy(source) => store.copy(source, path, headers),
        Call::Begin => store.begin(headers),
        Call::Part { upload, number } => store.part(upload, number, body.to_bytes()),
        Call::Complete(upload) => store.complete(upload, path, headers),
        Call::Abort(upload) => store.abort(upload),
    })
}

/// What is simulated.
#[derive(Debug, PartialEq, Eq)]
enum Call<'a> {
    List(Page),
    Get,
    Head,
    Put,
    Delete,
    /// From this path.
    Copy(&'a str),
    /// Of an upload in parts.
    Begin,
    Part {
        upload: &'a str,
        number: u32,
    },
    Complete(&'a str),
    Abort(&'a str),
}

/// What a request asks for; none where it is not simulated.
fn call<'a>(method: &Method, query: &'a str, headers: &'a HeaderMap) -> Option<Call<'a>> {
    let coding = headers.get(header::CONTENT_ENCODING).map_or(&b""[..], HeaderValue::as_bytes);
    let asks_for_more = REFUSED.iter().any(|name| headers.contains_key(*name))
        || headers.contains_key(header::RANGE)
        || coding.windows(11).any(|part| part == b"aws-chunked");
    if asks_for_more {
        return None;
    }
    if *method == Method::GET && query.split('&').any(|pair| pair == "list-type=2") {
        return Page::read(query).map(Call::List);
    }
    let (mut upload, mut part, mut begins) = (None, None, false);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').unwrap_or((pair, "")) {
            // the SDK names its call: `x-id=GetObject`
            ("x-id", _) => {}
            ("uploads", _) => begins = true,
            ("uploadId", id) => upload = Some(id),
            ("partNumber", number) => part = Some(number.parse().ok()?),
            _ => return None,
        }
    }
    let source = headers.get("x-amz-copy-source");
    Some(match (method, upload, part) {
        (&Method::POST, None, None) if begins => Call::Begin,
        (&Method::PUT, Some(upload), Some(number)) => Call::Part { upload, number },
        (&Method::POST, Some(upload), None) => Call::Complete(upload),
        (&Method::DELETE, Some(upload), None) => Call::Abort(upload),
        _ if upload.is_some() || part.is_some() || begins => return None,
        (&Method::PUT, ..) => match source {
            Some(source) => Call::Copy(source.to_str().ok()?),
            None => Call::Put,
        },
        (&Method::GET, ..) => Call::Get,
        (&Method::HEAD, ..) => Call::Head,
        (&Method::DELETE, ..) => Call::Delete,
        _ => return None,
    })
}

/// One page of names. Those of a benchmark need no escapes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Page {
    prefix: String,
    after: String,
    most: usize,
}

impl Page {
    /// None where something is asked for that is not simulated.
    fn read(query: &str) -> Option<Self> {
        let mut page = Self { most: 1000, ..Self::default() };
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=')?;
            let value = value.replace("%2F", "/");
            match name {
                "list-type" | "x-id" | "encoding-type" => {}
                "prefix" => page.prefix = value,
                "start-after" | "continuation-token" => page.after = value.max(page.after),
                "max-keys" => page.most = value.parse().ok()?,
                _ => return None,
            }
        }
        Some(page)
    }
}

fn status(status: StatusCode) -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_simulated_is_refused() {
        let none = HeaderMap::new();
        let of = |method: Method, query| format!("{:?}", call(&method, query, &none));
        assert_eq!(of(Method::GET, ""), "Some(Get)");
        assert_eq!(of(Method::PUT, "x-id=PutObject"), "Some(Put)");
        assert_eq!(of(Method::POST, "uploads"), "Some(Begin)");
        assert_eq!(of(Method::GET, "list-type=2&delimiter=%2F"), "None");
        assert_eq!(of(Method::POST, "delete"), "None");
        assert_eq!(of(Method::PUT, "uploadId=1"), "None");
        for (name, value) in [("content-encoding", "gzip,aws-chunked"), ("range", "bytes=0-1")] {
            let headers = HeaderMap::from_iter([(
                header::HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )]);
            assert_eq!(call(&Method::PUT, "", &headers), None);
        }
    }
}
