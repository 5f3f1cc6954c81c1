//! Certificates that are exchanged while the service runs.

use std::os::unix::fs::symlink;
use std::path::Path;

use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::HandshakeKind;

use super::{Client, PATIENCE, PAUSE, Running, ask, connect};
use crate::certificates::{Authority, Pair, write_key};

const READ: &str = "proof_storage_credentials_read_total{source=\"certificate\",outcome=\"ok\"}";
const FAILED: &str =
    "proof_storage_credentials_read_total{source=\"certificate\",outcome=\"failed\"}";

async fn is_shown(running: &Running, authority: &str) -> bool {
    Client::of(&[authority]).get(running.address, "/health").await.is_ok()
}

async fn until_shown(running: &Running, authority: &str) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !is_shown(running, authority).await {
            tokio::time::sleep(PAUSE).await;
        }
    });
    assert!(waited.await.is_ok(), "the new certificate is not shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_pair_is_taken_and_connections_that_are_open_go_on() {
    let running = Running::start().await;
    let old = running.authority.pem.clone();
    let stream = running.client().connect(running.address).await.unwrap();
    let (mut open, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);

    let new = Authority::new("new");
    new.server_in(2020..2120).write(running.folder.path());
    until_shown(&running, &new.pem).await;
    assert!(!is_shown(&running, &old).await, "the old one is not shown any more");
    // 2120-01-01T00:00:00Z.
    running.wait_for("proof_storage_tls_certificate_not_after_seconds", 4_733_510_400.0).await;
    assert_eq!((running.series(READ), running.series(FAILED)), (Some(1.0), Some(0.0)));

    let again = Request::get("/health").header("host", "a").body(Full::<bytes::Bytes>::default());
    let answer = open.send_request(again.unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "the connection is the same as before");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_pair_leaves_the_old_one_and_is_told() {
    let running = Running::start().await;
    let old = running.authority.pem.clone();
    let new = Authority::new("new").server();
    let (cert, key) = (running.file("tls.crt"), running.file("tls.key"));
    let before = std::fs::read_to_string(&cert).unwrap();
    let half = &new.cert[..new.cert.len() / 2];
    let breakings: [(&str, &dyn Fn()); 4] = [
        ("of another key", &|| std::fs::write(&cert, &new.cert).unwrap()),
        ("half written", &|| std::fs::write(&cert, half).unwrap()),
        ("empty", &|| std::fs::write(&cert, "").unwrap()),
        ("gone", &|| std::fs::remove_file(&cert).unwrap()),
    ];
    for (number, (how, break_it)) in breakings.into_iter().enumerate() {
        break_it();
        running.wait_for(FAILED, number as f64 + 1.0).await;
        assert!(is_shown(&running, &old).await, "{how}");
    }
    std::fs::write(&cert, before).unwrap();
    running.wait_for(READ, 1.0).await;
    assert!(is_shown(&running, &old).await);

    // The other file follows: the pair is sound when both are there.
    write_key(&key, &new.key);
    running.wait_for(FAILED, 5.0).await;
    assert!(is_shown(&running, &old).await);
    std::fs::write(&cert, &new.cert).unwrap();
    running.wait_for(READ, 2.0).await;
    assert!(!is_shown(&running, &old).await);
    running.stop().await;
}

/// As Kubernetes mounts a Secret: `tls.crt` → `..data/tls.crt`, and `..data` → a folder with the version
/// of that moment, which is exchanged in one step.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_kubernetes_is_exchanged_in_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (Authority::new("one"), Authority::new("two"));
    let version = |name: &str, pair: &Pair| {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).unwrap();
        pair.write(&path);
    };
    let point = |name: &str| {
        let (next, data) = (folder.path().join("..data_tmp"), folder.path().join("..data"));
        symlink(name, &next).unwrap();
        std::fs::rename(next, data).unwrap();
    };
    version("..2026_01", &one.server());
    point("..2026_01");
    let mounted = |name: &str| {
        let path = folder.path().join(name);
        symlink(Path::new("..data").join(name), &path).unwrap();
        path
    };
    let (cert, key) = (mounted("tls.crt"), mounted("tls.key"));
    let old = one.pem.clone();
    let home = tempfile::tempdir().unwrap();
    let running = Running::over(one, home, &cert, &key, "").await;
    assert!(is_shown(&running, &old).await);

    version("..2026_02", &two.server());
    point("..2026_02");
    std::fs::remove_dir_all(folder.path().join("..2026_01")).unwrap();
    until_shown(&running, &two.pem).await;
    assert!(!is_shown(&running, &old).await);
    assert_eq!(running.series(FAILED), Some(0.0));
    running.stop().await;
}

