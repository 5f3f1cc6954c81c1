//! A tiny store that is broken on purpose: what the harness must catch.
//!
//! It answers the calls that the rows make, one file per object, with one fault chosen on the
//! command line. Without a fault it is sound, and the rows pass on it: that is how the harness
//! itself is tested. It is no reference for the service.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread;

use clap::ValueEnum;
use percent::decode;
use serde_json::{Value, json};

use crate::Result;
use crate::client::Sha;
use crate::wire::{self, Head};

/// Command line of the stand-in; its address and folder come by the service's own variables.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What is wrong with it
    #[arg(long, value_enum)]
    fault: Fault,
}

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// Nothing.
    None,
    /// Acknowledges before anything is on the disk.
    NoSync,
    /// Acknowledges although the disk refused.
    IgnoreErrors,
    /// Holds every upload in memory while it comes in.
    Buffer,
    /// Answers with what it was sent.
    Echo,
}

/// Serves until it is killed.
///
/// # Errors
/// The address or the folder cannot be used.
pub(crate) fn serve(arguments: &Arguments) -> Result<()> {
    let folder = PathBuf::from(std::env::var_os("STORAGE_DATA_DIR").ok_or("no STORAGE_DATA_DIR")?);
    let listener = TcpListener::bind(std::env::var("STORAGE_LISTEN")?)?;
    let store = Mutex::new(Store::open(folder, arguments.fault)?);
    thread::scope(|scope| {
        for connection in listener.incoming().flatten() {
            let store = &store;
            scope.spawn(move || {
                // A client that goes away is no concern of a stand-in.
                let _ = converse(connection, store);
            });
        }
    });
    Ok(())
}

fn converse(connection: TcpStream, store: &Mutex<Store>) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut writer = connection.try_clone()?;
    let mut reader = BufReader::new(connection);
    while let Some(head) = wire::read_request_head(&mut reader)? {
        let body = receive(&mut reader, &head)?;
        let mut store = store.lock().map_err(|_| io::Error::other("another request panicked"))?;
        let answer = store.answer(&head, &body);
        drop(store);
        writer.write_all(&answer.bytes(&head.method))?;
    }
    Ok(())
}

/// Takes a body into memory, all of it before anything else: [`Fault::Buffer`] needs no more.
fn receive(reader: &mut impl BufRead, head: &Head) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    reader.take(head.content_length().unwrap_or_default()).read_to_end(&mut body)?;
    Ok(body)
}

struct Answer {
    status: u16,
    body: Vec<u8>,
    media_type: &'static str,
    etag: Option<Sha>,
}

impl Answer {
    fn empty(status: u16) -> Self {
        Self { status, body: Vec::new(), media_type: "application/octet-stream", etag: None }
    }

    fn json(status: u16, body: &Value) -> Self {
        let (body, media_type) = (body.to_string().into_bytes(), "application/json");
        Self { status, body, media_type, etag: None }
    }

    fn problem(status: u16, code: &str) -> Self {
        let body = json!({ "status": status, "code": code }).to_string().into_bytes();
        Self { status, body, media_type: "application/problem+json", etag: None }
    }

