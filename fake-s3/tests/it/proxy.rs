//! Every fault of the wire does what it says, to whom it says, and without one nothing changes.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use fake_s3::{Darkness, FakeS3, FaultProxy, Personality, WireEffect, WireFault};

use super::client::{Answer, Client};
use super::start;

const TEN: &str = "0123456789";

/// A server with an object, and a client that reaches it through a proxy.
fn through() -> (FakeS3, FaultProxy, Client) {
    let (server, mut client) = start(Personality::Aws);
    server.put_raw("key", TEN, Default::default());
    let proxy = FaultProxy::start(server.address()).expect("a free port");
    client.address = proxy.address();
    (server, proxy, client)
}

fn struck_by(effect: WireEffect) -> (FakeS3, FaultProxy, Client) {
    let (server, proxy, client) = through();
    proxy.fault(WireFault::new(effect));
    (server, proxy, client)
}

async fn put(client: &Client, key: &'static str, bytes: Bytes) -> Result<Answer, String> {
    let call = client.call("PUT", key).payload("UNSIGNED-PAYLOAD").body(bytes);
    call.try_send().await.map_err(|error| format!("{error:?}"))
}

/// The call is taken, and gets no answer for as long as anybody looks.
async fn is_unanswered(call: super::client::Call) {
    let answered = tokio::time::timeout(Duration::from_millis(150), call.try_send()).await;
    assert!(answered.is_err(), "an answer came: {answered:?}");
}

#[tokio::test]
async fn what_is_not_struck_passes_untouched() {
    let (server, proxy, client) = through();
    let large = Bytes::from((0..3_000_000_u32).map(|n| n as u8).collect::<Vec<_>>());
    assert_eq!(put(&client, "large", large.clone()).await.unwrap().status, 200);
    assert_eq!(server.raw("large").unwrap().bytes, large);
    assert_eq!(client.get("large").await.body, large);
    assert_eq!(client.get("key").await.text(), TEN);
    assert_eq!(client.call("HEAD", "key").send().await.header("content-length"), Some("10"));
    assert_eq!(client.get("missing").await.status, 404);
    let listed = client.call("GET", "").query("list-type", "2").send().await;
    assert_eq!(listed.all("Key"), ["key", "large"]);
    assert_eq!(proxy.struck(), 0);
}

#[tokio::test]
async fn requests_that_do_not_arrive() {
    for effect in [WireEffect::Reset, WireEffect::Close, WireEffect::CutUpload(3)] {
        let (server, proxy, client) = struck_by(effect);
        assert!(put(&client, "new", TEN.into()).await.is_err(), "{effect:?}");
        assert!(server.raw("new").is_none(), "{effect:?}");
        assert_eq!((proxy.struck(), proxy.pending_faults()), (1, 0), "{effect:?}");
        assert_eq!(put(&client, "new", TEN.into()).await.unwrap().status, 200, "only once");
    }
    let (server, proxy, client) = struck_by(WireEffect::Swallow);
    is_unanswered(client.call("PUT", "new").body("a")).await;
    assert!(server.raw("new").is_none());
    assert_eq!(proxy.struck(), 1);
}

#[tokio::test]
async fn answers_that_do_not_arrive() {
    for effect in [WireEffect::LoseAnswer, WireEffect::Garble] {
        let (server, proxy, client) = struck_by(effect);
        assert!(put(&client, "new", TEN.into()).await.is_err(), "{effect:?}");
        assert_eq!(server.raw("new").unwrap().bytes, TEN, "{effect:?}: it was executed");
        assert_eq!(proxy.struck(), 1);
    }
}

#[tokio::test]
async fn bodies_on_their_way_back() {
    let (_server, _proxy, client) = struck_by(WireEffect::Flip(3));
    assert_eq!(client.get("key").await.text(), "0122456789");
    assert_eq!(client.get("key").await.text(), TEN);
    let (_server, _proxy, client) = struck_by(WireEffect::Flip(100));
    assert_eq!(client.get("key").await.text(), "0123456788", "the last byte");

    for effect in [WireEffect::Truncate(3), WireEffect::Length(5)] {
        let (_server, _proxy, client) = struck_by(effect);
        let cut = client.call("GET", "key").try_send().await.expect_err("it does not end");
        assert!(format!("{cut:?}").contains("Body"), "after the head came: {cut:?}");
    }
    let (_server, _proxy, client) = struck_by(WireEffect::Length(-4));
    assert_eq!(client.get("key").await.text(), "012345");

    for effect in [WireEffect::Stall(3), WireEffect::Drip(3)] {
        let (_server, proxy, client) = struck_by(effect);
        is_unanswered(client.call("GET", "key")).await;
        assert_eq!(proxy.struck(), 1);
    }
    let (_server, _proxy, client) = struck_by(WireEffect::Drip(8));
    assert_eq!(client.get("key").await.text(), TEN, "two bytes, a second each");
    let (_server, _proxy, client) = struck_by(WireEffect::Delay(Duration::from_millis(20)));
    assert_eq!(client.get("key").await.text(), TEN);
}

