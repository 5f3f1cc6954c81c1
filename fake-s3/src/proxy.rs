//! A proxy that breaks the wire: between a client of S3 and any server of it, of ours or a real one.
//!
//! It knows HTTP/1.1 well enough to tell requests from answers and nothing of S3, so that a fault strikes
//! the request it is aimed at, on a kept-alive connection too ([`WireFault`]). Beside that the whole wire
//! can go dark and come back ([`FaultProxy::go_dark`]). As [`FakeS3`](crate::FakeS3) it has a thread and a
//! runtime of its own. Plain TCP only.
//!
//! ```text
//! client ─▶ accept ─▶ one request: head ─▶ fault? ─▶ body ─▶ server      wire: bytes and faults
//!        ◀──────────────────── body ◀─ fault? ◀─ head ◀──┘               fault: which, aimed at what
//! ```

mod fault;
mod message;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::fault::WireScript;
pub use self::fault::{WireEffect, WireFault};

/// Connections that wait to be accepted while the wire is lit.
const BACKLOG: i32 = 1024;
/// Longest that a connection to this machine takes to be made, where the queue has room for it.
const CONNECTS_WITHIN: Duration = Duration::from_millis(100);

/// How dark the wire is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Darkness {
    /// Connections are accepted, and nothing goes through them in either direction.
    Silent,
    /// The same, and nobody answers to new connections: a cut cable, a dropping firewall.
    Unreachable,
}

/// A running proxy. It stops when it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    wanted: watch::Sender<Wanted>,
    /// The proxy says here that it has done what is wanted.
    done: Mutex<mpsc::Receiver<io::Result<()>>>,
    thread: Option<JoinHandle<()>>,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    server: SocketAddr,
    script: WireScript,
    struck: AtomicU64,
    dark: watch::Sender<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Light,
    Dark(Darkness),
    End,
}

impl FaultProxy {
    /// Starts a proxy before this server, on a free port of 127.0.0.1. Callers are served when this
    /// returns.
    ///
    /// # Errors
    /// What the system says to binding the port.
    pub fn start(server: SocketAddr) -> io::Result<Self> {
        Self::start_on(server, 0)
    }

    /// Starts a proxy on this port of 127.0.0.1; 0 is any free one.
    ///
    /// # Errors
    /// What the system says to binding the port.
    pub fn start_on(server: SocketAddr, port: u16) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        rustix::net::listen(&listener, BACKLOG)?;
        let address = listener.local_addr()?;
        let (script, dark) = (WireScript::default(), watch::Sender::new(false));
        let shared = Arc::new(Shared { server, script, struck: AtomicU64::new(0), dark });
        let (wanted, changes) = watch::channel(Wanted::Light);
        let (says, done) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let of_thread = Arc::clone(&shared);
        let run = move || {
            if let Err(failure) = runtime.block_on(serve(listener, of_thread, changes, &says)) {
                // Whoever waits learns why; nobody waits when there is nothing to learn.
                says.send(Err(failure)).ok();
            }
        };
        let thread = std::thread::Builder::new().name("fault-proxy".into()).spawn(run)?;
        Ok(Self { address, shared, wanted, done: Mutex::new(done), thread: Some(thread) })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Adds a fault behind those that are still to come.
    pub fn fault(&self, fault: WireFault) {
        self.shared.script.add(fault);
    }

    /// How many faults are not yet spent.
    pub fn pending_faults(&self) -> usize {
        self.shared.script.pending()
    }

    /// Forgets the faults that are still to come. Requests that were struck stay struck.
    pub fn clear_faults(&self) {
        self.shared.script.clear();
    }

    /// How many requests were struck so far.
    pub fn struck(&self) -> u64 {
        self.shared.struck.load(Ordering::Relaxed)
    }

    /// Lets nothing through any more, in the middle of whatever is under way.
    ///
    /// # Errors
    /// What the system says to it.
    pub fn go_dark(&self, darkness: Darkness) -> io::Result<()> {
        self.want(Wanted::Dark(darkness))
    }

    /// Lets everything through again. What was held back goes on its way, as packets that are sent
    /// again do: a request whose client has given it up may still arrive.
    ///
    /// # Errors
    /// What the system says to it.
    pub fn light_up(&self) -> io::Result<()> {
        self.want(Wanted::Light)
    }

    fn want(&self, wanted: Wanted) -> io::Result<()> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        self.wanted.send(wanted).map_err(|_| stopped())?;
        done.recv().map_err(|_| stopped())?
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.wanted.send(Wanted::End).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the proxy has stopped")
}

async fn serve(
    listener: std::net::TcpListener,
    shared: Arc<Shared>,
    mut wanted: watch::Receiver<Wanted>,
    says: &mpsc::Sender<io::Result<()>>,
) -> io::Result<()> {
    let door = TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    // Connections of our own that fill the queue of those to be accepted, so that the system drops
    // what others send to make one.
    let mut stoppers = Vec::new();
    let mut accepts = true;
    loop {
        tokio::select! {
            changed = wanted.changed() => {
                let wanted = if changed.is_ok() { *wanted.borrow_and_update() } else { Wanted::End };
                if wanted == Wanted::End {
                    return Ok(());
                }
                shared.dark.send_replace(wanted != Wanted::Light);
                accepts = wanted != Wanted::Dark(Darkness::Unreachable);
                rustix::net::listen(&door, if accepts { BACKLOG } else { 0 })?;
                if accepts {
                    stoppers.clear();
                } else {
                    fill(door.local_addr()?, &mut stoppers).await;
                }
                says.send(Ok(())).ok();
            }
            Ok((stream, _)) = door.accept(), if accepts => {
                connections.spawn(wire::converse(stream, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Connects until the system does not answer any more.
async fn fill(address: SocketAddr, stoppers: &mut Vec<TcpStream>) {
    while let Ok(Ok(stream)) =
        tokio::time::timeout(CONNECTS_WITHIN, TcpStream::connect(address)).await
    {
        stoppers.push(stream);
    }
}
