//! Every fault does what it says, to whom it says, as often as it says.

use std::time::Duration;

use fake_s3::{Effect, FakeS3, Fault, Personality};

use super::client::{Call, Client};
use super::start;

fn faulty(fault: Fault) -> (FakeS3, Client) {
    let (server, client) = start(Personality::Aws);
    server.put_raw("key", "0123456789", Default::default());
    server.fault(fault);
    (server, client)
}

/// The call takes the fault, and gets no end.
async fn stays(server: &FakeS3, call: Call) {
    let task = tokio::spawn(call.try_send());
    while server.pending_faults() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!task.is_finished());
    task.abort();
}

#[tokio::test]
async fn errors() {
    for (effect, status, code) in [
        (Effect::slow_down(), 503, "SlowDown"),
        (Effect::internal_error(), 500, "InternalError"),
        (Effect::too_many_requests(), 429, "TooManyRequests"),
        (Effect::access_denied(), 403, "AccessDenied"),
        (Effect::quota_reached(), 403, "AccessDenied"),
        (Effect::error(507, "XMinioStorageFull", "full"), 507, "XMinioStorageFull"),
        (
            Effect::error(409, "ConditionalRequestConflict", "raced"),
            409,
            "ConditionalRequestConflict",
        ),
    ] {
        let (server, client) = faulty(Fault::new(effect.clone()).on("PutObject"));
        assert_eq!(client.get("key").await.status, 200, "another operation");
        let answer = client.put("new", "a").await;
        assert_eq!((answer.status, answer.code()), (status, code));
        assert_eq!(answer.header("retry-after"), (code == "SlowDown").then_some("1"));
        assert_eq!(answer.text().contains("quota is reached"), effect == Effect::quota_reached());
        assert!(server.raw("new").is_none(), "not executed");
        assert_eq!(server.pending_faults(), 0);
        assert_eq!(client.put("new", "a").await.status, 200, "only once");
        assert_eq!(server.requests().of("PutObject"), 2, "the failed one counts too");
    }
}

#[tokio::test]
async fn errors_arrive_however_large_the_body() {
    let (server, client) = start(Personality::Aws);
    server.fault(Fault::new(Effect::slow_down()).times(20));
    for _ in 0..20 {
        let put = client.call("PUT", "key").payload("UNSIGNED-PAYLOAD").body(vec![0; 4 << 20]);
        assert_eq!(put.send().await.status, 503);
    }
}

#[tokio::test]
async fn faults_are_aimed() {
    let (server, client) = start(Personality::Aws);
    server.fault(Fault::new(Effect::internal_error()).key("b/").times(2).after(1));
    let mut statuses = Vec::new();
    for key in ["a", "b/1", "b/2", "a", "b/3", "b/4"] {
        statuses.push(client.put(key, "x").await.status);
    }
    assert_eq!(statuses, [200, 200, 500, 200, 500, 200]);
    server.fault(Fault::new(Effect::internal_error()).times(usize::MAX));
    for _ in 0..3 {
        assert_eq!(client.get("a").await.status, 500);
    }
    server.clear_faults();
    assert_eq!(client.get("a").await.status, 200);
}

#[tokio::test]
async fn connections_close_before_and_after() {
    let (server, client) = faulty(Fault::new(Effect::CloseBefore).on("PutObject"));
    assert!(client.call("PUT", "new").body("a").try_send().await.is_err());
    assert!(server.raw("new").is_none(), "not executed");
    server.fault(Fault::new(Effect::CloseAfter).on("PutObject"));
    assert!(client.call("PUT", "new").body("a").try_send().await.is_err());
    assert_eq!(server.raw("new").unwrap().bytes, "a", "executed");
    server.fault(Fault::new(Effect::CloseAfter).on("DeleteObject"));
    assert!(client.call("DELETE", "new").try_send().await.is_err());
    assert!(server.raw("new").is_none(), "executed");
}

#[tokio::test]
async fn bodies_are_spoilt() {
    let (server, client) = faulty(Fault::new(Effect::FlipBit));
    let flipped = client.get("key").await;
    assert_eq!(flipped.text(), "0123446789");
    assert_eq!(flipped.header("content-length"), Some("10"));
    assert_eq!(flipped.etag(), client.get("key").await.etag());
    server.fault(Fault::new(Effect::CutBody));
    let cut = client.call("GET", "key").try_send().await;
    let cut = cut.expect_err("the body does not end");
    assert!(format!("{cut:?}").contains("Body"), "after the head came: {cut:?}");
    assert_eq!(client.get("key").await.text(), "0123456789");
}

