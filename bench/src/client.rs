//! A small HTTP/1.1 client for filling and checking: blocking, one kept connection, and strict.
//!
//! Not the load generator: that is `wrk`. A body that is cut short, or an answer that says neither
//! its length nor that it is chunked, is an error.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Result;

/// No answer takes longer than this, however slow the machine is.
const PATIENCE: Duration = Duration::from_secs(120);
const HEAD_LIMIT: usize = 16 << 10;

/// An answer whose body was read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header's value by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    /// Read from the socket, not yet used.
    ahead: Vec<u8>,
}

impl Client {
    /// Connects.
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, ahead: Vec::new() })
    }

    /// Asks without a body.
    pub(crate) fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        self.stream.write_all(&head("GET", path, headers, None))?;
        self.answer()
    }

    /// Puts a body and reads the answer.
    pub(crate) fn put(&mut self, path: &str, content_type: &str, body: &[u8]) -> Result<Answer> {
        self.send("PUT", path, content_type, body)
    }

    /// Sends a body and reads the answer.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Answer> {
        let headers = [("Content-Type", content_type)];
        let mut request = head(method, path, &headers, Some(body.len()));
        // a small one in a single packet with its head, a large one without a copy
        if body.len() <= 64 << 10 {
            request.extend_from_slice(body);
            self.stream.write_all(&request)?;
        } else {
            self.stream.write_all(&request)?;
            self.stream.write_all(body)?;
        }
        self.answer()
    }

    /// Asks, and hands the body on in pieces of at most `buffer` bytes. Answers status and length.
    pub(crate) fn get_pieces(
        &mut self,
        path: &str,
        buffer: &mut [u8],
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<(u16, u64)> {
        self.stream.write_all(&head("GET", path, &[], None))?;
        let (answer, length) = self.answer_head()?;
        let length = length.ok_or("a large answer without content-length")?;
        let mut rest = length;
        while rest > 0 {
            let want = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
            let got = self.read_some(&mut buffer[..want])?;
            if got == 0 {
                return Err(format!("{path}: the body ended {rest} bytes early").into());
            }
            take(&buffer[..got])?;
            rest -= got as u64;
        }
        Ok((answer.status, length))
    }

    fn answer(&mut self) -> Result<Answer> {
        let (mut answer, length) = self.answer_head()?;
        answer.body = match length {
            Some(length) => self.exactly(usize::try_from(length)?)?,
            None => self.chunks()?,
        };
        Ok(answer)
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>> {
        let at_hand = self.ahead.len().min(length);
        let mut body: Vec<u8> = self.ahead.drain(..at_hand).collect();
        body.resize(length, 0);
        self.stream.read_exact(&mut body[at_hand..])?;
        Ok(body)
    }

    /// A body of `Transfer-Encoding: chunked` without trailers (RFC 9112 section 7.1).
    fn chunks(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") && line.len() < 64 {
                line.extend(self.exactly(1)?);
            }
            let httparse::Status::Complete((_, length)) =
                httparse::parse_chunk_size(&line).map_err(|_| "a chunk without a size")?
            else {
                return Err("a chunk without a size".into());
            };
            let chunk = self.exactly(usize::try_from(length)? + 2)?;
            if length == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..chunk.len() - 2]);
        }
    }

    /// The answer without its body, and the body's length; none where it is chunked.
    fn answer_head(&mut self) -> Result<(Answer, Option<u64>)> {
        let mut buffer = [0; 8 << 10];
        loop {
            if let Some((answer, used)) = parse(&self.ahead)? {
                self.ahead.drain(..used);
                let length = match answer.header("content-length") {
                    Some(text) => Some(text.parse()?),
                    None if matches!(answer.status, 204 | 304) => Some(0),
                    None if answer.header("transfer-encoding") == Some("chunked") => None,
                    None => return Err("an answer that does not say its length".into()),
                };
                return Ok((answer, length));
            }
            if self.ahead.len() > HEAD_LIMIT {
                return Err("an answer with a head above 16 KiB".into());
            }
            let got = self.stream.read(&mut buffer)?;
            if got == 0 {
                return Err("the connection was closed before an answer".into());
            }
            self.ahead.extend_from_slice(&buffer[..got]);
        }
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.ahead.is_empty() {
            return Ok(self.stream.read(buffer)?);
        }
        let got = self.ahead.len().min(buffer.len());
        buffer[..got].copy_from_slice(&self.ahead[..got]);
        self.ahead.drain(..got);
        Ok(got)
    }
}

fn head(method: &str, path: &str, headers: &[(&str, &str)], length: Option<usize>) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        text.push_str("Host: localhost\r\n");
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(length) = length {
        text.push_str(&format!("Content-Length: {length}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// The answer's head and its length in bytes, once it is there whole.
fn parse(bytes: &[u8]) -> Result<Option<(Answer, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(used) = response.parse(bytes)? else {
        return Ok(None);
    };
    let status = response.code.ok_or("an answer without a status")?;
    let mut named = Vec::new();
    for header in response.headers.iter() {
        let value = String::from_utf8_lossy(header.value).into_owned();
        named.push((header.name.to_ascii_lowercase(), value));
    }
    Ok(Some((Answer { status, headers: named, body: Vec::new() }, used)))
}
