//! The service before an S3 of our own, with wires between them that break on demand.
//!
//! The S3 is the simulation that the tests use, on a thread of this process: real sockets and
//! signatures, its faults at hand, and a look into the bucket past every wire. The service is the
//! release build. Each member of a pool has a wire of its own, so that one can be dark alone.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use fake_s3::{FakeS3, FaultProxy, Headers, Personality};
use proof_storage::codec::gzip;

use crate::Result;
use crate::client::{Client, Sha};
use crate::interrupt::poll;
use crate::journal::{Ledger, Value};
use crate::rows::Context;
use crate::server::Server;

/// What the service puts before every key.
const PREFIX: &str = "proofs/";
/// Part of the target of every request for a proof, and of no other: bucket, prefix.
pub(crate) const PROOFS: &str = "/proofs/proofs/";
const START_LIMIT: Duration = Duration::from_secs(30);
/// No body of the harness is larger.
const LARGEST: u64 = 64 << 20;

/// How members stand together: a column of the tables of rows 6 and 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One backend.
    Single,
    /// Two, of which the second takes what the first does not.
    Fallback,
    /// Two, each of which has everything.
    Mirror,
}

impl Mode {
    /// Those that there are.
    pub(crate) const ALL: [Self; 3] = [Self::Single, Self::Fallback, Self::Mirror];

    /// As in a table, and as in the configuration of a pool.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Fallback => "fallback",
            Self::Mirror => "mirror",
        }
    }

    /// Whether there is somebody to stand in.
    pub(crate) fn is_pool(self) -> bool {
        self != Self::Single
    }

    fn members(self) -> usize {
        if self.is_pool() { 2 } else { 1 }
    }
}

/// A backend and the wire to it.
#[derive(Debug)]
pub(crate) struct Member {
    /// The backend.
    pub(crate) store: FakeS3,
    /// The wire.
    pub(crate) wire: FaultProxy,
}

impl Member {
    fn start() -> Result<Self> {
        let store = FakeS3::start(Personality::Aws)?;
        let wire = FaultProxy::start(store.address())?;
        Ok(Self { store, wire })
    }

    /// Digest of what the bucket holds under a key of the service, inflated; seen past the wire.
    ///
    /// # Errors
    /// It is kept as gzip and is none.
    pub(crate) fn holds(&self, key: &str) -> Result<Option<Sha>> {
        let Some(object) = self.store.raw(&format!("{PREFIX}{key}")) else { return Ok(None) };
        if object.headers.content_encoding.as_deref() != Some("gzip") {
            return Ok(Some(Sha::of(&object.bytes)));
        }
        let inflated = gzip::inflate(&object.bytes, LARGEST);
        Ok(Some(Sha::of(&inflated.map_err(|error| format!("{key} in the bucket: {error}"))?)))
    }

    /// Takes a key of the service away, past the wire and behind the service's back.
    pub(crate) fn lose(&self, key: &str) {
        self.store.remove_raw(&format!("{PREFIX}{key}"));
    }

    /// Puts other bytes under a key of the service, in the same way.
    pub(crate) fn bring(&self, key: &str) {
        self.store.put_raw(&format!("{PREFIX}{key}"), b"a stranger's".to_vec(), Headers::default());
    }

    /// Mends the wire and the backend.
    ///
    /// # Errors
    /// The wire cannot be lit.
    pub(crate) fn heal(&self) -> Result<()> {
        self.store.clear_faults();
        self.wire.clear_faults();
        Ok(self.wire.light_up()?)
    }
}

/// A running service and what is behind it.
#[derive(Debug)]
pub(crate) struct Stage {
    /// In the order of the configuration.
    pub(crate) members: Vec<Member>,
    mode: Mode,
    server: Server,
}

impl Stage {
    /// Starts backends, wires and the service, and waits until it knows what they can do.
    ///
    /// # Errors
    /// One of them does not start, or the service is not ready in time.
    pub(crate) fn start(
        context: &Context,
        name: &str,
        mode: Mode,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let members = (0..mode.members()).map(|_| Member::start());
        let members: Vec<Member> = members.collect::<Result<_>>()?;
        let mut launch = context.service(&context.work().join(name), name);
        if mode.is_pool() {
            let file = context.work().join(format!("{name}.toml"));
            std::fs::write(&file, pool(mode, &members))?;
            launch = launch.with("STORAGE_CONFIG", file);
        } else {
            launch = launch
                .with("STORAGE_PROVIDER", "s3")
                .with("STORAGE_ENDPOINT", members[0].wire.endpoint())
                .with("STORAGE_BUCKET", FakeS3::BUCKET)
                .with("STORAGE_REGION", FakeS3::REGION)
                .with("STORAGE_ACCESS_KEY_ID", FakeS3::ACCESS_KEY)
                .with("STORAGE_SECRET_ACCESS_KEY", FakeS3::SECRET_KEY);
        }
        for (name, value) in settings {
            launch = launch.with(name, *value);
        }
        let (server, _) = launch.start_ready(START_LIMIT)?;
        let stage = Self { members, mode, server };
        let examined = poll(START_LIMIT, || stage.is_examined().then_some(()))?;
        examined.ok_or("the service does not find out what its backend can do")?;
        Ok(stage)
    }

