//! The whole service, started as the command starts it, over backends that are away or unusable.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use fake_s3::{Effect, FakeS3, Fault, Personality};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proof_storage::access::ApiToken;
use proof_storage::app::{App, StartError};
use proof_storage::config::{Config, Sources};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// How long a test waits for what the background is to do. Nothing is asserted about the time.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(100);

/// A first backend in S3, and one on this machine to fall back to.
fn config(server: &FakeS3, folder: &Path) -> Config {
    let (data, near) = (folder.join("data"), folder.join("near"));
    let text = format!(
        "[server]\nlisten = '127.0.0.1:0'\n\
         [storage]\ndata_dir = '{}'\nprobe_interval = 100\n\
         [[backend]]\nname = 'far'\nprovider = 's3'\ntimeout = 500\nendpoint = '{}'\nbucket = '{}'\n\
         region = '{}'\naccess_key_id = '{}'\nsecret_access_key = '{}'\n\
         [[backend]]\nname = 'near'\nprovider = 'local'\ndata_dir = '{}'\n",
        data.display(),
        server.endpoint(),
        FakeS3::BUCKET,
        FakeS3::REGION,
        FakeS3::ACCESS_KEY,
        FakeS3::SECRET_KEY,
        near.display(),
    );
    let file = folder.join("proofs.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(Sources { environment: Vec::new(), file: Some(file) }).unwrap().config
}

async fn call(to: SocketAddr, method: &str, path: &str, body: &str) -> (StatusCode, Bytes) {
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header("host", to.to_string());
    let request = request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap();
    let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
    (parts.status, body.collect().await.unwrap().to_bytes())
}

async fn call_by(to: SocketAddr, token: Option<&ApiToken>, path: &str) -> StatusCode {
    let stream = TcpStream::connect(to).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut request = Request::builder().uri(path).header("host", to.to_string());
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {}", token.expose()));
    }
    sender.send_request(request.body(Full::new(Bytes::new())).unwrap()).await.unwrap().status()
}

async fn json(to: SocketAddr, path: &str) -> serde_json::Value {
    serde_json::from_slice(&call(to, "GET", path, "").await.1).unwrap()
}

/// The same where it is said that whoever watches needs a token too.
#[tokio::test(flavor = "multi_thread")]
async fn an_admin_address_can_ask_for_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let token = ApiToken::make().unwrap();
    let entry = |scope: &str, sha256: &str| {
        format!("[[auth.token]]\nname = '{scope}'\nsha256 = '{sha256}'\nscopes = ['{scope}']\n")
    };
    let reader = ApiToken::make().unwrap();
    let text = format!(
        "[server]\nlisten = '127.0.0.1:0'\nadmin_listen = '127.0.0.1:0'\nadmin_auth = 'required'\n\
         [storage]\ndata_dir = '{}'\n{}{}",
        folder.path().join("data").display(),
        entry("admin", &token.sha256().to_hex()),
        entry("read", &reader.sha256().to_hex()),
    );
    let file = folder.path().join("proofs.toml");
    std::fs::write(&file, text).unwrap();
    let sources = Sources { environment: Vec::new(), file: Some(file) };
    let app = App::start(&Config::load(sources).unwrap().config).await.unwrap();
    let admin = app.admin_addr().unwrap().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(app.run(async move { drop(stopped.await) }));
    for path in ["/metrics", "/v1/stats", "/v1/backends"] {
        assert_eq!(call(admin, "GET", path, "").await.0, 401, "{path}");
        for (token, status) in [(&reader, 403), (&token, 200)] {
            assert_eq!(call_by(admin, Some(token), path).await, status, "{path}");
        }
    }
    for path in ["/health", "/health/ready"] {
        assert_eq!(call(admin, "GET", path, "").await.0, 200, "probes have none: {path}");
    }
    drop(stop);
    running.await.unwrap();
}

