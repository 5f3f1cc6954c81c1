//! Who keeps a connection, and who has to leave it: on real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use proof_storage::access::ApiToken;
use proof_storage::backend::faulty::{Fault, Faulty, Operation};
use proof_storage::backend::memory::Memory;
use proof_storage::config::{AuthMode, Config, TokenEntry};
use proof_storage::model::{Rate, Rights};
use proof_storage::serve::{ConnectionLimits, DrainPolicy, Server};
use proof_storage::telemetry::Metrics;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::client::Client;

/// How long a test waits for what must come. Nothing is asserted about the time.
const PATIENCE: Duration = Duration::from_secs(120);

const LIMITS: ConnectionLimits = ConnectionLimits {
    max_connections: 100,
    max_connections_per_address: None,
    header_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(75),
    write_timeout: Duration::from_secs(1),
    min_upload_rate: 1024,
    min_download_rate: 1024,
};

/// Where a service of the test's own is served until the test ends.
async fn serve(client: &Client, limits: ConnectionLimits) -> (SocketAddr, Metrics) {
    let metrics = client.service().state().metrics.clone();
    let any = ([127, 0, 0, 1], 0).into();
    let server = Server::bind(any, limits, None, metrics.clone()).await.unwrap();
    let address = server.local_addr().unwrap();
    let drain = DrainPolicy { delay: Duration::ZERO, timeout: PATIENCE };
    tokio::spawn(server.run(client.service(), drain, std::future::pending()));
    (address, metrics)
}

/// A request on a connection of its own.
async fn call(to: SocketAddr, request: Request<Full<Bytes>>) -> StatusCode {
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.unwrap();
    let status = answer.status();
    answer.into_body().collect().await.unwrap();
    status
}

fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).body(Full::default()).unwrap()
}

/// HTTP/2 with a window for each answer, and pings that keep coming.
async fn http2(
    to: SocketAddr,
    window: u32,
) -> (http2::SendRequest<Empty<Bytes>>, tokio::task::JoinHandle<hyper::Result<()>>) {
    let stream = TcpStream::connect(to).await.unwrap();
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(window)
        .keep_alive_interval(Duration::from_millis(200))
        .keep_alive_timeout(PATIENCE)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    (sender, tokio::spawn(connection))
}

fn http2_get(to: SocketAddr, path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://{to}{path}")).body(Empty::new()).unwrap()
}

const PROOFS: usize = 6;
const PROOF_BYTES: usize = 1 << 20;

/// A service of whose budget one client gets as much as the answers of [`PROOFS`] are.
async fn with_proofs() -> Client {
    let client = Client::configured(|config| config.limits.memory_budget_bytes = 8 << 20).await;
    for number in 0..PROOFS {
        let put = client.put(&format!("/v1/proofs/{number}"), vec![7; PROOF_BYTES]).await;
        assert_eq!(put.status, 201);
    }
    client
}

/// Asks for all proofs over HTTP/2 and leaves the answers where they are. Whether another client gets one
/// in spite of it, sooner or later.
async fn others_are_served(window: u32, limits: ConnectionLimits, patience: Duration) -> bool {
    let client = with_proofs().await;
    let (to, metrics) = serve(&client, limits).await;
    let (mut sender, connection) = http2(to, window).await;
    let mut answers = Vec::new();
    for number in 0..PROOFS {
        let request = http2_get(to, &format!("/v1/proofs/{number}"));
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        answers.push(answer);
    }
    assert_eq!(call(to, get("/v1/proofs/0")).await, 503, "the budget is used up");
    let served = timeout(patience, async {
        while call(to, get("/v1/proofs/0")).await != 200 {
            sleep(Duration::from_millis(100)).await;
        }
    });
    let served = served.await.is_ok();
    let given_up = metrics.render().contains("refused_total{reason=\"slow_download\"} 1");
    assert_eq!(given_up, served);
    if served {
        drop(timeout(PATIENCE, connection).await.expect("cut off"));
    } else {
        assert!(!connection.is_finished(), "pings are answered");
    }
    served
}

/// Nothing at all is sent, or as much as the window has room for.
const WINDOWS: [u32; 3] = [0, 1, 65_535];

/// The memory of what they hold is free again for others.
#[tokio::test(flavor = "multi_thread")]
async fn http2_clients_that_open_no_window_are_given_up() {
    let served = WINDOWS.map(|window| others_are_served(window, LIMITS, PATIENCE));
    assert_eq!(join_all(served).await, [true; 3]);
}