/// Who was let in by an authority that is not one any more is not let in again. No session is resumed
/// where certificates are demanded: what ended meanwhile would not be looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_authority_lets_nobody_in_any_more() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let pem = first.pem.clone();
    let running = Running::with(|folder| {
        let file = folder.join("clients.crt");
        std::fs::write(&file, pem).unwrap();
        format!("tls_client_ca = '{}'\n", file.display())
    })
    .await;
    let to = running.address;
    let (one, two) = (first.client(), second.client());
    let known = running.client().showing(&one).config();
    let ask_again = async |known, to| {
        let stream = connect(known, to).await.map_err(|error| error.to_string())?;
        let resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        let health = Request::get("/health").body(Full::default()).unwrap();
        ask(stream, health).await.map(|(status, _)| (status, resumed))
    };
    let open = Running::start().await;
    let anybody = open.client().config();
    for again in [false, true] {
        assert_eq!(ask_again(&known, to).await, Ok((StatusCode::OK, false)));
        // The control: where none is demanded it is resumed.
        assert_eq!(ask_again(&anybody, open.address).await, Ok((StatusCode::OK, again)));
    }
    open.stop().await;
    running.client().showing(&two).get(to, "/health").await.expect_err("not yet");
    std::fs::write(running.file("clients.crt"), &second.pem).unwrap();
    running.wait_for(READ, 1.0).await;
    running.client().showing(&two).get(to, "/health").await.unwrap();
    running.client().showing(&one).get(to, "/health").await.expect_err("not any more");
    ask_again(&known, to).await.expect_err("by no session of before either");
    running.stop().await;
}

/// The audit log's lines about what was read again: its source, and what came of it.
fn readings(folder: &Path) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(folder.join("audit-00000001.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let read = lines.filter(|line| line["action"] == "read-credentials");
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    read.map(|line| (text(&line["detail"]["source"]), text(&line["result"]))).collect()
}

/// Who may come in is written down as it changes; of the service's own certificate, which decides nothing,
/// there is no line.
#[tokio::test(flavor = "multi_thread")]
async fn exchanged_authorities_of_clients_leave_a_line() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let running = Running::with(|folder| {
        let file = folder.join("clients.crt");
        std::fs::write(&file, &first.pem).unwrap();
        let log = folder.join("audit");
        format!(
            "tls_client_ca = '{}'\n[audit]\nmode = 'file'\ndir = '{}'\n",
            file.display(),
            log.display()
        )
    })
    .await;
    // The service's own: the control, which is read again and leaves none.
    running.authority.server().write(running.folder.path());
    running.wait_for(READ, 1.0).await;
    let clients = running.file("clients.crt");
    std::fs::write(&clients, "no authority").unwrap();
    running.wait_for(FAILED, 1.0).await;
    // Back again: those in force are the same as before.
    std::fs::write(&clients, &first.pem).unwrap();
    running.wait_for(READ, 2.0).await;

    // New ones beside a pair that does not fit are taken when it does.
    let (cert, own) = (running.file("tls.crt"), std::fs::read(running.file("tls.crt")).unwrap());
    std::fs::write(&cert, Authority::new("other").server().cert).unwrap();
    std::fs::write(&clients, &second.pem).unwrap();
    running.wait_for(FAILED, 2.0).await;
    std::fs::write(&cert, own).unwrap();
    running.wait_for(READ, 3.0).await;
    // Its folder stays, so that the log can be read when it is whole.
    let Running { folder, stop, serving, .. } = running;
    stop.send(()).unwrap();
    serving.await.unwrap();
    let line = |result: &str| ("client_ca".to_owned(), result.to_owned());
    assert_eq!(
        readings(&folder.path().join("audit")),
        [line("failed"), line("failed"), line("done")]
    );
}
