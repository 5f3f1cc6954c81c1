//! Connections over TLS: protocols, versions, time limits, stopping.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use proof_storage::serve::Drained;
use rustls::ProtocolVersion;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::{Connection, PATIENCE, PAUSE, Running, ask};

/// Sends a request of plain HTTP, and gives all that comes back.
pub async fn in_the_clear(to: SocketAddr) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_is_the_one_agreed_on() {
    let running = Running::start().await;
    let to = running.address;
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some(&b"h2"[..])),
        (&["http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        for tls12 in [false, true] {
            let mut client = offered.iter().fold(running.client(), |c, p| c.offering(p));
            if tls12 {
                client = client.of_tls12();
            }
            let stream = client.connect(to).await.unwrap();
            let session = stream.get_ref().1;
            assert_eq!(session.alpn_protocol(), agreed, "{offered:?}");
            let version = if tls12 { ProtocolVersion::TLSv1_2 } else { ProtocolVersion::TLSv1_3 };
            assert_eq!(session.protocol_version(), Some(version));
            let put = Request::put(format!("/v1/proofs/{}-{tls12}", offered.len()));
            let answer = ask(stream, put.body(Full::from("proof")).unwrap()).await.unwrap();
            assert_eq!(answer.0, StatusCode::CREATED);
            let result: serde_json::Value = serde_json::from_slice(&answer.1).unwrap();
            let url = result["url"].as_str().unwrap();
            assert!(url.starts_with(&format!("https://{to}/")), "{url}");
        }
    }
    let other = running.client().offering("spdy/3").connect(to).await;
    other.expect_err("there is no such protocol here");
    let series = "proof_storage_tls_handshakes_failed_total{cause=\"incompatible\"}";
    running.wait_for(series, 1.0).await;
    running.stop().await;
}

