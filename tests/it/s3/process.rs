//! The program itself over an S3 server: the doctor's word, what the service says of its backend, and
//! that no secret is in either or in a log.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fake_s3::{Effect, FakeS3, Fault, Personality};
use serde_json::Value;

/// Settings that reach a server.
fn reaching(server: &FakeS3) -> Vec<(&'static str, String)> {
    vec![
        ("STORAGE_PROVIDER", "s3".to_owned()),
        ("STORAGE_BUCKET", FakeS3::BUCKET.to_owned()),
        ("STORAGE_REGION", FakeS3::REGION.to_owned()),
        ("STORAGE_ENDPOINT", server.endpoint()),
        ("STORAGE_ACCESS_KEY_ID", FakeS3::ACCESS_KEY.to_owned()),
        ("STORAGE_SECRET_ACCESS_KEY", FakeS3::SECRET_KEY.to_owned()),
        ("STORAGE_TIMEOUT", "3000".to_owned()),
        ("STORAGE_PROBE_INTERVAL", "100".to_owned()),
    ]
}

fn with(
    mut settings: Vec<(&'static str, String)>,
    changes: &[(&'static str, &str)],
) -> Vec<(&'static str, String)> {
    for (name, value) in changes {
        settings.retain(|(other, _)| other != name);
        settings.push((name, (*value).to_owned()));
    }
    settings
}

fn program(settings: &[(&'static str, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proof-storage"));
    command.env_clear().env("AWS_EC2_METADATA_DISABLED", "true");
    command.envs(settings.iter().map(|(name, value)| (name, value)));
    command
}

fn doctor(settings: &[(&'static str, String)], arguments: &[&str]) -> Output {
    program(settings).arg("doctor").args(arguments).output().unwrap()
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

/// A service that runs until it is dropped.
struct Service {
    child: Child,
    address: String,
    log: Arc<Mutex<String>>,
    _folder: tempfile::TempDir,
}

impl Service {
    fn start(settings: &[(&'static str, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = program(settings)
            .env("STORAGE_LISTEN", "127.0.0.1:0")
            .env("STORAGE_DATA_DIR", folder.path())
            .env("STORAGE_LOG", "debug")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let address = loop {
            let line = lines.next().expect("it says where it listens").unwrap();
            log.lock().unwrap().push_str(&line);
            if let Some((_, rest)) = line.split_once("127.0.0.1:")
                && line.contains("listening")
            {
                let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
                break format!("127.0.0.1:{port}");
            }
        };
        let copy = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                copy.lock().unwrap().push_str(&(line + "\n"));
            }
        });
        Self { child, address, log, _folder: folder }
    }

    /// Status line and headers, and the body.
    fn call(&self, request: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let (line, rest) = request.split_once("\r\n").unwrap_or((request, ""));
        let head = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        stream.write_all(format!("{head}{rest}\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.call(&format!("GET {path}")).1).unwrap()
    }

    /// Waits until what it says is so.
    fn until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..3000 {
            let said = self.json(path);
            if is_so(&said) {
                return said;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it never says so: {}", self.json(path));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn the_doctor_prints_a_table_and_a_document() {
    let server = FakeS3::start(Personality::Garage).unwrap();
    let output = doctor(&reaching(&server), &[]);
    let (out, err) = texts(&output);
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""));
    for text in ["create-only", "gateway", "its clock is", "within one process only"] {
        assert!(out.contains(text), "{text}: {out}");
    }
    let output = doctor(&reaching(&server), &["--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let document = &document["backends"][0]["report"];
    assert_eq!(document["capabilities"]["create_only"], "gateway");
    assert_eq!(document["conclusive"], true);
    assert_eq!(document["problems"], Value::Array(Vec::new()));
    assert!(document["notes"][0].as_str().unwrap().contains("one process only"));
    let findings = document["findings"].as_array().unwrap();
    assert!(findings.iter().all(|one| one["feature"].is_string() && one["detail"].is_string()));
    assert!(server.objects().is_empty());
}

#[test]
fn the_doctor_says_what_is_wrong_and_fails() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let closed = "http://127.0.0.1:1";
    for (changes, wanted) in [
        ([("STORAGE_ENDPOINT", closed)], "cannot be reached"),
        ([("STORAGE_SECRET_ACCESS_KEY", "canary-wrong")], "SignatureDoesNotMatch"),
        ([("STORAGE_ACCESS_KEY_ID", "canary-nobody")], "InvalidAccessKeyId"),
        ([("STORAGE_BUCKET", "nobodys")], "NoSuchBucket"),
    ] {
        let settings = with(reaching(&server), &changes);
        let output = doctor(&settings, &[]);
        let (out, err) = texts(&output);
        assert_eq!((output.status.code(), err.as_str()), (Some(1), ""), "{wanted}");
        assert!(out.contains(wanted) && out.contains("cannot be examined"), "{wanted}: {out}");
        assert!(!out.contains("canary"), "{out}");
        let output = doctor(&settings, &["--json"]);
        let (out, err) = texts(&output);
        assert_eq!((output.status.code(), err.as_str()), (Some(1), ""), "{wanted}");
        let document: Value = serde_json::from_str(&out).unwrap();
        let error = document["backends"][0]["error"].as_str().unwrap();
        assert!(error.contains(wanted), "{document}");
        assert!(!out.contains("canary"), "{out}");
    }
    // It can be written and read, and yet not all is well.
    server.set_list_permission(false);
    let output = doctor(&reaching(&server), &[]);
    let (out, _) = texts(&output);
    assert_eq!(output.status.code(), Some(1));
    for text in ["403", "ListBucket", "does not find: list, missing-key"] {
        assert!(out.contains(text), "{text}: {out}");
    }
}

#[test]
fn without_credentials_it_is_said() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let mut settings = reaching(&server);
    settings.retain(|(name, _)| !name.contains("ACCESS_KEY"));
    let (out, _) = texts(&doctor(&settings, &[]));
    assert!(out.contains("no credentials"), "{out}");
    assert_eq!(server.requests().total(), 0);
}

/// What the service says of a backend that fails: what is wrong, in words, while the breaker keeps
/// everybody away, and when it is well again.
#[test]
fn health_and_backends_tell_how_the_backend_fares() {
    let server = FakeS3::start(Personality::Garage).unwrap();
    let service = Service::start(&reaching(&server));
    let backends = service
        .until("/v1/backends", |said| said["backends"][0]["capabilities"]["tags"] == "gateway");
    let backend = &backends["backends"][0];
    assert_eq!(
        (backend["status"].as_str(), backend["breaker"].as_str()),
        (Some("ok"), Some("closed"))
    );
    assert!(backend["notes"][0].as_str().unwrap().contains("one process only"), "{backend}");
    assert!(backend["latency"].as_f64().is_some());

    server.pause().unwrap();
    let open = service.until("/health", |said| said["backends"][0]["breaker"] == "open");
    assert_eq!(open["status"], "down");
    let error = open["errors"][0].as_str().unwrap();
    assert!(error.contains("cannot be reached"), "the cause, not that nobody is asked: {error}");
    assert_eq!(open["backends"][0]["error"], error);
    assert!(service.call("GET /health").0.starts_with("HTTP/1.1 200"), "the process lives");
    let (head, body) = service.call("GET /health/ready");
    assert!(
        head.starts_with("HTTP/1.1 503") && body.contains("cannot be reached"),
        "{head} {body}"
    );
    assert_eq!(service.json("/v1/backends")["backends"][0]["last_error"], error);

    server.resume().unwrap();
    let well = service.until("/health", |said| said["status"] == "ok");
    assert_eq!(well["errors"], Value::Array(Vec::new()));
    assert_eq!(well["backends"][0]["error"], Value::Null);
}

/// A backend that ails while it is examined is examined again, and not taken for less than it is.
#[test]
fn what_could_not_be_tried_is_tried_again() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let ails = || Fault::new(Effect::internal_error()).on("PutObject").key("/kms");
    server.fault(ails());
    let output = doctor(&reaching(&server), &["--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let report = &document["backends"][0]["report"];
    assert_eq!(report["conclusive"], false, "{document}");
    assert_eq!(report["capabilities"]["encryption_kms"], "unknown", "{document}");
    server.fault(ails());
    let service = Service::start(&reaching(&server));
    service.until("/v1/backends", |said| {
        said["backends"][0]["capabilities"]["encryption_kms"] == "native"
    });
    assert_eq!(server.pending_faults(), 0, "it did ail");
}

/// What is not known yet is no reason to send callers away for good: before a backend that is away at
/// the start has answered, they are told to come later, and then they are served.
#[test]
fn what_is_not_known_yet_is_not_refused() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    server.pause().unwrap();
    let service = Service::start(&with(reaching(&server), &[("STORAGE_ENCRYPTION", "AES256")]));
    let put = |name: &str, header: &str| {
        let (head, body) =
            service.call(&format!("PUT /v1/proofs/{name}\r\nContent-Length: 0{header}"));
        (head[9..12].to_owned(), head, body)
    };
    let headers = ["\r\nProof-Encryption: aws:kms", "\r\nProof-Storage-Class: STANDARD_IA"];
    for header in headers {
        let (status, head, body) = put("away", header);
        assert!(status == "503" && head.contains("retry-after: "), "{head} {body}");
        assert!(body.contains("is found out when it answers"), "{body}");
    }
    service.until("/health", |said| said["backends"][0]["breaker"] == "open");
    server.resume().unwrap();
    for (name, header) in ["a", "b", "c"].iter().zip(["", headers[0], headers[1]]) {
        for tries_left in (0..3000).rev() {
            let (status, _, body) = put(name, header);
            if status == "201" {
                break;
            }
            assert!(matches!(&*status, "502" | "503" | "504"), "{name}: {status} {body}");
            assert!(tries_left > 0, "{name} is never stored: {body}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let encryption =
        |name: &str| server.raw(&format!("proofs/{name}")).unwrap().headers.encryption.clone();
    assert_eq!(
        ["a", "b", "c"].map(encryption),
        ["AES256", "aws:kms", "AES256"].map(|kind| Some(kind.to_owned()))
    );
}

/// Nor does the counting give up on it.
#[test]
fn stats_come_though_the_examination_comes_late() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    server.fault(Fault::new(Effect::internal_error()).on("PutObject").key("/first").times(2));
    let service = Service::start(&with(reaching(&server), &[("STORAGE_ENCRYPTION", "AES256")]));
    service.until("/v1/backends", |_| server.pending_faults() == 0);
    service.until("/v1/stats", |said| said["total_objects"] == 0);
    let log = service.log.lock().unwrap();
    assert!(!log.contains("WARN proof_storage::layer::inventory"), "{log}");
}

/// An archive is not written to: neither to examine it, nor to count it, nor by the doctor.
#[test]
fn what_is_only_read_is_never_written_to() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    let bytes = bytes::Bytes::from_static(b"12345");
    server.put_raw("proofs/old", bytes, fake_s3::Headers::default());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pool.toml");
    let text = format!(
        "[[backend]]\nname = 'here'\nprovider = 'local'\n\
         [[backend]]\nname = 'archive'\nprovider = 's3'\nrole = 'read-only'\nbucket = '{}'\n\
         region = '{}'\nendpoint = '{}'\naccess_key_id = '{}'\nsecret_access_key = '{}'\n",
        FakeS3::BUCKET,
        FakeS3::REGION,
        server.endpoint(),
        FakeS3::ACCESS_KEY,
        FakeS3::SECRET_KEY,
    );
    std::fs::write(&file, text).unwrap();
    let settings = [("STORAGE_CONFIG", file.to_str().unwrap().to_owned())];
    let service = Service::start(&settings);
    let counted = |said: &Value| said["backends"][1]["objects"] == 1;
    service.until("/v1/stats", counted);
    assert_eq!(service.call("GET /v1/proofs/old").1, "12345");
    let (head, body) = service.call("PUT /v1/proofs/new\r\nContent-Length: 0");
    assert!(head.starts_with("HTTP/1.1 201"), "{head} {body}");
    drop(service);
    let (out, err) = texts(&doctor(&settings, &[]));
    assert!(err.is_empty() && out.contains("it is only read"), "{out} {err}");
    assert_eq!(doctor(&settings, &[]).status.code(), Some(0), "{out}");
    let requests = server.requests();
    assert!(requests.of("GetObject") > 0 && requests.of("ListObjectsV2") > 0);
    for call in
        ["PutObject", "DeleteObject", "DeleteObjects", "CopyObject", "CreateMultipartUpload"]
    {
        assert_eq!(requests.of(call), 0, "{call}");
    }
    let wrong = std::fs::read_to_string(&file).unwrap().replace(FakeS3::SECRET_KEY, "wrong");
    std::fs::write(&file, wrong).unwrap();
    let failed = doctor(&settings, &[]);
    assert_eq!(failed.status.code(), Some(1), "{:?}", texts(&failed));
}

/// R2 refuses the second write of a key within a second: the service has it wait, and never sees that.
#[test]
fn writes_of_one_key_are_paced_on_r2() {
    let server = FakeS3::start(Personality::R2).unwrap();
    let settings = [
        ("STORAGE_PROVIDER", "r2".to_owned()),
        ("R2_ENDPOINT", server.endpoint()),
        ("R2_BUCKET", FakeS3::BUCKET.to_owned()),
        ("R2_ACCESS_KEY_ID", FakeS3::ACCESS_KEY.to_owned()),
        ("R2_SECRET_ACCESS_KEY", FakeS3::SECRET_KEY.to_owned()),
        ("STORAGE_WRITE_MODE", "overwrite".to_owned()),
        // What is refused once is refused for good.
        ("STORAGE_MAX_RETRIES", "0".to_owned()),
    ];
    let service = Service::start(&settings);
    for _ in 0..2 {
        let (head, body) = service.call("PUT /v1/proofs/a\r\nContent-Length: 0");
        assert!(head.starts_with("HTTP/1.1 20"), "{head} {body}");
    }
}

/// What another backend took is not yet where the bucket's own domain gives it out.
#[test]
fn a_proof_is_sent_for_where_it_is() {
    let server = FakeS3::start(Personality::R2).unwrap();
    let service = Service::start(&[
        ("STORAGE_PROVIDER", "r2".to_owned()),
        ("STORAGE_FALLBACK_PROVIDER", "local".to_owned()),
        ("R2_ENDPOINT", server.endpoint()),
        ("R2_BUCKET", FakeS3::BUCKET.to_owned()),
        ("R2_ACCESS_KEY_ID", FakeS3::ACCESS_KEY.to_owned()),
        ("R2_SECRET_ACCESS_KEY", FakeS3::SECRET_KEY.to_owned()),
        ("R2_CDN_URL", "https://cdn.example".to_owned()),
        ("STORAGE_TIMEOUT", "3000".to_owned()),
    ]);
    let stored = |name: &str| -> (String, String) {
        let (_, body) = service.call(&format!("PUT /v1/proofs/{name}\r\nContent-Length: 0"));
        let said: Value = serde_json::from_str(&body).unwrap();
        let text =
            |field: &str| said[field].as_str().unwrap_or_else(|| panic!("{said}")).to_owned();
        (text("provider"), text("url"))
    };
    assert_eq!(stored("a"), ("r2".into(), "https://cdn.example/proofs/a".into()));
    server.pause().unwrap();
    let here = format!("http://{}/v1/proofs/b", service.address);
    assert_eq!(stored("b"), ("local".into(), here.clone()));
    assert_eq!(service.json("/v1/metadata/b")["url"], here);
}

/// Figures are there when the first walk is done; until then the answer says when to come back.
#[test]
fn stats_before_the_first_inventory_say_when_to_come_back() {
    let server = FakeS3::start(Personality::Aws).unwrap();
    for number in 0..3 {
        let key = format!("proofs/{number}");
        server.put_raw(&key, bytes::Bytes::from_static(b"12345"), fake_s3::Headers::default());
    }
    server.fault(Fault::new(Effect::slow_down()).on("ListObjectsV2").times(usize::MAX));
    let service = Service::start(&reaching(&server));
    let (head, body) = service.call("GET /v1/stats");
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    let after = head.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
    assert!(after.parse::<u64>().unwrap() >= 1);
    let problem: Value = serde_json::from_str(&body).unwrap();
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("counted in the background"), "{detail}");
    assert_eq!(problem["code"], "UNAVAILABLE");
    // No request walks: it is the background that lists, whoever asks.
    server.clear_faults();
    let service = Service::start(&reaching(&server));
    let stats = service.until("/v1/stats", |said| said["total_objects"] == 3);
    assert_eq!((stats["exact"].as_bool(), stats["total_size"].as_u64()), (Some(false), Some(15)));
    // The examination lists as well.
    service.until("/v1/backends", |said| said["backends"][0]["capabilities"]["tags"] == "native");
    let before = server.requests();
    for _ in 0..20 {
        service.json("/v1/stats");
    }
    assert_eq!(server.requests().since(&before).of("ListObjectsV2"), 0);
}

/// Wherever a failing backend shows, no secret does.
#[test]
fn no_secret_is_told() {
    const KEY: &str = "AKIACANARYCANARYCANA";
    const SECRET: &str = "canary/secret/access/key";
    const TOKEN: &str = "canary-session-token";
    let server = FakeS3::start(Personality::Aws).unwrap();
    let own = with(
        reaching(&server),
        &[("STORAGE_ACCESS_KEY_ID", KEY), ("STORAGE_SECRET_ACCESS_KEY", SECRET)],
    );
    let mut chain = reaching(&server);
    chain.retain(|(name, _)| !name.contains("ACCESS_KEY"));
    let chain = with(
        chain,
        &[
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_SESSION_TOKEN", TOKEN),
        ],
    );
    for settings in [own, chain] {
        let service = Service::start(&settings);
        service.until("/health", |said| said["status"] == "down");
        let mut said = String::new();
        for path in ["/health", "/health/ready", "/v1/backends", "/v1/stats", "/metrics"] {
            said += &service.call(&format!("GET {path}")).1;
        }
        for call in [
            "PUT /v1/proofs/a\r\nContent-Length: 0",
            "GET /v1/proofs/a",
            "HEAD /v1/proofs/a",
            "DELETE /v1/proofs/a",
            "GET /v1/proofs",
        ] {
            let (head, body) = service.call(call);
            assert!(head.starts_with("HTTP/1.1 502") || head.starts_with("HTTP/1.1 503"), "{head}");
            said += &(head + &body);
        }
        for arguments in [&[][..], &["--json"]] {
            let (out, err) = texts(&doctor(&settings, arguments));
            said += &(out + &err);
        }
        said += &service.log.lock().unwrap();
        assert!(said.contains("refuses our credentials"), "it says what is wrong: {said}");
        for canary in ["CANARY", "canary"] {
            let at = said
                .find(canary)
                .map(|at| &said[at.saturating_sub(200)..(at + 100).min(said.len())]);
            assert_eq!(at, None);
        }
    }
    // One in a URL is refused, and not repeated.
    let url = "http://user:canary@127.0.0.1:1";
    let output = doctor(&with(reaching(&server), &[("STORAGE_ENDPOINT", url)]), &[]);
    let (_, err) = texts(&output);
    assert!(err.contains("STORAGE_ENDPOINT") && !err.contains("canary"), "{err}");
    assert_eq!(output.status.code(), Some(2));
}