#[tokio::test]
async fn bodies_stall() {
    let (server, client) = faulty(Fault::new(Effect::StallBody).on("GetObject"));
    stays(&server, client.call("GET", "key")).await;
    assert_eq!(client.get("key").await.text(), "0123456789");
}

#[tokio::test]
async fn some_keys_of_a_batch_are_refused() {
    let effect = Effect::RefuseKeys { part: "new/".into(), code: "InternalError".into() };
    let (server, client) = faulty(Fault::new(effect).on("DeleteObjects"));
    client.put("new/1", "a").await;
    let object = |key: &str| format!("<Object><Key>{key}</Key></Object>");
    let body = format!("<Delete>{}{}</Delete>", object("key"), object("new/1"));
    let answer = client.call("POST", "").query("delete", "").body(body).send().await;
    assert_eq!((answer.status, answer.code()), (200, "InternalError"));
    assert_eq!(answer.all("Key"), ["key", "new/1"], "the deleted one, the refused one");
    assert_eq!(server.objects().into_keys().collect::<Vec<_>>(), ["new/1"]);
}

#[tokio::test]
async fn etags_are_left_out() {
    let (server, client) = faulty(Fault::new(Effect::NoETag).times(2));
    let put = client.put("new", "a").await;
    assert_eq!((put.status, put.header("etag")), (200, None));
    let copy = client.call("PUT", "to").header("x-amz-copy-source", "proofs/new").send().await;
    assert_eq!((copy.status, copy.all("ETag").len(), copy.all("LastModified").len()), (200, 0, 1));
    assert_eq!(server.raw("to").unwrap().bytes, "a");
}

#[tokio::test]
async fn an_error_behind_the_commit() {
    let (server, client) = faulty(Fault::new(Effect::InternalErrorAfter).on("PutObject"));
    let put = client.put("new", "a").await;
    assert_eq!((put.status, put.code()), (500, "InternalError"));
    assert_eq!(server.raw("new").unwrap().bytes, "a", "executed");
}

#[tokio::test]
async fn a_length_is_claimed() {
    let (_server, client) = faulty(Fault::new(Effect::ClaimLength(6 << 30)).on("HeadObject"));
    let head = client.call("HEAD", "key").send().await;
    assert_eq!((head.status, head.header("content-length")), (200, Some("6442450944")));
    assert_eq!(client.get("key").await.text(), "0123456789");
}

#[tokio::test]
async fn an_error_with_status_200() {
    let effect = Effect::ErrorIn200("InternalError".into());
    let (server, client) = faulty(Fault::new(effect).on("CopyObject"));
    let copy = client.call("PUT", "to").header("x-amz-copy-source", "proofs/key").send().await;
    assert_eq!((copy.status, copy.code()), (200, "InternalError"));
    assert!(server.raw("to").is_some(), "executed");
}

#[tokio::test]
async fn an_internal_error_behind_the_commit() {
    let (server, client) = faulty(Fault::new(Effect::InternalErrorAfter).on("PutObject").times(2));
    for body in ["a", "b"] {
        let put = client.put("new", body).await;
        assert_eq!((put.status, put.code()), (500, "InternalError"));
        assert_eq!(server.raw("new").unwrap().bytes, body, "executed");
    }
}

#[tokio::test]
async fn delays_and_hangs() {
    let (short, long) = (Duration::from_millis(100), Duration::from_secs(3600));
    let (server, client) = faulty(Fault::new(Effect::Delay(long)));
    stays(&server, client.call("GET", "key")).await;
    server.fault(Fault::new(Effect::Delay(short)));
    assert_eq!(client.get("key").await.status, 200);
    server.fault(Fault::new(Effect::Hang));
    stays(&server, client.call("PUT", "new").body("a")).await;
    assert!(server.raw("new").is_none());
    assert_eq!(client.get("key").await.status, 200, "only that one hangs");
}

#[tokio::test]
async fn an_outage_keeps_the_data() {
    let (server, client) = faulty(Fault::new(Effect::Hang));
    let hanging = tokio::spawn(client.call("GET", "key").try_send());
    while server.pending_faults() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..3 {
        server.pause().unwrap();
        server.pause().unwrap();
        let refused = client.call("GET", "key").try_send().await.unwrap_err();
        assert!(format!("{refused:?}").contains("ConnectionRefused"), "{refused:?}");
        server.resume().unwrap();
        server.resume().unwrap();
        assert_eq!(client.get("key").await.text(), "0123456789");
    }
    assert!(hanging.await.unwrap().is_err(), "open connections were closed");
}
