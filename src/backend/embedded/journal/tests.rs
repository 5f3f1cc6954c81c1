//! Journals as the engine writes them, damaged by hand.

use super::super::batch::{Batch, Counters, Space};
use super::super::engine::Engine;
use super::super::record::{BodyRef, Header, Record};
use super::*;
use crate::model::{Attributes, ObjectKey};

use bytes::Bytes;
use fjall::PersistMode;

const SALT: u64 = 77;
const BATCHES: u64 = 20;

fn record(n: u64) -> (String, Bytes) {
    let key = format!("proofs/{n}");
    let body = BodyRef { id: n, bytes: 40, chunk_bytes: 0, checksum: 0 };
    let header = Header { version: n, body, size: 40, modified_ms: n };
    let record = Record { header, attributes: Attributes::new("text/plain") };
    let row = record.encode(&ObjectKey::new(key.as_str())).unwrap();
    (key, row)
}

/// An engine with batches of one object each; some also remove an older one.
fn write(engine: &Path) {
    let opened = Engine::open(engine, 1 << 20, SALT).unwrap();
    for n in 1..=BATCHES {
        let mut batch = Batch::new(&opened, 4);
        let (key, row) = record(n);
        batch.insert(Space::Body, super::super::engine::body_key(n, 0), vec![n as u8; 40].into());
        batch.insert(Space::Meta, key.as_str(), row);
        if n % 5 == 0 {
            batch.remove(Space::Meta, record(n - 4).0.as_str());
        }
        let counters = Counters { sequence: n, synced: n - 1, ..Counters::default() };
        batch.commit(counters, PersistMode::SyncData).unwrap();
    }
}

struct Fixture {
    folder: tempfile::TempDir,
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let engine = folder.path().join("engine");
        write(&engine);
        let bytes = read_data(&engine.join("0.jnl")).unwrap();
        let mut starts = Vec::new();
        let mut at = 0;
        while let Some(frame) = frame::whole(&bytes, at, SALT) {
            starts.push(at);
            at = frame.end;
        }
        assert!(is_zero(&bytes[at..]), "every byte of the journal is understood");
        let bytes = bytes[..at].to_vec();
        Self { folder, bytes, starts }
    }

    fn engine(&self) -> PathBuf {
        self.folder.path().join("engine")
    }

    fn damage(&self, change: impl FnOnce(&mut Vec<u8>)) -> Report {
        let mut bytes = self.bytes.clone();
        change(&mut bytes);
        fs::write(self.engine().join("0.jnl"), bytes).unwrap();
        self.guard(BATCHES)
    }

    fn guard(&self, witnessed: u64) -> Report {
        guard(&self.engine(), &self.folder.path().join("quarantine"), SALT, witnessed).unwrap()
    }

    /// Which objects the engine then has, each with its body.
    fn objects(&self) -> Vec<u64> {
        let engine = Engine::open(&self.engine(), 1 << 20, SALT).unwrap();
        (1..=BATCHES)
            .filter(|n| {
                let (key, row) = record(*n);
                let body = engine.body.get(super::super::engine::body_key(*n, 0)).unwrap();
                engine.meta.get(key).unwrap().is_some_and(|found| found == row)
                    && body.is_some_and(|body| *body == [*n as u8; 40])
            })
            .collect()
    }
}

fn expected() -> Vec<u64> {
    (1..=BATCHES).filter(|n| n % 5 != 1).collect()
}

/// The frame format that this module is bound to; a new fjall that writes another fails here.
#[test]
fn every_batch_of_the_engine_is_understood() {
    let fixture = Fixture::new();
    assert_eq!(fixture.starts.len() as u64, BATCHES);
    let report = fixture.guard(BATCHES);
    assert!(report.damage.is_empty(), "{:?}", report.damage);
    assert_eq!(report.last_sequence, Some(BATCHES));
    let frame = frame::whole(&fixture.bytes, 0, SALT).unwrap();
    assert_eq!(frame.count as usize, frame.items.len());
    let mut again = Vec::new();
    frame::encode(&mut again, frame.seqno, &frame.items);
    assert_eq!(again, fixture.bytes[..frame.end], "and would be written the same");
    assert_eq!(fixture.objects(), expected());
    assert!(frame::whole(&fixture.bytes, 0, SALT + 1).is_none(), "another store's batch is none");
}

