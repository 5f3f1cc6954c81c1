//! Contestants that stay up, loaded in turn: A B C A B C, each checked, warmed up, measured, and
//! checked again.

use std::path::Path;

use super::{Context, mib, progress};
use crate::Result;
use crate::contestant::{Contestant, Running, Told};
use crate::figures::{Series, number, ratio};
use crate::load::{self, Pressure, Script, Seen};
use crate::report::table;

/// A contestant that is up.
pub(crate) struct Entrant {
    contestant: Contestant,
    server: Running,
}

impl Entrant {
    /// Starts it on a folder of its own, and fills it where it keeps what it is given.
    pub(crate) fn start(
        context: &Context,
        contestant: Contestant,
        name: &str,
        fill: impl FnOnce(&Running) -> Result<()>,
    ) -> Result<Self> {
        let server = contestant.start(&context.folder(name))?;
        if contestant.keeps() {
            fill(&server).map_err(|error| format!("{}: {error}", contestant.label))?;
        }
        Ok(Self { contestant, server })
    }
}

/// A limit that is no server: measured in turn with those that are.
pub(crate) struct Limit<'a> {
    /// Its row in the tables.
    pub(crate) label: &'a str,
    /// Measures it for the run of this number.
    pub(crate) measure: &'a dyn Fn(usize) -> Result<Told>,
}

/// Loads each in turn and ends them. One wrong answer of one of them is an error of the whole.
pub(crate) fn alternated(
    context: &Context,
    entrants: Vec<Entrant>,
    script: &Script,
    pressure: &Pressure,
    body_size: usize,
    check: impl Fn(&Running) -> Result<()>,
    limit: Option<Limit<'_>>,
) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = entrants.iter().map(|e| Row::new(&e.contestant.label)).collect();
    let mut limit = limit.map(|limit| (Row::new(limit.label), limit));
    for run in 1..=pressure.runs {
        for (entrant, row) in entrants.iter().zip(&mut rows) {
            progress(&format!("{script:?}, run {run}: {}", row.label));
            let one_run = || -> Result<Measured> {
                let duration = context.warm_up.min(pressure.duration);
                let warm_up = Pressure { duration, ..pressure.clone() };
                check(&entrant.server)?;
                measure(context.scratch.path(), &entrant.server, script, &warm_up)?;
                let measured = measure(context.scratch.path(), &entrant.server, script, pressure)?;
                if measured.seen.bytes < measured.seen.requests * body_size as u64 {
                    return Err("its answers were too short".into());
                }
                check(&entrant.server)?;
                Ok(measured)
            };
            row.push(one_run().map_err(|error| format!("{} is refused: {error}", row.label))?);
        }
        if let Some((row, limit)) = &mut limit {
            progress(&format!("{script:?}, run {run}: {}", row.label));
            row.push_told(&(limit.measure)(run)?);
        }
    }
    for entrant in entrants {
        entrant.server.stop()?;
    }
    rows.extend(limit.map(|(row, _)| row));
    Ok(rows)
}

/// One contestant's figures over its runs.
#[derive(Debug, Default)]
pub(crate) struct Row {
    pub(super) label: String,
    pub(super) per_second: Series,
    pub(super) p50: Series,
    pub(super) p99: Series,
    pub(super) cpu: Series,
    pub(super) peak: Series,
}

impl Row {
    /// Nothing measured yet.
    pub(super) fn new(label: &str) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    /// Adds what a run of `wrk` saw and what it cost.
    pub(super) fn push(&mut self, measured: Measured) {
        let Measured { seen, cpu_micros, peak_mib } = measured;
        self.per_second.push(seen.per_second());
        self.p50.push(seen.p50 as f64);
        self.p99.push(seen.p99 as f64);
        self.cpu.push(cpu_micros);
        self.peak.push(peak_mib);
    }

    /// Adds the runs of another row.
    pub(super) fn extend(&mut self, other: Self) {
        let Self { per_second, p50, p99, cpu, peak, .. } = other;
        self.per_second.extend(per_second);
        self.p50.extend(p50);
        self.p99.extend(p99);
        self.cpu.extend(cpu);
        self.peak.extend(peak);
    }

    /// Adds what a limit that is no server told of itself.
    pub(super) fn push_told(&mut self, told: &Told) {
        self.per_second.push(told.per_second);
        self.p50.push(told.p50);
        self.p99.push(told.p99);
        self.cpu.push(told.cpu_micros);
        self.peak.push(mib(told.peak_resident));
    }
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(super) seen: Seen,
    cpu_micros: f64,
    peak_mib: f64,
}

/// Loads a running contestant and takes its costs.
pub(crate) fn measure(
    folder: &Path,
    server: &Running,
    script: &Script,
    pressure: &Pressure,
) -> Result<Measured> {
    let before = server.cost();
    let seen = load::run(folder, server.address, script, pressure)?;
    let after = server.cost();
    let cpu_micros = (after.cpu_seconds - before.cpu_seconds) * 1e6 / seen.requests as f64;
    Ok(Measured { seen, cpu_micros, peak_mib: mib(after.peak_resident) })
}

/// Rows as Markdown, with the ratio of each to the rows named.
pub(super) fn compare(rows: &[Row], unit: &str, references: &[&str]) -> String {
    compare_and_add(rows, unit, references, None)
}

/// Rows as Markdown, with latencies as shares of those of the row named.
pub(super) fn latencies(rows: &[Row], reference: &str) -> String {
    let mut lines = vec![vec![
        String::new(),
        "p50 µs".into(),
        format!("p50 of {reference}"),
        "p99 µs".into(),
        format!("p99 of {reference}"),
        "per second".into(),
        "CPU µs".into(),
    ]];
    let base = rows.iter().find(|row| row.label == reference);
    for row in rows {
        let share =
            |of: &dyn Fn(&Row) -> &Series| base.map_or("-".into(), |b| ratio(of(row), of(b)));
        lines.push(vec![
            row.label.clone(),
            row.p50.spread(),
            share(&|row| &row.p50),
            row.p99.spread(),
            share(&|row| &row.p99),
            number(row.per_second.median()),
            number(row.cpu.median()),
        ]);
    }
    table(&lines)
}

/// The same, with what the latency has more than that of the row named.
pub(super) fn compare_and_add(
    rows: &[Row],
    unit: &str,
    references: &[&str],
    added_to: Option<&str>,
) -> String {
    let mut head = vec![String::new(), unit.to_owned()];
    head.extend(references.iter().map(|label| format!("of {label}")));
    head.extend(["p50 µs", "p99 µs"].map(String::from));
    head.extend(added_to.into_iter().flat_map(|_| ["added p50", "added p99"]).map(String::from));
    head.extend(["CPU µs", "peak RSS MiB"].map(String::from));
    let mut lines = vec![head];
    for row in rows {
        let mut line = vec![row.label.clone(), row.per_second.spread()];
        for label in references {
            let reference = rows.iter().find(|row| row.label == *label);
            line.push(reference.map_or("-".into(), |r| ratio(&row.per_second, &r.per_second)));
        }
        line.extend([&row.p50, &row.p99].map(|s| number(s.median())));
        if let Some(base) = added_to.and_then(|label| rows.iter().find(|r| r.label == label)) {
            let added = |a: &Series, b: &Series| number(a.median() - b.median());
            line.extend([added(&row.p50, &base.p50), added(&row.p99, &base.p99)]);
        }
        line.extend([&row.cpu, &row.peak].map(|s| number(s.median())));
        lines.push(line);
    }
    table(&lines)
}
