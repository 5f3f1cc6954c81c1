//! `reconcile`: compares the members of the pool, name by name, and brings them in order.

use std::process::ExitCode;

use super::Report;
use crate::app::{self, ReconcileError};
use crate::config::{Config, Sources};
use crate::pool::{Reconcile, ReconcileReport};

/// Compares, and prints what came of it.
pub fn run_reconcile(sources: Sources, dry_run: bool, verify: bool, json: bool) -> ExitCode {
    let how = Reconcile { dry_run, verify_bytes: verify };
    let config = match Config::load(sources) {
        Ok(loaded) => loaded.config,
        Err(problems) => return super::report_problems(&problems),
    };
    match super::block_on(app::reconcile(&config, how)) {
        Ok(result) => report(result, how, json).print(),
        Err(report) => report.print(),
    }
}

/// Exits with 0 where all members were compared and are in order, or are so now.
fn report(result: Result<ReconcileReport, ReconcileError>, how: Reconcile, json: bool) -> Report {
    let found = match result {
        Ok(found) => found,
        Err(error) => {
            return Report { out: String::new(), err: format!("{error}\n"), code: 1 };
        }
    };
    let code = u8::from(!is_in_order(&found, how));
    let out = if json {
        serde_json::to_string_pretty(&found).unwrap_or_default() + "\n"
    } else {
        text(&found, how)
    };
    Report { out, err: String::new(), code }
}

fn is_in_order(found: &ReconcileReport, how: Reconcile) -> bool {
    let differ = found.missing + found.extra + found.different + found.corrupt;
    found.unreachable.is_empty()
        && found.failed + found.postponed == 0
        && (differ == 0 || !how.dry_run)
}

fn text(found: &ReconcileReport, how: Reconcile) -> String {
    let mut text = format!(
        "{} names compared\n{} copies missing\n{} copies where they do not belong\n{} copies of \
         another version\n",
        found.compared, found.missing, found.extra, found.different
    );
    if how.verify_bytes {
        text += &format!(
            "{} copies with wrong bytes, {} put aside\n",
            found.corrupt, found.quarantined
        );
    }
    text += &match how.dry_run {
        true => "nothing was changed (--dry-run)\n".to_owned(),
        false => format!("{} names brought in order\n", found.repaired),
    };
    if found.failed > 0 {
        text += &format!("{} names could not be brought in order\n", found.failed);
    }
    if found.postponed > 0 {
        text += &format!(
            "{} names are too new to tell whether they were deleted: compare again in two minutes\n",
            found.postponed
        );
    }
    for name in &found.unreachable {
        text += &format!("{name} could not be compared\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRY: Reconcile = Reconcile { dry_run: true, verify_bytes: false };
    const WET: Reconcile = Reconcile { dry_run: false, verify_bytes: true };

    fn found() -> ReconcileReport {
        ReconcileReport { compared: 9, missing: 2, repaired: 2, ..ReconcileReport::default() }
    }

    #[test]
    fn differences_are_the_exit_code_of_a_dry_run_only() {
        let told = report(Ok(found()), DRY, false);
        assert_eq!(told.code, 1);
        assert!(told.out.contains("9 names compared\n2 copies missing\n"), "{}", told.out);
        assert!(told.out.contains("nothing was changed"), "{}", told.out);
        let told = report(Ok(found()), WET, false);
        assert_eq!(told.code, 0);
        assert!(told.out.contains("2 names brought in order"), "{}", told.out);
        assert_eq!(report(Ok(ReconcileReport::default()), DRY, false).code, 0);
    }

    #[test]
    fn a_member_that_could_not_be_compared_is_a_failure() {
        let found = ReconcileReport { unreachable: vec!["far".into()], ..found() };
        let told = report(Ok(found.clone()), WET, false);
        assert_eq!(told.code, 1);
        assert!(told.out.contains("far could not be compared"));
        let told = report(Ok(found), WET, true);
        let document: serde_json::Value = serde_json::from_str(&told.out).unwrap();
        assert_eq!(
            (&document["compared"], &document["unreachable"][0]),
            (&9.into(), &"far".into())
        );
    }

    #[test]
    fn a_name_that_stays_in_disorder_is_a_failure() {
        let told = report(Ok(ReconcileReport { failed: 1, ..found() }), WET, false);
        assert_eq!(told.code, 1);
        assert!(told.out.contains("1 names could not be brought in order"), "{}", told.out);
    }

    #[test]
    fn one_backend_has_nothing_to_be_compared_with() {
        let told = report(Err(ReconcileError::Single), WET, false);
        assert_eq!(told.code, 1);
        assert!(told.err.contains("STORAGE_FALLBACK_PROVIDER"));
    }
}
