//! Object lock, as AWS has it: what it refuses, and what stays.

use fake_s3::{FakeS3, Personality};

use super::client::{Answer, Client};
use super::start;

const MODE: &str = "x-amz-object-lock-mode";
const UNTIL: &str = "x-amz-object-lock-retain-until-date";
const HOLD: &str = "x-amz-object-lock-legal-hold";
/// As answers have it.
const DATE: &str = "2099-01-31T00:00:00.000Z";
/// sha-256 of "a".
const SHA256: &str = "ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs=";

fn locked() -> (FakeS3, Client) {
    let (server, client) = start(Personality::Aws);
    server.enable_object_lock();
    (server, client)
}

async fn put(client: &Client, key: &str, headers: &[(&str, &str)]) -> Answer {
    let mut call = client.call("PUT", key).header("x-amz-checksum-sha256", SHA256).body("a");
    for (name, value) in headers {
        call = call.header(name, value);
    }
    call.send().await
}

async fn remove(client: &Client, key: &str, version: &str) -> u16 {
    client.call("DELETE", key).query("versionId", version).send().await.status
}

#[tokio::test]
async fn a_bucket_without_locks_takes_none_and_says_so() {
    let (server, client) = start(Personality::Aws);
    let asked = client.call("GET", "").query("object-lock", "").send().await;
    assert_eq!((asked.status, asked.code()), (404, "ObjectLockConfigurationNotFoundError"));
    for headers in [&[(MODE, "GOVERNANCE"), (UNTIL, DATE)][..], &[(HOLD, "ON")]] {
        let answer = put(&client, "a", headers).await;
        assert_eq!((answer.status, answer.code()), (400, "InvalidRequest"));
    }
    server.enable_object_lock();
    let asked = client.call("GET", "").query("object-lock", "").send().await;
    assert_eq!(asked.all("ObjectLockEnabled"), ["Enabled"]);
    for (personality, status) in [(Personality::R2, 501), (Personality::Garage, 403)] {
        let (_server, client) = start(personality);
        let asked = client.call("GET", "").query("object-lock", "").send().await;
        assert_eq!(asked.status, status, "{personality:?}");
    }
}

#[tokio::test]
async fn what_makes_no_lock_is_refused() {
    let (server, client) = locked();
    for headers in [
        &[(UNTIL, DATE)][..],
        &[(MODE, "GOVERNANCE")],
        &[(MODE, "governance"), (UNTIL, DATE)],
        &[(MODE, "COMPLIANCE"), (UNTIL, "2020-01-31T00:00:00Z")],
        &[(HOLD, "on")],
    ] {
        let answer = put(&client, "a", headers).await;
        assert_eq!((answer.status, answer.code()), (400, "InvalidArgument"), "{headers:?}");
    }
    let unhashed = client.call("PUT", "a").header(HOLD, "ON").body("a").send().await;
    assert_eq!((unhashed.status, unhashed.code()), (400, "InvalidRequest"));
    server.set_lock_permission(false);
    assert_eq!(put(&client, "a", &[(HOLD, "ON")]).await.status, 403);
    assert!(server.versions("a").is_empty());
}

#[tokio::test]
async fn a_locked_version_stays_and_another_one_goes() {
    let (server, client) = locked();
    let dated = [(MODE, "GOVERNANCE"), (UNTIL, DATE)];
    let compliant = [(MODE, "COMPLIANCE"), (UNTIL, DATE)];
    for (headers, plain, bypassed) in [
        (&dated[..], 403, 204),
        (&compliant[..], 403, 403),
        (&[(HOLD, "ON")], 403, 403),
        (&[], 204, 204),
    ] {
        let stored = put(&client, "a", headers).await;
        let version = stored.header("x-amz-version-id").unwrap().to_owned();
        let head = client.call("HEAD", "a").send().await;
        for (name, value) in headers {
            assert_eq!(head.header(name), Some(*value));
        }
        let hidden = client.call("DELETE", "a").send().await;
        assert_eq!(hidden.header("x-amz-delete-marker"), Some("true"));
        assert_eq!(client.get("a").await.status, 404);
        let old = client.call("GET", "a").query("versionId", &version).send().await;
        assert_eq!(old.text(), "a");
        assert_eq!(remove(&client, "a", &version).await, plain, "{headers:?}");
        let bypass = client.call("DELETE", "a").query("versionId", &version);
        let bypass = bypass.header("x-amz-bypass-governance-retention", "true").send().await;
        assert_eq!(bypass.status, bypassed, "{headers:?}");
    }
    assert_eq!(server.versions("a").len(), 2);
}

#[tokio::test]
async fn a_hold_is_cleared_by_version_and_a_marker_gives_back_what_it_hid() {
    let (server, client) = locked();
    let first = put(&client, "a", &[(HOLD, "ON")]).await;
    let first = first.header("x-amz-version-id").unwrap().to_owned();
    put(&client, "a", &[(HOLD, "ON")]).await;
    let body = "<LegalHold><Status>OFF</Status></LegalHold>";
    let off = client.call("PUT", "a").query("legal-hold", "").query("versionId", &first);
    assert_eq!(off.body(body).send().await.status, 200);
    let holds = || server.versions("a").iter().map(|one| one.lock.legal_hold).collect::<Vec<_>>();
    assert_eq!(holds(), [Some(false), Some(true)]);
    let marker = client.call("DELETE", "a").send().await;
    let marker = marker.header("x-amz-version-id").unwrap().to_owned();
    assert_eq!(remove(&client, "a", &marker).await, 204);
    assert_eq!(client.get("a").await.status, 200);
    assert_eq!(remove(&client, "a", &first).await, 204);
    assert_eq!(holds(), [Some(true)]);
}
