//! `doctor`: what the configured backend really does, found by trying it.

use std::error::Error as _;
use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::json;

use super::{EXIT_MISTAKE, Report};
use crate::app;
use crate::backend::s3;
use crate::config::{Config, RemoteConfig, Sources};
use crate::model::StoreError;

/// Seconds that clocks may be apart before it is worth a word. S3 refuses requests from 900 s on.
const SKEW: u64 = 60;

/// Examines the backend and prints what was found.
pub fn run_doctor(sources: Sources, json: bool) -> ExitCode {
    let config = match Config::load(sources) {
        Ok(loaded) => loaded.config,
        Err(problems) => return super::report_problems(&problems),
    };
    let Some(remote) = &config.storage.remote else {
        let err = "the provider is `local`: there is no remote backend to examine\n".into();
        return Report { out: String::new(), err, code: EXIT_MISTAKE }.print();
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let examined = match runtime {
        Ok(runtime) => runtime.block_on(app::examine(&config.storage, remote)),
        Err(error) => {
            let err = format!("the runtime does not start: {error}\n");
            return Report { out: String::new(), err, code: 1 }.print();
        }
    };
    report(remote, examined, json).print()
}

fn report(remote: &RemoteConfig, examined: Result<s3::Report, StoreError>, json: bool) -> Report {
    let found = match examined {
        Ok(found) => found,
        Err(error) => return failure(remote, &error, json),
    };
    // A `String` takes any text, and a report is always JSON.
    let out = match json {
        true => serde_json::to_string_pretty(&found).unwrap_or_default() + "\n",
        false => text(&found),
    };
    Report { out, err: String::new(), code: u8::from(!found.problems.is_empty()) }
}

/// The backend could not even be written to.
fn failure(remote: &RemoteConfig, error: &StoreError, json: bool) -> Report {
    let (endpoint, bucket) = (remote.endpoint.as_ref(), &remote.bucket);
    let cause = error.source().map(ToString::to_string);
    if json {
        let document = json!({
            "provider": error.provider(),
            "endpoint": endpoint.map(ToString::to_string),
            "bucket": bucket,
            "error": error.detail(),
            "cause": cause,
        });
        return Report { out: format!("{document:#}\n"), err: String::new(), code: 1 };
    }
    let place = endpoint.map_or_else(|| "Amazon".to_owned(), ToString::to_string);
    let mut err = format!("the bucket {bucket} at {place} cannot be examined: {error}\n");
    if let Some(cause) = cause {
        let _ = writeln!(err, "cause: {cause}");
    }
    Report { out: String::new(), err, code: 1 }
}

fn text(report: &s3::Report) -> String {
    let endpoint = report.endpoint.as_deref().unwrap_or("Amazon");
    let mut text = format!("{} at {endpoint}, bucket {}\n\n", report.provider, report.bucket);
    let width = report.findings.iter().map(|f| f.feature.len()).max().unwrap_or(0);
    for finding in &report.findings {
        let verdict = match finding.verdict {
            s3::Verdict::Native => "native",
            s3::Verdict::Gateway => "gateway",
            s3::Verdict::No => "no",
            s3::Verdict::Unknown => "unknown",
        };
        let _ = writeln!(text, "{:width$}  {verdict:7}  {}", finding.feature, finding.detail);
    }
    if let Some(skew) = report.clock_skew {
        let late = skew.unsigned_abs() > SKEW;
        let advice = if late { ": set the clock, requests are refused from 900 s on" } else { "" };
        let _ = writeln!(text, "\nits clock is {skew} s from ours{advice}");
    }
    for note in &report.notes {
        let _ = writeln!(text, "\nnote: {note}");
    }
    if !report.problems.is_empty() {
        let problems = report.problems.join(", ");
        let _ = writeln!(text, "\nthe service needs, and does not find: {problems}");
    }
    text.push_str(
        "\nnative: the backend does it. gateway: this service does it for the backend, which holds \
         among the\nwriters of one process only. no: a request that needs it is refused.\n",
    );
    text
}
