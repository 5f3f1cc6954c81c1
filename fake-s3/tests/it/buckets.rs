//! Listings, tags, permissions, and the server's own end.

use fake_s3::{FakeS3, Headers, Personality};

use super::client::{Answer, Client};
use super::start;

async fn list(client: &Client, queries: &[(&str, &str)]) -> Answer {
    let call = client.call("GET", "").query("list-type", "2");
    queries.iter().fold(call, |call, (name, value)| call.query(name, value)).send().await
}

#[tokio::test]
async fn listings() {
    let (server, client) = start(Personality::Aws);
    for key in ["a", "b/1", "b/2", "c d+é", "photos/1", "photos/3", "z/1"] {
        server.put_raw(key, "x", Headers::default());
    }
    let all = list(&client, &[]).await;
    assert_eq!(all.all("Key"), ["a", "b/1", "b/2", "c d+é", "photos/1", "photos/3", "z/1"]);
    assert_eq!((all.all("KeyCount"), all.all("IsTruncated")), (vec!["7"], vec!["false"]));
    assert_eq!(all.all("Size")[0], "1");
    let groups = list(&client, &[("delimiter", "/")]).await;
    assert_eq!(groups.all("Key"), ["a", "c d+é"]);
    let prefixes = |answer: &Answer| {
        let prefixes = answer.all("CommonPrefixes");
        let text = |one: &&str| one.trim_start_matches("<Prefix>").replace("</Prefix>", "");
        prefixes.iter().map(text).collect::<Vec<_>>()
    };
    assert_eq!(prefixes(&groups), ["b/", "photos/", "z/"]);
    let after = list(&client, &[("delimiter", "/"), ("start-after", "photos/2")]).await;
    assert_eq!((prefixes(&after), after.all("Key").len()), (vec!["z/".to_owned()], 0));
    let after = list(&client, &[("start-after", "photos/2")]).await;
    assert_eq!(after.all("Key"), ["photos/3", "z/1"]);
    let (mut found, mut token) = (Vec::new(), None::<String>);
    loop {
        let mut queries = vec![("delimiter", "/"), ("max-keys", "2")];
        queries.extend(token.as_deref().map(|token| ("continuation-token", token)));
        let page = list(&client, &queries).await;
        found.extend(page.all("Key").into_iter().map(str::to_owned));
        found.extend(prefixes(&page));
        let Some(next) = page.all("NextContinuationToken").first().map(ToString::to_string) else {
            break;
        };
        assert_eq!(page.all("KeyCount"), ["2"]);
        token = Some(next);
    }
    assert_eq!(found, ["a", "b/", "c d+é", "photos/", "z/"]);
    let url = list(&client, &[("encoding-type", "url"), ("prefix", "c ")]).await;
    assert_eq!(url.all("Key"), ["c+d%2B%C3%A9"]);
    assert_eq!(list(&client, &[("continuation-token", "!")]).await.code(), "InvalidArgument");
    assert_eq!(list(&client, &[("max-keys", "0")]).await.all("IsTruncated"), ["false"]);
}

#[tokio::test]
async fn tags_and_buckets() {
    let (server, client) = start(Personality::Aws);
    client.put("key", "a").await;
    let tagging = |method| client.call(method, "key").query("tagging", "");
    let body = "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>";
    assert_eq!(tagging("PUT").body(body).send().await.status, 200);
    assert_eq!(server.raw("key").unwrap().headers.tags["a"], "1");
    assert_eq!(tagging("GET").send().await.all("Value"), ["1"]);
    assert_eq!(client.get("key").await.header("x-amz-tagging-count"), Some("1"));
    let head = client.call("HEAD", "key").send().await;
    assert_eq!(head.header("x-amz-tagging-count"), Some("1"));
    assert_eq!(tagging("DELETE").send().await.status, 204);
    assert!(tagging("GET").send().await.all("Value").is_empty());
    assert_eq!(client.call("HEAD", "").send().await.status, 200);
    assert_eq!(client.call("GET", "").query("location", "").send().await.status, 200);
    assert_eq!(client.call("PUT", "").send().await.code(), "BucketAlreadyOwnedByYou");
    assert_eq!(client.call("GET", "").query("versioning", "").send().await.status, 501);
}

#[tokio::test]
async fn without_the_permission_to_list() {
    let (server, client) = start(Personality::Aws);
    client.put("key", "a").await;
    server.set_list_permission(false);
    let missing = client.get("missing").await;
    assert_eq!((missing.status, missing.code()), (403, "AccessDenied"));
    assert_eq!(list(&client, &[]).await.status, 403);
    assert_eq!(client.get("key").await.status, 200);
    server.set_list_permission(true);
    assert_eq!(client.get("missing").await.status, 404);
}

#[tokio::test]
async fn a_stopped_server_is_gone() {
    let (server, client) = start(Personality::Aws);
    assert!(server.endpoint().starts_with("http://127.0.0.1:"));
    let port = server.address().port();
    server.stop();
    assert!(client.call("GET", "key").try_send().await.is_err());
    let again = FakeS3::start_on(Personality::Aws, port).expect("the port is free");
    assert!(again.objects().is_empty());
}
