//! Keys: any name is kept as it is, and apart from every other.

use super::fixture::{Store, accept, expect, expect_absent, key, noise, put};
use crate::model::{ListRequest, MAX_KEY_BYTES};

/// Stores all, then finds each with its own bytes, in the list too, then deletes one by one.
async fn kept_apart(store: &Store, names: &[&str]) {
    for (index, name) in names.iter().enumerate() {
        put(store, &key(name), &noise(index as u64, 20 + index)).await;
    }
    let request = ListRequest { prefix: String::new(), delimiter: None, limit: 1000, after: None };
    let page = accept(store.list(&request).await, "a list answers");
    let listed: Vec<_> = page.items.iter().map(|item| item.key.as_str()).collect();
    let mut wanted = names.to_vec();
    wanted.sort_unstable();
    assert_eq!(listed, wanted, "names are listed as they were given");
    for (index, name) in names.iter().enumerate() {
        let bytes = noise(index as u64, 20 + index);
        expect(store, &key(name), &bytes, "each name has its own object").await;
        accept(store.delete(&key(name), None).await, "a delete succeeds");
        expect_absent(store, &key(name), "a deleted name is gone").await;
        if let Some(next) = names.get(index + 1) {
            let bytes = noise(index as u64 + 1, 21 + index);
            expect(store, &key(next), &bytes, "a delete spares other names").await;
        }
    }
}

pub(super) async fn odd_names_are_kept_apart(store: Store) {
    kept_apart(
        &store,
        &[
            "a",
            "A",
            "a/b",
            "a/b/c",
            "a.b",
            "a b",
            " a",
            "a ",
            "a%2Fb",
            "a%252Fb",
            "a+b",
            "a?b=c&d",
            "a#b",
            "a\\b",
            "a:b",
            "a*",
            "a\"b'",
            "a<b>|",
            "..a",
            "a..",
            "...",
            "-a",
            "~a",
            "a!",
            "urn:c2pa:F095F30E-6CD5-4BF7-8C44-CE8420CA9FB7",
            "ß",
            "ss",
            "ſ",
            "İ",
            "i",
            "I",
            "ı",
            "写真",
            "🖼️",
            "🖼",
            "e\u{200d}f",
            "ef",
            "\u{feff}a",
            "\u{202e}a",
            "\u{10ffff}",
            // No XML can say these two.
            "a\u{fffe}b",
            "\u{ffff}",
            "\u{e000}",
            ".proof-storage/own",
            "CON",
            "nul.txt",
        ],
    )
    .await;
}

pub(super) async fn longest_name_works(store: Store) {
    let deep = vec!["d"; MAX_KEY_BYTES / 2].join("/");
    let flat = "k".repeat(MAX_KEY_BYTES);
    let almost = "k".repeat(MAX_KEY_BYTES - 1);
    let wide = "写".repeat(MAX_KEY_BYTES / 3);
    kept_apart(&store, &[&deep, &flat, &almost, &wide]).await;
}

pub(super) async fn normal_forms_are_two_keys(store: Store) {
    kept_apart(&store, &["caf\u{e9}", "cafe\u{301}", "\u{212b}", "\u{c5}", "A\u{30a}"]).await;
}
