//! Row 4: a disk that is full, and a disk that fails to sync.
//!
//! Full: on an ext4 image and on a tmpfs of 64 MiB clients store until all are refused. Refusals
//! must be problems with the right code, reads and deletes must go on, and after a kill and a
//! start everything acknowledged is there.
//!
//! EIO: from the N-th sync on, for N = 1 to 50, every sync fails. From the first refusal on no
//! write may be acknowledged, reads go on, and readiness is gone. Then the *power is cut*, which
//! takes what was never synced: a false acknowledgement is a loss, not a matter of opinion.
//!
//! Controls: a store that acknowledges what the full disk refused, and the service on a disk
//! that says "synced" and is not. Both must lose.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::{Context, Outcome};
use crate::client::{Answer, CallError, Client, Sha};
use crate::corpus;
use crate::disk::{self, Disk};
use crate::journal::{Change, Findings, Ledger};
use crate::server::{Launch, Server};
use crate::strace::{self, SyncFault, Tracer};
use crate::verify::{Scope, verify};
use crate::{Failure, Result, interrupt};

const CLIENTS: usize = 8;
const START_LIMIT: Duration = Duration::from_secs(30);
/// Refusals in a row after which a client takes the disk for full.
const FULL_AFTER: u32 = 10;
/// How soon after a failed sync the service must call itself not ready.
const UNREADY_WITHIN: Duration = Duration::from_secs(3);
/// Stores tried before the fault must have come.
const FAULT_WITHIN: u32 = 400;

/// Answers by status and code.
type Labels = BTreeMap<String, u64>;

/// Runs the row.
///
/// # Errors
/// The harness could not come to an end.
pub(crate) fn run(context: &Context) -> Result<Outcome> {
    if let Some(why) = disk::missing().or_else(strace::missing) {
        return Ok(Outcome::skipped(why));
    }
    let mut amiss = Vec::new();
    let mut counts = Vec::new();
    for kind in ["ext4", "tmpfs"] {
        let full = fill_disk(context, kind, |disk| {
            Ok(context.service(&disk.path().join("data"), &format!("full-{kind}")))
        })?;
        amiss.extend(full.amiss(kind));
        counts.push(format!("{kind} full: {}", full.tell()));
    }
    let last = context.count(50, 8);
    let failing = fail_syncs(context, SyncFault::Fails, last)?;
    amiss.extend(failing.amiss());
    counts.push(format!("EIO at sync 1 to {last}: {}", failing.tell()));

    let ignoring = fill_disk(context, "tmpfs", |disk| {
        context.stand_in("ignore-errors", &disk.path().join("data"), "full-control")
    })?;
    let lying = fail_syncs(context, SyncFault::Lies, context.count(10, 3))?;
    let caught = ignoring.findings.total() > 0 && lying.findings.total() > 0;
    let control = format!(
        "a store that ignores ENOSPC: {}; syncs that lie: {}",
        ignoring.findings, lying.findings
    );
    Ok(Outcome::judged(&amiss, counts.join(". "), caught, control))
}

#[derive(Debug, Default)]
struct FullDisk {
    acknowledged: u64,
    refusals: Labels,
    reads: u64,
    failed_reads: Labels,
    deletes: u64,
    failed_deletes: Labels,
    stored_after_deletes: bool,
    findings: Findings,
}

impl FullDisk {
    fn amiss(&self, kind: &str) -> Vec<String> {
        let mut amiss = Vec::new();
        if self.findings.total() > 0 {
            amiss.push(format!("{kind}: broken promises: {}", self.findings.examples().join("; ")));
        }
        if !self.refusals.contains_key("507 QUOTA_EXCEEDED") {
            amiss.push(format!("{kind}: no 507 QUOTA_EXCEEDED"));
        }
        let known = ["507 QUOTA_EXCEEDED", "503 UNAVAILABLE"];
        let strange = self.refusals.keys().filter(|label| !known.contains(&label.as_str()));
        amiss.extend(strange.map(|label| format!("{kind}: refused with {label}")));
        for (what, failed) in [("reads", &self.failed_reads), ("deletes", &self.failed_deletes)] {
            if !failed.is_empty() {
                amiss.push(format!("{kind}: {what} failed: {failed:?}"));
            }
        }
        amiss
    }

