//! One connection, from its first byte to its last: HTTP/1.1, or HTTP/2 by ALPN or prior knowledge.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::ConnectionLimits;
use super::activity::Overdue;
use super::plain::{Beginning, beginning, refuse};
use super::request::{Arriving, Leaving, Running};
use super::roster::Seat;
use super::taking::Least;
use super::tls::Tls;
use super::watched::{Watch, Watched};
use crate::http::{MAX_HEADER_BYTES, MAX_HEADERS, Peer, Service};
use crate::telemetry::{HandshakeFailure, Metrics, Refusal};

/// How a client that speaks HTTP/2 without asking begins (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How long an idle connection is kept while draining. A request may be on its way: cutting the
/// connection under it would be a lost answer. It is answered, with `Connection: close`.
const LINGER: Duration = Duration::from_millis(500);

/// Above these hyper refuses a head by itself; the service's own, lower limits answer with a
/// problem that says why.
const PARSER_HEADER_BYTES: usize = 2 * MAX_HEADER_BYTES;
const PARSER_HEADERS: usize = 2 * MAX_HEADERS;
const MAX_STREAMS: u32 = 256;

/// What hyper may read ahead on a connection, and collect of an answer; it has to hold a head.
/// Its own default of 400 KiB is more than an upload needs, times the number of connections.
const BUFFER_BYTES: usize = PARSER_HEADER_BYTES;

/// Who is served, by whom, and for how long.
pub(super) struct Terms {
    pub(super) address: SocketAddr,
    pub(super) seat: Seat,
    pub(super) service: Service,
    pub(super) limits: ConnectionLimits,
    pub(super) draining: watch::Receiver<bool>,
    /// `None`: plain HTTP.
    pub(super) tls: Option<Arc<Tls>>,
}

/// Serves a connection to its end. Errors are the client's and only logged for debugging.
pub(super) async fn serve(stream: TcpStream, terms: Terms) {
    match terms.tls.clone() {
        None => plain(stream, terms).await,
        // Apart, because a connection that is not encrypted needs no room for it.
        Some(tls) => Box::pin(encrypted(stream, &tls, terms)).await,
    }
}

async fn plain(stream: TcpStream, terms: Terms) {
    let first = timeout(terms.limits.header_timeout, has_preface(&stream));
    let is_http2 = tokio::select! {
        biased;
        first = first => match first {
            Ok(Ok(is_http2)) => is_http2,
            // Silent for too long, or gone already.
            Ok(Err(_)) | Err(_) => return,
        },
        () = leaving(&terms.seat) => return,
    };
    let stream = Watched::new(stream, Arc::clone(&terms.seat.activity), Watch::All);
    answer(stream, is_http2, terms).await;
}

async fn encrypted(stream: TcpStream, tls: &Tls, terms: Terms) {
    let peer = terms.address;
    let activity = Arc::clone(&terms.seat.activity);
    let below = Arc::clone(&activity);
    let shaking_hands = async move {
        match beginning(&stream).await {
            Beginning::Tls => {}
            Beginning::PlainHttp => {
                tls.failed(HandshakeFailure::PlainHttp);
                tracing::debug!(%peer, "plain HTTP where TLS is spoken");
                refuse(stream).await;
                return None;
            }
            Beginning::Nothing => {
                tls.failed(HandshakeFailure::Closed);
                return None;
            }
        }
        match tls.accept(Watched::new(stream, below, Watch::Writes)).await {
            Ok(accepted) => Some(accepted),
            Err(error) => {
                tracing::debug!(%peer, %error, "no TLS handshake");
                None
            }
        }
    };
    let shaken = tokio::select! {
        biased;
        shaken = timeout(terms.limits.header_timeout, shaking_hands) => shaken,
        () = leaving(&terms.seat) => return,
    };
    match shaken {
        Ok(Some((stream, is_http2))) => {
            activity.begin();
            let stream = Watched::new(stream, activity, Watch::Reads);
            answer(stream, is_http2, terms).await;
        }
        Ok(None) => {}
        Err(_) => {
            tls.failed(HandshakeFailure::Timeout);
            tracing::debug!(%peer, "no TLS handshake in time");
        }
    }
}

/// Ends when the connection has to make room, if it does.
async fn leaving(seat: &Seat) {
    loop {
        seat.is_asked_to_leave().await;
        if seat.leaves() {
            return;
        }
    }
}

