//! Listings: byte order, roll-up, and pages that together give everything exactly once.

use std::collections::BTreeSet;

use super::fixture::{Store, accept, key, noise, put_all, put_with, rich};
use crate::model::{ListPage, ListRequest};

/// Names whose order, prefixes and roll-ups are easy to get wrong.
const NAMES: [&str; 26] = [
    "B",
    "Z/1",
    "a",
    "a!",
    "a-b",
    "a-b/c",
    "a.json",
    "a/",
    "a//b",
    "a/b",
    "a/b/c",
    "a/b/d",
    "a/c",
    "a0",
    "ab",
    "b--c",
    "b--d",
    "b-c",
    "b/",
    "z/z/z/z",
    "ä/1",
    "ä/2",
    "写/1",
    "写真",
    "\u{e000}",
    "\u{10ffff}",
];

async fn fill(store: &Store) {
    // Written out of order, so that the order of writing cannot pass for the order of names.
    put_all(store, (0..NAMES.len()).map(|step| NAMES[step * 7 % NAMES.len()])).await;
}

/// The entries that a listing has, by the letter of [`ListRequest`].
fn wanted(prefix: &str, delimiter: Option<&str>) -> BTreeSet<String> {
    let entries = NAMES.iter().filter_map(|name| {
        let rest = name.strip_prefix(prefix)?;
        let cut = delimiter.and_then(|delimiter| Some(rest.find(delimiter)? + delimiter.len()));
        Some(cut.map_or(*name, |cut| &name[..prefix.len() + cut]).to_owned())
    });
    entries.collect()
}

fn request(prefix: &str, delimiter: Option<&str>, limit: usize) -> ListRequest {
    let delimiter = delimiter.map(str::to_owned);
    ListRequest { prefix: prefix.to_owned(), delimiter, limit, after: None }
}

/// Items and common prefixes of a page, each checked to be in ascending byte order, merged.
fn entries(page: &ListPage) -> Vec<String> {
    let items: Vec<&str> = page.items.iter().map(|item| item.key.as_str()).collect();
    let prefixes: Vec<&str> = page.common_prefixes.iter().map(String::as_str).collect();
    for part in [&items, &prefixes] {
        let ordered = part.windows(2).all(|pair| pair[0].as_bytes() < pair[1].as_bytes());
        assert!(ordered, "entries are in byte order, none twice: {part:?}");
    }
    let mut all: Vec<String> = items.into_iter().chain(prefixes).map(str::to_owned).collect();
    all.sort_unstable();
    all
}

/// Follows `next` to the end, checking each page against the one before.
async fn walk(store: &Store, mut request: ListRequest) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let page = accept(store.list(&request).await, "a list answers");
        let entries = entries(&page);
        assert!(entries.len() <= request.limit, "a page has at most `limit` entries: {entries:?}");
        if let (Some(last), Some(first)) = (all.last(), entries.first()) {
            assert!(last < first, "no entry is repeated on a later page: {last:?} then {first:?}");
        }
        all.extend(entries.iter().cloned());
        let Some(next) = page.next else { return all };
        assert_eq!(entries.len(), request.limit, "only the last page may be short: {request:?}");
        assert_eq!(entries.last(), Some(&next), "`next` is the last entry of its page");
        request.after = Some(next);
    }
}

async fn check(store: &Store, prefix: &str, delimiter: Option<&str>, limit: usize) {
    let found = walk(store, request(prefix, delimiter, limit)).await;
    let wanted: Vec<String> = wanted(prefix, delimiter).into_iter().collect();
    assert_eq!(
        found, wanted,
        "paging gives exactly all (prefix {prefix:?}, delimiter {delimiter:?}, limit {limit})"
    );
}

pub(super) async fn empty_store_has_one_empty_page(store: Store) {
    for (prefix, delimiter) in [("", None), ("", Some("/")), ("proofs/", Some("/"))] {
        let page = accept(store.list(&request(prefix, delimiter, 1)).await, "a list answers");
        assert_eq!(page, ListPage::default(), "an empty store has one empty page");
    }
}

pub(super) async fn order_is_of_bytes(store: Store) {
    fill(&store).await;
    check(&store, "", None, 1000).await;
}

pub(super) async fn prefix_is_exact(store: Store) {
    fill(&store).await;
    for prefix in ["a", "a/", "a/b", "a/b/", "A", "ä", "写", "b-", "\u{10ffff}", "zz", "a/b/c/"] {
        check(&store, prefix, None, 1000).await;
    }
}

pub(super) async fn delimiter_rolls_up(store: Store) {
    fill(&store).await;
    for prefix in ["", "a", "a/", "a//", "a/b", "a/b/", "z/", "z/z", "ä", "写"] {
        check(&store, prefix, Some("/"), 1000).await;
    }
    let page = accept(store.list(&request("a/", Some("/"), 1000)).await, "a list answers");
    assert_eq!(page.common_prefixes, ["a//", "a/b/"], "common prefixes end with the delimiter");
    let items: Vec<_> = page.items.iter().map(|item| item.key.as_str()).collect();
    assert_eq!(items, ["a/", "a/b", "a/c"], "a name that equals the prefix is an item");
}

