//! `fake-s3 --personality aws|r2|garage --port N`: the simulation as a process, until it is killed.

use std::io::Write as _;
use std::time::Duration;

use clap::Parser;
use fake_s3::{FakeS3, Personality};

/// A simulation of S3 for tests, in memory. Prints how to reach it and serves until it is killed.
#[derive(Parser)]
struct Arguments {
    /// Whose answers to give: aws, r2 or garage.
    #[arg(long, default_value = "aws")]
    personality: Personality,
    /// Port of 127.0.0.1; 0 is any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Most bytes of objects in one bucket.
    #[arg(long)]
    quota: Option<u64>,
    /// Whether the bucket has object lock, and so keeps versions.
    #[arg(long)]
    object_lock: bool,
    /// Least milliseconds between two writes of one key, in place of the personality's own.
    #[arg(long)]
    write_interval: Option<u64>,
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let server = FakeS3::start_on(arguments.personality, arguments.port)?;
    if arguments.object_lock {
        server.enable_object_lock();
    }
    server.set_quota(arguments.quota);
    if let Some(interval) = arguments.write_interval {
        server.set_write_interval(Some(Duration::from_millis(interval)));
    }
    let mut out = std::io::stdout();
    writeln!(out, "endpoint {}", server.endpoint())?;
    writeln!(out, "bucket {}", FakeS3::BUCKET)?;
    writeln!(out, "region {}", FakeS3::REGION)?;
    writeln!(out, "access-key {}", FakeS3::ACCESS_KEY)?;
    writeln!(out, "secret-key {}", FakeS3::SECRET_KEY)?;
    out.flush()?;
    loop {
        std::thread::park();
    }
}