    fn tell(&self) -> String {
        format!(
            "{} acknowledged, refused {:?}, {} of {} reads and {} of {} deletes went on, stores \
             after the deletes {}, after kill and start {}",
            self.acknowledged,
            self.refusals,
            self.reads - self.failed_reads.values().sum::<u64>(),
            self.reads,
            self.deletes - self.failed_deletes.values().sum::<u64>(),
            self.deletes,
            if self.stored_after_deletes { "accepted" } else { "still refused" },
            self.findings
        )
    }
}

fn fill_disk(
    context: &Context,
    kind: &str,
    launch: impl Fn(&Disk) -> Result<Launch>,
) -> Result<FullDisk> {
    let disk = match kind {
        "ext4" => Disk::ext4(context.work(), "full", 64)?,
        _ => Disk::tmpfs(context.work(), "full", 64)?,
    };
    let launch = launch(&disk)?;
    let (mut server, _) = launch.start_ready(START_LIMIT)?;
    let mut ledgers: Vec<Ledger> = (0..CLIENTS).map(Ledger::new).collect();
    let mut full = FullDisk::default();

    let seed = context.seed() ^ 4;
    let refusals: Vec<Result<Labels>> = thread::scope(|scope| {
        let fill = |(number, ledger)| {
            let address = server.address();
            scope.spawn(move || store_until_refused(address, ledger, seed ^ number as u64))
        };
        let handles: Vec<_> = ledgers.iter_mut().enumerate().map(fill).collect();
        handles
            .into_iter()
            .map(|h| h.join().unwrap_or_else(|_| Err(Failure::from("a client panicked"))))
            .collect()
    });
    for labels in refusals {
        labels?.into_iter().for_each(|(label, n)| *full.refusals.entry(label).or_default() += n);
    }
    full.acknowledged = ledgers.iter().map(Ledger::acknowledged).sum();
    read_and_delete(server.address(), &mut ledgers, &mut full)?;

    // Whether space comes back at once is the engine's affair: told, not judged.
    let mut client = Client::new(server.address());
    let answer = client.put("w00/after", "text/plain", b"after the deletes", None);
    full.stored_after_deletes = answer.as_ref().is_ok_and(Answer::is_success);
    let change = vec![Change::put("w00/after", Sha::of(b"after the deletes"))];
    note(&mut ledgers[0], change, &answer);

    server.kill()?;
    let (server, _) = launch.start_ready(START_LIMIT)?;
    full.findings = verify(server.address(), &mut ledgers, Scope::All)?;
    Ok(full)
}

/// Stores until refused several times in a row; gives the refusals.
fn store_until_refused(address: SocketAddr, ledger: &mut Ledger, seed: u64) -> Result<Labels> {
    let mut client = Client::new(address);
    let mut rng = Rng::with_seed(seed);
    let mut refusals = Labels::new();
    let mut in_a_row = 0;
    let start = Instant::now();
    let mut stored = 0;
    // The control is never refused: twice what the disk holds is enough.
    while in_a_row < FULL_AFTER && stored < 128 << 20 {
        interrupt::check()?;
        if start.elapsed() > Duration::from_secs(60) {
            return Err("the disk does not get full".into());
        }
        let size = rng.usize(4_000..200_000);
        let proof = corpus::sized(&mut rng, size);
        let key = format!("{}{:016x}{}", ledger.prefix(), rng.u64(..), proof.extension);
        let answer = client.put(&key, proof.content_type, &proof.body, None);
        let change = vec![Change::put(&key, Sha::of(&proof.body))];
        if note(ledger, change, &answer) {
            in_a_row = 0;
            stored += proof.body.len() * CLIENTS;
        } else {
            in_a_row += 1;
            *refusals.entry(label(&answer)).or_default() += 1;
        }
    }
    Ok(refusals)
}

