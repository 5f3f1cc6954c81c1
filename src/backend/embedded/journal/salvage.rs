//! What is left of damaged batches.
//!
//! A trailer names the rows of its batch by a check each, so a row found anywhere in the damaged
//! stretch is taken if and only if a trailer there vouches for it. Where the trailer itself is
//! what was damaged, the rows before it are taken as they parse: records and bodies carry
//! checksums of their own, which a later read holds them to.

use std::collections::HashSet;

use super::super::batch::Space;
use super::frame::{END_BYTES, Item, START_BYTES, end_at, item_at, start_at};

/// Rows of one damaged batch.
pub(super) struct Saved<'a> {
    /// Least number that the batch can have had.
    pub(super) floor: u64,
    /// Its sequence, where its trailer is whole.
    pub(super) sequence: Option<u64>,
    pub(super) items: Vec<Item<'a>>,
}

/// The rows of a damaged stretch.
#[derive(Default)]
pub(super) struct Salvaged<'a> {
    pub(super) batches: Vec<Saved<'a>>,
    /// Rows that trailers name, their own included.
    named: usize,
    /// Whether some batch had no trailer to name its rows.
    unnamed: bool,
}

impl Salvaged<'_> {
    /// How many rows are lost, for a person.
    pub(super) fn lost_text(&self, kept: usize) -> String {
        let lost = self.named.saturating_sub(kept);
        match (self.unnamed, lost) {
            (false, lost) => lost.to_string(),
            (true, 0) => String::from("an unknown number"),
            (true, lost) => format!("at least {lost}"),
        }
    }
}

/// Takes apart a stretch that is no whole batch.
pub(super) fn salvage(bytes: &[u8], salt: u64) -> Salvaged<'_> {
    let mut salvaged = Salvaged::default();
    let mut rows = Vec::new();
    // Whether every byte since the batch's start was understood.
    let mut whole = start_at(bytes, 0).is_some();
    let mut at = 0;
    while at < bytes.len() {
        if let Some((item, end)) = item_at(bytes, at) {
            if let Some(trailer) = item.trailer(salt) {
                let named: HashSet<u32> = trailer.checks.iter().copied().collect();
                let mut items: Vec<Item<'_>> =
                    rows.drain(..).filter(|row: &Item<'_>| named.contains(&row.check())).collect();
                salvaged.named += trailer.checks.len() + 1;
                items.push(item);
                salvaged.batches.push(Saved {
                    floor: trailer.floor,
                    sequence: Some(trailer.counters.sequence),
                    items,
                });
                whole = true;
            } else {
                rows.push(item);
            }
            at = end;
        } else if end_at(bytes, at).is_some() {
            if !rows.is_empty() {
                salvaged.without_trailer(&mut rows, whole);
            }
            at += END_BYTES;
            whole = true;
        } else if starts_batch(bytes, at) {
            if !rows.is_empty() {
                salvaged.without_trailer(&mut rows, whole);
            }
            whole = true;
            at += START_BYTES;
        } else {
            whole = false;
            at += 1;
        }
    }
    if !rows.is_empty() || salvaged.batches.is_empty() {
        salvaged.without_trailer(&mut rows, whole);
    }
    salvaged
}

/// Whether there is a start, and an item after it.
fn starts_batch(bytes: &[u8], at: usize) -> bool {
    start_at(bytes, at).is_some() && item_at(bytes, at + START_BYTES).is_some()
}

impl<'a> Salvaged<'a> {
    fn without_trailer(&mut self, rows: &mut Vec<Item<'a>>, whole: bool) {
        self.unnamed = true;
        let items = std::mem::take(rows);
        // Bytes that nobody vouches for, found after bytes that nobody understands, may be part
        // of a body that imitates a journal.
        if whole {
            let items = items.into_iter().filter(|item| item.space != Space::System).collect();
            self.batches.push(Saved { floor: 0, sequence: None, items });
        }
    }
}