/// Any flipped bit of a batch costs at most the one row that it is in.
#[test]
fn a_flip_costs_one_row_and_is_named() {
    let fixture = Fixture::new();
    // A batch in the middle that has a removal, bit by bit, and the last one.
    let middle = fixture.starts[9]..fixture.starts[10];
    let last = fixture.starts[19]..fixture.bytes.len();
    for at in middle.chain(last).step_by(3) {
        let bit = at % 8;
        let report = fixture.damage(|bytes| bytes[at] ^= 1 << bit);
        let of = if at < fixture.starts[10] { 10 } else { 20 };
        let found = fixture.objects();
        let missing: Vec<_> = expected().into_iter().filter(|n| !found.contains(n)).collect();
        let back: Vec<_> = found.into_iter().filter(|n| !expected().contains(n)).collect();
        // The row that was hit is its own object, or the removal of the one before.
        assert!(missing.is_empty() || missing == [of], "byte {at} bit {bit}: lost {missing:?}");
        assert!(back.is_empty() || back == [of - 4], "byte {at} bit {bit}: came back {back:?}");
        assert!(
            missing.len() + back.len() <= 1,
            "byte {at} bit {bit}: {missing:?} {back:?} {:?}",
            report.damage
        );
        let loses = !missing.is_empty() || !back.is_empty();
        assert!(!loses || !report.damage.is_empty(), "byte {at} bit {bit}: damage is not named");
    }
}

#[test]
fn a_zeroed_sector_leaves_the_rest() {
    let fixture = Fixture::new();
    let at = fixture.starts[7] + 100;
    let report = fixture.damage(|bytes| bytes[at..at + 512].fill(0));
    assert!(!report.damage.is_empty());
    let found = fixture.objects();
    let untouched =
        (1..=BATCHES).filter(|n| fixture.starts.get(*n as usize).is_none_or(|end| *end <= at));
    for n in untouched.chain(15..=BATCHES).filter(|n| n % 5 != 1) {
        assert!(found.contains(&n), "{n} of {found:?}");
    }
    assert!(fs::read_dir(fixture.folder.path().join("quarantine")).unwrap().count() == 1);
}

#[test]
fn a_torn_end_is_normal_unless_it_was_acknowledged() {
    let fixture = Fixture::new();
    let torn = fixture.bytes.len() - 20;
    fs::write(fixture.engine().join("0.jnl"), &fixture.bytes[..torn]).unwrap();
    let report = fixture.guard(BATCHES - 1);
    assert!(report.damage.is_empty(), "{:?}", report.damage);
    assert_eq!(report.last_sequence, Some(BATCHES - 1));
    assert!(!fixture.objects().contains(&BATCHES));

    let fixture = Fixture::new();
    fs::write(fixture.engine().join("0.jnl"), &fixture.bytes[..torn]).unwrap();
    let report = fixture.guard(BATCHES);
    assert_eq!(report.damage.len(), 1);
    let found = fixture.objects();
    assert!(found.contains(&BATCHES), "its rows were whole: {found:?} {:?}", report.damage);
}

/// Whoever wrote the last batch had seen the one before it synced.
#[test]
fn damage_across_the_last_two_batches_is_named() {
    let fixture = Fixture::new();
    let boundary = fixture.starts[19];
    let mut bytes = fixture.bytes.clone();
    bytes[boundary - 20..boundary + 30].fill(0);
    fs::write(fixture.engine().join("0.jnl"), bytes).unwrap();
    let report = fixture.guard(0);
    assert_eq!(report.damage.len(), 1, "{:?}", report.damage);
    assert!(fixture.objects().contains(&(BATCHES - 2)));
}

#[test]
fn a_removed_batch_is_named() {
    let fixture = Fixture::new();
    let gap = fixture.starts[4]..fixture.starts[6];
    let report = fixture.damage(|bytes| drop(bytes.drain(gap)));
    assert!(report.damage[0].contains("commits 5 to 6 are missing"), "{:?}", report.damage);
}

#[test]
fn swapped_batches_are_named_and_the_order_is_kept() {
    let fixture = Fixture::new();
    let (a, b, c) = (fixture.starts[4], fixture.starts[5], fixture.starts[6]);
    let report = fixture.damage(|bytes| bytes[a..c].rotate_left(b - a));
    assert!(!report.damage.is_empty());
}

/// A body may hold the bytes of a journal. Damage around it must not bring them to life.
#[test]
fn a_body_that_imitates_a_batch_stays_a_body() {
    let fixture = Fixture::new();
    let mut forged = Vec::new();
    let (key, row) = record(999);
    let item = frame::Item { space: Space::Meta, key: key.as_bytes(), value: Some(&row) };
    frame::encode(&mut forged, 1 << 30, &[item]);
    let mut hidden = vec![0xee; 30];
    hidden.extend_from_slice(&forged);
    let item = frame::Item { space: Space::Body, key: &[9; 12], value: Some(&hidden) };
    let report = fixture.damage(|bytes| {
        let mut batch = Vec::new();
        frame::encode(&mut batch, 1 << 20, &[item]);
        batch[40] ^= 1;
        batch[16] ^= 1;
        let at = fixture.starts[10];
        bytes.splice(at..at, batch);
    });
    assert!(!report.damage.is_empty());
    let engine = Engine::open(&fixture.engine(), 1 << 20, SALT).unwrap();
    assert!(engine.meta.get("proofs/999").unwrap().is_none());
}
