//! Rows 8 and 9: what the project's own suites count, told in the table.
//!
//! Nothing is broken below the service for them, so their harness is the test suite: every call by every
//! credential on keys of every relation (`tests/it/authorisation`), and hostile requests by hand, generated and
//! by fuzzing (`tests/e2e`, `fuzz`). Each suite prints what it counted (`counted: …`) and what its controls
//! caught (`control: …`); it fails where one of both is not as it must be. Here they are run as a person
//! would, and those lines are read.

use std::process::{Command, Stdio};

use super::{Context, Outcome};
use crate::Result;

/// Row 8: authorisation.
///
/// # Errors
/// The suite cannot be started.
pub(super) fn authorisation(_: &Context) -> Result<Outcome> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut suite = Command::new(cargo);
    suite.args(["test", "--workspace", "--locked", "--quiet", "--test", "it"]);
    suite.args(["--", "--nocapture", "authorisation"]);
    Ok(Told::by([suite])?.judged(&[("cells", 5_000), ("changed signed URLs", 5_000)]))
}

/// Row 9: hostile requests and fuzzing.
///
/// # Errors
/// A suite cannot be started.
pub(super) fn hostile(context: &Context) -> Result<Outcome> {
    let mut requests = Command::new(".ci/run");
    requests.args(["e2e", "tests/e2e/test_hostile_corpus.py", "tests/e2e/test_hostile.py"]);
    requests.args(["tests/e2e/test_schemathesis.py", "tests/e2e/test_schemathesis_rights.py"]);
    requests.env("SCHEMATHESIS_TIMES", context.count("4", "1"));
    let mut fuzzing = Command::new(".ci/run");
    fuzzing.args(["fuzz", context.count("10", "5")]);
    // Of Schemathesis and fuzzing a run in passing does fewer.
    let least = |full: u64, cut: u64| context.count(full, cut);
    Ok(Told::by([requests, fuzzing])?.judged(&[
        ("hostile requests of HTTP/1", 300),
        ("malformed HTTP/2 connections", 50),
        ("requests of Schemathesis with a token", least(2_000, 200)),
        ("requests of Schemathesis, every answer", least(10_000, 1_000)),
        ("fuzz runs", least(1_000_000, 100_000)),
    ]))
}

/// What suites said.
#[derive(Debug, Default)]
struct Told {
    counted: Vec<String>,
    controls: Vec<String>,
    amiss: Vec<String>,
}

impl Told {
    /// Runs suites in the checkout, one after the other.
    fn by(suites: impl IntoIterator<Item = Command>) -> Result<Self> {
        let mut told = Self::default();
        for mut suite in suites {
            let output = suite.current_dir(crate::project()).stdin(Stdio::null()).output()?;
            told.read(&String::from_utf8_lossy(&output.stdout));
            if !output.status.success() {
                let text = String::from_utf8_lossy(&output.stdout).into_owned();
                let end: Vec<_> = text.lines().rev().take(3).collect();
                told.amiss.push(format!("a suite failed ({}): {}", output.status, end.join(" < ")));
            }
        }
        Ok(told)
    }

    fn read(&mut self, text: &str) {
        for line in text.lines() {
            if let Some((_, control)) = line.split_once("control: ") {
                self.controls.push(control.to_owned());
            } else if let Some((_, counted)) = line.split_once("counted: ") {
                self.counted.push(counted.to_owned());
            }
        }
    }

    /// Passed where all passed, and of each of these there were at least so many.
    fn judged(mut self, least: &[(&str, u64)]) -> Outcome {
        for (what, least) in least {
            let told = self.counted.iter().find(|line| line.contains(what));
            let number = told.and_then(|line| line.split(' ').next()?.parse::<u64>().ok());
            match number {
                Some(number) if number >= *least => {}
                Some(number) => {
                    self.amiss.push(format!("{number} {what}, and {least} are wanted"));
                }
                None => self.amiss.push(format!("nobody told how many {what} there were")),
            }
        }
        let caught = !self.controls.is_empty();
        Outcome::judged(&self.amiss, self.counted.join("; "), caught, self.controls.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_that_tells_too_little_or_fails_fails_the_row() {
        let told = |text: &str| {
            let mut told = Told::default();
            told.read(text);
            told
        };
        let text = "test a ... counted: 7 cells\nnoise\ncontrol: 3 caught\n";
        let cells = |least| [("cells", least)];
        assert!(!told(text).judged(&cells(7)).failed());
        assert!(told(text).judged(&cells(8)).failed());
        assert!(told(text).judged(&[("urls", 0)]).failed());
        assert!(told("counted: 7 cells").judged(&cells(7)).failed(), "no control");
        let failed = Told::by([Command::new("false")]).unwrap();
        assert!(failed.judged(&[]).failed());
    }
}