/// Reads all that is certain, and deletes each third of it.
fn read_and_delete(address: SocketAddr, ledgers: &mut [Ledger], full: &mut FullDisk) -> Result<()> {
    let mut client = Client::new(address);
    for ledger in ledgers {
        interrupt::check()?;
        let keys: Vec<(String, Sha)> = ledger.present().map(|(k, s)| (k.to_owned(), s)).collect();
        for (number, (key, sha)) in keys.iter().enumerate() {
            full.reads += 1;
            let answer = client.get(key);
            if !answer.as_ref().is_ok_and(|a| a.status() == 200 && Sha::of(&a.body) == *sha) {
                *full.failed_reads.entry(label(&answer)).or_default() += 1;
            }
            if number % 3 == 0 {
                full.deletes += 1;
                let answer = client.delete(key);
                if !note(ledger, vec![Change::delete(key)], &answer) {
                    *full.failed_deletes.entry(label(&answer)).or_default() += 1;
                }
            }
        }
    }
    Ok(())
}

#[derive(Debug, Default)]
struct FailingSyncs {
    rounds: u32,
    acknowledged: u64,
    acknowledged_after_refusal: u64,
    /// Of the write whose sync failed: it may have happened, so 502 is right, too.
    first_refusals: Labels,
    /// Of later ones.
    refusals: Labels,
    never_fired: u32,
    failed_reads: u64,
    reads: u64,
    ready_after: Labels,
    slowest_unready: Duration,
    not_alive: u32,
    findings: Findings,
}

impl FailingSyncs {
    fn amiss(&self) -> Vec<String> {
        let mut amiss = Vec::new();
        if self.findings.total() > 0 {
            amiss.push(format!("EIO: broken promises: {}", self.findings.examples().join("; ")));
        }
        if self.acknowledged_after_refusal > 0 {
            amiss.push(format!("EIO: {} acknowledged later", self.acknowledged_after_refusal));
        }
        if self.never_fired > 0 {
            amiss.push(format!("EIO: no refusal in {} rounds", self.never_fired));
        }
        if self.failed_reads > 0 {
            amiss.push(format!("EIO: {} reads failed", self.failed_reads));
        }
        if self.not_alive > 0 {
            amiss.push(format!("EIO: /health was not 200 in {} rounds", self.not_alive));
        }
        let unready = |label: &&String| !label.starts_with("503 ");
        amiss.extend(
            self.ready_after.keys().filter(unready).map(|l| format!("EIO: ready said {l}")),
        );
        let known = ["502 BACKEND_ERROR", "503 UNAVAILABLE"];
        let strange = self.first_refusals.keys().filter(|label| !known.contains(&label.as_str()));
        let strange = strange.chain(self.refusals.keys().filter(|label| *label != known[1]));
        amiss.extend(strange.map(|label| format!("EIO: refused with {label}")));
        amiss
    }

    fn tell(&self) -> String {
        format!(
            "{} rounds, {} acknowledged before, {} after the first refusal, refused first {:?}, then \
             {:?}, {} of {} reads went on, readiness {:?} within {:.1} s, after a power cut {}",
            self.rounds,
            self.acknowledged,
            self.acknowledged_after_refusal,
            self.first_refusals,
            self.refusals,
            self.reads - self.failed_reads,
            self.reads,
            self.ready_after,
            self.slowest_unready.as_secs_f32(),
            self.findings
        )
    }
}

/// One round for each N on the same disk, so that failures pile up.
fn fail_syncs(context: &Context, fault: SyncFault, last: u32) -> Result<FailingSyncs> {
    let mut disk = Disk::ext4(context.work(), "sync", 512)?;
    let launch = context.service(&disk.path().join("data"), &format!("sync-{fault:?}"));
    let mut ledgers = vec![Ledger::new(0)];
    let mut rng = Rng::with_seed(context.seed() ^ 40);
    let mut tally = FailingSyncs::default();
    for n in 1..=last {
        interrupt::check()?;
        tally.rounds += 1;
        let (mut server, _) = launch.start_ready(START_LIMIT)?;
        tally.findings.merge(verify(server.address(), &mut ledgers, Scope::All)?);
        let fuse = disk.arm()?;
        let log = context.work().join("strace.log");
        let tracer = Tracer::attach(server.pid(), fault, n, &log)?;
        one_round(&server, fault, n, &mut ledgers[0], &mut rng, &mut tally)?;
        if !tracer.fired() {
            tally.never_fired += 1;
        }
        let blown = fuse.blow();
        server.kill().and(blown)?;
        drop(tracer);
        disk.unmount()?;
        disk.mount()?;
    }
    let (server, _) = launch.start_ready(START_LIMIT)?;
    tally.findings.merge(verify(server.address(), &mut ledgers, Scope::All)?);
    Ok(tally)
}

