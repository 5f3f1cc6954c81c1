//! The limits of the S3 path: the bare AWS SDK, with the settings that it comes with.
//!
//! Twice. `sdk` is an axum handler which sends GET and PUT on as GetObject and PutObject and does
//! nothing else: what is between it and the service is the service's own work. `sdk-loop` has no
//! HTTP in front: tasks that each wait for their own call, which measures the SDK alone. Both make the
//! call that the service makes: write-once, with a sha-256 as checksum and as metadata. `--plain` makes
//! the shortest one that the SDK has: it overwrites, with a CRC-32.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_config::{BehaviorVersion, Region};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::error::{DisplayErrorContext, SdkError};
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, ValueEnum};
use sha2::{Digest as _, Sha256};

use super::Told;
use crate::corpus::noise;
use crate::figures::Series;
use crate::load::put_body;
use crate::process::cost_of;
use crate::scenario::get::OBJECT_COUNT;
use crate::upstream::Bucket;
use crate::{Error, Result};

/// Put before every key, as the service does it.
const KEY_PREFIX: &str = "proofs/";
/// The variable by which the secret comes: arguments can be seen by everybody.
const SECRET: &str = "BENCH_SECRET_KEY";
const CONTENT_TYPE: &str = "application/octet-stream";
const WARM_UP: Duration = Duration::from_secs(1);
/// Objects compared after a run of the loop.
const SAMPLE: u64 = 64;

/// Where the bucket is and as whom to ask; the secret comes by the environment.
#[derive(Clone, Debug, Args)]
pub(crate) struct Remote {
    #[arg(long)]
    endpoint: String,
    #[arg(long)]
    bucket: String,
    #[arg(long)]
    region: String,
    #[arg(long)]
    access_key: String,
    /// PutObject as short as can be, instead of the one that the service sends.
    #[arg(long)]
    plain: bool,
    #[arg(skip = std::env::var(SECRET).unwrap_or_default())]
    secret_key: String,
}

/// The options of `sdk`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerOptions {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    #[command(flatten)]
    remote: Remote,
}

/// The options of `sdk-loop`.
#[derive(Clone, Debug, Args)]
pub(crate) struct LoopOptions {
    #[command(flatten)]
    remote: Remote,
    /// What to call.
    #[arg(long, value_enum)]
    call: Call,
    /// Bytes of every object.
    #[arg(long)]
    size: usize,
    /// How long.
    #[arg(long)]
    seconds: u64,
    /// Calls under way at any time.
    #[arg(long)]
    at_once: usize,
}

/// What the loop calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Call {
    /// GetObject, the body read whole.
    Get,
    /// PutObject of new keys.
    Put,
    /// A signed URL for GetObject: nothing is sent.
    Presign,
}

impl Remote {
    /// As options of a sub-command; the secret goes by [`SECRET`].
    fn arguments(bucket: &Bucket) -> [String; 4] {
        [
            format!("--endpoint={}", bucket.endpoint),
            format!("--bucket={}", bucket.name),
            format!("--region={}", bucket.region),
            format!("--access-key={}", bucket.access_key),
        ]
    }

    /// The client as anybody makes it: only where to go and as whom is said.
    async fn caller(&self) -> Caller {
        let credentials = Credentials::new(&self.access_key, &self.secret_key, None, None, "bench");
        let shared = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(self.region.clone()))
            .endpoint_url(&self.endpoint)
            .credentials_provider(credentials)
            .load()
            .await;
        let config = aws_sdk_s3::config::Builder::from(&shared).force_path_style(true).build();
        let (bucket, plain) = (self.bucket.clone(), self.plain);
        Caller { client: Client::from_conf(config), bucket, plain }
    }
}

/// A client and its bucket.
#[derive(Clone)]
struct Caller {
    client: Client,
    bucket: String,
    plain: bool,
}

impl Caller {
    /// The bytes under a key, or none.
    async fn get(&self, key: &str) -> Result<Option<Bytes>> {
        let request = self.client.get_object().bucket(&self.bucket).key(key);
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(SdkError::ServiceError(error))
                if matches!(error.err(), GetObjectError::NoSuchKey(_)) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(told(&error)),
        };
        Ok(Some(answer.body.collect().await?.into_bytes()))
    }

    async fn put(&self, key: &str, content_type: &str, body: Bytes) -> Result<()> {
        let mut request = self.client.put_object().bucket(&self.bucket).key(key);
        if !self.plain {
            let sha256 = STANDARD.encode(Sha256::digest(&body));
            request = request
                .if_none_match("*")
                .checksum_sha256(&sha256)
                .metadata("sha256", sha256)
                .metadata("size", body.len().to_string());
        }
        let request = request.content_type(content_type).body(ByteStream::from(body));
        request.send().await.map(drop).map_err(|error| told(&error))
    }

    async fn presign(&self, key: &str) -> Result<String> {
        let request = self.client.get_object().bucket(&self.bucket).key(key);
        let signed = request.presigned(PresigningConfig::expires_in(LIFETIME)?).await;
        Ok(signed.map_err(|error| told(&error))?.uri().to_owned())
    }
}

/// How long signed URLs are good.
const LIFETIME: Duration = Duration::from_secs(3600);

fn told(error: &dyn std::error::Error) -> Error {
    DisplayErrorContext(error).to_string().into()
}

/// Starts the handler's process on this address.
pub(super) fn command(address: SocketAddr, bucket: &Bucket, plain: bool) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["sdk", "--listen", &address.to_string()])
        .args(Remote::arguments(bucket))
        .args(plain.then_some("--plain"))
        .env(SECRET, &bucket.secret_key);
    Ok(command)
}

