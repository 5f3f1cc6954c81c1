//! Reads back what was promised, and compares.
//!
//! Three views must agree with the journal: every key read one by one, the listing, and the
//! number of objects in the stats.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::thread;

use crate::client::{Client, Sha};
use crate::journal::{Breach, Findings, Ledger, Value};
use crate::{Result, interrupt};

/// How much to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Every key, the listing and the stats.
    All,
    /// Every key and the listing, of stores whose stats are estimates.
    Uncounted,
    /// Keys of calls since the last look.
    Fresh,
}

/// Reads back and settles every ledger.
///
/// # Errors
/// An answer that says nothing about the key (neither 200 nor 404), or none.
pub(crate) fn verify(
    address: SocketAddr,
    ledgers: &mut [Ledger],
    scope: Scope,
) -> Result<Findings> {
    let mut findings = Findings::default();
    let workers: Vec<Result<Findings>> = thread::scope(|threads| {
        let handles: Vec<_> = ledgers
            .iter_mut()
            .map(|ledger| threads.spawn(move || settle(address, ledger, scope)))
            .collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|_| Err("a verifier panicked".into())))
            .collect()
    });
    for worker in workers {
        findings.merge(worker?);
    }
    if scope != Scope::Fresh {
        compare_listing(address, ledgers, &mut findings)?;
    }
    if scope == Scope::All {
        compare_stats(address, ledgers, &mut findings)?;
    }
    Ok(findings)
}

fn settle(address: SocketAddr, ledger: &mut Ledger, scope: Scope) -> Result<Findings> {
    let mut client = Client::new(address);
    let mut seen = BTreeMap::new();
    for key in ledger.keys(scope == Scope::Fresh) {
        interrupt::check()?;
        let answer = client.get(&key)?;
        let value = match answer.status() {
            200 => Value::Present(Sha::of(&answer.body)),
            404 => Value::Absent,
            _ => return Err(format!("reading {key} answered {}", answer.label()).into()),
        };
        seen.insert(key, value);
    }
    Ok(ledger.settle(&seen))
}

/// The listing against what has just been read.
fn compare_listing(address: SocketAddr, ledgers: &[Ledger], findings: &mut Findings) -> Result<()> {
    let listed = Client::new(address).list()?;
    if !listed.is_sorted() {
        return Err("the listing is not in byte order".into());
    }
    let listed: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
    let present = present(ledgers);
    for key in present.difference(&listed) {
        findings.add(Breach::Lost, format!("{key} is there but not listed"));
    }
    for key in listed.difference(&present) {
        findings.add(Breach::Revived, format!("{key} is listed but not there"));
    }
    Ok(())
}

/// The stats against what has just been read.
fn compare_stats(address: SocketAddr, ledgers: &[Ledger], findings: &mut Findings) -> Result<()> {
    let present = present(ledgers);
    let stats = Client::new(address).call("GET", "/v1/stats", &[], b"")?.json();
    if stats["total_objects"].as_u64() != Some(present.len() as u64) {
        let text = format!("stats count {}, there are {}", stats["total_objects"], present.len());
        findings.add(Breach::Torn, text);
    }
    Ok(())
}

fn present(ledgers: &[Ledger]) -> BTreeSet<&str> {
    ledgers.iter().flat_map(|ledger| ledger.present().map(|(key, _)| key)).collect()
}
