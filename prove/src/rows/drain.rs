//! Row 13: SIGTERM while 64 connections are busy.
//!
//! A quarter of them upload slowly, a quarter download slowly, the others store and fetch small
//! proofs back to back. No answer may be cut, and every request whose head was sent 20 ms before
//! the signal or earlier must be answered. (A request that crosses the signal on a kept-alive
//! connection may find it closed, before any byte of an answer: HTTP/1.1 cannot exclude this.)
//! The process must end by itself with code 0, and what it acknowledged must be there.
//!
//! Control: SIGKILL in place of SIGTERM must cut answers.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::Signal;

use super::{Context, Outcome};
use crate::client::{self, Client, Sha};
use crate::journal::{Change, Findings, Ledger};
use crate::server::Launch;
use crate::verify::{Scope, verify};
use crate::{Result, interrupt, wire};

const CONNECTIONS: usize = 64;
const START_LIMIT: Duration = Duration::from_secs(30);
/// The drain must end within this: the service's default is shorter.
const DRAIN_LIMIT: Duration = Duration::from_secs(40);
/// A head sent this long before the signal was read by the service.
const MARGIN: Duration = Duration::from_millis(20);
const SLOW_BYTES: usize = 8 << 20;
const SLOW_KEY: &str = "slow/large.c2pa";
const QUICK_KEY: &str = "quick/small.c2pa";
/// A slow transfer takes this many steps of 20 ms.
const STEPS: usize = 60;

/// Runs the row.
///
/// # Errors
/// The harness could not come to an end.
pub(crate) fn run(context: &Context) -> Result<Outcome> {
    let rounds = context.count(50, 6);
    let data = context.work().join("drain");
    let tally = drain(context, &data, Signal::TERM, rounds)?;
    let control = drain(context, &data, Signal::KILL, 2)?;
    std::fs::remove_dir_all(&data)?;

    let mut amiss = Vec::new();
    if tally.cut > 0 {
        amiss.push(format!("{} answers cut: {}", tally.cut, tally.first_cut));
    }
    if tally.bad_exits > 0 {
        amiss.push(format!("{} bad exits: {}", tally.bad_exits, tally.first_bad_exit));
    }
    if tally.findings.total() > 0 {
        amiss.push(format!("broken promises: {}", tally.findings.examples().join("; ")));
    }
    if tally.fewest_in_flight < CONNECTIONS / 2 {
        amiss.push(format!("only {} requests in flight once", tally.fewest_in_flight));
    }
    let caught = control.cut > 0;
    let told = format!("SIGKILL: {} answers cut", control.cut);
    Ok(Outcome::judged(&amiss, tally.tell(rounds), caught, told))
}

#[derive(Debug, Default)]
struct Tally {
    answered: u64,
    answered_after: u64,
    refused: u64,
    crossed: u64,
    after: u64,
    cut: u64,
    first_cut: String,
    fewest_in_flight: usize,
    most_in_flight: usize,
    slowest_exit: Duration,
    bad_exits: u32,
    first_bad_exit: String,
    findings: Findings,
}

impl Tally {
    fn tell(&self, rounds: u32) -> String {
        format!(
            "{rounds} signals, {} to {} requests in flight at each, {} answers cut; {} answered \
             whole ({} of them after the signal, {} of all with 503), {} sent in the 20 ms before \
             and {} after it were not answered; exit after {:.1} s at most; {}",
            self.fewest_in_flight,
            self.most_in_flight,
            self.cut,
            self.answered,
            self.answered_after,
            self.refused,
            self.crossed,
            self.after,
            self.slowest_exit.as_secs_f32(),
            self.findings
        )
    }
}

fn drain(context: &Context, data: &Path, signal: Signal, rounds: u32) -> Result<Tally> {
    let launch = context.service(data, "drain");
    let mut rng = Rng::with_seed(context.seed() ^ 13);
    let mut ledgers: Vec<Ledger> = (0..CONNECTIONS).map(Ledger::new).collect();
    let mut tally = Tally { fewest_in_flight: usize::MAX, ..Tally::default() };
    for round in 0..rounds {
        interrupt::check()?;
        one_signal(&launch, signal, round, &mut ledgers, &mut rng, &mut tally)?;
    }
    // Deleted at the end only: a key that the journal does not know would be a finding.
    let (server, _) = launch.start_ready(START_LIMIT)?;
    tally.findings.merge(verify(server.address(), &mut ledgers, Scope::Fresh)?);
    Ok(tally)
}

