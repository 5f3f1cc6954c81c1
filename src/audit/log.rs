//! The log stream as the place of the lines: whole ones, between those of the service's own log.
//!
//! Not through the log's own writer, which drops lines when its reader is slow: here the caller waits.

use std::io::{self, Write};

/// Takes lines.
pub struct Stream(Box<dyn Write + Send>);

impl Stream {
    /// Standard output, where the log goes too; each line is one write under its lock.
    pub fn stdout() -> Self {
        Self::to(io::stdout())
    }

    /// Standard error, where a command's log goes; its standard output is its report.
    pub fn stderr() -> Self {
        Self::to(io::stderr())
    }

    /// Anything else.
    pub fn to(out: impl Write + Send + 'static) -> Self {
        Self(Box::new(out))
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stream")
    }
}
