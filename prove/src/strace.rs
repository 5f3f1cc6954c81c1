//! Faults of system calls by strace: the service's own binary, on a machine that lies or fails.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::Result;
use crate::interrupt::poll;
use crate::server::has_program;

/// What this machine lacks, if anything.
pub(crate) fn missing() -> Option<String> {
    (!has_program("strace")).then(|| "no strace".into())
}

/// Starts a program under its own process id with every sync answered but not done.
pub(crate) fn without_sync() -> Vec<&'static str> {
    vec![
        "strace",
        "-D",
        "-f",
        "-qqq",
        "--seccomp-bpf",
        "-o",
        "/dev/null",
        "-e",
        "trace=fsync,fdatasync,sync_file_range,syncfs,msync",
        "-e",
        "inject=fsync,fdatasync,sync_file_range,syncfs,msync:retval=0",
    ]
}

/// What a sync does from the n-th on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SyncFault {
    /// Fails with EIO.
    Fails,
    /// Says that it succeeded and does nothing: the control.
    Lies,
}

/// A tracer attached to a running process. Detached on drop.
#[derive(Debug)]
pub(crate) struct Tracer {
    child: Child,
    log: std::path::PathBuf,
}

impl Tracer {
    /// Lets every sync fail from the `n`-th of a thread on, counted from now.
    ///
    /// # Errors
    /// strace cannot attach.
    pub(crate) fn attach(pid: u32, fault: SyncFault, n: u32, log: &Path) -> Result<Self> {
        let what = match fault {
            SyncFault::Fails => "error=EIO",
            SyncFault::Lies => "retval=0",
        };
        let inject = format!("inject=fsync,fdatasync:{what}:when={n}+");
        let child = Command::new("strace")
            .args(["-f", "-p", &pid.to_string(), "-e", "trace=fsync,fdatasync", "-e", &inject])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(log)?)
            .spawn()?;
        let tracer = Self { child, log: log.to_owned() };
        let attached =
            poll(Duration::from_secs(10), || tracer.said().contains("attached").then_some(()))?;
        attached.map(|()| tracer).ok_or_else(|| "strace does not attach".into())
    }

    /// Whether the fault has happened.
    pub(crate) fn fired(&self) -> bool {
        self.said().contains("(INJECTED)")
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // SIGINT lets strace detach; SIGKILL would, too, but leaves the tracee stopped at times.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        }
        if self.child.wait().is_err() {
            eprintln!("prove: strace could not be ended");
        }
    }
}