    fn bytes(&self, method: &str) -> Vec<u8> {
        let mut head =
            format!("HTTP/1.1 {} -\r\nContent-Type: {}\r\n", self.status, self.media_type);
        if let Some(etag) = self.etag {
            head.push_str(&format!("ETag: \"{etag:?}\"\r\n"));
        }
        if self.status != 204 {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        let mut bytes = (head + "\r\n").into_bytes();
        if method != "HEAD" {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

struct Store {
    folder: PathBuf,
    fault: Fault,
    objects: BTreeMap<String, Sha>,
}

impl Store {
    fn open(folder: PathBuf, fault: Fault) -> Result<Self> {
        fs::create_dir_all(&folder)?;
        let mut objects = BTreeMap::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match name.strip_suffix(".object") {
                Some(name) => drop(objects.insert(from_hex(name), Sha::of(&fs::read(&path)?))),
                None => fs::remove_file(&path)?,
            }
        }
        Ok(Self { folder, fault, objects })
    }

    fn answer(&mut self, head: &Head, body: &[u8]) -> Answer {
        let target = head.target.as_str();
        if let Some(key) = target.strip_prefix("/v1/proofs/") {
            return self.object(head, &decode(key), body);
        }
        if self.fault == Fault::Echo && head.method == "POST" {
            return Answer { body: body.to_vec(), ..Answer::empty(200) };
        }
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        match target.split('?').next().unwrap_or_default() {
            "/health/ready" | "/health" => Answer::json(200, &json!({"status": "ok"})),
            "/v1/proofs" => self.list(target),
            "/v1/stats" => Answer::json(200, &json!({"total_objects": self.objects.len()})),
            "/v1/batch-delete" => self.delete_several(&asked),
            "/v1/copy" => self.transfer(&asked, false),
            "/v1/move" => self.transfer(&asked, true),
            _ => Answer::problem(404, "NOT_FOUND"),
        }
    }

    fn object(&mut self, head: &Head, key: &str, body: &[u8]) -> Answer {
        let there = self.objects.get(key).copied();
        match (head.method.as_str(), there) {
            ("PUT", Some(sha)) if sha == Sha::of(body) => Answer::json(200, &json!({"key": key})),
            ("PUT", Some(_)) if head.header("if-match").is_none() => {
                Answer::problem(409, "ALREADY_EXISTS")
            }
            ("PUT", _) => match self.write(key, body) {
                Ok(()) => Answer::json(201, &json!({"key": key})),
                Err(error) => refusal(&error),
            },
            ("DELETE", _) => match self.remove(key) {
                Ok(()) => Answer::empty(204),
                Err(error) => refusal(&error),
            },
            (_, None) => Answer::problem(404, "NOT_FOUND"),
            (_, Some(sha)) => match fs::read(self.path(key)) {
                Ok(body) => Answer { body, etag: Some(sha), ..Answer::empty(200) },
                Err(_) => Answer::problem(404, "NOT_FOUND"),
            },
        }
    }

    fn write(&mut self, key: &str, body: &[u8]) -> io::Result<()> {
        let written = self.write_file(key, body);
        if self.fault != Fault::IgnoreErrors {
            written?;
        }
        self.objects.insert(key.to_owned(), Sha::of(body));
        Ok(())
    }

    fn write_file(&self, key: &str, body: &[u8]) -> io::Result<()> {
        let temporary = self.folder.join("incoming");
        let mut file = File::create(&temporary)?;
        file.write_all(body)?;
        if self.fault != Fault::NoSync {
            file.sync_all()?;
        }
        fs::rename(&temporary, self.path(key))?;
        self.sync_folder()
    }

    fn remove(&mut self, key: &str) -> io::Result<()> {
        if self.objects.remove(key).is_none() {
            return Ok(());
        }
        match fs::remove_file(self.path(key)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.sync_folder()
    }

    fn sync_folder(&self) -> io::Result<()> {
        if self.fault == Fault::NoSync { Ok(()) } else { File::open(&self.folder)?.sync_all() }
    }

    fn list(&self, target: &str) -> Answer {
        let after = target.split_once("cursor=").map(|(_, cursor)| decode(cursor));
        let mut left = self.objects.keys().filter(|key| after.as_ref().is_none_or(|a| *key > a));
        let items: Vec<Value> = left.by_ref().take(1000).map(|key| json!({"key": key})).collect();
        let last = items.last().map(|item| item["key"].clone());
        let next = left.next().and(last);
        Answer::json(200, &json!({"items": items, "common_prefixes": [], "next_cursor": next}))
    }

    fn delete_several(&mut self, asked: &Value) -> Answer {
        let keys: Vec<&str> =
            asked["keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        match keys.iter().try_for_each(|key| self.remove(key)) {
            Ok(()) => Answer::json(200, &json!({"deleted": keys, "failed": []})),
            Err(error) => refusal(&error),
        }
    }

    /// Copies or moves. The move has two steps, so a power cut between them shows both names.
    fn transfer(&mut self, asked: &Value, moves: bool) -> Answer {
        let name = |field: &str| asked[field].as_str().unwrap_or_default().to_owned();
        let (source, destination) = (name("source"), name("destination"));
        let Ok(body) = fs::read(self.path(&source)) else {
            return Answer::problem(404, "NOT_FOUND");
        };
        let mut done = self.write(&destination, &body);
        if moves {
            done = done.and_then(|()| self.remove(&source));
        }
        match done {
            Ok(()) => Answer::json(201, &json!({"key": destination})),
            Err(error) => refusal(&error),
        }
    }

    fn path(&self, key: &str) -> PathBuf {
        let name: String = key.bytes().map(|byte| format!("{byte:02x}")).collect();
        Path::new(&self.folder).join(name + ".object")
    }
}

fn refusal(error: &io::Error) -> Answer {
    match error.kind() {
        io::ErrorKind::StorageFull => Answer::problem(507, "QUOTA_EXCEEDED"),
        _ => Answer::problem(503, "UNAVAILABLE"),
    }
}

fn from_hex(text: &str) -> String {
    let digits = text.as_bytes().chunks_exact(2);
    let bytes =
        digits.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned()
}

mod percent {
    //! The other side of the client's percent-encoding.

    /// Decodes; what is no escape stays.
    pub(super) fn decode(text: &str) -> String {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((&first, after)) = rest.split_first() {
            let escape = after.get(..2).filter(|_| first == b'%');
            let value =
                escape.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
            bytes.push(value.unwrap_or(first));
            rest = if value.is_some() { &after[2..] } else { after };
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
