//! Who is measured: the service, nginx, and the limits; all answering the same URLs.

pub(crate) mod bare;
pub(crate) mod engine;
pub(crate) mod nginx;
pub(crate) mod sdk;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::client::Client;
use crate::process::{Cost, Process, free_address};
use crate::upstream::{self, Bucket, Upstream};

/// Below this path every contestant keeps its objects.
pub(crate) const OBJECTS: &str = "/v1/proofs/";

/// A store of a million objects must be ready well before this.
const START_LIMIT: Duration = Duration::from_secs(120);

/// What to start.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A release build of the service; on the embedded store where it has no upstream.
    Service {
        binary: PathBuf,
        /// One line per request, as the service logs by default, into a file.
        request_log: bool,
    },
    /// Debian's nginx: static files, DAV for PUT.
    Nginx,
    /// A bare axum handler.
    Bare {
        answers: bare::Answers,
        /// It claims to keep what it is given: a lie that must be found out.
        claims_to_keep: bool,
    },
    /// The bare AWS SDK behind an axum handler.
    Sdk {
        /// It makes the shortest PutObject there is, not the service's.
        plain: bool,
    },
}

/// A contestant that can be started, again and again.
#[derive(Clone, Debug)]
pub(crate) struct Contestant {
    /// Its row in the tables.
    pub(crate) label: String,
    pub(crate) kind: Kind,
    /// The S3s that it keeps its objects in: its own, started with it. Of a pool several.
    upstreams: Vec<upstream::Kind>,
    pooled: Option<Pooled>,
}

/// How several S3s work together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pooled {
    /// As the configuration has it.
    pub(crate) mode: &'static str,
    /// Reads of a mirror, in percent, that may ask a second member.
    pub(crate) hedge_percent: Option<u32>,
    /// Copies before a mirror acknowledges a write.
    pub(crate) min_copies: Option<u32>,
}

impl Contestant {
    /// The service as it is compared: its request log off, as nginx's.
    pub(crate) fn service(label: impl Into<String>, binary: &Path) -> Self {
        Self::of(label, Kind::Service { binary: binary.to_owned(), request_log: false })
    }

    /// The service with the log that it writes by default.
    pub(crate) fn service_with_log(binary: &Path) -> Self {
        let kind = Kind::Service { binary: binary.to_owned(), request_log: true };
        Self::of("proof-storage, request log on", kind)
    }

    /// Debian's nginx.
    pub(crate) fn nginx(label: &str) -> Self {
        Self::of(label, Kind::Nginx)
    }

    /// A bare axum handler.
    pub(crate) fn bare(label: &str, answers: bare::Answers) -> Self {
        Self::of(label, Kind::Bare { answers, claims_to_keep: false })
    }

    /// The bare AWS SDK behind an axum handler.
    pub(crate) fn sdk(label: &str, upstream: upstream::Kind) -> Self {
        Self::of(label, Kind::Sdk { plain: false }).over(upstream)
    }

    /// The same, with the shortest PutObject there is.
    pub(crate) fn plain_sdk(label: &str, upstream: upstream::Kind) -> Self {
        Self::of(label, Kind::Sdk { plain: true }).over(upstream)
    }

    /// The negative control: says that it keeps what is put, and keeps nothing.
    pub(crate) fn forgetful(label: &str, answers: bare::Answers) -> Self {
        Self::of(label, Kind::Bare { answers, claims_to_keep: true })
    }

    /// The same, with its objects in an S3.
    pub(crate) fn over(self, upstream: upstream::Kind) -> Self {
        Self { upstreams: vec![upstream], ..self }
    }

    /// The same, with its objects in a pool of S3s.
    pub(crate) fn over_pool(self, members: Vec<upstream::Kind>, pooled: Pooled) -> Self {
        Self { upstreams: members, pooled: Some(pooled), ..self }
    }

    fn of(label: impl Into<String>, kind: Kind) -> Self {
        Self { label: label.into(), kind, upstreams: Vec::new(), pooled: None }
    }

    /// Whether what it acknowledged must be there to read. The limits only drop it.
    pub(crate) fn keeps(&self) -> bool {
        match self.kind {
            Kind::Service { .. } | Kind::Nginx | Kind::Sdk { .. } => true,
            Kind::Bare { claims_to_keep, .. } => claims_to_keep,
        }
    }

    /// Starts it on a folder of its own, which may hold what an earlier start left.
    pub(crate) fn start(&self, folder: &Path) -> Result<Running> {
        fs::create_dir_all(folder)?;
        let upstreams = self.upstreams.iter().enumerate().map(|(number, kind)| {
            Upstream::start(kind, &folder.join(format!("upstream-{number}")))
        });
        let upstreams = upstreams.collect::<Result<Vec<_>>>()?;
        let buckets: Vec<&Bucket> = upstreams.iter().map(|upstream| &upstream.bucket).collect();
        self.start_on(folder, &buckets).map(|running| Running { upstreams, ..running })
    }

    /// Starts it on a folder and buckets, more than one only of a pool.
    pub(crate) fn start_on(&self, folder: &Path, buckets: &[&Bucket]) -> Result<Running> {
        fs::create_dir_all(folder)?;
        let address = free_address()?;
        let mut process = Process::start(&mut self.command(folder, address, buckets)?)?;
        let compare = !buckets.is_empty() && buckets.iter().all(|bucket| bucket.compares);
        let started = match self.kind {
            Kind::Service { .. } if compare => {
                process.wait_until(START_LIMIT, || is_ready(address) && knows_its_stores(address))
            }
            Kind::Service { .. } => process.wait_until(START_LIMIT, || is_ready(address)),
            Kind::Nginx | Kind::Bare { .. } | Kind::Sdk { .. } => {
                process.wait_listening(address, START_LIMIT)
            }
        };
        started.map_err(|error| format!("{}: {error}", self.label))?;
        Ok(Running { process, address, upstreams: Vec::new() })
    }

