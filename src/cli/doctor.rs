//! `doctor`: what the configured backends really do, found by trying them.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt::Write as _;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{EXIT_MISTAKE, Report};
use crate::app::{self, Examined, Found};
use crate::backend::s3;
use crate::config::{Config, PoolConfig, Sources};
use crate::model::{PoolMode, StoreError};

/// Seconds that clocks may be apart before it is worth a word. S3 refuses requests from 900 s on.
const SKEW: u64 = 60;

/// Examines every backend and prints what was found.
pub fn run_doctor(sources: Sources, json: bool) -> ExitCode {
    let config = match Config::load(sources) {
        Ok(loaded) => loaded.config,
        Err(problems) => return super::report_problems(&problems),
    };
    let examined = match super::block_on(app::examine(&config)) {
        Ok(examined) => examined,
        Err(report) => return report.print(),
    };
    report(&examined, config.pool, json).print()
}

fn report(examined: &[Examined], pool: PoolConfig, json: bool) -> Report {
    if let [Examined { found: Found::Embedded(_), .. }] = examined {
        return Report {
            out: String::new(),
            err: "the provider is `local`: there is no remote backend to examine\n".into(),
            code: EXIT_MISTAKE,
        };
    }
    let failed = examined.iter().any(|backend| match &backend.found {
        Found::Failed(_) => true,
        Found::Report(report) => !report.problems.is_empty(),
        Found::Embedded(_) => false,
    });
    let out = if json { format!("{:#}\n", document(examined, pool)) } else { text(examined, pool) };
    Report { out, err: String::new(), code: u8::from(failed) }
}

fn mode(examined: &[Examined], pool: PoolConfig) -> &'static str {
    if examined.len() == 1 { "single" } else { pool.mode.as_str() }
}

fn document(examined: &[Examined], pool: PoolConfig) -> Value {
    let backends = examined.iter().map(|backend| {
        let (report, error) = match &backend.found {
            Found::Embedded(_) => (None, None),
            Found::Report(report) => (Some(report), None),
            Found::Failed(error) => (None, Some(why(error))),
        };
        json!({
            "name": backend.name,
            "provider": backend.provider,
            "role": backend.role,
            "report": report,
            "error": error,
        })
    });
    json!({ "mode": mode(examined, pool), "backends": backends.collect::<Vec<_>>() })
}

fn text(examined: &[Examined], pool: PoolConfig) -> String {
    let mut text = String::new();
    for backend in examined {
        let Examined { name, provider, role, found } = backend;
        // A `String` takes any text.
        let _ = write!(text, "{name} ({provider}, {}): ", role.as_str());
        match found {
            Found::Embedded(folder) => {
                let folder = folder.display();
                let _ = writeln!(text, "the embedded store in {folder}; nothing to try");
            }
            Found::Failed(error) => {
                let _ = writeln!(text, "cannot be examined: {}", why(error));
            }
            Found::Report(report) => findings(report, &mut text),
        }
        text.push('\n');
    }
    text.push_str(
        "native: the backend does it. gateway: this service does it for the backend, which holds \
         among the\nwriters of one process only. no: a request that needs it is refused.\n",
    );
    if examined.len() > 1 {
        text.push_str(together(pool.mode));
        text.push_str(&differences(examined, pool.mode));
    }
    text
}

/// Features that decide between writes of one key: for these it counts which member is asked first.
const DECIDING: [&str; 5] =
    ["create-only", "if-match", "delete-if-match", "copy-conditions", "multipart-conditions"];

/// What some of the members that are written to do themselves and this service does for others.
fn differences(examined: &[Examined], mode: PoolMode) -> String {
    let mut levels: BTreeMap<&str, [Vec<&str>; 2]> = BTreeMap::new();
    for Examined { name, role, found, .. } in examined {
        let Found::Report(report) = found else { continue };
        for finding in report.findings.iter().filter(|_| role.takes_writes()) {
            let [native, gateway] = levels.entry(finding.feature).or_default();
            match finding.verdict {
                s3::Verdict::Native => native.push(name),
                s3::Verdict::Gateway => gateway.push(name),
                s3::Verdict::No | s3::Verdict::Unknown => {}
            }
        }
    }
    levels.retain(|_, names| names.iter().all(|names| !names.is_empty()));
    if levels.is_empty() {
        return String::new();
    }
    let is_deciding = levels.keys().any(|feature| DECIDING.contains(feature));
    let mut text = String::from("\nThe backends differ:\n");
    for (feature, [native, gateway]) in levels {
        let _ = writeln!(
            text,
            "  {feature}: native at {}, gateway at {}",
            native.join(", "),
            gateway.join(", ")
        );
    }
    if is_deciding {
        text.push_str(match mode {
            PoolMode::Fallback => {
                "That counts as soon as there are several replicas: put one with native conditions first, it \
                 decides between\nwrites of one key.\n"
            }
            PoolMode::Mirror => {
                "That counts as soon as there are several replicas: those with native conditions decide between \
                 writes of one key,\nin whatever order.\n"
            }
        });
    }
    text
}

/// What went wrong, with its cause.
fn why(error: &StoreError) -> String {
    match error.source() {
        Some(cause) => format!("{error} ({cause})"),
        None => error.to_string(),
    }
}