/// The control: what ends them is the least rate. 20 s are about twice what it takes where there is one.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_least_rate_a_shut_window_holds_on() {
    let limits = ConnectionLimits { min_download_rate: 0, ..LIMITS };
    let patience = Duration::from_secs(20);
    let served = WINDOWS.map(|window| others_are_served(window, limits, patience));
    assert_eq!(join_all(served).await, [false; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_clients_that_take_their_answers_are_not() {
    let client = with_proofs().await;
    let (to, metrics) = serve(&client, LIMITS).await;
    let (mut sender, connection) = http2(to, 65_535).await;
    let mut answer = sender.send_request(http2_get(to, "/v1/proofs/0")).await.unwrap();
    let mut came = 0;
    // A frame of up to 16 KiB now and then: above the least rate.
    while let Some(frame) = answer.frame().await {
        came += frame.unwrap().into_data().unwrap().len();
        sleep(Duration::from_millis(250)).await;
    }
    assert_eq!(came, PROOF_BYTES);
    assert!(!connection.is_finished());
    assert!(!metrics.render().contains("slow_download\"} 1"));
}

/// Pings and the like between requests are no request's head that does not end.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_http2_connection_is_not_cut_for_its_pings() {
    let client = with_proofs().await;
    let limits = ConnectionLimits { header_timeout: Duration::from_millis(500), ..LIMITS };
    let (to, _) = serve(&client, limits).await;
    let (mut sender, connection) = http2(to, 65_535).await;
    for _ in 0..2 {
        let answer = sender.send_request(http2_get(to, "/v1/proofs/0")).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), PROOF_BYTES);
        sleep(4 * limits.header_timeout).await;
        assert!(!connection.is_finished());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_http2_connection_is_closed_in_peace() {
    let client = with_proofs().await;
    let limits = ConnectionLimits { idle_timeout: Duration::from_millis(500), ..LIMITS };
    let (to, _) = serve(&client, limits).await;
    let (mut sender, connection) = http2(to, 65_535).await;
    let answer = sender.send_request(http2_get(to, "/health")).await.unwrap();
    assert_eq!(answer.status(), 200);
    drop(answer);
    let ended = timeout(PATIENCE, connection).await.expect("closed");
    ended.unwrap().expect("GOAWAY, and no cut");
}

/// One place, and two that want it.
const ONE: ConnectionLimits = ConnectionLimits { max_connections: 1, ..LIMITS };

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_backend_keeps_its_place() {
    let faulty = Arc::new(Faulty::new(Memory::new(), 1));
    let client = Client::over(faulty.clone(), Config::default()).await;
    let (to, _) = serve(&client, ONE).await;
    faulty.script(Operation::Put, [Fault::Delay(Duration::from_secs(4))]);
    let put = Request::put("/v1/proofs/a").body(Full::from("kept")).unwrap();
    let first = tokio::spawn(call(to, put));
    sleep(Duration::from_millis(200)).await;
    let second = tokio::spawn(call(to, get("/health")));
    assert_eq!(first.await.unwrap(), 201);
    assert_eq!(timeout(PATIENCE, second).await.unwrap().unwrap(), 200);
}

/// The control: the same where it is the client that is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_send_its_body_makes_room() {
    let client = Client::new().await;
    let (to, metrics) = serve(&client, ONE).await;
    let mut first = TcpStream::connect(to).await.unwrap();
    let head = b"PUT /v1/proofs/a HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nk";
    first.write_all(head).await.unwrap();
    let second = timeout(PATIENCE, call(to, get("/health"))).await;
    assert_eq!(second.expect("there is room"), 200);
    assert!(metrics.render().contains("displaced\"} 1"));
    assert_eq!(first.read(&mut [0]).await.unwrap_or(0), 0);
}

/// All places taken is no reason to end a connection: somebody has to want one.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_alone_keeps_its_place() {
    let client = Client::new().await;
    let (to, _) = serve(&client, ONE).await;
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..5 {
        let answer = sender.send_request(get("/health")).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes()[0], b'{');
        sleep(Duration::from_millis(500)).await;
        sender.ready().await.unwrap();
    }
}

/// An answer of HTTP/1.1, head and body.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let mut byte = [0];
    let mut left = None;
    while left != Some(0) {
        assert_eq!(stream.read(&mut byte).await.unwrap(), 1, "it ends with {text:?}");
        text.push(byte[0].into());
        left = match left {
            Some(left) => Some(left - 1),
            None if text.ends_with("\r\n\r\n") => {
                let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
                Some(length.unwrap().parse::<usize>().unwrap())
            }
            None => None,
        };
    }
    text
}

/// Who has asked too often is told so and keeps its connection, whether its address or its token has: what
/// it was about to send is read.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_can_ask_again_on_its_connection() {
    let token = ApiToken::make().unwrap();
    for by_token in [false, true] {
        let client = Client::configured(|config| {
            config.auth.mode = AuthMode::Required;
            config.auth.tokens = vec![TokenEntry {
                name: "caller".into(),
                sha256: token.sha256(),
                rights: Rights::all(),
                expires: None,
            }];
            let rates = &mut config.limits.rates;
            let rate = if by_token { &mut rates.token } else { &mut rates.address };
            *rate = Some(Rate::parse("1/h").unwrap());
        })
        .await;
        let (to, _) = serve(&client, LIMITS).await;
        let mut stream = TcpStream::connect(to).await.unwrap();
        let bearer = token.expose();
        let put = format!(
            "PUT /v1/proofs/a HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {bearer}\r\n\
             content-length: 5\r\n\r\n"
        );
        stream.write_all(format!("{put}proof").as_bytes()).await.unwrap();
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 201"));
        for _ in 0..3 {
            stream.write_all(put.as_bytes()).await.unwrap();
            let refused = timeout(PATIENCE, answer(&mut stream)).await.unwrap();
            assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
            assert!(!refused.contains("connection: close"), "{refused}");
            stream.write_all(b"proof").await.unwrap();
        }
    }
}
