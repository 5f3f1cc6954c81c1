//! Row 6: 24 faults of a backend and of the wire to it, under a load of real proofs.
//!
//! Each cell has a service, a backend and a wire of its own. Its fault first strikes a few
//! requests: callers see success after another try, or exactly so many of the refusals that the
//! table names. Then it lasts: callers see what the table names and nothing else, no call takes
//! longer than its bound, and when it is over the service serves again by itself. The journal is
//! settled, and what was in doubt is looked up in the bucket, past every wire.
//!
//! Controls: wrong bytes that nothing can detect must be counted as accepted, planted promises be
//! reported, and a cell with another fault's expectations fail.

mod cells;
mod control;
mod play;
mod played;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use self::cells::{CELLS, Cell};
use self::played::{BOUND, Played};
use super::{Context, Outcome};
use crate::remote::Mode;
use crate::{Failure, Result, interrupt};

/// Cells at once: most of their time they wait.
const AT_ONCE: usize = 4;

/// Runs the row.
///
/// # Errors
/// The harness could not come to an end.
pub(crate) fn run(context: &Context) -> Result<Outcome> {
    let cells: Vec<(Mode, Cell)> =
        Mode::ALL.iter().flat_map(|&mode| CELLS.map(|cell| (mode, cell))).collect();
    // Those that must fail are played among those that must not: they wait as much.
    let swapped = control::swapped()?.map(|cell| (Mode::Single, cell));
    let mut played = play_all(context, &[&cells[..], &swapped].concat())?;
    let swapped = played.split_off(cells.len());

    let mut amiss = Vec::new();
    let mut sum = Played::default();
    let mut as_specified = 0;
    for ((mode, cell), played) in cells.iter().zip(played) {
        as_specified += u32::from(played.amiss.is_empty());
        let name = format!("{} ({})", cell.name, mode.name());
        amiss.extend(played.amiss.iter().map(|what| format!("{name}: {what}")));
        sum.add(played);
    }
    if sum.corrupt > 0 {
        amiss.push(format!("{} bodies with wrong bytes accepted", sum.corrupt));
    }
    let control = control::run(context, &swapped)?;
    let modes: Vec<&str> = Mode::ALL.iter().map(|mode| mode.name()).collect();
    let counts = format!(
        "{as_specified} of {} cells as specified ({}); {} calls, {} requests struck, {} \
         acknowledged, {} refused {:?}, {} cut, {} in doubt; {} bodies hashed, {} corrupt bytes \
         accepted; slowest call {:.1} s (bound {} s), back {:.1} s and repaired {:.1} s after the fault \
         at most; {}",
        cells.len(),
        modes.join(", "),
        sum.calls,
        sum.struck,
        sum.acknowledged,
        sum.refusals.values().sum::<u64>(),
        sum.refusals,
        sum.cut,
        sum.doubts,
        sum.hashed,
        sum.corrupt,
        sum.slowest.as_secs_f32(),
        BOUND.as_secs(),
        sum.slowest_recovery.as_secs_f32(),
        sum.slowest_drain.as_secs_f32(),
        sum.findings,
    );
    Ok(Outcome::judged(&amiss, counts, control.caught, control.told))
}

/// Plays cells, some at once; in the order in which they were given.
fn play_all(context: &Context, cells: &[(Mode, Cell)]) -> Result<Vec<Played>> {
    let next = AtomicUsize::new(0);
    let played = Mutex::new(BTreeMap::new());
    let worker = || -> Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some((mode, cell)) = cells.get(number) else { return Ok(()) };
            interrupt::check()?;
            let result = play::play(context, &format!("fault-{number}"), *mode, cell)
                .map_err(|failure| Failure::from(format!("{}: {failure}", cell.name)))?;
            played.lock().map_err(|_| "another cell panicked")?.insert(number, result);
        }
    };
    thread::scope(|scope| {
        let handles: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(worker)).collect();
        handles.into_iter().try_for_each(|handle| {
            handle.join().unwrap_or_else(|_| Err(Failure::from("a cell panicked")))
        })
    })?;
    let played = played.into_inner().map_err(|_| "a cell panicked")?;
    Ok(played.into_values().collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_cell_has_a_name_of_its_own_and_says_what_to_see() {
        let names: BTreeSet<&str> = CELLS.iter().map(|cell| cell.name).collect();
        assert_eq!(names.len(), CELLS.len());
        for cell in &CELLS {
            for column in Mode::ALL.map(|mode| cell.column(mode)) {
                let all = column.once.iter().chain(column.lasting);
                assert!(all.clone().count() > 0 && all.clone().all(|(_, seen)| !seen.is_empty()));
            }
        }
    }
}
