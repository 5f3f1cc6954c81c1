//! What a client gets that speaks plain HTTP where TLS is spoken: a sentence instead of a riddle.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::speak_https;

/// Type of a TLS record with a handshake in it (RFC 8446 §5.1): how every TLS client begins.
const HANDSHAKE: u8 = 22;

/// How long the client gets to take the answer, and how much of its request is read meanwhile:
/// closing with bytes unread would reset the connection, and the answer with it.
const PATIENCE: Duration = Duration::from_secs(1);
const MAX_REQUEST: u64 = 64 * 1024;

/// How a connection begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// As TLS, or at least not as HTTP.
    Tls,
    /// With a letter, as an HTTP method does.
    PlainHttp,
    /// Not at all: the client is gone.
    Nothing,
}

/// Looks at the first byte without taking it.
pub(super) async fn beginning(stream: &TcpStream) -> Beginning {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1..) if first[0] == HANDSHAKE => Beginning::Tls,
        Ok(1..) if first[0].is_ascii_alphabetic() => Beginning::PlainHttp,
        Ok(1..) => Beginning::Tls,
        Ok(0) | Err(_) => Beginning::Nothing,
    }
}

/// Answers that https is spoken here, and closes. Errors are the client's.
pub(super) async fn refuse(mut stream: TcpStream) {
    let answering = async {
        stream.write_all(&speak_https()).await?;
        stream.shutdown().await?;
        let mut rest = (&mut stream).take(MAX_REQUEST);
        tokio::io::copy(&mut rest, &mut tokio::io::sink()).await
    };
    if let Ok(Err(error)) = timeout(PATIENCE, answering).await {
        tracing::debug!(%error, "connection ended");
    }
}