    /// The backend that faults strike: in a pool the one that comes first.
    pub(crate) fn struck(&self) -> &Member {
        &self.members[0]
    }

    /// Whether there is somebody to stand in.
    pub(crate) fn is_pool(&self) -> bool {
        self.mode.is_pool()
    }

    /// Whether each member has everything.
    pub(crate) fn is_mirror(&self) -> bool {
        self.mode == Mode::Mirror
    }

    /// Where the service listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Keys that some member of a pool does not have as it should; none where nobody says so.
    pub(crate) fn repairs_pending(&self) -> Option<u64> {
        let answer = Client::new(self.address()).call("GET", "/v1/backends", &[], b"").ok()?;
        answer.json()["pool"]["repairs_pending"].as_u64()
    }

    /// Waits until a pool has repaired what was amiss at an instant; the time since, none where it has
    /// not. What callers write meanwhile may wait: a delete of what an outage left is written down too.
    ///
    /// # Errors
    /// The harness was interrupted.
    pub(crate) fn caught_up(&self, since: Instant, limit: Duration) -> Result<Option<Duration>> {
        let left = limit.saturating_sub(since.elapsed());
        poll(left, || {
            let age = since.elapsed();
            let answer = Client::new(self.address()).call("GET", "/v1/backends", &[], b"").ok()?;
            let pool = &answer.json()["pool"];
            let is_newer = match pool["oldest_repair_seconds"].as_f64() {
                Some(oldest) => oldest < age.as_secs_f64(),
                None => pool["repairs_pending"].as_u64() == Some(0),
            };
            is_newer.then(|| since.elapsed())
        })
    }

    /// Waits until a pool has repaired everything; the time since an instant, none where it has not.
    ///
    /// # Errors
    /// The harness was interrupted.
    pub(crate) fn drained(&self, since: Instant, limit: Duration) -> Result<Option<Duration>> {
        if !self.mode.is_pool() {
            return Ok(Some(Duration::ZERO));
        }
        let left = limit.saturating_sub(since.elapsed());
        poll(left, || (self.repairs_pending() == Some(0)).then(|| since.elapsed()))
    }

    /// What the buckets of a pool, past every wire, have otherwise than the settled ledgers say: each
    /// proof is where it belongs, and nowhere else.
    ///
    /// # Errors
    /// What is kept as gzip is none.
    pub(crate) fn misplaced(&self, ledgers: &[Ledger]) -> Result<Vec<String>> {
        let mut misplaced = Vec::new();
        for ledger in ledgers.iter().filter(|_| self.mode.is_pool()) {
            for (key, value) in ledger.values() {
                for (number, member) in self.members.iter().enumerate() {
                    let belongs = number == 0 || self.mode == Mode::Mirror;
                    let wanted = if belongs { value } else { Value::Absent };
                    let found = member.holds(key)?.map_or(Value::Absent, Value::Present);
                    if found != wanted {
                        misplaced
                            .push(format!("{key} at member {number}: {found:?}, not {wanted:?}"));
                    }
                }
            }
        }
        Ok(misplaced)
    }

    /// Before it was examined, an endpoint that may be anybody's is trusted with no condition.
    fn is_examined(&self) -> bool {
        let answer = Client::new(self.address()).call("GET", "/v1/backends", &[], b"");
        answer.is_ok_and(|answer| {
            let backends = answer.json()["backends"].clone();
            let native =
                |backend: &serde_json::Value| backend["capabilities"]["create_only"] == "native";
            let members = self.members.len();
            backends.as_array().is_some_and(|all| all.len() == members && all.iter().all(native))
        })
    }
}

/// Configuration of a pool, in the order of its members.
fn pool(mode: Mode, members: &[Member]) -> String {
    let mut text = format!("[pool]\nmode = \"{}\"\n", mode.name());
    for (number, member) in members.iter().enumerate() {
        let (endpoint, bucket, region) = (member.wire.endpoint(), FakeS3::BUCKET, FakeS3::REGION);
        let (id, secret) = (FakeS3::ACCESS_KEY, FakeS3::SECRET_KEY);
        text += &format!(
            "[[backend]]\nname = \"m{number}\"\nprovider = \"s3\"\nendpoint = \"{endpoint}\"\n\
             bucket = \"{bucket}\"\nregion = \"{region}\"\naccess_key_id = \"{id}\"\n\
             secret_access_key = \"{secret}\"\n"
        );
    }
    text
}
