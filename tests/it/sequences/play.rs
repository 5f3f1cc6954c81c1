//! Plays a sequence to a store and to the model, and compares what they say.

use std::collections::HashMap;
use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use proof_storage::backend::Backend;
use proof_storage::backend::memory::Memory;
use proof_storage::model::{
    Attributes, Body, ByteRange, Digest, ETag, Encoding, GetOptions, ListPage, ListRequest,
    ObjectKey, ObjectMeta, Payload, PutMode, Representation, Retrieved, SpoolWriter, StoreError,
    Stored,
};
use proptest::test_runner::TestCaseError;

use super::operation::{Content, Mode, Operation, Version};
use super::{Store, Subject};

/// One write: its version in the model and in the store.
#[derive(Clone)]
struct Write {
    model: ETag,
    store: ETag,
}

struct Game {
    model: Memory,
    subject: Subject,
    writes: HashMap<ObjectKey, Vec<Write>>,
}

type Verdict = Result<(), TestCaseError>;

/// Every answer must agree, and in the end everything that is there, before and after a restart.
pub(super) async fn play(subject: Subject, operations: &[Operation]) -> Verdict {
    let mut game = Game { model: Memory::new(), subject, writes: HashMap::new() };
    for (number, operation) in operations.iter().enumerate() {
        game.step(operation).await.map_err(|difference| at(number, operation, difference))?;
    }
    game.compare_all().await.map_err(|difference| at(operations.len(), &"the end", difference))?;
    game.subject.restart();
    game.compare_all().await.map_err(|difference| at(operations.len(), &"Restart", difference))
}

fn at(number: usize, operation: &impl Debug, difference: TestCaseError) -> TestCaseError {
    TestCaseError::fail(format!("step {number}, {operation:?}: {difference}"))
}

impl Game {
    fn store(&self) -> Store {
        self.subject.store().clone()
    }

    async fn step(&mut self, operation: &Operation) -> Verdict {
        let store = self.store();
        match operation {
            Operation::Put { key, content, mode } => {
                let key = ObjectKey::new(*key);
                let (ours, theirs) = self.mode(&key, *mode);
                let (bytes, attributes) = content.make();
                let payload = Payload::from(bytes.clone());
                let model = self.model.put(&key, payload, attributes.clone(), ours).await;
                let payload = content.payload(bytes);
                let real = store.put(&key, payload, attributes, theirs).await;
                self.compare_writes(model, real)
            }
            Operation::Copy { from, to, mode } => {
                let (from, to) = (ObjectKey::new(*from), ObjectKey::new(*to));
                let (ours, theirs) = self.mode(&to, *mode);
                let model = self.model.copy(&from, &to, ours).await;
                let real = store.copy(&from, &to, theirs).await;
                self.compare_writes(model, real)
            }
            Operation::Rename { from, to, mode } => {
                let (from, to) = (ObjectKey::new(*from), ObjectKey::new(*to));
                let (ours, theirs) = self.mode(&to, *mode);
                let model = self.model.rename(&from, &to, ours).await;
                let real = store.rename(&from, &to, theirs).await;
                self.compare_writes(model, real)
            }
            Operation::Get { key, range, version } => self.get(key, *range, *version).await,
            Operation::Delete { key, version } => {
                let key = ObjectKey::new(*key);
                let write = version.map(|version| self.version(&key, version));
                let model = self.model.delete(&key, write.as_ref().map(|w| &w.model)).await;
                let real = store.delete(&key, write.as_ref().map(|w| &w.store)).await;
                same("delete", &of(model), &of(real))
            }
            Operation::DeleteMany { keys } => {
                let keys: Vec<_> = keys.iter().map(|&key| ObjectKey::new(key)).collect();
                let model: Vec<_> =
                    self.model.delete_many(&keys).await.into_iter().map(of).collect();
                let real: Vec<_> = store.delete_many(&keys).await.into_iter().map(of).collect();
                same("delete_many", &model, &real)
            }
            Operation::List { prefix, delimiter, limit, after } => {
                let request = ListRequest {
                    prefix: (*prefix).to_owned(),
                    delimiter: delimiter.map(str::to_owned),
                    limit: *limit,
                    after: after.map(str::to_owned),
                };
                self.walk(request).await
            }
            Operation::Usage => self.compare_usage().await,
            Operation::Restart => {
                drop(store);
                self.subject.restart();
                Ok(())
            }
        }
    }

