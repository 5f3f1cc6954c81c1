//! The socket, on a thread with a runtime of its own: a test on paused time, or one that blocks, does
//! not stop the server. Pausing closes the port for callers and keeps it reserved, and the data.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, HttpResponse};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::bodies::Lender;
use crate::fault::{Fault, Slot, spoil};
use crate::gate::{Counts, Gate, Keeper, OneKey};
use crate::object::{Headers, Object};
use crate::operations::Operations;
use crate::personality::Personality;
use crate::store::Store;

/// A running server. It stops when it is dropped.
#[derive(Debug)]
pub struct FakeS3 {
    address: SocketAddr,
    gate: Arc<Gate>,
    phase: watch::Sender<Phase>,
    /// The server says here that it has done what the phase wants.
    done: Mutex<mpsc::Receiver<io::Result<()>>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Serving,
    Paused,
    Stopped,
}

impl FakeS3 {
    /// The access key that is known.
    pub const ACCESS_KEY: &str = "AKIAFAKEFAKEFAKEFAKE";
    /// Its secret.
    pub const SECRET_KEY: &str = "fake/secret/for/tests/only/fake/secret/0";
    /// The bucket that is there from the start.
    pub const BUCKET: &str = "proofs";
    /// The region that the server names. Signatures for any region are accepted.
    pub const REGION: &str = "us-east-1";

    /// Starts a server on a free port of 127.0.0.1. Callers are served when this returns.
    ///
    /// # Errors
    /// What the system says to binding the port.
    pub fn start(personality: Personality) -> io::Result<Self> {
        Self::start_on(personality, 0)
    }

    /// Starts a server on this port of 127.0.0.1; 0 is any free one.
    ///
    /// # Errors
    /// What the system says to binding the port.
    pub fn start_on(personality: Personality, port: u16) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let gate = Arc::new(Gate::new(Store::new(personality, Self::BUCKET)));
        let (phase, wanted) = watch::channel(Phase::Serving);
        let (says, done) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let service = service(&gate);
        let run = move || {
            if let Err(failure) = runtime.block_on(serve(listener, service, wanted, &says)) {
                // Whoever waits learns why; nobody waits when there is nothing to learn.
                says.send(Err(failure)).ok();
            }
        };
        let thread = std::thread::Builder::new().name("fake-s3".into()).spawn(run)?;
        Ok(Self { address, gate, phase, done: Mutex::new(done), thread: Some(thread) })
    }

    /// `http://127.0.0.1:PORT`, for clients that put the bucket into the path.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many requests came so far.
    pub fn requests(&self) -> Counts {
        self.gate.counts()
    }

    /// Adds a fault behind those that are still to come.
    pub fn fault(&self, fault: Fault) {
        self.gate.script.add(fault);
    }

    /// How many faults are not yet spent: 0 says that all of them took effect.
    pub fn pending_faults(&self) -> usize {
        self.gate.script.pending()
    }

    /// Forgets the faults that are still to come. Requests that hang go on hanging.
    pub fn clear_faults(&self) {
        self.gate.script.clear();
    }

    /// All objects of [`Self::BUCKET`], in byte order of their keys.
    pub fn objects(&self) -> BTreeMap<String, Arc<Object>> {
        self.gate.store.objects(Self::BUCKET)
    }

    /// The object under a key of [`Self::BUCKET`].
    pub fn raw(&self, key: &str) -> Option<Arc<Object>> {
        self.gate.store.find(Self::BUCKET, key)
    }

    /// Puts an object into [`Self::BUCKET`] past all checks, limits and vendors' rules.
    pub fn put_raw(&self, key: &str, bytes: impl Into<Bytes>, headers: Headers) {
        let object = Object::new(bytes.into(), headers, None);
        self.gate.store.plant(Self::BUCKET, key, object);
    }

    /// Changes a stored object behind everybody's back, its ETag included. Does nothing where there is
    /// none.
    pub fn alter_raw(&self, key: &str, change: impl FnOnce(&mut Object)) {
        if let Some(object) = self.raw(key) {
            let mut object = Object::clone(&object);
            change(&mut object);
            self.gate.store.plant(Self::BUCKET, key, object);
        }
    }

    /// Takes an object away behind everybody's back.
    pub fn remove_raw(&self, key: &str) {
        self.gate.store.delete(Self::BUCKET, key, &Default::default()).ok();
    }

    /// Keys of uploads to [`Self::BUCKET`] that are neither completed nor aborted.
    pub fn uploads(&self) -> Vec<String> {
        let uploads = self.gate.store.uploads(Self::BUCKET);
        uploads.into_iter().map(|(_, upload)| upload.key).collect()
    }

    /// Most bytes of objects in one bucket; above it writes get 403 "quota is reached".
    pub fn set_quota(&self, bytes: Option<u64>) {
        self.gate.store.set_quota(bytes);
    }

    /// Without this permission a missing key is answered with 403, and lists and HeadBucket are too.
    pub fn set_list_permission(&self, granted: bool) {
        self.gate.store.set_may_list(granted);
    }

    /// Has [`Self::BUCKET`] keep versions and take object locks, as an AWS bucket can; for `Aws` only.
    pub fn enable_object_lock(&self) {
        self.gate.store.enable_locks(Self::BUCKET);
    }

    /// Without this permission whatever asks for a lock, or to clear one, is answered with 403.
    pub fn set_lock_permission(&self, granted: bool) {
        self.gate.store.set_may_lock(granted);
    }

    /// Without this permission answers tell no lock.
    pub fn set_lock_visibility(&self, granted: bool) {
        self.gate.store.set_sees_locks(granted);
    }

    /// All versions under a key of [`Self::BUCKET`] that are objects, the newest last.
    pub fn versions(&self, key: &str) -> Vec<Arc<Object>> {
        self.gate.store.versions(Self::BUCKET, key)
    }

    /// Removes a version for good, as whoever has the bucket's credentials; `false` where a lock keeps it.
    /// `bypass` goes past a date in governance mode.
    pub fn remove_version(&self, key: &str, version: &str, bypass: bool) -> bool {
        self.gate.store.delete_version(Self::BUCKET, key, version, bypass).is_ok()
    }

    /// Least time between two writes of one key; one that comes sooner gets 429. A second with R2 unless
    /// something else is said here, and none with the others.
    pub fn set_write_interval(&self, interval: Option<Duration>) {
        self.gate.store.set_write_interval(interval);
    }

    /// Closes all connections and refuses new ones; the port stays reserved.
    ///
    /// # Errors
    /// What the system says to closing and reserving the port.
    pub fn pause(&self) -> io::Result<()> {
        self.go(Phase::Paused)
    }

    /// Serves again, with the data of before.
    ///
    /// # Errors
    /// What the system says to listening again.
    pub fn resume(&self) -> io::Result<()> {
        self.go(Phase::Serving)
    }

    /// Closes all connections and the port, and forgets the data.
    pub fn stop(self) {}

    fn go(&self, phase: Phase) -> io::Result<()> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if *self.phase.borrow() == phase {
            return Ok(());
        }
        self.phase.send(phase).map_err(|_| stopped())?;
        done.recv().map_err(|_| stopped())?
    }
}