fn one_signal(
    launch: &Launch,
    signal: Signal,
    round: u32,
    ledgers: &mut [Ledger],
    rng: &mut Rng,
    tally: &mut Tally,
) -> Result<()> {
    let (mut server, _) = launch.start_ready(START_LIMIT)?;
    let address = server.address();
    tally.findings.merge(verify(address, ledgers, Scope::Fresh)?);
    let shared = Shared::prepare(address)?;
    // Into the middle of the slow transfers.
    let pause = Duration::from_millis(rng.u64(150..900));
    let logs = thread::scope(|scope| -> Result<Vec<Vec<Exchange>>> {
        let handles: Vec<_> = ledgers
            .iter_mut()
            .enumerate()
            .map(|(number, ledger)| {
                let shared = &shared;
                scope.spawn(move || shared.converse(number, round, ledger))
            })
            .collect();
        thread::sleep(pause);
        let now = *shared.signalled.get_or_init(Instant::now);
        let sent = server.signal(signal);
        let ended = server.wait(DRAIN_LIMIT);
        shared.stop.store(true, Ordering::SeqCst);
        tally.slowest_exit = tally.slowest_exit.max(now.elapsed());
        match sent.and(ended)? {
            Some(status) if status.success() => {}
            other => {
                tally.bad_exits += 1;
                tally.first_bad_exit = format!("{other:?}");
            }
        }
        let joined = handles.into_iter().map(|h| h.join().map_err(|_| "a client panicked".into()));
        joined.collect()
    })?;
    let signalled = *shared.signalled.get().ok_or("no signal was sent")?;
    let exchanges: Vec<Exchange> = logs.into_iter().flatten().collect();
    let in_flight = exchanges.iter().filter(|e| e.sent <= signalled && e.ended > signalled).count();
    tally.fewest_in_flight = tally.fewest_in_flight.min(in_flight);
    tally.most_in_flight = tally.most_in_flight.max(in_flight);
    for exchange in exchanges {
        exchange.judge(signalled, tally);
    }
    Ok(())
}

/// One request and what became of it.
#[derive(Debug)]
struct Exchange {
    what: &'static str,
    /// When the head was sent.
    sent: Instant,
    ended: Instant,
    end: End,
}

#[derive(Debug)]
enum End {
    /// A whole answer; the service may say that it closes the connection after it.
    Answered { status: u16, closes: bool },
    /// No byte of an answer.
    Unanswered(io::Error),
    /// Part of an answer.
    Cut(io::Error),
}

impl Exchange {
    fn judge(&self, signalled: Instant, tally: &mut Tally) {
        let text = match &self.end {
            End::Answered { status, .. } => {
                tally.answered += 1;
                tally.answered_after += u64::from(self.ended > signalled);
                tally.refused += u64::from(*status == 503);
                return;
            }
            End::Unanswered(_) if self.sent > signalled => {
                tally.after += 1;
                return;
            }
            End::Unanswered(_) if self.sent + MARGIN > signalled => {
                tally.crossed += 1;
                return;
            }
            End::Unanswered(error) => format!("{} unanswered: {error}", self.what),
            End::Cut(error) => format!("{} cut: {error}", self.what),
        };
        tally.cut += 1;
        if tally.first_cut.is_empty() {
            let before = signalled.saturating_duration_since(self.sent);
            tally.first_cut = format!("{text} (sent {before:?} before the signal)");
        }
    }
}

/// What the connections of one round share.
struct Shared {
    address: SocketAddr,
    signalled: OnceLock<Instant>,
    stop: AtomicBool,
    large: Sha,
    small: Sha,
}

impl Shared {
    /// Stores what the readers fetch.
    fn prepare(address: SocketAddr) -> Result<Self> {
        let mut rng = Rng::with_seed(13);
        let mut large = vec![0; SLOW_BYTES];
        rng.fill(&mut large);
        let mut small = vec![0; 8_000];
        rng.fill(&mut small);
        let mut client = Client::new(address);
        for (key, body) in [(SLOW_KEY, &large), (QUICK_KEY, &small)] {
            let answer = client.put(key, "application/c2pa", body, None)?;
            if !answer.is_success() {
                return Err(format!("storing {key} answered {}", answer.label()).into());
            }
        }
        let (large, small) = (Sha::of(&large), Sha::of(&small));
        let (signalled, stop) = (OnceLock::new(), AtomicBool::new(false));
        Ok(Self { address, signalled, stop, large, small })
    }

