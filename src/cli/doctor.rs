//! `doctor`: what the configured backend really does, found by trying it.

use std::fmt::Write as _;
use std::process::ExitCode;

use super::{EXIT_MISTAKE, Report};
use crate::app;
use crate::backend::s3;
use crate::config::{Config, Sources};
use crate::model::StoreError;

/// Examines the backend and prints what was found.
pub fn run_doctor(sources: Sources, json: bool) -> ExitCode {
    let config = match Config::load(sources) {
        Ok(loaded) => loaded.config,
        Err(problems) => return super::report_problems(&problems),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let examined = match runtime {
        Ok(runtime) => runtime.block_on(app::examine(&config.storage)),
        Err(error) => {
            let err = format!("the runtime does not start: {error}\n");
            return Report { out: String::new(), err, code: 1 }.print();
        }
    };
    report(examined, json).print()
}

fn report(examined: Option<Result<s3::Report, StoreError>>, json: bool) -> Report {
    match examined {
        None => Report {
            out: String::new(),
            err: "the provider is `local`: there is no remote backend to examine\n".into(),
            code: EXIT_MISTAKE,
        },
        Some(Err(error)) => {
            let err = format!("the backend cannot be examined: {error:?}\n");
            Report { out: String::new(), err, code: 1 }
        }
        Some(Ok(found)) if json => {
            let document = serde_json::to_string_pretty(&found).unwrap_or_default();
            Report { out: document + "\n", err: String::new(), code: 0 }
        }
        Some(Ok(found)) => Report { out: text(&found), err: String::new(), code: 0 },
    }
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
        // A `String` takes any text.
        let _ = writeln!(text, "{:width$}  {verdict:7}  {}", finding.feature, finding.detail);
    }
    if let Some(skew) = report.clock_skew {
        let _ = writeln!(text, "\nits clock is {skew} s from ours");
    }
    text.push_str(
        "\nnative: the backend does it. gateway: this service does it for the backend, which holds \
         among the\nwriters of one process only. no: a request that needs it is refused.\n",
    );
    text
}