fn findings(report: &s3::Report, text: &mut String) {
    let endpoint = report.endpoint.as_deref().unwrap_or("Amazon");
    let _ = writeln!(text, "bucket {} at {endpoint}", report.bucket);
    let width = report.findings.iter().map(|f| f.feature.len()).max().unwrap_or(0);
    for finding in &report.findings {
        let verdict = match finding.verdict {
            s3::Verdict::Native => "native",
            s3::Verdict::Gateway => "gateway",
            s3::Verdict::No => "no",
            s3::Verdict::Unknown => "unknown",
        };
        let _ = writeln!(text, "  {:width$}  {verdict:7}  {}", finding.feature, finding.detail);
    }
    if let Some(skew) = report.clock_skew {
        let late = skew.unsigned_abs() > SKEW;
        let advice = if late { ": set the clock, requests are refused from 900 s on" } else { "" };
        let _ = writeln!(text, "  its clock is {skew} s from ours{advice}");
    }
    for note in &report.notes {
        let _ = writeln!(text, "  note: {note}");
    }
    if !report.problems.is_empty() {
        let problems = report.problems.join(", ");
        let _ = writeln!(text, "  the service needs, and does not find: {problems}");
    }
}

/// What a pool of that mode keeps up, in the words of the README.
fn together(mode: PoolMode) -> &'static str {
    match mode {
        PoolMode::Fallback => {
            "\nfallback keeps writes going, and reads of what was written meanwhile: proofs that \
             only the first\nbackend holds are unreadable while it is dark.\n"
        }
        PoolMode::Mirror => {
            "\nmirror keeps reads going too: every backend holds every proof, and any of them can \
             be dark.\n"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Backend as _;
    use crate::backend::memory::Memory;
    use crate::model::{ErrorKind, Provider, Role};

    fn examined(name: &str, provider: Provider, found: Found) -> Examined {
        Examined { name: name.into(), provider, role: Role::ReadWrite, found }
    }

    fn pool() -> PoolConfig {
        PoolConfig { mode: PoolMode::Fallback, ..Config::default().pool }
    }

    #[test]
    fn the_embedded_store_alone_has_nothing_to_examine() {
        let alone = [examined("local", Provider::Local, Found::Embedded("./data".into()))];
        let report = report(&alone, pool(), false);
        assert_eq!((report.code, report.out.as_str()), (EXIT_MISTAKE, ""));
        assert!(report.err.contains("no remote backend"));
    }

    #[test]
    fn every_member_is_told_of_and_one_that_fails_is_the_exit_code() {
        let error = StoreError::new(ErrorKind::Unavailable, Provider::S3, "nobody answers");
        let members = [
            examined("far", Provider::S3, Found::Failed(error)),
            examined("near", Provider::Local, Found::Embedded("/data".into())),
        ];
        let told = report(&members, pool(), false);
        assert_eq!(told.code, 1);
        for part in [
            "far (s3, read-write): cannot be examined: nobody answers",
            "near (local, read-write): the embedded store in /data",
            "unreadable while it is dark",
        ] {
            assert!(told.out.contains(part), "{part:?} is missing:\n{}", told.out);
        }
        let told = report(&members, pool(), true);
        let document: Value = serde_json::from_str(&told.out).unwrap();
        assert_eq!((told.code, &document["mode"]), (1, &"fallback".into()));
        let [far, near] = ["far", "near"].map(|name| {
            let backends = document["backends"].as_array().unwrap();
            backends.iter().find(|backend| backend["name"] == name).unwrap().clone()
        });
        assert!(far["error"].as_str().unwrap().contains("nobody answers"));
        assert_eq!((&near["error"], &near["report"]), (&Value::Null, &Value::Null));
        let told = report(&members[1..], pool(), true);
        assert_eq!(told.code, EXIT_MISTAKE);
    }

    #[test]
    fn where_one_member_decides_by_itself_and_another_does_not_it_says_which_to_put_first() {
        let report = |feature, verdict| {
            let finding =
                |feature, verdict| s3::Finding { feature, verdict, detail: "seen".into() };
            Found::Report(s3::Report {
                provider: Provider::S3,
                endpoint: None,
                bucket: "b".into(),
                findings: vec![finding(feature, verdict), finding("range", s3::Verdict::Native)],
                capabilities: Memory::new().capabilities(),
                notes: Vec::new(),
                problems: Vec::new(),
                conclusive: true,
                clock_skew: None,
            })
        };
        let of_feature = |feature, second, mode| {
            let first = examined("near", Provider::S3, report(feature, s3::Verdict::Gateway));
            let members = [first, examined("far", Provider::S3, report(feature, second))];
            differences(&members, mode)
        };
        let of = |second, mode| of_feature("create-only", second, mode);
        let told = of(s3::Verdict::Native, PoolMode::Fallback);
        assert!(
            told.contains("create-only: native at far, gateway at near\nThat counts"),
            "{told}"
        );
        assert!(told.contains("put one with native conditions first"), "{told}");
        assert!(!told.contains("range"), "{told}");
        assert!(of(s3::Verdict::Native, PoolMode::Mirror).contains("in whatever order"));
        // The order of members counts for nothing else.
        let told = of_feature("object-lock", s3::Verdict::Native, PoolMode::Fallback);
        assert!(told.ends_with("object-lock: native at far, gateway at near\n"), "{told}");
        assert_eq!(of(s3::Verdict::Gateway, PoolMode::Fallback), "");
        assert_eq!(of(s3::Verdict::Unknown, PoolMode::Fallback), "");
    }
}
