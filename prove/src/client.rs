//! One connection to the service, and its contract as calls.
//!
//! Every call says whether an answer came, so that a row can tell *acknowledged* from *maybe*.
//! A call that failed drops the connection; the next one opens another.

use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::wire::{self, Head};

/// SHA-256 of a body, computed here and not taken from the service.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Sha([u8; 32]);

impl Sha {
    /// Of bytes at hand.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Of all that a hasher was given.
    pub(crate) fn from_hasher(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }
}

impl fmt::Debug for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..8].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// How a call may go without an answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// No connection: the request was not sent.
    Refused(io::Error),
    /// The connection ended before the first byte of an answer.
    Unanswered(io::Error),
    /// The answer began and did not end as announced.
    Cut(io::Error),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(cause) => write!(f, "refused: {cause}"),
            Self::Unanswered(cause) => write!(f, "unanswered: {cause}"),
            Self::Cut(cause) => write!(f, "cut: {cause}"),
        }
    }
}

impl std::error::Error for CallError {}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Status and headers.
    pub(crate) head: Head,
    /// All of the body.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The status code.
    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    /// Whether the call was done.
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.head.status)
    }

    /// The body as JSON; `Null` where it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// `code` of a problem; absent where the answer is not `application/problem+json`.
    pub(crate) fn problem_code(&self) -> Option<String> {
        let media_type = self.head.header("content-type")?;
        if !media_type.starts_with("application/problem+json") {
            return None;
        }
        self.json()["code"].as_str().map(str::to_owned)
    }

    /// Status and code, for counting what was answered.
    pub(crate) fn label(&self) -> String {
        format!("{} {}", self.status(), self.problem_code().unwrap_or_else(|| "-".to_owned()))
    }
}

