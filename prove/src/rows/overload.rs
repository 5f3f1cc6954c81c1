//! Row 10: ten times as many requests as the service gets done.
//!
//! The service has one core and the callers another, so that what it takes to ask is not taken from
//! what it takes to answer. Each request reads a JSON proof of 1 MiB that is kept as gzip, inflated: a
//! few milliseconds of work, all of it the processor's. The peak is what 32 callers get who ask again
//! as soon as they are answered. Then ten times that rate is sent, whatever comes back: an open loop,
//! in which nobody waits. An answer is *good* when it is 200, whole and there within 2 s. Every refusal
//! must say `Retry-After`. (The memory budget is raised, which would refuse too, and later.)
//!
//! Control: the same with room for a million requests at once, which is none of what is tried here.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::{Context, Outcome};
use crate::client::{self, Client};
use crate::server::{Launch, has_program, run as run_program};
use crate::{Result, interrupt};

const START_LIMIT: Duration = Duration::from_secs(30);
const KEY: &str = "overload/large.json";
const BYTES: usize = 1 << 20;
/// An answer that comes later is of no use any more.
const PATIENCE: Duration = Duration::from_secs(2);
const CALLERS: usize = 32;
const FACTOR: f64 = 10.0;
/// Connections for the open loop. One that finds none free is counted as not sent.
const CONNECTIONS: usize = 2_000;
/// Time until it is normal again may be this.
const RECOVERY: Duration = Duration::from_secs(2);
const REFUSAL_LIMIT: Duration = Duration::from_millis(20);
const GOODPUT: f64 = 0.9;

/// Runs the row.
///
/// # Errors
/// The harness could not come to an end.
pub(crate) fn run(context: &Context) -> Result<Outcome> {
    let Some([first, second]) = two_cores() else {
        return Ok(Outcome::skipped("needs two cores"));
    };
    if !has_program("taskset") {
        return Ok(Outcome::skipped("needs taskset, of util-linux"));
    }
    let data = context.work().join("overload");
    let service = context
        .service(&data, "overload")
        .with("STORAGE_MEMORY_BUDGET", "4GiB")
        .through(["taskset", "--cpu-list", &first.to_string()]);
    let (peak_for, loaded_for) = context.count((10, 60), (3, 8));
    let times = [Duration::from_secs(peak_for), Duration::from_secs(loaded_for)];
    let of_control = [times[0], times[1].min(Duration::from_secs(8))];
    let tally = measure(&service, second, times)?;
    let unlimited = service.with("STORAGE_MAX_REQUESTS", "1000000");
    let control = measure(&unlimited, second, of_control)?;
    std::fs::remove_dir_all(&data)?;
    let caught = !control.amiss().is_empty();
    let told = format!("without a limit of requests: {}", control.amiss().join("; "));
    Ok(Outcome::judged(&tally.amiss(), tally.tell(), caught, told))
}

/// Two that this process may run on.
fn two_cores() -> Option<[usize; 2]> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut cores = list.trim().split(',').flat_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        first.parse::<usize>().unwrap_or(0)..=last.parse().unwrap_or(0)
    });
    Some([cores.next()?, cores.next()?])
}

/// Keeps this thread on a core.
fn stay_on(core: usize) -> Result<()> {
    // <process>/task/<thread>
    let link = std::fs::read_link("/proc/thread-self")?;
    let thread = link.file_name().ok_or("no thread")?.to_string_lossy().into_owned();
    run_program("taskset", &["--cpu-list", "--pid", &core.to_string(), &thread])?;
    Ok(())
}

/// What was measured.
#[derive(Debug)]
struct Tally {
    peak: f64,
    offered: f64,
    good: f64,
    late: u64,
    refused: Vec<Duration>,
    without_retry: u64,
    broken: u64,
    first_broken: String,
    not_sent: u64,
    sent: u64,
    recovered: Option<Duration>,
}

impl Tally {
    fn share(&self) -> f64 {
        self.good / self.peak
    }