    /// One connection's requests, until the service does not take any more.
    fn converse(&self, number: usize, round: u32, ledger: &mut Ledger) -> Vec<Exchange> {
        let mut log = Vec::new();
        let mut rng = Rng::with_seed((u64::from(round) << 32) | number as u64);
        while !self.stop.load(Ordering::SeqCst) {
            let Ok(mut connection) = client::connect(self.address, Duration::from_secs(15)) else {
                return log;
            };
            loop {
                let exchange = match number % 4 {
                    0 => self.put(&mut connection, true, ledger, &mut rng),
                    1 => self.get(&mut connection, true),
                    2 => self.put(&mut connection, false, ledger, &mut rng),
                    _ => self.get(&mut connection, false),
                };
                let goes_on =
                    matches!(exchange.end, End::Answered { status: 200 | 201, closes: false });
                let over = self.signalled.get().is_some_and(|at| exchange.sent > *at);
                log.push(exchange);
                if !goes_on || over {
                    break;
                }
            }
            if self.signalled.get().is_some() {
                return log;
            }
        }
        log
    }

    fn put(
        &self,
        connection: &mut BufReader<TcpStream>,
        slow: bool,
        ledger: &mut Ledger,
        rng: &mut Rng,
    ) -> Exchange {
        let mut body = vec![0; if slow { STEPS * 16 * 1024 } else { 4_000 }];
        rng.fill(&mut body);
        let key = format!("{}{:016x}.c2pa", ledger.prefix(), rng.u64(..));
        let headers = [("Content-Type", "application/c2pa")];
        let head = client::head("PUT", &client::proof(&key), &headers, body.len() as u64);
        let stream = connection.get_mut();
        let mut written = stream.write_all(&head);
        let sent = Instant::now();
        for piece in body.chunks(if slow { 16 * 1024 } else { body.len() }) {
            written = written.and_then(|()| stream.write_all(piece));
            if slow && written.is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        }
        // Even after a failed write: the answer may have come before the end of the body.
        let end = receive(connection, None, false);
        let change = vec![Change::put(&key, Sha::of(&body))];
        match &end {
            End::Answered { status: 200 | 201, .. } => ledger.acknowledge("put", change),
            other => ledger.doubt("put", change, true, &format!("{other:?}")),
        }
        let what = if slow { "slow upload" } else { "upload" };
        Exchange { what, sent, ended: Instant::now(), end }
    }

    fn get(&self, connection: &mut BufReader<TcpStream>, slow: bool) -> Exchange {
        let (key, sha, what) = match slow {
            true => (SLOW_KEY, self.large, "slow download"),
            false => (QUICK_KEY, self.small, "download"),
        };
        let head = client::head("GET", &client::proof(key), &[], 0);
        let written = connection.get_mut().write_all(&head);
        let sent = Instant::now();
        let end = match written {
            Ok(()) => receive(connection, Some(sha), slow),
            Err(error) => End::Unanswered(error),
        };
        Exchange { what, sent, ended: Instant::now(), end }
    }
}

/// Reads an answer to its last byte, and compares the body of a 200 with what it must be.
fn receive(connection: &mut BufReader<TcpStream>, sha: Option<Sha>, slow: bool) -> End {
    match connection.fill_buf_once() {
        Ok(true) => {}
        Ok(false) => return End::Unanswered(io::ErrorKind::UnexpectedEof.into()),
        Err(error) => return End::Unanswered(error),
    }
    let mut read = || -> io::Result<End> {
        let head = wire::read_answer_head(connection)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = head.content_length().unwrap_or_default() as usize;
        let mut body = vec![0; length];
        for piece in body.chunks_mut(if slow { SLOW_BYTES / STEPS } else { length.max(1) }) {
            connection.read_exact(piece)?;
            if slow {
                thread::sleep(Duration::from_millis(20));
            }
        }
        if head.status == 200 && sha.is_some_and(|sha| sha != Sha::of(&body)) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "other bytes than stored"));
        }
        Ok(End::Answered { status: head.status, closes: head.closes() })
    };
    read().unwrap_or_else(End::Cut)
}

/// Waiting for the first byte of an answer, apart from reading it.
trait FirstByte {
    /// Whether a byte has come; `false` where the other side closed.
    fn fill_buf_once(&mut self) -> io::Result<bool>;
}

impl FirstByte for BufReader<TcpStream> {
    fn fill_buf_once(&mut self) -> io::Result<bool> {
        use std::io::BufRead;
        Ok(!self.fill_buf()?.is_empty())
    }
}
