//! Who keeps a connection, and who has to leave it: on real sockets, on a clock that the test moves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use proof_storage::backend::faulty::{Fault, Faulty, Operation};
use proof_storage::backend::memory::Memory;
use proof_storage::config::Config;
use proof_storage::serve::{ConnectionLimits, DrainPolicy, Server};
use proof_storage::telemetry::Metrics;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::client::Client;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

const LIMITS: ConnectionLimits = ConnectionLimits {
    max_connections: 100,
    max_connections_per_address: None,
    header_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(75),
    write_timeout: Duration::from_secs(30),
    min_upload_rate: 1024,
    min_download_rate: 1024,
};

/// Where a service of the test's own is served until the test ends.
async fn serve(client: &Client, limits: ConnectionLimits) -> (SocketAddr, Metrics) {
    let metrics = Metrics::new();
    let any = ([127, 0, 0, 1], 0).into();
    let server = Server::bind(any, limits, None, metrics.clone()).await.unwrap();
    let address = server.local_addr().unwrap();
    let drain = DrainPolicy { delay: Duration::ZERO, timeout: MINUTE };
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
        .keep_alive_interval(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    (sender, tokio::spawn(connection))
}

fn http2_get(to: SocketAddr, path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("http://{to}{path}")).body(Empty::new()).unwrap()
}

const PROOFS: usize = 4;
const PROOF_BYTES: usize = 1 << 20;

/// A service whose budget is as large as the answers of [`PROOFS`] are.
async fn with_proofs() -> Client {
    let client = Client::configured(|config| config.limits.memory_budget_bytes = 8 << 20).await;
    for number in 0..PROOFS {
        let put = client.put(&format!("/v1/proofs/{number}"), vec![7; PROOF_BYTES]).await;
        assert_eq!(put.status, 201);
    }
    client
}

/// Asks for all proofs over HTTP/2 and leaves the answers where they are, for so long; the status that
/// another client then gets.
async fn others_get(window: u32, limits: ConnectionLimits, time: Duration) -> StatusCode {
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
    sleep(time).await;
    let status = call(to, get("/v1/proofs/0")).await;
    let given_up = metrics.render().contains("refused_total{reason=\"slow_download\"} 1");
    assert_eq!(given_up, status == 200);
    assert_eq!(connection.is_finished(), status == 200, "pings were answered until then");
    status
}

/// The memory of what they hold is free again for others.
#[tokio::test(start_paused = true)]
async fn http2_clients_that_open_no_window_are_given_up() {
    // Nothing at all is sent, or as much as the window had room for.
    for window in [0, 1, 65_535] {
        assert_eq!(others_get(window, LIMITS, 2 * MINUTE).await, 200, "window of {window}");
    }
}

/// The control: what ends them is the least rate.
#[tokio::test(start_paused = true)]
async fn without_a_least_rate_a_shut_window_holds_on() {
    let limits = ConnectionLimits { min_download_rate: 0, ..LIMITS };
    for window in [0, 1, 65_535] {
        assert_eq!(others_get(window, limits, HOUR).await, 503, "window of {window}");
    }
}

#[tokio::test(start_paused = true)]
async fn http2_clients_that_take_their_answers_are_not() {
    let client = with_proofs().await;
    let (to, metrics) = serve(&client, LIMITS).await;
    let (mut sender, connection) = http2(to, 65_535).await;
    let mut answer = sender.send_request(http2_get(to, "/v1/proofs/0")).await.unwrap();
    let mut came = 0;
    // A frame of up to 16 KiB now and then: above the least rate.
    while let Some(frame) = answer.frame().await {
        came += frame.unwrap().into_data().unwrap().len();
        sleep(Duration::from_secs(5)).await;
    }
    assert_eq!(came, PROOF_BYTES);
    assert!(!connection.is_finished());
    assert!(!metrics.render().contains("slow_download\"} 1"));
}

/// Pings and the like between requests are no request's head that does not end.
#[tokio::test(start_paused = true)]
async fn an_idle_http2_connection_stays_for_as_long_as_it_may_and_is_closed_in_peace() {
    let client = with_proofs().await;
    let (to, _) = serve(&client, LIMITS).await;
    let (mut sender, connection) = http2(to, 65_535).await;
    for _ in 0..3 {
        let answer = sender.send_request(http2_get(to, "/v1/proofs/0")).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), PROOF_BYTES);
        sleep(LIMITS.idle_timeout - Duration::from_secs(5)).await;
        assert!(!connection.is_finished());
    }
    sleep(MINUTE).await;
    assert!(connection.is_finished());
    connection.await.unwrap().expect("GOAWAY, and no cut");
}

/// One place, and two that want it.
const ONE: ConnectionLimits = ConnectionLimits { max_connections: 1, ..LIMITS };

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_backend_keeps_its_place() {
    let faulty = Arc::new(Faulty::new(Memory::new(), 1));
    let client = Client::over(faulty.clone(), Config::default()).await;
    let (to, metrics) = serve(&client, ONE).await;
    faulty.script(Operation::Put, [Fault::Delay(HOUR)]);
    let put = Request::put("/v1/proofs/a").body(Full::from("kept")).unwrap();
    let first = tokio::spawn(call(to, put));
    sleep(Duration::from_secs(1)).await;
    let second = tokio::spawn(call(to, get("/health")));
    assert!(timeout(HOUR / 2, second).await.is_err(), "no place for it meanwhile");
    assert_eq!(first.await.unwrap(), 201);
    assert!(!metrics.render().contains("displaced\"} 1"));
}

/// The control: the same where it is the client that is waited for.
#[tokio::test(start_paused = true)]
async fn who_does_not_send_its_body_makes_room() {
    let client = Client::new().await;
    let (to, metrics) = serve(&client, ONE).await;
    let mut first = TcpStream::connect(to).await.unwrap();
    let head = b"PUT /v1/proofs/a HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nk";
    first.write_all(head).await.unwrap();
    sleep(Duration::from_secs(2)).await;
    assert_eq!(call(to, get("/health")).await, 200);
    assert!(metrics.render().contains("displaced\"} 1"));
    assert_eq!(first.read(&mut [0]).await.unwrap_or(0), 0);
}

/// All places taken is no reason to end a connection: somebody has to want one.
#[tokio::test(start_paused = true)]
async fn who_is_alone_keeps_its_place() {
    let client = Client::new().await;
    let (to, _) = serve(&client, ONE).await;
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..10 {
        let answer = sender.send_request(get("/health")).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes()[0], b'{');
        sleep(Duration::from_secs(5)).await;
        sender.ready().await.unwrap();
    }
}
