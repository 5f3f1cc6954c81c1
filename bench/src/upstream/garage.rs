//! Garage, a real S3-compatible store: one node on 127.0.0.1, with a bucket and a key for one run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Bucket, START_LIMIT, Upstream};
use crate::Result;
use crate::process::{Process, free_address};

const REGION: &str = "garage";
const BUCKET: &str = "proofs";
/// What CI installs it into, below the home folder.
const INSTALLED: &str = ".cache/proof-storage/tools/bin/garage";
/// Of the layout; nothing fills it.
const CAPACITY: &str = "100G";

/// The program: `GARAGE_BIN`, else what CI installed, else none.
pub(crate) fn binary() -> Option<PathBuf> {
    let named = std::env::var_os("GARAGE_BIN").map(PathBuf::from);
    let installed = std::env::var_os("HOME").map(|home| Path::new(&home).join(INSTALLED));
    named.or(installed).filter(|file| file.is_file())
}

/// Its name and version, in its own words.
pub(crate) fn version(binary: &Path) -> Result<String> {
    let output = Command::new(binary).arg("--version").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.split(" [").next().unwrap_or_default().trim().to_owned())
}

/// Starts a node and gives it a layout, a bucket, and a key that may use it.
pub(super) fn start(folder: &Path) -> Result<Upstream> {
    let binary = binary().ok_or("no Garage: set GARAGE_BIN")?;
    fs::create_dir_all(folder)?;
    let (rpc, s3) = (free_address()?, free_address()?);
    let file = folder.join("garage.toml");
    let place = folder.display();
    let rpc_secret = random_hex(32)?;
    fs::write(
        &file,
        format!(
            r#"
metadata_dir = "{place}/meta"
data_dir = "{place}/data"
db_engine = "lmdb"
replication_factor = 1
rpc_bind_addr = "{rpc}"
rpc_public_addr = "{rpc}"
rpc_secret = "{rpc_secret}"

[s3_api]
s3_region = "{REGION}"
api_bind_addr = "{s3}"
"#
        ),
    )?;
    let mut server = Command::new(&binary);
    server.arg("-c").arg(&file).arg("server").env("RUST_LOG", "warn").stderr(Stdio::null());
    let mut process = Process::start(&mut server)?;
    process.wait_listening(rpc, START_LIMIT)?;
    let tell = |arguments: &[&str]| tell(&binary, &file, arguments);
    let node = tell(&["node", "id", "-q"])?;
    let node = node.split('@').next().unwrap_or_default();
    tell(&["layout", "assign", "-z", "dc1", "-c", CAPACITY, node])?;
    tell(&["layout", "apply", "--version", "1"])?;
    process.wait_listening(s3, START_LIMIT)?;
    let (access_key, secret_key) = (format!("GK{}", random_hex(12)?), random_hex(32)?);
    tell(&["key", "import", "--yes", &access_key, &secret_key])?;
    tell(&["bucket", "create", BUCKET])?;
    let grant = ["bucket", "allow", "--read", "--write", "--owner", BUCKET, "--key", &access_key];
    tell(&grant)?;
    let endpoint = format!("http://{s3}");
    let bucket = Bucket {
        endpoint,
        name: BUCKET.into(),
        region: REGION.into(),
        access_key,
        secret_key,
        compares: false,
    };
    Ok(Upstream { _process: process, bucket })
}

fn tell(binary: &Path, file: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(binary).arg("-c").arg(file).args(arguments).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("garage {}: {}", arguments[..2].join(" "), said.trim()).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn random_hex(bytes: usize) -> Result<String> {
    let mut buffer = vec![0; bytes];
    std::io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut buffer)?;
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}
