//! `healthcheck`: asks a running service whether it is ready, for containers without curl.
//!
//! Over https the service has to show the very certificate that its configuration names, whoever issued
//! it and for whatever name; where it demands one of its clients, it is shown the same one.

mod own;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Report;
use crate::config::{Config, Sources, TlsIdentity};

/// Longest that the whole question may take.
const LIMIT: Duration = Duration::from_secs(3);

/// Asks `url`, or else the service that these sources configure.
pub fn run_healthcheck(sources: Sources, url: Option<String>) -> ExitCode {
    let answer = question(sources, url).and_then(|question| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(ask(question))
    });
    report(answer).print()
}

fn report(answer: Result<StatusCode, String>) -> Report {
    let (out, err) = (String::new(), String::new());
    match answer {
        Ok(StatusCode::OK) => Report { out: "ready\n".into(), err, code: 0 },
        Ok(status) => Report { out, err: format!("not ready: {status}\n"), code: 1 },
        Err(reason) => Report { out, err: format!("not ready: {reason}\n"), code: 1 },
    }
}

/// Where to ask, and what has to be shown there.
struct Question {
    uri: Uri,
    certificate: Option<TlsIdentity>,
}

fn question(sources: Sources, url: Option<String>) -> Result<Question, String> {
    let configured = || {
        let config = Config::load(sources).map_err(|problems| problems.to_string())?.config;
        Ok::<_, String>((config.server.listen, config.server.tls.map(|tls| tls.identity)))
    };
    let (text, certificate) = match url {
        Some(url) if url.starts_with("https:") => {
            let (_, certificate) = configured()?;
            if certificate.is_none() {
                let remedy =
                    "set STORAGE_TLS_CERT and STORAGE_TLS_KEY to what has to be shown there";
                return Err(format!("`{url}` is https: {remedy}"));
            }
            (url, certificate)
        }
        Some(url) => (url, None),
        None => {
            let (listen, certificate) = configured()?;
            let scheme = if certificate.is_some() { "https" } else { "http" };
            (format!("{scheme}://{}/health/ready", reachable(listen)), certificate)
        }
    };
    let uri: Uri = text.parse().map_err(|_| format!("`{text}` is not a URL"))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(_)) => Ok(Question { uri, certificate }),
        _ => Err(format!("`{text}` is not an http or https URL")),
    }
}

/// Where a listener on every address is found on this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

async fn ask(question: Question) -> Result<StatusCode, String> {
    let answer = tokio::time::timeout(LIMIT, exchange(question)).await;
    answer.map_err(|_| format!("no answer within {} s", LIMIT.as_secs()))?
}

async fn exchange(Question { uri, certificate }: Question) -> Result<StatusCode, String> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(if certificate.is_some() { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
    let Some(certificate) = certificate else { return speak(stream, &uri).await };
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|_| format!("`{host}` is no name of a host"))?;
    let connector = TlsConnector::from(own::client_config(&certificate)?);
    let stream = connector.connect(name, stream).await;
    speak(stream.map_err(|error| own::told(&error))?, &uri).await
}

async fn speak<S>(stream: S, uri: &Uri) -> Result<StatusCode, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(header::HOST, uri.authority().map_or("", |authority| authority.as_str()))
        .header(header::USER_AGENT, concat!("proof-storage/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    // Ends with the runtime, which lives no longer than the question.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    Ok(answer.status())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn plainly(uri: &str) -> Question {
        Question { uri: uri.parse().unwrap(), certificate: None }
    }

    /// A server that gives one canned answer and hands back the request it got.
    async fn one_answer(answer: &'static str) -> (Question, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri: String = format!("http://{}/health/ready", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8(request[..length].to_vec()).unwrap()
        });
        (plainly(&uri), served)
    }

    #[tokio::test]
    async fn ready_and_not_ready() {
        let (uri, served) = one_answer("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(report(ask(uri).await).code, 0);
        assert!(served.await.unwrap().starts_with("GET /health/ready HTTP/1.1\r\n"));
        let busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
        let (uri, served) = one_answer(busy).await;
        let report = report(ask(uri).await);
        assert_eq!((report.code, report.err.as_str()), (1, "not ready: 503 Service Unavailable\n"));
        served.await.unwrap();
    }

    #[tokio::test]
    async fn nonsense_and_nobody_are_failures() {
        let (uri, served) = one_answer("this is not HTTP\r\n\r\n").await;
        assert_eq!(report(ask(uri).await).code, 1);
        served.await.unwrap();
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(report(ask(plainly(&format!("http://{free}/"))).await).code, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_server_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/", listener.local_addr().unwrap());
        assert_eq!(ask(plainly(&uri)).await, Err("no answer within 3 s".into()));
    }

    #[test]
    fn asks_the_configured_listener() {
        let uri = |listen: &str| {
            let environment = vec![
                ("STORAGE_LISTEN".into(), listen.into()),
                ("STORAGE_AUTH".into(), "anyone-may-do-anything".into()),
            ];
            question(Sources { environment, file: None }, None).map(|asked| asked.uri.to_string())
        };
        assert_eq!(uri("0.0.0.0:81").unwrap(), "http://127.0.0.1:81/health/ready");
        assert_eq!(uri("[::]:81").unwrap(), "http://[::1]:81/health/ready");
        assert_eq!(uri("10.1.2.3:81").unwrap(), "http://10.1.2.3:81/health/ready");
        assert!(uri("nowhere").unwrap_err().contains("STORAGE_LISTEN"));
        let given = |url: &str| question(Sources::default(), Some(url.into()));
        assert!(given("http://a:1/x").is_ok());
        // Nothing says which certificate has to be shown there.
        assert!(given("https://a:1/x").err().unwrap().contains("STORAGE_TLS_CERT"));
        assert!(given("ftp://a:1/x").is_err());
        assert!(given("a:1").is_err());
    }
}
