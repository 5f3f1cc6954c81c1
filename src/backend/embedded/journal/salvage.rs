//! What is left of damaged batches.
//!
//! A trailer names the rows of its batch by a check each, so a row found anywhere in the damaged
//! stretch is taken if and only if a trailer there vouches for it. Where the trailer itself is
//! what was damaged, the rows before it are taken as they parse: records and bodies carry
//! checksums of their own, which a later read holds them to.

use std::collections::HashSet;
use std::ops::Range;

use super::super::batch::{Counters, Space, Trailer};
use super::frame::{END_BYTES, Item, START_BYTES, end_at, item_at, start_at};

/// Rows of one damaged batch.
pub(super) struct Saved<'a> {
    /// Least number that the batch can have had.
    pub(super) floor: u64,
    /// Its counters, where its trailer is whole.
    pub(super) counters: Option<Counters>,
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
    let mut from = 0;
    while let Some((at, end, trailer)) = next_trailer(bytes, from, salt) {
        let from_here = salvaged.without_trailers(bytes, from..at);
        salvaged.with_trailer(bytes, from_here..at, &trailer);
        let (row, _) = item_at(bytes, at).expect("the trailer was read as an item");
        salvaged.batches.last_mut().expect("it was just added").items.push(row);
        from = end;
    }
    let rest = salvaged.without_trailers(bytes, from..bytes.len());
    let (rows, end) = rows_at(bytes, rest);
    let only_the_end_is_left = rows.is_empty() && bytes.len() - end <= END_BYTES;
    if !only_the_end_is_left || salvaged.batches.is_empty() {
        salvaged.unvouched(rows);
    }
    salvaged
}

/// The next trailer: where it starts and ends.
fn next_trailer(bytes: &[u8], from: usize, salt: u64) -> Option<(usize, usize, Trailer)> {
    (from..bytes.len()).find_map(|at| {
        let (item, end) = item_at(bytes, at)?;
        item.trailer(salt).map(|trailer| (at, end, trailer))
    })
}

/// The rows from a place on, past a start, as far as every byte is understood.
fn rows_at(bytes: &[u8], at: usize) -> (Vec<Item<'_>>, usize) {
    let mut at = if start_at(bytes, at).is_some() { at + START_BYTES } else { at };
    let mut rows = Vec::new();
    while let Some((item, end)) = item_at(bytes, at) {
        rows.push(item);
        at = end;
    }
    (rows, at)
}

impl<'a> Salvaged<'a> {
    /// Whole batches whose trailer is what was damaged; says where they end.
    fn without_trailers(&mut self, bytes: &'a [u8], range: Range<usize>) -> usize {
        let mut at = range.start;
        loop {
            // The end of a batch whose trailer was found.
            at += if end_at(bytes, at).is_some() { END_BYTES } else { 0 };
            let (rows, end) = rows_at(bytes, at);
            if end >= range.end || end_at(bytes, end).is_none() {
                return at;
            }
            self.unvouched(rows);
            at = end;
        }
    }

    /// The rows that a trailer vouches for, wherever they are.
    fn with_trailer(&mut self, bytes: &'a [u8], range: Range<usize>, trailer: &Trailer) {
        let named: HashSet<u32> = trailer.checks.iter().copied().collect();
        let mut items = Vec::new();
        let mut at = range.start;
        while at < range.end {
            let row = item_at(bytes, at)
                .filter(|(item, end)| *end <= range.end && named.contains(&item.check()));
            match row {
                Some((item, end)) => {
                    items.push(item);
                    at = end;
                }
                None => at += 1,
            }
        }
        self.named += named.len() + 1;
        let counters = Some(trailer.counters);
        self.batches.push(Saved { floor: trailer.floor, counters, items });
    }

    /// Rows that nobody vouches for. None is taken from behind bytes that nobody understands: it
    /// might be part of a body that imitates a journal.
    fn unvouched(&mut self, mut rows: Vec<Item<'a>>) {
        self.unnamed = true;
        rows.retain(|item| item.space != Space::System);
        if !rows.is_empty() {
            self.batches.push(Saved { floor: 0, counters: None, items: rows });
        }
    }
}