/// Serves until it is killed.
pub(crate) fn serve(options: &ServerOptions) -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let caller = options.remote.caller().await;
        let router = Router::new()
            .route("/v1/proofs/{*key}", get(pass_get).put(pass_put))
            .layer(DefaultBodyLimit::disable())
            .with_state(caller);
        let listener = tokio::net::TcpListener::bind(options.listen).await?;
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        Ok(axum::serve(listener, router).await?)
    })
}

async fn pass_get(State(caller): State<Caller>, Path(key): Path<String>) -> Response {
    match caller.get(&format!("{KEY_PREFIX}{key}")).await {
        Ok(Some(body)) => body.into_response(),
        Ok(None) => StatusCode::NOT_FOUND.into_response(),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

async fn pass_put(
    State(caller): State<Caller>,
    Path(key): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or("application/octet-stream");
    match caller.put(&format!("{KEY_PREFIX}{key}"), content_type, body).await {
        Ok(()) => StatusCode::CREATED,
        Err(_) => StatusCode::BAD_GATEWAY,
    }
}

/// Runs the loop as a process of its own.
pub(crate) fn measure(
    bucket: &Bucket,
    call: Call,
    size: usize,
    at_once: u32,
    duration: Duration,
) -> Result<Told> {
    let call = call.to_possible_value().ok_or("a call without a name")?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["sdk-loop", "--call", call.get_name()])
        .args(["--size", &size.to_string(), "--at-once", &at_once.to_string()])
        .args(["--seconds", &duration.as_secs().to_string()])
        .args(Remote::arguments(bucket))
        .env(SECRET, &bucket.secret_key);
    Told::hear(&mut command)
}

/// Calls, checks what came of it, and prints what it saw as one line of JSON.
pub(crate) fn run_loop(options: &LoopOptions) -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let caller = options.remote.caller().await;
        let run = Arc::new(Run { caller, next: AtomicU64::new(0), options: options.clone() });
        run.prepare().await?;
        Run::calls(&run, WARM_UP).await?;
        let before = cost_of(std::process::id()).ok_or("no figures of the process")?;
        let start = Instant::now();
        let latencies = Run::calls(&run, Duration::from_secs(options.seconds)).await?;
        let seconds = start.elapsed().as_secs_f64();
        let after = cost_of(std::process::id()).ok_or("no figures of the process")?;
        run.check().await?;
        let calls = latencies.len() as f64;
        let latencies: Series = latencies.into_iter().collect();
        let told = Told {
            per_second: calls / seconds,
            p50: latencies.percentile(50.0),
            p99: latencies.percentile(99.0),
            cpu_micros: (after.cpu_seconds - before.cpu_seconds) * 1e6 / calls,
            peak_resident: after.peak_resident,
        };
        told.tell()
    })
}

/// One run of the loop.
struct Run {
    caller: Caller,
    /// Calls that were begun.
    next: AtomicU64,
    options: LoopOptions,
}

impl Run {
    /// Puts what is to be read.
    async fn prepare(&self) -> Result<()> {
        if self.options.call == Call::Get {
            for number in 1..=OBJECT_COUNT {
                let body = noise(number, self.options.size);
                self.caller.put(&key(number), CONTENT_TYPE, body).await?;
            }
            self.check().await?;
        }
        Ok(())
    }

    /// So many tasks that each call again and again. Answers microseconds of each call.
    async fn calls(run: &Arc<Self>, duration: Duration) -> Result<Vec<f64>> {
        let end = Instant::now() + duration;
        let tasks: Vec<_> = (0..run.options.at_once)
            .map(|_| {
                let run = Arc::clone(run);
                tokio::spawn(async move {
                    let mut latencies = Vec::new();
                    while Instant::now() < end {
                        latencies.push(run.call().await?);
                    }
                    Result::Ok(latencies)
                })
            })
            .collect();
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await??);
        }
        Ok(latencies)
    }

    async fn call(&self) -> Result<f64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let size = self.options.size;
        match self.options.call {
            Call::Get => {
                let key = key(number % OBJECT_COUNT + 1);
                let start = Instant::now();
                let body = self.caller.get(&key).await?;
                let micros = start.elapsed().as_secs_f64() * 1e6;
                if body.is_none_or(|body| body.len() != size) {
                    return Err(format!("{key} was answered with another length").into());
                }
                Ok(micros)
            }
            Call::Put => {
                let (key, body) = (key(number + 1), put_body(number + 1, size).into());
                let start = Instant::now();
                self.caller.put(&key, CONTENT_TYPE, body).await?;
                Ok(start.elapsed().as_secs_f64() * 1e6)
            }
            Call::Presign => {
                let key = key(number % OBJECT_COUNT + 1);
                let start = Instant::now();
                let url = self.caller.presign(&key).await?;
                let micros = start.elapsed().as_secs_f64() * 1e6;
                if !url.contains("X-Amz-Signature=") {
                    return Err("a URL without a signature".into());
                }
                Ok(micros)
            }
        }
    }

    /// Compares a sample byte for byte: of the objects that were read, or of those that were put.
    async fn check(&self) -> Result<()> {
        if self.options.call == Call::Presign {
            return Ok(());
        }
        let (size, put) = (self.options.size, self.options.call == Call::Put);
        let objects = if put { self.next.load(Ordering::Relaxed) } else { OBJECT_COUNT };
        for number in (1..=objects).step_by((objects / SAMPLE).max(1) as usize) {
            let key = key(number);
            let body = self.caller.get(&key).await?;
            let body = body.ok_or_else(|| format!("{key} was acknowledged and is not there"))?;
            let right =
                if put { body == put_body(number, size) } else { body == noise(number, size) };
            if !right {
                return Err(format!("{key} was answered with wrong bytes").into());
            }
        }
        Ok(())
    }
}

fn key(number: u64) -> String {
    format!("{KEY_PREFIX}loop/{number}")
}
