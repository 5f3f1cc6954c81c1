//! Preconditions and ranges, in the order of RFC 9110 §13.2.2.

use super::client::{Client, sample_json};

const PATH: &str = "/v1/proofs/k.json";
const OTHER: &str = "\"0000\"";

async fn stored() -> (Client, String, String) {
    let client = Client::new().await;
    client.put(PATH, sample_json(13_000)).await;
    let tag = |answer: &super::client::Answer| answer.header("etag").unwrap().to_owned();
    let identity = tag(&client.get(PATH).await);
    let gzip = tag(&client.call("GET", PATH, &[("accept-encoding", "gzip")], "").await);
    (client, identity, gzip)
}

#[tokio::test]
async fn reads_follow_the_table() {
    let (client, identity, gzip) = stored().await;
    let past = "Mon, 01 Jan 2024 00:00:00 GMT";
    let future = "Fri, 01 Jan 2100 00:00:00 GMT";
    let weak = format!("W/{identity}");
    let list = format!("{OTHER}, {identity}");
    let cases: &[(&[(&str, &str)], u16)] = &[
        (&[("if-none-match", &identity)], 304),
        (&[("if-none-match", &weak)], 304),
        (&[("if-none-match", &list)], 304),
        (&[("if-none-match", "*")], 304),
        (&[("if-none-match", OTHER)], 200),
        (&[("if-none-match", &gzip)], 200),
        (&[("if-none-match", &gzip), ("accept-encoding", "gzip")], 304),
        (&[("if-match", &identity)], 200),
        (&[("if-match", &gzip)], 200),
        (&[("if-match", "*")], 200),
        (&[("if-match", OTHER)], 412),
        (&[("if-match", &weak)], 412),
        (&[("if-modified-since", future)], 304),
        (&[("if-modified-since", past)], 200),
        (&[("if-modified-since", "nonsense")], 200),
        (&[("if-unmodified-since", past)], 412),
        (&[("if-unmodified-since", future)], 200),
        // If-None-Match outranks If-Modified-Since; If-Match outranks both dates.
        (&[("if-none-match", OTHER), ("if-modified-since", future)], 200),
        (&[("if-match", &identity), ("if-unmodified-since", past)], 200),
        (&[("if-match", OTHER), ("if-none-match", &identity)], 412),
        (&[("if-match", &identity), ("if-none-match", &identity)], 304),
        (&[("range", "bytes=0-0")], 206),
        (&[("range", "bytes=0-0"), ("if-none-match", &identity)], 304),
        (&[("range", "bytes=0-0"), ("if-match", OTHER)], 412),
        (&[("range", "bytes=0-0"), ("if-range", &identity)], 206),
        (&[("range", "bytes=0-0"), ("if-range", OTHER)], 200),
        (&[("range", "bytes=0-0"), ("if-range", &weak)], 200),
        (&[("range", "bytes=0-0"), ("if-range", past)], 200),
        (&[("range", "bytes=0-0,5-6")], 200),
        (&[("range", "bytes=99999-")], 416),
    ];
    for (headers, expected) in cases {
        let got = client.call("GET", PATH, headers, "").await;
        assert_eq!(got.status.as_u16(), *expected, "GET {headers:?}");
        let ranged = headers.iter().any(|(name, _)| *name == "range");
        if !ranged {
            let head = client.call("HEAD", PATH, headers, "").await;
            assert_eq!(head.status.as_u16(), *expected, "HEAD {headers:?}");
        }
    }
}

#[tokio::test]
async fn not_modified_has_no_body_and_the_tag() {
    let (client, identity, _) = stored().await;
    let answer = client.call("GET", PATH, &[("if-none-match", &identity)], "").await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0));
    assert_eq!(answer.header("etag"), Some(&*identity));
    assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
}

#[tokio::test]
async fn unsatisfiable_range_tells_the_size() {
    let client = Client::new().await;
    client.put("/v1/proofs/k", "12345").await;
    let answer = client.call("GET", "/v1/proofs/k", &[("range", "bytes=5-")], "").await;
    answer.is_problem(416, "RANGE_NOT_SATISFIABLE", "5 bytes");
    assert_eq!(answer.header("content-range"), Some("bytes */5"));
}

