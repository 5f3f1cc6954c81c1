//! Rates, places of requests, and bodies that come too slowly.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use futures_util::stream;
use proof_storage::access::ApiToken;
use proof_storage::backend::faulty::{Fault, Faulty, Operation};
use proof_storage::backend::memory::Memory;
use proof_storage::config::{AuthMode, Config, CorsOrigins, TokenEntry};
use proof_storage::http::Peer;
use proof_storage::model::{Rate, Rights};
use serde_json::json;
use tokio::sync::mpsc;

use super::client::{Answer, Client};

const WINDOW: Duration = Duration::from_secs(30);

fn rate(text: &str) -> Option<Rate> {
    Some(Rate::parse(text).unwrap())
}

/// A request as it comes over a connection from somewhere.
async fn from(client: &Client, address: &str, method: &str, path: &str, token: &str) -> Answer {
    let address = SocketAddr::new(address.parse().unwrap(), 4711);
    let mut request = Request::builder().method(method).uri(path);
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut request = request.body(Body::empty()).unwrap();
    request.extensions_mut().insert(Peer { address, tls: false });
    client.send(request).await
}

#[tokio::test(start_paused = true)]
async fn an_address_that_asks_too_often_is_told_when_to_come_again() {
    let client =
        Client::configured(|config| config.limits.rates.address = rate("1/s burst 3")).await;
    for left in [2, 1, 0] {
        let answer = from(&client, "192.0.2.1", "GET", "/v1/proofs", "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("ratelimit-policy"), Some("\"address\";q=3;w=3"));
        let stands = format!("\"address\";r={left};t={}", 3 - left);
        assert_eq!(answer.header("ratelimit"), Some(&*stands));
    }
    let answer = from(&client, "192.0.2.1", "GET", "/v1/proofs", "").await;
    answer.is_problem(429, "RATE_LIMITED", "1/s burst 3");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("ratelimit"), Some("\"address\";r=0;t=3"));
    // Others, and probes of anybody, are served.
    assert_eq!(from(&client, "192.0.2.2", "GET", "/v1/proofs", "").await.status, 200);
    for path in ["/health", "/health/ready"] {
        let answer = from(&client, "192.0.2.1", "GET", path, "").await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("ratelimit"), None);
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(from(&client, "192.0.2.1", "GET", "/v1/proofs", "").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn writes_have_a_rate_apart_and_count_to_both() {
    let client = Client::configured(|config| {
        config.limits.rates.address = rate("10/s");
        config.limits.rates.address_writes = rate("1/s");
    })
    .await;
    let put = |number| {
        let client = &client;
        async move { from(client, "192.0.2.1", "PUT", &format!("/v1/proofs/{number}"), "").await }
    };
    assert_eq!(put(1).await.status, 201);
    let answer = put(2).await;
    answer.is_problem(429, "RATE_LIMITED", "`address-writes`");
    let answer = from(&client, "192.0.2.1", "GET", "/v1/proofs/1", "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("ratelimit"), Some("\"address\";r=7;t=1"));
}

/// Deletes so many keys in one call.
async fn batch(client: &Client, keys: usize, token: &str) -> Answer {
    let keys: Vec<_> = (0..keys).map(|number| format!("{number}")).collect();
    let body = json!({ "keys": keys }).to_string();
    let mut request = Request::post("/v1/batch-delete").header("content-type", "application/json");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut request = request.body(Body::from(body)).unwrap();
    let address = "192.0.2.1:1".parse().unwrap();
    request.extensions_mut().insert(Peer { address, tls: false });
    client.send(request).await
}

#[tokio::test(start_paused = true)]
async fn a_batch_costs_by_its_keys() {
    let client =
        Client::configured(|config| config.limits.rates.address = rate("1/s burst 10")).await;
    let answer = batch(&client, 500, "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("ratelimit"), Some("\"address\";r=5;t=5"));
}

/// Else whoever has many keys would be told for ever to come again.
#[tokio::test(start_paused = true)]
async fn a_batch_costs_no_more_than_the_burst() {
    for burst in [1, 2, 5] {
        let (client, [token, _]) = with_tokens(|config| {
            config.limits.rates.address = rate(&format!("1/s burst {burst}"));
            config.limits.rates.token = rate(&format!("1/s burst {}", burst + 1));
        })
        .await;
        for keys in [100 * burst, 1000, 10_000] {
            let answer = batch(&client, keys, &token).await;
            assert_eq!(answer.status, 200, "{keys} keys of a burst of {burst}");
            let answer = batch(&client, keys, &token).await;
            answer.is_problem(429, "RATE_LIMITED", "rate");
            tokio::time::advance(Duration::from_secs(60)).await;
        }
    }
}

