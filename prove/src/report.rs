//! The table: one line a row, on the screen and between two markers of docs/RELIABILITY.md.
//!
//! Rows may be measured in different runs: a line names its run by a letter, and the runs are listed
//! below the table. Writing replaces the lines of the rows that ran and keeps those of the others.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::machine;
use crate::rows::{Context, Outcome, Row};

const BEGIN: &str = "<!-- begin of the measured table: written by `just prove --write` -->";
const END: &str = "<!-- end of the measured table -->";
const HEAD: &str = "| # | goal | verdict | counted | negative control | took | run |";

/// What all rows said.
#[derive(Debug)]
pub(crate) struct Report {
    /// Machine, commit, seed, counts.
    run: String,
    lines: Vec<(Row, Outcome)>,
}

impl Report {
    /// An empty table.
    pub(crate) fn new(context: &Context) -> Self {
        let mode = if context.is_cut() { "reduced counts (`--cut`)" } else { "full counts" };
        let machine = machine::describe(context.work());
        Self { run: format!("{machine}; seed {}, {mode}", context.seed()), lines: Vec::new() }
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
        self.lines.last().map(|(row, outcome)| line(*row, outcome)).unwrap_or_default()
    }

    /// Replaces what is between the markers of a document, but for the rows that did not run.
    ///
    /// # Errors
    /// The file or a marker is missing, or what is between them is no such table.
    pub(crate) fn write(&self, document: &Path) -> Result<()> {
        let old = std::fs::read_to_string(document)?;
        let (before, rest) = old.split_once(BEGIN).ok_or("the document has no begin marker")?;
        let (table, after) = rest.split_once(END).ok_or("the document has no end marker")?;
        let table = Table::read(table)?.replaced_by(self.table());
        std::fs::write(document, format!("{before}{BEGIN}\n\n{table}\n{END}{after}"))?;
        Ok(())
    }

    fn table(&self) -> Table {
        let of_row = |(row, outcome): &(Row, Outcome)| {
            (row.number(), (line(*row, outcome), self.run.clone()))
        };
        Table(self.lines.iter().map(of_row).collect())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let took: Duration = self.lines.iter().map(|(_, outcome)| outcome.took()).sum();
        writeln!(f, "{}", self.table())?;
        write!(f, "{} s in all.", took.as_secs())
    }
}

/// All of a row but its run.
fn line(row: Row, outcome: &Outcome) -> String {
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

/// By number of the row: its line, and the run that it is of.
#[derive(Debug, PartialEq, Eq)]
struct Table(BTreeMap<u32, (String, String)>);

impl Table {
    /// Reads what [`fmt::Display`] wrote.
    fn read(text: &str) -> Result<Self> {
        let unknown = |line: &str| format!("the document's table is not understood: {line}");
        let mut runs = BTreeMap::new();
        for line in text.lines() {
            let Some(run) = line.strip_prefix("- **") else { continue };
            let (letter, run) = run.split_once("**: ").ok_or_else(|| unknown(line))?;
            runs.insert(letter, run.trim_end_matches('.'));
        }
        let mut rows = BTreeMap::new();
        let lines = text.lines().filter(|line| line.starts_with("| "));
        for line in lines.filter(|line| *line != HEAD) {
            let number = line.split(' ').nth(1).and_then(|number| number.parse().ok());
            let cells = line.strip_suffix(" |").and_then(|line| line.rsplit_once(' '));
            let (Some(number), Some((cells, letter))) = (number, cells) else {
                return Err(unknown(line).into());
            };
            let run = runs.get(letter).ok_or_else(|| unknown(line))?;
            rows.insert(number, (cells.to_owned(), (*run).to_owned()));
        }
        Ok(Self(rows))
    }

    fn replaced_by(mut self, newer: Self) -> Self {
        self.0.extend(newer.0);
        self
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<&str> = Vec::new();
        writeln!(f, "{HEAD}\n|---|---|---|---|---|---|---|")?;
        for (cells, run) in self.0.values() {
            let place = runs.iter().position(|known| known == run).unwrap_or_else(|| {
                runs.push(run);
                runs.len() - 1
            });
            writeln!(f, "{cells} {} |", letter(place))?;
        }
        writeln!(f)?;
        for (place, run) in runs.iter().enumerate() {
            writeln!(f, "- **{}**: {run}.", letter(place))?;
        }
        Ok(())
    }
}

/// There are no more runs than rows.
fn letter(place: usize) -> char {
    (b'A'..=b'Z').nth(place).map_or('?', char::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(u32, &str)]) -> Table {
        let row = |&(number, run): &(u32, &str)| {
            (number, (format!("| {number} | goal of {run} | 3 s |"), format!("machine; {run}")))
        };
        Table(rows.iter().map(row).collect())
    }

    #[test]
    fn what_was_written_is_read() {
        for rows in [&[][..], &[(1, "old"), (2, "new"), (11, "old")]] {
            let table = table(rows);
            assert_eq!(Table::read(&table.to_string()).unwrap(), table);
        }
        assert!(Table::read("| 1 | goal | 3 s | A |\n").is_err(), "a run that is not named");
        assert!(Table::read("| one | goal | A |\n\n- **A**: run.\n").is_err());
    }

    #[test]
    fn rows_that_did_not_run_are_kept() {
        let merged = table(&[(1, "old"), (6, "old"), (11, "older")]);
        let merged = merged.replaced_by(table(&[(6, "new"), (7, "new")]));
        assert_eq!(merged, table(&[(1, "old"), (6, "new"), (7, "new"), (11, "older")]));
        let text = merged.to_string();
        let runs: Vec<&str> = text.lines().filter(|line| line.starts_with("- ")).collect();
        let wanted =
            ["- **A**: machine; old.", "- **B**: machine; new.", "- **C**: machine; older."];
        assert_eq!(runs, wanted);
        assert!(text.contains("| 7 | goal of new | 3 s | B |"));
    }
}