impl Drop for FakeS3 {
    fn drop(&mut self) {
        self.phase.send(Phase::Stopped).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the server has stopped")
}

fn service(gate: &Arc<Gate>) -> S3Service {
    let mut builder = S3ServiceBuilder::new(Operations(Arc::clone(gate)));
    builder.set_auth(OneKey);
    builder.set_access(Keeper(Arc::clone(gate)));
    builder.build()
}

/// The port, open or only reserved.
enum Door {
    Open(TcpListener),
    Shut(TcpSocket),
}

impl Door {
    async fn accept(&self) -> io::Result<TcpStream> {
        match self {
            Self::Open(listener) => Ok(listener.accept().await?.0),
            Self::Shut(_) => std::future::pending().await,
        }
    }
}

async fn serve(
    listener: std::net::TcpListener,
    service: S3Service,
    mut wanted: watch::Receiver<Phase>,
    says: &mpsc::Sender<io::Result<()>>,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let mut door = Door::Open(TcpListener::from_std(listener)?);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            changed = wanted.changed() => {
                let phase = if changed.is_ok() { *wanted.borrow_and_update() } else { Phase::Stopped };
                door = match (phase, door) {
                    (Phase::Stopped, _) => return Ok(()),
                    (Phase::Paused, Door::Open(listener)) => {
                        drop(listener);
                        connections.shutdown().await;
                        let socket = TcpSocket::new_v4()?;
                        socket.set_reuseaddr(true)?;
                        socket.bind(address)?;
                        Door::Shut(socket)
                    }
                    (Phase::Serving, Door::Shut(socket)) => Door::Open(socket.listen(1024)?),
                    (_, door) => door,
                };
                says.send(Ok(())).ok();
            }
            Ok(stream) = door.accept() => {
                stream.set_nodelay(true).ok();
                connections.spawn(converse(stream, service.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, to its end. How it ends is the caller's to see.
async fn converse(stream: TcpStream, service: S3Service) {
    let answer = service_fn(move |request| answer(service.clone(), request));
    http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await.ok();
}

/// Makes `hyper` close the connection.
#[derive(Debug)]
struct Closes;

impl std::fmt::Display for Closes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection closes")
    }
}

impl std::error::Error for Closes {}

async fn answer(
    service: S3Service,
    mut request: http::Request<Incoming>,
) -> Result<HttpResponse, Closes> {
    let slot = Slot::default();
    request.extensions_mut().insert(slot.clone());
    let lender = Lender::default();
    let request = request.map(|body| Body::http_body(lender.lend(body)));
    let mut response = service.call(request).await.map_err(|_| Closes)?;
    if let Some(effect) = slot.take() {
        response = spoil(response, effect).await.ok_or(Closes)?;
    }
    lender.drain().await;
    Ok(response)
}