/// What has no body is struck in its head, and a flip would make another answer of it.
#[tokio::test]
async fn answers_without_a_body() {
    let (_server, _proxy, client) = struck_by(WireEffect::Truncate(3));
    assert!(client.call("HEAD", "key").try_send().await.is_err());
    let (_server, proxy, client) = struck_by(WireEffect::Flip(3));
    assert_eq!(client.call("HEAD", "key").send().await.header("content-length"), Some("10"));
    assert_eq!(proxy.struck(), 1);
}

#[tokio::test]
async fn a_damaged_upload_is_found_by_its_checksum() {
    let (server, _proxy, client) = struck_by(WireEffect::FlipUpload(3));
    let answer = client.put("new", TEN).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(server.raw("new").is_none());
    let (server, proxy, client) = through();
    proxy.fault(WireFault::new(WireEffect::FlipUpload(3)));
    assert_eq!(put(&client, "new", TEN.into()).await.unwrap().status, 200);
    assert_eq!(server.raw("new").unwrap().bytes, "0122456789", "without one it is not");
}

#[tokio::test]
async fn faults_are_aimed() {
    let (_server, proxy, client) = through();
    proxy.fault(WireFault::new(WireEffect::Flip(0)).on("GET").path("/b/").times(2).after(1));
    for key in ["a", "b/1", "b/2", "b/3", "b/4"] {
        assert_eq!(put(&client, key, "x".into()).await.unwrap().status, 200);
    }
    let mut found = String::new();
    for key in ["a", "b/1", "b/2", "a", "b/3", "b/4"] {
        found.push_str(client.get(key).await.text());
    }
    assert_eq!(found, "xxyxyx");
    proxy.fault(WireFault::new(WireEffect::Close).times(usize::MAX));
    assert!(client.call("GET", "key").try_send().await.is_err());
    proxy.clear_faults();
    assert_eq!(client.get("key").await.text(), TEN);
}

/// Only what has carried a request before is stale.
#[test]
fn a_connection_goes_stale_between_two_requests() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let proxy = FaultProxy::start(server.address()).unwrap();
    proxy.fault(WireFault::new(WireEffect::Stale));
    let mut stream = TcpStream::connect(proxy.address()).unwrap();
    let request = b"GET /proofs/key HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(request).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 403");
    assert_eq!(proxy.struck(), 0);
    stream.write_all(request).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
    assert_eq!(proxy.struck(), 1);
}

#[tokio::test]
async fn the_dark_wire_lets_nothing_through_and_then_everything() {
    for darkness in [Darkness::Silent, Darkness::Unreachable] {
        let (server, proxy, client) = through();
        proxy.go_dark(darkness).unwrap();
        is_unanswered(client.call("GET", "key")).await;
        let waiting = tokio::spawn(client.call("PUT", "late").body("a").try_send());
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(server.raw("late").is_none() && !waiting.is_finished(), "{darkness:?}");
        proxy.light_up().unwrap();
        assert_eq!(waiting.await.unwrap().unwrap().status, 200, "{darkness:?}: it goes on its way");
        assert_eq!(client.get("key").await.text(), TEN, "{darkness:?}");
    }
}

/// A new connection is what tells the two kinds apart.
#[test]
fn only_the_unreachable_takes_no_connections() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let proxy = FaultProxy::start(server.address()).unwrap();
    let connect = || TcpStream::connect_timeout(&proxy.address(), Duration::from_millis(300));
    proxy.go_dark(Darkness::Silent).unwrap();
    assert!(connect().is_ok());
    proxy.go_dark(Darkness::Unreachable).unwrap();
    assert_eq!(connect().unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    proxy.light_up().unwrap();
    assert!(connect().is_ok());
}

/// A request under way stops in the middle.
#[tokio::test]
async fn darkness_falls_into_a_transfer() {
    let (server, proxy, client) = through();
    server.put_raw("large", vec![7; 64 << 20], Default::default());
    let fetching = tokio::spawn(client.call("GET", "large").try_send());
    while server.requests().of("GetObject") == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    proxy.go_dark(Darkness::Silent).unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!fetching.is_finished());
    proxy.light_up().unwrap();
    assert_eq!(fetching.await.unwrap().unwrap().body.len(), 64 << 20);
}

#[test]
fn the_program_obeys_its_input() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_fault-proxy"))
        .args(["--to", &server.address().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let commands = "fault reset path=/a times=2\npending\ndark silent\nlight\nclear\npending\n\
                    struck\nfault burn\ndark red\n";
    program.stdin.take().unwrap().write_all(commands.as_bytes()).unwrap();
    let said = program.wait_with_output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("endpoint http://127.0.0.1:"), "{said}");
    assert_eq!(lines[1..8], ["ok", "1", "ok", "ok", "ok", "0", "0"], "{said}");
    assert!(lines[8..].iter().all(|line| line.starts_with("error: ")), "{said}");
    assert_eq!(lines.len(), 10, "{said}");
}