pub(super) async fn delimiter_of_several_bytes(store: Store) {
    fill(&store).await;
    for delimiter in ["--", "/b", "ä", "真", "\u{e000}", "a", "//"] {
        for prefix in ["", "a", "b", "b-", "a/"] {
            check(&store, prefix, Some(delimiter), 1000).await;
            check(&store, prefix, Some(delimiter), 1).await;
        }
    }
}

pub(super) async fn limit_counts_common_prefixes(store: Store) {
    fill(&store).await;
    for limit in 1..=NAMES.len() {
        let page = accept(store.list(&request("", Some("/"), limit)).await, "a list answers");
        let all = wanted("", Some("/"));
        let found = entries(&page);
        let rule = "the limit counts items and common prefixes together";
        assert_eq!(found.len(), limit.min(all.len()), "{rule}");
        assert!(found.iter().eq(all.iter().take(limit)), "a page has the first entries: {found:?}");
        assert_eq!(
            page.next.is_some(),
            limit < all.len(),
            "`next` is absent on the last page only"
        );
    }
}

pub(super) async fn paging_gives_exactly_all(store: Store) {
    fill(&store).await;
    for limit in 1..=NAMES.len() + 1 {
        for (prefix, delimiter) in
            [("", None), ("", Some("/")), ("a", None), ("a", Some("/")), ("a/b", Some("/"))]
        {
            check(&store, prefix, delimiter, limit).await;
        }
    }
}

pub(super) async fn after_need_not_exist(store: Store) {
    fill(&store).await;
    for after in ["", "\u{1}", "a/b/", "a/bb", "aa", "b", "zzzz", "ä", "\u{10ffff}\u{10ffff}"] {
        let request = ListRequest { after: Some(after.to_owned()), ..request("", None, 3) };
        let found = walk(&store, request).await;
        let wanted: Vec<_> =
            wanted("", None).into_iter().filter(|name| name.as_str() > after).collect();
        assert_eq!(found, wanted, "a list goes on after {after:?}, whether it is there or not");
    }
    let request = ListRequest { after: Some("a".to_owned()), ..request("b", None, 1000) };
    let found = walk(&store, request).await;
    assert_eq!(found, ["b--c", "b--d", "b-c", "b/"], "`after` before the prefix skips nothing");
    let request = ListRequest { after: Some("c".to_owned()), ..self::request("b", None, 1000) };
    assert!(walk(&store, request).await.is_empty(), "`after` past the prefix leaves nothing");
    let request =
        ListRequest { after: Some("a/".to_owned()), ..self::request("", Some("/"), 1000) };
    let found = walk(&store, request).await;
    let rule = "after a common prefix comes the first name that does not start with it";
    assert_eq!(found.first().map(String::as_str), Some("a0"), "{rule}");

    // What `after` names may have gone between two pages.
    accept(store.delete(&key("a"), None).await, "a delete succeeds");
    let request = ListRequest { after: Some("a".to_owned()), ..self::request("", None, 1) };
    let page = accept(store.list(&request).await, "a list answers");
    assert_eq!(entries(&page), ["a!"], "a list goes on after a name that is gone");
}

pub(super) async fn page_of_a_thousand(store: Store) {
    const COUNT: usize = 1_003;
    let names: Vec<String> = (0..COUNT).map(|i| format!("proofs/{i:04}.json")).collect();
    put_all(&store, names.iter().rev()).await;
    let mut all = request("proofs/", None, 1000);
    let page = accept(store.list(&all).await, "a list answers");
    assert_eq!(entries(&page), names[..1000], "a page may have a thousand entries");
    all.after = page.next;
    let page = accept(store.list(&all).await, "a list answers");
    assert_eq!(entries(&page), names[1000..], "the second page has the rest");
    assert_eq!(page.next, None, "the last page says so");
    let exact = accept(store.list(&request("proofs/0", None, 1000)).await, "a list answers");
    assert_eq!((exact.items.len(), exact.next), (1000, None), "a full last page is the last");
    let page = accept(store.list(&request("", Some("/"), 1)).await, "a list answers");
    assert_eq!(page.common_prefixes, ["proofs/"], "a thousand names are one common prefix");
    assert_eq!(page.next, None, "a rolled-up page is the last where nothing else follows");
}

pub(super) async fn items_say_what_head_says(store: Store) {
    for (name, size) in [("a", 0), ("b", 10), ("c", 300_000), ("d", 1_500_000)] {
        let bytes = noise(size as u64, size);
        put_with(&store, &key(name), &bytes, rich(&bytes)).await;
    }
    let page = accept(store.list(&request("", None, 10)).await, "a list answers");
    assert_eq!(page.items.len(), 4, "every object is listed");
    for item in page.items {
        let head = accept(store.head(&item.key).await, "a listed object has a head");
        assert_eq!(item.etag, head.etag, "a listing gives the etag of head");
        assert_eq!(item.stored_size, head.stored_size, "a listing gives the size of head");
        assert_eq!(item.last_modified, head.last_modified, "a listing gives the time of head");
        if let Some(attributes) = item.attributes {
            assert_eq!(attributes, head.attributes, "attributes in a listing are those of head");
        }
    }
}
