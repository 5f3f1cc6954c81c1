//! Writers that use the service as its callers do, and note every promise.
//!
//! A writer owns one ledger and its keys. It stores new proofs, stores the same bytes again,
//! replaces with `If-Match`, deletes one or several, copies and moves; the mix keeps most of
//! what it stores, so that there is much to lose.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use fastrand::Rng;
use serde_json::json;

use crate::client::{Answer, CallError, Client, Sha};
use crate::corpus;
use crate::journal::{Change, Ledger};

/// What all writers of a run share.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// Writers end after the call at hand.
    pub(crate) stop: AtomicBool,
    /// The power is being cut: from now on no answer is a promise. Set *before* the cut, read
    /// *after* the answer, so a promise counts only if its answer was here before the cut began.
    pub(crate) cutting: AtomicBool,
    /// The service runs with `STORAGE_WRITE_MODE=overwrite`: copies and moves may go over others.
    pub(crate) may_overwrite: bool,
    /// Acknowledged calls so far.
    pub(crate) acknowledged: AtomicU64,
    /// Answers that contradict the ledger while the service runs, such as a 404 for what is there.
    pub(crate) contradictions: AtomicU64,
}

/// Runs one writer per ledger while `meanwhile` runs here, then stops them.
pub(crate) fn run<T>(
    address: SocketAddr,
    ledgers: &mut [Ledger],
    seed: u64,
    control: &Control,
    meanwhile: impl FnOnce() -> T,
) -> T {
    thread::scope(|scope| {
        for (number, ledger) in ledgers.iter_mut().enumerate() {
            let rng = Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
            let client = Client::new(address);
            scope.spawn(move || Writer { ledger, rng, client, control }.run());
        }
        let _stop = StopOnDrop(control);
        meanwhile()
    })
}

/// A panic in `meanwhile` must not leave the writers running for ever.
struct StopOnDrop<'a>(&'a Control);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
    }
}

struct Writer<'a> {
    ledger: &'a mut Ledger,
    rng: Rng,
    client: Client,
    control: &'a Control,
}

