//! HTTP/1.1 on a socket, as plainly as possible.
//!
//! The harness must see what a real client may not show: whether an answer began, whether it
//! was cut, and when. So it frames messages itself and trusts no connection pool.

use std::io::{self, BufRead, Read};

/// Longest head that is taken.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_HEADERS: usize = 64;

/// Start line and headers of an answer or a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    /// Of an answer.
    pub(crate) status: u16,
    /// Of a request.
    pub(crate) method: String,
    /// Of a request.
    pub(crate) target: String,
    headers: Vec<(String, String)>,
}

impl Head {
    /// A header by its name, whatever its case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// All of them, in the order of the message.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The announced number of body bytes.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// Whether the sender will close the connection after this message.
    pub(crate) fn closes(&self) -> bool {
        self.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"))
    }
}

/// Reads the head of an answer, past interim ones. `Ok(None)`: closed before the first byte.
pub(crate) fn read_answer_head(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    loop {
        let Some(bytes) = read_head_bytes(reader)? else { return Ok(None) };
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut answer = httparse::Response::new(&mut headers);
        answer.parse(&bytes).map_err(malformed)?;
        let status = answer.code.unwrap_or_default();
        if status >= 200 {
            let headers = owned(answer.headers)?;
            return Ok(Some(Head { status, headers, ..Head::default() }));
        }
    }
}

/// Reads the head of a request. `Ok(None)`: closed before the first byte.
pub(crate) fn read_request_head(reader: &mut impl BufRead) -> io::Result<Option<Head>> {
    let Some(bytes) = read_head_bytes(reader)? else { return Ok(None) };
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(&bytes).map_err(malformed)?;
    Ok(Some(Head {
        status: 0,
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        headers: owned(request.headers)?,
    }))
}

/// Reads exactly the announced body.
///
/// # Errors
/// `UnexpectedEof` where it is shorter: the message was cut.
pub(crate) fn read_body(reader: &mut impl BufRead, length: u64) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    if (body.len() as u64) < length {
        let text = format!("the body ends after {} of {length} bytes", body.len());
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
    }
    Ok(body)
}

fn read_head_bytes(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(512);
    loop {
        let read = reader.by_ref().take(MAX_HEAD_BYTES as u64).read_until(b'\n', &mut bytes)?;
        if read == 0 {
            return match bytes.is_empty() {
                true => Ok(None),
                false => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the head is cut")),
            };
        }
        if bytes.ends_with(b"\r\n\r\n") {
            return Ok(Some(bytes));
        }
        if bytes.len() > MAX_HEAD_BYTES {
            return Err(malformed("the head is too long"));
        }
    }
}

fn owned(headers: &[httparse::Header<'_>]) -> io::Result<Vec<(String, String)>> {
    headers
        .iter()
        .map(|h| {
            let value = std::str::from_utf8(h.value).map_err(malformed)?;
            Ok((h.name.to_owned(), value.to_owned()))
        })
        .collect()
}

fn malformed(cause: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: &[u8]) -> io::Result<Option<Head>> {
        read_answer_head(&mut io::BufReader::new(bytes))
    }

    #[test]
    fn reads_past_interim_answers() {
        let bytes =
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n";
        let head = answer(bytes).unwrap().unwrap();
        assert_eq!((head.status, head.content_length()), (201, Some(2)));
    }

    #[test]
    fn tells_closed_from_cut() {
        assert!(answer(b"").unwrap().is_none());
        let cut = answer(b"HTTP/1.1 200 OK\r\nContent-").unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
        let cut = read_body(&mut io::BufReader::new(&b"abc"[..]), 4).unwrap_err();
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
    }
}