/// A connection that opens itself when it is needed.
#[derive(Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    timeout: Duration,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    /// A client of one service. A call without a byte for 10 s counts as unanswered.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, timeout: Duration::from_secs(10), connection: None }
    }

    /// Waits longer for each byte.
    pub(crate) fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Stores a body.
    pub(crate) fn put(
        &mut self,
        key: &str,
        content_type: &str,
        body: &[u8],
        if_match: Option<&str>,
    ) -> Result<Answer, CallError> {
        let mut headers = vec![("Content-Type", content_type)];
        headers.extend(if_match.map(|etag| ("If-Match", etag)));
        self.call("PUT", &proof(key), &headers, body)
    }

    /// Retrieves a body.
    pub(crate) fn get(&mut self, key: &str) -> Result<Answer, CallError> {
        self.call("GET", &proof(key), &[], b"")
    }

    /// The headers of a body.
    pub(crate) fn head(&mut self, key: &str) -> Result<Answer, CallError> {
        self.call("HEAD", &proof(key), &[], b"")
    }

    /// Deletes.
    pub(crate) fn delete(&mut self, key: &str) -> Result<Answer, CallError> {
        self.call("DELETE", &proof(key), &[], b"")
    }

    /// Posts JSON.
    pub(crate) fn post(&mut self, path: &str, body: &Value) -> Result<Answer, CallError> {
        let headers = [("Content-Type", "application/json")];
        self.call("POST", path, &headers, body.to_string().as_bytes())
    }

    /// Copies or moves (`call` is `copy` or `move`).
    pub(crate) fn transfer(
        &mut self,
        call: &str,
        source: &str,
        destination: &str,
        overwrite: bool,
    ) -> Result<Answer, CallError> {
        let mut body = json!({"source": source, "destination": destination});
        if overwrite {
            body["overwrite"] = true.into();
        }
        self.post(&format!("/v1/{call}"), &body)
    }

    /// All keys of the store, in the order of its pages.
    pub(crate) fn list(&mut self) -> crate::Result<Vec<String>> {
        let mut keys = Vec::new();
        let mut path = "/v1/proofs?limit=1000".to_owned();
        loop {
            let page = self.call("GET", &path, &[], b"")?;
            if page.status() != 200 {
                return Err(format!("listing answered {}", page.label()).into());
            }
            let page = page.json();
            let items = page["items"].as_array().ok_or("a page without items")?;
            keys.extend(items.iter().filter_map(|item| item["key"].as_str().map(str::to_owned)));
            match page["next_cursor"].as_str() {
                Some(cursor) => path = format!("/v1/proofs?limit=1000&cursor={}", encode(cursor)),
                None => return Ok(keys),
            }
        }
    }

    /// Sends a request and reads its whole answer.
    pub(crate) fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer, CallError> {
        let mut connection = self.connection()?;
        let mut request = head(method, path, headers, body.len() as u64);
        request.extend_from_slice(body);
        // A server may answer and close before it has read all: the answer counts, so a failed
        // write is only kept for the case that none comes.
        let sent = connection.get_mut().write_all(&request);
        let head = match wire::read_answer_head(&mut connection) {
            Ok(Some(head)) => head,
            Ok(None) => {
                let closed = || io::Error::new(io::ErrorKind::UnexpectedEof, "closed");
                return Err(CallError::Unanswered(sent.err().unwrap_or_else(closed)));
            }
            Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(CallError::Cut(cause));
            }
            Err(cause) => return Err(CallError::Unanswered(cause)),
        };
        let body = read_answer_body(&mut connection, method, &head).map_err(CallError::Cut)?;
        if !head.closes() && sent.is_ok() {
            self.connection = Some(connection);
        }
        Ok(Answer { head, body })
    }

    /// Stores `length` bytes that `fill` makes piece by piece, without holding them.
    pub(crate) fn put_stream(
        &mut self,
        key: &str,
        length: u64,
        mut fill: impl FnMut(&mut [u8]),
    ) -> Result<Answer, CallError> {
        let mut connection = self.connection()?;
        let headers = [("Content-Type", "application/c2pa")];
        let request = head("PUT", &proof(key), &headers, length);
        let mut sent = connection.get_mut().write_all(&request);
        let mut piece = vec![0; 256 * 1024];
        let mut left = length;
        while left > 0 && sent.is_ok() {
            let size = left.min(piece.len() as u64) as usize;
            fill(&mut piece[..size]);
            sent = connection.get_mut().write_all(&piece[..size]);
            left -= size as u64;
        }
        match wire::read_answer_head(&mut connection) {
            Ok(Some(head)) => {
                let body = read_answer_body(&mut connection, "PUT", &head);
                Ok(Answer { head, body: body.map_err(CallError::Cut)? })
            }
            Ok(None) => Err(CallError::Unanswered(
                sent.err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()),
            )),
            Err(cause) => Err(CallError::Unanswered(cause)),
        }
    }

    /// Digest and length of a body, read without holding it.
    pub(crate) fn get_digest(&mut self, key: &str) -> Result<(u16, Sha, u64), CallError> {
        let mut connection = self.connection()?;
        let request = head("GET", &proof(key), &[], 0);
        connection.get_mut().write_all(&request).map_err(CallError::Unanswered)?;
        let head = wire::read_answer_head(&mut connection)
            .and_then(|head| head.ok_or_else(|| io::ErrorKind::UnexpectedEof.into()))
            .map_err(CallError::Unanswered)?;
        let length = announced(&head).map_err(CallError::Cut)?;
        let mut hasher = Sha256::new();
        let mut piece = vec![0; 256 * 1024];
        let mut left = length;
        while left > 0 {
            let size = left.min(piece.len() as u64) as usize;
            connection.read_exact(&mut piece[..size]).map_err(CallError::Cut)?;
            hasher.update(&piece[..size]);
            left -= size as u64;
        }
        Ok((head.status, Sha::from_hasher(hasher), length))
    }

    fn connection(&mut self) -> Result<BufReader<TcpStream>, CallError> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => connect(self.address, self.timeout).map_err(CallError::Refused),
        }
    }
}

/// Opens a connection whose reads and writes give up after a while.
pub(crate) fn connect(address: SocketAddr, timeout: Duration) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(BufReader::with_capacity(64 * 1024, stream))
}

/// The head of a request.
pub(crate) fn head(method: &str, path: &str, headers: &[(&str, &str)], length: u64) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: prove\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if length > 0 || matches!(method, "PUT" | "POST") {
        text.push_str(&format!("Content-Length: {length}\r\n"));
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// Path of a proof.
pub(crate) fn proof(key: &str) -> String {
    format!("/v1/proofs/{}", encode(key))
}

fn read_answer_body(
    connection: &mut BufReader<TcpStream>,
    method: &str,
    head: &Head,
) -> io::Result<Vec<u8>> {
    if method == "HEAD" || matches!(head.status, 204 | 304) {
        return Ok(Vec::new());
    }
    wire::read_body(connection, announced(head)?)
}

/// The contract promises a length with every body: an answer without one is not understood.
fn announced(head: &Head) -> io::Result<u64> {
    head.content_length().ok_or_else(|| {
        let text = format!("an answer {} without content-length", head.status);
        io::Error::new(io::ErrorKind::InvalidData, text)
    })
}

/// Percent-encodes all but unreserved characters and `/`.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                encoded.push(byte.into());
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_what_a_path_may_not_hold() {
        assert_eq!(encode("urn:c2pa:1/ü%.json"), "urn%3Ac2pa%3A1/%C3%BC%25.json");
    }
}
