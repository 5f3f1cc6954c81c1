//! Row 3: files of a closed store are damaged, and everything is read back.
//!
//! Two stores with the same history of puts, overwrites and deletes are damaged: *young*, whose
//! files are as a kill left them and whose objects are all in the journal; and *grown*, closed,
//! with its objects in tables and blob files. Each case restores the files, damages one, opens
//! the store and reads everything with the check that the vault makes (sha-256 of the stored
//! bytes). What may come of it is told by [`Verdict`].
//!
//! The cases run in processes of their own, so that an abort is a finding and not the end.
//!
//! Control: the same flips read by a reader without checks, straight from where the bytes lie,
//! must give wrong bytes.

mod damage;
mod history;
mod image;
mod observe;
mod tally;

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use fastrand::Rng;

use self::damage::{Damage, Kind};
use self::history::{Age, History};
use self::image::Image;
use self::tally::{Tally, Verdict};
use super::{Context, Outcome};
use crate::{Failure, Result, interrupt};

/// A share of the cases, for a process of its own.
#[derive(Debug, clap::Args)]
pub(crate) struct SweepArguments {
    /// Folder with the two stores
    #[arg(long)]
    stores: PathBuf,
    /// Folder to damage copies in
    #[arg(long)]
    scratch: PathBuf,
    #[arg(long)]
    seed: u64,
    /// This process runs the cases whose number leaves this rest …
    #[arg(long)]
    share: u64,
    /// … when divided by this
    #[arg(long)]
    shares: u64,
    #[arg(long)]
    flips: u64,
    #[arg(long)]
    truncations: u64,
    #[arg(long)]
    swaps: u64,
    #[arg(long)]
    zeroed: u64,
}

/// How many cases of each kind.
#[derive(Clone, Copy, Debug)]
struct Cases {
    flips: u64,
    truncations: u64,
    swaps: u64,
    zeroed: u64,
}

/// Runs the row.
///
/// # Errors
/// The harness could not come to an end.
pub(crate) fn run(context: &Context) -> Result<Outcome> {
    let cases = context.count(
        Cases { flips: 10_000, truncations: 4_096, swaps: 100, zeroed: 400 },
        Cases { flips: 400, truncations: 128, swaps: 20, zeroed: 40 },
    );
    // In memory where there is such a folder: thousands of small syncs show nothing here.
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory } else { context.work() };
    let folder = tempfile::Builder::new().prefix("prove-damage-").tempdir_in(parent)?;
    for age in Age::ALL {
        History::write(folder.path(), age, context.seed())?;
    }
    let tally = sweep_in_processes(context, folder.path(), cases)?;
    let control = read_without_checks(folder.path(), context.seed(), context.count(2_000, 200))?;

    let mut amiss = tally.amiss();
    let planned = cases.flips + cases.truncations + cases.swaps + cases.zeroed;
    if tally.cases() != planned {
        amiss.push(format!("{} of {planned} cases were run", tally.cases()));
    }
    let told = format!("a reader without checks took wrong bytes in {control} flips");
    Ok(Outcome::judged(&amiss, tally.to_string(), control > 0, told))
}

fn sweep_in_processes(context: &Context, stores: &Path, cases: Cases) -> Result<Tally> {
    let shares = thread::available_parallelism().map_or(1, usize::from) as u64;
    let mut tally = Tally::default();
    let mut workers = Vec::new();
    for share in 0..shares {
        let words = [
            ("--stores", stores.display().to_string()),
            ("--scratch", stores.join(format!("scratch-{share}")).display().to_string()),
            ("--seed", context.seed().to_string()),
            ("--share", share.to_string()),
            ("--shares", shares.to_string()),
            ("--flips", cases.flips.to_string()),
            ("--truncations", cases.truncations.to_string()),
            ("--swaps", cases.swaps.to_string()),
            ("--zeroed", cases.zeroed.to_string()),
        ];
        let child = Command::new(std::env::current_exe()?)
            .arg("sweep")
            .args(words.into_iter().flat_map(|(name, value)| [name.to_owned(), value]))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(context.work().join(format!("sweep-{share}.log")))?)
            .process_group(0)
            .spawn()?;
        workers.push(Worker(child));
    }
    let read: Vec<Result<Tally>> = thread::scope(|scope| {
        let handles: Vec<_> =
            workers.iter_mut().map(|worker| scope.spawn(|| worker.tally())).collect();
        handles
            .into_iter()
            .map(|h| h.join().unwrap_or_else(|_| Err(Failure::from("a reader panicked"))))
            .collect()
    });
    for share in read {
        tally.merge(share?);
    }
    Ok(tally)
}