    fn command(&self, folder: &Path, address: SocketAddr, buckets: &[&Bucket]) -> Result<Command> {
        match &self.kind {
            Kind::Service { binary, request_log } => {
                let mut command = Command::new(binary);
                command
                    .env_clear()
                    .env("STORAGE_LISTEN", address.to_string())
                    .env("STORAGE_DATA_DIR", folder.join("data"))
                    .env("STORAGE_MAX_OBJECT_BYTES", (2_u64 << 30).to_string())
                    .env("STORAGE_LOG", if *request_log { "info" } else { "warn" });
                match (self.pooled, buckets) {
                    (Some(pooled), members) => {
                        let file = folder.join("pool.toml");
                        fs::write(&file, pooled.configuration(members))?;
                        command.env("STORAGE_CONFIG", file);
                    }
                    (None, [bucket]) => drop(command.envs(remote(bucket))),
                    (None, _) => {}
                }
                if *request_log {
                    let log = fs::File::create(folder.join("log"))?;
                    command.stderr(Stdio::from(log.try_clone()?));
                }
                Ok(command)
            }
            Kind::Nginx => nginx::command(folder, address),
            Kind::Bare { answers, .. } => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["bare", "--listen", &address.to_string()]).args(answers.arguments());
                Ok(command)
            }
            Kind::Sdk { plain } => {
                sdk::command(address, buckets.first().ok_or("the SDK needs a bucket")?, *plain)
            }
        }
    }
}

/// A contestant at work. Dropping it ends it.
pub(crate) struct Running {
    process: Process,
    pub(crate) address: SocketAddr,
    /// End after it.
    upstreams: Vec<Upstream>,
}

impl Running {
    /// A new connection to it.
    pub(crate) fn client(&self) -> Result<Client> {
        Client::connect(self.address)
    }

    /// A new connection to its own S3.
    pub(crate) fn upstream_client(&self) -> Result<Client> {
        let upstream = self.upstreams.first().ok_or("it has no S3 of its own")?;
        let authority = upstream.bucket.endpoint.trim_start_matches("http://");
        Client::connect(authority.parse()?)
    }

    /// What it used so far.
    pub(crate) fn cost(&self) -> Cost {
        self.process.cost()
    }

    /// A clean end.
    pub(crate) fn stop(self) -> Result<()> {
        let stopped = self.process.stop();
        drop(self.upstreams);
        stopped
    }

    /// SIGKILL.
    pub(crate) fn kill(self) -> Result<()> {
        self.process.kill()
    }
}

/// What a limit that is no server tells of itself, as one line of JSON.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) per_second: f64,
    /// Microseconds.
    pub(crate) p50: f64,
    /// Microseconds.
    pub(crate) p99: f64,
    /// Of the process, by all calls.
    pub(crate) cpu_micros: f64,
    /// Bytes.
    pub(crate) peak_resident: u64,
}

impl Told {
    fn tell(&self) -> Result<()> {
        println!("{}", serde_json::to_string(self)?);
        Ok(())
    }

    /// Runs a process to its end and hears what it tells.
    fn hear(command: &mut Command) -> Result<Self> {
        let output = command.output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

fn is_ready(address: SocketAddr) -> bool {
    let answer = Client::connect(address).and_then(|mut client| client.get("/health/ready", &[]));
    answer.is_ok_and(|answer| answer.status == 200)
}

/// The service's settings for a bucket.
fn remote(bucket: &Bucket) -> [(&'static str, &str); 6] {
    [
        ("STORAGE_PROVIDER", "s3"),
        ("STORAGE_ENDPOINT", &bucket.endpoint),
        ("STORAGE_BUCKET", &bucket.name),
        ("STORAGE_REGION", &bucket.region),
        ("STORAGE_ACCESS_KEY_ID", &bucket.access_key),
        ("STORAGE_SECRET_ACCESS_KEY", &bucket.secret_key),
    ]
}

impl Pooled {
    /// The service's configuration of such a pool.
    fn configuration(&self, members: &[&Bucket]) -> String {
        let mut text = format!("[pool]\nmode = \"{}\"\n", self.mode);
        text.extend(self.hedge_percent.map(|percent| format!("hedge_percent = {percent}\n")));
        text.extend(self.min_copies.map(|copies| format!("min_copies = {copies}\n")));
        for (number, bucket) in members.iter().enumerate() {
            let Bucket { endpoint, name, region, access_key, secret_key, .. } = bucket;
            text += &format!(
                "[[backend]]\nname = \"m{number}\"\nprovider = \"s3\"\nendpoint = \"{endpoint}\"\n\
                 bucket = \"{name}\"\nregion = \"{region}\"\naccess_key_id = \"{access_key}\"\n\
                 secret_access_key = \"{secret_key}\"\n"
            );
        }
        text
    }
}

/// Whether the service has found out what its stores can do: before that it assumes the least, and
/// each write costs a call more.
fn knows_its_stores(address: SocketAddr) -> bool {
    let answer = Client::connect(address).and_then(|mut client| client.get("/v1/backends", &[]));
    let Ok(answer) = answer else { return false };
    let found: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    // seen by trying, and never assumed of an endpoint that may be anybody's
    let knows = |backend: &serde_json::Value| backend["capabilities"]["create_only"] == "native";
    found["backends"].as_array().is_some_and(|all| all.iter().all(knows))
}