/// How a backend is away.
#[derive(Clone, Copy, Debug)]
enum Away {
    /// It answers that it is not available.
    Refusing,
    /// It takes connections and says nothing.
    Silent,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_refuses_at_the_start_is_taken_in_when_it_returns() {
    is_taken_in_when_it_returns(Away::Refusing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_silent_at_the_start_is_taken_in_when_it_returns() {
    is_taken_in_when_it_returns(Away::Silent).await;
}

async fn is_taken_in_when_it_returns(away: Away) {
    let folder = tempfile::tempdir().unwrap();
    let server = FakeS3::start(Personality::Aws).unwrap();
    let silence = match away {
        Away::Refusing => {
            let refusal = Effect::error(503, "ServiceUnavailable", "come again");
            server.fault(Fault::new(refusal).times(usize::MAX));
            None
        }
        Away::Silent => {
            server.pause().unwrap();
            // Nobody else's server gets the port meanwhile.
            Some(TcpListener::bind(server.address()).unwrap())
        }
    };
    let app = App::start(&config(&server, folder.path())).await.expect("the other one serves");
    let address = app.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(app.run(async { drop(stopped.await) }));

    assert_eq!(call(address, "GET", "/health/ready", "").await.0, 200);
    let health = json(address, "/health").await;
    assert_eq!((&health["status"], &health["healthy"]), (&"degraded".into(), &true.into()));
    assert_eq!(call(address, "PUT", "/v1/proofs/a", "kept meanwhile").await.0, 201);
    assert_eq!(call(address, "GET", "/v1/proofs/a", "").await.1, "kept meanwhile");
    assert_eq!(json(address, "/v1/backends").await["pool"]["repairs_pending"], 1);

    server.clear_faults();
    if let Some(silence) = silence {
        drop(silence);
        server.resume().unwrap();
    }
    // Everything that was missed: the proof moves home, and what the backend can do is found out.
    let caught_up = async || {
        let backends = json(address, "/v1/backends").await;
        server.raw("proofs/a").is_some()
            && backends["pool"]["repairs_pending"] == 0
            && backends["backends"][0]["capabilities"]["create_only"] == "native"
            && json(address, "/health").await["status"] == "ok"
    };
    let waited = tokio::time::timeout(PATIENCE, async {
        while !caught_up().await {
            tokio::time::sleep(PAUSE).await;
        }
    });
    assert!(waited.await.is_ok(), "{:#}", json(address, "/v1/backends").await);
    assert_eq!(call(address, "GET", "/v1/proofs/a", "").await.1, "kept meanwhile");
    stop.send(()).unwrap();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_opened_stops_the_start_and_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let server = FakeS3::start(Personality::Aws).unwrap();
    let config = config(&server, folder.path());
    std::fs::create_dir(folder.path().join("near")).unwrap();
    std::fs::write(folder.path().join("near/somebody's.txt"), "else").unwrap();
    let Err(error) = App::start(&config).await else { panic!("it started") };
    assert!(matches!(error, StartError::Store { .. }), "{error:?}");
    assert!(error.to_string().starts_with("data_dir of backend `near`: "), "{error}");
}

/// Who watches has an address of their own: nothing of that is left on the callers' one, and no proof is on theirs.
#[tokio::test(flavor = "multi_thread")]
async fn with_an_admin_address_figures_are_there_and_proofs_are_not() {
    const FIGURES: [&str; 3] = ["/metrics", "/v1/stats", "/v1/backends"];
    const HEALTH: [&str; 2] = ["/health", "/health/ready"];
    for apart in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let admin = if apart { "admin_listen = '127.0.0.1:0'\n" } else { "" };
        let data = folder.path().join("data");
        let text = format!(
            "[server]\nlisten = '127.0.0.1:0'\n{admin}[storage]\ndata_dir = '{}'\n",
            data.display()
        );
        let file = folder.path().join("proofs.toml");
        std::fs::write(&file, text).unwrap();
        let sources = Sources { environment: Vec::new(), file: Some(file) };
        let app = App::start(&Config::load(sources).unwrap().config).await.unwrap();
        let (main, admin) = (app.local_addr().unwrap(), app.admin_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(app.run(async move { drop(stopped.await) }));

        let status = async |to, method, path| call(to, method, path, "{}").await.0.as_u16();
        assert_eq!(status(main, "PUT", "/v1/proofs/a").await, 201);
        for path in FIGURES {
            assert_eq!(status(main, "GET", path).await, if apart { 404 } else { 200 }, "{path}");
        }
        for path in HEALTH {
            assert_eq!(status(main, "GET", path).await, 200, "{path}");
        }
        assert_eq!(admin.is_some(), apart);
        if let Some(admin) = admin {
            for path in FIGURES.into_iter().chain(HEALTH) {
                assert_eq!(status(admin, "GET", path).await, 200, "{path}");
            }
            for path in ["/v1/proofs", "/v1/proofs/a", "/v1/metadata/a", "/docs", "/"] {
                assert_eq!(status(admin, "GET", path).await, 404, "{path}");
            }
            for method in ["PUT", "DELETE"] {
                assert_eq!(status(admin, method, "/v1/proofs/a").await, 404, "{method}");
            }
            assert_eq!(status(main, "GET", "/v1/proofs/a").await, 200);
        }
        drop(stop);
        running.await.unwrap();
    }
}
