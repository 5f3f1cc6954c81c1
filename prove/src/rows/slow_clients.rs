//! Row 12: 5 000 clients that hold connections and hardly use them.
//!
//! A third sends its request's head a byte at a time, a third its body, a third takes an answer of
//! 8 MiB so. Who is cut off comes back after a second. Meanwhile a client at another address makes a
//! connection of its own for each of its calls, stores a proof, reads it and asks whether the service is
//! ready: none of these may fail. Once as the process is started by default, and once with 256 files
//! that it may open, where fewer connections are taken than clients come, and no address has more than
//! 32. It must be the same process after it, and answer as before.
//!
//! Control: 256 files, no limit for an address, and no least rates: 5 000 bodies and readers keep all
//! connections, and the client's calls fail.

use std::cell::Cell;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};

use super::{Context, Outcome};
use crate::client::{self, Client};
use crate::server::Launch;
use crate::{Result, interrupt};

const START_LIMIT: Duration = Duration::from_secs(30);
const CLIENTS: usize = 5_000;
const LARGE_KEY: &str = "slow/large.c2pa";
const LARGE_BYTES: usize = 8 << 20;
/// Longest that a call of the probing client may take.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
const BYTE_EACH: Duration = Duration::from_secs(1);
/// Files of this process: its own clients, and what it needs besides.
const FILES: u64 = CLIENTS as u64 + 500;
/// Where the probing client is: not where the slow ones are.
const PROBE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// Runs the row.
///
/// # Errors
/// The harness could not come to an end.
pub(crate) fn run(context: &Context) -> Result<Outcome> {
    let files = getrlimit(Resource::Nofile);
    if files.maximum.is_some_and(|most| most < FILES) {
        return Ok(Outcome::skipped(format!("needs {FILES} open files (ulimit -n)")));
    }
    if files.current.is_some_and(|now| now < FILES) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(FILES), ..files })?;
    }
    let time = Duration::from_secs(context.count(45, 6));
    let data = context.work().join("slow");
    let plain = context.service(&data, "slow");
    let few = plain.clone().through(["sh", "-c", "ulimit -n 256; exec \"$@\"", "sh"]);
    let capped = few.clone().with("STORAGE_MAX_CONNECTIONS_PER_ADDRESS", "32");
    let control = few
        .with("STORAGE_MIN_UPLOAD_RATE", "0")
        .with("STORAGE_MIN_DOWNLOAD_RATE", "0")
        .with("STORAGE_BODY_TIMEOUT", "3600000");

    let usual = attack(&plain, time, &Slow::ALL)?;
    let with_few = attack(&capped, time, &Slow::ALL)?;
    let control = attack(&control, time.min(Duration::from_secs(8)), &[Slow::Body, Slow::Read])?;
    std::fs::remove_dir_all(&data)?;
    let mut amiss = Vec::new();
    for (tally, name) in [(&usual, "by default"), (&with_few, "with 256 files")] {
        amiss.extend(tally.amiss().into_iter().map(|text| format!("{name}: {text}")));
    }
    let most = CLIENTS * 9 / 10;
    if usual.most_held < most {
        amiss.push(format!("only {} of {CLIENTS} clients held a connection", usual.most_held));
    }
    let counts = format!("by default: {}; with 256 files: {}", usual.tell(), with_few.tell());
    let told = format!("without limits: {} of {} calls failed", control.failed, control.calls);
    Ok(Outcome::judged(&amiss, counts, control.failed > 0, told))
}

/// What a client is slow with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slow {
    Head,
    Body,
    Read,
}

impl Slow {
    const ALL: [Self; 3] = [Self::Head, Self::Body, Self::Read];
}

#[derive(Debug, Default)]
struct Tally {
    calls: u64,
    failed: u64,
    first_failure: String,
    slowest: Duration,
    most_held: usize,
    made: u64,
    after: String,
}

impl Tally {
    fn amiss(&self) -> Vec<String> {
        let mut amiss = Vec::new();
        if self.failed > 0 {
            amiss.push(format!(
                "{} of {} calls failed: {}",
                self.failed, self.calls, self.first_failure
            ));
        }
        if !self.after.is_empty() {
            amiss.push(format!("afterwards: {}", self.after));
        }
        amiss
    }

    fn tell(&self) -> String {
        format!(
            "{} connections held at once, {} made, {} calls of a probing client of which {} failed, the \
             slowest took {:.0?}",
            self.most_held, self.made, self.calls, self.failed, self.slowest
        )
    }
}

