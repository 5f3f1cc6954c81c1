//! The one answer to plain HTTP where TLS is spoken.

use super::observe::fresh_id;
use super::problem::Problem;

/// A whole answer of HTTP/1.1, for a connection that nobody reads requests from.
pub fn speak_https() -> Vec<u8> {
    let detail = "this port speaks https: ask again with https:// instead of http://";
    let body = Problem::invalid(detail).to_json(&fresh_id().to_string()).to_string();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\n\
         content-length: {length}\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n\
         connection: close\r\n\r\n{body}"
    );
    answer.into_bytes()
}
