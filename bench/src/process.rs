//! A child process that cannot outlive its owner, and what it cost so far.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Result;

/// How long a child may take to end by itself before it is killed.
const GRACE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(2);

/// A child and its children (nginx has workers). Dropping it ends them all.
pub(crate) struct Process {
    child: Child,
    name: String,
}

/// What a process and its children used since they began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    /// User and system time.
    pub(crate) cpu_seconds: f64,
    /// Resident now, in bytes.
    pub(crate) resident: u64,
    /// Most ever resident, in bytes (`VmHWM`); of several processes the sum of each one's most.
    pub(crate) peak_resident: u64,
}

impl Process {
    /// Starts a command without input; what it prints goes to our standard error.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start {name}: {error}"))?;
        Ok(Self { child, name })
    }

    /// Waits until something listens on the address.
    pub(crate) fn wait_listening(&mut self, address: SocketAddr, limit: Duration) -> Result<()> {
        self.wait_until(limit, || TcpStream::connect(address).is_ok())
    }

    /// Waits until `ready`; an error where the process ends before, or is not ready in time.
    pub(crate) fn wait_until(
        &mut self,
        limit: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < limit {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("{} ended at its start: {status}", self.name).into());
            }
            if ready() {
                return Ok(());
            }
            sleep(POLL);
        }
        Err(format!("{} was not ready after {limit:?}", self.name).into())
    }

    /// What it used so far.
    pub(crate) fn cost(&self) -> Cost {
        let mut total = Cost::default();
        for pid in self.family() {
            // a worker that ended between the listing and here used nothing that we know of
            let Some(cost) = cost_of(pid) else { continue };
            total.cpu_seconds += cost.cpu_seconds;
            total.resident += cost.resident;
            total.peak_resident += cost.peak_resident;
        }
        total
    }

    /// Asks it to end (SIGTERM) and waits.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM);
        if self.wait_end() {
            return Ok(());
        }
        Err(format!("{} did not end {GRACE:?} after SIGTERM", self.name).into())
    }

    /// Kills it (SIGKILL) and waits: nothing of its own runs any more.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = pid(self.child.id()) {
            // fails only where it has ended already, which is what is wanted
            let _ = kill_process(pid, signal);
        }
    }

    fn wait_end(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < GRACE {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            sleep(POLL);
        }
        false
    }

    /// The child and its own children.
    fn family(&self) -> Vec<u32> {
        let child = self.child.id();
        let listed = fs::read_to_string(format!("/proc/{child}/task/{child}/children"));
        let listed = listed.unwrap_or_default();
        let mut family = vec![child];
        family.extend(listed.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        family
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let family = self.family();
        self.signal(Signal::TERM);
        if self.wait_end() {
            return;
        }
        for member in family.into_iter().filter_map(pid) {
            let _ = kill_process(member, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on. Another process may take it before it is used: the start of the
/// server then fails, and with it the run.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}

fn pid(number: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number).ok()?)
}

/// What one process used; none where it is gone.
pub(crate) fn cost_of(pid: u32) -> Option<Cost> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // the name in parentheses may hold anything; utime and stime are the 14th and 15th field
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let bytes = |name: &str| -> Option<u64> {
        let line = status.lines().find(|line| line.starts_with(name))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
    };
    Some(Cost {
        cpu_seconds: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
        resident: bytes("VmRSS:")?,
        peak_resident: bytes("VmHWM:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_ends_with_its_owner() {
        let process = Process::start(Command::new("sleep").arg("600")).unwrap();
        let child = process.child.id();
        assert!(process.cost().peak_resident > 0);
        drop(process);
        assert!(cost_of(child).is_none(), "still there after the drop");
    }

    #[test]
    fn a_child_that_ends_at_once_is_not_waited_for() {
        let mut process = Process::start(&mut Command::new("false")).unwrap();
        let refused = process.wait_until(Duration::from_secs(60), || false).unwrap_err();
        assert!(refused.to_string().contains("ended at its start"), "{refused}");
    }
}