/// A ClientHello (RFC 5246 §7.4.1.2) of some version, which offers nothing newer.
fn client_hello(version: [u8; 2]) -> Vec<u8> {
    // signature_algorithms: ECDSA and RSA with SHA-256; supported_groups: P-256.
    let extensions = [0, 13, 0, 6, 0, 4, 4, 3, 4, 1, 0, 10, 0, 4, 0, 2, 0, 23];
    let mut hello = version.to_vec();
    hello.extend([7; 32]);
    // No session; ECDHE-ECDSA and ECDHE-RSA with AES-128-GCM, and with AES-128-CBC; no compression.
    hello.extend([0, 0, 8, 0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x09, 0xc0, 0x13, 1, 0]);
    hello.extend([0, extensions.len() as u8]);
    hello.extend(extensions);
    let mut record = vec![22, 3, 1, 0, hello.len() as u8 + 4, 1, 0, 0, hello.len() as u8];
    record.extend(hello);
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn old_versions_are_refused() {
    const ALERT: u8 = 21;
    const HANDSHAKE: u8 = 22;
    const PROTOCOL_VERSION: u8 = 70;
    let running = Running::start().await;
    for (version, refused) in [([3, 1], true), ([3, 2], true), ([3, 3], false)] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(&client_hello(version)).await.unwrap();
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).await.unwrap();
        if refused {
            assert_eq!((answer[0], answer[6]), (ALERT, PROTOCOL_VERSION), "{version:?}");
        } else {
            // Negative control: the same words in TLS 1.2 are taken.
            assert_eq!(answer[0], HANDSHAKE, "{answer:?}");
        }
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_is_told_to_speak_https() {
    let running = Running::start().await;
    let answer = in_the_clear(running.address).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert!(head.contains("content-type: application/problem+json"), "{head}");
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(problem["code"], "INVALID_REQUEST");
    assert!(problem["detail"].as_str().unwrap().contains("https://"), "{problem}");
    running.wait_for("proof_storage_tls_handshakes_failed_total{cause=\"plain_http\"}", 1.0).await;
    running.stop().await;
}

/// Whoever takes their time has a place like any connection, loses it at the time limit, and holds up
/// nobody else's handshake meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_dawdles_holds_a_place_and_is_cut_off() {
    let limits = "[limits]\nheader_timeout = 500\nmax_connections = 2\n";
    let running = Running::with(|_| limits.to_owned()).await;
    let timeouts = "proof_storage_tls_handshakes_failed_total{cause=\"timeout\"}";
    let waited = "proof_storage_refused_total{reason=\"connections\"}";
    let displaced = "proof_storage_refused_total{reason=\"displaced\"}";
    let mut dawdlers = Vec::new();
    for begun in [&client_hello([3, 3])[..20], b""] {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(begun).await.unwrap();
        dawdlers.push(stream);
    }
    // Both places are taken: this one is served after one of them is free again.
    let served = running.client().get(running.address, "/health");
    let answer = tokio::time::timeout(PATIENCE, served).await.expect("a place becomes free");
    assert_eq!(answer.unwrap().0, StatusCode::OK);
    for mut stream in dawdlers {
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        ended.expect("cut off").ok();
    }
    // By its time, or to make room for the one that waits: who comes first is the machine's choice.
    let all_gone = async {
        while [timeouts, displaced].iter().filter_map(|of| running.series(of)).sum::<f64>() < 2.0 {
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, all_gone).await.expect("both are counted");
    assert!(running.series(waited).unwrap() >= 1.0);
    running.stop().await;

    let limits = "[limits]\nheader_timeout = 600000\n";
    let running = Running::with(|_| limits.to_owned()).await;
    let dawdler = TcpStream::connect(running.address).await.unwrap();
    let answer = running.client().get(running.address, "/health").await;
    assert_eq!(answer.unwrap().0, StatusCode::OK, "another handshake does not wait for it");
    drop(dawdler);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_and_a_slow_head_are_cut_off_over_tls_too() {
    let running = Running::with(|_| "[limits]\nheader_timeout = 500\n".to_owned()).await;
    for begun in ["", "GET /health HTTP/1.1\r\nhost: a\r\n"] {
        let mut stream = running.client().connect(running.address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        ended.expect("cut off").ok();
        assert_eq!(answer, b"", "nothing was asked");
    }
    running.stop().await;
}

/// More than all buffers on the way hold together.
const LARGE: usize = 64 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_of_an_answer_is_cut_off_over_tls_too() {
    let running = Running::with(|_| "[limits]\nbody_timeout = 500\n".to_owned()).await;
    let client = || running.client().offering("http/1.1");
    let put = Request::put("/v1/proofs/large").header("content-type", "application/x-large");
    let stream = client().connect(running.address).await.unwrap();
    let answer = ask(stream, put.body(Full::from(vec![7; LARGE])).unwrap()).await.unwrap();
    assert_eq!(answer.0, StatusCode::CREATED);

    let get = b"GET /v1/proofs/large HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let read_all = async |stream: &mut Connection| {
        let mut taken = vec![];
        stream.read_to_end(&mut taken).await.ok();
        taken.len()
    };
    // Negative control: who takes it gets it all.
    let mut stream = client().connect(running.address).await.unwrap();
    stream.write_all(get).await.unwrap();
    assert!(read_all(&mut stream).await > LARGE);

    let mut stream = client().connect(running.address).await.unwrap();
    stream.write_all(get).await.unwrap();
    stream.flush().await.unwrap();
    running.wait_for("proof_storage_http_connections", 1.0).await;
    running.wait_for("proof_storage_http_connections", 0.0).await;
    assert!(read_all(&mut stream).await < LARGE, "the rest was not sent");
    running.stop().await;
}

type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// A body that comes piece by piece, as it is sent to it.
fn piecemeal() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, mut pieces) = mpsc::channel::<Bytes>(1);
    let frames = futures_util::stream::poll_fn(move |cx| pieces.poll_recv(cx));
    let frames = futures_util::StreamExt::map(frames, |piece| Ok(Frame::data(piece)));
    (sender, StreamBody::new(frames).boxed_unsync())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_finished_when_the_service_stops() {
    for protocol in ["http/1.1", "h2"] {
        let running = Running::start().await;
        let stream = running.client().offering(protocol).connect(running.address).await.unwrap();
        let (pieces, body) = piecemeal();
        let put = Request::put("https://localhost/v1/proofs/slow").body(body).unwrap();
        let answer = if protocol == "h2" {
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            tokio::spawn(async move { sender.send_request(put).await })
        } else {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let mut put = put;
            put.headers_mut().insert("host", "localhost".parse().unwrap());
            tokio::spawn(async move { sender.send_request(put).await })
        };
        pieces.send("half ".into()).await.unwrap();
        running.wait_for("proof_storage_http_requests_in_flight", 1.0).await;
        // One that has asked for nothing yet does not hold up the stop.
        let idle = running.client().offering(protocol).connect(running.address).await.unwrap();

        let address = running.address;
        running.stop.send(()).unwrap();
        let closed = tokio::time::timeout(PATIENCE, async {
            while TcpStream::connect(address).await.is_ok() {
                tokio::time::sleep(super::PAUSE).await;
            }
        });
        closed.await.expect("the listener closes while a request runs");
        pieces.send("whole".into()).await.unwrap();
        drop(pieces);
        assert_eq!(answer.await.unwrap().unwrap().status(), StatusCode::CREATED, "{protocol}");
        assert_eq!(running.serving.await.unwrap(), Drained::Clean, "{protocol}");
        drop(idle);
    }
}
