//! Row 1: the power is cut while 16 writers run, again and again.
//!
//! The data directory lies on an ext4 of its own. A cut stops the file system dead
//! (`EXT4_IOC_SHUTDOWN` without a flush), the service is killed, the disk is mounted again as
//! after a boot, and everything promised before the cut began must be there. One cut in eight
//! hits the service while it starts. Every 15 cuts the disk is made anew, so that young and
//! grown stores are hit alike.
//!
//! Control: the same binary with every sync answered but not done must lose something.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use fastrand::Rng;

use super::{Context, Outcome};
use crate::disk::{self, Disk};
use crate::journal::{Breach, Findings, Ledger};
use crate::server::{Launch, Server};
use crate::verify::{Scope, verify};
use crate::workload::{self, Control};
use crate::{Result, interrupt, strace};

const WRITERS: usize = 16;
const CUTS_PER_DISK: u32 = 15;
const DISK_MEBIBYTES: u64 = 2048;
const START_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct Tally {
    cuts: u32,
    cuts_while_starting: u32,
    acknowledged: u64,
    contradictions: u64,
    findings: Findings,
}

/// Runs the row.
///
/// # Errors
/// The harness could not come to an end.
pub(crate) fn run(context: &Context) -> Result<Outcome> {
    if let Some(why) = disk::missing().or_else(strace::missing) {
        return Ok(Outcome::skipped(why));
    }
    let (cuts, enough) = context.count((150, 10_000), (12, 800));
    let mut rng = Rng::with_seed(context.seed() ^ 1);
    let launch = |data: &Path| context.service(data, "power");
    let tally = cut_power(context, &mut rng, cuts, launch)?;

    let lying =
        |data: &Path| context.service(data, "power-control").through(strace::without_sync());
    let control = cut_power(context, &mut rng, context.count(10, 4), lying)?;
    let caught = control.findings.total() > 0;

    let mut amiss = Vec::new();
    if tally.findings.total() > 0 {
        amiss.push(format!("broken promises: {}", tally.findings.examples().join("; ")));
    }
    if tally.acknowledged < enough {
        amiss.push(format!("only {} acknowledged, {enough} wanted", tally.acknowledged));
    }
    if tally.contradictions > 0 {
        amiss.push(format!("{} answers contradicted earlier ones", tally.contradictions));
    }
    Ok(Outcome::judged(&amiss, tally.tell(), caught, format!("no sync: {}", control.tell())))
}

impl Tally {
    fn tell(&self) -> String {
        format!(
            "{} cuts ({} while starting), {} acknowledged, {} maybes ({} had happened), {} reads: {}",
            self.cuts,
            self.cuts_while_starting,
            self.acknowledged,
            self.findings.doubts,
            self.findings.happened,
            self.findings.checked,
            self.findings
        )
    }
}

fn cut_power(
    context: &Context,
    rng: &mut Rng,
    cuts: u32,
    launch: impl Fn(&Path) -> Launch,
) -> Result<Tally> {
    let mut tally = Tally::default();
    while tally.cuts < cuts {
        let planned = CUTS_PER_DISK.min(cuts - tally.cuts);
        one_disk(context, rng, planned, &launch, &mut tally)?;
    }
    Ok(tally)
}

/// A new disk, and some cuts on it, each followed by a look at everything.
fn one_disk(
    context: &Context,
    rng: &mut Rng,
    cuts: u32,
    launch: &impl Fn(&Path) -> Launch,
    tally: &mut Tally,
) -> Result<()> {
    let mut disk = Disk::ext4(context.work(), "power", DISK_MEBIBYTES)?;
    let mut launch = launch(&disk.path().join("data"));
    // Every second disk is for a service that lets proofs be overwritten.
    let may_overwrite = (tally.cuts / CUTS_PER_DISK) % 2 == 1;
    if may_overwrite {
        launch = launch.with("STORAGE_WRITE_MODE", "overwrite");
    }
    let mut ledgers: Vec<Ledger> = (0..WRITERS).map(Ledger::new).collect();
    for _ in 0..cuts {
        interrupt::check()?;
        tally.cuts += 1;
        if rng.u32(0..8) == 0 {
            tally.cuts_while_starting += 1;
            cut_while_starting(&mut disk, &launch, rng)?;
        }
        let Some(server) = start_and_look(context, &launch, &mut ledgers, tally)? else {
            return Ok(());
        };
        cut_under_load(&mut disk, server, &mut ledgers, may_overwrite, rng, tally)?;
    }
    drop(start_and_look(context, &launch, &mut ledgers, tally)?);
    tally.acknowledged += ledgers.iter().map(Ledger::acknowledged).sum::<u64>();
    Ok(())
}

/// Starts the service and compares everything. A store that does not open has lost all that it
/// held: `None`, and a finding.
fn start_and_look(
    context: &Context,
    launch: &Launch,
    ledgers: &mut [Ledger],
    tally: &mut Tally,
) -> Result<Option<Server>> {
    let looked = launch.start_ready(START_LIMIT).and_then(|(server, _)| {
        let findings = verify(server.address(), ledgers, Scope::All)?;
        Ok((server, findings))
    });
    interrupt::check()?;
    match looked {
        Ok((server, findings)) => {
            if findings.total() > 0 {
                save(context, ledgers, tally.cuts)?;
            }
            tally.findings.merge(findings);
            Ok(Some(server))
        }
        Err(failure) => {
            let held: usize = ledgers.iter().map(|ledger| ledger.present().count()).sum();
            tally.findings.add(Breach::Lost, format!("the store of {held}: {failure}"));
            save(context, ledgers, tally.cuts)?;
            tally.acknowledged += ledgers.iter().map(Ledger::acknowledged).sum::<u64>();
            Ok(None)
        }
    }
}

fn cut_under_load(
    disk: &mut Disk,
    mut server: Server,
    ledgers: &mut [Ledger],
    may_overwrite: bool,
    rng: &mut Rng,
    tally: &mut Tally,
) -> Result<()> {
    let fuse = disk.arm()?;
    let pause = Duration::from_micros(rng.u64(20_000..500_000));
    let control = Control { may_overwrite, ..Control::default() };
    workload::run(server.address(), ledgers, rng.u64(..), &control, || {
        thread::sleep(pause);
        control.cutting.store(true, Ordering::SeqCst);
        let blown = fuse.blow();
        server.kill().and(blown)
    })?;
    tally.contradictions += control.contradictions.load(Ordering::Relaxed);
    disk.unmount()?;
    disk.mount()
}

/// The power fails again while the service recovers.
fn cut_while_starting(disk: &mut Disk, launch: &Launch, rng: &mut Rng) -> Result<()> {
    let fuse = disk.arm()?;
    let mut server = launch.start()?;
    thread::sleep(Duration::from_micros(rng.u64(0..60_000)));
    let blown = fuse.blow();
    server.kill().and(blown)?;
    disk.unmount()?;
    disk.mount()
}

fn save(context: &Context, ledgers: &[Ledger], cut: u32) -> Result<()> {
    for (number, ledger) in ledgers.iter().enumerate() {
        ledger.save(&context.work().join(format!("power-cut-{cut}-writer-{number}.journal")))?;
    }
    Ok(())
}
