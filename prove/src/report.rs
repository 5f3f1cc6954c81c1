//! The table: one line a row, on the screen and between two markers of docs/RELIABILITY.md.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::machine;
use crate::rows::{Context, Outcome, Row};

const BEGIN: &str = "<!-- begin of the measured table: written by `just prove --write` -->";
const END: &str = "<!-- end of the measured table -->";

/// What all rows said.
#[derive(Debug)]
pub(crate) struct Report {
    machine: String,
    mode: &'static str,
    seed: u64,
    lines: Vec<(Row, Outcome)>,
}

impl Report {
    /// An empty table.
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            machine: machine::describe(context.work()),
            mode: if context.is_cut() { "reduced counts (`--cut`)" } else { "full counts" },
            seed: context.seed(),
            lines: Vec::new(),
        }
    }

    /// Adds a row. A row that could not come to an end has failed.
    pub(crate) fn add(&mut self, row: Row, result: Result<Outcome>) {
        let outcome = result.unwrap_or_else(|failure| Outcome::broken(&failure.to_string()));
        self.lines.push((row, outcome));
    }

    /// Whether no row failed.
    pub(crate) fn passed(&self) -> bool {
        self.lines.iter().all(|(_, outcome)| !outcome.failed())
    }

    /// The row added last, as in the table.
    pub(crate) fn last_line(&self) -> String {
        self.lines.last().map(|(row, outcome)| self.line(*row, outcome)).unwrap_or_default()
    }

    /// Replaces what is between the markers of a document.
    ///
    /// # Errors
    /// The file or a marker is missing.
    pub(crate) fn write(&self, document: &Path) -> Result<()> {
        let old = std::fs::read_to_string(document)?;
        let (before, rest) = old.split_once(BEGIN).ok_or("the document has no begin marker")?;
        let (_, after) = rest.split_once(END).ok_or("the document has no end marker")?;
        std::fs::write(document, format!("{before}{BEGIN}\n\n{self}\n{END}{after}"))?;
        Ok(())
    }

    fn line(&self, row: Row, outcome: &Outcome) -> String {
        format!(
            "| {} | {} | {} | {} | {} | {} s |",
            row.number(),
            row.goal(),
            outcome.verdict(),
            outcome.counts(),
            outcome.control(),
            outcome.took().as_secs()
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took: Duration = self.lines.iter().map(|(_, outcome)| outcome.took()).sum();
        writeln!(f, "Machine: {}.", self.machine)?;
        writeln!(f, "Seed {}, {}, {} s in all.\n", self.seed, self.mode, took.as_secs())?;
        writeln!(f, "| # | goal | verdict | counted | negative control | took |")?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for (row, outcome) in &self.lines {
            writeln!(f, "{}", self.line(*row, outcome))?;
        }
        Ok(())
    }
}
