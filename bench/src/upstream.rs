//! What the contestants of the remote scenarios keep their objects in: an S3 of their own each.
//!
//! A process beside the contestant, which costs every one of them the same. `instant` leaves as much
//! of the machine as it can to who is measured and verifies nothing; `fake-s3` checks signatures and
//! checksums as a real service does; Garage is a real one.

pub(crate) mod garage;
pub(crate) mod instant;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use fake_s3::{FakeS3, Personality};

use crate::Result;
use crate::process::{Process, free_address};

/// Even Garage is up well before this.
const START_LIMIT: Duration = Duration::from_secs(30);

/// Which S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Simulated, from memory, with nothing verified: see [`instant`].
    Instant(instant::Manner),
    /// Simulated, from memory, with real signatures and checksums: the crate `fake-s3` as AWS.
    Fake,
    /// Garage, one node, on a folder of its own.
    Garage,
}

/// How to reach a bucket.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    pub(crate) endpoint: String,
    pub(crate) name: String,
    pub(crate) region: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    /// Whether the store decides conditions itself, which the service finds out by trying.
    pub(crate) compares: bool,
}

/// The sub-command's options.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Port of 127.0.0.1 to listen on.
    #[arg(long)]
    port: u16,
}

/// An S3 that is up. Dropping it ends it, and what it keeps in memory.
pub(crate) struct Upstream {
    _process: Process,
    pub(crate) bucket: Bucket,
}

impl Upstream {
    /// Starts one; what it keeps on the disk goes into a folder that it may have to make.
    pub(crate) fn start(kind: &Kind, folder: &Path) -> Result<Self> {
        if *kind == Kind::Garage {
            return garage::start(folder);
        }
        let address = free_address()?;
        let mut process = Process::start(&mut command(kind, address)?)?;
        process.wait_listening(address, START_LIMIT)?;
        Ok(Self { _process: process, bucket: Bucket::of_simulation(address) })
    }
}

impl Bucket {
    /// The bucket that both simulations have.
    pub(crate) fn of_simulation(address: SocketAddr) -> Self {
        Self {
            endpoint: format!("http://{address}"),
            name: FakeS3::BUCKET.into(),
            region: FakeS3::REGION.into(),
            access_key: FakeS3::ACCESS_KEY.into(),
            secret_key: FakeS3::SECRET_KEY.into(),
            compares: true,
        }
    }
}

fn command(kind: &Kind, address: SocketAddr) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let port = address.port().to_string();
    match kind {
        Kind::Instant(manner) => {
            command.args(["instant-s3", "--port", &port]).args(manner.arguments());
        }
        Kind::Fake | Kind::Garage => {
            command.args(["fake-s3", "--port", &port]);
        }
    }
    Ok(command)
}

/// Serves the crate `fake-s3`, as AWS, until it is killed.
pub(crate) fn serve_fake(options: &Options) -> Result<()> {
    let server = FakeS3::start_on(Personality::Aws, options.port)?;
    debug_assert_eq!(server.address().ip(), Ipv4Addr::LOCALHOST);
    loop {
        std::thread::park();
    }
}