    async fn get(&self, key: &str, range: Option<(f64, f64)>, version: Option<Version>) -> Verdict {
        let key = ObjectKey::new(key);
        let write = version.map(|version| self.version(&key, version));
        let size = self.model.head(&key).await.map_or(100, |meta| meta.stored_size);
        let range = range.map(|(a, b)| {
            let place = |share: f64| (share * size as f64) as u64;
            let (start, end) = (place(a.min(b)), place(a.max(b)));
            ByteRange { start, end: end.max(start + 1) }
        });
        let options = |etag: Option<&ETag>| GetOptions { range, if_match: etag.cloned() };
        let model = self.model.get(&key, options(write.as_ref().map(|w| &w.model))).await;
        let real = self.store().get(&key, options(write.as_ref().map(|w| &w.store))).await;
        let (model, real) = match (model, real) {
            (Ok(model), Ok(real)) => (model, real),
            (model, real) => {
                return same("get", &of(model.map(drop)), &of(real.map(drop)));
            }
        };
        self.compare_meta(&model.meta, &real.meta)?;
        let (model, real) = (collect(model).await, collect(real).await);
        same("length", &model.as_ref().map(Bytes::len), &real.as_ref().map(Bytes::len))?;
        (model == real).then_some(()).ok_or_else(|| TestCaseError::fail("other bytes"))
    }

    /// All pages, compared one by one.
    async fn walk(&self, mut request: ListRequest) -> Verdict {
        for _ in 0..100 {
            let model = self.model.list(&request).await;
            let real = self.store().list(&request).await;
            let (Ok(model), Ok(real)) = (&model, &real) else {
                return same("list", &of(model.map(drop)), &of(real.map(drop)));
            };
            same("names", &names(model), &names(real))?;
            same("common prefixes", &model.common_prefixes, &real.common_prefixes)?;
            same("next", &model.next, &real.next)?;
            for (ours, theirs) in model.items.iter().zip(&real.items) {
                same("listed size", &ours.stored_size, &theirs.stored_size)?;
                self.compare_versions(&ours.key, &ours.etag, &theirs.etag)?;
                if theirs.attributes.is_some() {
                    same("listed attributes", &ours.attributes, &theirs.attributes)?;
                }
            }
            let Some(next) = model.next.clone() else { return Ok(()) };
            request.after = Some(next);
        }
        Err(TestCaseError::fail("a listing of a dozen names has no end"))
    }

    async fn compare_all(&self) -> Verdict {
        let all = ListRequest { prefix: String::new(), delimiter: None, limit: 1000, after: None };
        self.walk(all.clone()).await?;
        self.compare_usage().await?;
        let page = self.model.list(&all).await.map_err(|e| TestCaseError::fail(e.to_string()))?;
        for item in page.items {
            self.get(item.key.as_str(), None, None).await?;
        }
        Ok(())
    }

    async fn compare_usage(&self) -> Verdict {
        let (model, real) = (self.model.usage().await, self.store().usage().await);
        let figures = |u: proof_storage::model::Usage| (u.objects, u.bytes, u.stored_bytes);
        match real {
            Ok(real) if !real.exact => Ok(()),
            real => same("usage", &of(model.map(figures)), &of(real.map(figures))),
        }
    }

    fn compare_writes(
        &mut self,
        model: Result<Stored, StoreError>,
        real: Result<Stored, StoreError>,
    ) -> Verdict {
        let (model, real) = match (model, real) {
            (Ok(model), Ok(real)) => (model, real),
            (model, real) => return same("write", &of(model.map(drop)), &of(real.map(drop))),
        };
        if real.replaced.is_some() {
            same("replaced", &model.replaced, &real.replaced)?;
        }
        let known = self.writes.values().flatten().any(|write| write.store == real.meta.etag);
        if known {
            return Err(TestCaseError::fail(format!("{:?} was given out before", real.meta.etag)));
        }
        let write = Write { model: model.meta.etag.clone(), store: real.meta.etag.clone() };
        self.writes.entry(model.meta.key.clone()).or_default().push(write);
        self.compare_meta(&model.meta, &real.meta)
    }