    fn refusal_p99(&self) -> Duration {
        let mut sorted = self.refused.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() * 99 / 100).copied().unwrap_or_default()
    }

    fn amiss(&self) -> Vec<String> {
        let mut amiss = Vec::new();
        if self.share() < GOODPUT {
            amiss.push(format!("goodput {:.0} % of peak", self.share() * 100.0));
        }
        let p99 = self.refusal_p99();
        if p99 > REFUSAL_LIMIT {
            amiss.push(format!("refusals took {p99:.1?} at p99"));
        }
        if self.without_retry > 0 {
            amiss.push(format!("{} refusals without Retry-After", self.without_retry));
        }
        if self.broken > 0 {
            amiss.push(format!("{} broken: {}", self.broken, self.first_broken));
        }
        match self.recovered {
            Some(time) if time <= RECOVERY => {}
            Some(time) => amiss.push(format!("normal again after {time:.1?}")),
            None => amiss.push("not normal again within 20 s".into()),
        }
        if self.not_sent > self.sent / 20 {
            amiss.push(format!(
                "{} of {} requests found no free connection",
                self.not_sent, self.sent
            ));
        }
        amiss
    }

    fn tell(&self) -> String {
        format!(
            "peak {:.0}/s, {:.0}/s offered: {:.0}/s good ({:.0} %), {} too late, {} refused in {:.1?} at \
             p99, all with Retry-After, {} broken, {} not sent; normal again after {:.1?}",
            self.peak,
            self.offered,
            self.good,
            self.share() * 100.0,
            self.late,
            self.refused.len(),
            self.refusal_p99(),
            self.broken,
            self.not_sent,
            self.recovered.unwrap_or_default()
        )
    }
}

fn measure(service: &Launch, core: usize, [peak_for, loaded_for]: [Duration; 2]) -> Result<Tally> {
    let (server, _) = service.start_ready(START_LIMIT)?;
    let address = server.address();
    let stored = Client::new(address).put(KEY, "application/json", &large_json(), None)?;
    if !stored.is_success() {
        return Err(format!("storing answered {}", stored.label()).into());
    }
    // A thread of its own, because it keeps its core.
    let measured = std::thread::spawn(move || -> Result<Tally> {
        stay_on(core)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tasks = tokio::task::LocalSet::new();
        tasks.block_on(&runtime, load(address, peak_for, loaded_for))
    });
    let tally = measured.join().map_err(|_| "the callers panicked")??;
    interrupt::check()?;
    Ok(tally)
}

async fn load(address: SocketAddr, peak_for: Duration, loaded_for: Duration) -> Result<Tally> {
    closed_loop(address, Duration::from_secs(1)).await;
    let peak = closed_loop(address, peak_for).await;
    let mut quiet = Vec::new();
    let mut caller = Caller::new(address);
    for _ in 0..20 {
        quiet.push(caller.call().await.took);
    }
    quiet.sort_unstable();
    let usual = (quiet[quiet.len() / 2] * 5).max(Duration::from_millis(50));
    let mut tally = open_loop(address, peak, loaded_for).await;
    tally.recovered = recovery(&mut caller, usual).await;
    Ok(tally)
}

/// Good answers a second to callers that ask again at once.
async fn closed_loop(address: SocketAddr, time: Duration) -> f64 {
    let until = Instant::now() + time;
    let callers = (0..CALLERS).map(|_| {
        tokio::task::spawn_local(async move {
            let (mut caller, mut good) = (Caller::new(address), 0_u64);
            while Instant::now() < until {
                good += u64::from(caller.call().await.is_good());
            }
            good
        })
    });
    let mut good = 0;
    for caller in callers.collect::<Vec<_>>() {
        good += caller.await.unwrap_or_default();
    }
    good as f64 / time.as_secs_f64()
}

/// Ten times the peak, sent whatever comes back.
async fn open_loop(address: SocketAddr, peak: f64, time: Duration) -> Tally {
    let free: Rc<RefCell<Vec<Caller>>> = Rc::default();
    let told: Rc<RefCell<Vec<Told>>> = Rc::default();
    let rate = peak * FACTOR;
    let (mut sent, mut not_sent, mut made) = (0_u64, 0_u64, 0);
    let start = Instant::now();
    let mut ticks = interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while start.elapsed() < time {
        ticks.tick().await;
        let due = (start.elapsed().as_secs_f64() * rate) as u64;
        while sent < due {
            sent += 1;
            let caller = free.borrow_mut().pop();
            let caller = match caller {
                Some(caller) => Some(caller),
                None if made < CONNECTIONS => {
                    made += 1;
                    Some(Caller::new(address))
                }
                None => None,
            };
            let Some(mut caller) = caller else {
                not_sent += 1;
                continue;
            };
            let (free, told) = (Rc::clone(&free), Rc::clone(&told));
            tokio::task::spawn_local(async move {
                let answer = caller.call().await;
                told.borrow_mut().push(answer);
                free.borrow_mut().push(caller);
            });
        }
    }
    let took = start.elapsed().as_secs_f64();
    // What is still under way counts where it comes in time; the load itself is over.
    let told_by_then = told.borrow().len();
    let mut tally = Tally {
        peak,
        offered: sent as f64 / took,
        good: 0.0,
        late: 0,
        refused: Vec::new(),
        without_retry: 0,
        broken: 0,
        first_broken: String::new(),
        not_sent,
        sent,
        recovered: None,
    };
    let mut good = 0_u64;
    for answer in &told.borrow()[..told_by_then] {
        match &answer.end {
            _ if answer.is_good() => good += 1,
            End::Whole => tally.late += 1,
            End::Refused { retry } => {
                tally.refused.push(answer.took);
                tally.without_retry += u64::from(!retry);
            }
            End::Broken(text) => {
                tally.broken += 1;
                tally.first_broken.clone_from(text);
            }
        }
    }
    tally.good = good as f64 / took;
    tally
}

