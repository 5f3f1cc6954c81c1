//! The service as a process: start, wait until it is ready, hurt, end.
//!
//! The process is held by a guard: whatever happens to a row, nothing is left running. The
//! log goes to a file in the work folder, as evidence.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::client::Client;
use crate::interrupt::poll;
use crate::{Result, interrupt};

/// How to start a service.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// What to run, with the service's own command at its end.
    program: PathBuf,
    arguments: Vec<OsString>,
    /// Run before it, such as `strace …`; must keep the process id.
    wrapper: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    log: PathBuf,
}

impl Launch {
    /// The service under test on a data directory.
    pub(crate) fn service(binary: &Path, data: &Path, log: PathBuf) -> Self {
        Self {
            program: binary.to_owned(),
            arguments: vec!["serve".into()],
            wrapper: Vec::new(),
            // A line for each of a million requests is no evidence.
            environment: vec![
                ("STORAGE_DATA_DIR".into(), data.into()),
                ("STORAGE_LOG".into(), "warn".into()),
            ],
            log,
        }
    }

    /// The harness's own broken store (see [`crate::stand_in`]) on a data directory.
    pub(crate) fn stand_in(fault: &str, data: &Path, log: PathBuf) -> Result<Self> {
        Ok(Self {
            program: std::env::current_exe()?,
            arguments: vec!["stand-in".into(), "--fault".into(), fault.into()],
            wrapper: Vec::new(),
            environment: vec![("STORAGE_DATA_DIR".into(), data.into())],
            log,
        })
    }

    /// Sets a variable of the service's environment.
    pub(crate) fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Runs the service through another program that becomes it or starts it under its own id.
    pub(crate) fn through<S: Into<OsString>>(mut self, w: impl IntoIterator<Item = S>) -> Self {
        self.wrapper = w.into_iter().map(Into::into).collect();
        self
    }

    /// Starts it on a free port of this machine.
    ///
    /// # Errors
    /// There is no such program, or no free port.
    pub(crate) fn start(&self) -> Result<Server> {
        let address = free_address()?;
        let log = File::options().create(true).append(true).open(&self.log)?;
        let arguments: Vec<&OsStr> = self.arguments.iter().map(AsRef::as_ref).collect();
        let child = self
            .command(&arguments)?
            .env("STORAGE_LISTEN", address.to_string())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let pid = Pid::from_child(&child);
        let log = self.log.clone();
        Ok(Server { child, pid, address, log, started: Instant::now(), ended: None })
    }

    /// Runs another command with the same settings to its end: whether it succeeded, and all that it
    /// printed.
    ///
    /// # Errors
    /// There is no such program.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<(bool, Vec<u8>)> {
        let arguments: Vec<&OsStr> = arguments.iter().map(AsRef::as_ref).collect();
        let output = self.command(&arguments)?.output()?;
        Ok((output.status.success(), [output.stdout, output.stderr].concat()))
    }

    /// What is to be run, in the environment of the service.
    fn command(&self, arguments: &[&OsStr]) -> Result<Command> {
        let mut words = self.wrapper.iter().cloned().chain([self.program.clone().into()]);
        let mut command = Command::new(words.next().ok_or("nothing to start")?);
        command.args(words).args(arguments);
        // A variable of the person who runs the harness must not change what is measured.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("STORAGE_") {
                command.env_remove(name);
            }
        }
        command
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            // Ctrl-C in a terminal is for the harness, which ends the service itself.
            .process_group(0);
        Ok(command)
    }

    /// Starts it and waits until it is ready; gives the time this took too.
    ///
    /// # Errors
    /// It ended instead, or was not ready within the limit.
    pub(crate) fn start_ready(&self, limit: Duration) -> Result<(Server, Duration)> {
        let mut server = self.start()?;
        let ready = server.wait_ready(limit)?;
        Ok((server, ready))
    }
}

/// A running service. Killed on drop.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    pid: Pid,
    address: SocketAddr,
    log: PathBuf,
    started: Instant,
    ended: Option<ExitStatus>,
}

impl Server {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has it be called at another address from now on, which leads to it.
    pub(crate) fn reach_at(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for 200 of `/health/ready`; gives the time since the start.
    ///
    /// # Errors
    /// The process ended, or the time is up.
    pub(crate) fn wait_ready(&mut self, limit: Duration) -> Result<Duration> {
        let mut client = Client::new(self.address).with_timeout(Duration::from_secs(2));
        let ready = poll(limit, || {
            if let Ok(Some(status)) = self.try_wait() {
                return Some(Err(status));
            }
            let answer = client.call("GET", "/health/ready", &[], b"");
            answer.is_ok_and(|a| a.status() == 200).then(|| Ok(self.started.elapsed()))
        })?;
        match ready {
            Some(Ok(ready)) => Ok(ready),
            Some(Err(status)) => {
                Err(format!("it did not start ({status}): {}", self.last_words()).into())
            }
            None => Err(format!("not ready after {limit:?}: {}", self.last_words()).into()),
        }
    }

    /// Ends it as a crash does, and waits until it is gone.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub(crate) fn kill(&mut self) -> Result<ExitStatus> {
        if self.ended.is_none() {
            self.signal(Signal::KILL)?;
        }
        self.wait(Duration::from_secs(20))?.ok_or_else(|| "does not die of SIGKILL".into())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// The process is gone.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.pid, signal)?)
    }

    /// Waits for its end; `None` where the time is up.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.try_wait()? {
                return Ok(Some(status));
            }
            if start.elapsed() > limit {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub(crate) fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended)
    }

    /// Greatest resident set so far, in bytes (`VmHWM`).
    ///
    /// # Errors
    /// The process is gone.
    pub(crate) fn peak_rss(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(kilobytes.ok_or("no VmHWM")?.parse::<u64>()? * 1024)
    }

    /// Its log.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.kill().is_err() && !interrupt::requested() {
            eprintln!("prove: process {} could not be ended", self.pid());
        }
    }
}

/// Whether a process was ended by SIGKILL.
pub(crate) fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::KILL.as_raw())
}

/// Whether a program can be run by name.
pub(crate) fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Runs a short command to its end.
///
/// # Errors
/// It is missing or fails; the text has what it said.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .process_group(0)
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{program} {}: {}", arguments.join(" "), said.trim()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A port that is free now. Another process may take it first; the start then fails loudly.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
