//! One page of names.
//!
//! Entries are objects and, with a delimiter, common prefixes, in byte order; a page has the
//! entries that come after the one it was asked to continue from. A common prefix is left by
//! seeking past it, so that a page costs its entries and not what is rolled up in them.

use std::ops::Bound;

use fjall::{Iter, Readable as _, Snapshot};

use super::errors::{corrupt, fence};
use super::record::{Record, etag};
use super::shared::Shared;
use crate::model::{ListItem, ListPage, ListRequest, ObjectKey, StoreError};

/// Where a scan stands: the names still to come.
struct Scan<'a> {
    shared: &'a Shared,
    snapshot: Snapshot,
    names: Iter,
    end: Bound<Vec<u8>>,
}

/// Reads one page at one instant of the store.
pub(super) fn page(shared: &Shared, request: &ListRequest) -> Result<ListPage, StoreError> {
    let limit = request.limit.max(1);
    let Some(start) = start(request) else {
        return Ok(ListPage::default());
    };
    let mut scan = Scan::new(shared, &request.prefix, start);
    let mut page = ListPage::default();
    let mut last = None;
    while let Some((key, row)) = scan.next()? {
        if page.items.len() + page.common_prefixes.len() == limit {
            page.next = last;
            break;
        }
        if let Some(common) = common_prefix(request, &key) {
            let common = common.to_owned();
            last = Some(common.clone());
            scan.leave(&common)?;
            page.common_prefixes.push(common);
            continue;
        }
        let key = ObjectKey::new(key);
        let record = Record::decode(&key, &row)?;
        last = Some(key.as_str().to_owned());
        page.items.push(ListItem {
            key,
            etag: etag(record.header.version),
            stored_size: record.header.body.bytes,
            last_modified: record.header.modified(),
            attributes: Some(record.attributes),
        });
    }
    Ok(page)
}

/// First name that the page may have; `None` where no name can follow.
fn start(request: &ListRequest) -> Option<Bound<Vec<u8>>> {
    let prefix = Bound::Included(request.prefix.as_bytes().to_vec());
    let Some(after) = request.after.as_deref() else {
        return Some(prefix);
    };
    if after < request.prefix.as_str() {
        return Some(prefix);
    }
    if !after.starts_with(&request.prefix) {
        return None;
    }
    match common_prefix(request, after) {
        Some(common) => successor(common.as_bytes()).map(Bound::Included),
        None => Some(Bound::Excluded(after.as_bytes().to_vec())),
    }
}

/// What a name is rolled up into.
fn common_prefix<'a>(request: &ListRequest, name: &'a str) -> Option<&'a str> {
    let delimiter = request.delimiter.as_deref().filter(|d| !d.is_empty())?;
    let rest = name.get(request.prefix.len()..)?;
    let end = rest.find(delimiter)? + delimiter.len();
    Some(&name[..request.prefix.len() + end])
}

/// The first string of bytes after all that start so; `None` where there is none.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

impl<'a> Scan<'a> {
    fn new(shared: &'a Shared, prefix: &str, start: Bound<Vec<u8>>) -> Self {
        let snapshot = shared.snapshot();
        let end = successor(prefix.as_bytes()).map_or(Bound::Unbounded, Bound::Excluded);
        let names = snapshot.range(&shared.engine.meta, (start, end.clone()));
        Self { shared, snapshot, names, end }
    }

    fn next(&mut self) -> Result<Option<(String, fjall::Slice)>, StoreError> {
        let row = fence(|| self.names.next().map(fjall::Guard::into_inner).transpose())?;
        let Some((key, row)) = row else {
            return Ok(None);
        };
        let key = String::from_utf8(key.to_vec())
            .map_err(|cause| corrupt("the name of an object is damaged", cause))?;
        Ok(Some((key, row)))
    }

    /// Goes past everything that starts so.
    fn leave(&mut self, prefix: &str) -> Result<(), StoreError> {
        let start = successor(prefix.as_bytes()).map_or(Bound::Unbounded, Bound::Included);
        self.names = self.snapshot.range(&self.shared.engine.meta, (start, self.end.clone()));
        Ok(())
    }
}
