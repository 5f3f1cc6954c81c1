//! Ctrl-C and SIGTERM: the harness stops at the next step, and its guards clean up.
//!
//! Mounts, loop devices, memory groups and processes are held by guards that undo them on drop.
//! A signal must therefore not end the process: it raises a flag that every loop asks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::Result;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Catches SIGINT and SIGTERM from now on.
pub(crate) fn install() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            // A second signal is no hurry: cleaning up takes a second or two.
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                REQUESTED.store(true, Ordering::SeqCst);
            }
        });
    });
    Ok(())
}

/// Whether somebody wants the harness to stop.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// An error where somebody wants the harness to stop.
pub(crate) fn check() -> Result<()> {
    if requested() { Err("interrupted".into()) } else { Ok(()) }
}

/// Asks every few milliseconds until `done` gives something, the time is up (`None`), or
/// somebody wants the harness to stop.
pub(crate) fn poll<T>(limit: Duration, mut done: impl FnMut() -> Option<T>) -> Result<Option<T>> {
    let start = Instant::now();
    loop {
        if let Some(value) = done() {
            return Ok(Some(value));
        }
        check()?;
        if start.elapsed() > limit {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(2));
    }
}