/// Stores one after another until the first refusal, then asks what still goes.
fn one_round(
    server: &Server,
    fault: SyncFault,
    n: u32,
    ledger: &mut Ledger,
    rng: &mut Rng,
    tally: &mut FailingSyncs,
) -> Result<()> {
    let mut client = Client::new(server.address());
    let mut refused = false;
    // The control never refuses: as many stores as the fault needs, and some for it to lose.
    let tries = if fault == SyncFault::Lies { n + 20 } else { FAULT_WITHIN };
    for _ in 0..tries {
        refused = !store_or_delete(&mut client, ledger, rng, &mut tally.first_refusals);
        if refused {
            break;
        }
        tally.acknowledged += 1;
    }
    if fault == SyncFault::Lies {
        return Ok(());
    }
    if !refused {
        tally.never_fired += 1;
        return Ok(());
    }
    for _ in 0..6 {
        if store_or_delete(&mut client, ledger, rng, &mut tally.refusals) {
            tally.acknowledged_after_refusal += 1;
        }
    }
    let keys: Vec<(String, Sha)> = ledger.present().map(|(k, s)| (k.to_owned(), s)).collect();
    for (key, sha) in keys.iter().take(20) {
        tally.reads += 1;
        let answer = client.get(key);
        if !answer.is_ok_and(|a| a.status() == 200 && Sha::of(&a.body) == *sha) {
            tally.failed_reads += 1;
        }
    }
    // Readiness comes from a probe that runs once a second.
    let asked = Instant::now();
    let unready = interrupt::poll(UNREADY_WITHIN, || {
        let ready = label(&client.call("GET", "/health/ready", &[], b""));
        ready.starts_with("503 ").then_some(ready)
    })?;
    tally.slowest_unready = tally.slowest_unready.max(asked.elapsed());
    *tally.ready_after.entry(unready.unwrap_or_else(|| "200".into())).or_default() += 1;
    if !client.call("GET", "/health", &[], b"").is_ok_and(|answer| answer.status() == 200) {
        tally.not_alive += 1;
    }
    Ok(())
}

/// One write; `true` where it was acknowledged.
fn store_or_delete(
    client: &mut Client,
    ledger: &mut Ledger,
    rng: &mut Rng,
    refusals: &mut Labels,
) -> bool {
    let victim = ledger.present().nth(rng.usize(..50)).map(|(key, _)| key.to_owned());
    let (answer, change) = match victim {
        Some(key) if rng.u32(0..5) == 0 => (client.delete(&key), Change::delete(&key)),
        _ => {
            let proof = corpus::usual(rng);
            let key = format!("{}{:016x}{}", ledger.prefix(), rng.u64(..), proof.extension);
            let answer = client.put(&key, proof.content_type, &proof.body, None);
            (answer, Change::put(&key, Sha::of(&proof.body)))
        }
    };
    let acknowledged = note(ledger, vec![change], &answer);
    if !acknowledged {
        *refusals.entry(label(&answer)).or_default() += 1;
    }
    acknowledged
}

fn note(
    ledger: &mut Ledger,
    changes: Vec<Change>,
    answer: &std::result::Result<Answer, CallError>,
) -> bool {
    let acknowledged = answer.as_ref().is_ok_and(Answer::is_success);
    if acknowledged {
        ledger.acknowledge("write", changes);
    } else {
        ledger.doubt("write", changes, true, &label(answer));
    }
    acknowledged
}

fn label(answer: &std::result::Result<Answer, CallError>) -> String {
    match answer {
        Ok(answer) => answer.label(),
        Err(error) => error.to_string(),
    }
}