#[tokio::test]
async fn replace_takes_either_tag_and_only_the_current_one() {
    let (client, identity, gzip) = stored().await;
    client.call("PUT", PATH, &[("if-match", OTHER)], "x").await.is_problem(
        412,
        "PRECONDITION_FAILED",
        "If-Match",
    );
    assert_eq!(client.call("PUT", PATH, &[("if-match", &gzip)], "second").await.status, 200);
    let stale = client.call("PUT", PATH, &[("if-match", &identity)], "third").await;
    stale.is_problem(412, "PRECONDITION_FAILED", "If-Match");
    assert_eq!(&client.get(PATH).await.body[..], b"second");
    let missing = client.call("PUT", "/v1/proofs/none", &[("if-match", &identity)], "x").await;
    missing.is_problem(412, "PRECONDITION_FAILED", "does not exist");
}

#[tokio::test]
async fn create_only() {
    let client = Client::new().await;
    let headers = [("if-none-match", "*")];
    assert_eq!(client.call("PUT", PATH, &headers, "a").await.status, 201);
    let again = client.call("PUT", PATH, &headers, "a").await;
    again.is_problem(412, "PRECONDITION_FAILED", "If-None-Match");
}

#[tokio::test]
async fn writes_refuse_preconditions_they_would_have_to_ignore() {
    let (client, identity, _) = stored().await;
    let date = "Mon, 01 Jan 2024 00:00:00 GMT";
    type Fields<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(&str, Fields<'_>, &str)] = &[
        ("PUT", &[("if-none-match", &identity)], "If-None-Match"),
        ("PUT", &[("if-match", "unquoted")], "If-Match"),
        ("PUT", &[("if-match", "*")], "write-once"),
        ("PUT", &[("if-match", &identity), ("if-none-match", "*")], "contradict"),
        ("PUT", &[("if-unmodified-since", date)], "If-Unmodified-Since"),
        ("DELETE", &[("if-unmodified-since", date)], "If-Unmodified-Since"),
        ("DELETE", &[("if-none-match", "*")], "If-None-Match"),
    ];
    for (method, headers, text) in cases {
        client.call(method, PATH, headers, "x").await.is_problem(400, "INVALID_REQUEST", text);
    }
    assert_eq!(client.get(PATH).await.status, 200);
}

#[tokio::test]
async fn delete_compares() {
    let (client, identity, _) = stored().await;
    let wrong = client.call("DELETE", PATH, &[("if-match", OTHER)], "").await;
    wrong.is_problem(412, "PRECONDITION_FAILED", "If-Match");
    assert_eq!(client.call("DELETE", PATH, &[("if-match", &identity)], "").await.status, 204);
    let gone = client.call("DELETE", PATH, &[("if-match", &identity)], "").await;
    gone.is_problem(412, "PRECONDITION_FAILED", "does not exist");
}

#[tokio::test]
async fn digests_guard_the_upload() {
    let client = Client::new().await;
    let right = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";
    for header in ["repr-digest", "content-digest"] {
        let wrong = client.call("PUT", PATH, &[(header, right)], "abd").await;
        wrong.is_problem(400, "DIGEST_MISMATCH", "igest");
    }
    assert_eq!(client.get(PATH).await.status, 404);
    let headers = [("repr-digest", right), ("content-digest", right)];
    assert_eq!(client.call("PUT", PATH, &headers, "abc").await.status, 201);
    // Of a coded body, Repr-Digest may name what it inflates to; Content-Digest may not.
    let gzip = super::client::gzip(b"abc");
    let headers = [("content-encoding", "gzip"), ("repr-digest", right)];
    assert_eq!(client.call("PUT", "/v1/proofs/g", &headers, gzip.clone()).await.status, 201);
    let headers = [("content-encoding", "gzip"), ("content-digest", right)];
    let wrong = client.call("PUT", "/v1/proofs/h", &headers, gzip).await;
    wrong.is_problem(400, "DIGEST_MISMATCH", "Content-Digest");
}
