//! Lists: order, pages, prefixes, and the refusal of what is out of range.

use super::client::Client;

async fn filled() -> Client {
    let client = Client::new().await;
    for key in ["b/2", "a", "b/1", "c/x/1", "b/10", "%C3%A9", "Z"] {
        client.put(&format!("/v1/proofs/{key}"), "x").await;
    }
    client
}

fn keys(page: &serde_json::Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["key"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn byte_order_and_shape() {
    let client = filled().await;
    let page = client.get("/v1/proofs").await.json();
    assert_eq!(keys(&page), ["Z", "a", "b/1", "b/10", "b/2", "c/x/1", "é"]);
    assert_eq!(page["common_prefixes"], serde_json::json!([]));
    assert_eq!(page["next_cursor"], serde_json::Value::Null);
    let item = &page["items"][1];
    for field in
        ["size", "stored_size", "etag", "sha256", "content_type", "encoding", "last_modified"]
    {
        assert!(!item[field].is_null(), "{field}");
    }
}

#[tokio::test]
async fn prefix_and_delimiter() {
    let client = filled().await;
    let page = client.get("/v1/proofs?prefix=b/").await.json();
    assert_eq!(keys(&page), ["b/1", "b/10", "b/2"]);
    let page = client.get("/v1/proofs?delimiter=%2F").await.json();
    assert_eq!(keys(&page), ["Z", "a", "é"]);
    assert_eq!(page["common_prefixes"], serde_json::json!(["b/", "c/"]));
    let page = client.get("/v1/proofs?prefix=c/&delimiter=/").await.json();
    assert_eq!(page["common_prefixes"], serde_json::json!(["c/x/"]));
}

#[tokio::test]
async fn a_prefix_may_end_anywhere_in_a_key() {
    let client = Client::new().await;
    for key in [".../x", "a/..b", ".proof-storage2"] {
        client.put(&format!("/v1/proofs/{key}"), "x").await;
        for end in 0..=key.len() {
            let page = client.get(&format!("/v1/proofs?prefix={}", &key[..end])).await.json();
            assert!(keys(&page).contains(&key), "{key} {end}: {page}");
        }
    }
}

#[tokio::test]
async fn a_folder_that_begins_like_the_reserved_one_is_shown() {
    let client = Client::new().await;
    client.put("/v1/proofs/.proof-storage-not/x", "x").await;
    let page = client.get("/v1/proofs?delimiter=/").await.json();
    assert_eq!(page["common_prefixes"], serde_json::json!([".proof-storage-not/"]));
}

#[tokio::test]
async fn pages_join_to_the_whole() {
    let client = filled().await;
    for (query, whole) in [("", 7), ("&delimiter=/", 5), ("&prefix=b", 3)] {
        for limit in 1..=8 {
            let (mut seen, mut cursor) = (Vec::new(), None::<String>);
            loop {
                let from = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
                let path = format!("/v1/proofs?limit={limit}{query}{from}");
                let page = client.get(&path).await.json();
                let prefixes = page["common_prefixes"].as_array().unwrap();
                let entries = keys(&page).len() + prefixes.len();
                assert!((1..=limit).contains(&entries), "{path}: {page}");
                seen.extend(keys(&page).into_iter().map(str::to_owned));
                seen.extend(prefixes.iter().map(|prefix| prefix.as_str().unwrap().to_owned()));
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = Some(next.to_owned()),
                    None => break,
                }
            }
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), whole, "limit {limit}{query}: {seen:?}");
        }
    }
}

#[tokio::test]
async fn what_is_out_of_range_is_named() {
    let client = filled().await;
    let foreign = client.get("/v1/proofs?limit=1").await.json();
    let foreign = foreign["next_cursor"].as_str().unwrap();
    let foreign = format!("cursor={foreign}&prefix=b/");
    for (query, text) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("limit=%2B5", "limit"),
        ("prefix=%FF", "UTF-8"),
        ("prefix=a//b", "prefix: no key begins so, the key has an empty"),
        ("prefix=..%2F", "prefix: no key begins so, the key has an empty, '.' or '..'"),
        ("prefix=%2Fa", "prefix: no key begins so, the key starts or ends with '/': remove it"),
        ("prefix=%00", "prefix: no key begins so, the key has a control character"),
        ("prefix=.proof-storage/", "prefix: no key begins so, keys below '.proof-storage'"),
        ("cursor=%20", "cursor"),
        ("cursor=AAAA", "cursor"),
        (foreign.as_str(), "cursor"),
        ("after=x", "after"),
        ("limit=1&limit=2", "limit"),
    ] {
        let answer = client.get(&format!("/v1/proofs?{query}")).await;
        answer.is_problem(400, "INVALID_REQUEST", text);
    }
}
