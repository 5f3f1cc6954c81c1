//! A small signing client, written from AWS's description of SigV4 and independent of `s3s`.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use fake_s3::FakeS3;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Signs with these, or with wrong ones.
#[derive(Clone)]
pub struct Client {
    pub address: SocketAddr,
    pub secret: String,
    pub access_key: String,
    /// Seconds by which its clock is late.
    pub late: u64,
}

/// An answer that came whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The text of all elements of this name.
    pub fn all(&self, element: &str) -> Vec<&str> {
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        let rest = self.text().split(open.as_str()).skip(1);
        rest.map(|rest| rest.split(close.as_str()).next().unwrap()).collect()
    }

    pub fn code(&self) -> &str {
        self.all("Code").first().copied().unwrap_or_default()
    }

    pub fn etag(&self) -> &str {
        self.header("etag").unwrap()
    }
}

/// A request that is not yet sent.
pub struct Call {
    client: Client,
    method: &'static str,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Bytes,
    payload: Option<String>,
}

impl Client {
    pub fn new(server: &FakeS3) -> Self {
        Self {
            address: server.address(),
            secret: FakeS3::SECRET_KEY.into(),
            access_key: FakeS3::ACCESS_KEY.into(),
            late: 0,
        }
    }

    /// A request for a key of the bucket; "" is the bucket itself.
    pub fn call(&self, method: &'static str, key: &str) -> Call {
        let path = format!("/{}/{}", FakeS3::BUCKET, encoded(key, true));
        let path = path.trim_end_matches('/').to_owned();
        let (client, query, headers) = (self.clone(), Vec::new(), Vec::new());
        Call { client, method, path, query, headers, body: Bytes::new(), payload: None }
    }

    pub async fn put(&self, key: &str, body: &'static str) -> Answer {
        self.call("PUT", key).body(body).send().await
    }

    pub async fn get(&self, key: &str) -> Answer {
        self.call("GET", key).send().await
    }
}

impl Call {
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.into(), value.into()));
        self
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Instead of the body's sha-256.
    pub fn payload(mut self, payload: &str) -> Self {
        self.payload = Some(payload.into());
        self
    }

    pub async fn send(self) -> Answer {
        self.try_send().await.expect("an answer")
    }

    /// Signs in the headers and sends.
    pub async fn try_send(mut self) -> Result<Answer, Failure> {
        let time = self.time();
        let payload = self.payload.clone().unwrap_or_else(|| hex(&Sha256::digest(&self.body)));
        self.headers.push(("host".into(), self.client.address.to_string()));
        self.headers.push(("x-amz-content-sha256".into(), payload.clone()));
        self.headers.push(("x-amz-date".into(), time.clone()));
        self.headers.sort();
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        let names = names.join(";");
        let headers: String =
            self.headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
        let query = self.canonical_query();
        let canonical =
            format!("{}\n{}\n{query}\n{headers}\n{names}\n{payload}", self.method, self.path);
        let signature = self.signature(&time, &canonical);
        let (access_key, scope) = (&self.client.access_key, scope(&time));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, \
             Signature={signature}"
        );
        self.headers.push(("authorization".into(), authorization));
        let target =
            if query.is_empty() { self.path.clone() } else { format!("{}?{query}", self.path) };
        self.transmit(&target).await
    }

    /// Signs in the URL, of which a holder of the URL may then use only this method, and sends.
    pub async fn send_presigned(mut self, expires: u64) -> Answer {
        let target = self.presigned(expires);
        self.headers.push(("host".into(), self.client.address.to_string()));
        self.transmit(&target).await.expect("an answer")
    }

    /// The path and query of a presigned URL.
    pub fn presigned(&mut self, expires: u64) -> String {
        let time = self.time();
        let credential = format!("{}/{}", self.client.access_key, scope(&time));
        let expires = expires.to_string();
        for (name, value) in [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Date", &time),
            ("X-Amz-Expires", &expires),
            ("X-Amz-SignedHeaders", "host"),
        ] {
            self.query.push((name.into(), value.into()));
        }
        let (query, host) = (self.canonical_query(), self.client.address);
        let (method, path) = (self.method, &self.path);
        let canonical = format!("{method}\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
        let signature = self.signature(&time, &canonical);
        format!("{path}?{query}&X-Amz-Signature={signature}")
    }

    /// Sends with the headers that it has, and no other.
    pub async fn transmit(self, target: &str) -> Result<Answer, Failure> {
        let stream = TcpStream::connect(self.client.address).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(self.method).uri(target);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let answer = sender.send_request(request.body(Full::new(self.body))?).await?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    fn time(&self) -> String {
        let time = SystemTime::now() - Duration::from_secs(self.client.late);
        humantime::format_rfc3339_seconds(time).to_string().replace(['-', ':'], "")
    }

    fn canonical_query(&self) -> String {
        let pair = |(name, value): &(String, String)| {
            format!("{}={}", encoded(name, false), encoded(value, false))
        };
        let mut pairs: Vec<String> = self.query.iter().map(pair).collect();
        pairs.sort();
        pairs.join("&")
    }

    fn signature(&self, time: &str, canonical: &str) -> String {
        let scope = scope(time);
        let hashed = hex(&Sha256::digest(canonical));
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{hashed}");
        let mut key = format!("AWS4{}", self.client.secret).into_bytes();
        for part in scope.split('/') {
            key = mac(&key, part);
        }
        hex(&mac(&key, &text))
    }
}

fn scope(time: &str) -> String {
    format!("{}/{}/s3/aws4_request", &time[..8], FakeS3::REGION)
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn encoded(text: &str, path: bool) -> String {
    let byte = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            (byte as char).to_string()
        }
        b'/' if path => "/".into(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}
