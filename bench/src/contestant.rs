//! Who is measured: the service, nginx, and the limits; all answering the same URLs.

pub(crate) mod bare;
pub(crate) mod engine;
pub(crate) mod nginx;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Result;
use crate::client::Client;
use crate::process::{Cost, Process, free_address};

/// Below this path every contestant keeps its objects.
pub(crate) const OBJECTS: &str = "/v1/proofs/";

/// A store of a million objects must be ready well before this.
const START_LIMIT: Duration = Duration::from_secs(120);

/// What to start.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A release build of the service, on the embedded store.
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
}

/// A contestant that can be started, again and again.
#[derive(Clone, Debug)]
pub(crate) struct Contestant {
    /// Its row in the tables.
    pub(crate) label: String,
    pub(crate) kind: Kind,
}

impl Contestant {
    /// The service as it is compared: its request log off, as nginx's.
    pub(crate) fn service(label: impl Into<String>, binary: &Path) -> Self {
        let kind = Kind::Service { binary: binary.to_owned(), request_log: false };
        Self { label: label.into(), kind }
    }

    /// The service with the log that it writes by default.
    pub(crate) fn service_with_log(binary: &Path) -> Self {
        let kind = Kind::Service { binary: binary.to_owned(), request_log: true };
        Self { label: "proof-storage, request log on".into(), kind }
    }

    /// Debian's nginx.
    pub(crate) fn nginx(label: &str) -> Self {
        Self { label: label.into(), kind: Kind::Nginx }
    }

    /// A bare axum handler.
    pub(crate) fn bare(label: &str, answers: bare::Answers) -> Self {
        Self { label: label.into(), kind: Kind::Bare { answers, claims_to_keep: false } }
    }

    /// The negative control: says that it keeps what is put, and keeps nothing.
    pub(crate) fn forgetful(label: &str, answers: bare::Answers) -> Self {
        Self { label: label.into(), kind: Kind::Bare { answers, claims_to_keep: true } }
    }

    /// Whether what it acknowledged must be there to read. The limits only drop it.
    pub(crate) fn keeps(&self) -> bool {
        match self.kind {
            Kind::Service { .. } | Kind::Nginx => true,
            Kind::Bare { claims_to_keep, .. } => claims_to_keep,
        }
    }

    /// Starts it on a folder of its own, which may hold what an earlier start left.
    pub(crate) fn start(&self, folder: &Path) -> Result<Running> {
        fs::create_dir_all(folder)?;
        let address = free_address()?;
        let mut process = Process::start(&mut self.command(folder, address)?)?;
        let started = match self.kind {
            Kind::Service { .. } => process.wait_until(START_LIMIT, || is_ready(address)),
            Kind::Nginx | Kind::Bare { .. } => process.wait_listening(address, START_LIMIT),
        };
        started.map_err(|error| format!("{}: {error}", self.label))?;
        Ok(Running { process, address })
    }

    fn command(&self, folder: &Path, address: SocketAddr) -> Result<Command> {
        match &self.kind {
            Kind::Service { binary, request_log } => {
                let mut command = Command::new(binary);
                command
                    .env_clear()
                    .env("STORAGE_LISTEN", address.to_string())
                    .env("STORAGE_DATA_DIR", folder.join("data"))
                    .env("STORAGE_MAX_OBJECT_BYTES", (2_u64 << 30).to_string())
                    .env("STORAGE_LOG", if *request_log { "info" } else { "warn" });
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
        }
    }
}

/// A contestant at work. Dropping it ends it.
pub(crate) struct Running {
    process: Process,
    pub(crate) address: SocketAddr,
}

impl Running {
    /// A new connection to it.
    pub(crate) fn client(&self) -> Result<Client> {
        Client::connect(self.address)
    }

    /// What it used so far.
    pub(crate) fn cost(&self) -> Cost {
        self.process.cost()
    }

    /// A clean end.
    pub(crate) fn stop(self) -> Result<()> {
        self.process.stop()
    }

    /// SIGKILL.
    pub(crate) fn kill(self) -> Result<()> {
        self.process.kill()
    }
}

fn is_ready(address: SocketAddr) -> bool {
    let answer = Client::connect(address).and_then(|mut client| client.get("/health/ready", &[]));
    answer.is_ok_and(|answer| answer.status == 200)
}
