//! The service before an S3 of our own, with wires between them that break on demand.
//!
//! The S3 is the simulation that the tests use, on a thread of this process: real sockets and
//! signatures, its faults at hand, and a look into the bucket past every wire. The service is the
//! release build. Each member of a pool has a wire of its own, so that one can be dark alone.

use std::net::SocketAddr;
use std::time::Duration;

use fake_s3::{FakeS3, FaultProxy, Personality};
use proof_storage::codec::gzip;

use crate::Result;
use crate::client::{Client, Sha};
use crate::interrupt::poll;
use crate::rows::Context;
use crate::server::Server;

/// What the service puts before every key.
const PREFIX: &str = "proofs/";
/// Part of the target of every request for a proof, and of no other: bucket, prefix.
pub(crate) const PROOFS: &str = "/proofs/proofs/";
const START_LIMIT: Duration = Duration::from_secs(30);
/// No body of the harness is larger.
const LARGEST: u64 = 64 << 20;

/// How members stand together: a column of the tables of rows 6 and 7. The modes of pools come here
/// with the pools: their variables in [`Stage::start`], their expectations beside those of `Single`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One backend.
    Single,
}

impl Mode {
    /// Those that there are.
    pub(crate) const ALL: [Self; 1] = [Self::Single];

    /// As in a table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
        }
    }

    fn members(self) -> usize {
        match self {
            Self::Single => 1,
        }
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
        launch = match mode {
            Mode::Single => launch
                .with("STORAGE_PROVIDER", "s3")
                .with("STORAGE_ENDPOINT", members[0].wire.endpoint())
                .with("STORAGE_BUCKET", FakeS3::BUCKET)
                .with("STORAGE_REGION", FakeS3::REGION)
                .with("STORAGE_ACCESS_KEY_ID", FakeS3::ACCESS_KEY)
                .with("STORAGE_SECRET_ACCESS_KEY", FakeS3::SECRET_KEY),
        };
        for (name, value) in settings {
            launch = launch.with(name, *value);
        }
        let (server, _) = launch.start_ready(START_LIMIT)?;
        let stage = Self { members, server };
        let examined = poll(START_LIMIT, || stage.is_examined().then_some(()))?;
        examined.ok_or("the service does not find out what its backend can do")?;
        Ok(stage)
    }

    /// The backend that faults strike: in a pool the one that comes first.
    pub(crate) fn struck(&self) -> &Member {
        &self.members[0]
    }

    /// Where the service listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Before it was examined, an endpoint that may be anybody's is trusted with no condition.
    fn is_examined(&self) -> bool {
        let answer = Client::new(self.address()).call("GET", "/v1/backends", &[], b"");
        answer.is_ok_and(|answer| {
            let backends = answer.json()["backends"].clone();
            let native =
                |backend: &serde_json::Value| backend["capabilities"]["create_only"] == "native";
            backends.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(native))
        })
    }
}