/// A process with a share of the cases. Killed on drop.
#[derive(Debug)]
struct Worker(Child);

impl Worker {
    /// Reads one line a case until the process ends. A process that dies is a finding.
    fn tally(&mut self) -> Result<Tally> {
        let lines = BufReader::new(self.0.stdout.take().ok_or("no standard output")?).lines();
        let mut tally = Tally::default();
        let mut running = String::new();
        for line in lines {
            interrupt::check()?;
            let line = line?;
            match line.strip_prefix("case ") {
                Some(name) => name.clone_into(&mut running),
                None => tally.add_line(&running, &line)?,
            }
        }
        let status = self.0.wait()?;
        if !status.success() {
            tally.died(&running, &status.to_string());
        }
        Ok(tally)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Ended already, as a rule.
        let _ = self.0.kill();
        if self.0.wait().is_err() {
            eprintln!("prove: process {} could not be ended", self.0.id());
        }
    }
}

/// Runs a share of the cases; prints its name before each and its verdict after it.
///
/// # Errors
/// The stores cannot be read or the scratch folder not written.
pub(crate) fn sweep(arguments: &SweepArguments) -> Result<()> {
    // Panics that the store fences are counted, not printed.
    tally::count_panics();
    let images = Age::ALL.map(|age| Image::read(&arguments.stores, age));
    let [young, grown] = images;
    let (young, grown) = (young?, grown?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    for (number, kind, image) in plan(arguments, &young, &grown) {
        let mut rng = Rng::with_seed(arguments.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let damage = Damage::choose(kind, image, &mut rng)?;
        println!("case {number} {} {damage}", image.age());
        image.restore(&arguments.scratch)?;
        damage.apply(&arguments.scratch)?;
        let panics = tally::panics();
        let seen = observe::observe(&runtime, &arguments.scratch, image.history());
        let verdict = Verdict::of(image, &damage, &seen);
        println!("{}", tally::line(kind, &verdict, tally::panics() - panics));
    }
    Ok(())
}

/// All cases of this share, numbered over all shares. Flips alternate between the stores.
fn plan<'a>(
    arguments: &SweepArguments,
    young: &'a Image,
    grown: &'a Image,
) -> impl Iterator<Item = (u64, Kind, &'a Image)> {
    let either = move |n: u64| if n.is_multiple_of(2) { young } else { grown };
    let (share, shares) = (arguments.share, arguments.shares);
    let flips = (0..arguments.flips).map(move |n| (Kind::Flip, either(n)));
    let longest = arguments.truncations;
    let truncations = (0..longest).map(move |n| {
        // The reduced run spreads its cuts over the same 4 KiB.
        (Kind::Truncate { by: 1 + n * 4_096 / longest }, young)
    });
    let swaps = (0..arguments.swaps).map(move |n| (Kind::Swap, either(n / 2)));
    let zeroed = (0..arguments.zeroed).map(move |n| (Kind::Zero, either(n)));
    flips
        .chain(truncations)
        .chain(swaps)
        .chain(zeroed)
        .zip(0..)
        .map(|((kind, image), number)| (number, kind, image))
        .filter(move |(number, ..)| number % shares == share)
}

/// The control: flips in the places where bodies lie, read by nobody who checks.
fn read_without_checks(stores: &Path, seed: u64, flips: u64) -> Result<u64> {
    let mut wrong = 0;
    for age in Age::ALL {
        let image = Image::read(stores, age)?;
        let places = image.bodies();
        let mut rng = Rng::with_seed(seed ^ 3);
        for _ in 0..flips / 2 {
            interrupt::check()?;
            let damage = Damage::choose(Kind::Flip, &image, &mut rng)?;
            wrong += u64::from(image.fools_raw_reader(&places, &damage));
        }
    }
    Ok(wrong)
}