/// Time until five in a row are answered as fast as usual.
async fn recovery(caller: &mut Caller, usual: Duration) -> Option<Duration> {
    let start = Instant::now();
    let (mut in_a_row, mut since) = (0, Duration::ZERO);
    while start.elapsed() < Duration::from_secs(20) {
        let began = start.elapsed();
        let answer = caller.call().await;
        let normal = answer.is_good() && answer.took <= usual;
        if normal && in_a_row == 0 {
            since = began;
        }
        in_a_row = if normal { in_a_row + 1 } else { 0 };
        if in_a_row == 5 {
            return Some(since);
        }
        sleep(Duration::from_millis(20)).await;
    }
    None
}

/// JSON that compresses about as manifests do.
fn large_json() -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(10);
    let mut text = String::from("{\"assertions\":[");
    while text.len() < BYTES - 400 {
        let hash = format!("{:016x}{:016x}", rng.u64(..), rng.u64(..));
        text.push_str(&format!(
            "{{\"label\":\"c2pa.hash.data\",\"alg\":\"sha256\",\"name\":\"jumbf manifest\",\"hash\":\
             \"{hash}\",\"exclusions\":[{{\"start\":{},\"length\":{}}}],\"kind\":\"c2pa.ingredient.v2\"}},",
            rng.u32(..100_000),
            rng.u32(..100_000)
        ));
    }
    text.push_str("null]}");
    text.into_bytes()
}

/// How a request ended.
#[derive(Debug)]
enum End {
    Whole,
    Refused { retry: bool },
    Broken(String),
}

#[derive(Debug)]
struct Told {
    end: End,
    took: Duration,
}

impl Told {
    fn is_good(&self) -> bool {
        matches!(self.end, End::Whole) && self.took <= PATIENCE
    }
}

/// One connection.
struct Caller {
    address: SocketAddr,
    stream: Option<TcpStream>,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Caller {
    fn new(address: SocketAddr) -> Self {
        let request = client::head("GET", &client::proof(KEY), &[], 0);
        Self { address, stream: None, request, buffer: vec![0; 64 * 1024] }
    }

    async fn call(&mut self) -> Told {
        let began = Instant::now();
        let end = match timeout(4 * PATIENCE, self.ask()).await {
            Ok(Ok(end)) => end,
            Ok(Err(error)) => End::Broken(error.to_string()),
            // The control's; it is late and no more.
            Err(_) => End::Whole,
        };
        let took = began.elapsed();
        if took >= 4 * PATIENCE || matches!(end, End::Broken(_)) {
            self.stream = None;
        }
        Told { end, took }
    }

    async fn ask(&mut self) -> std::io::Result<End> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                none.insert(stream)
            }
        };
        stream.write_all(&self.request).await?;
        let mut filled = 0;
        let (head, length, status, retry) = loop {
            let read = stream.read(&mut self.buffer[filled..]).await?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            filled += read;
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut answer = httparse::Response::new(&mut headers);
            let parsed = answer.parse(&self.buffer[..filled]).map_err(std::io::Error::other)?;
            let httparse::Status::Complete(head) = parsed else { continue };
            let value = |name: &str| {
                let header = answer.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
                header.and_then(|h| std::str::from_utf8(h.value).ok()?.parse::<usize>().ok())
            };
            let length = value("content-length").unwrap_or_default();
            let retry = value("retry-after").is_some_and(|seconds| seconds >= 1);
            break (head, length, answer.code.unwrap_or_default(), retry);
        };
        let mut left = (head + length).saturating_sub(filled);
        while left > 0 {
            let most = left.min(self.buffer.len());
            let read = stream.read(&mut self.buffer[..most]).await?;
            if read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            left -= read;
        }
        Ok(match status {
            200 => End::Whole,
            503 => End::Refused { retry },
            other => End::Broken(format!("answered {other}")),
        })
    }
}
