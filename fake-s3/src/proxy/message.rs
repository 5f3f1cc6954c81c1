//! Heads of HTTP/1.1 messages, and where their bodies end.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

const MAX_HEAD_BYTES: usize = 256 * 1024;

/// The head of a request or an answer, as it came.
#[derive(Debug)]
pub(super) struct Head(String);

/// Where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After its last chunk.
    Chunked,
    /// With the connection.
    Close,
}

impl Head {
    /// Reads a head; `None` where the connection ends before its first byte.
    pub(super) async fn read(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Self>> {
        let mut bytes = Vec::with_capacity(1024);
        loop {
            let read = reader.read_until(b'\n', &mut bytes).await?;
            if read == 0 && bytes.is_empty() {
                return Ok(None);
            }
            if read == 0 || bytes.len() > MAX_HEAD_BYTES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "not a head of HTTP"));
            }
            if bytes.ends_with(b"\r\n\r\n") {
                let text = String::from_utf8(bytes);
                return text.map(|text| Some(Self(text))).map_err(io::Error::other);
            }
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Of a request.
    pub(super) fn method(&self) -> &str {
        self.word(0)
    }

    /// Path and query of a request.
    pub(super) fn target(&self) -> &str {
        self.word(1)
    }

    /// Of an answer; 0 where there is none.
    pub(super) fn status(&self) -> u16 {
        self.word(1).parse().unwrap_or_default()
    }

    /// Whether the sender closes the connection behind this message.
    pub(super) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    pub(super) fn of_request(&self) -> Framing {
        self.framing().unwrap_or(Framing::Length(0))
    }

    pub(super) fn of_answer(&self, method: &str) -> Framing {
        if method == "HEAD" || matches!(self.status(), 100..=199 | 204 | 304) {
            return Framing::Length(0);
        }
        self.framing().unwrap_or(Framing::Close)
    }

    /// The same with another `Content-Length`, where it has one.
    pub(super) fn with_length(self, difference: i64) -> Self {
        let lines = self.0.split_inclusive("\r\n").map(|line| match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                let length = value.trim().parse::<u64>().unwrap_or_default();
                format!("{name}: {}\r\n", length.saturating_add_signed(difference))
            }
            _ => line.to_owned(),
        });
        Self(lines.collect())
    }

    fn framing(&self) -> Option<Framing> {
        if self.header("transfer-encoding").is_some() {
            return Some(Framing::Chunked);
        }
        self.header("content-length")?.parse().ok().map(Framing::Length)
    }

    fn word(&self, place: usize) -> &str {
        self.0.split_whitespace().nth(place).unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let fields = self.0.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields
            .into_iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(mut bytes: &[u8]) -> io::Result<Option<Head>> {
        Head::read(&mut bytes).await
    }

    #[tokio::test]
    async fn heads_are_read_and_bodies_measured() {
        let request =
            read(b"PUT /a?b HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello").await.unwrap().unwrap();
        assert_eq!((request.method(), request.target()), ("PUT", "/a?b"));
        assert_eq!(request.of_request(), Framing::Length(5));
        let answer =
            read(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap().unwrap();
        assert_eq!((answer.status(), answer.of_answer("GET")), (200, Framing::Chunked));
        assert_eq!(answer.of_answer("HEAD"), Framing::Length(0));
        let open = read(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap().unwrap();
        assert_eq!(open.of_answer("GET"), Framing::Close);
        assert!(read(b"").await.unwrap().is_none());
        assert!(read(b"HTTP/1.1 200").await.is_err());
    }

    #[tokio::test]
    async fn a_length_is_changed_and_nothing_else() {
        let bytes = b"HTTP/1.1 200 OK\r\nA: b\r\ncontent-length: 7\r\nC: d\r\n\r\n";
        let head = read(bytes).await.unwrap().unwrap().with_length(-2);
        assert_eq!(head.of_answer("GET"), Framing::Length(5));
        assert_eq!(head.0.len(), bytes.len());
        assert!(head.0.ends_with("C: d\r\n\r\n"));
    }
}
