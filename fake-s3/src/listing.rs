//! One page of a listing, with S3's rules: byte order, common prefixes counted as entries, and a common
//! prefix only where it is itself greater than the place after which the page begins.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::object::Object;

/// What stays as it is under `encoding-type=url`.
const KEPT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/');

/// Entries of one page, in order.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) objects: Vec<(String, Arc<Object>)>,
    pub(crate) prefixes: Vec<String>,
    /// The last entry of a page after which more come.
    pub(crate) next: Option<String>,
}

/// The first `most` entries after `after`.
pub(crate) fn page(
    objects: &BTreeMap<String, Arc<Object>>,
    prefix: &str,
    delimiter: Option<&str>,
    after: Option<&str>,
    most: usize,
) -> Page {
    let mut page = Page::default();
    let mut last: Option<String> = None;
    if most == 0 {
        return page;
    }
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    for (key, object) in objects.range::<str, _>((start, Bound::Unbounded)) {
        let Some(rest) = key.strip_prefix(prefix) else { break };
        let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty());
        let group = delimiter.and_then(|delimiter| {
            let end = rest.find(delimiter)? + delimiter.len();
            Some(&key[..prefix.len() + end])
        });
        let passed = |group: &str| {
            after.is_some_and(|after| group <= after) || last.as_deref() == Some(group)
        };
        if group.is_some_and(passed) {
            continue;
        }
        if page.objects.len() + page.prefixes.len() == most {
            page.next = last;
            return page;
        }
        match group {
            Some(group) => page.prefixes.push(group.to_owned()),
            None => page.objects.push((key.clone(), Arc::clone(object))),
        }
        last = Some(group.unwrap_or(key).to_owned());
    }
    page
}

/// A key as `encoding-type=url` has it: a space is `+`.
pub(crate) fn url_encoded(key: &str) -> String {
    utf8_percent_encode(key, KEPT).to_string().replace("%20", "+")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::object::Headers;

    fn bucket(keys: &[&str]) -> BTreeMap<String, Arc<Object>> {
        let object = Arc::new(Object::new(Bytes::new(), Headers::default(), None));
        keys.iter().map(|key| ((*key).to_owned(), Arc::clone(&object))).collect()
    }

    fn entries(page: &Page) -> Vec<&str> {
        let keys = page.objects.iter().map(|(key, _)| key.as_str());
        let mut entries: Vec<&str> = keys.chain(page.prefixes.iter().map(String::as_str)).collect();
        entries.sort_unstable();
        entries
    }

    #[test]
    fn keys_are_in_byte_order() {
        let keys = ["a", "B", "é", "z", "\u{10000}", "\u{ffff}"];
        let all = page(&bucket(&keys), "", None, None, 10);
        let found: Vec<&str> = all.objects.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(found, ["B", "a", "z", "é", "\u{ffff}", "\u{10000}"]);
    }

    #[test]
    fn common_prefixes_count_as_entries_and_pages_join() {
        let objects = bucket(&["a/1", "a/2", "b", "c/1", "c/2", "d"]);
        let (mut after, mut found) = (None, Vec::new());
        loop {
            let one = page(&objects, "", Some("/"), after.as_deref(), 2);
            assert!(one.objects.len() + one.prefixes.len() <= 2);
            found.extend(entries(&one).into_iter().map(str::to_owned));
            let Some(next) = one.next else { break };
            after = Some(next);
        }
        assert_eq!(found, ["a/", "b", "c/", "d"]);
    }

    #[test]
    fn a_page_that_ends_inside_a_group_is_not_truncated() {
        let objects = bucket(&["a", "b/1", "b/2", "b/3"]);
        let one = page(&objects, "", Some("/"), None, 2);
        assert_eq!((entries(&one), one.next.as_deref()), (vec!["a", "b/"], None));
    }

    #[test]
    fn start_after_inside_a_group_leaves_the_group_out() {
        let objects = bucket(&["photos/1", "photos/3", "videos/1"]);
        let of = |after| page(&objects, "", Some("/"), Some(after), 10);
        assert_eq!(entries(&of("photos/2")), ["videos/"], "photos/ is not after photos/2");
        assert_eq!(entries(&of("photos/")), ["videos/"]);
        assert_eq!(entries(&of("photos")), ["photos/", "videos/"]);
        let plain = page(&objects, "", None, Some("photos/2"), 10);
        assert_eq!(entries(&plain), ["photos/3", "videos/1"]);
    }

    #[test]
    fn start_after_and_prefix() {
        let objects = bucket(&["a/1", "b/1", "b/2", "c/1"]);
        assert_eq!(entries(&page(&objects, "b/", None, Some("a"), 10)), ["b/1", "b/2"]);
        assert_eq!(entries(&page(&objects, "b/", None, Some("b/1"), 10)), ["b/2"]);
        assert!(entries(&page(&objects, "b/", None, Some("c"), 10)).is_empty());
        assert!(page(&objects, "", None, None, 0).next.is_none());
    }

    #[test]
    fn url_encoding() {
        assert_eq!(url_encoded("a b/c+d(é).json"), "a+b/c%2Bd%28%C3%A9%29.json");
    }
}