/// Answers the requests on a connection.
async fn answer<S>(stream: Watched<S>, is_http2: bool, terms: Terms)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Terms { address, seat, service, limits, draining, tls } = terms;
    let io = TokioIo::new(stream);
    let answering = Arc::clone(&seat.activity);
    let metrics = service.state().metrics.clone();
    let peer = Peer { address, tls: tls.is_some() };
    let answer = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        let service = service.clone();
        // At once: over HTTP/2 what is answered is answered in a task of its own, later.
        let running = Running::new(&answering);
        let request = request.map(|body| match body.is_end_stream() {
            true => Body::empty(),
            false => Body::new(Arriving::new(body, Arc::clone(&running))),
        });
        async move {
            let response = service.call(request).await;
            Ok::<_, Infallible>(response.map(|body| Leaving::new(body, running)))
        }
    });
    if is_http2 {
        seat.activity.speaks_http2();
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(PARSER_HEADER_BYTES as u32)
            .keep_alive_interval(Some(limits.idle_timeout / 2))
            .serve_connection(io, answer);
        drive(connection, http2::Connection::graceful_shutdown, &seat, limits, draining, &metrics)
            .await;
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            // The watch knows better: see `activity`.
            .header_read_timeout(None)
            .max_header_size(PARSER_HEADER_BYTES)
            .max_buf_size(BUFFER_BYTES)
            .max_headers(PARSER_HEADERS)
            .serve_connection(io, answer);
        drive(connection, http1::Connection::graceful_shutdown, &seat, limits, draining, &metrics)
            .await;
    }
}

/// Looks at the first bytes without taking them.
async fn has_preface(stream: &TcpStream) -> std::io::Result<bool> {
    let mut buffer = [0; PREFACE.len()];
    loop {
        let seen = stream.peek(&mut buffer).await?;
        if seen == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if buffer[..seen] != PREFACE[..seen] {
            return Ok(false);
        }
        if seen == PREFACE.len() {
            return Ok(true);
        }
        // A part of the preface: peeking again at once would spin.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn drive<C, E>(
    connection: C,
    shut_down: impl Fn(Pin<&mut C>),
    seat: &Seat,
    limits: ConnectionLimits,
    mut draining: watch::Receiver<bool>,
    metrics: &Metrics,
) where
    C: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let mut connection = pin!(connection);
    let shortest = limits.header_timeout.min(limits.idle_timeout).min(limits.write_timeout);
    let period = (shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(1));
    let mut watch = interval_at(Instant::now() + period, period);
    watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut closing, mut idle_at, mut slow_at) = (false, None, None);
    let least = Least::new(limits.min_download_rate, limits.write_timeout);
    let mut looked = Instant::now();
    let mut leaving = pin!(leaving(seat));
    let mut drain = pin!(async {
        // An error means that the server is gone: the same as draining.
        draining.wait_for(|draining| *draining).await.ok();
        tokio::time::sleep(LINGER).await;
    });
    loop {
        tokio::select! {
            // The connection first: what came is read before anybody is called silent.
            biased;
            result = &mut connection => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            () = &mut drain, if !closing => {
                closing = true;
                shut_down(connection.as_mut());
            }
            () = &mut leaving => {
                tracing::debug!("connection made room for another");
                return;
            }
            _ = watch.tick() => {
                let since = std::mem::replace(&mut looked, Instant::now()).elapsed();
                if seat.activity.is_too_slow(&least, since) && slow_at.is_none() {
                    metrics.refused(Refusal::SlowDownload);
                    slow_at = Some(Instant::now());
                }
                let over = |at: Instant| at.elapsed() > limits.write_timeout;
                match seat.activity.overdue(&limits) {
                    // What else is answered on it has its time to end.
                    None if slow_at.is_some() && seat.activity.is_http2() => {
                        idle_at = None;
                        shut_down(connection.as_mut());
                    }
                    None => idle_at = None,
                    Some(Overdue::Idle) => {
                        idle_at.get_or_insert_with(Instant::now);
                        shut_down(connection.as_mut());
                    }
                    Some(overdue) => {
                        tracing::debug!(?overdue, "connection cut off");
                        return;
                    }
                }
                if idle_at.is_some_and(over)
                    || slow_at.is_some_and(|at| over(at) || !seat.activity.is_http2())
                {
                    tracing::debug!("connection cut off whose client takes nothing");
                    return;
                }
            }
        }
    }
}
