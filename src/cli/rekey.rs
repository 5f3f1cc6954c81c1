//! `rekey`: brings what is sealed under retired keys under the active one.

use std::process::ExitCode;

use serde_json::json;

use super::Report;
use crate::app::{self, Rekey, RekeyError, StartError};
use crate::config::{Config, Sources};
use crate::vault::Rewrapped;

/// Goes through all proofs, and prints what came of it.
pub fn run_rekey(sources: Sources, how: Rekey, json: bool) -> ExitCode {
    let config = match Config::load(sources) {
        Ok(loaded) => loaded.config,
        Err(problems) => return super::report_problems(&problems),
    };
    let prefix = config.storage.namespace.prefix().to_owned();
    let dry_run = how.dry_run;
    let stop = async { drop(tokio::signal::ctrl_c().await) };
    match super::block_on(app::rekey(&config, how, stop)) {
        Ok(result) => report(result, &prefix, dry_run, json).print(),
        Err(report) => report.print(),
    }
}

type Outcome = Result<(Rewrapped, Result<(), RekeyError>), StartError>;

/// Exits with 0 where every sealed proof is under the active key, or of a dry run could be.
fn report(result: Outcome, prefix: &str, dry_run: bool, json: bool) -> Report {
    let (found, ended) = match result {
        Ok(found) => found,
        Err(error) => return Report { out: String::new(), err: format!("{error}\n"), code: 1 },
    };
    let complete = ended.is_ok() && found.key_missing + found.failed == 0;
    let last = found.last.as_deref().and_then(|name| name.strip_prefix(prefix));
    let out = if json {
        let document = json!({
            "complete": complete,
            "dry_run": dry_run,
            "looked_at": found.looked_at,
            "plain": found.plain,
            "current": found.current,
            "rewrapped": found.rewrapped,
            "overtaken": found.overtaken,
            "key_missing": found.key_missing,
            "failed": found.failed,
            "last": last,
        });
        format!("{document:#}\n")
    } else {
        text(&found, dry_run)
    };
    let err = match (&ended, last) {
        (Ok(()), _) => String::new(),
        (Err(error), None) => format!("{error}\n"),
        (Err(error), Some(last)) => format!("{error}\nto go on from here: --after '{last}'\n"),
    };
    Report { out, err, code: u8::from(!complete) }
}

fn text(found: &Rewrapped, dry_run: bool) -> String {
    let Rewrapped { looked_at, plain, current, rewrapped, overtaken, key_missing, failed, .. } =
        found;
    let done = if dry_run { "to be rekeyed (--dry-run)" } else { "rekeyed" };
    let mut text = format!(
        "{looked_at} proofs looked at\n{plain} not sealed\n{current} under the active key before\n\
         {rewrapped} {done}\n"
    );
    for (count, what) in [
        (overtaken, "deleted meanwhile"),
        (key_missing, "under a key that is not in the keyring"),
        (failed, "damaged, or written by others again and again"),
    ] {
        if *count > 0 {
            text += &format!("{count} {what}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found() -> Rewrapped {
        Rewrapped {
            looked_at: 9,
            rewrapped: 2,
            last: Some("proofs/x/y".into()),
            ..Rewrapped::default()
        }
    }

    #[test]
    fn what_is_left_under_other_keys_is_the_exit_code() {
        let told = report(Ok((found(), Ok(()))), "proofs/", false, false);
        assert_eq!((told.code, told.err.as_str()), (0, ""));
        assert!(told.out.contains("2 rekeyed\n"), "{}", told.out);
        let told = report(Ok((found(), Ok(()))), "proofs/", true, false);
        assert!(told.code == 0 && told.out.contains("2 to be rekeyed (--dry-run)"));
        for left in [Rewrapped { key_missing: 1, ..found() }, Rewrapped { failed: 1, ..found() }] {
            assert_eq!(report(Ok((left, Ok(()))), "proofs/", false, false).code, 1);
        }
    }

    #[test]
    fn who_was_stopped_is_told_where_to_go_on() {
        let told = report(Ok((found(), Err(RekeyError::Stopped))), "proofs/", false, true);
        assert_eq!(told.code, 1);
        assert!(told.err.contains("--after 'x/y'"), "{}", told.err);
        let document: serde_json::Value = serde_json::from_str(&told.out).unwrap();
        assert_eq!((&document["complete"], &document["last"]), (&false.into(), &"x/y".into()));
    }
}