impl Writer<'_> {
    fn run(mut self) {
        let mut live: Vec<(String, Sha)> =
            self.ledger.present().map(|(key, sha)| (key.to_owned(), sha)).collect();
        while self.client_lives() {
            if !self.step(&mut live) {
                // The service is gone; the row decides what comes next.
                return;
            }
        }
    }

    /// One call; `false` where the service does not answer any more.
    fn step(&mut self, live: &mut Vec<(String, Sha)>) -> bool {
        let choice = if live.len() < 4 { 0 } else { self.rng.u32(0..100) };
        match choice {
            0..=54 => self.store_new(live),
            55..=59 => self.store_again(live),
            60..=71 => self.replace(live),
            72..=81 => self.delete(live),
            82..=84 => self.delete_several(live),
            85..=91 => self.transfer("copy", live),
            _ => self.transfer("move", live),
        }
    }

    fn store_new(&mut self, live: &mut Vec<(String, Sha)>) -> bool {
        let proof = corpus::usual(&mut self.rng);
        let key = self.new_key(proof.extension);
        let sha = Sha::of(&proof.body);
        let answer = self.client.put(&key, proof.content_type, &proof.body, None);
        if self.note("put", vec![Change::put(&key, sha)], answer) {
            live.push((key, sha));
        }
        self.client_lives()
    }

    /// The same bytes again: `200`, and as durable as the first time.
    fn store_again(&mut self, live: &mut Vec<(String, Sha)>) -> bool {
        let (key, sha) = self.pick(live);
        let Some(body) = self.read(&key, sha) else {
            live.retain(|(k, _)| *k != key);
            return self.client_lives();
        };
        let media_type = media_type(&key);
        let answer = self.client.put(&key, media_type, &body, None);
        if !self.note("put-again", vec![Change::put(&key, sha)], answer) {
            live.retain(|(k, _)| *k != key);
        }
        self.client_lives()
    }

    fn replace(&mut self, live: &mut Vec<(String, Sha)>) -> bool {
        let (key, _) = self.pick(live);
        let etag = match self.client.head(&key) {
            Ok(answer) if answer.status() == 200 => answer.head.header("etag").map(str::to_owned),
            Ok(_) => {
                self.contradiction("replace");
                return true;
            }
            Err(_) => return false,
        };
        let Some(etag) = etag else {
            self.contradiction("replace");
            return true;
        };
        let proof = corpus::usual(&mut self.rng);
        let sha = Sha::of(&proof.body);
        let answer = self.client.put(&key, media_type(&key), &proof.body, Some(&etag));
        live.retain(|(k, _)| *k != key);
        if self.note("replace", vec![Change::put(&key, sha)], answer) {
            live.push((key, sha));
        }
        self.client_lives()
    }

    fn delete(&mut self, live: &mut Vec<(String, Sha)>) -> bool {
        let (key, _) = self.take(live);
        let answer = self.client.delete(&key);
        self.note("delete", vec![Change::delete(&key)], answer);
        self.client_lives()
    }

    fn delete_several(&mut self, live: &mut Vec<(String, Sha)>) -> bool {
        let keys: Vec<String> = (0..3).map(|_| self.take(live).0).collect();
        let answer = self.client.post("/v1/batch-delete", &json!({ "keys": keys }));
        // Each key is a promise of its own: those that are not among the deleted are maybes.
        let said = answer.as_ref().map(|answer| answer.json()["deleted"].clone());
        let is_said = |key: &String| match &said {
            Ok(deleted) => deleted.as_array().is_some_and(|d| d.contains(&json!(key))),
            Err(_) => true,
        };
        let (said, left): (Vec<String>, Vec<String>) = keys.into_iter().partition(is_said);
        let changes = said.iter().map(|key| Change::delete(key)).collect();
        self.note("batch-delete", changes, answer);
        if !left.is_empty() {
            let changes = left.iter().map(|key| Change::delete(key)).collect();
            self.ledger.doubt("batch-delete", changes, false, "among the failed");
        }
        self.client_lives()
    }

    fn transfer(&mut self, call: &'static str, live: &mut Vec<(String, Sha)>) -> bool {
        let (source, sha) = if call == "move" { self.take(live) } else { self.pick(live) };
        // One in five goes over another proof, where that is allowed.
        let over = self.control.may_overwrite && self.rng.u32(0..5) == 0;
        let destination = if over { self.take(live).0 } else { self.new_key(extension(&source)) };
        if destination == source {
            live.push((source, sha));
            return true;
        }
        let answer = self.client.transfer(call, &source, &destination, over);
        let mut changes = vec![Change::put(&destination, sha)];
        if call == "move" {
            changes.push(Change::delete(&source));
        }
        if self.note(call, changes, answer) {
            live.push((destination, sha));
        }
        self.client_lives()
    }

    /// Notes how a write went; `true` where it was acknowledged.
    fn note(
        &mut self,
        what: &'static str,
        changes: Vec<Change>,
        answer: Result<Answer, CallError>,
    ) -> bool {
        let atomic = what != "batch-delete";
        // After the answer and before anything else: see `Control::cutting`.
        let cutting = self.control.cutting.load(Ordering::SeqCst);
        match answer {
            Ok(answer) if answer.is_success() && !cutting => {
                self.ledger.acknowledge(what, changes);
                self.control.acknowledged.fetch_add(1, Ordering::Relaxed);
                true
            }
            Ok(answer) => {
                // A refusal should mean that nothing happened, but no row relies on it.
                self.ledger.doubt(what, changes, atomic, &answer.label());
                if !cutting && answer.status() < 500 {
                    self.contradiction(what);
                }
                false
            }
            Err(CallError::Refused(_)) => {
                self.ledger.refused(what, "not sent");
                self.control.stop.store(true, Ordering::SeqCst);
                false
            }
            Err(error) => {
                self.ledger.doubt(what, changes, atomic, &error.to_string());
                self.control.stop.store(true, Ordering::SeqCst);
                false
            }
        }
    }

    fn read(&mut self, key: &str, sha: Sha) -> Option<Vec<u8>> {
        let answer = self.client.get(key).ok()?;
        if answer.status() != 200 || Sha::of(&answer.body) != sha {
            if answer.status() < 500 {
                self.contradiction("get");
            }
            return None;
        }
        Some(answer.body)
    }

    fn contradiction(&mut self, what: &'static str) {
        if !self.control.cutting.load(Ordering::SeqCst) {
            self.control.contradictions.fetch_add(1, Ordering::Relaxed);
            self.ledger.refused(what, "contradiction");
        }
    }

    /// Whether another call makes sense. Once the power is being cut it would only be a maybe.
    fn client_lives(&self) -> bool {
        !self.control.stop.load(Ordering::SeqCst) && !self.control.cutting.load(Ordering::SeqCst)
    }

    /// A name of the kinds that callers use: folders, URNs, spaces, other scripts.
    fn new_key(&mut self, extension: &str) -> String {
        let id = self.rng.u64(..);
        let prefix = self.ledger.prefix();
        match self.rng.u32(0..8) {
            0 => format!("{prefix}urn:c2pa:{id:016x}{extension}"),
            1 => format!("{prefix}2026/Ünïcode {id:016x}{extension}"),
            _ => format!("{prefix}{:02x}/{id:016x}{extension}", id % 256),
        }
    }

    fn pick(&mut self, live: &[(String, Sha)]) -> (String, Sha) {
        live[self.rng.usize(..live.len())].clone()
    }

    fn take(&mut self, live: &mut Vec<(String, Sha)>) -> (String, Sha) {
        let index = self.rng.usize(..live.len());
        live.swap_remove(index)
    }
}

fn extension(key: &str) -> &'static str {
    if key.ends_with(".json") { ".json" } else { ".c2pa" }
}

fn media_type(key: &str) -> &'static str {
    if key.ends_with(".json") { "application/json" } else { "application/c2pa" }
}