    fn compare_meta(&self, model: &ObjectMeta, real: &ObjectMeta) -> Verdict {
        same("key", &model.key, &real.key)?;
        same("size", &model.stored_size, &real.stored_size)?;
        same("attributes", &model.attributes, &real.attributes)?;
        self.compare_versions(&model.key, &model.etag, &real.etag)
    }

    /// Both must be of the same write.
    fn compare_versions(&self, key: &ObjectKey, model: &ETag, real: &ETag) -> Verdict {
        let writes = self.writes.get(key).map(Vec::as_slice).unwrap_or_default();
        let known = writes.iter().any(|write| write.model == *model && write.store == *real);
        known
            .then_some(())
            .ok_or_else(|| TestCaseError::fail(format!("{real:?} is not the version of {key}")))
    }

    /// Both tokens of a version of a key.
    fn version(&self, key: &ObjectKey, version: Version) -> Write {
        let back = match version {
            Version::Latest => Some(0),
            Version::Earlier(back) => Some(back + 1),
            Version::MadeUp => None,
        };
        let writes = self.writes.get(key).map(Vec::as_slice).unwrap_or_default();
        let made_up = ETag::new("made-up");
        back.and_then(|back| writes.iter().rev().nth(back))
            .cloned()
            .unwrap_or(Write { model: made_up.clone(), store: made_up })
    }

    fn mode(&self, key: &ObjectKey, mode: Mode) -> (PutMode, PutMode) {
        match mode {
            Mode::Create => (PutMode::Create, PutMode::Create),
            Mode::Overwrite => (PutMode::Overwrite, PutMode::Overwrite),
            Mode::Replace(version) => {
                let write = self.version(key, version);
                (PutMode::Replace(write.model), PutMode::Replace(write.store))
            }
        }
    }
}

impl Content {
    fn make(self) -> (Bytes, Attributes) {
        let seed = u64::from(self.seed) + 1;
        let word =
            |at: u64| (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (at * seed)).rotate_left(7);
        let bytes: Bytes = (0..self.size as u64).map(|at| (word(at / 3) >> 11) as u8).collect();
        let mut attributes = Attributes::new("application/json");
        if self.rich {
            attributes.encoding = Encoding::Gzip;
            attributes.cache_control = Some(format!("max-age={}", self.seed));
            attributes.metadata.insert("seed".into(), format!("größe {}", self.seed));
            attributes.tags.insert("type".into(), "proof".into());
            attributes.representation = Some(Representation {
                sha256: Digest::of(&[self.seed]),
                size: self.size as u64 * 4 + 1,
                stored_sha256: Digest::of(&bytes),
            });
        }
        (bytes, attributes)
    }

    fn payload(self, bytes: Bytes) -> Payload {
        if !self.spooled {
            return bytes.into();
        }
        let mut writer = SpoolWriter::create_in(&std::env::temp_dir()).expect("a folder");
        writer.append(&bytes).expect("room");
        writer.finish()
    }
}

/// What an answer comes down to: the value, or the kind of the failure.
fn of<T>(answer: Result<T, StoreError>) -> Result<T, String> {
    answer.map_err(|error| format!("{:?}", error.kind()))
}

fn same<T: PartialEq + Debug>(what: &str, model: &T, real: &T) -> Verdict {
    if model == real {
        return Ok(());
    }
    Err(TestCaseError::fail(format!("{what}: the model says {model:?}, the store {real:?}")))
}

fn names(page: &ListPage) -> Vec<&str> {
    page.items.iter().map(|item| item.key.as_str()).collect()
}

async fn collect(found: Retrieved) -> Result<Bytes, String> {
    let mut stream = match found.body {
        Body::Bytes(bytes) => return Ok(bytes),
        Body::Stream(stream) => stream,
    };
    let mut bytes = BytesMut::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece.map_err(|error| format!("{error:?}"))?);
    }
    Ok(bytes.freeze())
}
