//! `fault-proxy --to 127.0.0.1:3900`: breaks the wire to a server, as its standard input says.
//!
//! One command a line, each answered by a line: `ok`, a number, or `error: …`.
//!
//! ```text
//! fault EFFECT [method=NAME] [path=PART] [times=N]     such as: fault flip=100 method=GET times=3
//! clear                                                forgets the faults that are still to come
//! pending | struck                                     faults not yet spent, requests struck so far
//! dark silent | dark unreachable | light               lets nothing through, and everything again
//! ```

use std::io::{BufRead as _, Write as _};
use std::net::SocketAddr;

use clap::Parser;
use fake_s3::{Darkness, FaultProxy};

/// A proxy for tests that breaks the wire on demand. Prints its endpoint, obeys its standard input, and ends
/// with it.
#[derive(Parser)]
struct Arguments {
    /// The server's address.
    #[arg(long)]
    to: SocketAddr,
    /// Port of 127.0.0.1; 0 is any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let proxy = FaultProxy::start_on(arguments.to, arguments.port)?;
    let mut out = std::io::stdout();
    writeln!(out, "endpoint {}", proxy.endpoint())?;
    out.flush()?;
    for line in std::io::stdin().lock().lines() {
        let answer = obey(&proxy, line?.trim()).unwrap_or_else(|text| format!("error: {text}"));
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn obey(proxy: &FaultProxy, line: &str) -> Result<String, String> {
    let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
    let failed = |error: std::io::Error| error.to_string();
    match (command, rest) {
        ("fault", order) => proxy.fault(order.parse()?),
        ("clear", "") => proxy.clear_faults(),
        ("pending", "") => return Ok(proxy.pending_faults().to_string()),
        ("struck", "") => return Ok(proxy.struck().to_string()),
        ("dark", "silent") => proxy.go_dark(Darkness::Silent).map_err(failed)?,
        ("dark", "unreachable") => proxy.go_dark(Darkness::Unreachable).map_err(failed)?,
        ("light", "") => proxy.light_up().map_err(failed)?,
        _ => return Err(format!("`{line}` is no command")),
    }
    Ok("ok".to_owned())
}
