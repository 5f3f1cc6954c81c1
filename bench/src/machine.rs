//! Where and when figures were taken: they mean nothing elsewhere.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::Result;
use crate::figures::{Series, number};

/// One line about the machine, the disk under `folder`, and this moment.
pub(crate) fn line(folder: &Path) -> Result<String> {
    let cpu = field("/proc/cpuinfo", "model name")?;
    let cores = std::thread::available_parallelism()?;
    let memory: f64 =
        field("/proc/meminfo", "MemTotal")?.trim_end_matches(" kB").trim().parse::<f64>()? / 1e6;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let date = said("date", &["-u", "+%F %H:%M UTC"])?;
    let commit = said("git", &["describe", "--always", "--dirty", "--exclude=*"])
        .unwrap_or_else(|_| "unknown".into());
    let (mount, sync) = disk(folder)?;
    Ok(format!(
        "{cores} cores of {cpu}, Linux {}, {memory:.0} GB RAM, disk {mount} (append of 4 KiB and \
         fdatasync: median {} µs, p99 {} µs), {date}, commit {commit}",
        kernel.trim(),
        number(sync.median()),
        number(sync.percentile(99.0)),
    ))
}

/// Device and file system below a folder, and microseconds of small durable appends to it.
fn disk(folder: &Path) -> Result<(String, Series)> {
    let mut file = tempfile::tempfile_in(folder)?;
    let sync = (0..200).map(|_| durable_append(&mut file)).collect::<Result<Series>>()?;
    let folder = folder.canonicalize()?;
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mount = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (device, at, kind) = (fields.next()?, fields.next()?, fields.next()?);
            folder.starts_with(at).then(|| (at.len(), format!("{device} {kind}")))
        })
        .max()
        .map_or_else(|| "unknown".into(), |(_, name)| name);
    Ok((mount, sync))
}

fn durable_append(file: &mut File) -> Result<f64> {
    let start = Instant::now();
    file.write_all(&[7; 4096])?;
    file.sync_data()?;
    Ok(start.elapsed().as_secs_f64() * 1e6)
}

/// The first value of a name in a file of `name : value` lines.
fn field(file: &str, name: &str) -> Result<String> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.split_once(':')).ok_or_else(|| format!("no {name}"))?.1;
    Ok(value.trim().to_owned())
}

fn said(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output()?;
    if !output.status.success() {
        return Err(format!("{program} failed: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