async fn with_tokens(change: impl FnOnce(&mut Config)) -> (Client, [String; 2]) {
    let tokens = [ApiToken::make().unwrap(), ApiToken::make().unwrap()];
    let texts = tokens.each_ref().map(|token| token.expose().to_owned());
    let entries = tokens.iter().enumerate().map(|(number, token)| TokenEntry {
        name: format!("caller-{number}").into(),
        sha256: token.sha256(),
        rights: Rights::all(),
        expires: None,
    });
    let entries: Vec<_> = entries.collect();
    let client = Client::configured(|config| {
        config.auth.mode = AuthMode::Required;
        config.auth.tokens = entries;
        change(config);
    })
    .await;
    (client, texts)
}

#[tokio::test(start_paused = true)]
async fn guessing_tokens_costs_before_anybody_is_asked() {
    let (client, _) = with_tokens(|config| config.limits.rates.address = rate("1/s burst 2")).await;
    for _ in 0..2 {
        let answer = from(&client, "2001:db8::1", "GET", "/v1/proofs", "pst_guess").await;
        answer.is_problem(401, "UNAUTHENTICATED", "");
    }
    // From any address of the same client, and for the metrics too.
    for path in ["/v1/proofs", "/metrics"] {
        let answer = from(&client, "2001:db8::2", "GET", path, "pst_guess").await;
        answer.is_problem(429, "RATE_LIMITED", "rate");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_has_its_rate_wherever_it_is_used() {
    let (client, [one, other]) =
        with_tokens(|config| config.limits.rates.token = rate("1/s burst 2")).await;
    for address in ["192.0.2.1", "192.0.2.2"] {
        assert_eq!(from(&client, address, "GET", "/v1/proofs", &one).await.status, 200);
    }
    let answer = from(&client, "192.0.2.3", "GET", "/v1/proofs", &one).await;
    answer.is_problem(429, "RATE_LIMITED", "rate");
    assert_eq!(answer.header("ratelimit"), Some("\"token\";r=0;t=2"));
    assert_eq!(from(&client, "192.0.2.3", "GET", "/v1/proofs", &other).await.status, 200);
}

const PAGE: &str = "https://page.example";

/// A request of a page of some origin, from one address.
async fn of_page(client: &Client, method: &str, path: &str, origin: &str) -> Answer {
    let request = Request::builder().method(method).uri(path).header("origin", origin);
    let mut request = request.header("access-control-request-method", "GET");
    let address = "192.0.2.1:1".parse().unwrap();
    request.extensions_mut().unwrap().insert(Peer { address, tls: false });
    client.send(request.body(Body::empty()).unwrap()).await
}

fn only_the_page(config: &mut Config) {
    config.server.cors_origins = CorsOrigins::List(vec![PAGE.to_owned()]);
}

#[tokio::test(start_paused = true)]
async fn a_page_of_another_origin_reads_that_it_asks_too_often() {
    let client = Client::configured(|config| {
        config.limits.rates.address = rate("1/min");
        only_the_page(config);
    })
    .await;
    assert_eq!(of_page(&client, "GET", "/v1/proofs", PAGE).await.status, 200);
    let answer = of_page(&client, "GET", "/v1/proofs", PAGE).await;
    answer.is_problem(429, "RATE_LIMITED", "rate");
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
    let exposed = answer.header("access-control-expose-headers").unwrap();
    for name in ["retry-after", "ratelimit", "ratelimit-policy"] {
        assert!(answer.header(name).is_some(), "{name}");
        assert!(exposed.split(',').any(|other| other == name), "{name} is not among {exposed}");
    }
    // Without it the request that it asks for would never be made, and the page not told why.
    let preflight = of_page(&client, "OPTIONS", "/v1/proofs", PAGE).await;
    assert_eq!(preflight.status, 200);
    assert_eq!(preflight.header("access-control-allow-origin"), Some(PAGE));
    // The control: who may not read the other answers may not read this one.
    let other = of_page(&client, "GET", "/v1/proofs", "https://other.example").await;
    other.is_problem(429, "RATE_LIMITED", "rate");
    assert_eq!(other.header("access-control-allow-origin"), None);
}

#[tokio::test(start_paused = true)]
async fn a_page_of_another_origin_reads_that_there_is_no_place() {
    let faulty = Arc::new(Faulty::new(Memory::new(), 1));
    let mut config = Config::default();
    config.limits.max_requests = 1;
    only_the_page(&mut config);
    let client = Arc::new(Client::over(faulty.clone(), config).await);
    faulty.script(Operation::Put, [Fault::Delay(Duration::from_secs(1))]);
    let (body, slow) = upload(&client, "slow");
    drop(body);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let answer = of_page(&client, "GET", "/v1/proofs", PAGE).await;
    answer.is_problem(503, "UNAVAILABLE", "try again");
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
    assert_eq!(slow.await.unwrap().status, 201);
    assert_eq!(of_page(&client, "GET", "/v1/proofs", PAGE).await.status, 200);
}

/// A store whose body comes piece by piece.
fn upload(client: &Arc<Client>, key: &str) -> (UploadBody, tokio::task::JoinHandle<Answer>) {
    let (body, pieces) = mpsc::channel::<Bytes>(1);
    let pieces = stream::unfold(pieces, |mut pieces| async {
        let piece = pieces.recv().await?;
        Some((Ok::<_, Infallible>(piece), pieces))
    });
    let request = Request::put(format!("/v1/proofs/{key}"));
    let request = request.body(Body::from_stream(pieces)).unwrap();
    let client = Arc::clone(client);
    (body, tokio::spawn(async move { client.send(request).await }))
}

type UploadBody = mpsc::Sender<Bytes>;

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_cut_off() {
    let client = Arc::new(Client::new().await);
    let (body, answer) = upload(&client, "slow");
    let began = tokio::time::Instant::now();
    while !answer.is_finished() {
        let _ = body.send(Bytes::from_static(b"x")).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(began.elapsed() < 3 * WINDOW, "never cut off");
    }
    let answer = answer.await.unwrap();
    answer.is_problem(408, "REQUEST_TIMEOUT", "STORAGE_MIN_UPLOAD_RATE");
    assert_eq!(client.get("/v1/proofs/slow").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_at_the_least_rate_is_stored() {
    let client = Arc::new(Client::new().await);
    let (body, answer) = upload(&client, "steady");
    for _ in 0..60 {
        body.send(vec![b'x'; 1100].into()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    drop(body);
    assert_eq!(answer.await.unwrap().status, 201);
}

/// A client may pause for `STORAGE_BODY_TIMEOUT`, however little that brings over a shorter time.
#[tokio::test(start_paused = true)]
async fn a_body_that_pauses_as_long_as_it_may_is_stored() {
    let client = Arc::new(Client::new().await);
    let (body, answer) = upload(&client, "pausing");
    for _ in 0..4 {
        body.send(vec![b'x'; 64 << 10].into()).await.unwrap();
        tokio::time::sleep(WINDOW - Duration::from_secs(1)).await;
    }
    drop(body);
    assert_eq!(answer.await.unwrap().status, 201);
}

/// The control of the two above: what is switched off cuts nobody off.
#[tokio::test(start_paused = true)]
async fn without_a_least_rate_a_body_may_drip() {
    let client = Client::configured(|config| config.limits.min_upload_rate = 0).await;
    let client = Arc::new(client);
    let (body, answer) = upload(&client, "slow");
    for _ in 0..60 {
        body.send(Bytes::from_static(b"x")).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    drop(body);
    assert_eq!(answer.await.unwrap().status, 201);
}

#[tokio::test(start_paused = true)]
async fn bodies_that_are_waited_for_take_no_place_of_those_that_are_worked_on() {
    let client = Client::configured(|config| config.limits.max_requests = 1).await;
    let client = Arc::new(client);
    let (body, slow) = upload(&client, "slow");
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(client.put("/v1/proofs/quick", "x").await.status, 201);
    drop(body);
    assert_eq!(slow.await.unwrap().status, 201);
}

/// A store of which a length is announced, and whose body comes piece by piece.
fn announced(
    client: &Arc<Client>,
    path: &str,
    length: u64,
) -> (UploadBody, tokio::task::JoinHandle<Answer>) {
    let (body, pieces) = mpsc::channel::<Bytes>(1);
    let pieces = stream::unfold(pieces, |mut pieces| async {
        let piece = pieces.recv().await?;
        Some((Ok::<_, Infallible>(piece), pieces))
    });
    let (method, media) = match path {
        "/v1/batch-delete" => ("POST", "application/json"),
        _ => ("PUT", "application/c2pa"),
    };
    let request = Request::builder().method(method).uri(path).header("content-type", media);
    let request = request.header("content-length", length).body(Body::from_stream(pieces)).unwrap();
    let client = Arc::clone(client);
    (body, tokio::spawn(async move { client.send(request).await }))
}

async fn with_budget(bytes: u64) -> Arc<Client> {
    Arc::new(Client::configured(|config| config.limits.memory_budget_bytes = bytes).await)
}

#[tokio::test]
async fn what_is_announced_and_does_not_come_takes_no_memory_from_others() {
    let client = with_budget(8 << 20).await;
    let mut slow = Vec::new();
    for number in 0..64 {
        slow.push(announced(&client, &format!("/v1/proofs/{number}"), 1 << 20));
        slow.push(announced(&client, &format!("/v1/proofs/large-{number}"), 16 << 20));
        slow.push(announced(&client, "/v1/batch-delete", 16 << 20));
    }
    for (body, _) in &slow {
        body.send(Bytes::from_static(b"{")).await.unwrap();
    }
    assert_eq!(client.put("/v1/proofs/quick", vec![7; 1 << 20]).await.status, 201);
    assert_eq!(client.get("/v1/proofs/quick").await.status, 200);
}

/// Answers are refused then, uploads are not: neither those that have begun nor others.
#[tokio::test]
async fn memory_that_is_used_up_by_uploads_is_a_file_for_the_next_bytes() {
    let client = with_budget(1 << 20).await;
    assert_eq!(client.put("/v1/proofs/k", vec![7; 2000]).await.status, 201);
    assert_eq!(client.put("/v1/proofs/small", "x").await.status, 201);
    let half = Bytes::from(vec![7; 512 << 10]);
    let begun = [1, 2].map(|number| announced(&client, &format!("/v1/proofs/{number}"), 1 << 20));
    for (body, _) in &begun {
        // The third is taken when the first was worked on.
        for piece in [half.clone(), Bytes::new(), Bytes::new()] {
            body.send(piece).await.unwrap();
        }
    }
    client.get("/v1/proofs/k").await.is_problem(503, "UNAVAILABLE", "in memory");
    assert_eq!(client.get("/v1/proofs/small").await.status, 200);
    assert_eq!(client.put("/v1/proofs/more", vec![7; 100_000]).await.status, 201);
    for (body, answer) in begun {
        body.send(half.clone()).await.unwrap();
        drop(body);
        assert_eq!(answer.await.unwrap().status, 201);
    }
    let stored = client.get("/v1/proofs/1").await;
    assert_eq!(stored.body, [half.clone(), half].concat());
    assert_eq!(client.get("/v1/proofs/more").await.body, vec![7; 100_000]);
}

#[tokio::test]
async fn who_takes_no_answer_leaves_memory_to_other_addresses() {
    let client = with_budget(8 << 20).await;
    assert_eq!(client.put("/v1/proofs/k", vec![7; 1 << 20]).await.status, 201);
    let mut held = Vec::new();
    loop {
        let mut request = Request::get("/v1/proofs/k").body(Body::empty()).unwrap();
        let address = "192.0.2.1:1".parse().unwrap();
        request.extensions_mut().insert(Peer { address, tls: false });
        let answer = client.service().call(request).await;
        if answer.status() == 503 {
            break;
        }
        held.push(answer);
    }
    assert_eq!(held.len(), 6, "each holds its answer, and no more");
    assert_eq!(from(&client, "192.0.2.2", "GET", "/v1/proofs/k", "").await.status, 200);
    assert_eq!(from(&client, "192.0.2.1", "GET", "/v1/proofs/k", "").await.status, 503);
    drop(held);
    assert_eq!(from(&client, "192.0.2.1", "GET", "/v1/proofs/k", "").await.status, 200);
}

/// A request whose head has more fields than one may have.
async fn large_head(client: &Client, path: &str) -> Answer {
    let mut request = Request::get(path);
    for number in 0..200 {
        request = request.header(format!("x-{number}"), "a");
    }
    let mut request = request.body(Body::empty()).unwrap();
    let address = "192.0.2.1:1".parse().unwrap();
    request.extensions_mut().insert(Peer { address, tls: false });
    client.send(request).await
}

#[tokio::test(start_paused = true)]
async fn a_head_that_is_too_large_costs_too() {
    let client = Client::configured(|config| {
        config.limits.rates.address = rate("1/s burst 2");
        config.limits.max_requests = 1;
    })
    .await;
    for path in ["/v1/proofs", "/health"] {
        let answer = large_head(&client, path).await;
        answer.is_problem(431, "HEADERS_TOO_LARGE", "header fields");
        assert!(answer.header("ratelimit").is_some());
    }
    large_head(&client, "/v1/proofs").await.is_problem(429, "RATE_LIMITED", "rate");
    assert_eq!(from(&client, "192.0.2.1", "GET", "/health", "").await.status, 200);
}