fn attack(service: &Launch, time: Duration, ways: &[Slow]) -> Result<Tally> {
    let (mut server, _) = service.start_ready(START_LIMIT)?;
    let address = server.address();
    let mut rng = fastrand::Rng::with_seed(12);
    let mut large = vec![0; LARGE_BYTES];
    rng.fill(&mut large);
    let stored = Client::new(address).put(LARGE_KEY, "application/c2pa", &large, None)?;
    if !stored.is_success() && stored.status() != 409 {
        return Err(format!("storing answered {}", stored.label()).into());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    let mut tally = tasks.block_on(&runtime, slow_and_probing(address, time, ways));
    // All of the slow ones end here.
    drop(tasks);
    drop(runtime);
    std::thread::sleep(Duration::from_millis(500));
    interrupt::check()?;
    match server.try_wait()? {
        Some(status) => tally.after = format!("the process ended ({status})"),
        None => {
            let mut client = Client::new(address);
            let answer = client.get(LARGE_KEY);
            if !answer.is_ok_and(|answer| answer.is_success() && answer.body == large) {
                tally.after = "the large proof cannot be read".into();
            }
        }
    }
    Ok(tally)
}

async fn slow_and_probing(address: SocketAddr, time: Duration, ways: &[Slow]) -> Tally {
    let (held, made) = (Rc::new(Cell::new(0_usize)), Rc::new(Cell::new(0_u64)));
    for number in 0..CLIENTS {
        let way = ways[number % ways.len()];
        let (held, made) = (Rc::clone(&held), Rc::clone(&made));
        tokio::task::spawn_local(async move {
            // Not all in one instant: the kernel's queue is not what is tried.
            sleep(Duration::from_micros(400 * number as u64)).await;
            loop {
                if let Ok(stream) = TcpStream::connect(address).await {
                    made.set(made.get() + 1);
                    held.set(held.get() + 1);
                    let _ = dawdle(stream, way, number).await;
                    held.set(held.get() - 1);
                }
                sleep(BYTE_EACH).await;
            }
        });
    }
    // Until all have come.
    sleep(Duration::from_secs(3)).await;
    let mut tally = Tally::default();
    let start = Instant::now();
    while start.elapsed() < time {
        for ask in [Ask::Ready, Ask::Store(tally.calls), Ask::Read(tally.calls - tally.calls % 3)] {
            let began = Instant::now();
            let answer = timeout(PATIENCE, probe(address, ask)).await;
            tally.slowest = tally.slowest.max(began.elapsed());
            tally.calls += 1;
            let failure = match answer {
                Ok(Ok(200 | 201)) => continue,
                Ok(Ok(status)) => format!("{ask:?} answered {status}"),
                Ok(Err(error)) => format!("{ask:?}: {error}"),
                Err(_) => format!("{ask:?}: no answer in time"),
            };
            tally.failed += 1;
            tally.first_failure = failure;
        }
        tally.most_held = tally.most_held.max(held.get());
        sleep(PAUSE).await;
    }
    tally.made = made.get();
    tally
}

/// Holds a connection until it is cut off.
async fn dawdle(mut stream: TcpStream, way: Slow, number: usize) -> std::io::Result<()> {
    let path = client::proof(&format!("slow/{number}"));
    let head = match way {
        Slow::Head => b"GET / HTTP/1.1\r\nX-Slow: ".to_vec(),
        Slow::Body => client::head("PUT", &path, &[], 1 << 20),
        Slow::Read => client::head("GET", &client::proof(LARGE_KEY), &[], 0),
    };
    if way != Slow::Head {
        stream.write_all(&head).await?;
    }
    let mut rest = head.iter().chain(std::iter::repeat(&b'x'));
    loop {
        let mut byte = [0];
        match way {
            Slow::Head | Slow::Body => {
                byte[0] = *rest.next().unwrap_or(&b'x');
                stream.write_all(&byte).await?;
                // An answer, or the end of the connection, ends it.
                if timeout(BYTE_EACH, stream.read(&mut byte)).await.is_ok() {
                    return Ok(());
                }
            }
            Slow::Read => {
                if stream.read(&mut byte).await? == 0 {
                    return Ok(());
                }
                sleep(BYTE_EACH).await;
            }
        }
    }
}

/// What the probing client asks.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Ready,
    Store(u64),
    Read(u64),
}

/// One call on a connection of its own; gives the status.
async fn probe(address: SocketAddr, ask: Ask) -> std::io::Result<u16> {
    let key = |number: u64| client::proof(&format!("probe/{}", number / 3));
    let mut request = match ask {
        Ask::Ready => client::head("GET", "/health/ready", &[("Connection", "close")], 0),
        Ask::Store(number) => client::head("PUT", &key(number), &[("Connection", "close")], 5),
        Ask::Read(number) => client::head("GET", &key(number), &[("Connection", "close")], 0),
    };
    if matches!(ask, Ask::Store(_)) {
        request.extend_from_slice(b"proof");
    }
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(PROBE, 0))?;
    let mut stream = socket.connect(address).await?;
    stream.write_all(&request).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut headers);
    head.parse(&answer).map_err(std::io::Error::other)?;
    head.code.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}
